"""What cannot be meant, where only a run can know it: it fails by name, and hangs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nbflow
from nbflow import (
    Flow,
    FlowError,
    RunCancelledError,
    RunError,
    SignatureError,
    TryAgain,
    UnknownStepError,
    branch,
    context,
    group,
    step,
    switch,
)
from nbflow.running.run import Run

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("client")]

both = pytest.mark.parametrize("fuse", [True, False])


@step
def one() -> int:
    return 1


@step
def inc(x: Any) -> Any:
    return x + 1


@step
def pair(left: Any, right: Any) -> Any:
    return left, right


@step
def total(values: Any) -> Any:
    return sum(values)


@step
def picky(x: int) -> int:
    if x == 1:
        raise ValueError("no 1")
    return x


@step
def patient(folder: str) -> None:
    Path(folder, "running").touch()
    while not context().cancelled:
        pass


def boom(*_: Any) -> Any:
    raise KeyError("the user's own")


class Endless:
    def __iter__(self) -> Any:
        return itertools.count()


class Broken:
    def __iter__(self) -> Any:
        raise OSError("no disk")


def frame(*_: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2]})


def ended(flow: Flow, **options: Any) -> Run:
    """Run a flow, and tell how it ended; `call` must raise the same."""
    run = flow.run(raise_on_error=False, **options)
    with pytest.raises(BaseException) as here:
        flow.call()
    with pytest.raises(type(here.value)) as there:
        run.result()
    assert str(there.value) == str(here.value)
    return run


# What a step gives cannot be used as it was meant


@both
@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (lambda: 5, FlowError, "cannot go over '5', of type int"),
        (lambda: "abc", FlowError, "of type str; for one element put it into a list"),
        (lambda: {"a": 1}, FlowError, "of type dict; write list(the_dict.items())"),
        (lambda: None, FlowError, "of type NoneType"),
        (lambda: {1, 2}, FlowError, "a set has no order"),
        (Endless, FlowError, "more than 1,000,000 elements"),
        (Broken, OSError, "no disk"),
    ],
)
def test_a_map_over_what_is_no_list(
    given: Callable[[], Any], error: type[Exception], said: str, fuse: bool
) -> None:
    flow = group(step(given, name="given") >> inc.map() >> total, one).options(fuse=fuse)
    run = ended(flow)
    assert dict(run.steps.status) == {
        "given": "completed",
        "inc": "failed",
        "total": "skipped",
        "one": "completed",
    }
    assert run.steps.reason["total"] == "inc failed"
    assert isinstance(run.error("inc"), error)
    assert said in str(run.error("inc"))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ([1, 2], SignatureError, "a tuple of arguments"),
        (["ab"], SignatureError, "a tuple of arguments"),
        ([(1, 2, 3)], TypeError, "takes 2 positional arguments but 3 were given"),
        ([(1,)], TypeError, "missing 1 required positional argument"),
    ],
)
def test_a_starmap_over_what_does_not_fit(given: Any, error: type[Exception], said: str) -> None:
    run = ended(step(lambda: given, name="given") >> pair.starmap() >> step(len))
    assert isinstance(run.error("pair"), error)
    assert said in str(run.error("pair"))
    assert run.steps.status["len"] == "skipped"


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("key", "error", "said"),
    [
        (lambda x: "same", FlowError, "have the key 'same', numbers 0 and 1"),
        (lambda x: f"k{x % 500}", FlowError, "have the key 'k0', numbers 0 and 500"),
        (lambda x: " ", FlowError, "the key of the item 0 of the map of 'inc' is ' '"),
        (lambda x: None, FlowError, "the key of the item 0 of the map of 'inc' is None"),
        (boom, KeyError, "the user's own"),
    ],
)
def test_keys_that_name_nothing_fail_the_map(
    key: Callable[[Any], Any], error: type[Exception], said: str, late: bool
) -> None:
    items = step(range).s(600) if late else range(600)
    run = ended(inc.map(items, key=key) >> total)
    assert isinstance(run.error("inc"), error)
    assert said in str(run.error("inc"))
    assert run.steps.reason["total"] == "inc failed"


def test_fewer_keys_than_elements_that_came_late() -> None:
    run = ended(step(range).s(3) >> inc.map(key=["a", "b"]) >> total)
    assert "'inc' has 2 keys for 3 elements" in str(run.error("inc"))


@both
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (boom, KeyError, "the user's own"),
        (frame, FlowError, "returned a DataFrame"),
        (lambda x: "mars", FlowError, "which is none of the cases 'eu', 'us'; add the case"),
    ],
)
def test_a_selector_that_selects_nothing_takes_its_arms_along(
    answer: Callable[..., Any], error: type[Exception], said: str, fuse: bool
) -> None:
    arms = {"eu": inc.named("eu"), "us": inc.named("us")}
    flow = one >> switch(step(answer, name="region"), arms) >> inc
    run = ended(flow.options(fuse=fuse))
    assert run.steps.status.to_dict() == {
        "one": "completed",
        "region": "failed",
        "eu": "skipped",
        "us": "skipped",
        "inc": "skipped",
    }
    assert isinstance(run.error("region"), error)
    assert said in str(run.error("region"))
    assert set(run.steps.reason[["eu", "us", "inc"]]) == {"region failed"}


@both
@pytest.mark.parametrize(("answer", "error"), [(boom, KeyError), (frame, FlowError)])
def test_a_predicate_that_does_not_say_fails_what_it_guards(
    answer: Callable[..., Any], error: type[Exception], fuse: bool
) -> None:
    guarded = inc.options(when=answer)
    run = ended((one >> guarded >> step(str)).options(fuse=fuse))
    assert dict(run.steps.status) == {"one": "completed", "inc": "failed", "str": "skipped"}
    assert isinstance(run.error("inc"), error)
    judged = branch(step(answer, name="judge"), inc, step(str))
    run = ended((one >> judged).options(fuse=fuse))
    assert list(run.steps.status) == ["completed", "failed", "skipped", "skipped"]
    assert isinstance(run.error("judge"), error)


def test_a_predicate_of_the_wrong_arity_starts_nothing() -> None:
    before = (1 >> inc).run()
    with pytest.raises(SignatureError, match="predicate 'lambda' of step 'inc' lacks 'b'"):
        (one >> inc.options(when=lambda a, b: True)).run()
    assert nbflow.last_run() is before


def test_asking_for_another_attempt_at_no_time_is_an_error_of_the_step() -> None:
    @step
    def asks() -> None:
        raise TryAgain(-1)

    run = ended(asks.s())
    assert "the delay of TryAgain is -1" in str(run.error("asks"))
    assert run.steps.attempts["asks"] == 1


# What is asked of a run that has nothing of the kind


def test_there_is_nothing_to_redrive() -> None:
    for flow in (1 >> inc, inc.map([1, 2], on_error="collect"), picky.map([1, 2]), 1 >> picky):
        run = flow.run(raise_on_error=False)
        assert run.dead_letters.empty
        assert list(run.dead_letters) == ["step", "element", "input", "error", "attempts"]
        with pytest.raises(RunError, match="no dead letters, so there is nothing to redrive") as no:
            run.redrive()
        assert f"'{run.id}'" in str(no.value)
        assert '.map(on_error="collect")' in str(no.value)
        assert nbflow.last_run() is run


def test_a_run_is_redriven_only_after_its_end(tmp_path: Path) -> None:
    flow = group(picky.map([1, 2], on_error="collect"), patient.s(str(tmp_path)))
    run = flow.submit()
    with pytest.raises(RunError, match="is running; wait for its end first"):
        run.redrive()
    run.cancel()
    assert run.wait(30)


def test_cancelling_twice_changes_nothing(tmp_path: Path) -> None:
    run = (patient.s(str(tmp_path)) >> inc).submit()
    run.cancel()
    run.cancel()
    assert run.wait(30)
    events = len(run.events)
    run.cancel()
    assert (run.status, len(run.events)) == ("cancelled", events)
    assert run.steps.status["inc"] == "cancelled"
    for ask in (run.result, run.raise_for_error):
        with pytest.raises(RunCancelledError, match=f"run '{run.id}' is cancelled"):
            ask()
    with pytest.raises(RunError, match="nothing to redrive"):
        run.redrive()


@pytest.mark.parametrize(("x", "status"), [(1, "failed"), (2, "completed")])
def test_cancelling_after_the_end_changes_nothing(x: int, status: str) -> None:
    run = (x >> picky).run(raise_on_error=False)
    events = run.events
    run.cancel()
    run.cancel()
    assert (run.status, run.events) == (status, events)
    if status == "completed":
        assert run.result() == 2
    else:
        with pytest.raises(ValueError, match="no 1"):
            run.result()
    assert (1 >> inc).run().result() == 2


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("pick", "did you mean 'picky'"),
        ("nothing", "there are 'picky', 'total'"),
        ("picky[3]", "did you mean 'picky'"),
        ("picky[-1]", "did you mean 'picky'"),
        ("picky[x]", "did you mean 'picky'"),
        ("total[0]", "did you mean 'total'"),
        ("picky[", "did you mean 'picky'"),
        ("", "there are 'picky', 'total'"),
        (None, "no step 'None'"),
        (7, "no step '7'"),
        (["total"], "did you mean 'total'"),
        (inc, "no step 'inc'"),
        (group(total), "ends in no step; name the step"),
    ],
)
def test_a_step_that_the_run_does_not_have(which: Any, said: str) -> None:
    run = (picky.map([0, 2, 3]) >> total).run()
    for ask in (run.replay, run.value, run.error, run.log, run.preview, run.__getitem__):
        with pytest.raises(UnknownStepError) as caught:
            ask(which)
        assert said in str(caught.value)


def test_what_cannot_be_computed_again_for_want_of_its_inputs() -> None:
    run = (1 >> picky >> inc).run(raise_on_error=False)
    with pytest.raises(RunError, match="'inc' cannot be replayed: its input 'picky' has no value"):
        run.replay("inc")
    with pytest.raises(ValueError, match="no 1"):
        run.replay("picky")


def test_an_arm_that_was_not_taken_can_be_tried() -> None:
    run = (one >> branch(lambda x: x > 3, inc, step(str))).run()
    with pytest.raises(RunError, match="'inc' has no value: it is skipped; lambda was False"):
        run.value("inc")
    assert run.replay("inc") == 2
    assert run.steps.status["inc"] == "skipped"


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "x", True])
def test_a_time_to_wait_that_is_no_number_of_seconds(timeout) -> None:
    run = one.submit()
    with pytest.raises(FlowError, match="the timeout is .* a finite number of seconds"):
        run.wait(timeout)
    assert run.result(timeout=60) == 1
