"""What a sequence model is trained on: windows of the shards as tensors, read ahead of the loop.

What an epoch sees follows from seed and epoch alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from libmeta import encode
from libmeta.losses import soft_targets
from libmeta.recipes import SequenceRecipe
from libmeta.shards import Shards
from libmeta.tissue_training import TissueTask
from libmeta.windows import WindowSampler
from libmeta.workers import Workers

AHEAD = 4  # batches that are read while one is trained on


def window_sampler(shards: Shards, recipe: SequenceRecipe, seed: int, task=None) -> WindowSampler:
    """Of the training regions, from the first to the last position with a weight; task: has the sites, if not the shards."""
    spans = np.zeros((len(shards.regions("train")), 2), np.int64)
    for i, region in enumerate(shards.regions("train")):
        counted = np.flatnonzero(shards.labels(region, 0, region.length)[1])
        if len(counted):
            spans[i] = counted[0], counted[-1] + 1
    region, at, _ = (task or shards).sites("train")
    return WindowSampler(spans, region, at, recipe.window, recipe.site_share, seed)


def batches(
    shards: Shards, sampler: WindowSampler, recipe: SequenceRecipe, context: int, epoch: int, batch: int, steps: int,
    seed: int, workers: Workers, task: TissueTask | None = None,
) -> Iterator[tuple]:  # fmt: skip
    """(inputs, label, weight) tensors of this process's share of an epoch, read ahead by a thread."""
    draws = sampler.draw(epoch, steps * batch * workers.count)
    names = encode.modalities(shards.channels)
    dropped = np.random.default_rng((seed, epoch, 1)).random((len(draws.region), len(names))) < recipe.modality_dropout

    drawn = task.draw(seed, epoch, len(draws.region)) if task else None

    def make(step: int) -> tuple:
        low = (step * workers.count + workers.rank) * batch
        rows = range(low, low + batch)
        windows = [(draws.region[i], int(draws.start[i])) for i in rows]
        made = tensors(shards, windows, recipe.window, context, dropped[rows], recipe.soft)
        return task.of_tissues(made, windows, recipe.window, drawn[rows]) if task else made

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in range(min(AHEAD, steps))]
        for step in range(steps):
            inputs, label, weight = waiting.pop(0).result()
            if step + AHEAD < steps:
                waiting.append(pool.submit(make, step + AHEAD))
            yield [x.to(workers.device) for x in inputs], label.to(workers.device), weight.to(workers.device)


def tensors(
    shards: Shards, windows: list[tuple[int, int]], width: int, context: int, dropped: np.ndarray, soft: bool = False
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Inputs, label int64 (n, width) and weight float32 (n, width) of windows (region, start) of training regions.

    dropped: bool (n, modalities), modalities taken away. soft: weights of sites are targets, and label is then what
    losses.soft_targets gives.
    """
    regions = shards.regions("train")
    parts = [shards.read(regions[r], at - context, at + width + context) for r, at in windows]
    stacked = {k: np.stack([p[k] for p in parts]) for k in parts[0]}
    encoded = encode.encode(stacked["sequence"], stacked["base"], stacked["channels"], shards.channels)
    for j, name in enumerate(encode.modalities(shards.channels)):
        gone = dropped[:, j]
        encoded.masks[gone, j] = 0
        for c in (i for i, channel in enumerate(shards.channels) if channel["modality"] == name):
            encoded.channels[gone, c] = 0
    inner = slice(context, context + width)
    label = torch.from_numpy(stacked["label"][:, inner].astype(np.int64))
    weight = torch.from_numpy(stacked["weight"][:, inner].astype(np.float32))
    if soft:
        label, weight = soft_targets(label, weight)
    return [torch.from_numpy(x) for x in encoded.arrays()], label, weight
