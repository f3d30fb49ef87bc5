"""A fault at the writes of a run, one after the other: the process dies, or the write fails.

Everything that a run writes is written by one process here, so that the n-th write is
the same each time: files of the store, and commits to the journal. Of each kind of write
the first and the last are broken, and a third of those between: each fault another third.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from chaos import faults, power
from chaos.aftermath import completed_elements, recovered
from chaos.flows import DONE, UNDONE, etl, saga
from chaos.invariants import check
from chaos.kernel import Kernel, NewKernel
from chaos.stage import Stage
from distributed import Client

import nbflow

# In a fork of a kernel that has imported everything, for there are many.
RUN = """
child = os.fork()
if child == 0:
    try:
        if watched:
            power.watch(store)
        nbflow.connect(processes=False, n_workers=1, threads_per_worker=1)
        run = getattr(flows, flow)(folder).submit(store=store)
        if run.wait(30):
            stage.Stage(folder).say(str(run.status))
    finally:
        os._exit(0)
os.waitpid(child, 0)[1]
"""
RESULTS = {"charge": [90] * 9_000, "notify": DONE, "reserve": [5] * 9_000, "ship": [5] * 9_000}
KILLED = 9
ENDS = ("completed", "compensated")
FAULTS = [
    ("kill", "before", 0),
    ("kill", "after", 1),
    ("fail", "before", 2),
    pytest.param(faults.LOSE_POWER, "after", 0, id="row42-M8"),
]
# To die after a write is nearly to die before the next one.
FEWER = [
    ("kill", "before", 1),
    ("fail", "before", 0),
    pytest.param(faults.LOSE_POWER, "before", 2, id="row42-M10"),
]


class Breaker:
    """Runs one flow again and again, and breaks it at another write each time."""

    def __init__(self, kernel: Kernel, folder: Path, flow: str) -> None:
        self._kernel = kernel
        self._folder = folder
        self._flow = flow

    def broken(self, deed: str, when: str, nth: int = 1) -> Stage | None:
        """Run the flow, in which something happens at a write; None if it had fewer writes."""
        folder = self._folder / f"{deed}-{nth}"
        folder.mkdir()
        stage = Stage(folder)
        if self._flow == "saga":
            stage.spoil("close")
        faults.plan(stage.folder, "", when, deed, nth)
        names = {"folder": stage.folder, "store": stage.store, "flow": self._flow}
        status = self._kernel.cell(RUN, watched=deed == faults.LOSE_POWER, **names)
        happened = faults.has_happened(stage.folder)
        faults.let_go(stage.folder)
        assert (status == KILLED) == (happened and deed in ("kill", faults.LOSE_POWER))
        if deed == faults.LOSE_POWER and happened:
            power.restore(stage.store)
        return stage if happened else None

    def writes(self) -> list[str]:
        """Say of what kind each write of the flow is."""
        stage = self.broken("note", "before")
        assert stage is not None
        return [kind_of(each) for each in faults.noted(stage.folder)]


def kind_of(write: str) -> str:
    """Name a write without what is named anew in each run."""
    words = [each for each in write.split("/") if each.isalpha() and len(each) > 2]
    return "/".join(words) or write


def chosen(writes: list[str], third: int) -> list[int]:
    """Number the writes that are broken: the first and last of each kind, and a third."""
    last = {kind: number for number, kind in enumerate(writes, 1)}
    seen = Counter[str]()
    found = []
    for number, kind in enumerate(writes, 1):
        seen[kind] += 1
        if seen[kind] == 1 or number == last[kind] or seen[kind] % 3 == third:
            found.append(number)
    return found


def before(stage: Stage, deed: str, when: str) -> nbflow.Run | None:
    """Give the run as it was left, if it was entered; what was told of it is written down."""
    left = stage.load() if stage.run_ids() else None
    if stage.files("said") and stage.said() in ENDS:
        assert left is not None
        assert left.status == stage.said()
    if left is not None and deed != "fail":
        for name, step in left.state.steps.items():
            # What is recorded as kept, is.
            if step.kept is not None and step.status.succeeded:
                assert left.value(name) is not None
        if when == "after" and "receipts/effects" in faults.where(stage.folder):
            assert left.plan_of_resume().decision[stage.order()[-1]] == "reuse"
    return left


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("deed", "when", "third"), FAULTS)
def test_an_etl_survives_a_fault_at_its_writes(
    deed: str,
    when: str,
    third: int,
    new_kernel: NewKernel,
    cluster: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaker, told = Breaker(new_kernel(own_cluster=False), tmp_path, "etl"), Counter[str]()
    writes = breaker.writes()
    for nth in chosen(writes, third):
        stage = breaker.broken(deed, when, nth)
        if stage is None:
            continue
        left = before(stage, deed, when)
        calls = len(stage.lines("parse"))
        run = recovered(stage, etl(stage.folder), RESULTS)
        counts, where = stage.counts(), f"fault at write {nth}, {faults.where(stage.folder)}"
        if run.status == "compensated":
            # What could not be written down has failed, and so what was done was undone.
            assert deed == "fail", where
            assert (counts["charge"], counts["undo-charge"]) == (1, 1), f"{where}: {counts}"
            assert "notify" not in counts, where
        else:
            assert run.result() == DONE, where
            assert (counts["charge"], counts["notify"]) == (1, 1), f"{where}: {counts}"
            assert "undo-charge" not in counts, where
        told[str(run.status)] += 1
        if left is not None:
            again = {each.element for each in stage.lines("parse")[calls:]}
            assert not again & completed_elements(left, "parse"), where
        check(stage)
    assert sum(told.values()) > 10
    with capsys.disabled():
        print(
            f"\n{sum(told.values())} of {len(writes)} writes of an ETL, each broken once "
            f"({deed} {when}): {told['completed']} came to the end, "
            f"{told['compensated']} were undone"
        )


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("deed", "when", "third"), FEWER)
def test_a_saga_survives_a_fault_at_its_writes(
    deed: str,
    when: str,
    third: int,
    new_kernel: NewKernel,
    cluster: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaker, count = Breaker(new_kernel(own_cluster=False), tmp_path, "saga"), 0
    writes = breaker.writes()
    for nth in chosen(writes, third):
        stage = breaker.broken(deed, when, nth)
        if stage is None:
            continue
        before(stage, deed, when)
        run = recovered(stage, saga(stage.folder), RESULTS)
        counts, order = stage.counts(), stage.order()
        where = f"fault at write {nth}, {faults.where(stage.folder)}"
        assert run.status == "compensated", f"{where}: {run.state.reason}"
        for name in ("charge", "reserve", "ship"):
            assert counts.get(name, 0) <= 1, f"{where}: {counts}"
        undone = [each for each in dict.fromkeys(order) if each.startswith("undo-")]
        inorder = [each for each in UNDONE if each in undone]
        # What could not be claimed has failed, and comes when it is tried again.
        assert undone == inorder or (deed == "fail" and sorted(undone) == sorted(inorder)), where
        for name in undone:
            assert len({each.key for each in stage.lines(name)}) == 1, where
        first = next(number for number, name in enumerate(order) if name.startswith("undo-"))
        assert all(name.startswith("undo-") for name in order[first:]), f"{where}: forward"
        check(stage)
        count += 1
    assert count > 10
    with capsys.disabled():
        print(
            f"\n{count} of {len(writes)} writes of a saga, each broken once ({deed} {when}): "
            f"all were undone"
        )
