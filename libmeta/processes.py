"""Several processes that do one kind of work: tasks go out as hands are free, answers come back in the order of the tasks.

Each process is a fresh Python that opens its own files (a forked one would share file positions and threads that are not
there). At most two tasks per process are under way or waiting for their turn, so memory does not grow with the tasks.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection, resource_tracker

from libmeta.device import thread_count
from libmeta.errors import MetaError

log = logging.getLogger("libmeta")

_THREADS = "OMP_NUM_THREADS"
FEW = 8  # processes unless more are asked for: each opens all sources, and the one that writes cannot keep up with more
SHARE = 8  # tasks that are worth a further process, unless more are asked for


def process_count(asked: int | None, tasks: int) -> int:
    """Processes for so many tasks: as asked, else as many as CPUs (see device.thread_count), up to FEW."""
    if asked:
        return max(min(asked, tasks), 1)
    return max(min(thread_count(None), FEW, tasks // SHARE), 1)


class Processes:
    """`count` processes; a context manager that ends them all, whatever happens.

    opens: what each process calls once with `arguments`; it returns the function that turns a task into an answer. All of
    them must pickle, and tasks and answers too.
    """

    def __init__(self, count: int, opens: Callable[..., Callable], *arguments):
        self.count, self._opens, self._arguments = count, opens, arguments
        self._running: dict[connection.Connection, multiprocessing.process.BaseProcess] = {}
        self._told: set[tuple[int, str]] = set()

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        try:
            with _signals_wait(), _one_thread_each():
                for _ in range(self.count):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs, self._opens, self._arguments), daemon=True)
                    process.start()
                    theirs.close()
                    self._running[ours] = process
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for pipe, process in self._running.items():
            process.terminate()
            pipe.close()
        for process in self._running.values():
            process.join()
        self._running = {}

    def answers(self, tasks: Iterable) -> Iterator:
        """The answer to each task, in the order of the tasks.

        An error met in a process is raised here when its task's turn has come. Raises MetaError where a process ends
        before its time.
        """
        todo = enumerate(tasks)
        idle, busy, ready, turn = list(self._running), {}, {}, 0
        more = True
        while more or busy or ready:
            while more and idle and len(busy) + len(ready) < 2 * self.count:
                number, task = next(todo, (None, None))
                more = number is not None
                if more:
                    pipe = idle.pop()
                    busy[pipe] = (number, task)
                    self._send(pipe, task)
            if turn in ready:
                answer, error, messages = ready.pop(turn)
                self._tell(messages)
                if error is not None:
                    raise error
                turn += 1
                yield answer
                continue
            for pipe in connection.wait(list(busy)) if busy else ():
                number, task = busy[pipe]
                ready[number] = self._receive(pipe, task)
                del busy[pipe]
                idle.append(pipe)

    def _send(self, pipe, task) -> None:
        try:
            pipe.send(task)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._ended(pipe, task) from error

    def _receive(self, pipe, task):
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._ended(pipe, task) from error

    def _ended(self, pipe, task) -> MetaError:
        process = self._running[pipe]
        process.join(5)
        code = process.exitcode
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}, for want of memory perhaps"
        else:
            how = f"ended with exit code {code}"
        return MetaError(f"one of {self.count} processes {how}, at {task}; use fewer with --threads")

    def _tell(self, messages: list[tuple[int, str]]) -> None:
        """Each message once: every process meets the same files."""
        for level, text in messages:
            if (level, text) not in self._told:
                self._told.add((level, text))
                log.log(level, "%s", text)


class _signals_wait:
    """Ctrl-C and the signal to end wait until the block is over: a process that is half started would tell of it in its own
    words. Processes started inside never see Ctrl-C, the parent ends them.
    """

    def __enter__(self):
        resource_tracker.ensure_running()  # started inside, it would let Ctrl-C through again
        self._met: list[int] = []
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():  # the mask is of one thread, another may be told
            known = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not None]
            self._handlers = {s: signal.signal(s, lambda number, _: self._met.append(number)) for s in known}
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def __exit__(self, *_):
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._met:
            signal.raise_signal(number)


class _one_thread_each:
    """Processes started inside let numpy and pyarrow use one thread: these read the variable when they are loaded."""

    def __enter__(self):
        self._before = os.environ.get(_THREADS)
        os.environ[_THREADS] = "1"

    def __exit__(self, *_):
        del os.environ[_THREADS]
        if self._before is not None:
            os.environ[_THREADS] = self._before


# ---- inside a process -----------------------------------------------------------------------------------------------


class _Kept(logging.Handler):
    """Log records, kept for the parent to tell."""

    def __init__(self):
        super().__init__()
        self.messages: list[tuple[int, str]] = []

    def emit(self, record):
        self.messages.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        taken, self.messages = self.messages, []
        return taken


class _Caught:
    """The error that ends a with block, kept for the parent to raise."""

    error: Exception | None = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def _work(pipe, opens: Callable, arguments: tuple) -> None:
    """Answer tasks until the parent closes the pipe or is gone."""
    kept = _Kept()
    log.handlers[:], log.propagate = [kept], False
    log.setLevel(logging.INFO)
    function = None
    try:
        while True:
            task = pipe.recv()
            answer = None
            with _Caught() as caught:
                if function is None:
                    function = opens(*arguments)
                    kept.take()  # the parent has opened the same, and said so
                answer = function(task)
            pipe.send((answer, caught.error, kept.take()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
