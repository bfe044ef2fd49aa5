"""What a larger sequence network gains on the same shards: validation AP beside parameters, context, speed and time.

python tests/bench_capacity.py SHARDS [--recipe m2-s] [--epochs N] [--windows N] [--dtype bfloat16] [--only NAME ...]

Every variant sees the same windows in the same order. Writes build/bench/capacity.json after each of them.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from libmeta import models, recipes
from libmeta import sequence_training as training
from libmeta.device import set_torch_threads
from libmeta.models.folded import Folded
from libmeta.shards import Shards
from libmeta.training_state import Keeper
from libmeta.workers import Workers

VARIANTS = {
    "H 32": {},
    "H 48": {"hidden": 48},
    "H 64": {"hidden": 64},
    "H 32, wider": {"sequence_dilations": (1, 1, 4, 4, 10, 10, 20, 20), "fusion_dilations": (1, 4, 10, 10)},
    "H 32, attention": {"attention": 100},
}
LENGTH = 100_000


def measure(shards: Shards, recipe, dtype: str, workers: Workers) -> dict:
    """A training from beginning to end."""
    config = training.configure(shards, recipe)
    network = models.build(recipe.kind, config)
    started = time.monotonic()
    found = training.fit(shards, recipe, config, 1, dtype, workers, Keeper(None, {}), lambda *_: None)
    best = training.best_entry(found.history)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "context": network.context,
        "valid_aim": best["valid_aim"],
        "base_aim": best["base_aim"],
        "valid_tiers": best["valid_tiers"],
        "best_epoch": best["epoch"],
        "windows_per_second": float(np.median([e["windows_per_second"] for e in found.history if e["epoch"]])),
        "bases_per_second": inference(network, config),
        "seconds": time.monotonic() - started,
    }


def inference(network: torch.nn.Module, config: dict) -> float:
    """Bases of a piece that the network refines in a second."""
    folded, rng = Folded(network), np.random.default_rng(1)
    n = LENGTH + 2 * network.context
    inputs = [rng.integers(1, 5, n).astype(np.uint8)]
    inputs += [rng.normal(0, 1, (config[k] * times, n)).astype(np.float32) for k, times in
               (("base_models", 3), ("channels", 1), ("masks", 1))]  # fmt: skip
    folded(*inputs)
    started = time.perf_counter()
    folded(*inputs)
    return LENGTH / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("--recipe", default="m2-s")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--windows", type=int, default=640)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    given = parser.parse_args()
    set_torch_threads(None)
    report, out = {}, Path("build/bench/capacity.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        recipe = recipes.get(given.recipe)
        network = {**recipe.network, **VARIANTS[name]}
        recipe = replace(recipe, epochs=given.epochs, windows=given.windows, network=network)
        shards = Shards(given.shards)
        training.choose(shards, recipe, None, tuple(given.without))
        with Workers.from_environment("cpu") as workers:
            report[name] = measure(shards, recipe, given.dtype, workers)
        print(name, json.dumps(report[name]), flush=True)
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
