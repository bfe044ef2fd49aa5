"""Variant effects beside the peers, whole commands, in one run. Writes build/bench/delta.json.

    make bench-delta          PEERS=FOLDER: an environment that has openspliceai, spliceai and tensorflow (made if absent)

Variants are made on the piece of chr15 in tests/data (seeded; SNVs, and one in five an insertion or deletion, in genes):
clustered as in a gene panel, scattered as in an exome, and every SNV of a region. ms-delta's rate counts its whole command.
The peers score few variants, since they are slow, and their rate is that of further variants alone: their start-up is
measured and taken away, so that a ratio is rather too small. OpenSpliceAI's weights are taken from
$MS_OPENSPLICEAI_WEIGHTS; without it random networks of the same shape do, as speed does not depend on them.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import bench_delta_engine as parts
import numpy as np
from bench_basescore import timed
from conftest import DATA
from random_weights import random_net, write_openspliceai

from libmeta import engines
from libmeta.basemodels import openspliceai
from libmeta.cone import Stretch, VariantScorer
from libmeta.genome import Genome, decode

OUT = Path("build/bench/delta")
CONTIG, DISTANCE = "chr15", 500
APART = 8_100  # bases
TARGETS = {"clustered": 40, "scattered": 12, "saturation": 60}
# SpliceAI's command on today's numpy: its call of a removed function is given another of the same meaning.
SPLICEAI = """
import sys, numpy
numpy.fromstring = lambda text, kind: numpy.frombuffer(text.encode(), kind)
from spliceai.__main__ import main
main()
"""
OPENSPLICEAI = """
import sys
from importlib.metadata import entry_points
(start,) = [e for e in entry_points(group="console_scripts") if e.name == "openspliceai"]
sys.argv[0] = "openspliceai"
sys.exit(start.load()())
"""


def genes() -> list[tuple[int, int]]:
    """[start, end) of the genes of the piece, 0-based, without overlaps, so that a variant has one row."""
    lines = [x.split("\t") for x in (DATA / "spliceai.grch38.txt").read_text().splitlines() if x[0] != "#"]
    found = sorted((int(x[3]), int(x[4])) for x in lines)
    alone = [g for g in found if not any(g != o and g[0] < o[1] and o[0] < g[1] for o in found)]
    return [g for g in alone if g[1] - g[0] > 8_000]


def variant(random: np.random.Generator, codes: np.ndarray, low: int, position: int) -> tuple[int, str, str]:
    """(POS, REF, ALT) at a position (0-based), as VCF has it. codes: of the contig from `low` on."""
    at, kind, size = position - low, random.random(), int(random.integers(1, 9))
    if kind < 0.1:
        return position + 1, decode(codes[at : at + 1 + size]), decode(codes[at : at + 1])
    here = decode(codes[at : at + 1])
    if kind < 0.2:
        return position + 1, here, here + decode(random.integers(1, 5, size).astype(np.uint8))
    return position + 1, here, "ACGT"[(int(codes[at]) - 1 + int(random.integers(1, 4))) % 4]


def worlds(genome: Genome, counts: dict[str, int]) -> dict[str, list[tuple[int, str, str]]]:
    """Records of each pattern, sorted."""
    random, spans = np.random.default_rng(1), genes()
    low, high = min(s for s, _ in spans), max(e for _, e in spans)
    codes = genome.codes(CONTIG, low, high)
    panel = spans[:: max(len(spans) // 10, 1)][:10]
    each = -(-counts["clustered"] // len(panel))
    places = {
        "clustered": [p for s, _ in panel for p in s + 2_000 + random.choice(3_000, each, replace=False)],
        "scattered": apart(random, spans, counts["scattered"]),
    }
    made = {k: [variant(random, codes, low, int(p)) for p in sorted(v)] for k, v in places.items()}
    start = spans[0][0] + 2_000
    region = range(start, start + counts["saturation"] // 3)
    made["saturation"] = [
        (p + 1, decode(codes[p - low : p - low + 1]), other)
        for p in region
        for other in "ACGT"
        if other != decode(codes[p - low : p - low + 1])
    ]
    return made


def apart(random: np.random.Generator, spans: list[tuple[int, int]], count: int) -> list[int]:
    """At most `count` positions in genes, further apart than variants that share a reference pass."""
    found: list[int] = []
    for position in sorted(p for s, e in spans for p in random.integers(s + 1_000, e - 1_000, 200).tolist()):
        if not found or position - found[-1] > APART:
            found.append(position)
    return found[:: max(len(found) // count, 1)][:count]


def write_vcf(path: Path, genome: Genome, records: list[tuple[int, str, str]]) -> Path:
    head = f"##fileformat=VCFv4.2\n##contig=<ID={CONTIG},length={genome.contigs.lengths[CONTIG]}>\n"
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    path.write_text(head + "".join(f"{CONTIG}\t{p}\t.\t{r}\t{a}\t.\t.\t.\n" for p, r, a in records))
    return path


def prepare(genome: Genome) -> Path:
    """Plain FASTA for the peers, and the folder of weights."""
    OUT.mkdir(parents=True, exist_ok=True)
    plain = OUT / "chr15.fa"
    if not plain.exists():
        text = decode(genome.codes(CONTIG, 0, genome.contigs.lengths[CONTIG]))
        plain.write_text(f">{CONTIG}\n" + "\n".join(text[i : i + 100] for i in range(0, len(text), 100)) + "\n")
    if folder := os.environ.get("MS_OPENSPLICEAI_WEIGHTS"):
        return Path(folder)
    folder = OUT / "openspliceai"
    folder.mkdir(exist_ok=True)
    for i in range(5):
        write_openspliceai(folder / f"model_{i}.pt", random_net(slope=0.1, eps=1e-5, seed=i))
    return folder


def ours(source: Path, *more) -> dict:
    return timed([
        Path(sys.executable).with_name("ms-delta"), source, "--genome", OUT / "chr15.fa", "--genes",
        DATA / "spliceai.grch38.txt", "-D", DISTANCE, "-q", "-o", OUT / "ours.vcf", *more,
    ])  # fmt: skip


def peer_commands(peers: Path, weights: Path) -> dict[str, list]:
    """Whole commands of the peers that are in their environment, but for the input and output file."""
    python, table, fasta = peers / "bin" / "python", DATA / "spliceai.grch38.txt", OUT / "chr15.fa"
    common = ["-R", fasta, "-A", table, "-D", DISTANCE]
    found = {
        "openspliceai variant": [
            python,
            "-c",
            OPENSPLICEAI,
            "variant",
            *common,
            "-m",
            weights,
            "-f",
            10000,
            "-t",
            "pytorch",
        ],
        "spliceai": [python, "-c", SPLICEAI, *common],
    }
    there = {}
    for name, command in found.items():
        package = "openspliceai" if name.startswith("open") else "spliceai"
        if subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
            print(f"bench: {package} is not in {peers}: left out", file=sys.stderr)
        else:
            there[name] = command
    return there


def peer_rate(genome: Genome, name: str, command: list, records: list) -> dict:
    """Variants per second beyond start-up, which is the time of the same command on one variant."""
    seconds = []
    for count in (1, len(records)):
        source = write_vcf(OUT / "peer.vcf", genome, records[:count])
        seconds.append(timed([*command, "-I", source, "-O", OUT / f"{name.split()[0]}.vcf"])["seconds"])
    return {
        "variants": len(records), "seconds": seconds[1], "start_up": seconds[0],
        "per_second": (len(records) - 1) / (seconds[1] - seconds[0]), "whole_command": len(records) / seconds[1],
    }  # fmt: skip


def shared(weights: Path, genome: Genome) -> dict:
    """Share of the multiply-adds and of the processor's time that the cone saves, against both windows in full."""
    nets = openspliceai.read(openspliceai.find(weights))
    scorer, engine = VariantScorer(nets), engines.build(nets)
    made = parts.every_snv(genome, scorer.context, parts.START, 80)
    few = [Stretch(s.codes, s.haplotypes[:1]) for s in parts.every_snv(genome, scorer.context, parts.START, 480)]
    parts.in_full(engine, few[:1])
    next(scorer.score_many(made[:1]))
    cone = parts.measured(lambda: [None for _ in scorer.score_many(made)], sum(len(s.haplotypes) for s in made))
    full = parts.measured(lambda: parts.in_full(engine, few), len(few))
    saved = scorer.saved()
    bound, gain = 2 * saved["full"] / saved["cone"], full["cpu_seconds_per_variant"] / cone["cpu_seconds_per_variant"]
    return {
        "multiply_adds_saved": 1 - 1 / bound, "time_saved": 1 - 1 / gain, "bound": bound, "gain": gain,
        "full_windows_per_second": full["per_second"],
    }  # fmt: skip


def memory(genome: Genome, counts: list[int]) -> dict[str, float]:
    """Peak memory (MB) by number of records, dense in one gene, all scored, by a small network: what grows with records
    would show, and the large ones add a constant."""
    folder = OUT / "small"
    folder.mkdir(exist_ok=True)
    write_openspliceai(folder / "model_0.pt", random_net(40, slope=0.1, eps=1e-5))
    start, end = max(genes(), key=lambda g: g[1] - g[0])
    codes, peaks = genome.codes(CONTIG, start, end), {}
    for count in counts:
        random = np.random.default_rng(2)
        places = np.sort(random.integers(start + 1_000, end - 1_000, count)).tolist()
        source = write_vcf(OUT / "many.vcf", genome, [variant(random, codes, start, p) for p in places])
        done = ours(source, "--model", "openspliceai", "--weights", folder)
        with open(OUT / "ours.vcf") as found:
            assert sum(not line.startswith("#") for line in found) == count
        peaks[f"{count:,} records"] = {"peak_mb": done["peak_mb"], "seconds": done["seconds"]}
        print(f"memory: {count:,} records, {done['peak_mb']:.0f} MB, {done['seconds']:.0f} s", flush=True)
    return peaks


def speed(options, genome: Genome, weights: Path) -> dict:
    made = worlds(
        genome, {"clustered": options.clustered, "scattered": options.scattered, "saturation": options.saturation}
    )
    report: dict = {"ms-delta": {}, "peers": {}}
    every = sorted(made["scattered"])
    peers = peer_commands(options.peers, weights)
    for name, records in made.items():
        source = write_vcf(OUT / f"{name}.vcf", genome, records)
        done = ours(source, "--model", "openspliceai", "--weights", weights)
        report["ms-delta"][name] = {
            "variants": len(records), "seconds": done["seconds"], "per_second": len(records) / done["seconds"],
            "peak_mb": done["peak_mb"],
        }  # fmt: skip
        print(name, report["ms-delta"][name], flush=True)
    for name, command in peers.items():
        report["peers"][name] = peer_rate(
            genome, name, command, every[:: max(len(every) // options.few, 1)][: options.few]
        )
        print(name, report["peers"][name], flush=True)
    report["times"] = {
        peer: {k: v["per_second"] / row["per_second"] for k, v in report["ms-delta"].items()}
        for peer, row in report["peers"].items()
    }
    report["targets"] = TARGETS
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--clustered", type=int, default=500)
    parser.add_argument("--scattered", type=int, default=150)
    parser.add_argument("--saturation", type=int, default=3_000, help="SNVs; 30,000 are 10 kb")
    parser.add_argument("--few", type=int, default=25, help="variants that the peers score")
    parser.add_argument("--records", type=int, nargs="*", default=[1_000, 100_000], help="of the memory runs")
    options = parser.parse_args()
    genome = Genome(DATA / "chr15.fa.gz")
    weights = prepare(genome)
    report = speed(options, genome, weights)
    report["shared"] = shared(weights, genome)
    report["memory"] = memory(genome, options.records)
    (OUT.parent / "delta.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({k: report[k] for k in ("times", "targets", "shared", "memory")}, indent=1))


if __name__ == "__main__":
    main()
