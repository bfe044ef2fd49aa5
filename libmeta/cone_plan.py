"""Which rows of every layer a variant can change and its scores need: the cone.

Rows are positions of the ALT sequence relative to the first replaced base, 0-based half-open. After layers that see
`reach` bases on each side, a variant whose ALT allele has `length` bases has changed at most [-reach, length + reach);
the scores within `distance` of it see at most the remaining context. A layer computes where both meet, all else is the
reference's.
"""

from dataclasses import dataclass

Rows = tuple[int, int]


@dataclass(frozen=True)
class BlockPlan:
    """Rows of one residual block.

    before: the changed rows of the trunk it starts from; source: the trunk's rows that it reads or adds to;
    hidden: rows of the first convolution to compute; middle: its rows that the second convolution reads; after: the
    trunk's rows to compute.
    """

    before: Rows
    source: Rows
    hidden: Rows
    middle: Rows
    after: Rows


@dataclass(frozen=True)
class Plan:
    """The cone of one shape of variant in one network: its blocks in order and the rows scored."""

    length: int
    window: Rows
    blocks: tuple[BlockPlan, ...]

    def multiply_adds(self, kernels: list[tuple[int, int]], channels: int) -> int:
        """Multiply-adds of the cone by direct convolution; kernels: taps of both convolutions of every block."""
        rows = [(_count(block.hidden), _count(block.after)) for block in self.blocks]
        taps = sum(a * first + b * second for (a, b), (first, second) in zip(rows, kernels, strict=True))
        return taps * channels * channels


def plan(reaches: list[tuple[int, int]], length: int, distance: int) -> Plan:
    """The cone of a variant.

    reaches: bases that both convolutions of every block see on each side; length: bases of the ALT allele, at least
    1; distance: scored bases on each side of them.
    """
    context = sum(first + second for first, second in reaches)

    def changed(reach: int) -> Rows:
        rest = context - reach + distance
        return max(-reach, -rest), length + min(reach, rest)

    blocks, reach = [], 0
    for first, second in reaches:
        before, hidden, after = changed(reach), changed(reach + first), changed(reach + first + second)
        read = _grown(hidden, first)
        source = min(read[0], after[0]), max(read[1], after[1])
        blocks.append(BlockPlan(before, source, hidden, _grown(after, second), after))
        reach += first + second
    return Plan(length, (-distance, length + distance), tuple(blocks))


def full_multiply_adds(reaches: list[tuple[int, int]], kernels: list[tuple[int, int]], channels: int, rows: int) -> int:
    """Multiply-adds of `rows` scored rows with all their context by direct convolution."""
    rest, total = sum(first + second for first, second in reaches), 0
    for reach, taps in zip(reaches, kernels, strict=True):
        for r, k in zip(reach, taps, strict=True):
            rest -= r
            total += (rows + 2 * rest) * k
    return total * channels * channels


def _count(rows: Rows) -> int:
    return rows[1] - rows[0]


def _grown(rows: Rows, reach: int) -> Rows:
    return rows[0] - reach, rows[1] + reach
