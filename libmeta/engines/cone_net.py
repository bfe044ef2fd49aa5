"""One network over a stretch and its variants: the reference once with its activations kept, then only the cones.

Positions are 0-based in the stretch; a variant is the replacement of reference bases by ALT codes, seen from its first
ALT base (libmeta.cone_plan).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from libmeta.cone_plan import BlockPlan, Plan, Rows, plan
from libmeta.engines.fft import _Workspace

# Rows of all sequences that go through a layer together: enough to fill the kernel, few enough for the cache.
TOGETHER, MOST = 24_000, 64
Runs = list[tuple[slice, int, int]]  # neighbouring variants of one place, what to add to rows left and right of them


@dataclass(frozen=True)
class Group:
    """Variants of one shape. start (V,): position of the first ALT base; shift (V,): bases that the ALT sequence is
    longer; alt (V, length) uint8 codes.
    """

    start: np.ndarray
    shift: np.ndarray
    alt: np.ndarray


@dataclass(frozen=True)
class Kept:
    """Rows of a layer of the reference: those from position `low` on."""

    low: int
    rows: np.ndarray

    def cut(self, low: int, high: int) -> np.ndarray:
        """Rows of positions [low, high)."""
        return self.rows[low - self.low : high - self.low]


@dataclass(frozen=True)
class Reference:
    """Activations of the reference that the cones read: trunk before each block, hidden rows in each block, what
    each head adds to the logits, probabilities.
    """

    trunk: list[Kept]
    hidden: list[Kept]
    heads: dict[int, Kept]
    scores: Kept


class Memory:
    """Arrays of one thread, kept between calls and grown as they must; asking again for a name overwrites it.

    What layers work in lies on huge pages, which the kernel's long strides need.
    """

    def __init__(self) -> None:
        self.workspace = _Workspace()
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised float32 array to work in."""
        size = math.prod(shape)
        self.workspace.get(name, size)
        return self.workspace.blocks[name][:size].reshape(shape)

    def kept(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised float32 array to keep rows in."""
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, np.float32)
        return self._kept[name][:size].reshape(shape)


class ConeNet:
    """A network ready for references and cones. layers: FftLayers or TorchLayers; one Memory per thread."""

    def __init__(self, layers):
        self.layers = layers
        self._plans: dict[tuple[int, int], Plan] = {}

    def plan(self, length: int, distance: int) -> Plan:
        """The cone of ALT alleles of this length."""
        key = (length, distance)
        if key not in self._plans:
            self._plans[key] = plan(self.layers.reaches, length, distance)
        return self._plans[key]

    def reference(
        self, codes: np.ndarray, low: int, high: int, groups: list[Group], distance: int, memory: Memory
    ) -> Reference:
        """Score positions [low, high) and keep what the groups' cones will read.

        codes: uint8, those of [low - context, high + context).
        """
        layers, start = self.layers, low - self.layers.context
        plans = [self.plan(group.alt.shape[1], distance) for group in groups]
        trunk = memory.array("trunk", len(codes), 1, layers.table.shape[1])
        np.take(layers.table, codes, axis=0, out=trunk[:, 0], mode="clip")
        hidden = memory.array("hidden", *trunk.shape)
        kept_trunk, kept_hidden, heads = [], [], {}
        logits = np.tile(layers.head_bias, (high - low, 1))

        def keep(name: str, rows: np.ndarray, first: int, reads: list[tuple[Rows, Rows]]) -> Kept:
            a, b = _hull(groups, reads)
            a, b = max(a, first), min(b, first + len(rows))
            kept = memory.kept(name, max(b - a, 0), rows.shape[2])
            kept[:] = rows[a - first : max(b, a) - first, 0]
            return Kept(a, kept)

        def head(after: int) -> None:
            rows = layers.head(after, trunk[low - start : high - start])[:, 0]
            heads[after] = Kept(low, rows)
            logits[:] += rows

        for number, (first, second) in enumerate(layers.reaches):
            if number in layers.heads:
                head(number)
            blocks = [p.blocks[number] for p in plans]
            kept_trunk.append(keep(f"trunk {number}", trunk, start, [(b.source, b.before) for b in blocks]))
            middle = hidden[: len(trunk) - 2 * first]
            layers.first(number, trunk, middle, memory.workspace)
            kept_hidden.append(keep(f"hidden {number}", middle, start + first, [(b.middle, b.hidden) for b in blocks]))
            trunk = trunk[first + second : len(trunk) - first - second]
            start += first + second
            layers.second(number, middle, trunk, memory.workspace)
        if len(layers.reaches) in layers.heads:
            head(len(layers.reaches))
        return Reference(kept_trunk, kept_hidden, heads, Kept(low, softmax(logits)))

    def alternatives(
        self, reference: Reference, group: Group, distance: int, memory: Memory
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Probabilities of the ALT sequences: (which of the group, (rows, B, 3)), rows as in the plan's window."""
        cone = self.plan(group.alt.shape[1], distance)
        for part in _parts(len(group.start), together(cone.blocks[0])):
            run = _Run(self.layers, cone, reference, memory, group, part)
            yield part, softmax(run.logits())


class _Run:
    """Variants of one shape on their way through the network; split up where the cone grows too wide."""

    def __init__(self, layers, cone: Plan, reference: Reference, memory: Memory, group: Group, part: slice):
        self.layers, self.blocks, self.reference, self.memory = layers, cone.blocks, reference, memory
        self.window = cone.window
        self.start, self.shift, self.alt = group.start[part], group.shift[part], group.alt[part]
        self.out = np.empty((self.window[1] - self.window[0], len(self.start), 3), np.float32)
        self.out[:] = layers.head_bias

    def logits(self) -> np.ndarray:
        """(rows of the window, B, 3)."""
        self._descend(0, slice(0, len(self.start)), self.layers.table[self.alt.T])
        return self.out

    def _descend(self, number: int, which: slice, changed: np.ndarray) -> None:
        """Blocks from `number` on for some of the variants, whose changed rows of the trunk are given (n, B, C)."""
        end, runs = self._stage(number, changed.shape[1]), self._runs(which)
        low = min(block.source[0] for block in self.blocks[number:end])
        high = max(block.source[1] for block in self.blocks[number:end])
        longest = max(block.middle[1] - block.middle[0] for block in self.blocks[number:end])
        # Deeper calls overwrite the hidden rows, never the trunk that this one hands on.
        trunk = self.memory.array(f"trunk of {number}", high - low, *changed.shape[1:])
        hidden = self.memory.array("middle", longest, *changed.shape[1:])
        at = self.blocks[number].before[0] - low
        trunk[at : at + len(changed)] = changed
        for i in range(number, end):
            block = self.blocks[i]
            self._head(i, trunk, low, block.before, which, runs)
            _flanks(self.reference.trunk[i], trunk, low, block.source, block.before, runs)
            _flanks(self.reference.hidden[i], hidden, block.middle[0], block.middle, block.hidden, runs)
            first = self.layers.reaches[i][0]
            source = trunk[block.hidden[0] - first - low : block.hidden[1] + first - low]
            a, b = (row - block.middle[0] for row in block.hidden)
            self.layers.first(i, source, hidden[a:b], self.memory.workspace)
            middle = hidden[: block.middle[1] - block.middle[0]]
            after = trunk[block.after[0] - low : block.after[1] - low]
            self.layers.second(i, middle, after, self.memory.workspace)
        after = self.blocks[end - 1].after
        changed = trunk[after[0] - low : after[1] - low]
        if end == len(self.blocks):
            self._head(end, trunk, low, after, which, runs)
            return
        for part in _parts(changed.shape[1], together(self.blocks[end])):
            inside = slice(which.start + part.start, which.start + part.stop)
            self._descend(end, inside, changed[:, part])

    def _stage(self, number: int, batch: int) -> int:
        """The block before which so many variants are split up."""
        for i in range(number + 1, len(self.blocks)):
            if together(self.blocks[i]) * 3 < batch * 2:
                return i
        return len(self.blocks)

    def _runs(self, which: slice) -> Runs:
        """Neighbours of one place, whose reference rows are the same."""
        places = zip(self.start[which].tolist(), self.shift[which].tolist(), strict=True)
        runs, first = [], 0
        for (start, shift), members in groupby(places):
            last = first + len(list(members))
            runs.append((slice(first, last), start, start - shift))
            first = last
        return runs

    def _head(self, after: int, trunk: np.ndarray, low: int, changed: Rows, which: slice, runs: Runs) -> None:
        """Add to the logits what the head after so many blocks sees: changed rows computed, the others known."""
        if after not in self.layers.heads:
            return
        first, last = self.window
        a, b = max(changed[0], first), min(changed[1], last)
        out, known = self.out[:, which], self.reference.heads[after]
        out[a - first : b - first] += self.layers.head(after, trunk[a - low : b - low])
        for members, left, right in runs:
            out[: a - first, members] += known.cut(left + first, left + a)[:, None]
            out[b - first :, members] += known.cut(right + b, right + last)[:, None]


def _flanks(kept: Kept, rows: np.ndarray, low: int, outer: Rows, inner: Rows, runs: Runs) -> None:
    """Fill what of `outer` is not `inner` with the reference's rows; row 0 of `rows` is `low`."""
    for members, left, right in runs:
        if outer[0] < inner[0]:
            part = kept.cut(left + outer[0], left + inner[0])
            rows[outer[0] - low : inner[0] - low, members] = part[:, None]
        if inner[1] < outer[1]:
            part = kept.cut(right + inner[1], right + outer[1])
            rows[inner[1] - low : outer[1] - low, members] = part[:, None]


def _hull(groups: list[Group], flanks: list[tuple[Rows, Rows]]) -> Rows:
    """Reference positions from the first to the last that any flank (outer rows, inner rows) reads; (0, 0): none."""
    ends = []
    for group, (outer, inner) in zip(groups, flanks, strict=True):
        right = group.start - group.shift
        if outer[0] < inner[0]:
            ends += [int(group.start.min()) + outer[0], int(group.start.max()) + inner[0]]
        if inner[1] < outer[1]:
            ends += [int(right.min()) + inner[1], int(right.max()) + outer[1]]
    return (min(ends), max(ends)) if ends else (0, 0)


def _parts(count: int, most: int) -> Iterator[slice]:
    """Cut range(count) into the fewest slices of at most `most`, as equal as can be."""
    many = -(-count // most)
    for i in range(many):
        yield slice(count * i // many, count * (i + 1) // many)


def together(block: BlockPlan) -> int:
    """Variants that go through a block at once."""
    return max(1, min(MOST, TOGETHER // (block.source[1] - block.source[0])))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
