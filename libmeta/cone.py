"""Scores of variants with shared computation: exact, at a fraction of the work of scoring REF and ALT in full.

The reference of a stretch is scored once and its activations are kept. Of every ALT sequence only the rows that the
variant can change and its scores need are computed, layer by layer; the others are the reference's, right of an
insertion or deletion the reference's moved along (fastISM, Nair et al. 2022, does so for substitutions). A stretch and
its edits are in transcript orientation; positions are 0-based in the stretch.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local

import numpy as np

from libmeta.cone_plan import full_multiply_adds
from libmeta.cone_stretch import Edit, Scored, Stretch, Task, clusters
from libmeta.device import set_torch_threads, thread_count
from libmeta.engines.cone_net import ConeNet, Memory
from libmeta.errors import MetaError
from libmeta.resnet import ResNetWeights

DISTANCE = 500
ENGINES = ("fft", "torch")

__all__ = ["DISTANCE", "Edit", "Scored", "Stretch", "VariantScorer", "clusters"]


class VariantScorer:
    """An ensemble of networks of one context, ready to score variants.

    nets: as readers of libmeta.basemodels return them. engine: "fft" (compiled kernel, 32 channels), "torch", or
    "auto", the faster one that fits. threads: None for all of this process. context: bases needed on each side.
    """

    def __init__(self, nets: list[ResNetWeights], engine: str = "auto", threads: int | None = None):
        self.engine, self.threads = _pick(nets, engine), thread_count(threads)
        self.models, self.context = len(nets), nets[0].context
        if self.engine == "fft":
            from libmeta.engines.cone_fft import FftLayers as Layers
        else:
            from libmeta.engines.cone_torch import TorchLayers as Layers

            set_torch_threads(threads)
        self.nets = [ConeNet(Layers(net)) for net in nets]
        self._workers = self.threads if self.engine == "fft" else 1  # torch has threads of its own
        self._thread = local()

    def score(self, codes: np.ndarray, haplotypes: list[list[Edit]], distance: int = DISTANCE) -> list[Scored]:
        """Score the haplotypes of one stretch; see Stretch. Order and company do not change a score by more than 1e-6.

        distance: bases scored on each side, 1 to 10,000; rows outside [0, L) are left out. ValueError if the codes,
        the edits or the distance are anything else.
        """
        return next(self.score_many([Stretch(codes, haplotypes)], distance))

    def score_many(self, stretches: Iterable[Stretch], distance: int = DISTANCE) -> Iterator[list[Scored]]:
        """`score` of one stretch after the other; threads work on different networks and stretches.

        Memory grows with the length of a stretch (4 KB per base and thread for SpliceAI-10k) and the number of its
        haplotypes (24 bytes per scored row), not with the number of stretches.
        """
        tasks = (Task(stretch, self.context, distance) for stretch in stretches)
        pool = ThreadPoolExecutor(self._workers)
        waiting: deque[tuple[Task, list[Future]]] = deque()
        most = 1 + -(-self._workers // self.models)
        try:
            for task in tasks:
                waiting.append((task, [pool.submit(self._run, net, task) for net in self.nets]))
                if len(waiting) >= most:
                    yield _finish(*waiting.popleft())
            while waiting:
                yield _finish(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def saved(self, length: int = 1, distance: int = DISTANCE) -> dict[str, int]:
        """Multiply-adds by direct convolution, all networks: one ALT of `length` bases by its cone and in full."""
        counts = {"cone": 0, "full": 0}
        for net in self.nets:
            layers, cone = net.layers, net.plan(length, distance)
            channels, rows = layers.table.shape[1], cone.window[1] - cone.window[0]
            counts["cone"] += cone.multiply_adds(layers.kernels, channels)
            counts["full"] += full_multiply_adds(layers.reaches, layers.kernels, channels, rows)
        return counts

    def _run(self, net: ConeNet, task: Task) -> None:
        if not hasattr(self._thread, "memory"):
            self._thread.memory = Memory()
        memory = self._thread.memory
        reference = net.reference(task.codes, task.low, task.high, task.groups, task.distance, memory)
        task.add(task.ref, slice(None), reference.scores.rows)
        for group, total in zip(task.groups, task.alt, strict=True):
            for part, scores in net.alternatives(reference, group, task.distance, memory):
                task.add(total, part, scores.transpose(1, 0, 2))


def _pick(nets: list[ResNetWeights], engine: str) -> str:
    if not nets:
        raise MetaError("no networks to score variants with; give at least one weights file")
    contexts = sorted({net.context for net in nets})
    if len(contexts) > 1:
        raise MetaError(f"networks of different contexts {contexts} in one ensemble; give one context")
    if engine not in ("auto", *ENGINES):
        raise MetaError(f"unknown engine {engine} for variants; choose one of auto, {', '.join(ENGINES)}")
    from libmeta.engines import fft

    unfit = fft.unfit(nets, "cpu", "float32")
    if engine == "fft" and unfit is not None:
        raise MetaError(unfit)
    return ("fft" if unfit is None else "torch") if engine == "auto" else engine


def _finish(task: Task, jobs: list[Future]) -> list[Scored]:
    for job in jobs:
        job.result()
    return task.scored(len(jobs))
