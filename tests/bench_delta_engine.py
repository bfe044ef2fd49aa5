"""Variants per second of the shared computation, without reading or writing VCF. Writes build/bench/delta_engine.json.

    python tests/bench_delta_engine.py [--weights FOLDER] [--variants N] [--threads N]

Three ways in which variants lie on the genome, on real sequence: clustered as in a gene panel, scattered as in an exome,
every SNV of a region; and, for comparison, both windows of every variant scored in full by the same kernels. On a machine
that others use the rates of wall time say little: the processor's seconds per variant do.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from conftest import DATA
from random_weights import random_net

from libmeta import engines
from libmeta.basemodels import spliceai
from libmeta.cone import DISTANCE, Edit, Stretch, VariantScorer, clusters
from libmeta.genome import Genome

OUT = Path("build/bench")
CHROM, START, END = "chr15", 48_350_000, 48_750_000  # inside the piece of the tests
PEER = 0.6  # variants per second of `openspliceai variant`, whole command, 2 cores


def alleles(
    random: np.random.Generator, count: int, first: int, last: int, indels: float
) -> list[tuple[int, int, int]]:
    """(position, deleted, inserted) sorted by position; a share of indels of 1 to 8 bases among SNVs."""
    found = []
    for position in np.sort(random.integers(first, last, count)).tolist():
        size = int(random.integers(1, 9))
        kind = random.random()
        found.append((position, *((size, 0) if kind < indels / 2 else (0, size) if kind < indels else (1, 1))))
    return found


def stretches(genome: Genome, context: int, variants: list[tuple[int, int, int]]) -> list[Stretch]:
    """Variants of the plus strand in stretches, as a command would cut them."""
    random, made = np.random.default_rng(0), []
    for part in clusters([(position, position + deleted) for position, deleted, _ in variants]):
        members = variants[part]
        low = members[0][0] - DISTANCE
        high = max(position + deleted for position, deleted, _ in members) + DISTANCE
        codes = genome.codes(CHROM, low - context, high + context)
        haplotypes = []
        for position, deleted, inserted in members:
            bases = random.integers(1, 5, inserted).astype(np.uint8)
            if deleted == inserted == 1:
                bases[0] = (codes[context + position - low] + random.integers(3)) % 4 + 1
            haplotypes.append([Edit(position - low, deleted, bases)])
        made.append(Stretch(codes, haplotypes))
    return made


def every_snv(genome: Genome, context: int, start: int, bases: int) -> list[Stretch]:
    """All three SNVs of every base, a few hundred per stretch."""
    made = []
    for low in range(start, start + bases, 160):
        high = min(low + 160, start + bases)
        codes = genome.codes(CHROM, low - DISTANCE - context, high + DISTANCE + context)
        haplotypes = [
            [Edit(DISTANCE + i, 1, np.array([(codes[context + DISTANCE + i] + step) % 4 + 1], np.uint8))]
            for i in range(high - low)
            for step in range(3)
        ]
        made.append(Stretch(codes, haplotypes))
    return made


def measured(run, count: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"variants": count, "per_second": count / wall, "cpu_seconds_per_variant": cpu / count}


def in_full(engine: engines.Engine, made: list[Stretch]) -> None:
    """Both windows of every variant, as commands without shared computation do."""
    for stretch in made:
        for (edit,) in stretch.haplotypes:
            ref = stretch.codes[edit.position - DISTANCE :][: 2 * (DISTANCE + engine.context) + edit.deleted]
            middle = engine.context + DISTANCE
            alt = np.concatenate([ref[:middle], edit.inserted, ref[middle + edit.deleted :]])
            engine.score(ref)
            engine.score(alt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="weights/spliceai", help="random networks of the same shape if absent")
    parser.add_argument("--genome", default=DATA / "chr15.fa.gz")
    parser.add_argument("--variants", type=int, default=200)
    parser.add_argument("--saturate", type=int, default=200, help="bases of which every SNV is scored")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--engine", default="auto")
    options = parser.parse_args()
    real = Path(options.weights).is_dir()
    nets = spliceai.read(spliceai.find(options.weights)) if real else [random_net(seed=i) for i in range(5)]
    genome, random = Genome(options.genome), np.random.default_rng(1)
    scorer = VariantScorer(nets, options.engine, options.threads)
    count = options.variants
    genes = np.arange(START, END - 10_000, (END - START) // 10)
    panel = [v for gene in genes for v in alleles(random, max(count // len(genes), 1), gene, gene + 3_000, 0.2)]
    places = np.linspace(START, END, max(count // 10, 4)).astype(int).tolist()
    spread = [v for place in places for v in alleles(random, 1, place, place + 9, 0.2)]
    worlds = {
        "clustered": stretches(genome, scorer.context, panel),
        "scattered": [s for v in spread for s in stretches(genome, scorer.context, [v])],
        "saturation": every_snv(genome, scorer.context, START, options.saturate),
    }
    next(scorer.score_many(worlds["scattered"][:1]))  # matrices are made when first needed
    report: dict = {"engine": scorer.engine, "real_weights": real, "models": len(nets)}
    for name, made in worlds.items():
        total = sum(len(stretch.haplotypes) for stretch in made)
        report[name] = measured(lambda made=made: [None for _ in scorer.score_many(made)], total)
        report[name]["times_peer"] = report[name]["per_second"] / PEER
    few = [Stretch(s.codes, s.haplotypes[:1]) for s in worlds["scattered"][:5]]
    engine = engines.build(nets, options.engine, threads=options.threads)
    in_full(engine, few[:1])
    report["in full"] = measured(lambda: in_full(engine, few), len(few))
    saved = scorer.saved()
    gain = report["in full"]["cpu_seconds_per_variant"] / report["saturation"]["cpu_seconds_per_variant"]
    bound = 2 * saved["full"] / saved["cone"]
    report["shared"] = {"theoretical_gain": bound, "gain": gain, "share_of_bound": gain / bound}
    report["shared"]["multiply_adds_saved"] = 1 - saved["cone"] / (2 * saved["full"])
    report["shared"]["time_saved"] = 1 - 1 / gain
    report["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "delta_engine.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
