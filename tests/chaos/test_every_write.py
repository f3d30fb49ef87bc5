"""A fault at each write of a run, one after the other: the process dies, or the write fails.

Everything that a run writes is written by one process here, so that the n-th write is
the same each time: files of the store, and commits to the journal.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import faults
from chaos.aftermath import completed_elements, recovered
from chaos.flows import DONE, UNDONE, etl, saga
from chaos.invariants import check
from chaos.kernel import Kernel, NewKernel
from chaos.stage import Stage
from distributed import Client

# In a fork of a kernel that has imported everything, for there are many.
RUN = """
child = os.fork()
if child == 0:
    try:
        nbflow.connect(processes=False, n_workers=1, threads_per_worker=1)
        getattr(flows, flow)(folder).submit(store=store).wait(30)
    finally:
        os._exit(0)
os.waitpid(child, 0)[1]
"""
RESULTS = {"charge": [90] * 9_000, "notify": DONE, "reserve": [5] * 9_000, "ship": [5] * 9_000}
KILLED = 9
FAULTS = [("kill", "before"), ("kill", "after"), ("fail", "before")]
# To die after a write is nearly to die before the next one.
FEWER = [("kill", "before"), ("fail", "before")]


def broken(kernel: Kernel, folder: Path, flow: str, deed: str, nth: int, when: str) -> Stage | None:
    """Run a flow in which something happens at a write; None if it had fewer writes."""
    folder.mkdir()
    stage = Stage(folder)
    if flow == "saga":
        stage.spoil("close")
    faults.plan(stage.folder, "", when, deed, nth)
    status = kernel.cell(RUN, flow=flow, folder=stage.folder, store=stage.store)
    happened = faults.has_happened(stage.folder)
    faults.let_go(stage.folder)
    assert (status == KILLED) == (happened and deed == "kill")
    return stage if happened else None


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("deed", "when"), FAULTS)
def test_an_etl_survives_a_fault_at_every_write(
    deed: str,
    when: str,
    new_kernel: NewKernel,
    cluster: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kernel, nth, compensated = new_kernel(own_cluster=False), 0, 0
    while True:
        nth += 1
        stage = broken(kernel, tmp_path / str(nth), "etl", deed, nth, when)
        if stage is None:
            break
        before = stage.load() if stage.run_ids() else None
        calls = len(stage.lines("parse"))
        run = recovered(stage, etl(stage.folder), RESULTS)
        counts = stage.counts()
        if run.status == "compensated":
            # What could not be written down has failed, and so what was done was undone.
            assert deed == "fail"
            assert (counts["charge"], counts["undo-charge"]) == (1, 1), f"write {nth}: {counts}"
            assert "notify" not in counts
            compensated += 1
        else:
            assert run.result() == DONE, f"fault at write {nth}"
            assert (counts["charge"], counts["notify"]) == (1, 1), f"write {nth}: {counts}"
            assert "undo-charge" not in counts
        if before is not None:
            again = {each.element for each in stage.lines("parse")[calls:]}
            assert not again & completed_elements(before, "parse"), f"fault at write {nth}"
        check(stage)
    assert nth > 10
    with capsys.disabled():
        print(
            f"\n{nth - 1} writes of an ETL, each broken once ({deed} {when}): "
            f"{nth - 1 - compensated} came to the end, {compensated} were undone"
        )


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("deed", "when"), FEWER)
def test_a_saga_survives_a_fault_at_every_write(
    deed: str,
    when: str,
    new_kernel: NewKernel,
    cluster: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kernel, nth = new_kernel(own_cluster=False), 0
    while True:
        nth += 1
        stage = broken(kernel, tmp_path / str(nth), "saga", deed, nth, when)
        if stage is None:
            break
        run = recovered(stage, saga(stage.folder), RESULTS)
        counts, order = stage.counts(), stage.order()
        assert run.status == "compensated", f"fault at write {nth}: {run.state.reason}"
        for name in ("charge", "reserve", "ship"):
            assert counts.get(name, 0) <= 1, f"fault at write {nth}: {counts}"
        undone = [each for each in dict.fromkeys(order) if each.startswith("undo-")]
        inorder = [each for each in UNDONE if each in undone]
        # What could not be claimed has failed, and comes when it is tried again.
        assert undone == inorder or (deed == "fail" and sorted(undone) == sorted(inorder)), nth
        for name in undone:
            assert len({each.key for each in stage.lines(name)}) == 1
        first = next(number for number, name in enumerate(order) if name.startswith("undo-"))
        assert all(name.startswith("undo-") for name in order[first:]), f"write {nth}: forward"
        check(stage)
    assert nth > 10
    with capsys.disabled():
        print(f"\n{nth - 1} writes of a saga, each broken once ({deed} {when}): all were undone")
