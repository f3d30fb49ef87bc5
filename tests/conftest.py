"""What holds for all tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _runs_are_written_down_elsewhere(tmp_path_factory):
    """No test leaves a journal in the folder that it is started from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBFLOW_STORE", str(tmp_path_factory.mktemp("store")))
        yield
