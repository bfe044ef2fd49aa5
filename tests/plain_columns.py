"""The bigWig and peak columns of one position at a time, as scripts around pyBigWig make them: the peer of bench-features."""

import math
import re
from bisect import bisect_left, bisect_right

import numpy as np
import pyBigWig

from libmeta.modalities import chrom_access, conservation, epigenetic
from libmeta.rbp_genes import HNRNPS, SPLICE_REGULATORS, SR_PROTEINS

NAN = math.nan


class PlainColumns:
    """settings: a Config whose sources are bigWigs and narrowPeaks; each is opened once."""

    def __init__(self, settings):
        def opened(modality: str, key: str) -> list:
            named = settings.modality(modality)[key]
            return [pyBigWig.open(str(p)) for p in (named.values() if isinstance(named, dict) else [named])]

        self.conserved = {k: opened("conservation", k)[0] for k in conservation.TRACKS}
        self.marks = {k: opened("epigenetic", k) for k in epigenetic.MARKS}
        self.assays = {k: opened("chrom_access", k) for k in chrom_access.ASSAYS}
        self.exons = {s: opened("exon_prob", k)[0] for s, k in (("+", "plus"), ("-", "minus"))}
        self.peaks = [(*key.split("_"), _peaks(path)) for key, path in settings.modality("rbp_eclip")["files"].items()]

    def columns(self, chrom: str, pos: int, strand: str) -> dict[str, float]:
        out = {}
        for name, track in self.conserved.items():
            around = values(track, chrom, pos - conservation.REACH, pos + conservation.REACH + 1)
            out[f"conservation.{name}_score"] = around[conservation.REACH]
            for word, of in (("mean", np.mean), ("max", np.max), ("std", np.std)):
                out[f"conservation.{name}_context_{word}"] = known(around, of)
        out["conservation.conservation_contrast"] = (
            out["conservation.phylop_score"] - out["conservation.phylop_context_mean"]
        )
        for mark, tracks in self.marks.items():
            found, around = tissues(tracks, chrom, pos, epigenetic.ABOVE, epigenetic.REACH)
            out |= {f"epigenetic.{mark}_{k}": v for k, v in found.items()}
            up, down = around(pos - epigenetic.FLANK, pos), around(pos + 1, pos + 1 + epigenetic.FLANK)
            if strand == "-":
                up, down = down, up
            out[f"epigenetic.{mark}_exon_intron_ratio"] = math.log2(up + 1) - math.log2(down + 1)
        for assay, tracks in self.assays.items():
            found, _ = tissues(tracks, chrom, pos, chrom_access.ABOVE[assay], chrom_access.REACH)
            top = found["max_across_tissues"]
            found["has_peak"] = NAN if math.isnan(top) else float(top > chrom_access.PEAK[assay])
            out |= {f"chrom_access.{assay}_{k}": v for k, v in found.items()}
        out["exon_prob.exon_prob"] = values(self.exons[strand], chrom, pos, pos + 1)[0]
        return out | self._bound(chrom, pos, strand)

    def _bound(self, chrom: str, pos: int, strand: str) -> dict[str, float]:
        hits = [(p, c, s, q) for p, c, peaks in self.peaks for s, q in peaks.over(chrom, pos, strand)]
        proteins = {h[0] for h in hits}
        signal, strength = [h[2] for h in hits] or [0.0], [h[3] for h in hits] or [0.0]
        found = {
            "n_bound": len(proteins),
            "max_signal": max(signal),
            "max_neg_log10_pvalue": max(strength),
            "has_splice_regulator": float(bool(proteins & set(SPLICE_REGULATORS))),
            "n_sr_proteins": len(proteins & set(SR_PROTEINS)),
            "n_hnrnps": len(proteins & set(HNRNPS)),
            "cell_line_breadth": len({h[1] for h in hits}),
            "mean_signal": sum(signal) / len(signal),
        }
        return {f"rbp_eclip.rbp_{k}": float(v) for k, v in found.items()}


def tissues(tracks: list, chrom: str, pos: int, above: float, reach: int):
    """The columns of a mark, and what gives the mean of a stretch [low, high) across its tissues."""
    margin = max(reach, epigenetic.FLANK)
    stacked = np.stack([values(t, chrom, pos - margin, pos + margin + 1) for t in tracks])
    has = np.isfinite(stacked)
    count = has.sum(axis=0)
    mean = np.where(count > 0, np.where(has, stacked, 0).sum(axis=0) / np.maximum(count, 1), NAN)

    def around(low: int, high: int) -> float:
        return known(mean[low - pos + margin : high - pos + margin], np.mean)

    here = stacked[:, margin]
    found = {
        "max_across_tissues": known(here, np.max),
        "mean_across_tissues": known(here, np.mean),
        "tissue_breadth": known(here, lambda x: float((x > above).sum())),
        "variance": known(here, np.var),
        "context_mean": around(pos - reach, pos + reach + 1),
    }
    return found, around


def values(track, chrom: str, start: int, end: int) -> np.ndarray:
    """float64 (end - start,), NaN where the track has none and beyond the contig."""
    low, high = max(start, 0), min(end, track.chroms(chrom))
    out = np.full(end - start, NAN)
    out[low - start : high - start] = track.values(chrom, low, high, numpy=True)
    return out


def known(of: np.ndarray, what) -> float:
    of = of[np.isfinite(of)]
    return float(what(of)) if len(of) else NAN


class _peaks:
    """The peaks of a narrowPeak file with -log10 p of at least 2, by contig and strand, sorted by start."""

    def __init__(self, path):
        self.rows: dict[tuple, list] = {}
        with open(path) as lines:
            for line in lines:
                chrom, start, end, _, _, strand, signal, p, *_ = re.split(r"\t", line)
                if float(p) >= 2:
                    row = (int(start), int(end), float(signal), float(p))
                    self.rows.setdefault((chrom, strand), []).append(row)
        self.starts = {k: [r[0] for r in rows] for k, rows in self.rows.items()}
        self.longest = max((r[1] - r[0] for rows in self.rows.values() for r in rows), default=0)

    def over(self, chrom: str, pos: int, strand: str) -> list[tuple[float, float]]:
        """(signal, -log10 p) of the peaks over a position."""
        rows, starts = (x.get((chrom, strand), []) for x in (self.rows, self.starts))
        low, high = bisect_left(starts, pos - self.longest), bisect_right(starts, pos)
        return [(s, p) for _, end, s, p in rows[low:high] if end > pos]
