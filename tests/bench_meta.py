"""Speed of the sequence model beside a plain PyTorch loop of the same network, and beside the base scores it refines.

python tests/bench_meta.py [--rounds N] writes build/bench/meta.json: medians of paired ratios of interleaved rounds.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from plain_meta import PlainMeta
from toy_shards import planted

from libmeta import models, recipes, training_batches
from libmeta import sequence_training as training
from libmeta.device import thread_count
from libmeta.models.folded import Folded
from libmeta.recipes import SequenceRecipe
from libmeta.workers import Workers

WINDOW, BATCH, LENGTH = 5001, 8, 200_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", default="weights/spliceai")
    rounds, weights = (vars(parser.parse_args())[k] for k in ("rounds", "weights"))
    torch.manual_seed(0)
    torch.set_num_threads(thread_count(None))
    timers = {
        "train.plain": train_step(PlainMeta(channels=9)),
        "train.ours": train_step(models.build("meta", {"channels": 9})),
        "train.bf16": train_step(models.build("meta", {"channels": 9}), bfloat16=True),
        "infer.plain": plain_inference(),
        "infer.ours": our_inference(),
        "load": loading(recipes.get("m1-s")),
        "base.spliceai": base_scoring(Path(weights)),
    }
    seen: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds + 1):
        for name, timer in timers.items():
            seen[name].append(timer())
    rates = {name: float(np.median(values[1:])) for name, values in seen.items()}  # the first round warms up

    def ratio(a: str, b: str) -> float:
        return float(np.median(np.array(seen[a][1:]) / np.array(seen[b][1:])))

    found = {
        "unit": {"train": "windows of 5,001 bases per second", "infer": "bases per second", "load": "windows per second",
                 "base": "bases per second, five networks"},
        "rates": rates,
        "ratios": {
            "training, ours to plain": ratio("train.ours", "train.plain"),
            "training, ours in bfloat16 to plain": ratio("train.bf16", "train.plain"),
            "inference, ours to plain": ratio("infer.ours", "infer.plain"),
            "inference to base scoring": ratio("infer.ours", "base.spliceai"),
            "windows read to windows trained on": ratio("load", "train.ours"),
        },
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    out = Path("build/bench/meta.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def inputs(batch: int, length: int, channels: int = 9) -> list[torch.Tensor]:
    """Random sequence, base log-probabilities and channels."""
    sequence = torch.nn.functional.one_hot(torch.randint(0, 4, (batch, length)), 4).float().transpose(1, 2)
    base = torch.log_softmax(torch.randn(batch, 3, length), 1)
    return [sequence.contiguous(), base, torch.randn(batch, channels, length)]


def train_step(network: torch.nn.Module, bfloat16: bool = False):
    """Windows per second of a step: forward, backward, AdamW; bfloat16: of the products, as ms-train --dtype has it."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    given = inputs(BATCH, WINDOW + 2 * network.context)
    label = torch.randint(0, 3, (BATCH, WINDOW))

    def run() -> float:
        network.train()
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(*given)
        loss = torch.nn.functional.cross_entropy(logits.float().reshape(-1, 3), label.reshape(-1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return BATCH / (time.perf_counter() - started)

    return run


def plain_inference():
    network = PlainMeta(channels=9).eval()
    given = inputs(1, LENGTH // 4 + 2 * network.context)  # memory grows with length in a plain loop

    @torch.inference_mode()
    def run() -> float:
        started = time.perf_counter()
        network(*given)
        return LENGTH / 4 / (time.perf_counter() - started)

    return run


def our_inference():
    network = models.build("meta", {"channels": 9}).eval()
    folded = Folded(network)
    given = [x[0].numpy() for x in inputs(1, LENGTH + 2 * network.context)]

    def run() -> float:
        started = time.perf_counter()
        folded(*given)
        return LENGTH / (time.perf_counter() - started)

    return run


def loading(recipe: SequenceRecipe):
    """Windows per second that are drawn, read and encoded, from shards in memory."""
    shards = planted(1)
    sampler = training_batches.window_sampler(shards, recipe, 1)
    config = training.configure(shards, recipe)
    context = models.build(recipe.kind, config).context
    alone = Workers(0, 1, "cpu")

    def run() -> float:
        started = time.perf_counter()
        for _ in training_batches.batches(shards, sampler, recipe, context, 0, BATCH, 12, 1, alone):
            pass
        return 12 * BATCH / (time.perf_counter() - started)

    return run


def base_scoring(weights: Path):
    """Bases per second of the base model's fastest engine, one strand."""
    from libmeta import basemodels, engines

    adapter = basemodels.get("spliceai")
    engine = engines.build(adapter.read(adapter.find(weights)), "auto", "cpu", None, "float32")
    codes = np.random.default_rng(0).integers(1, 5, LENGTH + 2 * engine.context).astype(np.uint8)

    def run() -> float:
        started = time.perf_counter()
        engine.score(codes)
        return LENGTH / (time.perf_counter() - started)

    return run


if __name__ == "__main__":
    main()
