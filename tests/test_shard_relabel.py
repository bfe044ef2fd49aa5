"""ms-shard on shards: the labels of another table, everything else as it was."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import tool
from dense_case import DenseWorld, random_sites, write

from libmeta.check import check_file
from libmeta.shards import PARTS, Shards

SPLIT = ("--train", "c1:1-2,500", "--valid", "c1:2,701-4,000", "--valid", "c2:1-1,700")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """d.arrow, sites with random labels and weights of several recipes, and shards of m1 in one and in several files."""
    world = DenseWorld(tmp_path_factory.mktemp("relabel"))
    world.write_config(("conservation",))
    for recipe in ("m1", "m2", "m2d", "m3"):
        write(world.folder / f"{recipe}.parquet", random_sites(world, 300, 2, recipe))
    write(world.folder / "bare.parquet", random_sites(world, 300, 2))
    rows = (("c1", 30, 2300, "+"), ("c1", 40, 4000, "-"), ("c2", 0, 1700, "-"))
    (world.folder / "r.bed").write_text("".join(f"{c}\t{a}\t{b}\tx\t0\t{s}\n" for c, a, b, s in rows))
    call(world, "ms-features", "r.bed", "--no-labels", "--dense", "--flank", "300", "-o", "d.arrow")
    pack(world, "bare", "m1-s", "shards", "--bases", "3000")
    return world


def call(world, *command):
    done = subprocess.run([*tool(command[0]), *command[1:]], cwd=world.folder, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()


def pack(world, sites, recipe, folder, *more):
    call(world, "ms-shard", "d.arrow", "--labels", f"{sites}.parquet", "--recipe", recipe, *SPLIT, "-o", folder, *more)


@pytest.mark.parametrize(
    ("sites", "recipe"), [("bare", "m2-s"), ("bare", "m2c-s"), ("m2", "m2-s"), ("m2d", "m2d-s"), ("bare", "m3-s")]
)
def test_as_if_packed_with_these_labels(world, run, sites, recipe, tmp_path):
    pack(world, sites, recipe, str(tmp_path / "packed"), "--bases", "3000")
    labels = world.folder / f"{sites}.parquet"
    run("ms-shard", world.folder / "shards", "--labels", labels, "--recipe", recipe, "-o", "anew")
    packed, anew, before = (Shards(f) for f in (tmp_path / "packed", tmp_path / "anew", world.folder / "shards"))
    assert len(anew.manifest["files"]) > 1
    for part in PARTS:
        assert anew.regions(part) == packed.regions(part)
        for region in anew.regions(part):
            one, two = (s.read(region, 0, region.length) for s in (anew, packed))
            for name in one:
                assert np.array_equal(one[name], two[name], equal_nan=True), name
    for name in ("recipe", "rule", "counts", "channels", "split", "flank"):
        assert anew.manifest[name] == packed.manifest[name], name
    assert anew.check() == before.check()
    for entry in anew.manifest["files"]:
        check_file(tmp_path / "anew" / entry["name"])
    steps = anew.manifest["provenance"]
    assert [s["tool"] for s in steps] == ["ms-basescore", "ms-features", "ms-labels", "ms-shard", "ms-shard"]
    assert set(steps[-1]["inputs"]) == {"labels", "shards"}


def test_the_same_bytes_twice(world, run):
    found = []
    for _ in range(2):
        run("ms-shard", world.folder / "shards", "--labels", world.folder / "m2.parquet", "-o", "a")
        found.append(json.loads(Path("a", "manifest.json").read_text())["files"])
    assert found[0] == found[1]
    assert not list(Path("a").glob("*.partial"))


def test_mistakes(world, run, tmp_path):
    shards, sites = world.folder / "shards", world.folder / "m2.parquet"
    common = ("ms-shard", shards, "--labels", sites)
    run(*common, "-o", shards, code=2, says="the shards themselves, -o")
    run(*common, *SPLIT, "-o", "x", code=2, says="the split of shards stays as it is")
    run("ms-shard", shards, "--labels", world.folder / "bare.parquet", "-o", "x", code=2, says="no recipe")
    run(*common, "--tier-weights", "1,1,1", "-o", "x", code=2, says="--tier-weights is for labels of m2c, not of m2")
    pack(world, "m3", "m3-s", str(tmp_path / "m3"))
    run("ms-shard", "m3", "--labels", sites, "-o", "x", code=2, says="labels of m3 mask whole genes, m3")
    assert not Path("x").exists()


def test_wrong_weights_never_get_in(world, run):
    table = random_sites(world, 300, 2, "m2d")
    at = table.schema.get_field_index("weight")
    for value, says in ((1.25, "soft target 1.25 is outside [0, 1], w.parquet"), (-1.0, "a weight is negative")):
        weights = table["weight"].to_pylist()
        weights[7] = value
        field = table.schema.field(at)
        write(Path("w.parquet").absolute(), table.set_column(at, field, pa.array(weights, field.type)))
        run("ms-shard", world.folder / "shards", "--labels", "w.parquet", "-o", "x", code=1, says=says)
        run("ms-shard", world.folder / "d.arrow", "--labels", "w.parquet", "-o", "x", code=1, says=says)
    assert not Path("x").exists()


def test_hidden_sites_do_not_come_to_light(world, run):
    table = random_sites(world, 300, 2, "m2")
    meta = {**table.schema.metadata, b"ms.rule": json.dumps({"hide": 0.5, "seed": 1}).encode()}
    write(Path("h.parquet").absolute(), table.replace_schema_metadata(meta))
    run("ms-shard", world.folder / "shards", "--labels", "h.parquet", "-o", "kept")
    assert Shards("kept").manifest["rule"] == {
        "given": True, "hide": 0.5, "seed": 1, "labels": "m2", "reference_weight": 0.0,
    }  # fmt: skip
    run("ms-shard", world.folder / "shards", "--labels", "h.parquet", "--recipe", "m2c-s", "-o", "x", code=2,
        says="sites are hidden for m2, and the labels of m2c would show them")  # fmt: skip
