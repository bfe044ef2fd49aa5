"""Hide a share of the sites: labels with known gaps, to measure what a model finds that nobody told it."""

import numpy as np

from libmeta.introns import NEITHER
from libmeta.sampling import uniform
from libmeta.sites import Sites


def hide(sites: Sites, share: float, seed: int) -> tuple[Sites, Sites, int]:
    """(sites as a model in training sees them, sites to evaluate on, number hidden).

    Each positive site is hidden with probability `share`, by a hash of its key and the seed: whatever else is in the
    table, the same site has the same lot. For training a hidden site is "neither" with weight 1, as any position that
    nobody has annotated; to evaluate on, the hidden sites are the positives and all other sites are masked.
    """
    label, weight = sites.table["label"].to_numpy(), sites.table["weight"].to_numpy()
    hidden = (label < NEITHER) & (weight > 0) & (_lot(sites.table, seed) < share)
    told = sites.labelled(np.where(hidden, NEITHER, label), np.where(hidden, 1.0, weight))
    return told, sites.labelled(label, np.where(hidden, 1.0, 0.0)), int(hidden.sum())


def _lot(table, seed: int) -> np.ndarray:
    """A number in [0, 1) for each site, float64 (n,)."""
    out = np.zeros(table.num_rows)
    codes = {c: table[c].combine_chunks().dictionary_encode() for c in ("chrom", "strand", "site")}
    index = {c: a.indices.to_numpy() for c, a in codes.items()}
    pos = table["pos"].to_numpy()
    for i, chrom in enumerate(codes["chrom"].dictionary.to_pylist()):
        for j, strand in enumerate(codes["strand"].dictionary.to_pylist()):
            for k, site in enumerate(codes["site"].dictionary.to_pylist()):
                mine = (index["chrom"] == i) & (index["strand"] == j) & (index["site"] == k)
                out[mine] = uniform(seed, f"{chrom}|{site}", strand, pos[mine])
    return out
