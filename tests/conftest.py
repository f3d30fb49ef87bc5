"""What holds for all tests."""

import pytest
from hypothesis import settings

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
