"""A sites table laid out for look-up: what is known of any position, by (contig, strand)."""

import numpy as np
import pyarrow as pa

from libmeta.contigs import Contigs
from libmeta.introns import NEITHER

_NUMBERS = ("tier", "reads", "psi_max", "breadth", "label", "weight")


class SiteIndex:
    """Sites and genes of a sites table.

    table: in the sites format. genes: [(chrom, start, end, strand, gene, measured, gene_start, gene_end), ...], 0-based
    half-open. recipe: the
    one that its labels are of, or None; rule: its settings. tiers: names. Contigs may go by any alias.
    """

    def __init__(
        self,
        table: pa.Table,
        genes: list,
        contigs: Contigs,
        recipe: str | None = None,
        tiers: list = (),
        rule: dict | None = None,
    ):
        self.recipe, self.tiers, self.rule = recipe, list(tiers), rule or {}
        self.genes = [(contigs.resolve(g[0]), *g[1:]) for g in genes if contigs.resolve(g[0])]
        chroms = table["chrom"].unique().to_pylist()
        names = contigs.match(chroms, "sites table") if chroms else {}
        self._sites = {(names[chrom], strand): _columns(table, chrom, strand) for chrom in names for strand in "+-"}
        by_strand: dict[tuple, list[int]] = {}
        for i, gene in enumerate(self.genes):
            by_strand.setdefault((gene[0], gene[3]), []).append(i)
        self._spans = {key: _paint(self.genes, members) for key, members in by_strand.items()}

    def positions(self, chrom: str, strand: str, start: int, end: int) -> np.ndarray:
        """Labelled positions in [start, end), ascending, each once."""
        sites = self._sites.get((chrom, strand))
        if sites is None:
            return np.zeros(0, np.int64)
        low, high = np.searchsorted(sites["pos"], (start, end))
        return np.unique(sites["pos"][low:high])

    def gene_of(self, chrom: str, strand: str, positions: np.ndarray) -> np.ndarray:
        """Index into .genes of the gene that holds each position (of several, the first by start); -1 for none."""
        return self._span(chrom, strand, positions, 1, -1)

    def measured(self, chrom: str, strand: str, positions: np.ndarray) -> np.ndarray:
        """Whether any gene that holds the position has junction evidence, bool (n,)."""
        return self._span(chrom, strand, positions, 2, False)

    def _span(self, chrom: str, strand: str, positions: np.ndarray, which: int, nothing) -> np.ndarray:
        spans = self._spans.get((chrom, strand))
        if spans is None:
            return np.full(len(positions), nothing)
        slot = np.searchsorted(spans[0], positions, side="right") - 1
        return np.where(slot >= 0, spans[which][np.clip(slot, 0, None)], nothing)

    def facts(self, chrom: str, strand: str, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Label facts of ascending positions.

        site uint8 (2 where none; a one-base exon counts as its site of the lower tier), tier reads psi breadth label weight
        float64 (NaN: none), measured bool, splice_type transcript_id transcript_count as the annotation columns.
        """
        n = len(positions)
        out = {k: np.full(n, np.nan) for k in ("tier", "reads", "psi", "breadth", "label", "weight")}
        out |= {"site": np.full(n, NEITHER, np.uint8), "transcript_count": np.zeros(n, np.int32)}
        out |= {k: np.full(n, None, object) for k in ("splice_type", "transcript_id")}
        out["measured"] = self.measured(chrom, strand, positions)
        sites = self._sites.get((chrom, strand))
        if sites is None or not n:
            return out
        low, high = np.searchsorted(sites["pos"], (positions[0], positions[-1] + 1))
        rows = np.arange(low, high)[np.isin(sites["pos"][low:high], positions)]
        rows = rows[np.argsort(-sites["tier"][rows], kind="stable")]  # the lowest tier is written last and stays
        at = np.searchsorted(positions, sites["pos"][rows])
        out["site"][at] = sites["site"][rows]
        for ours, theirs in (
            ("tier",) * 2,
            ("reads",) * 2,
            ("psi", "psi_max"),
            ("breadth",) * 2,
            ("label",) * 2,
            ("weight",) * 2,
        ):
            out[ours][at] = sites[theirs][rows]
        known = sites["count"][rows] > 0
        for row, i in zip(rows[known].tolist(), at[known].tolist(), strict=True):
            kind = ("donor", "acceptor")[sites["site"][row]]
            out["splice_type"][i] = "both" if out["splice_type"][i] not in (None, kind) else kind
            out["transcript_id"][i], out["transcript_count"][i] = sites["first"][row], sites["count"][row]
        return out


def _columns(table: pa.Table, chrom: str, strand: str) -> dict[str, np.ndarray]:
    import pyarrow.compute as pc  # a tenth of a second that commands without sites do not spend

    part = table.filter(pc.and_(pc.equal(table["chrom"], chrom), pc.equal(table["strand"], strand)))
    part = part.sort_by([("pos", "ascending"), ("site", "ascending")])
    numbers = {c: part[c].cast(pa.float64()).to_numpy(zero_copy_only=False) for c in _NUMBERS}
    transcripts = part["transcripts"].to_pylist()
    return {
        "pos": part["pos"].to_numpy().astype(np.int64),
        "site": (part["site"].to_numpy(zero_copy_only=False) == "acceptor").astype(np.uint8),
        "count": np.array([len(t or ()) for t in transcripts], np.int32),
        "first": np.array([t[0] if t else None for t in transcripts], object),
        **numbers,
    }


def _paint(genes: list[tuple], members: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elementary segments of overlapping genes: (their starts, gene of each or -1, any measured gene there)."""
    edges = np.unique([x for i in members for x in genes[i][1:3]])
    owner, evidence = np.full(len(edges), -1), np.zeros(len(edges), bool)
    for i in sorted(members, key=lambda i: genes[i][1:3], reverse=True):  # the gene that starts first is painted last
        low, high = np.searchsorted(edges, genes[i][1:3])
        owner[low:high] = i
        evidence[low:high] |= bool(genes[i][5])
    return edges, owner, evidence
