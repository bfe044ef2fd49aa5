"""The README's commands run as they stand, in their order; its tables and generated documents tell the truth."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import DATA, ROOT
from random_weights import spliceai_folder

from libmeta import recipes, schema

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_first_command_stands_early():
    lines = README.splitlines()
    assert any("make demo" in line for line in lines[:10])
    assert any("make test" in line for line in lines[:10])


@pytest.fixture
def clone(tmp_path):
    """A folder that looks like a clone with weights: random ones, so that nothing is downloaded."""
    (tmp_path / "tests").mkdir()
    shutil.copytree(DATA, tmp_path / "tests" / "data")
    (tmp_path / "build" / "demo").mkdir(parents=True)
    spliceai_folder(tmp_path / "weights" / "spliceai", models=1)
    return tmp_path


def bash(line, folder, **env):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True, timeout=600,
        stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path, "MPLBACKEND": "Agg", **env},
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done


def test_every_command_runs(clone):
    pipes, steps, sequence, _ = blocks("bash")
    # random weights score slowly on the whole piece: the genes of one stretch do for this test
    script = (steps + sequence).replace("ms-labels --config", "ms-labels --region chr15:48,120,000-48,970,000 --config").replace(
        "50,150,001-50,500,000", "48,120,000-48,320,000"
    ).replace("48,000,001-48,690,000", "48,320,001-48,660,000")  # fmt: skip
    bash(script, clone)
    for name in ("sites.parquet", "features.parquet", "m3-p.ubj", "scores.parquet", "metrics.json", "metrics.html",
                 "m1-s.safetensors", "m1-s.png", "refined.parquet", "m1-s.html"):  # fmt: skip
        assert (clone / name).stat().st_size > 1000, name
    assert "<svg" in (clone / "metrics.html").read_text()
    config = (clone / "tests/data/ms.toml").read_text()
    (clone / "ms.toml").write_text(re.sub(r'"(chr15|gencode|gtex)', r'"tests/data/\1', config).replace("../../", ""))
    shutil.copy(clone / "genes.bed", clone / "regions.bed")
    for line in pipes.strip().splitlines():
        bash(line, clone)
    assert (clone / "refined.donor.minus.bw").exists()


def test_variant_commands_run(clone):
    bash(blocks("bash")[3], clone)
    for name in ("variants.vcf.gz", "variants.html", "exon.parquet", "exon.png"):
        assert (clone / name).stat().st_size > 1000, name


def test_tables_name_what_there_is():
    tools = set(re.findall(r"^\| `(ms-\w+)`", README, re.M))
    assert tools == {p.stem.replace("_", "-") for p in (ROOT / "tools").glob("ms_*.py")}
    rows = Counter(re.findall(r"^\| `(m\d[\w-]*)`", README, re.M))
    assert rows == dict.fromkeys(recipes.names(), 2)  # what it is, and which modalities it takes


def test_makefile_help_lists_the_targets():
    done = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True)
    for target in ("setup", "demo", "test", "check", "bench", "docs", "m1-p", "m3-p", "m4", "weights", "data"):
        assert re.search(rf"^{target}\s", done.stdout, re.M), target


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("m1-p", ["ms-train build/demo/features.parquet --recipe m1-p", "ms-predict -m build/demo/m1-p.ubj"]),
        ("m3-s", ["ms-shard - --labels build/demo/m3.sites.parquet", "ms-train build/demo/m3.shards --recipe m3-s"]),
        ("m2e-s", ["ms-labels --config tests/data/ms.toml --recipe m2e", "--recipe m2e-s --epochs", "--tissue all"]),
        ("m2e-s DATA=chr15", ["ms-shard - --labels build/chr15/m2e.sites.parquet", "--tissue brain_cortex,"]),
        ("m1-window", ["ms-train build/demo/m1.shards --recipe m1-window", "--html build/demo/m1-window.html"]),
        (
            "m4",
            [
                "ms-delta tests/data/fbn1.made.vcf",
                "--html build/demo/m4.html",
                "--saturate chr15:48,487,055-48,487,220",
            ],
        ),
        (
            "m2-p",
            ["ms-train build/demo/m2.features.parquet --recipe m2-p", "-m build/demo/m2-p.ubj build/demo/m2.features"],
        ),
        (
            "m2b",
            [
                "m1-s.refined.parquet --labels build/demo/m2b.sites",
                "m2-s.refined.parquet --labels build/demo/m2b.sites",
            ],
        ),
        (
            "m2c-s TIER_WEIGHTS=1,1,0",
            ["--recipe m2c --tier-weights 1,1,0", "ms-train build/demo/m2c.shards --recipe m2c-s"],
        ),
        ("m2d-s", ["ms-shard build/demo/m2.shards --labels build/demo/m2d.sites.parquet", "--recipe m2d-soft-s"]),
        (
            "m2f-s",
            ["ms-train build/demo/m2.shards --recipe m2f-s", "m2f-s.refined.parquet --labels build/demo/m2.sites"],
        ),
        ("m2f-hidden", ["build/demo/half.shards --recipe m2-s", "build/demo/half.shards --recipe m2f-s"]),
        ("m1-s DATA=chr15", ["ms-train build/chr15/m1.shards --recipe m1-s", "--test chr15:82,000,001-101,991,189"]),
    ],
)
def test_makefile_takes_the_road_of_each_model(target, lines):
    """Patterns of several roads could meet in one target: the wrong one would win silently."""
    done = subprocess.run(["make", "-nB", "-C", str(ROOT), *target.split()], capture_output=True, text=True, check=True)
    for line in lines:
        assert line in done.stdout, (target, line)


def test_schema_readme_is_generated():
    assert (ROOT / "schemas" / "README.md").read_text() == schema.readme()


def test_test_data_is_small():
    assert sum(f.stat().st_size for f in DATA.iterdir()) < 1_500_000
