"""What all commands share: quick help, exit codes, one-line errors, quiet ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DATA, ROOT, tool

TOOLS = ["ms-labels", "ms-basescore", "ms-features", "ms-train", "ms-predict", "ms-eval"]
GENOME = ("--genome", DATA / "chr15.fa.gz")


@pytest.mark.parametrize("name", TOOLS)
def test_help_loads_nothing_heavy(run, name):
    assert f"Usage: {name}" in run(name, "--help").stdout.decode()
    module = name.replace("-", "_")
    code = f"import sys, {module}; print([m for m in ('numpy', 'pyarrow', 'torch', 'xgboost') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", TOOLS)
def test_version_and_unknown_option(run, name):
    assert re.search(r"\d+\.\d+", run(name, "--version").stdout.decode())
    run(name, "--no-such-option", code=2, says="No such option")


def test_missing_file_and_unknown_names(run):
    run("ms-features", "absent.bed", *GENOME, "-o", "x.arrow", code=1, says="no such file, absent.bed")
    run("ms-basescore", "--genome", "absent.fa", "-o", "x", code=1, says="no such genome file, absent.fa")
    run(
        "ms-features",
        "absent.bed",
        *GENOME,
        "--modalities",
        "nonsense",
        "-o",
        "x.arrow",
        code=2,
        says="unknown modality",
    )
    run(
        "ms-basescore",
        *GENOME,
        "--model",
        "nonsense",
        "--region",
        "chr15:1-9",
        "-o",
        "x",
        code=1,
        says="unknown base model",
    )
    run("ms-train", "--recipe", "m9", "x", code=2, says="unknown recipe")
    run("ms-train", "x", code=2, says="name a recipe or a target")
    run("ms-train", "absent.arrow", "--recipe", "m1-p", code=1, says="no such file")
    run("ms-predict", "-m", "absent.ubj", "x", code=1, says="no such model")


def test_no_genome_named(run):
    Path("r.bed").write_text("chr15\t1\t2\n")
    run("ms-features", "r.bed", "-o", "x.arrow", code=2, says="no genome")
    run(
        "ms-features",
        "r.bed",
        "--config",
        "absent.toml",
        "-o",
        "x.arrow",
        code=2,
        says="no such configuration",
    )
    Path("ms.toml").write_text("[genome\n")
    run("ms-features", "r.bed", "-o", "x.arrow", code=2, says="not TOML")
    Path("ms.toml").write_text("[gnome]\n")
    run("ms-features", "r.bed", "-o", "x.arrow", code=2, says="unknown section [gnome]")


def test_tracebacks_only_on_request(run):
    done = run("ms-features", "absent.bed", *GENOME, "-o", "x.arrow", "-vv", code=1)
    assert b"Traceback" in done.stderr


BED = "chr15\t48400000\t48500000\t.\t0\t-\n"


def test_closed_pipe_ends_quietly(shell):
    Path("r.bed").write_text(BED)
    done = shell(
        f"ms-features r.bed --genome {DATA}/chr15.fa.gz --modalities sequence --background 1 | head -c 100 | wc -c"
    )
    assert done.stdout.strip() == b"100"
    assert b"rror" not in done.stderr


def test_unwritable_and_full(run):
    Path("r.bed").write_text(BED)
    args = ("ms-features", "r.bed", *GENOME, "--modalities", "sequence")
    run(*args, "-o", "no/such/folder/x.arrow", code=1, says="no folder to write to")
    Path("folder").mkdir()
    run(*args, "-o", "folder", code=1, says="output is a folder")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*tool("ms-features"), *map(str, args[1:])], stdout=full, stderr=subprocess.PIPE, timeout=100
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(run):
    Path("r.bed").write_text(BED)
    Path("locked").mkdir(mode=0o500)
    run(
        "ms-features",
        "r.bed",
        *GENOME,
        "--modalities",
        "sequence",
        "-o",
        "locked/x.arrow",
        code=1,
        says="not writable",
    )


@pytest.mark.parametrize(("kill", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_leaves_nothing(tmp_path, kill, code):
    (tmp_path / "r.bed").write_text("chr15\t48000000\t50500000\n")
    args = ["r.bed", "--genome", str(DATA / "chr15.fa.gz"), "--modalities", "sequence", "--background", "1"]
    process = subprocess.Popen(
        [*tool("ms-features"), *args, "-o", "x.arrow"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if list(tmp_path.glob(".x.arrow.*")):
            break
        time.sleep(0.05)
    process.send_signal(kill)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.bed"]


def test_config_is_found_in_the_working_folder_and_by_environment(run):
    Path("r.bed").write_text("chr15\t48400000\t48400500\n")
    text = f'[genome]\nfasta = "{DATA}/chr15.fa.gz"\n'
    Path("ms.toml").write_text(text)
    run(
        "ms-features",
        "r.bed",
        "--modalities",
        "genomic,annotation",
        "--no-labels",
        "-o",
        "x.arrow",
        code=1,
        says="no annotation",
    )
    run("ms-features", "r.bed", "--modalities", "sequence", "-o", "x.arrow")
    Path("sub").mkdir()
    os.rename("ms.toml", "sub/other.toml")
    run(
        "ms-features",
        "r.bed",
        "--modalities",
        "sequence",
        "-o",
        "x.arrow",
        env={"MS_CONFIG": "sub/other.toml"},
    )


def test_imports_run_one_way():
    """Tools import libmeta, never each other; libmeta imports no tool; only cli imports click."""
    for path in (ROOT / "tools").glob("*.py"):
        assert not re.search(r"^\s*(from|import) ms_", path.read_text(), re.M), path
        head = [line for line in path.read_text().splitlines() if re.match(r"(from|import) ", line)]
        assert all(
            re.match(r"(from libmeta\.cli|from libmeta import cli|import|from (pathlib|collections|typing))", line)
            for line in head
        ), path
    for path in (ROOT / "libmeta").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(from|import) (ms_(?!schemas)|tools)", text, re.M), path
        if path.name != "cli.py":
            assert not re.search(r"^\s*(from|import) click", text, re.M), path
    for name in ("contigs", "windows", "metrics", "device", "errors"):
        path = ROOT / "libmeta" / f"{name}.py"
        if path.exists():
            found = set(re.findall(r"^\s*(?:from|import) (libmeta\S*)", path.read_text(), re.M))
            assert found <= {"libmeta.errors", "libmeta.histograms"}, (path, found)
