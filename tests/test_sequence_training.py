"""Training of sequence models: a planted law, resuming, chance, what is refused; validation against scikit-learn."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from toy_shards import SCALING, ToyShards, planted

from libmeta import encode, models, recipes, starting_blend
from libmeta import sequence_training as training
from libmeta.errors import MetaError
from libmeta.sequence_validation import Judged, chance_of_gain, half_of, judge, of_base
from libmeta.training_state import Keeper
from libmeta.workers import Workers

ALONE = Workers(0, 1, "cpu")
SMALL = {
    "hidden": 16, "kernel": 5, "dropout": 0.0, "sequence_dilations": (1, 1), "channel_dilations": (1,),
    "fusion_dilations": (1,),
}  # fmt: skip
RECIPE = replace(
    recipes.get("m1-s"), window=1001, batch=8, epochs=9, windows=240, patience=4, learning_rate=3e-3, network=SMALL
)


pytestmark = pytest.mark.usefixtures("one_thread")


def fit(shards, recipe=RECIPE, keeper=None, tell=lambda *_: None, seed=1):
    config = training.configure(shards, recipe)
    return training.fit(shards, recipe, config, seed, "float32", ALONE, keeper or Keeper(None, {}), tell)


def network_of(found, shards, recipe=RECIPE):
    network = models.build(recipe.kind, training.configure(shards, recipe))
    network.load_state_dict(found.state)
    return network.eval()


def macro_ap(shards, network=None):
    """On the test regions: of the network, or of the base."""
    score = training.scorer(network, shards, ALONE) if network else of_base(0)
    return judge(shards, shards.regions("test"), score, network.context if network else 0).macro_ap()


def best_macro_ap(shards):
    """Of the law itself."""
    found = Judged()
    for i, region in enumerate(shards.parts["test"]):
        counted = region["weight"] > 0
        found.add(i, region["label"][counted], region["weight"][counted], region["truth"].T[counted].astype(np.float32))
    return found.macro_ap()


def with_channels(shards, change):
    """The same shards with other channels: change(channels, region number) -> channels."""
    parts = {
        part: [{**r, "channels": change(r["channels"], i)} for i, r in enumerate(regions)]
        for part, regions in shards.parts.items()
    }
    return ToyShards(parts, SCALING, flank=shards.flank)


# ---- the planted law ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted_run():
    torch.set_num_threads(1)
    shards = planted(1, sizes=(("train", 16), ("valid", 6), ("test", 3)))
    return shards, fit(shards)


def test_model_closes_the_gap_between_base_and_best(planted_run):
    shards, found = planted_run
    assert not found.is_base
    base, best = macro_ap(shards), best_macro_ap(shards)
    assert best > base + 0.2  # there is something to be found
    assert macro_ap(shards, network_of(found, shards)) >= base + 0.95 * (best - base)


def test_without_its_tracks_the_model_is_not_below_the_base(planted_run):
    shards, found = planted_run
    blind = with_channels(shards, lambda channels, _: np.full_like(channels, np.nan))
    assert macro_ap(blind, network_of(found, shards)) >= macro_ap(shards)


def test_shuffled_tracks_do_not_take_it_below_the_base():
    rng = np.random.default_rng(4)
    shards = planted(2, sizes=(("train", 4), ("valid", 5), ("test", 2)), length=8000, letter=0.0)
    shuffled = with_channels(shards, lambda channels, _: rng.permuted(channels, axis=1))
    found = fit(shuffled, replace(RECIPE, epochs=3, windows=160))
    after = macro_ap(shuffled) if found.is_base else macro_ap(shuffled, network_of(found, shuffled))
    assert after >= macro_ap(shuffled) - 0.005


def test_shuffled_labels_give_chance():
    """Nothing of the labels is in the inputs: with labels dealt at random no model is better than none."""
    rng = np.random.default_rng(3)
    shards = planted(3, sizes=(("train", 3), ("valid", 6), ("test", 2)), length=5000)
    for regions in shards.parts.values():
        for region in regions:
            core = np.flatnonzero(region["weight"] > 0)
            region["label"][core] = rng.permutation(region["label"][core])
    found = fit(shards, replace(RECIPE, epochs=3, windows=80))
    prevalence = np.mean([np.mean(r["label"][r["weight"] > 0] == 0) for r in shards.parts["test"]])
    assert macro_ap(shards, None if found.is_base else network_of(found, shards)) < 2 * prevalence


def test_where_the_base_is_the_best_there_is_the_model_is_the_base(caplog):
    shards = planted(4, sizes=(("train", 2), ("valid", 8), ("test", 2)), length=5000, tracks=0.0, letter=0.0)
    with caplog.at_level(logging.WARNING, "libmeta"):
        found = fit(shards, replace(RECIPE, epochs=3, windows=80))
    assert found.is_base and found.base == 0
    assert "the model saved is the base model" in caplog.text
    assert found.summary["best_epoch"] is None
    assert found.summary["valid_macro_ap"]["model"] == found.summary["valid_macro_ap"]["start"]


def test_too_few_tiles_are_no_sure_gain():
    shards = planted(5, sizes=(("train", 1), ("valid", 2), ("test", 1)), length=5000)
    judged = judge(shards, shards.regions("valid"), of_base(0), 0)
    assert np.isnan(chance_of_gain(judged, judged, 2, 1))


def test_probabilities_are_at_true_prevalence(planted_run):
    """Windows are drawn at sites more often than sites are; the mean probability is the share of sites all the same."""
    shards, found = planted_run
    network = network_of(found, shards)
    score, context = training.scorer(network, shards, ALONE), network.context
    total, sites = np.zeros(2), np.zeros(2)
    for region in shards.regions("test"):
        part = shards.read(region, -context, region.length + context)
        p = score(part)[shards.labels(region, 0, region.length)[1] > 0]
        label, weight = shards.labels(region, 0, region.length)
        total += p[:, :2].sum(0)
        sites += [(label[weight > 0] == k).sum() for k in (0, 1)]
    assert total / sites == pytest.approx([1, 1], abs=0.15)


# ---- resuming -------------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [(1, 2), (2, 1)])
def test_interrupted_training_ends_in_the_same_weights(tmp_path, stop_at):
    """Stopped in the middle of an epoch (epoch, batch) and started again, with dropout and modality dropout."""
    recipe = replace(RECIPE, epochs=4, windows=24, network={**SMALL, "dropout": 0.1})
    shards = planted(5, sizes=(("train", 2), ("valid", 1), ("test", 1)), length=6000)
    whole = fit(shards, recipe)

    def stop(*found):
        if found[:2] == stop_at:
            raise Stop

    with pytest.raises(Stop):
        fit(shards, recipe, Keeper(tmp_path / "x.state", {"a": 1}), stop)
    torch.manual_seed(99)  # another process would be in another state
    resumed = fit(shards, recipe, Keeper(tmp_path / "x.state", {"a": 1}))
    assert [e["loss"] for e in resumed.history] == [e["loss"] for e in whole.history]
    assert whole.state.keys() == resumed.state.keys()
    for name, value in whole.state.items():
        assert torch.equal(value, resumed.state[name]), name


def test_state_of_another_training_is_not_used(tmp_path, caplog):
    recipe = replace(RECIPE, epochs=1, windows=16)
    shards = planted(5, sizes=(("train", 1), ("valid", 1), ("test", 1)), length=6000)
    fit(shards, recipe, Keeper(tmp_path / "x.state", {"a": 1}))
    with caplog.at_level(logging.INFO, "libmeta"):
        found = fit(shards, recipe, Keeper(tmp_path / "x.state", {"a": 2}))
    assert "starting anew" in caplog.text
    assert len(found.history) == 1


def test_damaged_state_is_one_line(tmp_path):
    (tmp_path / "x.state").write_bytes(b"nonsense")
    shards = planted(5, sizes=(("train", 1), ("valid", 1), ("test", 1)), length=6000)
    with pytest.raises(MetaError, match=r"damaged training state .*x.state; remove it"):
        fit(shards, RECIPE, Keeper(tmp_path / "x.state", {}))


def test_seed_decides_everything():
    recipe = replace(RECIPE, epochs=1, windows=16, network={**SMALL, "dropout": 0.1})
    shards = planted(5, sizes=(("train", 1), ("valid", 1), ("test", 1)), length=6000)
    one, again, other = (fit(shards, recipe, seed=s).history[0]["loss"] for s in (1, 1, 2))
    assert one == again != other


# ---- validation -----------------------------------------------------------------------------------------------------


def test_validation_is_average_precision_at_true_prevalence():
    shards = planted(6, sizes=(("train", 1), ("valid", 8), ("test", 1)), length=3000)
    judged = judge(shards, shards.regions("valid"), of_base(0), 0)
    regions = shards.parts["valid"]
    label, weight = (np.concatenate([r[k] for r in regions]) for k in ("label", "weight"))
    score = np.concatenate([r["base"][0] for r in regions], axis=1)
    expected = [average_precision_score(label == k, score[k], sample_weight=weight) for k in (0, 1)]
    assert judged.aps() == pytest.approx(expected, abs=1e-6)
    halves = [
        average_precision_score(
            np.concatenate([r["label"][r["weight"] > 0] == 0 for i, r in enumerate(regions) if half_of(i) == h]),
            np.concatenate([r["base"][0][0][r["weight"] > 0] for i, r in enumerate(regions) if half_of(i) == h]),
        )
        for h in (0, 1)
    ]
    assert [judged.kinds[0].average_precision(h) for h in (0, 1)] == pytest.approx(halves, abs=1e-6)


def test_ranks_share_the_work_and_add_up():
    shards = planted(7, sizes=(("train", 1), ("valid", 3), ("test", 1)), length=5000)
    regions = shards.regions("valid")
    whole = judge(shards, regions, of_base(0), 0)
    merged = Judged()
    for rank in (0, 1):
        merged.merge(judge(shards, regions, of_base(0), 0, rank, 2))
    assert merged.macro_ap() == pytest.approx(whole.macro_ap(), abs=1e-9)


def test_chance_of_gain_is_of_paired_draws():
    shards = planted(8, sizes=(("train", 1), ("valid", 8), ("test", 1)), length=3000)
    regions = shards.regions("valid")
    base = judge(shards, regions, of_base(0), 0)
    better, worse = Judged(), Judged()
    for i, r in enumerate(shards.parts["valid"]):
        k = r["weight"] > 0
        better.add(i, r["label"][k], r["weight"][k], r["truth"].T[k].astype(np.float32))
        worse.add(i, r["label"][k], r["weight"][k], np.full((int(k.sum()), 2), 0.1, np.float32))
    assert chance_of_gain(better, base, 8, 1) == 1
    assert chance_of_gain(worse, base, 8, 1) == 0
    assert chance_of_gain(base, base, 8, 1) == 0


# ---- what is refused ------------------------------------------------------------------------------------------------


def channel(name, modality):
    return {"name": f"{modality}.{name}", "modality": modality, "log1p": False, "centre": 0.0, "scale": 1.0}


def test_channel_of_the_targets_modality_is_refused_and_can_be_left_out():
    shards = planted(9, sizes=(("train", 1),), length=1000)
    shards.channels = [channel("junction_log1p", "junction"), SCALING[0]]
    shards.manifest["recipe"] = "m3"
    with pytest.raises(MetaError, match="label in disguise; add --without junction"):
        training.choose(shards, recipes.get("m3-s"), None, ())
    training.choose(shards, recipes.get("m3-s"), None, ("junction",))
    assert [c["modality"] for c in shards.channels] == ["conservation"]


def test_modality_that_the_recipe_does_not_use_is_left_out_and_told(caplog):
    shards = planted(9, sizes=(("train", 1),), length=1000)
    shards.channels = [channel("junction_log1p", "junction"), SCALING[0]]
    with caplog.at_level(logging.INFO, "libmeta"):
        training.choose(shards, recipes.get("m1-s"), None, ())
    assert "m1-s does not use the channels of junction" in caplog.text
    assert [c["modality"] for c in shards.channels] == ["conservation"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"recipe": recipes.get("m3-s")},
            "labels of m1, .* needs those of m3; make the shards with ms-shard --recipe m3-s",
        ),
        ({"base": ["two"]}, "no base model two, .*; there are one"),
        ({"without": ("rbp_eclip",)}, "no channel of rbp_eclip to leave out"),
    ],
)
def test_what_the_shards_lack(changes, message):
    shards = planted(9, sizes=(("train", 1),), length=1000)
    arguments = {"recipe": recipes.get("m1-s"), "base": None, "without": (), **changes}
    with pytest.raises(MetaError, match=message):
        training.choose(shards, arguments["recipe"], arguments["base"], arguments["without"])


def test_flanks_must_hold_the_context():
    shards = planted(9, sizes=(("train", 1),), length=1000, flank=20)
    with pytest.raises(MetaError, match="flanks of 20 bp, toy, but the network sees 300 on each side; make them with"):
        training.configure(shards, recipes.get("m1-s"))


def test_parts_without_sites():
    shards = planted(9, sizes=(("train", 1), ("valid", 1)), length=1000)
    shards.parts["valid"][0]["label"][:] = 2
    with pytest.raises(
        MetaError, match="1 validation regions with 0 donors and 0 acceptors for m1-s, toy; give ms-shard more"
    ):
        fit(shards)


# ---- several base models --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_models():
    """The second base model is the law itself, the first a blurred form of it."""
    shards = planted(11, sizes=(("train", 3), ("valid", 6), ("test", 2)), length=5000, tracks=0.0, letter=0.0)
    rng = np.random.default_rng(1)
    for regions in shards.parts.values():
        for region in regions:
            odds = np.log(region["base"] / (1 - region["base"]))
            blurred = 1 / (1 + np.exp(-odds - rng.normal(0, 2, odds.shape)))
            region["base"] = np.concatenate([blurred / np.maximum(blurred.sum(1), 1), region["base"]]).astype(
                np.float32
            )
    shards.base_names = ["blurred", "law"]
    return shards


def test_base_models_are_weighed_as_likelihood_says(two_models):
    from scipy.optimize import minimize_scalar

    blend = models.build("meta", training.configure(two_models, RECIPE)).blend
    starting_blend.fit(blend, two_models, seed=1)
    parts = two_models.parts["train"]
    logs = np.concatenate([encode.log_probabilities(r["base"]).reshape(2, 3, -1) for r in parts], axis=2)
    label, weight = (np.concatenate([r[k] for r in parts]) for k in ("label", "weight"))
    p = np.take_along_axis(np.exp(logs), label[None, None].astype(int), 1)[:, 0]  # of the true class

    def loss(share):
        return -(weight * np.log((1 - share) * p[0] + share * p[1])).sum()

    best = minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    assert torch.softmax(blend.mixture.detach(), 0)[1].item() == pytest.approx(best, abs=0.02)
    assert best > 0.8


def judged_base(shards, which, part="test"):
    return judge(shards, shards.regions(part), of_base(which), 0).macro_ap()


def test_the_better_base_model_is_the_least_that_comes_out(two_models):
    """The second model is the best there is: what is saved is that one, although the first is the primary."""
    found = fit(two_models, replace(RECIPE, epochs=1, windows=16))
    assert [e["epoch"] for e in found.history] == [0, 1]
    law = judged_base(two_models, 1, "valid")
    assert law > judged_base(two_models, 0, "valid") + 0.1
    assert found.history[0]["base_macro_ap"] == pytest.approx(law)
    if found.is_base:
        assert found.base == 1
    else:
        assert macro_ap(two_models, network_of(found, two_models)) >= judged_base(two_models, 1) - 0.01


def test_another_base_model_is_judged_by_the_primary_where_it_has_no_score(two_models):
    parts = {"test": [{**r, "base": r["base"].copy()} for r in two_models.parts["test"]]}
    for region in parts["test"]:
        region["base"][1, 0, ::2] = np.nan
    holed = ToyShards(parts, SCALING, two_models.base_names, two_models.flank)
    mixed = of_base(1)(holed.read(holed.regions("test")[0], 0, 900))
    for first, which in ((0, 0), (1, 1)):
        whole = of_base(which)(two_models.read(two_models.regions("test")[0], 0, 900))
        assert np.array_equal(mixed[first::2], whole[first::2])


def test_one_base_model_is_not_weighed():
    shards = planted(9, sizes=(("train", 1),), length=1000)
    blend = models.build("meta", training.configure(shards, RECIPE)).blend
    starting_blend.fit(blend, shards, seed=1)
    assert blend.mixture is None


# ---- sites that the recipe masks ------------------------------------------------------------------------------------


def test_sites_that_validation_masks_have_their_say(caplog):
    """A third of the sites is of tier 1: of half weight in training, none in validation, as labels of m1 have them."""
    shards = planted(13, sizes=(("train", 4), ("valid", 6), ("test", 1)), length=5000)
    rng = np.random.default_rng(1)
    for part, regions in shards.parts.items():
        for region in regions:
            alternative = (region["tier"] == 0) & (rng.random(len(region["label"])) < 1 / 3)
            region["tier"][alternative] = 1
            region["weight"][alternative] *= 0.5 if part == "train" else 0
    with caplog.at_level(logging.INFO, "libmeta"):
        found = fit(shards, replace(RECIPE, epochs=4, windows=160))
    assert not found.is_base
    strata = found.summary["valid_strata"]
    assert list(strata) == ["annotated", "tier 0", "tier 1"]
    assert all(s["model"] > s["base"] for s in strata.values())
    assert "validation, tier 1: macro AP" in caplog.text
    best = max(found.history, key=lambda e: e["valid_aim"])
    judged = judge(shards, shards.regions("valid"), of_base(0), 0)
    assert best["base_aim"] == pytest.approx((judged.macro_ap() + judged.macro_ap(which="annotated")) / 2)
    assert best["valid_aim"] == pytest.approx(
        (strata["tier 0"]["unpulled"] + strata["annotated"]["unpulled"]) / 2, abs=1e-6
    )
    assert set(found.config) == {"pull", "pull_to"}
