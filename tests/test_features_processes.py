"""ms-features in several processes: the same bytes, one line where one of them dies, and Ctrl-C ends them all."""

import os
import signal
import subprocess
import time

import numpy as np
import pyBigWig
import pytest
import synthetic_tracks
from conftest import tool
from test_processes import gone

LENGTH = 1_300_000  # 5 stretches


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    synthetic_tracks.make(folder, LENGTH, tissues=2, proteins=2)
    lines = [(5, 300_001), (290_000, 600_000), (600_500, 600_600), (800_000, LENGTH)]
    bed = [f"chr15\t{a}\t{b}\tg\t0\t{s}\n" for (a, b), s in zip(lines, ".+-.", strict=True)]
    (folder / "some.bed").write_text("".join(bed))
    return folder


def command(sources, *arguments) -> list[str]:
    return [*tool("ms-features"), "some.bed", "--config", "ms.toml", *arguments]


@pytest.mark.parametrize(
    "what",
    [("--background", "0.004"), ("--background", "0.01", "--batch-size", "1000"), ("--dense", "--flank", "70")],
    ids=["rows", "batches", "dense"],
)
def test_the_same_bytes_from_any_number(sources, what):
    made, told = [], []
    for n in "132":
        done = subprocess.run(
            command(sources, *what, "--threads", n), cwd=sources, capture_output=True, timeout=300, check=True
        )
        asked = b'"--threads", "' + n.encode()  # in the provenance
        assert done.stdout.count(asked) == 1
        made.append(done.stdout.replace(asked, b'"--threads", "N'))
        told.append([line for line in done.stderr.splitlines() if b" bp, " not in line])  # progress goes by the clock
    assert len(made[0]) > 1_000_000
    assert made[1] == made[0]
    assert made[2] == made[0]
    assert told[0] == told[1] == told[2]


def test_an_error_in_a_track_is_the_same_error(sources, run):
    bad = pyBigWig.open(str(sources / "bad.bw"), "w")
    bad.addHeader([("chr15", LENGTH)])
    bad.addEntries("chr15", 0, values=np.random.default_rng(1).random(LENGTH), span=1, step=1)
    bad.close()
    text = (sources / "ms.toml").read_text()
    (sources / "bad.toml").write_text(text.replace('plus = "exon.plus.bw"', 'plus = "bad.bw"'))
    whole = (sources / "bad.bw").read_bytes()
    at = len(whole) // 2
    (sources / "bad.bw").write_bytes(whole[:at] + bytes(3000) + whole[at + 3000 :])  # blocks that do not unpack
    said = set()
    for n in (1, 2):
        done = run("ms-features", sources / "some.bed", "--config", sources / "bad.toml", "--modalities", "exon_prob",
                   "--threads", n, code=1, says="the file is damaged")  # fmt: skip
        said.add(done.stderr.decode().splitlines()[-1])
        assert not done.stdout.endswith(b"\0\0\0\0")  # no end mark
    assert len(said) == 1


def started(sources, *what) -> tuple[subprocess.Popen, list[int]]:
    """The command in a session of its own, writing to a pipe that nobody reads yet, and its two processes."""
    line = command(sources, *what, "--modalities", "conservation", "--no-labels", "--threads", "2")
    process = subprocess.Popen(
        line, cwd=sources, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(1200):
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        pids = [int(r[0]) for r in rows if r[1] == str(process.pid) and "spawn_main" in r[2]]
        if len(pids) == 2:
            return process, pids
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.kill()
    process.communicate()
    raise AssertionError("no two processes within minutes")


@pytest.mark.parametrize("what", [("--background", "1"), ("--dense",)], ids=["rows", "dense"])
def test_a_process_that_is_killed_is_one_line(sources, what):
    process, pids = started(sources, *what)
    os.kill(pids[0], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    lines = [line for line in told.decode().splitlines() if "error" in line]
    assert process.returncode == 1, told
    assert len(lines) == 1
    assert "one of 2 processes was killed by SIGKILL" in lines[0]
    assert b"Traceback" not in told
    assert gone(pids)


@pytest.mark.parametrize("all_of_them", [True, False], ids=["terminal", "parent alone"])
def test_ctrl_c_ends_all(sources, all_of_them):
    process, pids = started(sources, "--background", "1")
    (os.killpg if all_of_them else os.kill)(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert told.decode().splitlines()[-1] == "ms-features: interrupted"
    assert b"Traceback" not in told
    assert gone(pids)
