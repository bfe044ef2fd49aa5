"""The package builds with and without a C compiler; without one the kernel is simply not in it."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT


@pytest.mark.parametrize("compiler", [True, False])
def test_wheel(tmp_path, compiler):
    if compiler and not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("no C compiler on this machine")
    kept = shutil.ignore_patterns(".*", "build", "weights", "*.so", "*.egg-info", "__pycache__", "data")
    shutil.copytree(ROOT, tmp_path / "tree", ignore=kept)
    env = os.environ if compiler else {**os.environ, "CC": "/bin/false"}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, tmp_path / "tree"],
        check=True, env=env, timeout=300,
    )  # fmt: skip
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert any(n.startswith("libmeta/engines/_fftconv") for n in names) == compiler
    for wanted in (
        "ms_features.py",
        "ms_schemas/sites.toml",
        "libmeta/modalities/junction.py",
        "libmeta/recipes/m3_p.py",
    ):
        assert wanted in names
    assert not any(n.startswith(("tests", "tools/", "schemas/")) for n in names)
