"""How functions and values travel: packed by cloudpickle, opened where they are needed.

The scheduler only ever sees bytes. Functions of the notebook, and of modules that
only the notebook has, travel by value, so workers need neither.
"""

from __future__ import annotations

import io
import pickle
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import cloudpickle

from nbflow.values.kinds import ATOMS

PROTOCOL = 5


class Parcel:
    """A value as bytes, large buffers apart, so that moving it copies nothing.

    Dask would send a bare list as one frame for each member; a parcel is one value
    whatever is in it.

    Examples
    --------
    >>> Parcel.of({"a": [1, 2]}).open()
    {'a': [1, 2]}
    """

    __slots__ = ("buffers", "data")

    def __init__(self, data: bytes, buffers: list[Any]) -> None:
        self.data = data
        self.buffers = buffers

    @classmethod
    def of(cls, value: Any, *, plain: bool = False) -> Parcel:
        """Pack a value.

        Parameters
        ----------
        value
            What is packed.
        plain
            Whether all its classes are nbflow's or Python's, for which pickle will do.

        Raises
        ------
        Exception
            Whatever pickling raises; the kinds are many.
        """
        if plain:
            with suppress(Exception):
                return cls(pickle.dumps(value, PROTOCOL), [])
        buffers: list[pickle.PickleBuffer] = []
        data = dumps(value, buffers.append)
        return cls(data, [buffer.raw() for buffer in buffers])

    def open(self) -> Any:
        """Unpack a copy of the value, which may be changed in place.

        Arrays would otherwise be read-only, or share their memory with other copies.
        """
        return pickle.loads(self.data, buffers=[bytearray(each) for each in self.buffers])

    @property
    def nbytes(self) -> int:
        """How many bytes travel."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def __sizeof__(self) -> int:
        return self.nbytes + 64

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if protocol >= PROTOCOL:
            return Parcel, (self.data, [pickle.PickleBuffer(each) for each in self.buffers])
        return Parcel, (self.data, [bytes(each) for each in self.buffers])


def dumps(value: Any, keep_buffer: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """Pickle a value by cloudpickle, which can write out functions and classes.

    Raises
    ------
    Exception
        Whatever cloudpickle raises.
    """
    with io.BytesIO() as file:
        cloudpickle.CloudPickler(file, PROTOCOL, keep_buffer).dump(value)
        return file.getvalue()


def can_travel(value: Any) -> bool:
    """Tell whether a value can be pickled, without copying its large buffers."""
    if type(value) in ATOMS:
        return True
    try:
        pickle.dumps(value, PROTOCOL, buffer_callback=_drop)
    except Exception:  # noqa: BLE001 - pickling runs code of the user's classes
        try:
            dumps(value, _drop)
        except Exception:  # noqa: BLE001
            return False
    return True


def _drop(_: pickle.PickleBuffer) -> bool:
    # False keeps the buffer out of the pickle.
    return False


_registry = threading.RLock()


@contextmanager
def local_modules_by_value() -> Iterator[None]:
    """Let functions of modules that workers may not be able to import travel by value.

    Local is what is installed neither with Python nor as a package: a module beside
    the notebook. It travels as it is now in this process, edited or reloaded.
    """
    with _registry:
        known = cloudpickle.list_registry_pickle_by_value()
        local = [module for module in _local_modules() if module.__name__ not in known]
        for module in local:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in local:
                cloudpickle.unregister_pickle_by_value(module)


def dumps_by_name(value: Any) -> bytes:
    """Pickle a value with what it uses of modules by name, to be imported by the worker.

    Raises
    ------
    Exception
        Whatever cloudpickle raises.
    """
    with _registry:
        names = cloudpickle.list_registry_pickle_by_value()
        modules = [sys.modules[name] for name in names if name in sys.modules]
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
        try:
            return dumps(value)
        finally:
            for module in modules:
                cloudpickle.register_pickle_by_value(module)


def dumps_as_can_be(value: Any) -> bytes:
    """Pickle a value by value, or by name where what is beside it cannot be pickled.

    A module may hold a lock or a connection, and yet be there to be imported.

    Raises
    ------
    Exception
        Whatever cloudpickle raises of the value as it is.
    """
    try:
        return dumps(value)
    except Exception:
        with suppress(Exception):
            return dumps_by_name(value)
        raise


def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")})


_INSTALLED = _installed_folders()
_OURS = __name__.partition(".")[0]


# Modules that are installed: what they are does not change while they are loaded.
_foreign: dict[str, ModuleType] = {}


def _local_modules() -> list[ModuleType]:
    found = []
    for name, module in list(sys.modules.items()):
        if _foreign.get(name) is module:
            continue
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] == _OURS:
            continue
        if file.startswith(_INSTALLED) or "site-packages" in file or "dist-packages" in file:
            _foreign[name] = module
            continue
        own = getattr(module, "__name__", "")
        # Multiprocessing knows the main module under a second name.
        if own != "__main__" and sys.modules.get(own) is module:
            found.append(module)
    return found
