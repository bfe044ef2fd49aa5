"""Base scores beside the peers, on one real sequence, in one run: paired ratios, medians. Writes build/bench/basescore.json.

    make bench-basescore          PEERS=FOLDER: an environment that has openspliceai and tensorflow (made if absent)

Rounds are interleaved, since machines are noisy: a ratio compares two commands of the same round. OpenSpliceAI's weights
are taken from $MS_OPENSPLICEAI_WEIGHTS; without it random networks of the same shape do, as speed does not depend on them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from conftest import DATA
from random_weights import random_net, write_openspliceai

from libmeta import engines
from libmeta.basemodels import openspliceai, spliceai
from libmeta.genome import Genome, decode

OUT = Path("build/bench")
LENGTH, WINDOWED = 200_000, 30_000
FLOP_PER_BASE = 6.93e6  # five networks by direct convolution
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("\\npeak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
KERAS = """
import os, sys, time; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tf_keras
models = [tf_keras.models.load_model(f, compile=False) for f in sys.argv[2:]]
x = np.load(sys.argv[1]).astype("float32")          # (bases + 10,000, 4)
windows = np.stack([x[i : i + 15000] for i in range(0, len(x) - 14999, 5000)])
models[0].predict(windows[:1], verbose=0)
t = time.perf_counter()
y = np.mean([m.predict(windows, batch_size=6, verbose=0) for m in models], axis=0)
print(time.perf_counter() - t)
np.save(sys.argv[1] + ".y.npy", y.reshape(-1, 3)[:, [2, 1, 0]])
"""


def timed(command, **env) -> dict:
    """Wall seconds and peak memory (MB) of a command.

    A small process starts it and reads its peak: a child of this large one would be charged with this one's memory.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", WATCH, *map(str, command)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"bench: {command[0]} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    told, _, peak = done.stdout.rpartition("\npeak ")
    return {"seconds": time.perf_counter() - started, "peak_mb": int(peak) / 1024, "told": told}


def gemm_peak() -> float:
    """GFLOP/s of float32 matrix products on all threads, the best of a few."""
    import torch

    a = torch.randn(2048, 2048)
    best = 0.0
    for _ in range(8):
        t = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - t) / 1e9)
    return best


def prepare(peers: Path) -> dict:
    OUT.mkdir(parents=True, exist_ok=True)
    for left in OUT.glob("ours*"):  # of a run that was killed: the next would go on from it and look fast
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    codes = Genome(DATA / "chr15.fa.gz").codes("chr15", 48_400_000, 48_400_000 + LENGTH, "-")
    (OUT / "entry.fa").write_text(f">entry\n{decode(codes)}\n")
    folder = os.environ.get("MS_OPENSPLICEAI_WEIGHTS")
    if not folder:
        folder = OUT / "openspliceai"
        folder.mkdir(exist_ok=True)
        for i in range(5):
            write_openspliceai(folder / f"model_{i}.pt", random_net(slope=0.1, eps=1e-5, seed=i))
    converted = OUT / "converted"
    shutil.rmtree(converted, ignore_errors=True)
    converted.mkdir()
    for path in openspliceai.find(folder):
        openspliceai.convert(Path(shutil.copy(path, converted)))
    flanked = np.pad(codes[:WINDOWED], 5000)
    np.save(OUT / "windows.npy", (flanked[:, None] == np.arange(1, 5)).astype(np.uint8))
    return {"weights": Path(folder), "converted": converted, "codes": codes, "peers": peers}


def score_rate(engine, codes) -> dict:
    """Scoring alone, weights loaded: seconds and bases per second."""
    padded = np.pad(codes, engine.context)
    engine.score(padded[: 2 * engine.context + 5000])
    t = time.perf_counter()
    engine.score(padded)
    seconds = time.perf_counter() - t
    return {"seconds": seconds, "bases_per_second": len(codes) / seconds}


def one_round(world: dict, built: dict) -> dict:
    ours = [Path(sys.executable).with_name("ms-basescore"), "--genome", OUT / "entry.fa", "--region", f"entry:1-{LENGTH}:+",
            "--model", "openspliceai", "--weights", world["weights"], "-o", OUT / "ours"]  # fmt: skip
    bench = world["peers"] / "bin"
    rows = {
        "openspliceai predict": timed([bench / "openspliceai", "predict", "-i", OUT / "entry.fa", "-m", world["weights"],
                                       "-f", "10000", "-o", f"{OUT}/peer"]),
        "ms-basescore fft": timed(ours),
        "ms-basescore fft, weights converted": timed([*ours[:8], world["converted"], *ours[9:]]),
        "ms-basescore fft, SpliceAI": timed([*ours[:6], "spliceai", "--weights", "weights/spliceai", *ours[9:]]),
        "ms-basescore gemm": timed(ours, MS_NO_KERNEL="1"),
        "ms-basescore bf16": timed([*ours, "--dtype", "bfloat16"]),
    }  # fmt: skip
    for row in rows.values():
        row["bases_per_second"] = LENGTH / row["seconds"]
        row.pop("told")
    for name, engine in built.items():
        rows[f"scoring {name}"] = score_rate(engine, world["codes"])
    if world["keras"]:
        done = timed([bench / "python", "-c", KERAS, OUT / "windows.npy", *world["keras"]])
        seconds = float(done["told"].strip().splitlines()[-1])
        rows["spliceai keras, 5 kb windows"] = {"seconds": seconds, "bases_per_second": WINDOWED / seconds}
    return rows


def differences(world: dict) -> dict:
    """Largest differences in probability on the windowed stretch."""
    nets = openspliceai.read(openspliceai.find(world["weights"]))
    codes = np.pad(world["codes"][:4000], nets[0].context)
    truth = engines.build(nets, "reference", dtype="float64").score(codes)
    names = [("fft", "float32"), ("gemm", "float32"), ("torch", "float32"), ("torch", "bfloat16")]
    found = {
        f"{n} {d}": float(np.abs(engines.build(nets, n, dtype=d).score(codes) - truth).max())
        for n, d in names
        if n in engines.available()
    }
    kept = OUT / "windows.npy.y.npy"
    if world["keras"] and kept.exists():
        ours = engines.build(spliceai.read(world["keras"])).score(np.pad(world["codes"][:WINDOWED], 5000))
        found["auto against Keras"] = float(np.abs(ours - np.load(kept)).max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    world = prepare(options.peers)
    has_keras = not subprocess.run(
        [options.peers / "bin" / "python", "-c", "import tf_keras"], capture_output=True
    ).returncode
    world["keras"] = spliceai.find("weights/spliceai") if has_keras else []
    nets = openspliceai.read(openspliceai.find(world["weights"]))
    kinds = {
        "fft float32": ("fft", "float32"),
        "gemm float32": ("gemm", "float32"),
        "torch float32": ("torch", "float32"),
        "torch bf16": ("torch", "bfloat16"),
    }
    built = {k: engines.build(nets, e, dtype=d) for k, (e, d) in kinds.items() if e in engines.available()}
    rounds = []
    for i in range(options.rounds):
        rounds.append(one_round(world, built))
        print(f"round {i + 1}:", {k: round(v["bases_per_second"]) for k, v in rounds[-1].items()}, flush=True)
    peak = gemm_peak()

    def ratios(a: str, b: str) -> list[float]:
        return [r[a]["bases_per_second"] / r[b]["bases_per_second"] for r in rounds if a in r and b in r]

    pairs = [
        (a, b)
        for a in rounds[0]
        for b in ("openspliceai predict", "spliceai keras, 5 kb windows")
        if a != b and b in rounds[0]
    ]
    report = {
        "median_bases_per_second": {k: statistics.median(r[k]["bases_per_second"] for r in rounds) for k in rounds[0]},
        "median_ratio": {f"{a} / {b}": statistics.median(ratios(a, b)) for a, b in pairs},
        "peak_mb": {k: max(r[k]["peak_mb"] for r in rounds) for k in rounds[0] if "peak_mb" in rounds[0][k]},
        "gemm_peak_gflops": peak,
        "largest_difference": differences(world),
        "rounds": rounds,
    }
    fastest = report["median_bases_per_second"].get("scoring fft float32")
    if fastest:
        report["fft_over_gemm_peak"] = fastest * FLOP_PER_BASE / 1e9 / peak
    (OUT / "basescore.json").write_text(json.dumps(report, indent=1) + "\n")
    for key in ("median_bases_per_second", "median_ratio", "peak_mb", "largest_difference"):
        print(f"\n{key}")
        for name, value in report[key].items():
            print(f"  {name:70s} {value:12,.5g}")
    print(
        f"\nGEMM peak {peak:.0f} GFLOP/s; fft counted as direct convolution: {report.get('fft_over_gemm_peak', 0):.1f} times that"
    )


if __name__ == "__main__":
    main()
