"""Channels and features that alone tell the sites are called out; ordinary ones are not. sklearn is the oracle."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from toy_shards import planted

from libmeta import disguise


@pytest.fixture
def shards():
    return planted(3, sizes=(("train", 1), ("valid", 2)), length=3000)


def put(shards, values):
    """values: function of a region -> its first channel."""
    for region in shards.parts["valid"]:
        region["channels"] = region["channels"].copy()
        region["channels"][0] = values(region)


def test_ordinary_tracks_are_not_called_out(shards, caplog):
    assert disguise.warn_of_channels(shards) == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (lambda r: (r["label"] == 0) * 2.0, "donors"),
        (lambda r: (r["label"] != 1) * 7.5, "acceptors"),
        (lambda r: (r["label"] != 2) * 1.0, "sites"),  # for donors alone its precision is a half
        (lambda r: np.where(r["label"] != 2, 0.0, np.nan), "sites"),  # known at sites only
        (lambda r: np.where(r["label"] != 2, np.nan, 3.0), "sites"),  # missing at sites only
    ],
)
def test_a_channel_that_is_the_label(shards, caplog, values, kind):
    put(shards, values)
    assert disguise.warn_of_channels(shards) == ["conservation.phylop_score"]
    assert len(caplog.records) == 1
    assert f"channel conservation.phylop_score alone reaches AP 1.0000 for {kind}" in caplog.text
    shards.take(["one"], ["chrom_access.atac_max"])  # not a channel of this model: not looked at
    assert disguise.warn_of_channels(shards) == []


def test_positions_without_weight_are_not_counted(shards):
    put(shards, lambda r: np.where((r["label"] != 2) | (r["weight"] == 0), 1.0, 0.0))
    assert disguise.warn_of_channels(shards) == ["conservation.phylop_score"]


def test_average_precision_is_exact(shards, monkeypatch):
    """Ties, missing values, weights, both directions: as sklearn has it, whatever the tiles."""
    rng = np.random.default_rng(4)
    told = {}
    monkeypatch.setattr(disguise, "_tell", lambda what, found: told.update(found) or [])
    whole_tiles = disguise.tiles
    monkeypatch.setattr(disguise, "tiles", lambda regions: whole_tiles(regions, 700))
    for region in shards.parts["valid"]:
        region["weight"] = np.where(region["weight"] > 0, rng.choice([0, 0.5, 1, 3], len(region["label"])), 0)
    put(shards, lambda r: np.where(rng.random(len(r["label"])) < 0.1, np.nan, np.round(r["channels"][0], 1)))
    disguise.warn_of_channels(shards)
    whole = {k: np.concatenate([r[k] for r in shards.parts["valid"]], axis=-1) for k in ("label", "weight", "channels")}
    kept = whole["weight"] > 0
    for i, channel in enumerate(shards.channels):
        values = np.nan_to_num(whole["channels"][i][kept], nan=-1e9)
        for kind, classes in disguise.KINDS.items():
            is_site = np.isin(whole["label"][kept], classes)
            wanted = max(
                average_precision_score(is_site, s * values, sample_weight=whole["weight"][kept]) for s in (1, -1)
            )
            assert told[channel["name"]][kind] == pytest.approx(wanted, abs=1e-9)
