"""Runs in later processes: read without a cluster, found by a key, driven by one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from stories.nursery import Forked, Nursery

import nbflow
from nbflow import step

pytestmark = [pytest.mark.timeout(120)]

FLOW = """
import os, sys, time
from pathlib import Path
import pandas as pd
import nbflow
from nbflow import step

folder = Path(sys.argv[1])

@step
def load(rows):
    with open(folder / "ledger", "a") as file:
        file.write("load\\n")
    # What takes so long is told of at once.
    time.sleep(0.1)
    print("loading", rows)
    return pd.DataFrame({"a": range(rows)})

@step
def wait(df):
    with open(folder / "ledger", "a") as file:
        file.write("wait\\n")
    while not (folder / "gate").exists():
        time.sleep(0.01)
    return df

@step
def total(df):
    return int(df.a.sum())

flow = 5 >> load >> wait >> total
"""


class Kernels:
    """Processes that do what a notebook's kernel does, and share the store of a folder."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder, self.nursery = folder, nursery
        self.started: list[Forked | subprocess.Popen[str]] = []
        self.environment = {"NBFLOW_STORE": str(folder / "store")}

    def __call__(self, code: str) -> Forked:
        """Start one that is on the shared cluster."""
        path, folder = self._script(code), str(self.folder)
        self.started.append(self.nursery.script(path, folder, environment=self.environment))
        return self.started[-1]

    def with_its_own_cluster(self, code: str) -> subprocess.Popen[str]:
        """Start one as a shell does, of which nothing is left when it is killed."""
        connect = "nbflow.connect(n_workers=2, threads_per_worker=1)\n"
        process = subprocess.Popen(
            [sys.executable, str(self._script(connect + code)), str(self.folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        self.started.append(process)
        return process

    def _script(self, code: str) -> Path:
        path = self.folder / f"kernel-{len(self.started)}.py"
        main = textwrap.indent(textwrap.dedent(code), "    ")
        path.write_text(f"{FLOW}\nif __name__ == '__main__':\n{main}\n")
        return path


@pytest.fixture
def kernels(tmp_path: Path, nursery: Nursery) -> Iterator[Kernels]:
    kernels = Kernels(tmp_path, nursery)
    yield kernels
    # Nothing may be left on the cluster that waits for it.
    (tmp_path / "gate").touch()
    for each in kernels.started:
        if each.poll() is None:
            each.kill()
            each.wait()
        each.stdout.close()


def said(kernel: Forked) -> str:
    out, errors = kernel.communicate(timeout=60)
    assert kernel.returncode == 0, errors
    return out.strip()


def killed(kernel: Forked | subprocess.Popen[str]) -> None:
    kernel.kill()
    kernel.wait()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def ledger(folder: Path) -> list[str]:
    file = folder / "ledger"
    return file.read_text().split() if file.exists() else []


def until_it_waits(folder: Path) -> None:
    """Wait until a run is at its second step, and it is written down how the first has ended."""
    until(lambda: "wait" in ledger(folder))
    [run_id] = nbflow.runs(folder / "store")["id"]
    until(lambda: nbflow.load(run_id, folder / "store").steps.status["load"] == "completed")


def test_a_later_process_reads_everything_without_a_cluster(
    kernels: Kernels, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    first = said(kernels("run = flow.run(); print(run.id)"))
    second = said(
        kernels(
            f"""
            run = nbflow.load({first!r})
            print(run.status, run.result(), len(run["load"]), run.log("load").strip())
            print(run.steps["status"].tolist(), run.preview("load").shape, len(run.events) > 2)
            print(run.flow.steps, "svg" in run.flow.show().svg, nbflow.runs()["id"].tolist())
            from nbflow.running import cluster
            print(cluster._own, cluster._named, "completed" in repr(run))
            """
        )
    )
    assert second.splitlines() == [
        "completed 10 5 loading 5",
        "['completed', 'completed', 'completed'] (5, 1) True",
        f"['load', 'wait', 'total'] True ['{first}']",
        "None {} True",
    ]


def test_a_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(nbflow.RunNotFoundError, match="no run 'nothing'"):
        nbflow.load("nothing", tmp_path)


def test_the_name_of_a_run_that_is_almost_right(kernels: Kernels, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    run_id = said(kernels("print(flow.run().id)"))
    with pytest.raises(nbflow.RunNotFoundError, match=f"did you mean '{run_id}'"):
        nbflow.load(run_id[:-1] + "x", tmp_path / "store")


SUBMIT = "run = flow.submit(); print(run.id, flush=True); run.wait()"


def test_a_killed_kernel_and_a_new_one_that_goes_on(kernels: Kernels, tmp_path: Path) -> None:
    first = kernels.with_its_own_cluster(SUBMIT)
    until_it_waits(tmp_path)
    killed(first)
    run_id = first.stdout.readline().strip()
    [listed] = nbflow.runs(tmp_path / "store").to_dict("records")
    assert (listed["id"], listed["status"], listed["flow"]) == (run_id, "interrupted", "total")
    (tmp_path / "gate").touch()
    second = kernels(f"run = nbflow.load({run_id!r}).resume()\nprint(run.result(30), run.status)")
    assert said(second) == "10 completed"
    assert ledger(tmp_path) == ["load", "wait", "wait"]


def test_nobody_drives_a_run_that_somebody_else_drives(kernels: Kernels, tmp_path: Path) -> None:
    first = kernels(SUBMIT)
    run_id = first.stdout.readline().strip()
    until(lambda: "wait" in ledger(tmp_path))
    run = nbflow.load(run_id, tmp_path / "store")
    assert run.status == "running"
    with pytest.raises(nbflow.RunError, match=f"process {first.pid}"):
        run.resume()
    with pytest.raises(nbflow.RunError, match="driven by another process"):
        run.cancel()
    (tmp_path / "gate").touch()
    assert run.wait(30)
    assert (run.status, run.result()) == ("completed", 10)


def test_two_notebooks_with_one_key_are_one_run(kernels: Kernels, tmp_path: Path) -> None:
    code = "run = flow.submit(key='daily'); print(run.id, run.result(60))"
    both = [kernels(code), kernels(code)]
    until(lambda: "wait" in ledger(tmp_path))
    (tmp_path / "gate").touch()
    one, other = map(said, both)
    assert one == other
    assert one.split()[1] == "10"
    assert ledger(tmp_path) == ["load", "wait"]
    # And later still.
    assert said(kernels(code)) == one
    assert ledger(tmp_path) == ["load", "wait"]


def test_a_key_whose_kernel_was_killed_goes_on(kernels: Kernels, tmp_path: Path) -> None:
    first = kernels.with_its_own_cluster("run = flow.submit(key='daily'); run.wait()")
    until_it_waits(tmp_path)
    killed(first)
    (tmp_path / "gate").touch()
    assert said(kernels("print(flow.run(key='daily').result())")) == "10"
    assert ledger(tmp_path) == ["load", "wait", "wait"]
    assert len(nbflow.runs(tmp_path / "store")) == 1


@step
def double(x: Any) -> Any:
    return 2 * x


@step
def triple(x: Any) -> Any:
    return 3 * x


def test_a_key_is_of_one_flow_with_its_inputs(client: Client, tmp_path: Path) -> None:
    run = (1 >> double).run(key="k", store=tmp_path)
    assert (1 >> double).run(key="k", store=tmp_path).id == run.id
    for other in (2 >> double, 1 >> triple, 1 >> double >> triple):
        with pytest.raises(nbflow.IdempotencyError, match=f"the key 'k' is that of run '{run.id}'"):
            other.run(key="k", store=tmp_path)


@pytest.mark.parametrize("key", ["", "  ", "\n", "a\0b", 3, b"k", "x" * 2000])
def test_a_key_that_names_nothing_is_refused(client: Client, key: Any) -> None:
    with pytest.raises(nbflow.IdempotencyError, match="the key is"):
        (1 >> double).run(key=key)


def test_a_key_needs_a_record(client: Client) -> None:
    with pytest.raises(nbflow.StoreError, match="store=False keeps none"):
        (1 >> double).run(key="k", store=False)


def test_a_failed_run_of_a_key_is_tried_again(client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    @step
    def check(x: int) -> int:
        if not flag.exists():
            raise OSError("not yet")
        return x

    flow = 1 >> double >> check
    first = flow.run(key="k", store=tmp_path / "s", raise_on_error=False)
    flag.touch()
    again = flow.run(key="k", store=tmp_path / "s")
    assert (again.id, again.result()) == (first.id, 2)
    assert again.steps["status"].to_dict() == {"double": "reused", "check": "completed"}


def test_changed_code_runs_again_with_what_follows(client: Client, tmp_path: Path) -> None:
    @step
    def check(x: int) -> int:
        raise ValueError("a mistake")

    run = (1 >> double >> check >> triple).run(store=tmp_path, raise_on_error=False)
    original = check

    @step
    def check(x: int) -> int:
        return x + 1

    assert original != check
    plan = run.plan_of_resume(1 >> double >> check >> triple)
    assert plan["decision"].to_dict() == {"double": "reuse", "check": "run", "triple": "run"}
    resumed = run.resume(1 >> double >> check >> triple)
    assert resumed.result(30) == 9
    # The new code is what later ones go on with.
    assert nbflow.load(run.id, tmp_path).result() == 9


def test_an_effect_is_kept_though_its_code_changed(client: Client, tmp_path: Path) -> None:
    @step(effect=True)
    def send(x: int) -> int:
        return x + 100

    def failing(x: int) -> int:
        raise ValueError("a mistake")

    run = (1 >> send >> step(failing)).run(store=tmp_path, raise_on_error=False)

    @step(effect=True)
    def send(x: int) -> int:
        return x + 200

    def mended(x: int) -> int:
        return x

    flow = 1 >> send >> step(mended).named("failing")
    plan = run.plan_of_resume(flow)
    assert plan.loc["send", "decision"] == "reuse"
    assert (
        "its code changed, but it has an effect and is not repeated" in plan.loc["send", "reason"]
    )
    assert run.resume(flow).result(30) == 101


def test_another_graph_is_refused_with_the_difference(client: Client, tmp_path: Path) -> None:
    def failing(x: int) -> int:
        raise ValueError

    run = (1 >> double >> step(failing)).run(store=tmp_path, raise_on_error=False)
    with pytest.raises(nbflow.FlowError, match=r"(?s)not that of run.*\+ .*triple"):
        run.resume(1 >> double >> triple >> step(failing))


def test_a_renamed_step_is_the_step_that_it_was(client: Client, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    def check(x: int) -> int:
        if not flag.exists():
            raise OSError
        return x

    run = (1 >> double >> step(check)).run(store=tmp_path / "s", raise_on_error=False)
    flag.touch()
    flow = 1 >> double.named("twice") >> step(check)
    with pytest.raises(nbflow.FlowError, match="renamed="):
        run.resume(flow)
    resumed = run.resume(flow, renamed={"double": "twice"})
    assert resumed.result(30) == 2
    assert resumed.steps["status"].to_dict() == {"twice": "reused", "check": "completed"}
    later = nbflow.load(run.id, tmp_path / "s")
    assert (list(later.steps.index), later.value("twice")) == (["twice", "check"], 2)


def test_a_finished_run_has_nothing_left(client: Client, tmp_path: Path) -> None:
    run = (1 >> double).run(store=tmp_path)
    with pytest.raises(nbflow.RunError, match="nothing left to do"):
        run.resume()
    assert nbflow.load(run.id, tmp_path).status == "completed"


def test_dead_letters_are_redriven_in_a_later_process(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"

    def parse(x: int) -> int:
        if x == 2 and not flag.exists():
            raise ValueError("no number")
        return x * 10

    flow = step(parse).map([1, 2, 3], on_error="collect") >> step(sum)
    run = flow.run(store=tmp_path / "s", checkpoint=True)
    assert run.result() == 40
    from nbflow.record.archive import Archive
    from nbflow.running.history import loaded

    later = loaded(run.id, Archive.of(tmp_path / "s"))
    assert later.dead_letters["input"].tolist() == [2]
    flag.touch()
    redriven = later.redrive()
    assert redriven.result(30) == 60
    assert redriven.steps["status"].to_dict() == {"parse": "completed", "sum": "completed"}
    again = loaded(redriven.id, Archive.of(tmp_path / "s"))
    assert (again.status, again.result(), again.state.steps["parse"].done) == ("completed", 60, 3)


def test_a_large_input_is_a_file_of_its_own_and_written_once(
    client: Client, tmp_path: Path
) -> None:
    import numpy as np

    flow = np.arange(1_000_000) >> step(len)
    first = flow.run(store=tmp_path)
    flow.run(store=tmp_path)
    [file] = (tmp_path / "flows").iterdir()
    assert (tmp_path / "journal.sqlite").stat().st_size < 1_000_000
    from nbflow.record.archive import Archive
    from nbflow.running.history import loaded

    assert loaded(first.id, Archive.of(tmp_path)).flow.steps == ["len"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(nbflow.StoreError, match="is damaged"):
        loaded(first.id, Archive.of(tmp_path))
    file.unlink()
    with pytest.raises(nbflow.StoreError, match="is missing"):
        loaded(first.id, Archive.of(tmp_path))


def test_a_store_that_was_named_in_short_is_found_from_elsewhere(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbflow.record.archive import Archive
    from nbflow.running.history import loaded

    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    run = (list(range(10_000)) >> step(list)).run(store="runs", checkpoint=True)
    monkeypatch.chdir(tmp_path)
    assert loaded(run.id, Archive.of(tmp_path / "project" / "runs")).result()[-1] == 9_999
    assert loaded(run.id, Archive.of("project/runs")).result()[-1] == 9_999
    # And when the whole project has moved.
    (tmp_path / "project").rename(tmp_path / "archive")
    assert loaded(run.id, Archive.of("archive/runs")).result()[-1] == 9_999
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archive"]
