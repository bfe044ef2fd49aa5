"""In which tissues a site is used: active, inactive, or not known, from PSI and from the user's own junction reads."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from libmeta import schema, tissue_names
from libmeta.errors import MetaError
from libmeta.gene_spans import Genes, reads_inside
from libmeta.introns import exon_sides, member
from libmeta.psi import Psi
from libmeta.support import PSI_ACTIVE, TissueUse

ACTIVE, INACTIVE, UNKNOWN = 1, 0, -1
PSI_INACTIVE = 0.05  # below it a site is inactive; between it and PSI_ACTIVE nothing is said
EXPRESSED = 10  # a gene has this many times min_support reads in a tissue before its silent sites are inactive there
COLUMNS = ("tissue_state", "tissue_psi")


@dataclass(frozen=True)
class SiteTissues:
    """names (T,); state int8 (S, T): ACTIVE, INACTIVE or UNKNOWN; psi float32 (S, T), NaN where not measured."""

    names: list[str]
    state: np.ndarray
    psi: np.ndarray

    def columns(self) -> list[tuple[pa.Field, pa.Array]]:
        """The optional columns of the sites format: lists over the tissues, null for a site unknown in all of them."""
        form = {c.name: c.field for c in schema.load("sites").columns}
        rows = (self.state != UNKNOWN).any(axis=1) | np.isfinite(self.psi).any(axis=1)
        return [
            (form[name], _lists(values, rows, np.isnan(values) if values.dtype.kind == "f" else None))
            for name, values in zip(COLUMNS, (self.state, self.psi), strict=True)
        ]

    def joined(self, other: "SiteTissues") -> "SiteTissues":
        """Of the same sites by other evidence, which has the last word where it knows something."""
        names = [*self.names, *(n for n in other.names if n not in self.names)]
        state = np.full((len(self.state), len(names)), UNKNOWN, np.int8)
        psi = np.full(state.shape, np.nan, np.float32)
        state[:, : len(self.names)], psi[:, : len(self.names)] = self.state, self.psi
        at = [names.index(n) for n in other.names]
        state[:, at] = np.where(other.state != UNKNOWN, other.state, state[:, at])
        psi[:, at] = np.where(np.isfinite(other.psi), other.psi, psi[:, at])
        return SiteTissues(names, state, psi)


def from_psi(table: Psi, keys: np.ndarray, cover: float = 0.0) -> SiteTissues:
    """Of site keys (S,), sorted: active above a PSI of 0.1, inactive below 0.05, of the exons that a site bounds the most.

    cover: a tissue counts for a gene only where at least this share of its exons (of those with PSI > 0 in any tissue)
    has PSI > 0. A table often has 0 where a gene is hardly expressed; with cover 0 one exon > 0 is enough
    (science.md section 1).
    """
    values = _covered(table, cover) if cover else table.values
    ends = np.concatenate(exon_sides(table.chrom, table.start, table.end, table.strand))
    at, found = member(ends, keys)
    psi = np.full((len(keys), len(table.tissues)), np.nan, np.float32)
    rows = np.flatnonzero(found)
    np.fmax.at(psi, at[rows], values[rows % max(len(values), 1)])
    state = np.where(psi > PSI_ACTIVE, ACTIVE, np.where(psi < PSI_INACTIVE, INACTIVE, UNKNOWN))
    return SiteTissues(list(table.tissues), state.astype(np.int8), psi)


def _covered(table: Psi, cover: float) -> np.ndarray:
    """PSI values (E, T) without the tissues in which too few exons of a gene are there."""
    _, gene = np.unique(table.gene.astype(str), return_inverse=True)
    there = table.values > 0
    ever = np.bincount(gene, there.any(axis=1))
    share = np.stack([np.bincount(gene, there[:, t]) for t in range(there.shape[1])], axis=1)
    share /= np.maximum(ever, 1)[:, None]
    return np.where(share[gene] >= cover, table.values, np.float32(np.nan))


def from_junctions(
    use: TissueUse,
    introns: tuple[np.ndarray, ...],
    keys: np.ndarray,
    links: tuple[np.ndarray, np.ndarray],
    genes: Genes,
    min_support: int,
) -> SiteTissues:
    """Of site keys (S,): active with min_support reads, inactive without a read where a gene of the site has many.

    use: reads and PSI by site and tissue, its keys in the same order of contigs. introns: chrom, start, end, strand,
    reads, one row per intron and tissue. links: (rows, genes), which genes the sites belong to. Many reads: 10 times
    min_support in the gene.
    """
    at, found = member(keys, use.keys)
    reads = np.where(found[:, None], use.reads[at], 0) if len(use.keys) else np.zeros((len(keys), len(use.names)))
    psi = np.full(reads.shape, np.nan, np.float32)
    psi[found] = use.psi[at[found]]
    expressed = np.zeros(reads.shape, bool)
    rows, gene = links
    for t in range(len(use.names)):
        mine = use.row_tissue == t
        inside = reads_inside(genes, *(x[mine] for x in introns)) >= EXPRESSED * min_support
        expressed[rows[inside[gene]], t] = True
    state = np.where(reads >= min_support, ACTIVE, np.where((reads == 0) & expressed, INACTIVE, UNKNOWN))
    return SiteTissues(list(use.names), state.astype(np.int8), psi)


def of_table(table: pa.Table, names: list[str] | None, where: str) -> SiteTissues:
    """What a sites table says; UNKNOWN where it has null. MetaError where it was made without tissues."""
    if not names or any(c not in table.column_names for c in COLUMNS):
        raise MetaError(
            f"no tissues, {where}; make the sites with ms-labels --recipe m2e and junctions or PSI by tissue"
        )
    tissue_names.check(names, where)
    state = _matrix(table[COLUMNS[0]], len(names), UNKNOWN, np.int8, where)
    return SiteTissues(list(names), state, _matrix(table[COLUMNS[1]], len(names), np.nan, np.float32, where))


def _lists(values: np.ndarray, rows: np.ndarray, missing: np.ndarray | None) -> pa.Array:
    """Rows of (S, T) as lists; null where not in rows; null items where missing."""
    flat = pa.array(values[rows].ravel(), mask=None if missing is None else missing[rows].ravel())
    offsets = np.concatenate([[0], np.cumsum(np.where(rows, values.shape[1], 0))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~rows))


def _matrix(column: pa.ChunkedArray, width: int, unknown, kind: type, where: str) -> np.ndarray:
    lists = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    flat = lists.filter(lists.is_valid()).flatten()
    if len(flat) != known.sum() * width:
        raise MetaError(f"a list over tissues has not {width} entries, {where}; make the sites again with ms-labels")
    out = np.full((len(lists), width), unknown, kind)
    out[known] = flat.to_numpy(zero_copy_only=False).astype(kind).reshape(-1, width)
    return out
