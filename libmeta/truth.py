"""What is true where: the scope of an evaluation (gene spans) and its sites, laid out by cell = contig x
strand.

Within a cell a position of the scope has an offset, counted over the scope alone, and belongs to one gene: of
several that hold it on its strand, the one that starts first.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta.contigs import Contigs
from libmeta.errors import NOTHING_TO_SCORE, MetaError
from libmeta.labels import check as check_labels
from libmeta.regions import Region, parse_region
from libmeta.streams import read_metadata

NEGATIVE, POSITIVE, MASKED = 0, 1, 2
SITES = ("donor", "acceptor")
_COLUMNS = ("chrom", "pos", "strand", "site", "tier", "label", "weight")
_ANY_LENGTH = 1 << 40  # a sites table does not tell how long its contigs are


@dataclass(frozen=True)
class Segments:
    """Elementary segments of one cell: edges int64 (k,), the gene of each from its edge on (-1 none), offset
    of each.
    """

    edges: np.ndarray
    gene: np.ndarray
    offset: np.ndarray
    size: int

    def find(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gene (-1 outside the scope) and offset in the scope of positions int64 (n,)."""
        slot = np.searchsorted(self.edges, positions, side="right") - 1
        inside = np.maximum(slot, 0)
        gene = np.where(slot >= 0, self.gene[inside], -1)
        return gene, self.offset[inside] + positions - self.edges[inside]


class Truth:
    """Scope and sites.

    table: in the sites format with labels of a recipe. regions: text as on the command line; empty is the
    whole scope. A recipe m3 has its negatives in genes with junction evidence only: others leave the scope.

    contigs: Contigs of unknown length; names: their names in order; cell = 2 * index + (strand is -). genes:
    (name, cell) by number. segments: by cell. cell, pos, gene (n,): positions with a site, sorted; state,
    tier (2, n): of donor and acceptor there: NEGATIVE, POSITIVE or MASKED (weight 0), tier -1 where there is
    no such site.
    """

    def __init__(self, table: pa.Table, regions: tuple[str, ...] | list[str], where: str):
        meta = read_metadata(table.schema)
        _check(table, meta, where)
        self.where, self.recipe, self.tiers = where, meta.get("recipe"), meta.get("tiers", [])
        spans = [tuple(g) for g in meta["genes"]]
        self.genes_unmeasured = 0
        if str(self.recipe).lower().startswith("m3"):
            self.genes_unmeasured = sum(not g[5] for g in spans)
            spans = [g for g in spans if g[5]]
        self.names = list(dict.fromkeys([g[0] for g in spans] + pc.unique(table["chrom"]).to_pylist()))
        if not spans:
            raise MetaError(f"empty scope (no gene in ms.genes), {where}; make it with ms-labels", NOTHING_TO_SCORE)
        self.contigs = Contigs(dict.fromkeys(self.names, _ANY_LENGTH), where)
        self.regions = [parse_region(r, self.contigs) for r in regions]
        self._lay_out(spans)
        self._take_sites(table)

    @property
    def size(self) -> int:
        """Positions in the scope, both strands."""
        return sum(s.size for s in self.segments.values())

    def cell_of(self, chrom: str, strand: str) -> int | None:
        """The cell of a contig (any alias) and strand; None where the scope has nothing on the contig."""
        found = self.contigs.resolve(chrom)
        return None if found is None else 2 * self.contigs.order[found] + (strand == "-")

    def cell_name(self, cell: int) -> tuple[str, str]:
        """(contig, strand) of a cell."""
        return self.names[cell // 2], "+-"[cell % 2]

    def _lay_out(self, spans: list[tuple]) -> None:
        pieces = []  # cell, start, end, gene name, start of the gene
        for chrom, start, end, strand, name, *_ in spans:
            for low, high, one in _clip(Region(chrom, start, end, strand), self.regions):
                pieces.append((self.cell_of(chrom, one), low, high, name, start))
        if not pieces:
            asked = ", ".join(str(r) for r in self.regions)
            raise MetaError(f"no gene of the labels in {asked}, {self.where}; widen --region", NOTHING_TO_SCORE)
        pieces.sort(key=lambda p: (p[0], p[4], p[2], p[3]))
        self.genes = list(dict.fromkeys((p[3], p[0]) for p in pieces))
        number = {gene: i for i, gene in enumerate(self.genes)}
        self.segments = {}
        for cell in sorted({p[0] for p in pieces}):
            mine = [(p[1], p[2], number[p[3], cell]) for p in pieces if p[0] == cell]
            self.segments[cell] = _paint(mine)

    def _take_sites(self, table: pa.Table) -> None:
        chrom, strand, pos, site = _keys(table)
        index = {name: i for i, name in enumerate(self.names)}
        cell = (
            np.array([index[c] for c in chrom.dictionary.to_pylist()], np.int64)[chrom.indices.to_numpy()] * 2 + strand
        )
        gene = np.full(len(pos), -1)
        for one, segments in self.segments.items():
            mine = np.flatnonzero(cell == one)
            gene[mine] = segments.find(pos[mine])[0]
        inside = gene >= 0
        self.sites_outside = int((~inside).sum())
        cell, pos, gene, site = cell[inside], pos[inside], gene[inside], site[inside]
        key, card = np.unique(cell * _ANY_LENGTH + pos, return_inverse=True)
        if len(np.unique(2 * card + site)) < len(card):
            raise MetaError(f"a site stands twice, {self.where}; make the table again with ms-labels")
        n = len(key)
        self.cell, self.pos, self.gene = key // _ANY_LENGTH, key % _ANY_LENGTH, np.zeros(n, np.int64)
        self.gene[card] = gene
        self.state, self.tier = np.zeros((2, n), np.int8), np.full((2, n), -1, np.int8)
        self.state[site, card] = _states(table, site, inside, self.where)
        self.tier[site, card] = pc.fill_null(table["tier"], -1).to_numpy()[inside]

    def cards(self, cell: int) -> slice:
        """The positions with a site of one cell, as a slice into cell, pos, gene, state, tier."""
        return slice(*(int(np.searchsorted(self.cell, c)) for c in (cell, cell + 1)))


def _check(table: pa.Table, meta: dict, where: str) -> None:
    if lacking := [c for c in _COLUMNS if c not in table.column_names]:
        raise MetaError(f"no column {lacking[0]}, {where}; give a sites table made by ms-labels")
    if "genes" not in meta:
        raise MetaError(f"no gene spans (ms.genes) in its metadata, {where}; make it with ms-labels")
    if table["label"].null_count or table["weight"].null_count or (not table.num_rows and not meta.get("recipe")):
        raise MetaError(f"the sites have no labels, {where}; run ms-labels --recipe m1 (or m3)")
    check_labels(table, meta.get("recipe"), where)


def _keys(table: pa.Table) -> tuple[pa.DictionaryArray, np.ndarray, np.ndarray, np.ndarray]:
    chrom = table["chrom"].combine_chunks().dictionary_encode()
    strand = pc.equal(table["strand"], "-").to_numpy().astype(np.int64)
    site = pc.equal(table["site"], "acceptor").to_numpy().astype(np.int64)
    chrom = chrom.combine_chunks() if isinstance(chrom, pa.ChunkedArray) else chrom
    return chrom, strand, table["pos"].to_numpy().astype(np.int64), site


def _states(table: pa.Table, site: np.ndarray, inside: np.ndarray, where: str) -> np.ndarray:
    """A weight above 0 counts as 1: it says how to train, not how often a site is there."""
    label, weight = table["label"].to_numpy()[inside], table["weight"].to_numpy()[inside]
    if np.any((label != 2) & (label != site)):
        raise MetaError(f"a donor labelled acceptor, or the reverse, {where}; make the table again with ms-labels")
    return np.where(weight > 0, np.where(label == 2, NEGATIVE, POSITIVE), MASKED)


def _clip(span: Region, regions: list[Region]) -> list[tuple[int, int, str]]:
    """(start, end, strand) of the parts of a span inside the regions; all of it where there are none."""
    if not regions:
        return [(span.start, span.end, s) for s in span.strands]
    found = []
    for region in regions:
        low, high = max(span.start, region.start), min(span.end, region.end)
        if region.chrom == span.chrom and low < high:
            found += [(low, high, s) for s in span.strands if s in region.strands]
    return found


def _paint(spans: list[tuple[int, int, int]]) -> Segments:
    """Segments of spans (start, end, gene): where several hold a position, the first in the list has it."""
    edges = np.unique([x for s in spans for x in s[:2]])
    gene = np.full(len(edges), -1)
    for start, end, number in reversed(spans):
        gene[slice(*np.searchsorted(edges, (start, end)))] = number
    length = np.where(gene >= 0, np.append(np.diff(edges), 0), 0)
    offset = np.cumsum(length) - length
    return Segments(edges, gene, offset, int(length.sum()))
