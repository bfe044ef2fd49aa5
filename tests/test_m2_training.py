"""Training of the m2 family: soft targets, weights that only say how to train, and sites that nobody told the model."""

from dataclasses import replace

import numpy as np
import pytest
from toy_shards import planted

from libmeta import models, recipes, training_batches
from libmeta import sequence_training as training
from libmeta.errors import MetaError
from libmeta.sequence_validation import judge, of_base
from libmeta.training_state import Keeper
from libmeta.workers import Workers

ALONE = Workers(0, 1, "cpu")
SMALL = {
    "hidden": 16, "kernel": 5, "dropout": 0.0, "sequence_dilations": (1, 1), "channel_dilations": (1,),
    "fusion_dilations": (1,),
}  # fmt: skip
FAST = {"window": 1001, "learning_rate": 3e-3, "network": SMALL, "patience": 99}


pytestmark = pytest.mark.usefixtures("one_thread")


def fit(shards, recipe):
    config = training.configure(shards, recipe)
    return training.fit(shards, recipe, config, 1, "float32", ALONE, Keeper(None, {}), lambda *_: None)


def test_soft_recipe_trains_on_its_weights_as_targets():
    shards = planted(1, sizes=(("train", 1), ("valid", 1)), length=2000)
    region = shards.parts["train"][0]
    at = int(np.flatnonzero((region["label"] < 2) & (region["weight"] > 0))[0])
    region["weight"][at] = 0.25
    window = [(0, at - 500)], 1001, 300, np.zeros((1, 2), bool)
    _, hard, weight = training_batches.tensors(shards, *window)
    _, soft, counts = training_batches.tensors(shards, *window, soft=True)
    kind = int(hard[0, 500])
    assert float(weight[0, 500]) == 0.25
    assert soft[0, 500, [kind, 2]].tolist() == [0.25, 0.75]
    assert float(counts[0, 500]) == 1
    others = counts[0] > 0
    others[500] = False
    assert (soft[0].argmax(1)[others] == hard[0][others]).all()
    assert (soft[0].max(1).values[others] == 1).all()


def test_soft_targets_outside_are_refused_in_training():
    shards = planted(1, sizes=(("train", 1), ("valid", 1)), length=2000)
    region = shards.parts["train"][0]
    region["weight"][region["label"] < 2] = 1.5
    recipe = replace(recipes.get("m2d-soft-s"), epochs=1, windows=8, **FAST)
    with pytest.raises(MetaError, match=r"soft target outside \[0, 1\]"):
        fit(shards, recipe)


def test_weights_do_not_move_the_validation():
    """A site of weight 0.2 is there as often as one of weight 1."""
    shards = planted(2, sizes=(("valid", 2),), length=3000)
    before = judge(shards, shards.regions("valid"), of_base(0), 0).aps()
    for region in shards.parts["valid"]:
        region["weight"][(region["label"] < 2) & (region["weight"] > 0)] = 0.2
    assert judge(shards, shards.regions("valid"), of_base(0), 0).aps() == before


# ---- hidden sites ---------------------------------------------------------------------------------------------------


def half_hidden(seed, train):
    """A planted genome in which half of the sites are labelled neither, in training and validation; "true" has them."""
    shards = planted(seed, sizes=(("train", train), ("valid", 6), ("test", 4)), tracks=3.0, letter=3.0)
    rng = np.random.default_rng(seed)
    for part, regions in shards.parts.items():
        for region in regions:
            region["true"] = region["label"].copy()
            if part != "test":
                region["label"][(region["label"] < 2) & (rng.random(len(region["label"])) < 0.5)] = 2
    return shards


def recovered(shards, found, recipe, part, precision):
    """Share of the true sites among the positions labelled neither that a model calls at this precision there."""
    network = models.build(recipe.kind, training.configure(shards, recipe))
    network.load_state_dict(found.state)
    score, context, shares = training.scorer(network.eval(), shards, ALONE), network.context, []
    scores, true = [], []
    for region in shards.regions(part):
        arrays = shards.parts[part][region.offset]
        counted = (arrays["weight"] > 0) & ((arrays["label"] == 2) | (part == "test"))
        scores.append(score(shards.read(region, -context, region.length + context))[counted, :2])
        true.append(arrays["true"][counted])
    scores, true = np.concatenate(scores), np.concatenate(true)
    for kind in (0, 1):
        order = np.argsort(-scores[:, kind])
        hits = np.cumsum(true[order] == kind)
        good = np.flatnonzero(hits / np.arange(1, len(hits) + 1) >= precision)
        shares.append(hits[good[-1]] / hits[-1] if len(good) else 0.0)
    return float(np.mean(shares))


def test_unlabelled_risk_recovers_more_hidden_sites():
    """At the same precision, among the training positions that were called negative, and in regions never seen.

    Plain cross-entropy has to learn that even the surest site is annotated in half of the cases only, which no sum of
    log-odds is; the unlabelled risk keeps the law of the genome.
    """
    shards = half_hidden(1, train=8)
    found = {}
    for name in ("m2-s", "m2f-s"):
        recipe = replace(recipes.get(name), epochs=5, windows=200, **FAST)
        found[name] = recipe, fit(shards, recipe)
        assert not found[name][1].is_base
    summary = found["m2f-s"][1].summary
    assert summary["annotated"] == pytest.approx([0.5, 0.5], abs=0.12)  # estimated, not told
    for part, precision in (("train", 0.6), ("train", 0.7), ("test", 0.7)):
        plain, free = (recovered(shards, f, r, part, precision) for r, f in found.values())
        assert free > plain + 0.01, (part, precision)
