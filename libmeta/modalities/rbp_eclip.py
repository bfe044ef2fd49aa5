"""RNA-binding proteins bound at the position, from eCLIP peaks: 8 columns."""

import os
import re

import numpy as np

from libmeta.errors import USAGE, MetaError
from libmeta.interval_files import IntervalFile
from libmeta.interval_tracks import Steps, sweep
from libmeta.modalities import Absent, Channel
from libmeta.rbp_genes import HNRNPS, SPLICE_REGULATORS, SR_PROTEINS
from libmeta.schema import Column

NAME = "rbp_eclip"
KEYS = ("files",)
LEAST = 2.0  # -log10 p
DOC = (
    "From [modalities.rbp_eclip] files = {RBFOX2_HepG2 = narrowPeak, ...} (a key without _ leaves the naming to the peaks, "
    f"RBFOX2_HepG2_rep01). Peaks of the position's own strand with -log10 p >= {LEAST:g}. Without a peak all columns are 0; "
    "what a splice regulator, an SR protein or an hnRNP is, says libmeta/rbp_genes.py."
)
_MISSING = "no file has a peak on the contig"


def _column(name: str, doc: str, unit: str = "", low: float | None = 0, high: float | None = None) -> Column:
    return Column(f"rbp_{name}", "float32", doc, "feature", unit=unit, min=low, max=high, missing=_MISSING)


COLUMNS = (
    _column("n_bound", "distinct proteins with a peak", "proteins"),
    _column("max_signal", "highest signalValue of its peaks", "log2 fold enrichment", None),
    _column("max_neg_log10_pvalue", "highest -log10 p of its peaks", "-log10 p"),
    _column("has_splice_regulator", "1 if one of the proteins regulates splicing", high=1),
    _column("n_sr_proteins", "distinct SR proteins among them", "proteins"),
    _column("n_hnrnps", "distinct hnRNPs among them", "proteins"),
    _column("cell_line_breadth", "distinct cell lines with a peak", "cell lines"),
    _column("mean_signal", "mean signalValue of its peaks, replicates apart", "log2 fold enrichment", None),
)
CHANNELS = (Channel("rbp_n_bound", COLUMNS[0].doc, COLUMNS[0].unit, log1p=True, missing=_MISSING),)
_NAME = re.compile(r"^([^_]+)_([^_]+)(_.*)?$")  # protein, cell line, replicate


class _Names:
    """Proteins and cell lines in the order in which they are met."""

    def __init__(self):
        self.proteins: dict[str, int] = {}
        self.cells: dict[str, int] = {}

    def add(self, text: str, where: str) -> tuple[int, int]:
        match = _NAME.match(text)
        if not match:
            raise MetaError(
                f"neither the key nor the peak name {text!r} tells protein and cell line, {where}; write the key as "
                "PROTEIN_CELL, RBFOX2_HepG2 say",
                USAGE,
            )
        protein, cell = match[1].upper(), match[2].upper()  # k562 is no further cell line
        return self.proteins.setdefault(protein, len(self.proteins)), self.cells.setdefault(cell, len(self.cells))


class Reader:
    """Peaks of one contig at a time become steps: a table of the 8 values for each stretch that they cover."""

    def __init__(self, files: dict[str, IntervalFile], contigs, where: str):
        self.files, self.contigs, self.where = files, contigs, where
        self.columns, self.channels = COLUMNS, CHANNELS
        self.opened = {f"files.{key}": file for key, file in files.items()}
        self.inputs = {key: file.path for key, file in self.opened.items()}
        self._names = _Names()
        self._chrom, self._steps = None, {}

    def _load(self, chrom: str) -> None:
        self._chrom, self._steps = chrom, {}
        if not any(chrom in file for file in self.files.values()):
            return
        parts = [self._peaks(key, file, chrom) for key, file in self.files.items() if chrom in file]
        start, end, strand, signal, p, protein, cell = (np.concatenate(c) for c in zip(*parts, strict=True))
        for name, sign in (("+", 1), ("-", -1)):
            on = strand == sign
            kinds = self._kinds()
            self._steps[name] = _steps(start[on], end[on], signal[on], p[on], protein[on], cell[on], kinds)

    def _peaks(self, key: str, file: IntervalFile, chrom: str) -> tuple[np.ndarray, ...]:
        found = file.intervals(chrom)
        where = f"{self.where}.{key}"
        if not file.tells_p:
            raise MetaError(f"no -log10 p in column 8, {file.path}; give the narrowPeak of input-normalised eCLIP")
        if (found.strand == 0).any():
            i = int(np.argmax(found.strand == 0))
            at = f"{chrom}:{found.start[i]}-{found.end[i]}"
            raise MetaError(f"peak without a strand ({at}), {file.path}; eCLIP peaks are stranded")
        if "_" in key:
            named = np.array([self._names.add(key, where)] * len(file.names) or [(0, 0)])
        else:
            used = set(np.unique(found.name).tolist())
            named = np.array(
                [self._names.add(n, where) if i in used else (0, 0) for i, n in enumerate(file.names)], int
            )
        who = named.reshape(-1, 2)[found.name]
        start, end = found.start.astype(np.int64), found.end.astype(np.int64)
        return start, end, found.strand, found.value, found.neg_log10_p, who[:, 0], who[:, 1]

    def _kinds(self) -> dict[str, np.ndarray]:
        proteins = list(self._names.proteins)
        groups = {"regulator": SPLICE_REGULATORS, "sr": SR_PROTEINS, "hnrnp": HNRNPS}
        return {kind: np.array([p in group for p in proteins], bool) for kind, group in groups.items()}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        if window.chrom != self._chrom:
            self._load(window.chrom)
        steps = self._steps.get(window.strand)
        if steps is None:
            return {c.name: np.full(len(positions), np.nan, np.float32) for c in COLUMNS}
        row, hit = steps.at(positions)
        out = np.zeros((len(COLUMNS), len(positions)), np.float32)
        out[:, hit] = steps.values[row[hit]].T
        return {c.name: values for c, values in zip(COLUMNS, out, strict=True)}

    def dense(self, window) -> dict[str, np.ndarray]:
        if window.chrom != self._chrom:
            self._load(window.chrom)
        out = np.full(window.end - window.start, np.nan, np.float32)
        steps = self._steps.get(window.strand)
        low, high = max(window.start, 0), min(window.end, self.contigs.lengths[window.chrom])
        if steps is not None and low < high:
            out[low - window.start : high - window.start] = steps.dense(steps.values[:, 0], low, high, 0.0)
        return {"rbp_n_bound": out}


def _steps(start, end, signal, p, protein, cell, kinds: dict[str, np.ndarray]) -> Steps:
    """The 8 columns of every stretch under a peak, as steps with values float32 (n, 8)."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(COLUMNS)), np.float32))]
    for low, high, stretch, peak in sweep(start, end):
        covered, at, row = np.unique(stretch, return_index=True, return_inverse=True)
        if not len(covered):
            continue
        who = _distinct(row, protein[peak], len(kinds["sr"]))
        where = _distinct(row, cell[peak], int(cell.max()) + 1)

        value = signal[peak].astype(np.float64)
        table = (
            _count(who),
            np.maximum.reduceat(value, at),
            np.maximum.reduceat(p[peak], at),
            _count(who, kinds["regulator"]) > 0,
            _count(who, kinds["sr"]),
            _count(who, kinds["hnrnp"]),
            _count(where),
            np.bincount(row, value) / np.bincount(row),
        )
        found.append((low[covered], high[covered], np.stack(table, axis=1).astype(np.float32)))
    return Steps(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _count(pairs: tuple[np.ndarray, np.ndarray], only: np.ndarray | None = None) -> np.ndarray:
    """Items of each row, of those that `only` (by item) holds for; every row has an item."""
    row, item = pairs
    return np.bincount(row, None if only is None else only[item].astype(np.float64))


def _distinct(row: np.ndarray, item: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct (row, item) pairs; items are in [0, size)."""
    return np.divmod(np.unique(row.astype(np.int64) * size + item), size)


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME)
    where = f"[modalities.{NAME}] files in {sources.config.name}"
    if not named.get("files"):
        raise Absent("no eCLIP peaks, [modalities.rbp_eclip] in ms.toml; name files = {PROTEIN_CELL = narrowPeak, ...}")
    seen: dict[str, str] = {}
    for key, path in named["files"].items():
        if (other := seen.setdefault(os.path.realpath(path), key)) != key:
            raise MetaError(f"one file for {other} and {key} ({path}), {where}; name each file once", USAGE)
    files = {key: IntervalFile(path, sources.genome.contigs, LEAST) for key, path in named["files"].items()}
    if odd := next((f for f in files.values() if f.layout.kind != "narrowPeak"), None):
        raise MetaError(f"{odd.layout.kind} where eCLIP peaks are needed, {odd.path}; give narrowPeak, with -log10 p")
    return Reader(files, sources.genome.contigs, where)
