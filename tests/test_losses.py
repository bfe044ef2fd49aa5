"""Losses against their formulas in float64 NumPy, and what they must not depend on."""

import numpy as np
import pytest
import torch

from libmeta.errors import MetaError
from libmeta.losses import LOSSES, soft_targets

rng = np.random.default_rng(0)
LOGITS = rng.normal(0, 3, (4, 7, 3))
LABEL = rng.integers(0, 3, (4, 7))
WEIGHT = rng.choice([0.0, 0.4, 1.0], (4, 7))
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
OF_TRUE = np.take_along_axis(P, LABEL[..., None], -1)[..., 0]


def value(name, target=LABEL, weight=WEIGHT, logits=LOGITS, **more):
    return float(LOSSES[name](torch.tensor(logits), torch.tensor(target), torch.tensor(weight), **more))


def mean(loss, weight=WEIGHT):
    return (loss * weight).sum() / weight.sum()


def test_cross_entropy():
    assert value("ce") == pytest.approx(mean(-np.log(OF_TRUE)))


def test_focal_uses_the_unweighted_probability():
    assert value("focal") == pytest.approx(mean(-((1 - OF_TRUE) ** 2) * np.log(OF_TRUE)))
    assert value("focal", weight=3 * WEIGHT) == pytest.approx(value("focal"))


def test_kl_of_soft_targets():
    soft = rng.dirichlet([1, 1, 1], (4, 7))
    assert value("kl", soft) == pytest.approx(mean((soft * np.log(soft / P)).sum(-1)))
    assert value("kl", P) == pytest.approx(0, abs=1e-12)
    assert value("kl") == pytest.approx(value("ce"))  # certain classes have no entropy


def test_nnpu_is_the_published_risk():
    pi = (0.3, 0.2)
    expected = 0.0
    for k in (0, 1):
        positive, free = WEIGHT * (k == LABEL), WEIGHT * (LABEL == 2)
        plus = mean(-np.log(P[..., k]), positive)
        expected += pi[k] * plus + max(
            mean(-np.log1p(-P[..., k]), free) - pi[k] * mean(-np.log1p(-P[..., k]), positive), 0
        )
    assert value("nnpu", prior=pi) == pytest.approx(expected)


def test_nnpu_takes_what_is_hidden_from_the_unlabelled():
    pi, hidden = (0.3, 0.2), (0.02, 0.1)
    expected = 0.0
    for k in (0, 1):
        positive, free = WEIGHT * (k == LABEL), WEIGHT * (LABEL == 2)
        none = -np.log1p(-P[..., k])
        expected += pi[k] * mean(-np.log(P[..., k]), positive)
        expected += max(mean(none, free) - hidden[k] * mean(none, positive), 0)
    assert value("nnpu", prior=pi, hidden=hidden) == pytest.approx(expected)


def test_soft_targets():
    label, weight = torch.tensor([[0, 1, 2, 1]]), torch.tensor([[0.25, 1.0, 1.0, 0.0]])
    target, counts = soft_targets(label, weight)
    assert target.tolist() == [[[0.25, 0, 0.75], [0, 1, 0], [0, 0, 1], [0, 0, 1]]]
    assert counts.tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize("wrong", [1.01, -0.2, float("nan")])
def test_soft_targets_are_probabilities(wrong):
    with pytest.raises(MetaError, match=r"soft target outside \[0, 1\]"):
        soft_targets(torch.tensor([0, 2]), torch.tensor([wrong, 1.0]))


def test_nnpu_risk_is_never_negative_and_needs_no_positive():
    sure = np.zeros((1, 9, 3))
    sure[..., 0] = 30  # every position is called a donor: the unlabelled risk minus pi times the positive one
    assert value("nnpu", np.zeros((1, 9), int), np.ones((1, 9)), sure, prior=(0.5, 0.5)) >= 0
    none = np.full((1, 9), 2)
    p = 1 / 3
    assert value("nnpu", none, np.ones((1, 9)), np.zeros((1, 9, 3)), prior=(0.1, 0.1)) == pytest.approx(
        -2 * np.log(1 - p)
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradient_is_finite_and_masked_positions_have_none(name):
    logits = torch.tensor(np.where(LOGITS > 0, 60.0, -60.0), requires_grad=True)
    LOSSES[name](logits, torch.tensor(LABEL), torch.tensor(WEIGHT), prior=(0.1, 0.1)).backward()
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad[torch.tensor(WEIGHT) == 0].abs().max()) == 0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_with_weight_is_loss_zero(name):
    assert value(name, weight=np.zeros_like(WEIGHT), prior=(0.1, 0.1)) == 0
