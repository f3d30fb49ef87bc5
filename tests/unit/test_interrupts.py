"""Interrupts come when they can be dealt with, whenever they were sent."""

from __future__ import annotations

import signal
import threading

import pytest

from nbflow.running.interrupts import held_back, let_through


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_until_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        done.append("what must not be left half begun")
    assert done


def test_a_second_interrupt_does_not_wait() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        done.append("first")
        interrupt()
        done.append("second")
    assert done == ["first"]


def test_an_interrupt_that_waits_comes_where_it_may() -> None:
    done = []
    with held_back():
        interrupt()
        with pytest.raises(KeyboardInterrupt), let_through():
            done.append("never")
        done.append("after")
    assert done == ["after"]


def test_an_interrupt_comes_at_once_where_it_may_and_the_next_one_waits() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        try:
            with let_through():
                interrupt()
                done.append("never")
        except KeyboardInterrupt:
            interrupt()
            done.append("dealt with")
    assert done == ["dealt with"]


def test_nested_blocks_are_one() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        with held_back():
            interrupt()
        done.append("inner")
    assert done == ["inner"]


def test_what_fails_fails_as_it_did() -> None:
    with pytest.raises(ValueError, match="its own"), held_back():
        interrupt()
        raise ValueError("its own")


def test_the_handler_that_was_there_is_there_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held_back():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_other_threads_hold_nothing_back() -> None:
    seen = []

    def elsewhere() -> None:
        with held_back(), let_through():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
