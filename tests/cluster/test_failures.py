"""What a failing step does to the run, to its neighbours, and to whoever asked for it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tally import Tally

import nbflow
from nbflow import chain, group, step

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("client")]


class OutOfStock(Exception):
    """A user's own exception, with two arguments where `args` has one."""

    def __init__(self, article: str, left: int) -> None:
        super().__init__(f"only {left} of {article}")
        self.article = article
        self.left = left


@step
def order(left: int = 2) -> int:
    raise OutOfStock("tea", left)


@step
def after(x: Any) -> Any:
    return x


@step
def same(*values: Any, **named: Any) -> Any:
    return values, named


@step
def fine(x: int = 1) -> int:
    return x


@pytest.mark.parametrize("fuse", [True, False])
def test_the_users_own_exception_arrives_with_a_note(fuse: bool) -> None:
    flow = (fine >> order >> after).options(fuse=fuse)
    with pytest.raises(OutOfStock) as caught:
        flow.run()
    error = caught.value
    run = nbflow.last_run()
    assert (error.article, error.left, str(error)) == ("tea", 1, "only 1 of tea")
    [note] = error.__notes__
    assert "'order'" in note
    assert run.id in note
    assert run.steps.worker["order"] in note
    assert "nbflow.last_run()" in note
    lines = [(entry.name, str(entry.path)) for entry in caught.traceback]
    assert lines[-1] == ("order", __file__)
    assert sum(path.endswith("nbflow/worker/worker.py") for _, path in lines) == 0


def test_asking_again_raises_the_same_without_growing() -> None:
    run = (fine >> order).run(raise_on_error=False)
    assert run.status == "failed"
    lengths = []
    for _ in range(3):
        with pytest.raises(OutOfStock) as caught:
            run.result()
        lengths.append((len(caught.traceback), len(caught.value.__notes__)))
    assert len(set(lengths)) == 1


def test_notes_of_the_user_stay_and_ours_is_added() -> None:
    @step
    def noted() -> None:
        error = ValueError("bad")
        error.add_note("the user's own note")
        raise error

    with pytest.raises(ValueError, match="bad") as caught:
        noted.run()
    assert caught.value.__notes__[0] == "the user's own note"
    assert "nbflow.last_run()" in caught.value.__notes__[1]


def test_the_chain_of_causes_is_kept() -> None:
    @step
    def caused() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise OutOfStock("tea", 0) from error

    @step
    def handled() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904

    with pytest.raises(OutOfStock) as caught:
        caused.run()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None
    with pytest.raises(ValueError, match="second") as other:
        handled.run()
    assert isinstance(other.value.__context__, KeyError)


def test_independent_branches_finish_and_dependents_are_skipped(tally: Tally) -> None:
    beside = step(tally.counting("beside", lambda x: x))
    never = step(tally.counting("never", lambda x: x))
    last = step(tally.counting("last", lambda xs: xs))
    run = group(fine >> order >> never >> never.s() >> last, fine >> beside).run(
        raise_on_error=False
    )
    assert tally.counts() == {"beside": 1}
    assert dict(run.steps.status) == {
        "fine": "completed",
        "order": "failed",
        "never": "skipped",
        "never_2": "skipped",
        "last": "skipped",
        "beside": "completed",
    }
    assert run.steps.reason["order"] == "OutOfStock: only 1 of tea"
    assert run.steps.reason["last"] == "order failed"
    assert run.value("beside") == 1


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize(
    "edge", ["only", "tuple", "dict", "argument", "keyword", "deep argument", "order only", "list"]
)
def test_a_failure_skips_through_every_kind_of_edge(edge: str, fuse: bool) -> None:
    bad, good = order.s(1), fine.s(2)
    flow = {
        "only": bad >> same,
        "tuple": (good, bad) >> same,
        "dict": {"a": good, "b": bad} >> same,
        "argument": good >> same.s(bad),
        "keyword": good >> same.s(k=bad),
        "deep argument": good >> same.s({"x": [1, (bad, 2)]}),
        "order only": bad >> same.si(),
        "list": [good, bad] >> same,
    }[edge]
    run = (flow >> after).options(fuse=fuse).run(raise_on_error=False)
    assert run.steps.status["same"] == "skipped"
    assert run.steps.status["after"] == "skipped"
    assert run.steps.reason["after"] == "order failed"
    with pytest.raises(nbflow.RunError, match="'after' has no value: it is skipped") as caught:
        run.value("after")
    assert "order failed" in str(caught.value)


def test_several_failures_are_listed() -> None:
    @step
    def bad(x: int) -> int:
        raise ValueError(f"bad {x}")

    flow = group(bad.s(i).named(f"flow {i}") for i in range(9))
    with pytest.raises(ValueError, match="bad") as caught:
        flow.run()
    [note] = caught.value.__notes__
    assert "also failed" in note
    assert "and 3 more" in note
    assert note.count("ValueError: bad") == 5


def test_no_raise_gives_the_run() -> None:
    run = order.run(raise_on_error=False)
    assert run is nbflow.last_run()
    assert isinstance(run.error("order"), OutOfStock)
    assert run.error("order") is run.error("order")
    with pytest.raises(nbflow.RunError, match="'order' has no value: it is failed") as caught:
        run["order"]
    assert isinstance(caught.value.__cause__, OutOfStock)
    with pytest.raises(OutOfStock):
        run.result()


def test_the_run_is_reachable_after_a_failure() -> None:
    with pytest.raises(OutOfStock):
        (fine >> [order, after]).run()
    run = nbflow.last_run()
    assert run.value("after") == 1
    assert run.error("after") is None
    assert run.log("after") == ""


def test_a_failing_first_step_of_a_long_chain_skips_the_rest() -> None:
    run = chain(order.s(1), *[after] * 500).run(raise_on_error=False)
    assert run.steps.status.value_counts().to_dict() == {"skipped": 500, "failed": 1}
    assert set(run.steps.reason[1:]) == {"order failed"}


def test_the_failure_of_one_lane_leaves_the_others_alone() -> None:
    @step
    def picky(x: int) -> int:
        if x % 3 == 0:
            raise ValueError(f"no {x}")
        return x

    flow = group(picky.s(i) >> after for i in range(12))
    for run in (flow.run(raise_on_error=False), flow.options(fuse=False).run(raise_on_error=False)):
        steps = run.steps
        names = ["picky", *(f"picky_{i}" for i in range(2, 13))]
        assert [steps.status[name] for name in names] == ["failed", "completed", "completed"] * 4
        assert run.value("after_2") == 1
        assert steps.reason["after_4"] == "picky_4 failed"


def test_a_wrong_call_of_a_callable_without_signature_is_a_failure() -> None:
    with pytest.raises(TypeError):
        (1 >> step(dict)).run()
    assert nbflow.last_run().steps.status["dict"] == "failed"


def test_runs_that_nobody_holds_are_forgotten(client: Any) -> None:
    def live() -> int:
        gc.collect()
        return sum("forgettable" in key for key in client.futures)

    forgettable = step(lambda: 1).named("forgettable")
    for _ in range(5):
        forgettable.run().result()
    fine.run()
    assert live() == 0
    assert not [topic for topic in client._event_handlers if topic.startswith("nbflow-")][1:]


def test_a_failed_step_writes_nothing_to_the_workers_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    order.run(raise_on_error=False)
    captured = capfd.readouterr()
    assert "OutOfStock" not in captured.out + captured.err
