"""What a step says is taken down, and nobody else's words are."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from nbflow.worker.capture import LIMIT, Pad, captured


@pytest.fixture(autouse=True)
def _streams_as_before() -> Iterator[None]:
    # The streams of the process are replaced for good; the next test has its own.
    before = sys.stdout, sys.stderr
    yield
    sys.stdout, sys.stderr = before


def test_a_pad_keeps_what_is_written_until_it_is_taken() -> None:
    pad = Pad()
    pad.write("a")
    pad.write("b\n")
    assert (pad.take(), pad.take()) == ("ab\n", "")


@pytest.mark.parametrize("piece", [1, 100, 3 * LIMIT])
def test_a_pad_drops_the_beginning_and_says_how_much(piece: int) -> None:
    pad = Pad()
    count = -(-5 * LIMIT // piece)
    for _ in range(count):
        pad.write("x" * piece)
    pad.write("the end")
    text = pad.take()
    first, _, rest = text.partition("\n")
    assert len(rest) == LIMIT
    assert rest.endswith("the end")
    dropped = count * piece + len("the end") - LIMIT
    assert first == f"… {dropped:,} characters before this were dropped …"
    pad.write("anew")
    assert pad.take() == "anew"


def test_prints_go_to_the_pad_and_afterwards_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    with captured(every_level=False) as pad:
        print("inside")
        print("error", file=sys.stderr)
    print("outside")
    assert pad.take() == "inside\nerror\n"
    assert capsys.readouterr().out == "outside\n"


def test_threads_do_not_hear_one_another() -> None:
    meeting = threading.Barrier(3)
    said: dict[str, str] = {}

    def talk(name: str) -> None:
        with captured(every_level=False) as pad:
            meeting.wait(10)
            for number in range(500):
                print(name, number)
            meeting.wait(10)
            said[name] = pad.take()

    threads = [threading.Thread(target=talk, args=(name,)) for name in ("a", "b", "c")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    for name in ("a", "b", "c"):
        assert said[name].splitlines() == [f"{name} {number}" for number in range(500)]


def test_pads_nest() -> None:
    with captured(every_level=False) as outer:
        print("one")
        with captured(every_level=False) as inner:
            print("two")
        print("three")
    assert (outer.take(), inner.take()) == ("one\nthree\n", "two\n")


def test_a_step_may_redirect_its_own_output() -> None:
    with captured(every_level=False) as pad:
        with contextlib.redirect_stdout(io.StringIO()) as own:
            print("mine")
        print("ours")
    assert (pad.take(), own.getvalue()) == ("ours\n", "mine\n")


def test_logs_go_to_the_pad() -> None:
    with captured(every_level=False) as pad:
        logging.getLogger("user").warning("logged %s", 1)
    assert pad.take() == "WARNING user: logged 1\n"


def test_the_stream_looks_like_a_terminal_without_one() -> None:
    with captured(every_level=False) as pad:
        assert sys.stdout.encoding.lower().replace("-", "") == "utf8"
        assert sys.stdout.errors
        assert sys.stdout.writable()
        assert not sys.stdout.isatty()
        sys.stdout.write("written")
        sys.stdout.flush()
    assert pad.take() == "written"


def test_an_exception_ends_the_taking_down(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), captured(every_level=False):
        raise SystemExit
    print("free")
    assert capsys.readouterr().out == "free\n"


def test_a_process_of_our_own_hears_more(tmp_path: object) -> None:
    code = """
import logging, warnings
from nbflow.worker.capture import captured
def warn():
    warnings.warn("careful")
with captured(every_level=True) as pad:
    logging.getLogger("user").info("informed")
    warn(); warn()
print(pad.take(), end="")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=os.environ
    )
    assert done.stdout == "INFO user: informed\nUserWarning: careful\nUserWarning: careful\n"


def test_bars_of_progress_leave_room_for_words() -> None:
    with captured(every_level=False) as pad:
        print("before")
        for percent in range(100_000):
            print(f"\r{percent} of 100,000", end="", file=sys.stderr)
        print("\nafter\r")
    assert pad.take() == "before\n99999 of 100,000\nafter\r\n"


def test_bytes_are_taken_down_too() -> None:
    with captured(every_level=False) as pad:
        sys.stdout.buffer.write(b"caf\xc3\xa9 \xff\x00\n")
        sys.stdout.buffer.flush()
    assert pad.take() == "café \\xff\x00\n"


@pytest.mark.parametrize("junk", ["\x00\x1b[31m\x07", "\ud800", "\r", "\r\n", "é"])
@pytest.mark.parametrize("piece", [1, 997, 3_000_000])
def test_junk_is_bounded_and_is_text(junk: str, piece: int) -> None:
    pad = Pad()
    for _ in range(3_000_000 // piece):
        pad.write(junk * -(-piece // len(junk)))
    text = pad.take()
    assert len(text) <= LIMIT + 100
    text.encode()


def test_a_hundred_megabytes_leave_their_end() -> None:
    with captured(every_level=False) as pad:
        for _ in range(100):
            print("x" * 1_000_000)
        for number in range(1_000_000):
            print(number, end=" ", file=sys.stderr)
        logging.getLogger("user").warning("the end")
        assert sys.getsizeof(pad._pieces) < 2_000_000
    text = pad.take()
    assert text.startswith("… 106,")
    assert " characters before this were dropped …\n" in text[:100]
    assert text.endswith("999999 WARNING user: the end\n")
