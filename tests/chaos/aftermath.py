"""What is done about a run that stopped somewhere: it is resumed, and doubts are cleared up."""

from __future__ import annotations

from typing import Any

from chaos.stage import Stage

import nbflow
from nbflow.algebra.flow import Flow

_SECONDS = 40.0
# A run is in doubt about one step after the other, at most.
_MOST = 8


def recovered(stage: Stage, flow: Flow, results: dict[str, Any]) -> nbflow.Run:
    """Go on with the run of a stage until it has ended, or run it, if there is none.

    Parameters
    ----------
    flow
        What is run if nothing was entered.
    results
        What effects give: that is said of one in doubt that was called.
    """
    if not stage.run_ids():
        assert stage.counts() == {}, "called before the run was entered"
        assert flow.submit(store=stage.store).wait(_SECONDS)
    run = stage.load()
    assert run.status.final, f"the run is {run.status} though nobody drives it"
    for _ in range(_MOST):
        doubts = [name for name, step in run.state.steps.items() if step.doubts]
        for name in doubts:
            called = stage.counts().get(name, 0)
            said = {"completed": results[name]} if called else {"retry": True}
            run = run.resolve(name, **said)
        if not doubts and run.status not in ("interrupted", "failed"):
            return run
        run = run.resume()
        assert run.wait(_SECONDS), f"the run does not end: {run.steps}"
    undoing = {name: step.undone for name, step in run.state.steps.items() if step.undone}
    raise AssertionError(f"the run stops again and again: {run.state.reason}; {undoing}")


def completed_elements(run: nbflow.Run, step: str) -> set[str]:
    """Name the elements of a step that ended well, and whose results are kept."""
    state = run.state.steps[step]
    done = {
        number
        for part in state.elements
        for number, status in enumerate(part.statuses, part.start)
        if status.succeeded
    }
    kept = {
        n for part in state.elements for each in part.kept for n in range(each.start, each.stop)
    }
    return {str(number) for number in done & kept}
