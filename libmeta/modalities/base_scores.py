"""What the base model says of the position and its neighbours: 43 columns per base model (science.md section 2)."""

import numpy as np

from libmeta.modalities import Absent
from libmeta.schema import Column

NAME = "base_scores"
KEYS = ()
DOC = (
    "Of donor d, acceptor a, neither n and s = max(d, a) at the position and its true neighbours m2 m1 p1 p2 in "
    "transcript orientation. eps = 1e-6. The first base model of ms.toml; each further one adds the same columns as "
    "base_scores.NAME.*."
)
EPS = 1e-6
REACH = 2  # neighbours on each side
SITES = ("donor", "acceptor")
_MISSING = "the base model did not score the position or a neighbour (contig end, edge of the scored regions)"


def _column(name: str, doc: str, low: float | None = None, high: float | None = None) -> Column:
    return Column(name, "float32", doc, role="feature", min=low, max=high, missing=_MISSING)


def _per_site(t: str) -> list[Column]:
    return [
        _column(f"{t}_diff_m1", f"{t}(0) - {t}(m1)", -1, 1),
        _column(f"{t}_diff_p1", f"{t}(0) - {t}(p1)", -1, 1),
        _column(f"{t}_diff_m2", f"{t}(0) - {t}(m2)", -1, 1),
        _column(f"{t}_diff_p2", f"{t}(0) - {t}(p2)", -1, 1),
        _column(f"{t}_surge_ratio", "t / (t + m1 + p1 + eps)", 0, 1),
        _column(f"{t}_is_local_peak", "1 if t > m1 and t > p1", 0, 1),
        _column(f"{t}_weighted_context", "0.4 t + 0.2 (m1 + p1) + 0.1 (m2 + p2)", 0, 1),
        _column(f"{t}_peak_height_ratio", "t / (t + mean of the four neighbours + eps)", 0, 1),
        _column(f"{t}_second_derivative", "m1 - 2 t + p1", -2, 2),
        _column(f"{t}_signal_strength", "t - mean of the four neighbours", -1, 1),
        _column(f"{t}_context_diff_ratio", "t / (t + maximum of the four neighbours + eps)", 0, 1),
    ]


COLUMNS = (
    _column("donor_score", "d", 0, 1),
    _column("acceptor_score", "a", 0, 1),
    _column("neither_score", "n = 1 - d - a", 0, 1),
    _column("context_score_m2", "s two bases upstream", 0, 1),
    _column("context_score_m1", "s one base upstream", 0, 1),
    _column("context_score_p1", "s one base downstream", 0, 1),
    _column("context_score_p2", "s two bases downstream", 0, 1),
    _column("relative_donor_probability", "d / (d + a + eps)", 0, 1),
    _column("splice_probability", "d + a", 0, 1),
    _column("donor_acceptor_diff", "(d - a) / (max(d, a) + eps)", -1, 1),
    _column("splice_neither_diff", "(d + a - n) / (max(d + a, n) + eps)", -1, 1),
    _column("donor_acceptor_logodds", "ln((d + eps) / (a + eps))", -14, 14),
    _column("splice_neither_logodds", "ln((d + a + eps) / (n + eps))", -14, 14),
    _column("probability_entropy", "-sum p ln p over d, a, n (nats)", 0, 1.1),
    _column("context_neighbor_mean", "mean of s over the four neighbours", 0, 1),
    _column("context_asymmetry", "(m1 + m2) - (p1 + p2) of s", -2, 2),
    _column("context_max", "maximum of s over the four neighbours", 0, 1),
    *_per_site("donor"),
    *_per_site("acceptor"),
    _column("donor_acceptor_peak_ratio", "donor_peak_height_ratio - acceptor_peak_height_ratio", -1, 1),
    _column("type_signal_difference", "donor_signal_strength - acceptor_signal_strength", -2, 2),
    _column("score_difference_ratio", "(d - a) / (d + a + eps)", -1, 1),
    _column("signal_strength_ratio", "ln((max(donor signal, 0) + eps) / (max(acceptor signal, 0) + eps))", -14, 14),
)


def compute(donor: np.ndarray, acceptor: np.ndarray) -> dict[str, np.ndarray]:
    """The 43 columns.

    donor, acceptor: (n, 5) probabilities at m2, m1, 0, p1, p2 in transcript orientation; NaN where unknown.
    Returns {name: float32 (n,)}; NaN where an input of that column is unknown.
    """
    d, a = donor[:, 2].astype(np.float64), acceptor[:, 2].astype(np.float64)
    n = np.maximum(1 - d - a, 0)
    s = np.maximum(donor, acceptor).astype(np.float64)
    around = s[:, [0, 1, 3, 4]]
    p = np.stack([d, a, n])
    out = {"donor_score": d, "acceptor_score": a, "neither_score": n}
    out |= {f"context_score_{k}": s[:, i] for k, i in (("m2", 0), ("m1", 1), ("p1", 3), ("p2", 4))}
    out["relative_donor_probability"] = d / (d + a + EPS)
    out["splice_probability"] = d + a
    out["donor_acceptor_diff"] = (d - a) / (np.maximum(d, a) + EPS)
    out["splice_neither_diff"] = (d + a - n) / (np.maximum(d + a, n) + EPS)
    out["donor_acceptor_logodds"] = np.log((d + EPS) / (a + EPS))
    out["splice_neither_logodds"] = np.log((d + a + EPS) / (n + EPS))
    out["probability_entropy"] = -(p * np.log(np.maximum(p, 1e-30))).sum(0)
    out["context_neighbor_mean"] = around.mean(1)
    out["context_asymmetry"] = (s[:, 1] + s[:, 0]) - (s[:, 3] + s[:, 4])
    out["context_max"] = around.max(1)
    for site, t in (("donor", donor), ("acceptor", acceptor)):
        out |= {f"{site}_{k}": v for k, v in _shape(t.astype(np.float64)).items()}
    out["donor_acceptor_peak_ratio"] = out["donor_peak_height_ratio"] - out["acceptor_peak_height_ratio"]
    out["type_signal_difference"] = out["donor_signal_strength"] - out["acceptor_signal_strength"]
    out["score_difference_ratio"] = (d - a) / (d + a + EPS)
    strength = [np.maximum(out[f"{site}_signal_strength"], 0) + EPS for site in SITES]
    out["signal_strength_ratio"] = np.log(strength[0] / strength[1])
    return {name: values.astype(np.float32) for name, values in out.items()}


def _shape(t: np.ndarray) -> dict[str, np.ndarray]:
    """The 11 columns of one kind of site from its probabilities (n, 5)."""
    m2, m1, here, p1, p2 = t.T
    mean, top = (m2 + m1 + p1 + p2) / 4, np.max(t[:, [0, 1, 3, 4]], axis=1)
    peak = np.where(np.isnan(m1 + here + p1), np.nan, (here > m1) & (here > p1))
    return {
        "diff_m1": here - m1,
        "diff_p1": here - p1,
        "diff_m2": here - m2,
        "diff_p2": here - p2,
        "surge_ratio": here / (here + m1 + p1 + EPS),
        "is_local_peak": peak,
        "weighted_context": 0.4 * here + 0.2 * (m1 + p1) + 0.1 * (m2 + p2),
        "peak_height_ratio": here / (here + mean + EPS),
        "second_derivative": m1 - 2 * here + p1,
        "signal_strength": here - mean,
        "context_diff_ratio": here / (here + top + EPS),
    }


class Reader:
    """Reads every base model of the sources; the first under the plain names, further ones under NAME.*."""

    def __init__(self, models: dict):
        self.models = models
        self.inputs = {f"{n}.{k}": p for n, m in models.items() for k, p in m.inputs.items()}
        first, *others = models
        self.prefixes = {first: "", **{name: f"{name}." for name in others}}
        self.columns = tuple(
            Column(f"{prefix}{c.name}", c.type, c.doc, c.role, min=c.min, max=c.max, missing=c.missing)
            for prefix in self.prefixes.values()
            for c in COLUMNS
        )

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        out = {}
        reach = np.arange(-REACH, REACH + 1)
        if window.strand == "-":
            reach = -reach
        index = positions[:, None] - (window.start - REACH) + reach
        for name, prefix in self.prefixes.items():
            donor, acceptor = window.base_scores(name, REACH)
            out |= {f"{prefix}{k}": v for k, v in compute(donor[index], acceptor[index]).items()}
        return out


def open_source(sources) -> Reader:
    if not sources.base_scores:
        raise Absent("no base scores, [base_scores.NAME] in ms.toml; run ms-basescore and name its prefix there")
    return Reader(sources.base_scores)
