"""Junction evidence of a smaller experiment: each read, or each measured exon, is kept with one chance.

How much of a gain is evidence, and how much of it a laboratory with a tenth of the reads still has, is told by predicting
with thinned evidence. The draw follows from seed and key alone, so that every run and every tool thins alike.
"""

import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta.errors import USAGE, MetaError
from libmeta.psi import Psi
from libmeta.sampling import uniform

SEED = 1


def settings(named: dict, where: str) -> dict:
    """{"keep": share, "keep_seed": seed} of a section of ms.toml; {} where it does not thin. MetaError for what is none."""
    if "keep" not in named:
        if "keep_seed" in named:
            raise MetaError(f"keep_seed without keep, {where}; add keep = 0.1, say", USAGE)
        return {}
    keep, seed = named["keep"], named.get("keep_seed", SEED)
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise MetaError(f"keep {keep!r} is not a share above 0 and up to 1, {where}; mend it", USAGE)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise MetaError(f"keep_seed {seed!r} is not a whole number from 0 on, {where}; mend it", USAGE)
    return {"keep": float(keep), "keep_seed": seed}


def reads(junctions: pa.Table, keep: float, seed: int) -> pa.Table:
    """A junctions table with each read kept with chance `keep`; introns without a read left are dropped.

    One draw for each (intron, tissue), by a generator of seed and contig: rows of a contig must come whole and sorted, as
    junctions.load gives them. Of the reads, the uniquely mapped ones are drawn apart.
    """
    total = junctions["reads"].to_numpy()
    told = junctions["unique_reads"].is_valid().to_numpy()
    unique = np.where(told, pc.fill_null(junctions["unique_reads"], 0).to_numpy(), 0)
    left, left_unique = np.zeros_like(total), np.zeros_like(unique)
    chrom = junctions["chrom"].to_numpy(zero_copy_only=False)
    for name in dict.fromkeys(chrom):
        mine = chrom == name
        rng = np.random.default_rng((seed, zlib.crc32(str(name).encode())))
        left_unique[mine] = rng.binomial(unique[mine], keep)
        left[mine] = left_unique[mine] + rng.binomial((total - unique)[mine], keep)
    out = junctions
    for name, values in (("reads", pa.array(left)), ("unique_reads", pa.array(left_unique, mask=~told))):
        at = out.schema.get_field_index(name)
        out = out.set_column(at, out.schema.field(at), values.cast(out.schema.field(at).type))
    return out.filter(pa.array(left > 0))


def exons(psi: Psi, keep: float, seed: int, names: list[str]) -> Psi:
    """A PSI table with each exon kept with chance `keep`, by a hash of its place. names: of the contigs, by index."""
    lot = np.zeros(len(psi.start))
    for chrom in np.unique(psi.chrom):
        for sign, strand in ((1, "+"), (-1, "-")):
            mine = (psi.chrom == chrom) & (psi.strand == sign)
            place = psi.start[mine] * 1_000_003 + psi.end[mine]
            lot[mine] = uniform(seed, f"{names[chrom]}|exon", strand, place)
    kept = lot < keep
    columns = {k: getattr(psi, k)[kept] for k in ("chrom", "start", "end", "strand", "gene", "values")}
    return replace(psi, **columns)
