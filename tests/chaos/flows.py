"""The flows that are broken here: each step writes itself down before it does anything."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from chaos.stage import enter, leave

from nbflow import group, step
from nbflow.algebra.flow import Flow

# So much makes a result large enough for a file of its own.
_LONG = 9_000


@step
def prepare(folder: str) -> int:
    enter(folder)
    return 5


@step(effect=True)
def charge(x: int, folder: str) -> list[int]:
    enter(folder)
    return [x] * _LONG


@step(effect=True)
def notify(receipt: list[int], folder: str) -> str:
    enter(folder)
    return f"notified of {receipt[0]}"


def occupy(folder: str, number: int) -> None:
    """Take up a thread of a worker until the gate is opened; no step of a run."""
    Path(folder, f"busy-{uuid.uuid4().hex}").touch()
    while Path(folder, "shut-occupy").exists():
        time.sleep(0.005)


PAID = "notified of 5"


def payment(folder: str, **options: Any) -> Flow:
    """Prepare, charge and notify; the options are those of charging."""
    paid = charge.options(**options) if options else charge
    return prepare.s(folder) >> paid.s(folder=folder) >> notify.s(folder=folder)


def undo(folder: str, result: Any) -> None:
    enter(folder)


@step
def reserve(x: Any, folder: str) -> Any:
    enter(folder)
    return x


ship = reserve.named("ship")


@step
def close(x: Any, folder: str) -> str:
    enter(folder)
    return "closed"


def saga(folder: str, **options: Any) -> Flow:
    """Charge, reserve and ship, each with what undoes it, and close; the options are of undoing."""
    undoing = partial(undo, folder)
    compensate: Any = step(undoing, name="undo", **options) if options else undoing
    flow = prepare.s(folder) >> charge.options(compensate=compensate).s(folder=folder)
    for each in (reserve, ship):
        flow = flow >> each.options(compensate=compensate).s(folder=folder)
    return flow >> close.s(folder=folder)


UNDONE = ["undo-ship", "undo-reserve", "undo-charge"]


@step
def settle(x: Any, folder: str) -> Any:
    """Do what can be undone, and say when it is done."""
    enter(folder)
    leave(folder)
    return x


def settlement(folder: str, **options: Any) -> Flow:
    """Reserve and settle, and close beside it, which is what fails."""
    undoing = {"compensate": partial(undo, folder)}
    done = reserve.options(**undoing).s(1, folder=folder)
    done = done >> settle.options(**undoing, **options).s(folder=folder)
    return group(done, close.options(fuse=False).s(2, folder=folder))


SETTLED = ["settle", "end-settle", "undo-settle", "undo-reserve"]


@step(checkpoint=True)
def extract(folder: str, count: int) -> list[int]:
    enter(folder)
    return list(range(count))


@step(checkpoint=True)
def parse(x: int, folder: str) -> int:
    enter(folder)
    return 2 * x


@step(checkpoint=True)
def merge(found: list[int], folder: str) -> int:
    enter(folder)
    return sum(found)


def etl(folder: str, count: int = 10, **options: Any) -> Flow:
    """Extract, parse each, merge, charge with what undoes it, notify."""
    paid = charge.options(compensate=partial(undo, folder), **options)
    return (
        extract.s(folder, count)
        >> parse.s(folder=folder).map()
        >> merge.s(folder=folder)
        >> paid.s(folder=folder)
        >> notify.s(folder=folder)
    )


DONE = "notified of 90"


@step(effect=True, fuse=False)
def send(x: int, folder: str) -> int:
    enter(folder)
    return 10 * x


def sending(folder: str, count: int = 10, **options: Any) -> Flow:
    """Send each of some letters, an effect, and sum up."""
    each = send.options(**options) if options else send
    return each.s(folder=folder).map(range(count), chunk_size=1) >> step(sum)


@step
def double(x: int) -> int:
    return 2 * x


@step(effect=True)
def harm(x: int, folder: str, deed: str) -> int:
    """Do to the process that calls it what a step should not do."""
    enter(folder)
    if deed == "exit":
        sys.exit(3)
    if deed == "interrupt":
        raise KeyboardInterrupt
    if deed == "leave":
        raise GeneratorExit
    if deed == "vanish":
        os._exit(3)
    if deed == "crash":
        ctypes.string_at(0)
    held = []
    while deed == "hoard":
        held.append(bytearray(10_000_000))
        time.sleep(0.01)
    return x
