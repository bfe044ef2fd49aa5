"""RNA-seq junction evidence of the position: 12 columns. A feature for M2; the target of M3, and then never a feature."""

import numpy as np

from libmeta import thinning
from libmeta.modalities import Absent, Channel
from libmeta.schema import Column
from libmeta.tissue_tracks import named_files

NAME = "junction"
KEYS = ("files", "psi", "keep", "keep_seed")
DOC = (
    "From [modalities.junction] files = {tissue = junction file} and/or psi = exon x tissue table; keep = 0.1 keeps that share "
    "of the reads, or of the exons, by chance (keep_seed), as a smaller experiment would. Strands, and the donor "
    "and the acceptor side of a position, are kept apart: a position takes the side with more evidence."
)
_READS = "no junction file, none with this contig, or no evidence that covers the gene (where genes are known)"
_PSI = "not measured"


def _column(
    name: str, doc: str, missing: str, unit: str = "", low: float | None = 0, high: float | None = None
) -> Column:
    return Column(f"junction_{name}", "float32", doc, "feature", unit=unit, min=low, max=high, missing=missing)


COLUMNS = (
    _column("log1p", "ln(1 + reads over tissues and partners)", _READS, "ln reads"),
    _column(
        "has_support",
        "1 if any tissue has min_support reads, or (PSI table only) PSI >= 0.05",
        _READS,
        high=1,
    ),
    _column("n_partners", "distinct sites at the other end of its introns", _READS),
    _column("max_reads", "reads of its strongest intron, over tissues", _READS, "reads"),
    _column("entropy", "Shannon entropy of its reads over partners", _READS, "bits"),
    _column(
        "is_annotated",
        "1 if a source calls an intron of it annotated",
        "no intron there, or no source tells",
        high=1,
    ),
    _column("tissue_breadth", "tissues with min_support reads, or (PSI table only) PSI > 0.1", _READS, "tissues"),
    _column("tissue_max", "reads in the tissue that has most", _READS, "reads"),
    _column("tissue_mean", "mean reads over tissues", _READS, "reads"),
    _column("tissue_variance", "variance of the reads over tissues (population)", _READS, "reads squared"),
    _column(
        "psi",
        "usage among competing introns, tissues pooled; or (PSI table only) mean over tissues",
        _PSI,
        "PSI",
        0,
        1,
    ),
    _column("psi_variance", "variance of PSI over tissues (population)", _PSI, "PSI squared", 0, 1),
)
_FROM_READS = {
    "junction_max_reads": "max_reads", "junction_n_partners": "partners", "junction_entropy": "entropy",
    "junction_tissue_breadth": "tissue_breadth", "junction_tissue_max": "tissue_max",
    "junction_tissue_mean": "tissue_mean", "junction_tissue_variance": "tissue_variance",
}  # fmt: skip
_PSI_SUPPORT = 0.05
# the larger of the two sides of a position; junction_log1p is a logarithm already
CHANNELS = tuple(
    Channel(c.name, c.doc, c.unit, missing=_READS)
    for c in COLUMNS
    if c.name in ("junction_log1p", "junction_has_support")
)


class Reader:
    """Junction files are parsed once; of junctions and PSI one contig at a time is in memory."""

    def __init__(self, sources, named: dict):
        self.sources, self.named, self.columns = sources, named, COLUMNS
        self.channels = CHANNELS if "files" in named else CHANNELS[1:]  # a PSI table tells of no reads
        self.inputs = {f"files.{k}": v for k, v in named.get("files", {}).items()}
        if "psi" in named:
            self.inputs["psi"] = named["psi"]
        self.settings = thinning.settings(named, f"[modalities.junction] in {sources.config.name}")
        self._chrom, self._reads, self._psi = None, None, None
        self._files, self._table = None, None  # parsed once, kept by contig

    def _load(self, chrom: str) -> None:
        from libmeta.junctions import JunctionSpool, site_support
        from libmeta.psi import PsiSpool, check_build, site_psi

        genome = self.sources.genome
        self._chrom, self._reads, self._psi = chrom, None, None
        if "files" in self.named:
            self._files = self._files or JunctionSpool(self.named["files"], genome)
            found = self._files.table(chrom)
            if self.settings:
                found = thinning.reads(found, *self.settings.values())
            support = site_support(found, tissues=tuple(self.named["files"]))
            self._reads = _by_site(support, chrom) if support.num_rows else None
        if "psi" in self.named:
            self._table = self._table or PsiSpool(self.named["psi"], genome)
            table = self._table.read(chrom)
            check_build(table, genome)
            if self.settings:
                table = thinning.exons(table, *self.settings.values(), list(genome.contigs.lengths))
            self._psi = _psi_by_site(site_psi(table), genome, chrom)

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        if window.chrom != self._chrom:
            self._load(window.chrom)
        out = {c.name: np.full(len(positions), np.nan) for c in COLUMNS}
        if self._reads is not None:
            self._from_reads(window, positions, out)
        if self._psi is not None:
            self._from_psi(window, positions, out)
        return {k: v.astype(np.float32) for k, v in out.items()}

    def _from_reads(self, window, positions: np.ndarray, out: dict) -> None:
        sites = self._reads[window.strand]
        row, hit = _best_row(sites, positions, "reads")
        silent = np.zeros(len(positions))  # measured, and no read
        if self.sources.labels is not None:
            measured = self.sources.labels.measured(window.chrom, window.strand, positions)
            silent = np.where(measured, 0.0, np.nan)
        for name, theirs in _FROM_READS.items():
            out[name] = np.where(hit, sites[theirs][row], silent)
        out["junction_log1p"] = np.log1p(np.where(hit, sites["reads"][row], silent))
        breadth = out["junction_tissue_breadth"]
        out["junction_has_support"] = np.where(np.isnan(breadth), np.nan, breadth > 0)
        for name, theirs in (("is_annotated",) * 2, ("psi",) * 2, ("psi_variance",) * 2):
            out[f"junction_{name}"] = np.where(hit, sites[theirs][row], np.nan)

    def dense(self, window) -> dict[str, np.ndarray]:
        if window.chrom != self._chrom:
            self._load(window.chrom)
        silent = self._silent(window)
        reads, support = np.full((2, len(silent)), np.nan)
        if self._reads is not None:
            sites = self._reads[window.strand]
            reads = _largest(sites, window, sites["reads"], silent)
            support = _largest(sites, window, sites["tissue_breadth"] > 0, silent)
        if self._psi is not None:
            sites = self._psi[window.strand]
            known = {k: sites[k][np.isfinite(sites["psi_max"])] for k in ("pos", "psi_max")}
            # without an annotation only the sites of the table are measured
            elsewhere = silent if self.sources.labels is not None else np.full(len(silent), np.nan)
            usage = _largest(known, window, known["psi_max"] >= _PSI_SUPPORT, elsewhere)
            support = np.where(np.isnan(support), usage, support)
        found = {"junction_log1p": np.log1p(reads), "junction_has_support": support}
        return {c.name: found[c.name].astype(np.float32) for c in self.channels}

    def _silent(self, window) -> np.ndarray:
        """(window's bases,): 0 where a base is measured, NaN elsewhere and beyond the contig."""
        positions = np.arange(window.start, window.end)
        inside = (positions >= 0) & (positions < self.sources.genome.contigs.lengths[window.chrom])
        if self.sources.labels is not None:
            inside &= self.sources.labels.measured(window.chrom, window.strand, positions)
        return np.where(inside, 0.0, np.nan)

    def _from_psi(self, window, positions: np.ndarray, out: dict) -> None:
        sites = self._psi[window.strand]
        row, hit = _best_row(sites, positions, "psi_max")
        hit &= np.isfinite(sites["psi_max"][row]) if len(sites["pos"]) else False
        measured = hit.copy()
        if self.sources.labels is not None:
            measured |= self.sources.labels.measured(window.chrom, window.strand, positions)
        values = {
            "junction_has_support": sites["psi_max"][row] >= _PSI_SUPPORT,
            "junction_tissue_breadth": sites["breadth"][row],
        }
        for name, value in values.items():  # beside junction files the reads decide
            filled = np.where(hit, value, np.where(measured, 0.0, np.nan))
            out[name] = np.where(np.isnan(out[name]), filled, out[name])
        for name, theirs in (("junction_psi", "psi_mean"), ("junction_psi_variance", "psi_variance")):
            out[name] = np.where(np.isnan(out[name]) & hit, sites[theirs][row], out[name])


def _best_row(sites: dict, positions: np.ndarray, by: str) -> tuple[np.ndarray, np.ndarray]:
    """(row of the site at each position, whether there is one); of a donor and an acceptor the one with more `by`.

    Rows are sorted by position, then `by`; an empty table has one row that is never hit.
    """
    row = np.searchsorted(sites["pos"], positions, side="right") - 1
    row = np.clip(row, 0, None)
    return row, sites["pos"][row] == positions


def _largest(sites: dict, window, values: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
    """Per base of the window the largest of the sites' values (n,) there, else `elsewhere` (bases,)."""
    out = elsewhere.copy()
    low, high = np.searchsorted(sites["pos"], (max(window.start, 0), window.end))  # -1 stands for an empty table
    at = sites["pos"][low:high].astype(np.int64) - window.start
    out[at] = -np.inf
    np.maximum.at(out, at, values[low:high])
    return out


def _sorted(columns: dict[str, np.ndarray], by: str) -> dict[str, np.ndarray]:
    if not len(columns["pos"]):
        return {k: np.array([-1 if k == "pos" else np.nan]) for k in columns}
    order = np.lexsort((np.nan_to_num(columns[by], nan=-1), columns["pos"]))
    return {k: v[order] for k, v in columns.items()}


def _by_site(table, chrom: str) -> dict[str, dict]:
    import pyarrow as pa
    import pyarrow.compute as pc

    out = {}
    for strand in "+-":
        part = table.filter(pc.and_(pc.equal(table["chrom"], chrom), pc.equal(table["strand"], strand)))
        names = {"reads", "is_annotated", "psi", "psi_variance", *_FROM_READS.values()}
        columns = {n: part[n].cast(pa.float64()).to_numpy(zero_copy_only=False) for n in names}
        out[strand] = _sorted({"pos": part["pos"].to_numpy(), **columns}, "reads")
    return out


def _psi_by_site(found, genome, chrom: str) -> dict[str, dict]:
    from libmeta import dinucleotides
    from libmeta.introns import unpack

    index, pos, sign, _ = unpack(found.keys)
    # the outer ends of first and last exons are ends of transcripts, not sites: the dinucleotide beside them tells
    fits, _ = dinucleotides.fits(dinucleotides.beside(genome, found.keys), found.keys)
    out = {}
    for strand, value in (("+", 1), ("-", -1)):
        rows = (index == genome.contigs.order[chrom]) & (sign == value) & fits
        columns = {
            "pos": pos[rows],
            "psi_max": found.maximum[rows],
            "psi_mean": found.mean[rows],
            "psi_variance": found.variance[rows],
            "breadth": found.breadth[rows].astype(float),
        }
        out[strand] = _sorted(columns, "psi_max")
    return out


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME, ("psi",))
    if not {"files", "psi"} & set(named):
        raise Absent("no junction evidence, [modalities.junction] in ms.toml; name files = {tissue = ...} or psi = ...")
    if "files" in named:
        named_files(named["files"], f"[modalities.{NAME}] files in {sources.config.name}")
    return Reader(sources, named)
