"""ms-train on shards as a command: its files, a kill and a second start, several processes, mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tool
from dense_case import DenseWorld, random_sites, write

from libmeta.models.file import SequenceModel

SPLIT = ("--train", "c1:1-2,500", "--valid", "c1:2,701-4,000", "--valid", "c2:1-1,700")
QUICK = ("--recipe", "m1-s", "--epochs", 2, "--windows", 16, "--without", "rbp_eclip")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder of shards with two base models and two modalities."""
    world = DenseWorld(tmp_path_factory.mktemp("train"))
    world.write_config(("conservation", "rbp_eclip"))
    write(world.folder / "s.parquet", random_sites(world, 300))
    (world.folder / "r.bed").write_text("".join(f"{c}\t0\t{n}\tx\t0\t.\n" for c, n in (("c1", 4000), ("c2", 1700))))
    dense = [*tool("ms-features"), "r.bed", "--no-labels", "--dense", "--flank", "300"]
    dense += ["--modalities", "base_scores,conservation,rbp_eclip", "-o", "d.arrow"]
    pack = [*tool("ms-shard"), "d.arrow", "--labels", "s.parquet", "--recipe", "m1-s", *SPLIT, "-o", "shards"]
    for command in (dense, pack):
        subprocess.run(command, cwd=world.folder, check=True, capture_output=True, timeout=300)
    return world.folder / "shards"


def test_model_log_and_picture(shards, run):
    done = run("ms-train", shards, *QUICK, "-o", "m.safetensors", env={"OMP_NUM_THREADS": "1"})
    model = SequenceModel.from_file("m.safetensors")
    assert sorted(m["name"] for m in model.base_models) == ["one", "two"]
    if model.is_base:  # then it is the first that it names
        assert f"the base model {model.base_models[0]['name']};".encode() in done.stderr
    assert [c["name"] for c in model.channels] == ["conservation.phylop_score", "conservation.phastcons_score"]
    assert model.modalities == ["conservation"]
    assert model.split["train"] == [["c1", 0, 2500]]
    assert model.training["labels"]["recipe"] == "m1"
    assert model.training["suspicious_channels"] == []
    assert [step["tool"] for step in model.provenance][-1] == "ms-train"
    log = [json.loads(line) for line in Path("m.log.jsonl").read_text().splitlines()]
    assert [e["epoch"] for e in log] == [0, 1, 2]
    assert all(f"epoch {i}:".encode() in done.stderr for i in (1, 2))
    assert Path("m.png").read_bytes()[:4] == b"\x89PNG"
    assert not Path("m.state").exists()
    again = run("ms-train", shards, *QUICK, "--base", "two,one", "-o", "n.safetensors")
    other = SequenceModel.from_file("n.safetensors")
    assert again.returncode == 0
    assert other.is_base or [m["name"] for m in other.base_models] == ["two", "one"]


def test_killed_and_started_again_gives_the_same_weights(shards, run, tmp_path):
    longer = [str(a) for a in ("--recipe", "m1-s", "--epochs", 3, "--windows", 16)]
    run("ms-train", shards, *longer, "-o", "whole.safetensors")
    command = [*tool("ms-train"), str(shards), *longer, "-o", "cut.safetensors"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / "cut.state").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut.safetensors").exists()
    done = run("ms-train", shards, *longer, "-o", "cut.safetensors")
    assert b"going on after epoch" in done.stderr
    whole, cut = (SequenceModel.from_file(f"{n}.safetensors").state for n in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(whole[k].equal(cut[k]) for k in whole)


def test_two_processes_agree_with_one(shards, run, tmp_path):
    """The same windows, gradients averaged: the same validation but for what each process takes a mean over."""
    run("ms-train", shards, *QUICK, "-o", "one.safetensors")
    torchrun = Path(sys.executable).with_name("torchrun")
    command = [
        torchrun,
        "--standalone",
        "--nproc-per-node=2",
        *tool("ms-train"),
        shards,
        *QUICK,
        "-o",
        "two.safetensors",
    ]
    done = subprocess.run(
        [str(c) for c in command], cwd=tmp_path, capture_output=True, text=True, timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = ([json.loads(x) for x in Path(f"{n}.log.jsonl").read_text().splitlines()] for n in ("one", "two"))
    assert len(two) == len(one) == 3  # the base models weighed, and two epochs; only the first process writes
    assert one[0]["base_macro_ap"] == pytest.approx(two[0]["base_macro_ap"], abs=1e-9)
    assert one[-1]["valid_macro_ap"] == pytest.approx(two[-1]["valid_macro_ap"], abs=0.02)
    assert one[-1]["loss"] == pytest.approx(two[-1]["loss"], rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "no recipe, --recipe"),
        (("--recipe", "m1-p"), 2, "m1-p is trained on features, not on shards"),
        (("--recipe", "m9-s"), 2, "unknown recipe 'm9-s'"),
        (("--recipe", "m3-s"), 1, "labels of m1, "),
        ((*QUICK, "-o", "-"), 2, "a sequence model has a log and a picture beside it"),
        ((*QUICK, "--profile", "huge"), 2, "unknown profile 'huge', --profile; known: lightweight, full"),
        ((*QUICK, "--base", "three"), 2, "no base model three"),
        ((*QUICK, "--without", "junction"), 2, "no channel of junction to leave out"),
        ((*QUICK, "--split", "held-out"), 2, "--split does not go with shards"),
        ((*QUICK, "--rounds", "5"), 2, "--rounds does not go with shards"),
    ],
)
def test_mistakes(shards, run, arguments, code, says):
    run("ms-train", shards, *arguments, code=code, says=says)


def test_shards_and_features_are_not_mixed_up(run, tmp_path):
    (tmp_path / "empty").mkdir()
    run("ms-train", "empty", "--recipe", "m1-s", code=1, says="no shards (manifest.json), empty")
    run(
        "ms-train",
        "nowhere",
        "--recipe",
        "m1-s",
        code=2,
        says="m1-s is trained on shards, nowhere; make them with ms-shard",
    )
    run("ms-train", "nowhere", "--recipe", "m1-p", "--epochs", 3, code=2, says="--epochs does not go with features")
