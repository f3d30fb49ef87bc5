"""How functions and values are packed."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from nbflow.values.transfer import Parcel, can_travel, dumps, local_modules_by_value


@pytest.mark.parametrize("value", [None, 3, "x", [1, {"a": (2,)}], b"bytes", {1, 2}])
def test_a_parcel_gives_back_what_was_put_in(value: Any) -> None:
    assert Parcel.of(value).open() == value
    assert pickle.loads(pickle.dumps(Parcel.of(value))).open() == value


def test_large_buffers_stay_apart_and_are_not_copied() -> None:
    array = np.arange(100_000)
    parcel = Parcel.of({"a": array})
    assert len(parcel.data) < 1_000
    assert np.shares_memory(np.frombuffer(parcel.buffers[0], dtype=array.dtype), array)
    assert parcel.nbytes >= array.nbytes
    assert sys.getsizeof(parcel) >= array.nbytes


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_parcel_travels_by_any_protocol(protocol: int) -> None:
    df = pd.DataFrame({"a": np.arange(10_000), "b": "x"})
    back = pickle.loads(pickle.dumps(Parcel.of(df), protocol=protocol)).open()
    pd.testing.assert_frame_equal(back, df)


def test_lambdas_and_closures_are_packed() -> None:
    k = 3
    assert pickle.loads(dumps(lambda x: x + k))(4) == 7


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, True),
        (lambda: 1, True),
        (pd.DataFrame({"a": [1]}), True),
        (threading.Lock(), False),
        ([{"deep": threading.Lock()}], False),
        ((i for i in range(3)), False),
        (Refuses(), False),
    ],
)
def test_what_can_travel_is_known(value: Any, expected: bool) -> None:
    assert can_travel(value) is expected


def test_local_modules_travel_by_value_and_installed_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_notebook.py").write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("beside_notebook")
    with local_modules_by_value():
        known = cloudpickle.list_registry_pickle_by_value()
        data = dumps(module.twice)
        with local_modules_by_value():
            pass
        # The inner use leaves the outer one as it was.
        assert "beside_notebook" in cloudpickle.list_registry_pickle_by_value()
    assert not {"json", "pandas", "nbflow", "nbflow.algebra.step", "__main__"} & set(known)
    assert "beside_notebook" not in cloudpickle.list_registry_pickle_by_value()
    del sys.modules["beside_notebook"]
    monkeypatch.undo()
    assert pickle.loads(data)(4) == 8
    assert "beside_notebook" not in sys.modules


def test_what_the_user_registered_stays_registered() -> None:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        with local_modules_by_value():
            pass
        assert __name__ in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(module)
