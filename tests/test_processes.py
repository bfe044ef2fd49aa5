"""Several processes: order, bounds, errors in their turn, deaths, and that nothing is left behind."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from libmeta.errors import USAGE, MetaError
from libmeta.processes import FEW, SHARE, Processes, process_count

log = logging.getLogger("libmeta")


def squares(offset):
    """Opens: later tasks are done sooner."""
    log.info("opened")

    def answer(task):
        log.info("seen by all")
        if task == "error":
            raise MetaError("what, where; remedy", USAGE)
        if task == "bug":
            raise KeyError("nothing there")
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "threads":
            return os.environ["OMP_NUM_THREADS"]
        if task == "quit":
            os._exit(7)
        if isinstance(task, float):
            time.sleep(task)
            return os.getpid()
        time.sleep(0.02 * (3 - task % 4))
        return task * task + offset

    return answer


def refuses():
    raise MetaError("no such file, x.bw; check the path")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pids: list[int]) -> bool:
    for _ in range(200):
        if not any(alive(p) for p in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("count", [1, 3])
def test_answers_come_in_the_order_of_the_tasks(count):
    with Processes(count, squares, 5) as crew:
        assert list(crew.answers(range(20))) == [i * i + 5 for i in range(20)]
        assert list(crew.answers([])) == []
        assert list(crew.answers([4])) == [21]


def test_tasks_are_taken_as_answers_are_taken():
    taken = []

    def tasks():
        for i in range(30):
            taken.append(i)
            yield i

    with Processes(2, squares, 0) as crew:
        for number, _ in enumerate(crew.answers(tasks())):
            assert len(taken) <= number + 1 + 2 * 2


def test_an_error_is_raised_when_its_turn_has_come():
    got = []
    with pytest.raises(MetaError, match="what, where; remedy") as caught, Processes(2, squares, 0) as crew:
        for answer in crew.answers([0, 4, "error", 1, 2]):
            got.append(answer)
    assert got == [0, 16]
    assert caught.value.code == USAGE
    with pytest.raises(KeyError, match="nothing there"), Processes(2, squares, 0) as crew:
        list(crew.answers([1, "bug"]))
    with pytest.raises(MetaError, match=r"no such file, x\.bw"), Processes(2, refuses) as crew:
        list(crew.answers([1]))


@pytest.mark.parametrize(("task", "says"), [("killed", "killed by SIGKILL"), ("quit", "ended with exit code 7")])
def test_a_process_that_dies_is_one_error_and_the_others_end(task, says):
    pids = []
    says = f"one of 2 processes .*{says}.*at {task}; .*--threads"
    with pytest.raises(MetaError, match=says), Processes(2, squares, 0) as crew:
        pids += [p.pid for p in crew._running.values()]
        list(crew.answers([1, 2, task, 3, 4, 5]))
    assert len(pids) == 2
    assert gone(pids)


def test_all_end_when_the_block_does():
    with contextlib.suppress(KeyboardInterrupt), Processes(2, squares, 0) as crew:
        pids = [p.pid for p in crew._running.values()]
        assert next(crew.answers([0, 60.0, 60.0])) == 0
        raise KeyboardInterrupt
    assert gone(pids)


def test_none_outlives_a_parent_that_is_killed():
    code = (
        "import test_processes as t, os, signal\n"
        "if __name__ == '__main__':\n"
        "    with t.Processes(2, t.squares, 0) as crew:\n"
        "        print(*{*crew.answers([0.3] * 4)}, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == -signal.SIGKILL
    pids = [int(p) for p in done.stdout.split()]
    assert len(pids) == 2
    assert gone(pids)


def test_what_processes_say_is_said_once(caplog):
    log.propagate = True
    with caplog.at_level(logging.INFO, "libmeta"), Processes(2, squares, 0) as crew:
        list(crew.answers(range(8)))
    assert [r.getMessage() for r in caplog.records] == ["seen by all"]  # the parent says itself what it opened


def test_each_has_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Processes(1, squares, 0) as crew:
        assert list(crew.answers(["threads"])) == ["1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    monkeypatch.delenv("OMP_NUM_THREADS")
    with Processes(1, squares, 0):
        assert "OMP_NUM_THREADS" not in os.environ


def test_how_many(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert process_count(None, 10_000) == FEW
    assert process_count(None, 3 * SHARE) == 3
    assert process_count(None, 1) == process_count(None, 0) == 1
    assert process_count(12, 10_000) == 12
    assert process_count(12, 5) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert process_count(None, 10_000) == 1
