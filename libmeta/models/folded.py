"""Fast inference of the sequence networks: long pieces, arrays in and out, everything folded that folds.

Activations are rows (L, H). In a block, the second batch norm goes into the first convolution and the first becomes
scale and shift; pointwise layers that meet without an activation between them become one. A block adds its result onto
the middle of the trunk it was given, so nothing is copied. How convolutions run: libmeta.models.rows. Networks without
such a form (window, seq2seq) run as they are, piece by piece.
"""

import contextlib
import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from libmeta.device import thread_count
from libmeta.engines.base import cuts
from libmeta.engines.fft import _Workspace
from libmeta.errors import MetaError
from libmeta.models import rows
from libmeta.models.blocks import Block, crop
from libmeta.models.meta import MetaSpliceModel
from libmeta.resnet import BatchNorm, Conv

DTYPES = ("float32", "bfloat16")
CHOICES = ("auto", *rows.NAMES)
PIECE = 16_000  # outputs at a time: a thread's rows stay in the cache, context costs 2 %


class Folded:
    """A network as if in evaluation mode, ready for pieces of any length; later training does not change it.

    dtype: of the trunk; inputs, blend and results are float32. engine: one of CHOICES ("auto": the fastest that fits).
    threads: of the fft engine (None: all that this process may use); the others follow torch.set_num_threads.
    context: bases needed on each side. Threads, pieces and engines change results by rounding only.
    MetaError if the engine cannot do what is asked.
    """

    piece = PIECE

    def __init__(
        self,
        network: nn.Module,
        dtype: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
        engine: str = "auto",
    ):
        if dtype not in DTYPES:
            raise MetaError(f"no inference in {dtype}; choose one of {', '.join(DTYPES)}")
        if engine not in CHOICES:
            raise MetaError(f"unknown engine {engine}; choose one of {', '.join(CHOICES)}")
        self.context, self.device, self._check = network.context, device, network.check
        if isinstance(network, MetaSpliceModel):
            shape = (network.config.hidden, network.config.kernel, device, dtype)
            slow = torch.device(device).type == "cpu" and dtype == "bfloat16" and rows.unfit("onednn", *shape)
            if engine == "auto" and slow:
                raise MetaError(f"{slow.partition(';')[0]}, where it would be slow; use float32")
            if engine == "auto":
                engine = next(name for name in rows.NAMES if rows.unfit(name, *shape) is None)
            if why := rows.unfit(engine, *shape):
                raise MetaError(why)
            self._net = _MetaRows(network, engine, device, dtype)
        else:
            engine, self._net = "plain", _AsItIs(network, device, dtype)
        self.engine, self.threads = engine, thread_count(threads) if engine == "fft" else 1

    def __call__(
        self,
        sequence: np.ndarray,
        base: np.ndarray | None = None,
        channels: np.ndarray | None = None,
        masks: np.ndarray | None = None,
        tissue: int | np.ndarray | None = None,
    ) -> np.ndarray:
        """Logits (L, 3) float32: donor, acceptor, neither; (T, L, 3) where several tissues come out of one pass.

        sequence: codes uint8 (n,), 0 N, 1..4 = A C G T, or one-hot (4, n); base (3 K, n) log-probabilities, channels
        (C, n) and masks (M, n) as the network takes them; n = L + 2 * context, in transcript orientation. tissue: index
        or profile (F,), of several tissues (T,) or (T, F) where they join at the head. ValueError where an input does not
        fit.
        """
        if sequence.ndim == 1:
            sequence = np.eye(5, dtype=np.float32)[1:, sequence]
        inputs = [
            None if x is None else torch.from_numpy(np.asarray(x, np.float32))
            for x in (sequence, base, channels, masks)
        ]
        self._check(*(None if x is None else x[None] for x in inputs), tissue)
        length = sequence.shape[1] - 2 * self.context
        where = None if tissue is None else torch.as_tensor(tissue, device=self.device)[None]
        logits = np.empty((length, 3), np.float32)
        if getattr(self._net, "by_head", False):
            logits = np.empty((len(tissue), 3, length), np.float32).swapaxes(
                1, 2
            )  # in memory as the last layer makes them

        def run(bounds: tuple[int, int]) -> None:
            start, stop = bounds
            part = [None if x is None else x[:, start : stop + 2 * self.context].to(self.device) for x in inputs]
            with torch.inference_mode():  # holds for one thread only
                logits[..., start:stop, :] = self._net(part, where).float().cpu().numpy()

        with _pool(self.threads) as each:
            # as many pieces as go round evenly
            count = -(-length // self.piece // self.threads) * self.threads
            for _ in each(run, cuts(length, -(-length // max(count, 1)))):
                pass
        return logits


@contextlib.contextmanager
def _pool(threads: int) -> Iterator:
    """A map over so many threads; torch's own threads stand still meanwhile, else the two would fight."""
    if threads == 1:
        yield map
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


class _AsItIs:
    """A network without a folded form."""

    def __init__(self, network: nn.Module, device: str, dtype: str):
        self.network, self.dtype, self.kind = copy.deepcopy(network).eval().to(device), dtype, torch.device(device).type

    def __call__(self, inputs: list, tissue: torch.Tensor | None) -> torch.Tensor:
        """Inputs (C, n) or None -> logits (L, 3)."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            return self.network(*(None if x is None else x[None] for x in inputs), tissue)[0]


class _MetaRows:
    """A MetaSpliceModel on rows."""

    def __init__(self, network: MetaSpliceModel, engine: str, device: str, dtype: str):
        self.config, self.device, self.dtype = network.config, device, getattr(torch, dtype)
        self.spare: list[_Workspace] = []  # kept between pieces: fresh memory costs more than a short piece
        # A little work outside the trunk, in float32 and as it is.
        rest = copy.deepcopy([network.attention, network.tissue, network.tissue_head, network.blend])
        self.attention, self.tissue, self.tissue_head, self.blend = (
            x if x is None else x.eval().to(device) for x in rest
        )
        self.by_head = network.config.by_head

        def body(stack: nn.Sequential) -> list[_Block]:
            return [_Block(block, engine, device, dtype) for block in stack]

        live = self.config.live
        weight, bias = _layer(network.fusion_in)
        joins = dict(zip(live, np.split(weight, len(live), axis=1), strict=True))
        self.streams = {}  # name -> (first layer, its bias, blocks, its part of the fusion layer)
        for name in live:
            first, stack = network.base.first if name == "base" else getattr(network, f"{name}_in"), []
            if name == "base":
                # its last layer and the fusion layer meet without an activation
                last, shift = _layer(network.base.last)
                bias, joins[name] = bias + joins[name] @ shift, joins[name] @ last
            else:
                stack = body(getattr(network, name))
            entry, start = _layer(first)
            self.streams[name] = self._tensor(entry.T), self._tensor(start), stack, self._tensor(joins[name].T)
        self.join_bias, self.fusion = self._tensor(bias), body(network.fusion)
        self.head = [
            self._tensor(x.T).float() for layer in (network.head.first, network.head.last) for x in _layer(layer)
        ]

    def __call__(self, inputs: list, tissue: torch.Tensor | None) -> torch.Tensor:
        """Inputs (C, n) or None -> logits (L, 3) float32."""
        sequence, base, *evidence = inputs
        config = self.config
        memory = self.spare.pop() if self.spare else _Workspace()
        arrays = {"sequence": sequence, "base": base}
        if "channels" in self.streams:
            counts = (config.channels, config.masks)
            arrays["channels"] = torch.cat([x for x, count in zip(evidence, counts, strict=True) if count])
        added = None if self.tissue is None else self.tissue(tissue)[0, :, 0, 0].to(self.dtype)
        trunk = self.join_bias if added is None or "channels" in self.streams else self.join_bias + added
        for name, (entry, start, stack, join) in self.streams.items():
            cut = config.context - config.after_fusion - config.stream_reach(name)
            if name == "channels" and added is not None:
                start = start + added
            x = torch.addmm(start, crop(arrays[name], cut).T.to(self.dtype), entry)
            if name == "base":
                rows.gelu_(x)
            for block in stack:
                x = block(x, memory)
            trunk = torch.addmm(trunk, x, join)
        for block in self.fusion:
            trunk = block(trunk, memory)
        self.spare.append(memory)
        return self._finish(trunk, base, tissue)

    def _finish(self, trunk: torch.Tensor, base: torch.Tensor | None, tissue: torch.Tensor | None) -> torch.Tensor:
        """Attention, head and blend of the trunk (rows, H) -> logits (L, 3) or (T, L, 3)."""
        trunk = trunk.float()
        if self.attention is not None:
            trunk = self.attention(rows.image(trunk))[0, :, 0].T
        first, bias1, last, bias2 = self.head
        active = rows.gelu_(torch.addmm(bias1, trunk, first))
        if self.tissue_head is None:
            z = torch.addmm(bias2, active, last).T
        else:
            # one product for all tissues: what they share is added to the layers, not to their results
            weight, bias = (x[0] for x in self.tissue_head.layers(tissue))
            layer = (weight + last.T).flatten(0, 1)
            z = torch.addmm((bias + bias2).flatten()[:, None], layer, active.T).unflatten(0, (-1, 3))
        return self.blend(z[None], crop(base, self.config.context)[None] if "base" in self.streams else None)[0]

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device).to(self.dtype)


class _Block:
    """A residual block on rows, in place."""

    def __init__(self, block: Block, engine: str, device: str, dtype: str):
        scale, shift = _affine(block.norm1)
        self.scale, self.shift = (
            torch.tensor(x, dtype=torch.float32, device=device).to(getattr(torch, dtype)) for x in (scale, shift)
        )
        scale, shift = _affine(block.norm2)
        (weight1, bias1), (weight2, bias2) = (
            (_float64(c.weight)[:, :, 0], _float64(c.bias)) for c in (block.conv1, block.conv2)
        )
        dilation = block.conv1.dilation[1]
        first = Conv(weight1 * scale[:, None, None], bias1 * scale + shift, dilation)
        self.pair, self.reach = rows.pair(engine, first, Conv(weight2, bias2, dilation), device, dtype), block.reach

    def __call__(self, trunk: torch.Tensor, memory: _Workspace) -> torch.Tensor:
        """trunk (L, H), which is written to -> its middle (L - 2 reach, H)."""
        active = rows.gelu_(torch.addcmul(self.shift, trunk, self.scale))
        trunk = trunk[self.reach : len(trunk) - self.reach]
        self.pair(active, trunk, memory)
        return trunk


def _layer(layer: nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """A 1x1 convolution as (out, in) and (out,), float64."""
    return _float64(layer.weight)[:, :, 0, 0], _float64(layer.bias)


def _affine(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return BatchNorm(*(_float64(x) for x in values), norm.eps).affine()


def _float64(x: torch.Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()
