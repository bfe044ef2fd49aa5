"""ms-delta --lookup: the same output from an earlier table as without it, and none from a table that was made otherwise."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from random_weights import random_net, write_keras
from test_ms_delta import HEADER, MIXED, SEQUENCE, other, record
from test_ms_delta_meta import options, world  # noqa: F401

from libmeta import streams
from libmeta.cone import VariantScorer

SPELT = record(498, SEQUENCE[497:501], SEQUENCE[497:499] + other(500) + SEQUENCE[500])  # MIXED[0] with its neighbours


@pytest.fixture
def earlier(delta, world, tmp_path):  # noqa: F811
    """Tables of the mixed VCF, all and its first half."""
    delta(*options(world, "one"), "-o", "all.parquet")
    (tmp_path / "half.vcf").write_text(HEADER + "\n".join(MIXED[:3]) + "\n")
    delta("half.vcf", *options(world, "one")[1:], "-o", "half.parquet")


def nothing(*_):
    raise AssertionError("computed what the table has")


def test_the_same_output_without_the_work(delta, earlier, world, tmp_path, monkeypatch):  # noqa: F811
    wanted, _ = delta(*options(world, "one"))
    partly, told = delta(*options(world, "one"), "--lookup", "half.parquet")
    assert partly == wanted
    assert "4 rows were taken from half.parquet" in told
    monkeypatch.setattr(VariantScorer, "score_many", nothing)
    whole, told = delta(*options(world, "one"), "--lookup", "all.parquet", "--batch-size", 2)
    assert whole == wanted
    delta(*options(world, "one"), "--lookup", "all.parquet", "-o", "again.parquet")
    one, two = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("all", "again"))
    assert one.to_pylist() == two.to_pylist()
    chain = streams.read_metadata(two.schema)["provenance"]
    assert [s["tool"] for s in chain] == ["ms-train", "ms-delta", "ms-delta"]
    assert ["lookup" in s["inputs"] for s in chain] == [False, False, True]


def test_another_spelling_is_found(delta, earlier, world, tmp_path, monkeypatch):  # noqa: F811
    wanted, _ = delta(*options(world, "one"))
    (tmp_path / "in.vcf").write_text(f"{HEADER}{SPELT}\n")
    monkeypatch.setattr(VariantScorer, "score_many", nothing)
    (row,), _ = delta("in.vcf", *options(world, "one")[1:], "--lookup", "all.parquet")
    score = [e for e in row[7].split(";") if e.startswith("MS_META_DS=")]
    assert score == [e for e in wanted[0][7].split(";") if e.startswith("MS_META_DS=")]


def test_profiles_are_looked_up_where_there_are_some(delta, earlier, world, tmp_path, monkeypatch):  # noqa: F811
    delta(*options(world, "one"), "--lookup", "all.parquet", "--profiles", "-o", "x.parquet", code=1,
          says="no scores of every base")  # fmt: skip
    delta(*options(world, "one"), "--profiles", "-o", "profiles.parquet")
    monkeypatch.setattr(VariantScorer, "score_many", nothing)
    delta(*options(world, "one"), "--lookup", "profiles.parquet", "--profiles", "-o", "again.parquet")
    one, two = (pq.read_table(tmp_path / f"{n}.parquet").to_pylist() for n in ("profiles", "again"))
    assert one == two


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["-D", 51], "made with another distance (50 there, 51 here)"),
        (["--genes", "none"], "made with another annotation"),
        (["--genome", "g2.fa"], "made with another genome"),
        (["--without", "conservation"], "made with another evidence"),
        (["-m", "two.safetensors"], "made with another model -m"),
    ],
)
def test_made_otherwise_is_refused(delta, earlier, world, tmp_path, change, says):  # noqa: F811
    folder, _ = world
    text = (folder / "g.fa").read_text()
    (tmp_path / "g2.fa").write_text(text[:2500] + ("A" if text[2500] != "A" else "C") + text[2501:])
    one = options(world, "one")
    if change[0] == "-m":  # another model on the same base
        data = bytearray((folder / "one.safetensors").read_bytes())
        data[-1] ^= 1
        (tmp_path / "two.safetensors").write_bytes(data)
    delta(*one, *change, "--lookup", "all.parquet", "-o", "x.vcf", code=1, says=says)


def test_other_weights_are_refused(delta, world, tmp_path):  # noqa: F811
    folder, _ = world
    (tmp_path / "w").mkdir()
    write_keras(tmp_path / "w" / "m.h5", random_net(40, seed=9))
    base = options(world, "one")
    del base[base.index("-m") : base.index("-m") + 2]
    delta(*base, "-o", "base.parquet")
    delta(*base[:-2], "--weights", "w", "--lookup", "base.parquet", code=1, says="made with another weights")
    delta(*options(world, "one"), "--lookup", "base.parquet", code=1, says="made with another model -m")
    delta(
        *base, "--like-spliceai", "--lookup", "base.parquet", code=1, says="another --like-spliceai (False there, True"
    )
    shutil.copy(folder / "in.vcf", tmp_path / "in.vcf")
    delta(*base, "--lookup", "in.vcf", code=2, says="not a .parquet file")
    delta(*base, "--lookup", "no.parquet", code=1, says="no.parquet; check the path")
    table = pq.read_table(tmp_path / "base.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "bare.parquet")
    delta(*base, "--lookup", "bare.parquet", code=1, says="not a delta table")
    assert np.isfinite(table["base_ds_ag"].drop_null().to_numpy()).all()
