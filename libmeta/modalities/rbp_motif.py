"""Motifs of RNA-binding proteins around the position: a stand-in where there is no eCLIP. 8 columns."""

import numpy as np
from scipy.ndimage import maximum_filter1d

from libmeta import motifs
from libmeta.errors import MetaError
from libmeta.modalities import Absent, Channel
from libmeta.rbp_genes import HNRNPS, SPLICE_REGULATORS, SR_PROTEINS
from libmeta.schema import Column

NAME = "rbp_motif"
KEYS = ("pwm", "metadata")
REACH = 50
DOC = (
    "From [modalities.rbp_motif] pwm, matrices as ATtRACT has them, and metadata, its table of proteins (without it a "
    f"matrix is its own protein). A match is a k-mer of the transcript with at least {motifs.SHARE:.0%} of the log2 odds "
    f"that its matrix can reach; it counts where its first base lies within +-{REACH} bp."
)
_MISSING = f"no known base within +-{REACH} bp"
_NO_MATCH = f"no match within +-{REACH} bp"


def _column(name: str, doc: str, unit: str = "", missing: str = _MISSING) -> Column:
    return Column(f"motif_{name}", "float32", doc, "feature", unit=unit, min=0, missing=missing)


COLUMNS = (
    _column("n_proteins", "distinct proteins with a match", "proteins"),
    _column("max_score", "highest score of a match", "bits", missing=_NO_MATCH),
    _column("mean_score", "mean score of the matches", "bits", missing=_NO_MATCH),
    _column("n_splice_regulators", "distinct splice regulators among them", "proteins"),
    _column("n_sr_proteins", "distinct SR proteins among them", "proteins"),
    _column("n_hnrnps", "distinct hnRNPs among them", "proteins"),
    _column("density_upstream", f"matches per base of the {REACH} bp upstream", "1/bp"),
    _column("density_downstream", f"matches per base of the {REACH} bp downstream", "1/bp"),
)
CHANNELS = (Channel("motif_n_proteins", COLUMNS[0].doc, COLUMNS[0].unit, missing=_MISSING),)


class Reader:
    def __init__(self, genome, proteins: list[str], tables: list[motifs.KmerMatches], inputs: dict):
        self.genome, self.tables, self.inputs = genome, tables, inputs
        self.columns, self.channels = COLUMNS, CHANNELS
        groups = (frozenset(proteins), SPLICE_REGULATORS, SR_PROTEINS, HNRNPS)
        self.kinds = np.array([[p in g for g in groups] for p in proteins], np.float64)  # (proteins, 4)

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        margin = REACH + motifs.LONGEST
        codes = self.genome.codes(window.chrom, window.start - margin, window.end + margin, window.strand)
        at = positions - window.start + margin
        if window.strand == "-":
            at = len(codes) - 1 - at
        first, protein, score = motifs.scan(codes, self.tables)
        low, high = at - REACH, at + REACH + 1
        matched = np.bincount(first, minlength=len(codes))
        count = _between(matched, low, high)
        best = np.full(len(codes), -np.inf)
        np.maximum.at(best, first, score)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = _between(np.bincount(first, score, len(codes)), low, high) / count
        proteins = self._proteins(first, protein, len(codes))[:, at]
        known = _between(codes > 0, low, high) > 0
        out = {
            "n_proteins": proteins[0],
            "max_score": np.where(count > 0, maximum_filter1d(best, 2 * REACH + 1)[at], np.nan),
            "mean_score": mean,
            "n_splice_regulators": proteins[1],
            "n_sr_proteins": proteins[2],
            "n_hnrnps": proteins[3],
            "density_upstream": _between(matched, low, at) / REACH,
            "density_downstream": _between(matched, at + 1, high) / REACH,
        }
        return {f"motif_{name}": np.where(known, v, np.nan).astype(np.float32) for name, v in out.items()}

    def _proteins(self, first, protein, length: int) -> np.ndarray:
        """(4, L): distinct proteins, splice regulators, SR proteins and hnRNPs with a match within REACH of each base.

        The bases in reach of a protein's matches are joined to stretches; each adds 1 from its start to its end.
        """
        order = np.lexsort((first, protein))
        first, protein = first[order], protein[order]
        new = np.ones(len(first), bool)
        new[1:] = (np.diff(protein) > 0) | (np.diff(first) > 2 * REACH + 1)
        last = np.append(new[1:], True)[: len(first)]
        start = np.maximum(first[new] - REACH, 0)
        end = np.minimum(first[last] + REACH + 1, length)
        weights = self.kinds[protein[new]]
        steps = (np.bincount(start, w, length + 1) - np.bincount(end, w, length + 1) for w in weights.T)
        return np.stack([np.cumsum(step)[:-1] for step in steps])

    def dense(self, window) -> dict[str, np.ndarray]:
        out = np.full(window.end - window.start, np.nan, np.float32)
        low, high = max(window.start, 0), min(window.end, self.genome.contigs.lengths[window.chrom])
        if low < high:
            out[low - window.start : high - window.start] = self.read(window, np.arange(low, high))["motif_n_proteins"]
        return {"motif_n_proteins": out}


def _between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Sum of values[low:high] for each pair, float64 (n,)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return total[high] - total[low]


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME, KEYS)
    if "pwm" not in named:
        raise Absent(f"no motifs, [modalities.{NAME}] in ms.toml; name pwm and metadata, ATtRACT's two files")
    owners = motifs.proteins_of(named["metadata"]) if "metadata" in named else None
    proteins, tables = motifs.matches(motifs.read_matrices(named["pwm"]), owners)
    if not tables:
        raise MetaError(f"no matrix of at least {motifs.LEAST:g} bits with a protein, {named['pwm']}; check both files")
    return Reader(sources.genome, proteins, tables, {k: str(named[k]) for k in KEYS if k in named})
