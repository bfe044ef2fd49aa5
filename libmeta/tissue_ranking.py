"""Is the right tissue ranked first? Within one site, over the tissues in which it is known (science.md section 5).

A site tells something only where it is active in one tissue and inactive in another. All arrays are (S, T): score any
order of tissues, state ACTIVE, INACTIVE or UNKNOWN.
"""

import numpy as np

from libmeta.site_tissues import ACTIVE, INACTIVE, UNKNOWN


def telling(state: np.ndarray) -> np.ndarray:
    """bool (S,): active in some tissue and inactive in another."""
    return (state == ACTIVE).any(axis=1) & (state == INACTIVE).any(axis=1)


def average_precision(score: np.ndarray, state: np.ndarray) -> np.ndarray:
    """AP of each site's tissues by score, float64 (S,). Of telling sites only.

    Tissues of one score stand in any order, and the mean over these is taken (McSherry and Najork 2008): one score for all
    tissues is no better and no worse than chance().
    """
    known = state != UNKNOWN
    order = np.argsort(np.where(known, -score.astype(np.float64), np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(np.where(known, score, np.nan), order, axis=1)  # NaN differs from all, itself too
    hit = np.take_along_axis(state == ACTIVE, order, axis=1)
    rank = np.broadcast_to(np.arange(score.shape[1]), score.shape)
    change = np.ones((len(score), score.shape[1] + 1), bool)
    change[:, 1:-1] = ranked[:, 1:] != ranked[:, :-1]
    start = np.maximum.accumulate(np.where(change[:, :-1], rank, 0), axis=1)
    end = np.minimum.accumulate(np.where(change[:, 1:], rank, rank.max(initial=0))[:, ::-1], axis=1)[:, ::-1]
    found = np.cumsum(hit, axis=1)
    before = np.take_along_axis(found - hit, start, axis=1)
    among, size = np.take_along_axis(found, end, axis=1) - before, end - start + 1
    # at each rank of a group: the chance of an active tissue, and the precision if there is one
    precision = (before + 1 + (rank - start) * (among - 1) / np.maximum(size - 1, 1)) / (rank + 1)
    return (among / size * precision).sum(axis=1) / hit.sum(axis=1)


def auc(score: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Share of (active, inactive) pairs of tissues in the right order, ties half, float64 (S,). Of telling sites only."""
    out = np.empty(len(score))
    for i, (row, known) in enumerate(zip(score, state, strict=True)):
        gap = row[known == ACTIVE][:, None] - row[known == INACTIVE][None]
        out[i] = (gap > 0).mean() + (gap == 0).mean() / 2
    return out


def chance(state: np.ndarray) -> np.ndarray:
    """Mean AP of each site over all orders of its tissues, float64 (S,): what a model without an opinion may hope for.

    With n tissues, p of them active: (1/n) sum over ranks i of (1 + (i - 1)(p - 1)/(n - 1)) / i, a little above p/n.
    """
    n, p = (state != UNKNOWN).sum(axis=1), (state == ACTIVE).sum(axis=1)
    harmonic = np.cumsum(1 / np.arange(1, max(state.shape[1], 1) + 1))[n - 1]
    slope = (p - 1) / (n - 1)
    return slope + (1 - slope) * harmonic / n


def activity(state: np.ndarray) -> np.ndarray:
    """The prior of each tissue by itself, float64 (T,): share of telling sites that are active, among those known there.

    One half is added to either count, so that a tissue without any stands in the middle.
    """
    state = state[telling(state)]
    active = (state == ACTIVE).sum(axis=0)
    return (active + 0.5) / ((state != UNKNOWN).sum(axis=0) + 1)
