"""Junction columns against plain Python at each position of random junction tables, both strands."""

import math

import numpy as np
import pytest
from evidence_case import LENGTHS, NAN, World, same, write_fasta

from libmeta.genome import Genome
from libmeta.modalities import junction

TISSUES = ("brain", "liver", "lung")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Unknown bases only, so that strands and build are taken as told. Many introns share a site; c3 has none."""
    world = World(tmp_path_factory.mktemp("junctions"))
    write_fasta(world.folder / "n.fa", {c: "N" * n for c, n in LENGTHS.items()})
    world.genome = Genome(world.folder / "n.fa")
    rng = world.rng
    world.rows = {t: {} for t in TISSUES}  # {tissue: {(chrom, start, end, strand, annotated): reads}}
    for chrom, many in (("c1", 60), ("c2", 25)):
        starts = rng.choice(np.arange(5, LENGTHS[chrom] - 400), 18, replace=False)
        ends = rng.choice(np.arange(60, LENGTHS[chrom] - 1), 18, replace=False)
        for _ in range(many):
            start, end = int(rng.choice(starts)), int(rng.choice(ends))
            if start < end:
                key = (chrom, start, end, "+-"[int(rng.integers(2))], start % 2)
                for tissue in TISSUES if chrom == "c1" else TISSUES[:2]:  # no lung read on c2: it counts as 0 there
                    if rng.random() < 0.7:
                        world.rows[tissue][key] = int(rng.integers(1, 40))
    for tissue, rows in world.rows.items():
        lines = [
            f"{c}\t{a + 1}\t{b}\t{1 if s == '+' else 2}\t1\t{known}\t{n}\t0\t30\n"
            for (c, a, b, s, known), n in sorted(rows.items())
        ]
        (world.folder / f"{tissue}.SJ.out.tab").write_text("".join(lines))
    world.files = {t: f"{t}.SJ.out.tab" for t in TISSUES}
    return world


def sides(key):
    """(donor, acceptor) as exonic bases."""
    _, start, end, strand, _ = key
    return (start - 1, end) if strand == "+" else (end, start - 1)


def usage(world, rows, chrom, strand, side, pos):
    """Reads of the site over reads of all introns that share a partner with it, in any tissue; NaN below 3."""
    here = {k: n for k, n in rows.items() if (k[0], k[3]) == (chrom, strand)}
    anywhere = {k for some in world.rows.values() for k in some if (k[0], k[3]) == (chrom, strand)}
    partners = {sides(k)[1 - side] for k in anywhere if sides(k)[side] == pos}
    own = sum(n for k, n in here.items() if sides(k)[side] == pos)
    rivals = sum(n for k, n in here.items() if sides(k)[1 - side] in partners)
    return own / rivals if rivals >= 3 else NAN


def site_row(world, chrom, strand, side, pos):
    total = {}
    for rows in world.rows.values():
        for key, n in rows.items():
            if (key[0], key[3]) == (chrom, strand) and sides(key)[side] == pos:
                total[key] = total.get(key, 0) + n
    if not total:
        return None
    reads = sum(total.values())
    by_tissue = [sum(n for k, n in rows.items() if k in total) for rows in world.rows.values()]
    pooled = {}
    for rows in world.rows.values():
        for key, n in rows.items():
            pooled[key] = pooled.get(key, 0) + n
    shares = [usage(world, rows, chrom, strand, side, pos) for rows in world.rows.values()]
    shares = [s for s in shares if not math.isnan(s)]
    breadth = sum(n >= 3 for n in by_tissue)
    return reads, {
        "log1p": math.log1p(reads),
        "has_support": float(breadth > 0),
        "n_partners": len(total),
        "max_reads": max(total.values()),
        "entropy": -sum(n / reads * math.log2(n / reads) for n in total.values()),
        "is_annotated": float(any(k[4] for k in total)),
        "tissue_breadth": breadth,
        "tissue_max": max(by_tissue),
        "tissue_mean": sum(by_tissue) / 3,
        "tissue_variance": float(np.var(by_tissue)),
        "psi": usage(world, pooled, chrom, strand, side, pos),
        "psi_variance": float(np.var(shares)) if shares else NAN,
    }


def silent(chrom):
    unknown = ("is_annotated", "psi", "psi_variance")
    if chrom == "c3":
        return dict.fromkeys((c.name.removeprefix("junction_") for c in junction.COLUMNS), NAN)
    return {n: NAN if n in unknown else 0.0 for n in (c.name.removeprefix("junction_") for c in junction.COLUMNS)}


@pytest.mark.parametrize("strand", ["+", "-"])
def test_columns(world, strand):
    reader = world.reader("junction", files=world.files)
    sites = 0
    for chrom in LENGTHS:
        found = world.read(reader, chrom, 0, LENGTHS[chrom], strand)
        keys = {k for rows in world.rows.values() for k in rows if (k[0], k[3]) == (chrom, strand)}
        wanted = [silent(chrom)] * LENGTHS[chrom]
        for pos in {p for k in keys for p in sides(k)}:
            both = [row for side in (0, 1) if (row := site_row(world, chrom, strand, side, pos))]
            wanted[pos] = max(both, key=lambda row: row[0])[1]
            sites += 1
        for column in junction.COLUMNS:
            name = column.name.removeprefix("junction_")
            same(found[column.name], [row[name] for row in wanted], f"{chrom} {name}")
    assert sites > 20
