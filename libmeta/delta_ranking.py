"""The variants of a run that a report shows: the largest effects, and those without scores; memory does not grow."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from libmeta.delta import Allele
from libmeta.delta_rows import effects, light
from libmeta.vcf import Record

MOST_ROWS = 1000  # variants of the table, and of that of the unscored
STEPS = (0.2, 0.5, 0.8)  # SpliceAI's thresholds: sensitive, recommended, precise


@dataclass(frozen=True)
class Entry:
    """An ALT as its record has it (chrom, pos 1-based, name: the ID column), the largest of its scores, and which allele of
    the run it is, from 1."""

    number: int
    chrom: str
    pos: int
    name: str
    ref: str
    allele: Allele
    size: float


class Ranking:
    """Keeps the MOST_ROWS largest effects, the scores along the sequence of the `pictures` largest alone, and the first
    MOST_ROWS alleles without scores. masked: which scores decide.

    total: alleles; above: how many reach each of STEPS; reasons: how many have no scores, by reason.
    """

    def __init__(self, pictures: int, masked: bool):
        self.pictures, self.masked = pictures, masked
        self.total, self.above, self.reasons = 0, Counter(), Counter()
        self.unscored: list[Entry] = []
        self._rows: list[tuple[float, int, Entry]] = []  # heaps, the least first; of equal ones the earlier stays
        self._drawn: list[tuple[float, int, Entry]] = []

    def add(self, records: Sequence[Record], found: Sequence[list[Allele]]) -> None:
        """Take up scored records."""
        for record, alleles in zip(records, found, strict=True):
            name = record.columns[2].decode("utf-8", "replace")
            for allele in alleles:
                self.total += 1
                self._add(Entry(self.total, record.chrom, record.pos, name, record.ref, allele, self._size(allele)))

    def _size(self, allele: Allele) -> float:
        shown = [e.masked if self.masked else e for row in allele.rows for e in effects(row).values()]
        return max((float(e.score.max()) for e in shown), default=0.0)

    def _add(self, entry: Entry) -> None:
        if entry.allele.reason is not None:
            self.reasons[entry.allele.reason] += 1
            if len(self.unscored) < MOST_ROWS:
                self.unscored.append(entry)
            return
        self.above.update(step for step in STEPS if entry.size >= step)
        _keep(self._drawn, self.pictures, (entry.size, -entry.number, entry))
        rows = [light(row) for row in entry.allele.rows]
        without = replace(entry, allele=replace(entry.allele, rows=rows))
        _keep(self._rows, MOST_ROWS, (entry.size, -entry.number, without))

    @property
    def rows(self) -> list[Entry]:
        """Largest first, without scores along the sequence."""
        return [entry for *_, entry in sorted(self._rows, key=_order)]

    @property
    def drawn(self) -> list[Entry]:
        """Largest first, with scores along the sequence."""
        return [entry for *_, entry in sorted(self._drawn, key=_order)]


def _keep(heap: list, most: int, item: tuple) -> None:
    if len(heap) < most:
        heapq.heappush(heap, item)
    elif most and item > heap[0]:
        heapq.heapreplace(heap, item)


def _order(item: tuple) -> tuple:
    return (-item[0], -item[1])
