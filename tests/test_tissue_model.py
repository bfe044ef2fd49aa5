"""One model for all tissues: what it learns where a letter decides, what it may not see, and how it is asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from test_predict_sequence import WHOLE, agree, here, random_network, saved, sequence_model, told, world  # noqa: F401
from toy_shards import ToyShards
from toy_tissues import NAMES, ToyTissues, planted_tissues

from libmeta import config as settings
from libmeta import models, predict_tissues, recipes, streams, tissue_training, training_batches
from libmeta import sequence_training as training
from libmeta.check import check_file
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.models.file import SequenceModel
from libmeta.models.folded import Folded
from libmeta.predict_sequence import Refiner, open_sources, score
from libmeta.tissue_profiles import Profiles
from libmeta.tissue_training import TissueTask
from libmeta.tracks import ScoreTracks
from libmeta.training_state import Keeper
from libmeta.workers import Workers

ALONE = Workers(0, 1, "cpu")
SMALL = {
    "hidden": 16, "kernel": 7, "dropout": 0.0, "sequence_dilations": (1, 1), "channel_dilations": (1,),
    "fusion_dilations": (1,), "tissue_width": 4, "tissue_join": "head",
}  # fmt: skip
RECIPE = replace(
    recipes.get("m2e-s"), window=501, batch=8, epochs=7, windows=160, patience=7, learning_rate=3e-3, network=SMALL
)


pytestmark = pytest.mark.usefixtures("one_thread")


def fit(shards, recipe=RECIPE, form="embedding", profiles=None):
    """(outcome, history) of a training."""
    tissues, history = tissue_training.settings(shards, form, profiles), []

    def tell(*found):
        if len(found) == 1:
            history[:] = found[0]

    config = training.configure(shards, recipe, tissues)
    return training.fit(shards, recipe, config, 1, "float32", ALONE, Keeper(None, {}), tell, tissues), history


# ---- the planted law ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted_run():
    torch.set_num_threads(1)
    shards = planted_tissues(1, sizes=(("train", 10), ("valid", 6), ("test", 3)))
    return shards, *fit(shards)


def test_tissues_are_ranked_right_on_unseen_sequence(planted_run):
    shards, found, history = planted_run
    best = history[-1]
    assert not found.is_base and best["valid_macro_ap"] > best["blind_macro_ap"] > best["base_macro_ap"]
    network = models.build("meta", training.configure(shards, RECIPE, found.tissues))
    network.load_state_dict(found.state)
    task = TissueTask(shards, found.tissues, 4, True)
    score = training.scorer(network.eval(), shards, ALONE, task)
    within = task.judge(shards.regions("test"), score, network.context).told()["within_site"]
    assert within["sites"] > 300 and within["chance_ap"] < 0.72
    assert within["ap"] > 0.9 and within["auc"] > 0.85
    assert abs(within["tissue_prior_ap"] - within["chance_ap"]) < 0.08  # no tissue is favoured by the law


def test_shuffled_tissues_are_ranked_by_chance():
    shards = planted_tissues(1, sizes=(("train", 10), ("valid", 6)), shuffled=True)
    within = fit(shards, replace(RECIPE, epochs=2))[1][-1]["within_site"]
    assert within["auc"] == pytest.approx(0.5, abs=0.06)
    assert within["ap"] == pytest.approx(within["chance_ap"], abs=0.06)


@pytest.mark.parametrize(
    ("form", "join"), [("one-hot", "head"), ("profile", "head"), ("embedding", "channels"), ("profile", "channels")]
)
def test_every_form_trains_and_is_kept(form, join):
    shards = planted_tissues(2, sizes=(("train", 2), ("valid", 2)), length=3000)
    table = Profiles("p", NAMES, ["RBFOX1", "NOVA1"], np.arange(8.0).reshape(4, 2)) if form == "profile" else None
    small = replace(RECIPE, epochs=1, windows=16, network={**SMALL, "tissue_join": join})
    found, history = fit(shards, small, form if form != "profile" else "embedding", table)
    assert found.tissues["form"] == form and len(found.tissues["activity"]) == 4
    assert np.isfinite(history[0]["valid_macro_ap"]) and history[0]["within_site"]["sites"] > 0


def test_a_training_starts_at_the_base_model():
    shards = planted_tissues(3, sizes=(("train", 1), ("valid", 1)), length=3000)
    tissues = tissue_training.settings(shards, "embedding", None)
    network = models.build("meta", training.configure(shards, RECIPE, tissues))
    task = TissueTask(shards, tissues, 4, True)
    region = shards.regions("valid")[0]
    part = shards.read(region, 0, 1000)
    p = training.scorer(network.eval(), shards, ALONE, task)(part)
    inner = part["base"][0][:, network.context : 1000 - network.context]
    assert p.shape == (4, 1000 - 2 * network.context, 3)
    assert p[:, :, :2] == pytest.approx(np.broadcast_to(inner.T, p[:, :, :2].shape), abs=1e-5)


# ---- what a training sees -------------------------------------------------------------------------------------------


def test_no_input_depends_on_the_labels_of_a_tissue():
    """The same shards with every state turned round: targets differ, inputs are the same."""
    made = []
    for turned in (False, True):
        shards = planted_tissues(4, sizes=(("train", 2), ("valid", 1)), length=3000)
        if turned:
            rows = {
                k: (at, site, np.where(s < 0, s, 1 - s).astype(np.int8))
                for k, (at, site, s) in shards.tissues.rows.items()
            }
            shards.tissues = ToyTissues(rows)
        tissues = tissue_training.settings(shards, "embedding", None)
        task, windows = TissueTask(shards, tissues, 4, True), [(0, -100), (1, 900)]
        plain = training_batches.tensors(shards, windows, 501, 20, np.zeros((2, 2), bool))
        made.append(task.of_tissues(plain, windows, 501, task.draw(1, 0, 2)))
    for one, other in zip(made[0][0], made[1][0], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(made[0][1], made[1][1]) and torch.equal(made[0][2], made[1][2])


def test_targets_are_those_of_the_tissues_drawn():
    shards = planted_tissues(5, sizes=(("train", 1), ("valid", 1)), length=3000)
    task = TissueTask(shards, tissue_training.settings(shards, "embedding", None), 2, True)
    drawn = task.draw(1, 0, 3)
    assert drawn.shape == (3, 2) and all(len(set(d)) == 2 for d in drawn.tolist())
    np.testing.assert_array_equal(drawn, task.draw(1, 0, 3))
    windows = [(0, -50), (0, 1000), (0, 3600)]  # two stick out of the region
    plain = training_batches.tensors(shards, windows, 501, 20, np.zeros((3, 2), bool))
    inputs, label, weight = task.of_tissues(plain, windows, 501, drawn)
    assert label.shape == weight.shape == (3, 2, 501) and torch.equal(inputs[-1], torch.tensor(drawn))
    at, site, state = shards.tissues.rows["train", 0]
    told_of = dict(zip(at.tolist(), zip(site.tolist(), state, strict=True), strict=True))
    region = shards.parts["train"][0]
    for i, (_, start) in enumerate(windows):
        for j, t in enumerate(drawn[i].tolist()):
            for k in range(501):
                p = start + k
                if p in told_of:
                    kind, s = told_of[p][0], told_of[p][1][t]
                    wanted = (kind if s == 1 else 2, s >= 0)
                elif 0 <= p < len(region["label"]) and region["label"][p] == 2:
                    wanted = (2, region["weight"][p])
                else:
                    wanted = (2, 0)
                assert (label[i, j, k], weight[i, j, k]) == wanted


def test_junction_channels_are_refused():
    shards = planted_tissues(6, sizes=(("train", 1), ("valid", 1)), length=1000)
    shards.channels[1] = {**shards.channels[1], "name": "junction.junction_log1p", "modality": "junction"}
    with pytest.raises(MetaError, match="label in disguise; add --without junction"):
        training.choose(shards, RECIPE, None, ())


def test_shards_without_tissues_are_refused():
    shards = ToyShards({"train": [], "valid": []}, [])
    shards.tissues = None
    with pytest.raises(MetaError, match="no sites by tissue"):
        tissue_training.settings(shards, "embedding", None)
    with pytest.raises(MetaError, match="needs those of m2e"):
        training.choose(shards, RECIPE, None, ())


# ---- the command ----------------------------------------------------------------------------------------------------


def tissue_model(join="head", form="embedding", **changes) -> SequenceModel:
    """A model of four tissues with random weights, as after training."""
    known = {"names": NAMES, "form": form, "activity": [0.5, 0.6, 0.7, 0.4]}
    shape = {"tissues": 4}
    if form == "profile":
        shape = {"tissue_features": 2}
        profiles = np.random.default_rng(1).normal(size=(4, 2)).round(3).tolist()
        known |= {"genes": ["A", "B"], "centre": [1.0, 2.0], "scale": [1.0, 0.5], "profiles": profiles}
    network = random_network(tissue_join=join, **shape)
    if join == "head":
        with torch.no_grad():
            network.tissue_head.join.weight.normal_(0, 0.3)
    return sequence_model(network, **{"recipe": "m2e-s", "tissues": known, **changes})


def by_tissue(model, asked=("all",), regions=WHOLE, size=3000, folder=Path(), **options) -> dict:
    """{(chrom, strand): (T, length, 2)} through the library."""
    config = settings.load(str(folder / "ms.toml"))
    sources, readers = open_sources(model, config, Genome(folder / "g.fa"))
    chosen = predict_tissues.ask(model, asked, None, "m")
    refiner = Refiner(model, **{"threads": 1, **options}, tissue=chosen.inputs)
    lengths = {r.chrom: r.end for r in WHOLE}
    out = {(c, s): np.full((len(chosen.names), n, 2), np.nan, np.float32) for c, n in lengths.items() for s in "+-"}
    for cell, _ in score(refiner, sources, readers, regions, size):
        for part in cell:
            place = out[part.chrom, part.strand][:, part.start : part.start + len(part.refined)]
            place[:, part.core] = part.by_tissue.swapaxes(1, 2)[:, part.core]
            assert part.refined[part.core][:, :2] == pytest.approx(
                part.by_tissue.mean(axis=0).T[part.core], abs=1e-5, nan_ok=True
            )
    return out


@pytest.mark.parametrize("join", ["head", "channels"])
@pytest.mark.parametrize("form", ["embedding", "profile"])
def test_several_tissues_in_one_pass_are_one_at_a_time(here, join, form):  # noqa: F811
    model = tissue_model(join, form)
    together = by_tissue(model)
    for i, name in enumerate(NAMES):
        alone = by_tissue(model, (name,))
        agree({k: v[i] for k, v in together.items()}, {k: v[0] for k, v in alone.items()}, within=1e-6)
    known = np.isfinite(together["a", "+"][0, :, 0])
    assert np.abs(np.diff(together["a", "+"][:, known], axis=0)).max() > 0.01  # tissues do differ
    assert not known[4000:5500].any() and known[:4000].all()


@pytest.mark.parametrize("change", [{"size": 777}, {"size": 100_000}, {"batch": 100}, {"threads": 2}])
def test_batches_and_tiles_do_not_matter(here, change):  # noqa: F811
    model = tissue_model()
    agree(by_tissue(model), by_tissue(model, **change))


def test_the_other_strand_is_the_mirrored_genome(here, tmp_path):  # noqa: F811
    (tmp_path / "turned").mkdir()
    turned = by_tissue(tissue_model(), folder=world(tmp_path / "turned", mirrored=True))
    for (chrom, strand), values in by_tissue(tissue_model()).items():
        agree({0: values}, {0: turned[chrom, "-" if strand == "+" else "+"][:, ::-1]})


def test_folded_is_the_network():
    for join in ("head", "channels"):
        model = tissue_model(join)
        network = model.network()
        n = 300 + 2 * network.context
        torch.manual_seed(1)
        inputs = [torch.randn(4, n), torch.log_softmax(torch.randn(3, n), 0), torch.randn(4, n), torch.ones(2, n)]
        tissue = torch.arange(4)
        with torch.inference_mode():
            if join == "head":
                plain = network(*(x[None] for x in inputs), tissue[None])[0]
                found = Folded(network, threads=1)(*(x.numpy() for x in inputs), tissue.numpy())
            else:
                plain = torch.stack([network(*(x[None] for x in inputs), t[None])[0] for t in tissue])
                found = np.stack([Folded(network, threads=1)(*(x.numpy() for x in inputs), t) for t in tissue.numpy()])
        assert found == pytest.approx(plain.numpy(), abs=1e-4)


def test_table_and_bigwigs_of_tissues(told, here):  # noqa: F811
    (here / "m.safetensors").write_bytes(tissue_model().to_bytes())
    told("--tissue", "brain_cortex,liver", "-o", "s.parquet", "--tracks", "t")
    check_file(Path("s.parquet"))
    table = pq.read_table("s.parquet")
    assert table.column_names[9:] == ["donor.brain_cortex", "acceptor.brain_cortex", "donor.liver", "acceptor.liver"]
    assert streams.open_table("s.parquet").metadata["tissues"] == ["Brain - Cortex", "Liver"]
    expected = by_tissue(tissue_model(), ("Brain - Cortex", "Liver"))
    for i, short in enumerate(("brain_cortex", "liver")):
        tracks = ScoreTracks(f"t.{short}", Contigs({r.chrom: r.end for r in WHOLE}, "g.fa"))
        for (chrom, strand), values in expected.items():
            mine = (table["chrom"].to_numpy() == chrom) & (table["strand"].to_numpy() == strand)
            for k, site in enumerate(("donor", "acceptor")):
                column = table[f"{site}.{short}"].to_numpy()[mine]
                np.testing.assert_allclose(column, values[i, :, k], atol=1e-6)
                np.testing.assert_array_equal(column, tracks.read(chrom, 0, len(column), strand)[k])
    mean = (table["donor.brain_cortex"].to_numpy() + table["donor.liver"].to_numpy()) / 2
    np.testing.assert_allclose(table["donor"].to_numpy(), mean, atol=1e-6)
    session = Path("t.igv.xml").read_text()
    assert "t.liver.donor.plus.bw" in session and session.count('path="t.base.donor.plus.bw"') == 1
    assert not Path("t.donor.plus.bw").exists()


def test_mistakes_with_tissues(told, here):  # noqa: F811
    (here / "m.safetensors").write_bytes(tissue_model().to_bytes())
    (here / "plain.safetensors").write_bytes(sequence_model().to_bytes())
    (here / "p.tsv").write_text("t\tA\tB\nliver\t1\t2\n")
    told("-o", "s.parquet", code=2, says="name some of liver, brain_cortex, testis, whole_blood, or all")
    told(
        "--tissue",
        "brain",
        "-o",
        "s.parquet",
        code=2,
        says="unknown tissue 'brain', --tissue; did you mean brain_cortex",
    )
    told("--tissue", "liver", "--tissue-profile", "p.tsv", "-o", "s.parquet", code=2, says="not on profiles")
    told("--tissue", "liver", "-o", "s.parquet", code=2, says="knows no tissues", model="plain.safetensors")
    assert not list(here.glob("s.*"))


def test_a_tissue_that_was_not_trained_on(told, here):  # noqa: F811
    model = tissue_model(form="profile")
    (here / "m.safetensors").write_bytes(model.to_bytes())
    raw = np.array(model.tissues["profiles"][0]) * model.tissues["scale"] + model.tissues["centre"]
    (here / "p.tsv").write_text(f"t\tB\tA\tC\nOrganoid 7\t{raw[1]}\t{raw[0]}\t9\n")
    told("--tissue", "organoid_7,liver", "--tissue-profile", "p.tsv", "--region", "b:1-300", "-o", "s.parquet")
    table = pq.read_table("s.parquet")
    np.testing.assert_allclose(table["donor.organoid_7"], table["donor.liver"], atol=1e-5)  # the same profile
    (here / "p.tsv").write_text("t\tB\nOrganoid 7\t1\n")
    told("--tissue", "organoid_7", "--tissue-profile", "p.tsv", "-o", "t.parquet", code=1, says="no gene A")


def test_where_nothing_was_gained_every_tissue_is_the_base(told, here):  # noqa: F811
    (here / "m.safetensors").write_bytes(tissue_model(is_base=True, state={}).to_bytes())
    told("--tissue", "all", "--region", "b", "-o", "s.parquet")
    table = pq.read_table("s.parquet")
    for short in ("liver", "testis"):
        np.testing.assert_array_equal(table[f"donor.{short}"], table["base_donor"])


def test_older_models_have_no_tissues(tmp_path):
    raw = sequence_model().to_bytes()
    assert SequenceModel.from_file(_saved(tmp_path, raw)).tissues == {}
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    del header["__metadata__"]["ms.tissues"]
    state = sequence_model().state
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "old.safetensors", header["__metadata__"])
    assert SequenceModel.from_file(tmp_path / "old.safetensors").tissues == {}


def _saved(folder, raw):
    (folder / "new.safetensors").write_bytes(raw)
    return folder / "new.safetensors"
