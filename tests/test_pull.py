"""The share of a base model in a trained one: strata against scikit-learn, what is chosen, what the network then says."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from toy_shards import SCALING, ToyShards

from libmeta import encode, models, pull
from libmeta.errors import MetaError
from libmeta.models.blend import Blend
from libmeta.sequence_validation import ANNOTATED, COUNTED, judge, of_base

N, TILES = 4000, 8


@pytest.fixture(scope="module")
def shards():
    """Two base models: the first knows tier 1, which the labels mask, the second tier 0. Sites of both kinds."""
    rng, regions = np.random.default_rng(3), []
    for _ in range(TILES):
        label, tier = np.full(N, 2, np.uint8), np.full(N, 255, np.uint8)
        sites = rng.choice(N, 120, replace=False)
        label[sites], tier[sites] = np.arange(120) % 2, np.arange(120) // 2 % 2
        odds = np.stack([_odds(rng, label, tier, good) for good in (1, 0)])
        regions.append({
            "sequence": rng.integers(1, 5, N).astype(np.uint8), "base": _two(odds), "label": label, "tier": tier,
            "channels": np.zeros((2, N), np.float32), "weight": np.where(tier == 1, 0, 1).astype(np.float32),
        })  # fmt: skip
    return ToyShards({"valid": regions}, SCALING, ("alternatives", "canonical"), 0)


def _odds(rng, label, tier, good):
    """Log-odds (2, n) by which a model finds one tier well and the other badly."""
    known = np.where(tier == good, 4.0, np.where(tier == 1 - good, 1.0, 0.0)) - 5
    return np.where(np.arange(2)[:, None] == label, known, -5) + rng.normal(0, 1, (2, len(label)))


def _two(odds):
    """Probabilities of donor and acceptor."""
    p = 1 / (1 + np.exp(-odds))
    return (0.999 * p / np.maximum(p.sum(-2, keepdims=True), 1)).astype(np.float32)


def scored(share_of_first):
    """A model that is a mean of the two: function of what Shards.read gives."""

    def score(part):
        p = share_of_first * of_base(0)(part) + (1 - share_of_first) * of_base(1)(part)
        return np.column_stack([p, 1 - p.sum(1)])

    return score


def together(shards, key):
    return np.concatenate([r[key] for r in shards.parts["valid"]], axis=-1)


@pytest.mark.parametrize("which", [COUNTED, ANNOTATED, 0, 1])
def test_strata_are_those_of_scikit_learn(shards, which):
    """Sites of other strata, and they alone, are left out."""
    found = judge(shards, shards.regions("valid"), of_base(0), 0).aps(which=which)
    label, tier, base = (together(shards, k) for k in ("label", "tier", "base"))
    mine = {COUNTED: tier == 0, ANNOTATED: tier < 3, 0: tier == 0, 1: tier == 1}[which]
    for k in (0, 1):
        # of another kind, and counted: a negative
        rows = (label != k) & (together(shards, "weight") > 0) | (label == k) & mine
        assert found[k] == pytest.approx(average_precision_score(label[rows] == k, base[0, k][rows]), abs=1e-6)


def test_tiers_are_those_with_enough_sites_of_each_kind(shards):
    judged = judge(shards, shards.regions("valid"), of_base(0), 0)
    counts = [[(together(shards, "label")[together(shards, "tier") == t] == k).sum() for k in (0, 1)] for t in (0, 1)]
    assert judged.tiers() == [0, 1]
    assert judged.tiers(min(counts[1]) + 1) == ([0] if min(counts[0]) > min(counts[1]) else [])
    assert judged.tiers(10_000) == []


def chosen(shards, score):
    regions = shards.regions("valid")
    bases = [judge(shards, regions, of_base(k), 0) for k in (0, 1)]
    return pull.choose(pull.judge_each(shards, regions, score, 0), bases, (COUNTED, ANNOTATED), TILES, 1)


def test_a_model_that_gave_a_tier_up_is_pulled_to_whoever_knows_it(shards):
    """The second base model itself as the model: only the first can give tier 1 back."""
    found = chosen(shards, scored(0))
    assert found.pull.share > 0
    assert found.pull.to == 0
    before = found.strata["tier 1"]["unpulled"] - found.strata["tier 1"]["base"]
    after = found.strata["tier 1"]["model"] - found.strata["tier 1"]["base"]
    assert before < -0.1
    assert after > 0.6 * before
    assert found.strata["tier 1"]["base_model"] == 0
    assert found.strata["tier 0"]["base_model"] == 1


def test_a_model_above_both_in_every_tier_stays_as_it_is(shards):
    def perfect(part):
        p = np.full((len(part["label"]), 3), 0.01, np.float32)
        p[np.arange(len(p)), part["label"]] = 0.98
        return p

    found = chosen(shards, perfect)
    assert found.pull == pull.Pull()
    assert all(s["model"] == s["unpulled"] == pytest.approx(1) for s in found.strata.values())
    assert set(found.strata) == {"annotated", "tier 0", "tier 1"}


def test_too_few_tiles_say_nothing(shards):
    regions = shards.regions("valid")
    each = pull.judge_each(shards, regions, scored(1), 0)
    assert pull.choose(each, each[:2], (COUNTED,), 3, 1) == pull.Found(pull.Pull(), {})


def test_ranks_share_the_work(shards):
    regions = shards.regions("valid")
    whole, parts = (pull.judge_each(shards, regions, scored(0.5), 0, *r) for r in ((0, 1), (0, 2)))
    for one, other in zip(parts, pull.judge_each(shards, regions, scored(0.5), 0, 1, 2), strict=True):
        one.merge(other)
    assert [j.macro_ap(which=1) for j in parts] == pytest.approx([j.macro_ap(which=1) for j in whole], abs=1e-9)


@pytest.mark.parametrize("unknown", [False, True])
def test_the_network_says_what_was_judged(unknown):
    """Blend with a pull, and pull.pulled() of Blend without."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    base = rng.dirichlet((1, 1, 30), (2, 50)).transpose(0, 2, 1)[:, :2].astype(np.float32)
    if unknown:
        base[1, :, ::3] = np.nan
    logs = torch.from_numpy(encode.log_probabilities(base))[None]
    z = torch.randn(1, 3, 50)
    plain, with_pull = Blend(2), Blend(2, 0.3, 1)
    p = torch.softmax(plain(z, logs), -1)[0].detach().numpy()
    each = np.exp(encode.log_probabilities(base)).reshape(2, 3, 50)
    towards = np.where(np.isnan(base[1]).any(0), each[0], each[1]).T
    expected = p**0.7 * towards**0.3
    found = torch.softmax(with_pull(z, logs), -1)[0].detach().numpy()
    assert found == pytest.approx(expected / expected.sum(1, keepdims=True), abs=1e-6)
    assert pull.pulled(p, towards, 0.3) == pytest.approx(found, abs=1e-6)
    assert torch.equal(plain(z, logs), Blend(2, 0.0, 1)(z, logs))
    of_tissues = torch.stack([z, 2 * z], 1)
    assert torch.allclose(with_pull(of_tissues, logs)[:, 0], with_pull(z, logs), atol=1e-6)


@pytest.mark.parametrize(("share", "to"), [(1.0, 0), (-0.1, 0), (0.2, 2), (0.2, -1)])
def test_a_pull_to_nowhere_is_refused(share, to):
    for kind in ("meta", "window"):
        with pytest.raises(MetaError, match=r"pull .* to base model number .* of the 2 there are"):
            models.build(kind, {"base_models": 2, "pull": share, "pull_to": to})
