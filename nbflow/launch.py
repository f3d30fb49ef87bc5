"""Starting a flow on Dask, and waiting for its end: ``flow.run()``, ``submit()``, ``arun()``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from nbflow.cluster import current_client
from nbflow.engine import Execution
from nbflow.errors import FlowError, UnsupportedError, did_you_mean, quoted
from nbflow.evaluate import bound_params
from nbflow.flow import Flow
from nbflow.run import Run, begun, new_run_id

# So long after an interrupt a second one cancels the run.
_SECOND_THOUGHTS_SECONDS = 1.0
_OPTIONS = ("params", "cluster", "raise_on_error")
_LATER = ("store", "key", "display", "checkpoint", "fail_fast")


def submit(
    flow: Flow,
    *inputs: Any,
    params: dict[str, Any] | None = None,
    cluster: Any = None,
    **later: Any,
) -> Run:
    """Start a flow on Dask, and return at once.

    Parameters
    ----------
    flow
        What to run.
    inputs
        Arguments for every open first step.
    params
        Values of the flow's parameters.
    cluster
        A scheduler's address, a client or a cluster, instead of the current one.
    later
        Options that do not work in this version.

    Raises
    ------
    FlowError, ParamError
        If the flow cannot run as it is.
    TransferError
        If something in it cannot be sent to the workers.
    ClusterError
        If there is no cluster.
    """
    _refuse(later)
    ready = flow.ready(*inputs)
    bound = bound_params(ready.topology, params or {})
    client = current_client(cluster)
    execution = Execution(ready.topology, bound, client, new_run_id(), flow.name)
    return begun(ready, execution, bound)


def run(flow: Flow, *inputs: Any, raise_on_error: bool = True, **options: Any) -> Run:
    """Start a flow as `submit` does, and wait for its end."""
    __tracebackhide__ = True  # what IPython's tracebacks leave out
    started = submit(flow, *inputs, **options)
    wait_for_end(started)
    started.wait_for_handlers()
    if raise_on_error:
        started.raise_for_error()
    return started


async def arun(flow: Flow, *inputs: Any, raise_on_error: bool = True, **options: Any) -> Run:
    """Start a flow as `submit` does, and leave the event loop free until its end."""
    started = await asyncio.to_thread(submit, flow, *inputs, **options)
    await asyncio.to_thread(started.wait)
    await asyncio.to_thread(started.wait_for_handlers)
    if raise_on_error:
        started.raise_for_error()
    return started


def wait_for_end(started: Run) -> None:
    """Wait for a run; an interrupt ends the waiting, and not the run.

    Raises
    ------
    KeyboardInterrupt
        Saying that the run goes on, and where it is found.
    """
    __tracebackhide__ = True
    try:
        started.wait()
    except KeyboardInterrupt:
        said = f"stopped waiting; run {quoted(started.id)} goes on"
        sys.stderr.write(f"{said} (interrupt once more to cancel it)\n")
    else:
        return
    try:
        started.wait(_SECOND_THOUGHTS_SECONDS)
    except KeyboardInterrupt:
        started.cancel()
        raise KeyboardInterrupt(f"run {quoted(started.id)} was cancelled") from None
    raise KeyboardInterrupt(
        f"stopped waiting; run {quoted(started.id)} goes on, and nbflow.last_run() is it"
    ) from None


def _refuse(later: dict[str, Any]) -> None:
    for name, value in later.items():
        if name in _OPTIONS:
            continue  # means something only to those who wait
        if name not in _LATER:
            raise FlowError(
                f"run has no option {quoted(name)}; {did_you_mean(name, _OPTIONS)}; a run-time "
                f"parameter is given with params={{{name!r}: …}}, an input by position"
            )
        if value is not None and value is not False:
            raise UnsupportedError(
                f"the run option {quoted(name)} does not work in this version of nbflow; leave it "
                f"out"
            )
