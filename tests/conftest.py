"""What holds for all tests."""

import sys
import traceback

import cloudpickle
import pytest
from hypothesis import settings

from nbflow.running import cluster

# Workers do not know of this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
# No test asserts a time.
settings.register_profile("nbflow", deadline=None)
settings.load_profile("nbflow")


@pytest.fixture(scope="session", autouse=True)
def _runs_are_written_down_elsewhere(tmp_path_factory):
    """No test leaves a journal in the folder that it is started from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBFLOW_STORE", str(tmp_path_factory.mktemp("store")))
        yield


def pytest_collection_modifyitems(items):
    """Let each folder of tests run in one process, where they share a cluster."""
    for item in items:
        folder = item.path.parent.name
        # Those without a cluster need not stay together.
        name = item.path.stem if folder == "unit" else folder
        item.add_marker(pytest.mark.xdist_group(name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Say of a test that took too long how the cluster was."""
    report = yield
    if call.excinfo is not None and "Timeout" in str(call.excinfo.value):
        report.sections.insert(0, ("The cluster", _state_of_the_cluster()))
    return report


def _state_of_the_cluster():
    client = cluster._own
    if client is None:
        return "there was none"
    try:
        said = [client.sync(client._run_on_scheduler, _scheduled, asynchronous=False)]
        answers = client._run(_at_work, on_error="return")
        said += client.sync(lambda: answers, callback_timeout=5).items()
    except Exception:
        return traceback.format_exc(limit=2)
    return "\n".join(map(str, said))


def _scheduled(dask_scheduler):
    workers = [
        (each.address, str(each.status), each.nthreads, [str(task.key) for task in each.processing])
        for each in dask_scheduler.workers.values()
    ]
    tasks = {str(each.key): each.state for each in dask_scheduler.tasks.values()}
    return workers, {key: state for key, state in tasks.items() if state != "memory"}


def _at_work(dask_worker):
    """Name the tasks of a worker, and where its threads are."""
    frames = sys._current_frames()
    threads = {
        str(key): [
            f"{f.filename}:{f.lineno}" for f in traceback.extract_stack(frames.get(thread))[-6:]
        ]
        for thread, key in dask_worker.active_threads.items()
    }
    tasks = {str(key): each.state for key, each in dask_worker.state.tasks.items()}
    return {key: state for key, state in tasks.items() if state != "memory"}, threads
