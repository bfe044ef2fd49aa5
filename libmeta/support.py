"""Junction reads -> what they say of each splice site. Vectorised over introns; one pass per tissue."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta.introns import DONOR, flanking_sites, unpack

PSI_ACTIVE = 0.1


def site_support(junctions: pa.Table, min_support: int = 3, tissues: tuple[str, ...] = ()) -> pa.Table:
    """Evidence per site from a junctions table (schema `junctions`, sorted): one row per (chrom, pos, strand, site).

    Every intron supports the donor and the acceptor that flank it. Columns, by site:
    chrom, pos (0-based), strand, site; reads (over tissues and partners), unique_reads (null where a source does not
    tell), partners (distinct sites at the other end), max_reads (of one intron, summed over tissues), entropy (bits,
    of the reads over partners), is_annotated (an intron of it is called annotated; null where no source tells);
    tissue_breadth (tissues with >= min_support reads), tissue_max, tissue_mean, tissue_variance (reads in a tissue;
    mean and population variance over all tissues of the table, those without reads count as 0), tissues (names of the
    breadth);
    psi, psi_max, psi_mean, psi_variance, psi_breadth (tissues with PSI > 0.1), psi_tissues (tissues where PSI was
    measured).

    tissues: those that were measured, where the table is a part (one contig, say) in which some may have no read.

    PSI of a site is its usage among the introns that compete with it, as psi3 (donors) and psi5 (acceptors) of
    Pervouchine 2013, pooled over partners: in a tissue, reads of the site / reads of all introns that share a partner
    with it. It is measured where that denominator is at least min_support; `psi` is the same over all tissues together.
    Null where it was not measured.
    """
    names, introns = _introns(junctions)
    n_sites = len(introns.keys)
    told = np.ones(n_sites, bool)
    told[introns.sides[:, introns.unique < 0].ravel()] = False
    unique = introns.at_sites(np.maximum(introns.unique, 0))
    flag = [np.zeros(n_sites, bool) for _ in range(2)]
    for hit, value in zip(flag, (introns.annotated > 0, introns.annotated >= 0), strict=True):
        hit[introns.sides[:, value].ravel()] = True
    reads = introns.at_sites(introns.reads)
    pooled = _usage(introns, introns.reads)
    psi = np.where(pooled[1] >= min_support, pooled[0], np.nan)
    tissue = _over_tissues(junctions, introns, min_support, tissues)
    chrom, pos, strand, site = unpack(introns.keys)
    columns = {
        "chrom": pa.array(names, pa.string()).take(pa.array(chrom)),
        "pos": pa.array(pos),
        "strand": pa.array(np.where(strand > 0, "+", "-").astype(object), pa.string()),
        "site": pa.array(np.where(site == DONOR, "donor", "acceptor").astype(object), pa.string()),
        "reads": pa.array(reads.astype(np.int64)),
        "unique_reads": pa.array(unique.astype(np.int64), mask=~told),
        "partners": pa.array(introns.at_sites(np.ones(len(introns.reads))).astype(np.int32)),
        "max_reads": pa.array(introns.max_at_sites(introns.reads)),
        "entropy": pa.array(_entropy(introns, reads).astype(np.float32)),
        "is_annotated": pa.array(flag[0], mask=~flag[1]),
        **tissue,
        "psi": _nullable(psi),
    }
    return pa.table(columns)


@dataclass(frozen=True)
class TissueUse:
    """Use of sites by tissue: keys int64 (S,) sorted, as site_support has its rows; names (T,), sorted; reads int64 and psi
    float32 (S, T), NaN where fewer than min_support reads compete; row_tissue (N,): index into names of each row of the
    junctions table."""

    keys: np.ndarray
    names: list[str]
    reads: np.ndarray
    psi: np.ndarray
    row_tissue: np.ndarray


def by_tissue(junctions: pa.Table, keys: np.ndarray, min_support: int = 3) -> TissueUse:
    """Reads and PSI of every site in every tissue of a junctions table. keys: of the rows of site_support(junctions)."""
    _, introns = _introns(junctions)
    names = sorted(pc.unique(junctions["tissue"]).to_pylist())
    code = pc.index_in(junctions["tissue"], pa.array(names)).to_numpy()
    counts = junctions["reads"].to_numpy()
    reads = np.zeros((len(keys), len(names)), np.int64)
    psi = np.full(reads.shape, np.nan, np.float32)
    for t in range(len(names)):
        mine = code == t
        here = np.bincount(introns.row_intron[mine], counts[mine], len(introns.reads))
        reads[:, t] = introns.at_sites(here)
        usage, rivals = _usage(introns, here)
        psi[:, t] = np.where(rivals >= min_support, usage, np.nan)
    return TissueUse(keys, names, reads, psi, code)


@dataclass
class _Introns:
    """Distinct introns (U,) of a table: reads and unique reads over tissues (unique -1: a source does not tell),
    annotated (-1 not told); row_intron (N,) the intron of each row; keys (S,) sorted site keys; sides (2, U): index of
    the donor and of the acceptor of each intron in keys."""

    row_intron: np.ndarray
    reads: np.ndarray
    unique: np.ndarray
    annotated: np.ndarray
    keys: np.ndarray
    sides: np.ndarray

    def at_sites(self, values: np.ndarray) -> np.ndarray:
        """Sum over the introns of each site, float64 (S,), exact below 2^53."""
        return sum(np.bincount(side, values, len(self.keys)) for side in self.sides)

    def max_at_sites(self, values: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.keys), np.int64)
        for side in self.sides:
            np.maximum.at(out, side, values)
        return out


def _introns(table: pa.Table) -> tuple[list[str], _Introns]:
    table = table.combine_chunks()
    coded = pc.dictionary_encode(pa.chunked_array(table["chrom"]).combine_chunks())
    names = coded.dictionary.to_pylist()
    chrom = coded.indices.to_numpy().astype(np.int64)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    strand = np.where(pc.equal(table["strand"], "+").to_numpy(zero_copy_only=False), 1, -1)
    keys = np.stack([chrom, start, end, strand])
    fresh = np.r_[True, (np.diff(keys) != 0).any(0)] if keys.shape[1] else np.zeros(0, bool)
    first = np.flatnonzero(fresh)
    row_intron = np.cumsum(fresh) - 1

    def reduce(function, name, fill):
        values = pc.fill_null(pc.cast(table[name], pa.int64()), fill).to_numpy()
        return function.reduceat(values, first) if len(first) else np.zeros(0, np.int64)

    unique = np.where(reduce(np.minimum, "unique_reads", -1) < 0, -1, reduce(np.add, "unique_reads", -1))
    donor, acceptor = flanking_sites(chrom[first], start[first], end[first], strand[first])
    sites, inverse = np.unique(np.concatenate([donor, acceptor]), return_inverse=True)
    return names, _Introns(row_intron, reduce(np.add, "reads", 0), unique, reduce(np.maximum, "annotated", -1), sites,
                           inverse.reshape(2, -1))  # fmt: skip


def _entropy(introns: _Introns, reads: np.ndarray) -> np.ndarray:
    """Shannon entropy in bits of a site's reads over its partners."""
    out = np.zeros(len(reads))
    for side in introns.sides:
        p = introns.reads / reads[side]
        out += np.bincount(side, -p * np.log2(p), len(reads))
    return np.maximum(out, 0)


def _usage(introns: _Introns, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(PSI with 0/0 = NaN, denominator), float64 (S,), for reads per intron (U,)."""
    own = introns.at_sites(counts)
    donor, acceptor = introns.sides
    rivals = np.bincount(donor, own[acceptor], len(own)) + np.bincount(acceptor, own[donor], len(own))
    return np.divide(own, rivals, out=np.full(len(own), np.nan), where=rivals > 0), rivals


def _over_tissues(
    table: pa.Table, introns: _Introns, min_support: int, tissues: tuple[str, ...]
) -> dict[str, pa.Array]:
    """Statistics over tissues, accumulated one tissue at a time."""
    coded = pc.dictionary_encode(pa.chunked_array(table["tissue"]).combine_chunks())
    # names in order, so that the lists of tissues come out sorted
    names = sorted({*coded.dictionary.to_pylist(), *tissues})
    rank = {n: i for i, n in enumerate(names)}
    code = np.array([rank[n] for n in coded.dictionary.to_pylist()], int)[coded.indices.to_numpy()]
    rows = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[rows], np.arange(len(names) + 1))
    reads = table["reads"].to_numpy()
    n = len(introns.keys)
    top, total, squares = np.zeros(n), np.zeros(n), np.zeros(n)
    psi_top, psi_total, psi_squares = np.full(n, -1.0), np.zeros(n), np.zeros(n)
    measured, active = np.zeros(n, np.int32), np.zeros(n, np.int32)
    present = []
    for t in range(len(names)):
        at = rows[bounds[t] : bounds[t + 1]]
        counts = np.bincount(introns.row_intron[at], reads[at], len(introns.reads))
        own = introns.at_sites(counts)
        top, total, squares = np.maximum(top, own), total + own, squares + own**2
        present.append(np.flatnonzero(own >= min_support))
        psi, rivals = _usage(introns, counts)
        ok = rivals >= min_support
        psi = np.where(ok, psi, 0)
        psi_top = np.where(ok, np.maximum(psi_top, psi), psi_top)
        psi_total, psi_squares = psi_total + psi, psi_squares + psi**2
        measured += ok
        active += psi > PSI_ACTIVE
    mean = total / max(len(names), 1)
    share = np.maximum(measured, 1)
    some = measured > 0
    psi_mean = psi_total / share
    breadth, lists = name_lists(present, names, n)
    return {
        "tissue_breadth": pa.array(breadth),
        "tissue_max": pa.array(top.astype(np.int64)),
        "tissue_mean": pa.array(mean.astype(np.float32)),
        "tissue_variance": pa.array(np.maximum(squares / max(len(names), 1) - mean**2, 0).astype(np.float32)),
        "tissues": lists,
        "psi_max": _nullable(np.where(some, psi_top, np.nan)),
        "psi_mean": _nullable(np.where(some, psi_mean, np.nan)),
        "psi_variance": _nullable(np.where(some, np.maximum(psi_squares / share - psi_mean**2, 0), np.nan)),
        "psi_breadth": pa.array(active, mask=~some),
        "psi_tissues": pa.array(measured),
    }


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def grouped_names(
    rows: np.ndarray, codes: np.ndarray, names: list[str], n: int, keep: np.ndarray | None = None
) -> tuple[np.ndarray, pa.Array]:
    """(count int32 (n,), lists (n,)): the distinct names[codes] of each of n rows, in order of code.

    The lists hold dictionary-coded strings: with many tissues plain ones would be the largest thing in memory. keep:
    bool (n,), rows that are not null.
    """
    width = max(len(names), 1)
    pairs = rows.astype(np.int64)
    pairs *= width
    pairs += codes
    pairs.sort()
    if len(pairs):
        pairs = pairs[np.r_[True, pairs[1:] != pairs[:-1]]]
    count = np.bincount(pairs // width, minlength=n)
    values = pa.DictionaryArray.from_arrays(pa.array((pairs % width).astype(np.int32)), pa.array(names, pa.string()))
    offsets = pa.array(np.r_[0, np.cumsum(count)].astype(np.int32))
    mask = None if keep is None else pa.array(~keep)
    return count.astype(np.int32), pa.ListArray.from_arrays(offsets, values, mask=mask)


def name_lists(members: list[np.ndarray], names: list[str], n: int) -> tuple[np.ndarray, pa.Array]:
    """As grouped_names, from one array of rows per name."""
    codes = np.repeat(np.arange(len(members)), [len(m) for m in members])
    return grouped_names(np.concatenate([np.zeros(0, np.int64), *members]), codes, names, n)
