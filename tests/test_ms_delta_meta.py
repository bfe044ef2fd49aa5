"""ms-delta -m as users run it: fields beside those of the base model, sources asked for by name, mistakes in one line."""

import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pyBigWig
import pytest
from conftest import DATA, write_fasta
from random_weights import random_net, write_keras, write_openspliceai
from test_ms_delta import HEADER, MIXED, SEQUENCE, STATUS, bcftools_view, info
from test_predict_sequence import random_network, sequence_model

from libmeta import basemodels
from libmeta.check import check_file
from libmeta.delta import KINDS


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Genome, genes, two base models, a track, models over them and a mixed VCF; the options that all commands take."""
    folder = tmp_path_factory.mktemp("world")
    write_fasta(folder / "g.fa", {"c1": SEQUENCE})
    (folder / "genes.txt").write_text(
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\n"
        "ONE\tc1\t+\t400\t1000\t400,700,\t600,1000,\nTWO\tc1\t-\t600\t2000\t600,\t2000,\n"
    )
    for name in ("spliceai", "openspliceai"):
        (folder / "weights" / name).mkdir(parents=True)
    write_keras(folder / "weights" / "spliceai" / "m.h5", random_net(40))
    write_openspliceai(folder / "weights" / "openspliceai" / "m.pt", random_net(40, 0.1, 1e-5, 1))
    with pyBigWig.open(str(folder / "phylop.bw"), "w") as file:
        file.addHeader([("c1", len(SEQUENCE))])
        file.addEntries("c1", 0, values=np.random.default_rng(1).normal(1, 2, 2500).tolist(), span=1, step=1)
    toml = f'[genome]\nfasta = "{folder}/g.fa"\n[annotation]\ntiers = [{{gtf = "{folder}/genes.txt"}}]\n'
    (folder / "bare.toml").write_text(toml)
    (folder / "ms.toml").write_text(f'{toml}[modalities.conservation]\nphylop = "{folder}/phylop.bw"\n')
    (folder / "in.vcf").write_text(HEADER + "\n".join(MIXED) + "\n")
    known = [
        {"name": n, "sha256": basemodels.digest([next((folder / "weights" / n).iterdir())]), "networks": 1}
        for n in ("spliceai", "openspliceai")
    ]
    one = sequence_model(random_network(channels=1, masks=1), base_models=known[:1])
    two = sequence_model(random_network(base_models=2, channels=0, masks=0), base_models=known)
    models = {
        "one": one, "two": two, "base": replace(one, is_base=True), "strange": replace(one, base_models=[{"name": "mine"}]),
        "other": replace(one, base_models=[{**known[0], "sha256": "ab" * 32}]),
    }  # fmt: skip
    for name, model in models.items():
        (folder / f"{name}.safetensors").write_bytes(model.to_bytes())
    return folder, [folder / "in.vcf", "--threads", 1, "-D", 50]


def options(world, model: str, toml: str = "ms.toml", weights: str = "weights/spliceai") -> list:
    folder, common = world
    return [*common, "--config", folder / toml, "-m", folder / f"{model}.safetensors", "--weights", folder / weights]


def test_fields_stand_beside_those_of_the_base_model(delta, world, tmp_path):
    bare = options(world, "one")
    del bare[bare.index("-m") : bare.index("-m") + 2]
    alone, _ = delta(*bare)
    found, told = delta(*options(world, "one"))
    assert "m1-s refines spliceai" in told
    assert len(found) == len(MIXED)
    different = 0
    for base, row, status in zip(alone, found, STATUS, strict=True):
        base, both = info(base[7]), info(row[7])
        assert both["MS_STATUS"] == status
        refined = {k for k in both if "META" in k}
        assert {k: v for k, v in both.items() if k not in refined} == base
        assert len(refined) == (19 if "scored" in status else 0)
        if not refined:
            continue
        strings = [s.split("|") for s in both["SpliceAI_META"].split(",")]
        assert [s[:2] for s in strings] == [s.split("|")[:2] for s in base["SpliceAI"].split(",")]
        for i, kind in enumerate(KINDS):
            score = both[f"MS_META_DS_{kind.upper()}"].split(",")[0]
            allele = [s for s in strings if s[0] == row[4].split(",")[0]]
            assert abs(float(score) - max(float(s[2 + i]) for s in allele)) <= 0.005001
        different += both["MS_META_DS"] != base["MS_DS"]
    assert different > 4
    assert bcftools_view(tmp_path / "out.vcf").count(b"MS_META_DS=") == 7


def test_tables_have_both(delta, world, tmp_path):
    delta(*options(world, "one"), "-o", "out.parquet", "--profiles")
    assert check_file(tmp_path / "out.parquet").startswith("delta version 1")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for row in (r for r in table if r["reason"] == "scored"):
        ref, alt = (np.array(row[f"meta_profile_{a}_donor"]) for a in ("ref", "alt"))
        assert len(ref) == len(row["base_profile_ref_donor"])
        best = max((alt - ref).max(), max(row["meta_inserted_donor"], default=0), 0)
        assert row["meta_ds_dg"] >= best - 1e-6
        assert row["meta_masked_ds_dg"] <= row["meta_ds_dg"]
    assert all(r["meta_ds_ag"] is None for r in table if r["reason"] != "scored")


def test_two_base_models_and_where_their_weights_are(delta, world, tmp_path):
    folder, _ = world
    named = [*options(world, "two", "bare.toml"), "--weights", f"openspliceai={folder}/weights/openspliceai"]
    wanted = delta(*named)[0]
    both = [f"{n}={folder}/weights/{n}" for n in ("openspliceai", "spliceai")]
    others = [x for n in both for x in ("--weights", n)]
    assert delta(*named[:-4], *others)[0] == wanted
    toml = (folder / "bare.toml").read_text()
    for n in ("spliceai", "openspliceai"):
        toml += f'[base_scores.{n}]\nmodel = "{n}"\nweights = "{folder}/weights/{n}"\n'
    (tmp_path / "ms.toml").write_text(toml)
    assert delta(*named[:3], "-D", 50, *named[7:9])[0] == wanted


def test_without_a_modality(delta, world):
    """A model whose track is lacking is as one whose track is empty, and says so if it was not told."""
    delta(*options(world, "one", "bare.toml"), code=1, says="no source of conservation, which the model uses")
    bare = delta(*options(world, "one", "bare.toml"), "--without", "conservation")[0]
    left = delta(*options(world, "one"), "--without", "conservation")[0]
    whole = delta(*options(world, "one"))[0]
    assert bare == left != whole
    delta(*options(world, "one"), "--without", "junction", code=2, says="no modality 'junction' to leave out")


def test_a_model_that_is_its_base(delta, world):
    found, told = delta(*options(world, "base", "bare.toml"))
    for row in found:
        entries = info(row[7])
        for key in [k for k in entries if "META" in k]:
            assert entries[key] == entries[key.replace("_META", "")]
    assert "it is its base" in told


@pytest.mark.parametrize(
    ("model", "more", "code", "says"),
    [
        ("one", ["--models", 1], 2, "how many networks its base models have"),
        ("one", ["--like-spliceai"], 2, "--like-spliceai with -m"),
        ("other", [], 1, "not of the weights that the model was trained on"),
        ("strange", [], 1, "no way to run base model mine"),
        ("none", [], 1, "no such model"),
        ("one", ["--weights", "x"], 2, "two folders of weights"),
    ],
)
def test_mistakes_are_one_line(delta, world, model, more, code, says):
    delta(*options(world, model), *more, code=code, says=says)


def test_no_position_model_and_nothing_to_leave_out(delta, world, tmp_path):
    (tmp_path / "m1-p.ubj").write_bytes(b"{L" + bytes(100))
    rest = options(world, "one")
    at = rest.index("-m")
    delta(*rest[:at], "-m", "m1-p.ubj", *rest[at + 2 :], code=2, says="a position model has no deltas")
    delta(*rest[:at], *rest[at + 2 :], "--without", "conservation", code=2, says="goes with -m")


def test_a_real_gene_with_its_ms_toml(delta, world, tmp_path):
    """The piece of chr15: the model asks for what its ms.toml does not name."""
    folder, _ = world
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    (tmp_path / "in.vcf").write_text(f"##fileformat=VCFv4.2\n{columns}\n15\t48420686\t.\tC\tT\t.\t.\t.\n")
    common = [
        "in.vcf",
        "--config",
        DATA / "ms.toml",
        "--weights",
        folder / "weights/spliceai",
        "--threads",
        1,
        "-D",
        50,
    ]
    model = ["-m", folder / "one.safetensors"]
    delta(*common, *model, code=1, says="no source of conservation")
    (row,), _ = delta(*common, *model, "--without", "conservation")
    assert "|FBN1|" in info(row[7])["SpliceAI_META"]


def test_page_and_heat_map_show_both_models(run, world, tmp_path):
    line = options(world, "one")
    run("ms-delta", *line, "-o", "o.vcf", "--html", "r.html")
    page = (tmp_path / "r.html").read_text()
    for block in ("base, raw", "base, masked", "refined, raw", "refined, masked"):
        assert f">{block}</th>" in page, block
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("<tr")[1:]]
    assert {len(r) for r in rows} == {3 + 4 * 5}
    assert any(r[3:8] != r[13:18] for r in rows)
    wanted = [info(x.split("\t")[7]) for x in (tmp_path / "o.vcf").read_text().splitlines() if x[0] != "#"]
    largest = max(float(w[k].split(",")[0]) for w in wanted for k in ("MS_DS", "MS_META_DS") if k in w)
    assert max(float(rows[0][7]), float(rows[0][17])) == pytest.approx(largest, abs=0.00501)
    assert "refined by one.safetensors (m1-s)" in page
    assert page.count("<li>refined: ") >= 1
    pictures = page.split("Along the sequence")[1].split("<figure>")[1:]
    assert all(re.search(">base</text>", p) and re.search(">refined</text>", p) for p in pictures)
    run("ms-delta", "--saturate", "c1:695-705", *line[1:], "-O", "tsv", "--picture", "p.svg")
    text = (tmp_path / "p.svg").read_text()
    assert text.count("ONE →") == text.count("TWO ←") == 2
    assert "spliceai, refined by one.safetensors" in text


def test_a_page_needs_scores_along_the_sequence(run, world, tmp_path):
    line = options(world, "one")
    run("ms-delta", *line, "-o", "bare.parquet")
    run("ms-delta", *line, "-o", "full.parquet", "--profiles")
    run("ms-delta", *line, "--lookup", "bare.parquet", "--html", "r.html", code=1, says="made without --profiles")
    run("ms-delta", *line, "--lookup", "bare.parquet", "--html", "none.html", "--html-top", 0)
    run("ms-delta", *line, "--lookup", "full.parquet", "--html", "full.html")
    run("ms-delta", *line, "--html", "new.html")
    full, new = ((tmp_path / f"{n}.html").read_text().split("<details><summary>Prov")[0] for n in ("full", "new"))
    # what an earlier table does not have: REF and ALT at the base that the mask leaves
    assert re.sub(r"under the mask.*?</li>", "", full).count("<svg") == new.count("<svg") > 0
    assert full.split("<tbody>")[1].split("</tbody>")[0] == new.split("<tbody>")[1].split("</tbody>")[0]
    assert "nan" not in re.sub(r"<[^>]*>", "", full)
    assert "<svg" not in (tmp_path / "none.html").read_text()
