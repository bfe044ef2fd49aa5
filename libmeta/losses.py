"""Losses of sequence models on logits (..., 3): donor, acceptor, neither. All average over the weighted positions.

The logits are those of the sampled training windows: the prior of the sampling has been added by the caller.
"""

import torch
from torch.nn import functional

from libmeta.errors import MetaError

FOCUS = 2.0  # gamma of the focal loss (Lin et al. 2017)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, **_) -> torch.Tensor:
    """Of class indices int64 (...,), or of probabilities (..., 3)."""
    return _mean(_log_loss(logits, target), weight)


def focal(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, **_) -> torch.Tensor:
    """Cross-entropy times (1 - p_t)^2, p_t the probability of the true class, whatever its weight."""
    loss = _log_loss(logits, target)
    return _mean((1 - torch.exp(-loss)) ** FOCUS * loss, weight)


def divergence(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, **_) -> torch.Tensor:
    """KL(target || p) of soft targets (..., 3); classes count as certain."""
    soft = target if target.dim() == logits.dim() else functional.one_hot(target, 3).to(logits.dtype)
    entropy = torch.special.entr(soft).sum(-1)
    return _mean(_log_loss(logits, soft) - entropy, weight)


def unlabelled(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    prior: tuple[float, float],
    hidden: tuple[float, float] | None = None,
    **_,
) -> torch.Tensor:
    """Non-negative positive-unlabelled risk (Kiryo et al. 2017), summed over donor and acceptor, each against the rest.

    prior: share of true sites of each kind among the positions as sampled, above that of the annotated ones. hidden: the
    same among the positions labelled neither, which are the unlabelled ones; as in the paper, where the unlabelled sample
    holds all positives, it is the prior unless it is given. A batch without a positive of a kind counts that kind's
    unlabelled only.
    """
    log_p = functional.log_softmax(logits, -1)
    total = logits.sum() * 0
    for kind, (pi, share) in enumerate(zip(prior, hidden or prior, strict=True)):
        is_site = -log_p[..., kind]
        is_none = -torch.log(-torch.expm1(torch.clamp(log_p[..., kind], max=-1e-6)))
        positive = weight * (target == kind)
        free = weight * (target == 2)
        if not positive.any():
            total = total + _mean(is_none, free)
            continue
        negative = _mean(is_none, free) - share * _mean(is_none, positive)
        total = total + pi * _mean(is_site, positive) + torch.clamp(negative, min=0)
    return total


def soft_targets(label: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(target float32 (..., 3), weight 0 or 1): the weight of a site becomes the probability of its class, the rest is on
    neither. label int64 (...,), weight (...,) in [0, 1].

    Raises MetaError for a weight that is no probability.
    """
    if not bool(((weight >= 0) & (weight <= 1)).all()):
        raise MetaError("a soft target outside [0, 1], shards; make them again from sites whose weights lie between")
    target = functional.one_hot(label, 3).to(weight.dtype) * weight[..., None]
    target[..., 2] = torch.where(label == 2, torch.ones_like(weight), 1 - weight)
    return target, (weight > 0).to(weight.dtype)


LOSSES = {"ce": cross_entropy, "focal": focal, "kl": divergence, "nnpu": unlabelled}


def _log_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    log_p = functional.log_softmax(logits, -1)
    if target.dim() == logits.dim():
        return -(target * log_p).sum(-1)
    return -log_p.gather(-1, target[..., None])[..., 0]


def _mean(loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean; 0 where nothing has weight."""
    return (loss * weight).sum() / torch.clamp(weight.sum(), min=1e-9)
