"""Fixtures: run a tool as users do, the real piece of chr15, a tiny synthetic genome."""

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("ms", deadline=None)  # how long an example takes depends on what else the machine does
settings.load_profile("ms")

# Jobs in the background ignore Ctrl-C and hand that down; the tools of the tests are to be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"


def tool(name: str) -> list[str]:
    """The command line of a tool as installed beside this Python."""
    return [str(Path(sys.executable).with_name(name))]


@pytest.fixture
def one_thread():
    """Networks this small are slower on several threads, much slower where other work wants them too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run("ms-x", *arguments) in a fresh folder -> CompletedProcess; checks the exit code (code=0) and, where `says` is
    given, that standard error is one line that holds it."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments, code=0, says=None, stdin=None, env=None):
        done = subprocess.run(
            [*tool(name), *map(str, arguments)], input=stdin, capture_output=True, timeout=300,
            env={**os.environ, "MPLBACKEND": "Agg", **(env or {})},
        )  # fmt: skip
        told = done.stderr.decode()
        assert done.returncode == code, told
        if says is not None:
            errors = [line for line in told.splitlines() if line.startswith(f"{name}: error: ")]
            assert len(errors) == 1, told
            assert says in errors[0], told
            assert "Traceback" not in told, told
        return done

    return call


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """shell("ms-a | ms-b", code=0) through bash with pipefail, the tools on PATH."""
    monkeypatch.chdir(tmp_path)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def call(line, code=0, **extra):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=300, env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL, **extra,
        )  # fmt: skip
        assert done.returncode == code, done.stderr.decode()
        return done

    return call


@pytest.fixture
def delta(tmp_path, monkeypatch, capfd):
    """delta(*arguments, code=0, says=None) -> (rows of out.vcf, stderr): ms-delta in this process, quick for many calls."""
    import ms_delta

    monkeypatch.chdir(tmp_path)
    log, hook, term = logging.getLogger("libmeta"), sys.excepthook, signal.getsignal(signal.SIGTERM)
    before = log.handlers[:], log.propagate, log.level

    def call(*arguments, code=0, says=None):
        try:
            ms_delta.main([*map(str, arguments), *(() if "-o" in arguments else ("-o", "out.vcf"))])
            left = 0
        except SystemExit as end:
            left = end.code
        told = capfd.readouterr().err
        assert left == code, told
        errors = [line for line in told.splitlines() if "error: " in line]
        assert len(errors) == bool(code) and (says or "") in "".join(errors), told
        text = Path("out.vcf").read_text() if Path("out.vcf").exists() else ""
        return [line.split("\t") for line in text.splitlines() if not line.startswith("#")], told

    yield call
    sys.excepthook = hook
    signal.signal(signal.SIGTERM, term)
    log.handlers[:], log.propagate = before[:2]
    log.setLevel(before[2])


@pytest.fixture(scope="session")
def piece() -> Path:
    """Folder of the real piece of chr15."""
    return DATA


def bare_config(folder: Path) -> Path:
    """The piece's ms.toml without base scores, which only the demo makes."""
    text = (DATA / "ms.toml").read_text()
    text = re.sub(r'"(chr15|gencode|gtex)', rf'"{DATA}/\1', re.sub(r"\[base_scores.*?(?=\[)", "", text, flags=re.S))
    (folder / "piece.toml").write_text(text)
    return folder / "piece.toml"


def write_fasta(path: Path, sequences: dict[str, str], width: int = 60) -> Path:
    lines = [f">{n}\n" + "\n".join(s[i : i + width] for i in range(0, len(s), width)) for n, s in sequences.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def random_sequence(length: int, seed: int = 1, letters: str = "ACGT") -> str:
    return "".join(np.random.default_rng(seed).choice(list(letters), length))
