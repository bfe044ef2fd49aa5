"""Where a network with several base models starts: the weighted mean of their probabilities that fits best.

A mean keeps what either model is sure of; a sum of log-probabilities lets each veto the other, and alternative sites that
one of them was not trained on are lost.

The network then refines this, instead of first having to find out which base model to believe. With one base model there
is nothing to weigh, and it starts at that model.
"""

import numpy as np
import torch

from libmeta import encode
from libmeta.models.blend import Blend
from libmeta.shards import Shards

TELLING = 1e-4  # a base that no base model gives this chance says nothing about their weights
SHARE = 20  # of the other bases one in so many is taken, with that weight


def fit(blend: Blend, shards: Shards, seed: int, steps: int = 60) -> None:
    """Set the mixture of a blend to the maximum likelihood on the training regions."""
    if blend.mixture is None:
        return
    base, label, weight = _rows(shards, np.random.default_rng(seed))
    if not weight.sum():
        return
    mixture = blend.mixture.detach().cpu().clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([mixture], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = torch.logsumexp(base + torch.log_softmax(mixture, 0)[:, None], 1)
        found = (torch.nn.functional.cross_entropy(logits, label, reduction="none") * weight).sum() / weight.sum()
        found.backward()
        return found

    optimiser.step(loss)
    with torch.no_grad():
        blend.mixture.copy_(mixture)


def _rows(shards: Shards, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(log-probabilities (n, K, 3), label (n,), weight (n,)) of the training positions that matter."""
    parts = []
    for region in shards.regions("train"):
        found = shards.read(region, 0, region.length)
        p, label, weight = found["base"], found["label"], found["weight"].copy()
        known = np.isfinite(p).all(axis=(0, 1)) & (weight > 0)
        telling = (np.nan_to_num(p).max(axis=(0, 1)) >= TELLING) | (label != 2)
        drawn = ~telling & (rng.random(len(label)) < 1 / SHARE)
        weight[drawn] *= SHARE
        rows = np.flatnonzero(known & (telling | drawn))
        logs = encode.log_probabilities(p[..., rows]).reshape(len(p), 3, len(rows))
        parts.append((logs.transpose(2, 0, 1), label[rows].astype(np.int64), weight[rows].astype(np.float32)))
    return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
