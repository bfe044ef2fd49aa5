"""What every engine shares: the door check, the cut into pieces, the ensemble mean."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from libmeta.resnet import BASES, CLASSES, ResNetWeights


class Engine:
    """An ensemble of networks of one context, ready to score.

    name: which engine it is. context: bases needed on each side. models: number of networks. piece: bases
    scored at a time, which bounds the memory and is tuned to the cache; results do not depend on it beyond
    rounding.
    """

    name = ""
    piece = 50_000

    def __init__(self, nets: list[ResNetWeights]):
        self.models = len(nets)
        self.context = nets[0].context

    def score(self, codes: np.ndarray) -> np.ndarray:
        """Mean probability of the networks.

        codes: (L + 2 * context,) uint8, 0 unknown, 1..4 = A, C, G, T, in transcript orientation, L >= 1.
        Returns (L, 3) float32: donor, acceptor, neither. ValueError if codes are anything else.
        """
        length = self._length(codes)
        scores = np.empty((length, len(CLASSES)), np.float32)
        for start, stop, each in self._pieces(codes, cuts(length, self.piece)):
            scores[start:stop] = each.mean(axis=0)
        return scores

    def score_each(self, codes: np.ndarray) -> np.ndarray:
        """As `score`, but (models, L, 3): every network's own probabilities."""
        length = self._length(codes)
        scores = np.empty((self.models, length, len(CLASSES)), np.float32)
        for start, stop, each in self._pieces(codes, cuts(length, self.piece)):
            scores[:, start:stop] = each
        return scores

    def _length(self, codes: np.ndarray) -> int:
        if codes.dtype != np.uint8 or codes.ndim != 1 or len(codes) <= 2 * self.context:
            wanted = f"uint8 of shape (L + {2 * self.context},)"
            raise ValueError(f"codes must be {wanted}, not {codes.dtype} of {codes.shape}")
        if codes.max() > BASES:
            raise ValueError(f"codes must be 0..{BASES}, found {codes.max()}")
        return len(codes) - 2 * self.context

    def _pieces(self, codes: np.ndarray, bounds: list[tuple[int, int]]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (start, stop, (models, stop - start, 3)) for every piece of 0-based half-open bounds, in
        order.
        """
        for start, stop in bounds:
            part = np.ascontiguousarray(codes[start : stop + 2 * self.context])
            yield start, stop, np.stack([self._score_net(model, part) for model in range(self.models)])

    def _score_net(self, model: int, codes: np.ndarray) -> np.ndarray:
        """One network on one piece: (n + 2 * context,) codes -> (n, 3) float32."""
        raise NotImplementedError


class PooledEngine(Engine):
    """An engine whose threads work on different pieces and networks, each in memory of its own."""

    def __init__(self, nets: list[ResNetWeights], threads: int):
        super().__init__(nets)
        self.threads = threads
        self._spare: list = []  # memory kept between calls: fresh one costs more than a short piece

    def _pieces(self, codes: np.ndarray, bounds: list[tuple[int, int]]) -> Iterator[tuple[int, int, np.ndarray]]:
        parts = (codes[start : stop + 2 * self.context] for start, stop in bounds)
        jobs = ((np.ascontiguousarray(part), model) for part in parts for model in range(self.models))
        try:
            with ThreadPoolExecutor(self.threads, initializer=self._start_thread) as pool:
                waiting: deque[Future[np.ndarray]] = deque()
                for start, stop in bounds:
                    # Enough jobs ahead to keep all threads busy, few enough to keep memory flat.
                    while len(waiting) < self.models + 2 * self.threads and (job := next(jobs, None)) is not None:
                        waiting.append(pool.submit(self._score_net, job[1], job[0]))
                    yield start, stop, np.stack([waiting.popleft().result() for _ in range(self.models)])
        finally:
            self._stop_threads()

    def _score_net(self, model: int, codes: np.ndarray) -> np.ndarray:
        try:
            workspace = self._spare.pop()  # list.pop and append are atomic
        except IndexError:
            workspace = self._workspace()
        scores = self._run(model, codes, workspace)
        self._spare.append(workspace)
        return scores

    def _start_thread(self) -> None:
        """What a thread does before its first piece."""

    def _stop_threads(self) -> None:
        """What is done when all threads have ended."""

    def _workspace(self) -> object:
        """Memory for one thread."""
        raise NotImplementedError

    def _run(self, model: int, codes: np.ndarray, workspace: object) -> np.ndarray:
        """As _score_net, in this memory."""
        raise NotImplementedError


def cuts(length: int, piece: int) -> list[tuple[int, int]]:
    """Cut [0, length) into the fewest pieces of at most `piece`, as equal as can be, so that no short one is
    left.
    """
    count = -(-length // piece)
    edges = [length * number // count for number in range(count + 1)]
    return list(itertools.pairwise(edges))
