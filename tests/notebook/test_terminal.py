"""Runs as a terminal shows them, in pseudo-terminals: a board that is written over, no more."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time

import pexpect
import pytest
from emulator import Emulator
from IPython.core.interactiveshell import InteractiveShell

from nbflow import step
from nbflow.notebook.beside import beside
from nbflow.notebook.board import Board, Line
from nbflow.notebook.columns import wide
from nbflow.notebook.terminal import Screen, can_draw
from nbflow.notebook.watching import chosen
from nbflow.record.events import ErrorRecord, Event, Status
from nbflow.record.state import RunState
from nbflow.running.drive import shapes

pytestmark = pytest.mark.timeout(180)


@step
def load(n):
    return n


@step
def clean(rows):
    return rows


@step
def merge(parts):
    return parts


ETL = [load.s(1) >> clean, load.s(2)] >> merge
MANY = [load.s(n) for n in range(2_999)] >> merge


def begun(flow):
    return RunState.planned("r1", "etl", shapes(flow.topology), 100.0)


def failed(name, message="no such file"):
    return Event(name, Status.FAILED, 105.0, 1, "w", 2.0, error=ErrorRecord("OSError", message, ""))


def completed(name, at=105.0):
    return Event(name, Status.COMPLETED, at, 1, "w", 2.0)


def texts(flow, state, columns=80, height=24, expected=None, now=106.0):
    return [line.text for line in Board(flow, expected).lines(state, now, columns, height)]


# What is shown


def test_a_flow_that_fits_is_shown_as_its_tree():
    state = begun(ETL).apply([completed("load"), Event("clean", Status.RUNNING, 103.0)])

    assert texts(ETL, state) == [
        "◐ etl: running, run r1",
        "├─ load                ✓ completed, 2.0 s",
        "│  clean               ◐ running, 3.0 s",
        "└─ load_2              ○ pending",
        "merge ← clean, load_2  ○ pending",
        "━━━━━━━━──────────────────────── 1/4 steps, 25 %, 6.0 s",
    ]


def test_what_failed_stands_above_the_tree():
    state = begun(ETL).apply([completed("load"), failed("load_2")])

    assert texts(ETL, state)[1] == "✗ load_2: OSError: no such file"


def test_a_map_says_how_many_of_its_elements_are_there():
    flow = clean.map(range(100))
    running = Event("clean", Status.RUNNING, 103.0)

    assert texts(flow, begun(flow).apply([running]))[1] == (
        "clean × 100  ◐ running, 0/100 elements, 3.0 s"
    )


def test_how_long_it_took_before_says_how_long_it_will_take():
    state = begun(ETL)

    assert texts(ETL, state, expected=10.0)[-1].endswith("6.0 s, about 4.0 s left")
    assert texts(ETL, state, expected=5.0)[-1].endswith("6.0 s, 5.0 s last time")


def test_of_three_thousand_steps_those_are_shown_that_matter_and_the_others_are_counted():
    names = MANY.topology.names
    state = begun(MANY).apply(
        [
            *(completed(name, 101.0 + n / 1000) for n, name in enumerate(names[:1_200])),
            *(Event(name, Status.RUNNING, 103.0) for name in names[2_000:2_002]),
            failed(names[2_500]),
        ]
    )

    lines = texts(MANY, state, height=10)

    assert len(lines) == 10
    assert lines[1].startswith(f"{names[2_500]}  ✗ failed")
    assert lines[2].startswith(f"{names[2_000]}  ◐ running")
    # Of those that have ended, the last.
    assert lines[4].startswith(f"{names[1_199]}  ✓ completed")
    assert lines[8] == "… 2,993 more steps: 1,196 completed, 1,797 pending"
    assert "1,201/3,000 steps, 40 %" in lines[9]


def test_a_look_at_three_thousand_steps_costs_little():
    board, names = Board(MANY), MANY.topology.names
    state = begun(MANY)
    board.lines(state, 101.0, 80, 24)
    began = time.perf_counter()
    for n in range(50):
        state = state.apply([completed(names[n])])
        board.lines(state, 101.0, 80, 24)

    assert (time.perf_counter() - began) / 50 < 0.1


@pytest.mark.parametrize("columns", [5, 20, 79])
@pytest.mark.parametrize("height", [0, 1, 2, 5, 24])
@pytest.mark.parametrize("flow", [ETL, MANY], ids=["few", "many"])
def test_no_line_is_wider_and_no_board_higher_than_the_terminal(flow, columns, height):
    state = begun(flow).apply([failed("load_2", "数据清洗 " * 40)])

    lines = texts(flow, state, columns, height)

    assert len(lines) <= height
    assert all(wide(each) <= columns for each in lines)


def test_hostile_names_write_nothing_into_the_terminal():
    state = begun(ETL).apply([failed("load_2", "\x1b[2J\x07 gone\r\nforged")])

    assert all(each.isprintable() for each in texts(ETL, state))


# How it is drawn


class Window:
    """A pseudo-terminal, and what is to be seen in it."""

    def __init__(self, columns=60, height=12, encoding="utf-8"):
        self.emulator = Emulator(columns, height)
        self._master, slave = pty.openpty()
        self.stream = open(slave, "w", encoding=encoding)
        self.encoding = encoding
        self.resize(columns, height)

    def resize(self, columns, height):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, columns, 0, 0))
        self.emulator.resize(columns, height)

    def look(self):
        self.stream.flush()
        os.set_blocking(self._master, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.emulator.feed(os.read(self._master, 65_536).decode(self.encoding))
        return self.emulator

    def close(self):
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Window()
    yield made
    made.close()


def lines(*said):
    return [Line(each, Status.COMPLETED) for each in said]


def test_lines_are_written_over(window):
    screen = Screen(window.stream)
    window.stream.write("before\n")
    screen.draw(lines("one", "two, which is longer", "three"))
    screen.draw(lines("uno", "due"))

    assert window.look().text.split("\n") == ["before", "uno", "due", ""]


def test_what_is_erased_leaves_what_was_before(window):
    screen = Screen(window.stream)
    window.stream.write("before\n")
    screen.draw(lines(*(f"line {n}" for n in range(11))))
    screen.erase()
    screen.say("after")

    assert [each for each in window.look().text.split("\n") if each] == ["before", "after"]


def test_what_others_print_stands_above(window, monkeypatch):
    screen = Screen(window.stream)
    monkeypatch.setattr(sys, "stdout", window.stream)
    logger = logging.getLogger("tests.terminal")
    logger.propagate = False
    handler = logging.StreamHandler(window.stream)
    logger.addHandler(handler)
    try:
        with beside(screen):
            screen.draw(lines("◐ running", "○ pending"))
            thread = threading.Thread(target=print, args=("said by a thread",))
            thread.start()
            thread.join()
            logger.warning("logged")
            print("half a line", end="")
            screen.draw(lines("✓ completed", "○ pending"))
    finally:
        logger.removeHandler(handler)
    print()

    assert [each for each in window.look().text.split("\n") if each] == [
        "said by a thread",
        "logged",
        "✓ completed",
        "○ pending",
        "half a line",
    ]
    assert sys.stdout is window.stream
    assert handler.stream is window.stream


def test_a_window_may_change_its_width_meanwhile(window):
    screen = Screen(window.stream)
    window.stream.write("before\n")
    screen.draw(lines("a line that is rather long for what is to come", "short"))
    window.look()
    window.resize(20, 12)
    screen.draw(lines("fits now", "short"))

    assert window.look().text.rstrip().split("\n") == ["before", "fits now", "short"]


def test_colours_are_left_out_where_they_are_not_wanted(window, monkeypatch):
    Screen(window.stream).draw(lines("✓ completed"))
    assert window.look().colours

    monkeypatch.setenv("NO_COLOR", "1")
    other = Window()
    Screen(other.stream).draw(lines("✓ completed"))
    assert other.look().colours == set()
    assert "✓ completed" in other.emulator.text
    other.close()


def test_a_terminal_without_the_signs_gets_others():
    window = Window(encoding="ascii")
    screen = Screen(window.stream)
    screen.draw(lines("├─ clean × 3  ✓ completed, 数"))
    screen.say("└─ ✗ failed")

    assert window.look().text.rstrip().split("\n") == [
        "|- clean x 3  + completed, ??",
        "`- x failed",
    ]
    window.close()


@pytest.mark.parametrize("term", ["dumb", "", "unknown"])
def test_nothing_is_drawn_where_the_cursor_cannot_be_moved(window, monkeypatch, term):
    assert can_draw(window.stream)
    monkeypatch.setenv("TERM", term)
    assert not can_draw(window.stream)


def test_nothing_is_drawn_into_files_and_pipes(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with (tmp_path / "log").open("w") as file:
        assert not can_draw(file)
        assert not can_draw(io.StringIO())
        monkeypatch.setattr(sys, "stdout", file)
        assert chosen("live") is None


def test_a_script_draws_nothing_unless_it_is_asked_to(window, monkeypatch):
    # As other tests may have left a shell of IPython in this process.
    monkeypatch.setattr(InteractiveShell, "_instance", None)
    monkeypatch.setattr(sys, "stdout", window.stream)
    monkeypatch.delenv("NBFLOW_DISPLAY", raising=False)
    assert chosen("auto") is None
    assert chosen(None) is None
    assert chosen("static") is None
    assert chosen("live") == "terminal"
    monkeypatch.setenv("NBFLOW_DISPLAY", "live")
    assert chosen("auto") == "terminal"


# In real programs

FLOW = """
import time
from pathlib import Path
from nbflow import context, step

FOLDER = Path({folder!r})

@step
def extract():
    FOLDER.joinpath("begun").touch()
    while not (context().cancelled or FOLDER.joinpath("leave").exists()):
        time.sleep(0.01)
    return [1, 2, 3]

@step
def parse(n):
    return n

@step
def merge(rows):
    return sum(rows)

etl = (extract >> parse.map() >> merge).named("etl")
"""


class Program:
    """A program in a terminal of its own."""

    def __init__(self, arguments, environment, folder, columns=100, height=24):
        self.folder = folder
        self.emulator = Emulator(columns, height)
        self._child = pexpect.spawn(
            sys.executable,
            arguments,
            env={"PYTHONPATH": str(folder), **environment},
            cwd=str(folder),
            dimensions=(height, columns),
            encoding="utf-8",
            timeout=60,
        )
        self._child.delaybeforesend = None

    def until(self, wanted):
        """Read on until something is in view."""
        until = time.monotonic() + 60
        while wanted not in self.emulator.screen:
            assert time.monotonic() < until, self.emulator.screen
            self._read()
        return self.emulator.screen

    def to_the_end(self):
        with contextlib.suppress(pexpect.EOF):
            while True:
                self._read()
        self._child.close()
        return self._child.exitstatus

    def _read(self):
        with contextlib.suppress(pexpect.TIMEOUT):
            self.emulator.feed(self._child.read_nonblocking(4096, timeout=0.2))

    def type(self, text):
        self._child.send(text)

    def interrupt(self):
        self._child.sendintr()

    def close(self):
        self._child.close(force=True)


@pytest.fixture
def program(on_cluster, tmp_path):
    (tmp_path / "flows.py").write_text(FLOW.format(folder=str(tmp_path)))
    made = []

    def begin(*arguments, **more):
        environment = {k: v for k, v in on_cluster.items() if k != "NO_COLOR"}
        environment |= {"NBFLOW_STORE": str(tmp_path / "store"), "TERM": "xterm", **more}
        made.append(Program(list(arguments), environment, tmp_path))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def test_the_command_line_shows_a_run_while_it_goes_on(program, tmp_path):
    line = program("-m", "nbflow", "run", "flows.py:etl")
    shown = line.until("0/3 steps")
    assert "extract" in shown
    assert "◐ running" in shown
    (tmp_path / "leave").touch()

    assert line.to_the_end() == 0

    said = line.emulator.text
    assert "✓ etl: completed, 3 steps" in said
    assert "✓ completed, 3/3 elements" in said
    # Neither the board nor the table stands there any more.
    assert "0/3 steps" not in said
    assert "◐" not in said
    assert said.count("merge") == 1


def test_the_command_line_writes_plainly_into_a_pipe(on_cluster, tmp_path):
    (tmp_path / "flows.py").write_text(FLOW.format(folder=str(tmp_path)))
    (tmp_path / "leave").touch()
    done = subprocess.run(
        [sys.executable, "-m", "nbflow", "run", "flows.py:etl"],
        env={**on_cluster, "NBFLOW_STORE": str(tmp_path / "store"), "TERM": "xterm"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "\x1b" not in done.stdout + done.stderr
    assert "completed" in done.stdout


def test_ipython_shows_a_run_and_leaves_its_report_once(program, tmp_path):
    shell = program("-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor")
    shell.type("from flows import *; import nbflow\n")
    shell.type("etl.run()\n")
    shell.until("0/3 steps")
    (tmp_path / "leave").touch()
    shell.until("Run('etl'")

    assert shell.emulator.text.count("✓ etl: completed, 3 steps") == 1
    assert "Out[2]" in shell.emulator.text
    assert "0/3 steps" not in shell.emulator.text


def test_an_interrupt_leaves_what_was_shown_and_the_run_goes_on(program, tmp_path):
    shell = program("-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor")
    shell.type("from flows import *; import nbflow\n")
    shell.type("etl.run()\n")
    shell.until("0/3 steps")
    shell.interrupt()
    shell.until("KeyboardInterrupt: stopped waiting")
    assert "0/3 steps" in shell.emulator.text
    (tmp_path / "leave").touch()
    shell.type("print('value', nbflow.last_run().result())\n")
    shell.until("value 6")


def test_two_interrupts_cancel_the_run(program, tmp_path):
    shell = program("-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor")
    shell.type("from flows import *; import nbflow\n")
    shell.type("etl.run()\n")
    shell.until("0/3 steps")
    shell.interrupt()
    shell.until("stopped waiting")
    shell.interrupt()
    shell.until("was cancelled")


def test_a_script_shows_a_run_if_it_is_asked_to(program, tmp_path):
    code = "from flows import etl; etl.run({}); print('over')"
    shown = program("-c", code.format("display='live'"))
    shown.until("0/3 steps")
    (tmp_path / "leave").touch()
    shown.to_the_end()
    assert "✓ etl: completed" in shown.emulator.text

    silent = program("-c", code.format(""))
    silent.to_the_end()
    assert silent.emulator.text.strip() == "over"
    assert silent.emulator.codes == 0


def test_of_two_runs_at_once_one_is_shown_and_both_leave_their_reports(program, tmp_path):
    code = (
        "import asyncio; from flows import etl\n"
        "async def both():\n"
        "    await asyncio.gather(*(etl.named(n).arun(display='live') for n in ('one', 'two')))\n"
        "asyncio.run(both())"
    )
    script = program("-c", code)
    script.until("0/3 steps")
    (tmp_path / "leave").touch()
    script.to_the_end()

    said = script.emulator.text
    assert said.count("✓ one: completed") == said.count("✓ two: completed") == 1
    assert "0/3 steps" not in said


def test_a_dumb_terminal_gets_no_codes(program, tmp_path):
    (tmp_path / "leave").touch()
    line = program("-m", "nbflow", "run", "flows.py:etl", TERM="dumb")
    assert line.to_the_end() == 0
    assert line.emulator.codes == 0
    assert "completed in" in line.emulator.text
