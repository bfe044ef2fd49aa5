"""Speed and memory of ms-features on tracks as large as real ones. Writes build/bench/features.json.

    python tests/bench_features.py [--length BASES] [--positions N] [--peer N] [--rounds N] [--threads N]

Ours is the whole command, from ms.toml to Parquet. On a machine that others use, the rates of wall time say little: those
per second of the processor, of all processes together, do. The peers compute the bigWig and peak columns alone: pyBigWig one
position at a time, on some of the same positions, its values checked against ours; and, where bedtools is on PATH,
`bedtools map` of every peak file on a sorted BED of positions. Their rates are compared, round by round.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import synthetic_tracks
from conftest import tool
from plain_columns import PlainColumns

from libmeta import config, dense, features, sampling
from libmeta.device import thread_count
from libmeta.genome import Genome

CLOCKS = ("per_second", "per_cpu_second")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("build/bench/features"))
    parser.add_argument("--length", type=int, default=synthetic_tracks.LENGTH)
    parser.add_argument("--positions", type=int, default=1_000_000)
    parser.add_argument("--peer", type=int, default=200, help="positions of the per-position peer in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=thread_count(None))
    given = parser.parse_args()
    toml = synthetic_tracks.make(given.folder, given.length)
    bench = Bench(given.folder, given.length, config.load(str(toml)))
    warm_up(given.folder)
    rounds = [bench.round(given, i) for i in range(given.rounds)]
    few, near = bench.command(given.positions // 10, 1), bench.command(given.positions, 1, part=8)
    found = {
        "what": f"{given.length:,} bases, {len(list(given.folder.glob('*.bw')))} bigWigs, both strands, rounds interleaved",
        **medians(rounds),
        "peak_mb": {
            f"{run['rows']:,} positions in {run['bases']:,} bases, {run['threads']} process{'es' * (run['threads'] > 1)}": run[
                "peak_mb"
            ]
            for run in [few, near, *(r[k] for r in rounds[:1] for k in ("one", "many"))]
        },
        "peer": f"{bench.plain_columns} of {bench.columns} columns at {given.peer} of the positions, equal to ours to 1e-4",
        "rounds": given.rounds,
    }
    out = Path("build/bench/features.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def medians(rounds: list[dict]) -> dict:
    """Median rates, and medians of the ratios within a round."""
    names = {"one": "one process", "many": "processes", "peer": "pyBigWig per position"}
    if all(r["bedtools"] for r in rounds):
        names["bedtools"] = "bedtools map, peak columns alone"

    def ratio(ours: str, peer: str, clock: str) -> float:
        return float(np.median([r[ours][clock] / r[peer][clock] for r in rounds]))

    pairs = [(ours, peer) for peer in list(names)[2:] for ours in ("one", "many")] + [("many", "one")]
    dense_rates = {k: [r["dense"][k] for r in rounds] for k in rounds[0]["dense"]}
    return {
        **{
            f"positions_{clock}": {names[k]: float(np.median([r[k][clock] for r in rounds])) for k in names}
            for clock in CLOCKS
        },
        **{f"ratios_{clock}": {f"{names[a]} to {names[b]}": ratio(a, b, clock) for a, b in pairs} for clock in CLOCKS},
        "dense_bases_per_cpu_second": {k: float(np.median(v)) for k, v in dense_rates.items()},
        "processes": rounds[0]["many"]["threads"],
        "rows": rounds[0]["one"]["rows"],
    }


def warm_up(folder: Path) -> None:
    """All files in the page cache."""
    for path in folder.iterdir():
        with open(path, "rb") as handle:
            while handle.read(1 << 24):
                pass


class Bench:
    def __init__(self, folder: Path, length: int, settings):
        self.folder, self.length, self.settings = folder, length, settings
        self.out = folder / "bench.parquet"
        self.columns = self.plain_columns = 0

    def round(self, given, i: int) -> dict:
        one = self.command(given.positions, 1)
        peer = self.per_position(given.peer, i)
        bedtools = self.bedtools()
        many = self.command(given.positions, given.threads)
        done = {"one": one, "many": many, "peer": peer, "bedtools": bedtools, "dense": self.dense()}
        print(f"round {i + 1}: {json.dumps({**done, 'dense': '...'})}", file=sys.stderr)
        return done

    def command(self, positions: int, threads: int, part: int = 1) -> dict:
        """The whole command for so many positions, all in the first 1/part of the contig: rates, peak memory."""
        bases = self.length // part
        rates = {"dinucleotide": 0.75 * positions / (2 * bases * sampling.AMONG), "background": positions / (8 * bases)}
        line = [*tool("ms-features"), str(self.folder / f"{synthetic_tracks.CHROM}.bed"), "-q", "-o", str(self.out)]
        line += ["--config", str(self.folder / "ms.toml"), "--threads", str(threads)]
        line += ["--region", f"{synthetic_tracks.CHROM}:1-{bases}"]
        line += [x for k, v in rates.items() for x in (f"--{k}", f"{min(v, 1):.6f}")]
        started = time.perf_counter()
        process = subprocess.Popen(line)
        peak = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, resident_mb(process.pid))
            time.sleep(0.05 if threads > 1 else 0.5)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        if process.returncode:
            raise SystemExit(f"ms-features ended with {process.returncode}")
        rows = pq.ParquetFile(self.out).metadata.num_rows
        # of one process the kernel tells; of several, what they had together, looked at 20 times a second
        peak = ended[2].ru_maxrss / 1024 if threads == 1 else peak
        cpu = ended[2].ru_utime + ended[2].ru_stime
        told = {
            "rows": rows,
            "bases": bases,
            "threads": threads,
            "peak_mb": round(peak),
            "seconds": seconds,
            "cpu_seconds": cpu,
        }
        return {"per_second": rows / seconds, "per_cpu_second": rows / cpu, **told}

    def per_position(self, positions: int, seed: int) -> dict[str, float]:
        """Positions per second of pyBigWig, one position at a time; its values must be ours."""
        rows = pq.ParquetFile(self.out)
        group = np.random.default_rng(seed).integers(rows.num_row_groups)
        table = rows.read_row_group(int(group)).slice(0, positions)
        plain = PlainColumns(self.settings)
        keys = list(zip(table["chrom"].to_pylist(), table["pos"].to_pylist(), table["strand"].to_pylist(), strict=True))
        clocks = time.perf_counter, time.process_time
        started = [clock() for clock in clocks]
        made = [plain.columns(*key) for key in keys]
        rate = {name: len(made) / (clock() - begun) for name, clock, begun in zip(CLOCKS, clocks, started, strict=True)}
        self.columns = sum(f.metadata[b"ms.role"] == b"feature" for f in table.schema)
        self.plain_columns = len(made[0])
        for name in made[0]:
            ours = table[name].to_numpy().astype(float)
            np.testing.assert_allclose(ours, [m[name] for m in made], rtol=1e-4, atol=1e-4, err_msg=name)
        return rate

    def bedtools(self) -> dict[str, float] | None:
        """Positions per second of one `bedtools map` for each peak file; None where there is no bedtools."""
        if not shutil.which("bedtools"):
            return None
        table = pq.read_table(self.out, columns=["chrom", "pos", "strand"])
        bed = self.folder / "positions.bed"
        rows = zip(*(table[c].to_pylist() for c in ("chrom", "pos", "strand")), strict=True)
        bed.write_text("".join(f"{c}\t{p}\t{p + 1}\t.\t0\t{s}\n" for c, p, s in rows))
        started, cpu = time.perf_counter(), sum(os.times()[2:4])
        for path in sorted(self.folder.glob("*.narrowPeak")):
            line = ["bedtools", "map", "-s", "-a", str(bed), "-b", str(path), "-c", "7,8,7", "-o", "max,max,mean"]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        seconds, cpu = time.perf_counter() - started, sum(os.times()[2:4]) - cpu
        return {"per_second": table.num_rows / seconds, "per_cpu_second": table.num_rows / cpu}

    def dense(self) -> dict[str, float]:
        """Bases per second of the processor, of each bigWig and of each channel over all its tissues, piece by piece."""
        genome = Genome(self.settings.genome())
        sources = features.Sources(self.settings, genome)
        names = ["conservation", "epigenetic", "chrom_access", "exon_prob"]
        readers = features.open_readers(sources, names, must=True)[0]
        span = min(self.length, 40 * dense.GRID)
        pieces = [(low, low + dense.GRID) for low in range(0, span, dense.GRID)]
        found = {}
        tracks = {
            "phylop.bw": readers["conservation"].tracks["phylop"],
            "phastcons.bw": readers["conservation"].tracks["phastcons"],
            "exon.plus.bw": readers["exon_prob"].tracks["plus"],
        }
        for modality in ("epigenetic", "chrom_access"):
            tracks |= {Path(t.path).name: t for t in readers[modality].opened.values()}
        for name, track in tracks.items():
            found[name] = timed(lambda low, high, t=track: t.values(synthetic_tracks.CHROM, low, high), pieces)
        for modality in ("epigenetic", "chrom_access"):
            reader = readers[modality]
            for mark, group in (reader.marks if modality == "epigenetic" else reader.assays).items():
                many = f"channel {mark}_max, {len(group.tissues)} bigWigs"
                found[many] = timed(lambda low, high, g=group: g.highest(synthetic_tracks.CHROM, low, high), pieces)
        return found


def timed(read, pieces: list[tuple[int, int]]) -> float:
    started = time.process_time()
    for low, high in pieces:
        read(low, high)
    return sum(high - low for low, high in pieces) / (time.process_time() - started)


def resident_mb(pid: int) -> float:
    """Resident memory of a process and the processes below it; shared pages count for each. 0 where /proc is not there."""
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            todo += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return total


if __name__ == "__main__":
    main()
