"""Steps in processes of their own: what comes back, and that nothing stays behind."""

from __future__ import annotations

import array
import asyncio
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nbflow.algebra.context import cancel, context, enter, is_cancelled, leave, never
from nbflow.algebra.retry import Retry, TryAgain, next_wait
from nbflow.errors import RunCancelledError, RunError, TransferError, UnsupportedError
from nbflow.values.transfer import dumps, local_modules_by_value
from nbflow.worker import process
from nbflow.worker.isolation import ChildFailure, in_child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are killed by group")

LONG = 120


def isolated(
    fn: Callable[..., Any],
    *args: Any,
    seconds: float | None = LONG,
    write: Callable[[str], object] = lambda text: None,
    judge: Callable[[BaseException], Any] | None = None,
    **kwargs: Any,
) -> Any:
    with local_modules_by_value():
        return in_child(
            dumps(fn),
            list(args),
            kwargs,
            name="x",
            seconds=seconds,
            write=write,
            judge=None if judge is None else dumps(judge),
        )


def failed(fn: Callable[..., Any], *args: Any, **options: Any) -> ChildFailure:
    with pytest.raises(ChildFailure) as caught:
        isolated(fn, *args, **options)
    return caught.value


def said(fn: Callable[..., Any]) -> str:
    heard: list[str] = []
    isolated(fn, write=heard.append)
    return "".join(heard)


def functions(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


class Lifeline:
    """A pipe by name, which shows when the last process that has opened it is gone."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "alive")
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self) -> bytes:
        assert select.select([self._fd], [], [], 60)[0]
        return os.read(self._fd, 1)

    def opened(self) -> None:
        assert self._read() == b"!"

    def ended(self) -> None:
        while self._read():
            pass
        os.close(self._fd)


@pytest.fixture
def lifeline(tmp_path: Path) -> Lifeline:
    return Lifeline(tmp_path)


def hold(path: str) -> int:
    import os

    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"!")
    return fd


# Values


def test_a_call_in_another_process_gives_its_value() -> None:
    def work(a: int, *, b: int) -> tuple[int, int, int]:
        import os

        return a, b, os.getpid()

    a, b, process = isolated(work, 1, b=2)
    assert (a, b) == (1, 2)
    assert process != os.getpid()


def test_nothing_is_a_value() -> None:
    assert isolated(lambda: None) is None


def test_every_attempt_has_a_process_of_its_own() -> None:
    assert isolated(os.getpid) != isolated(os.getpid)


def test_a_coroutine_function_is_awaited() -> None:
    async def work(x: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return x + 1

    assert isolated(work, 1) == 2


class Local:
    def __init__(self, value: int) -> None:
        self.value = value


def test_a_class_of_the_notebook_is_the_same_class_afterwards() -> None:
    def work(given: Local) -> Local:
        given.value += 1
        return given

    back = isolated(work, Local(1))
    assert type(back) is Local
    assert back.value == 2


def test_a_large_value_goes_there_while_another_comes_back() -> None:
    # Each is larger than any pipe or socket holds, and so is what is printed meanwhile.
    size = 30_000_000

    def work(*given: bytes) -> list[bytes]:
        print("x" * 3_000_000)
        return list(given)

    large = bytes(size), array.array("d", [0.5]) * (size // 8), bytearray(size)
    back = isolated(work, *large)
    assert back == list(large)
    assert [type(each) for each in back] == [type(each) for each in large]


def test_arrays_can_be_changed_there_and_here() -> None:
    import numpy as np

    def work(given: Any) -> Any:
        given[0] = 7
        return given

    given = np.zeros(100_000)
    back = isolated(work, given)
    back[1] = 8
    assert (given[0], back[0], back[1]) == (0, 7, 8)


def test_it_reads_modules_where_the_parent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here_for_a_test.py").write_text("def work():\n    return __file__\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def work() -> Any:
        import only_here_for_a_test

        return only_here_for_a_test.work()

    assert isolated(work) == str(tmp_path / "only_here_for_a_test.py")


def test_there_is_nothing_to_read_on_stdin() -> None:
    assert isolated(lambda: __import__("sys").stdin.read()) == ""


def test_frame_libraries_are_loaded_only_by_those_that_use_them() -> None:
    def loaded() -> list[str]:
        import sys

        return [
            each for each in ("distributed", "pandas", "asyncio", "dask") if each in sys.modules
        ]

    assert isolated(loaded) == []


# Where it is


def test_the_context_is_that_of_the_step() -> None:
    entered = enter("run-1", "x", "a", 3, never)
    try:
        there = isolated(lambda: __import__("nbflow.algebra.context", fromlist=["x"]).context())
        assert there == context()
        assert there.idempotency_key == context().idempotency_key
    finally:
        leave(entered)


def test_without_a_context_there_is_none() -> None:
    error = failed(lambda: __import__("nbflow.algebra.context", fromlist=["x"]).context()).error
    assert type(error) is RunError
    assert "where no step is running" in str(error)


# What it says


def test_everything_it_says_is_heard_in_order() -> None:
    def work() -> None:
        import ctypes
        import logging
        import os
        import subprocess
        import sys
        import warnings

        print("print")
        print("stderr", file=sys.stderr)
        subprocess.run(["echo", "its child"], check=True)
        ctypes.CDLL(None).puts(b"C code")
        logging.getLogger("etl").info("fine")
        warnings.warn("look", stacklevel=1)
        os.write(2, "the end é\n".encode())

    assert said(work).splitlines() == [
        "print",
        "stderr",
        "its child",
        "C code",
        "INFO etl: fine",
        "UserWarning: look",
        "the end é",
    ]


def test_what_it_says_is_heard_in_whole_lines() -> None:
    heard: list[str] = []

    def work() -> None:
        for number in range(20_000):
            print("é", number)
        print("no newline", end="")

    isolated(work, write=heard.append)
    assert "".join(heard) == "".join(f"é {number}\n" for number in range(20_000)) + "no newline"
    assert all(each.endswith("\n") for each in heard[:-1])


def test_a_line_without_an_end_is_heard_in_pieces() -> None:
    heard: list[str] = []
    isolated(lambda: print("x" * 300_000, end=""), write=heard.append)
    assert "".join(heard) == "x" * 300_000
    assert len(heard) > 1


def test_words_that_are_no_text_are_heard_too() -> None:
    assert said(lambda: __import__("os").write(1, b"\xff\xfe\n")) == "\ufffd\ufffd\n"
    assert said(lambda: print("\ud800")) == "\\ud800\n"


def test_what_is_left_for_the_end_happens_and_is_heard() -> None:
    def work() -> None:
        import atexit

        atexit.register(print, "at exit")

    assert said(work) == "at exit\n"
    assert said(lambda: __import__("ctypes").CDLL(None).printf(b"no newline")) == "no newline"


def test_what_it_says_is_heard_while_it_runs(lifeline: Lifeline) -> None:
    def work(path: str) -> str:
        print("now")
        with open(path) as file:
            return file.read()

    path = lifeline.path + ".answer"
    os.mkfifo(path)

    def write(text: str) -> None:
        # The step waits for this answer to what it has said.
        Path(path).write_text(f"heard {text}")

    assert isolated(work, path, write=write) == "heard now\n"


def test_a_failure_to_listen_ends_the_process(lifeline: Lifeline) -> None:
    def work(path: str) -> None:
        hold(path)
        print("words")
        __import__("time").sleep(LONG)

    def write(text: str) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        isolated(work, lifeline.path, write=write)
    lifeline.ended()


# Failures


def test_a_failure_is_the_users_own() -> None:
    def inner() -> None:
        raise KeyError("mine")

    def work() -> None:
        try:
            inner()
        except KeyError as error:
            raise ValueError("outer") from error

    failure = failed(work)
    assert str(failure) == "ValueError: outer"
    assert failure.verdict is None
    error = failure.error
    assert (type(error), error.args) == (ValueError, ("outer",))
    assert functions(error) == ["work"]
    assert isinstance(error.__cause__, KeyError)
    assert functions(error.__cause__)[-1] == "inner"
    assert "_attempted" not in failure.record.traceback


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exits_and_interrupts_are_failures(error: BaseException) -> None:
    def work() -> None:
        raise error

    back = failed(work).error
    assert (type(back), back.args) == (type(error), error.args)


class Unpicklable(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.lock = __import__("threading").Lock()

    def __reduce__(self) -> Any:
        raise RuntimeError


def test_the_judge_sees_the_error_itself() -> None:
    def work() -> None:
        raise Unpicklable(7)

    def judge(error: BaseException) -> Any:
        return type(error).__name__, error.lock.locked()

    failure = failed(work, judge=judge)
    assert failure.verdict == ("Unpicklable", False)
    assert "Unpicklable" in failure.record.traceback


def test_the_judge_can_be_the_decision_to_try_again() -> None:
    policy = Retry(attempts=3, on=Unpicklable, wait=0.5, jitter=False)

    def verdict(error: BaseException, attempt: int) -> Any:
        def work() -> None:
            raise error

        return failed(work, judge=partial(next_wait, policy, attempt)).verdict

    def fail(number: int) -> Any:
        def work() -> None:
            raise Unpicklable(number)

        return failed(work, judge=partial(next_wait, policy, 1)).verdict

    assert fail(1) == 0.5
    assert verdict(KeyError(), 1) is None
    assert verdict(TryAgain(2), 2) == 2
    assert verdict(TryAgain(2), 3) is None


def test_a_failure_travels() -> None:
    failure = failed(lambda: 1 / 0, judge=lambda error: 0.5)
    copy = pickle.loads(pickle.dumps(failure))
    assert (copy.record, copy.verdict) == (failure.record, 0.5)


def test_an_argument_that_cannot_travel_is_refused() -> None:
    with pytest.raises(TransferError, match="an argument of step 'x' cannot be pickled"):
        isolated(print, threading.Lock())


class Unreadable:
    def __reduce__(self) -> Any:
        return __import__("operator").truediv, (1, 0)


def test_an_argument_that_cannot_be_read_is_a_failure() -> None:
    assert type(failed(print, Unreadable()).error) is ZeroDivisionError


def test_a_result_that_cannot_travel_is_refused() -> None:
    error = failed(threading.Lock).error
    assert type(error) is TransferError
    assert str(error).startswith("step 'x' returned a lock that cannot be pickled, so it could not")
    error = failed(lambda: (each for each in "ab")).error
    assert type(error) is TransferError
    assert "step 'x' returned a generator" in str(error)


def test_a_result_that_cannot_be_read_says_so() -> None:
    with pytest.raises(TransferError, match="what step 'x' returned .* cannot be read: ZeroDiv"):
        isolated(Unreadable)


# Deaths


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os._exit(3)", "ended itself with exit code 3 before giving a result"),
        ("os._exit(0)", "ended itself with exit code 0 before giving a result"),
        ("os.abort()", "was ended by SIGABRT (signal 6)"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL (signal 9), as a system does that has"),
        ("ctypes.string_at(0)", "was ended by SIGSEGV (signal 11)"),
        ("os.kill(os.getpid(), 40)", "was ended by signal 40"),
    ],
)
def test_a_death_says_how(code: str, message: str) -> None:
    if sys.platform != "linux" and "40" in code:
        pytest.skip("no such signal")
    with pytest.raises(RunError) as caught:
        isolated(exec, f"import ctypes, os\n{code}")
    assert str(caught.value).startswith(f"the process of step 'x' {message}")


def test_the_last_words_before_a_death_are_heard() -> None:
    heard: list[str] = []
    with pytest.raises(RunError):
        isolated(exec, "import ctypes\nprint('words')\nctypes.string_at(0)", write=heard.append)
    text = "".join(heard)
    assert text.startswith("words\n")
    assert "Segmentation fault" in text


def test_a_process_that_cuts_the_line_is_ended(
    lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(path: str) -> None:
        import os

        os.closerange(3, 65536)
        hold(path)
        __import__("time").sleep(LONG)

    monkeypatch.setattr(process, "EXIT_SECONDS", 0.5)
    with pytest.raises(RunError, match="closed its connection before giving a result"):
        isolated(work, lifeline.path)
    lifeline.ended()


def test_a_death_is_seen_even_if_a_fork_lives_on() -> None:
    def work() -> None:
        import os

        if os.fork():
            os._exit(5)
        __import__("time").sleep(LONG)

    begun = time.monotonic()
    with pytest.raises(RunError, match="exit code 5"):
        isolated(work)
    assert time.monotonic() - begun < LONG / 2


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(RunError, match="no process for step 'x' could be started: .*No such file"):
        isolated(print)


def test_a_process_that_does_not_get_as_far_as_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_SECONDS", 0.01)
    with pytest.raises(RunError, match=r"the process of step 'x' did not start within 0.01 s"):
        isolated(print)


def test_a_system_without_process_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = dumps(print)
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(UnsupportedError, match="step 'x' cannot run in a process of its own on"):
        in_child(packed, [], {}, name="x", seconds=None, write=print)


# Ends


# It holds the interpreter in C, so that no thread of the child gets a turn.
HOG = "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"


def hog(path: str, code: str) -> None:
    import subprocess
    import sys

    # Its child opens the pipe too, and prints it is there; both have to go.
    its_child = "import os, sys; os.open(sys.argv[1], os.O_WRONLY); print(flush=True); input()"
    subprocess.Popen(
        [sys.executable, "-c", its_child, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ).stdout.readline()
    hold(path)
    print("last words")
    exec(code)


@pytest.mark.parametrize("code", [HOG, "import time\ntime.sleep(600)"])
def test_what_takes_too_long_is_killed_with_all_that_it_started(
    code: str, lifeline: Lifeline
) -> None:
    heard: list[str] = []
    with pytest.raises(TimeoutError) as caught:
        isolated(hog, lifeline.path, code, seconds=2, write=heard.append)
    assert type(caught.value) is TimeoutError
    assert str(caught.value) == "step 'x' took longer than 2 s; its process was killed"
    lifeline.ended()
    assert heard == ["last words\n"]


def test_the_start_of_the_process_is_not_counted() -> None:
    assert isolated(lambda: "quick", seconds=0.05) == "quick"


def test_what_it_started_ends_with_it(lifeline: Lifeline) -> None:
    isolated(hog, lifeline.path, "")
    lifeline.ended()


def test_threads_that_go_on_do_not_hold_it_up() -> None:
    def work() -> str:
        import threading

        threading.Thread(target=threading.Event().wait).start()
        return "value"

    assert isolated(work) == "value"


def test_an_end_that_takes_too_long_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> str:
        import atexit
        import time

        atexit.register(time.sleep, LONG)
        return "value"

    monkeypatch.setattr(process, "EXIT_SECONDS", 0.5)
    begun = time.monotonic()
    assert isolated(work) == "value"
    assert time.monotonic() - begun < LONG / 2


def test_when_the_run_is_cancelled_it_is_killed(lifeline: Lifeline) -> None:
    nonce = f"cancelled in {lifeline.path}"

    def once_it_runs() -> None:
        lifeline.opened()
        cancel(nonce)

    other = threading.Thread(target=once_it_runs)
    other.start()
    entered = enter("run-1", "x", None, 1, partial(is_cancelled, nonce))
    try:
        with pytest.raises(RunCancelledError, match="the process of step 'x' killed"):
            isolated(hog, lifeline.path, HOG, seconds=None)
    finally:
        leave(entered)
        other.join()
    lifeline.ended()


PARENT = """
import sys
from nbflow.worker.isolation import in_child
packed, path, code = bytes.fromhex(sys.argv[1]), *sys.argv[2:]
in_child(packed, [path, code], {}, name="x", seconds=None, write=print)
"""


@pytest.mark.parametrize("code", [HOG, "import time\ntime.sleep(600)"])
def test_when_its_parent_is_killed_it_ends_with_all_that_it_started(
    code: str, lifeline: Lifeline
) -> None:
    if code == HOG and sys.platform != "linux":
        pytest.skip("only Linux sends a signal when a pipe is closed")
    with local_modules_by_value():
        packed = dumps(hog).hex()
    args = [sys.executable, "-c", PARENT, packed, lifeline.path, code]
    parent = subprocess.Popen(args, stdout=subprocess.DEVNULL)
    lifeline.opened()
    parent.kill()
    assert parent.wait(60) == -signal.SIGKILL
    lifeline.ended()


def test_when_its_parent_is_interrupted_it_is_killed(lifeline: Lifeline) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupt

    def once_it_runs() -> None:
        lifeline.opened()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    other = threading.Thread(target=once_it_runs)
    other.start()
    try:
        with pytest.raises(Interrupt):
            isolated(hog, lifeline.path, HOG, seconds=None)
    finally:
        other.join()
        signal.signal(signal.SIGUSR1, before)
    lifeline.ended()


# Many


def test_many_at_once_do_not_disturb_one_another() -> None:
    place: ContextVar[int] = ContextVar("place")

    def one(number: int) -> Any:
        place.set(number)
        heard: list[str] = []
        if number % 3 == 2:
            return str(failed(exec, f"raise KeyError({number})"))
        value = isolated(lambda: print(number) or number, write=heard.append)
        return value, "".join(heard)

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(one, range(12)))
    assert results == [
        f"KeyError: {number}" if number % 3 == 2 else (number, f"{number}\n")
        for number in range(12)
    ]


def test_nothing_is_left_open() -> None:
    def count() -> int:
        return sum(1 for fd in range(256) if is_open(fd))

    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    isolated(lambda: None)
    before = count()
    for code in ("1", "1 / 0", "import os; os._exit(1)", "import time; time.sleep(60)"):
        with pytest.MonkeyPatch.context() as patch:
            if "_exit" in code:
                patch.setattr(sys, "executable", "/no/such/python")
            try:
                isolated(exec, code, seconds=0.2)
            except (ChildFailure, TimeoutError, RunError):
                pass
    assert count() == before


def test_the_time_may_be_endless() -> None:
    assert isolated(lambda: "value", seconds=math.inf) == "value"
    assert isolated(lambda: "value", seconds=None) == "value"


def test_it_works_from_a_thread_with_a_running_loop() -> None:
    async def cell() -> Any:
        return isolated(lambda: "value"), await asyncio.to_thread(isolated, lambda: "value")

    assert asyncio.run(cell()) == ("value", "value")
