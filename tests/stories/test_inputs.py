"""A run that was given inputs, and goes on in a later process with the flow as it is then."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client

import nbflow
from nbflow import step
from nbflow.errors import SignatureError


@step
def double(x: int) -> int:
    return 2 * x


def checked(mark: Path):  # noqa: ANN201 - a step
    @step(name="check")
    def check(x: int, y: int = 0) -> int:
        if not mark.exists():
            raise ValueError("not yet")
        return x + y

    return check


def test_a_flow_that_is_open_gets_its_inputs_again(tmp_path: Path, client: Client) -> None:
    mark = tmp_path / "mark"
    flow = double >> checked(mark)
    run = flow.run(21, raise_on_error=False)
    assert run.status == "failed"
    mark.touch()

    resumed = nbflow.load(run.id).resume(flow)

    assert resumed.result(30) == 42
    assert resumed.steps.status.to_dict() == {"double": "reused", "check": "completed"}


def test_inputs_that_are_frames_are_given_again(tmp_path: Path, client: Client) -> None:
    pd = pytest.importorskip("pandas")
    mark, frame = tmp_path / "mark", pd.DataFrame({"a": [1, 2]})
    total = step(lambda df: int(df.a.sum())).named("total")
    flow = total >> checked(mark)
    run = flow.run(frame, raise_on_error=False)
    mark.touch()

    assert nbflow.load(run.id).resume(flow).result(30) == 3


def test_a_flow_that_has_its_input_is_taken_as_it_is(tmp_path: Path, client: Client) -> None:
    mark = tmp_path / "mark"
    flow = double >> checked(mark)
    run = flow.run(21, raise_on_error=False)
    mark.touch()

    assert nbflow.load(run.id).resume(21 >> flow).result(30) == 42


def test_a_flow_that_is_open_and_was_given_nothing_is_refused(
    tmp_path: Path, client: Client
) -> None:
    mark = tmp_path / "mark"
    flow = double >> checked(mark)
    run = (21 >> flow).run(raise_on_error=False)

    with pytest.raises(SignatureError, match="the flow is open"):
        nbflow.load(run.id).resume(flow)


@pytest.mark.parametrize("policy", [True, False, "auto"])
def test_results_are_kept_as_it_was_said_at_first(
    policy: bool | str, tmp_path: Path, client: Client
) -> None:
    mark = tmp_path / "mark"
    flow = double >> checked(mark) >> double
    run = flow.run(21, raise_on_error=False, checkpoint=policy)
    mark.touch()

    resumed = nbflow.load(run.id).resume()
    resumed.wait(30)

    assert (resumed.state.steps["check"].kept is None) is (policy is False)
    assert resumed._archive.journal.entry(run.id).checkpoint == policy
