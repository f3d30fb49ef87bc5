"""What an object is made of, as far as it matters to what it does.

For a function that is its bytecode with the constants, defaults and closed-over
values, and the globals that it uses; not where it is defined, nor what is written
about it. What is installed is known by its name and version.
"""

from __future__ import annotations

import builtins
import copyreg
import dis
import marshal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import _lru_cache_wrapper, cached_property
from hashlib import blake2b
from itertools import starmap
from operator import eq
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from nbflow.algebra.step import Step
from nbflow.sketch.origin import installed_name, is_installed, own_source, version_of
from nbflow.values.kinds import ATOMS, kind_of
from nbflow.values.outline import type_name
from nbflow.values.payload import _without_pickle

# Before the third version, marshal writes equal values as equal bytes, sets sorted.
_MARSHAL: Final = 2
_DEEPEST: Final = 20
_CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})
_FRAMES: Final = frozenset(
    {"frame", "series", "index", "arrow", "arrow_column", "polars", "polars_column"}
)


class Anatomy(NamedTuple):
    """What an object is made of.

    Attributes
    ----------
    own
        Numbers, strings and bytes that say what it is.
    parts
        The objects that it holds.
    names
        What each part is called, where it is called something.
    ordered
        Whether the order of the parts matters.
    """

    own: Any
    parts: Sequence[Any] = ()
    names: Sequence[str] = ()
    ordered: bool = True


class View(NamedTuple):
    """What code with some names in it sees of a module of the user's own."""

    module: ModuleType
    names: frozenset[str]


def plain_bytes(value: Any) -> bytes | None:
    """Write a value that holds nothing but numbers, strings and the like; None for any other.

    Equal values of equal types have equal bytes, in every process.

    Examples
    --------
    >>> plain_bytes([1, {"a"}]) == plain_bytes([1, {"a"}]), plain_bytes(1) == plain_bytes(True)
    (True, False)
    >>> plain_bytes(len)
    """
    if _is_plain(value, _DEEPEST):
        return marshal.dumps(value, _MARSHAL)
    if type(value) in (float, complex):
        # Of the many kinds of NaN, Python shows only one.
        return marshal.dumps((type(value).__name__, repr(value)), _MARSHAL)
    return None


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in ATOMS:
        return bool(value == value)  # noqa: PLR0124 - a NaN differs from itself
    if kind not in _CONTAINERS or not depth:
        return False
    if kind is dict:
        return _is_plain(list(value), depth) and _is_plain(list(value.values()), depth)
    kinds = set(map(type, value))
    if kinds <= ATOMS:
        return kinds.isdisjoint((float, complex)) or all(map(eq, value, value))
    return all(_is_plain(each, depth - 1) for each in value)


def anatomy_of(value: Any) -> Anatomy:
    """Take an object apart.

    Raises
    ------
    Exception
        If it cannot be looked into; the kinds are many, as classes of the user's are
        asked for it as pickle asks them.

    Examples
    --------
    >>> anatomy_of(len).own, len(anatomy_of(lambda x, y=1: x + y).parts)
    (('installed', 'builtins.len'), 1)
    """
    kind = type(value)
    if kind in _APART:
        return _APART[kind](value)
    if isinstance(value, type):
        return _of_class(value)
    if isinstance(value, Step):
        return Anatomy("step", [value.definition.fn])
    name = kind_of(kind)
    if name == "array" and is_installed(kind.__module__) and kind.__name__ == "ndarray":
        return _of_array(value)
    if name in _FRAMES:
        payload = _without_pickle(value)
        if payload is not None:
            return Anatomy(("kept", payload.hash))
    return _of_instance(value)


# Functions


class _Shape(NamedTuple):
    """What can be seen of code without running it."""

    own: Any
    used: tuple[str, ...]
    names: frozenset[str]
    imported: tuple[str, ...]


def _of_function(fn: FunctionType) -> Anatomy:
    name = installed_name(fn)
    if name is not None:
        return Anatomy(("installed", name))
    shape = _shape_of(fn.__code__)
    parts: dict[str, Any] = {}
    parts.update((f"{n}. default", each) for n, each in enumerate(fn.__defaults__ or ()))
    parts.update((f"default {name}", each) for name, each in (fn.__kwdefaults__ or {}).items())
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        parts[f"closed over {name}"] = cell
    module: Any = fn.__globals__.get("__name__")
    if is_installed(module):
        # What its module holds besides is of that version too.
        return Anatomy(
            ("function", shape.own, module, version_of(module), list(parts)),
            list(parts.values()),
            list(parts),
        )
    parts.update(_globals(fn, shape))
    own = ("function", shape.own, list(parts), _imports(shape.imported))
    return Anatomy(own, list(parts.values()), list(parts))


def _globals(fn: FunctionType, shape: _Shape) -> Iterator[tuple[str, Any]]:
    space = fn.__globals__
    for name in shape.used:
        if name.startswith("__") and name.endswith("__"):
            continue
        if name in space:
            value = space[name]
            seen = isinstance(value, ModuleType) and installed_name(value) is None
            yield f"global {name}", View(value, shape.names) if seen else value
        elif hasattr(builtins, name):
            yield f"builtin {name}", getattr(builtins, name)


def _imports(names: Sequence[str]) -> list[tuple[str, bytes | str]]:
    """Say what the modules are that code imports when it is called."""
    found: list[tuple[str, bytes | str]] = []
    for name in names:
        source = own_source(name)
        said = version_of(name) if source is None else blake2b(source).digest()
        found.append((name, said))
    return found


def _of_view(view: View) -> Anatomy:
    module = view.module
    held = {name: each for name, each in vars(module).items() if name in view.names}
    parts = {
        name: View(each, view.names)
        if isinstance(each, ModuleType) and installed_name(each) is None
        else each
        for name, each in sorted(held.items())
    }
    own = ("module", list(parts))
    return Anatomy(own, list(parts.values()), [f"{module.__name__}.{each}" for each in parts])


_GLOBAL: Final = dis.opmap["LOAD_GLOBAL"]
_IMPORT: Final = dis.opmap["IMPORT_NAME"]
_NAMED: Final = frozenset(
    dis.opmap[each]
    for each in ("LOAD_NAME", "LOAD_GLOBAL", "IMPORT_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    if each in dis.opmap
)
_CONSTANT: Final = frozenset(dis.hasconst)
_WATCHED: Final = _NAMED | _CONSTANT | {dis.EXTENDED_ARG}
# Whether there is a docstring, from Python 3.13 on.
_DOCUMENTED: Final = 0x4000000


def _shape_of(code: CodeType) -> _Shape:
    """Look at code: its constants in the order in which it uses them, the globals that it names.

    A docstring is a constant that nobody uses.
    """
    bytecode = bytearray(code.co_code)
    places: dict[int, int] = {}
    used: dict[str, None] = {}
    imported: dict[str, None] = {}
    prefix, prefixed = 0, -1
    for at in range(0, len(bytecode), 2):
        op = bytecode[at]
        if op not in _WATCHED:
            continue
        number = bytecode[at + 1] | (prefix if prefixed == at else 0)
        if op == dis.EXTENDED_ARG:
            prefix, prefixed = number << 8, at + 2
        elif op in _CONSTANT:
            bytecode[at + 1] = places.setdefault(number, len(places)) & 0xFF
        else:
            name = code.co_names[number >> 1 if op == _GLOBAL else number]
            (imported if op == _IMPORT else used)[name] = None
    constants = [code.co_consts[each] for each in places]
    inner = [_shape_of(each) for each in constants if isinstance(each, CodeType)]
    for each in inner:
        used.update(dict.fromkeys(each.used))
        imported.update(dict.fromkeys(each.imported))
    own = (
        bytes(bytecode),
        [
            _shape_of(each).own if isinstance(each, CodeType) else _constant(each)
            for each in constants
        ],
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_flags & ~_DOCUMENTED,
        code.co_exceptiontable,
    )
    names = frozenset(code.co_names).union(*(each.names for each in inner))
    return _Shape(own, tuple(used), names, tuple(imported))


def _constant(value: Any) -> bytes | str:
    # An ellipsis, or a tuple with one.
    return plain_bytes(value) or repr(value)


def _of_cell(cell: CellType) -> Anatomy:
    try:
        return Anatomy("cell", [cell.cell_contents])
    except ValueError:  # it is still empty
        return Anatomy("empty cell")


def _of_method(method: MethodType) -> Anatomy:
    return Anatomy("method", [method.__func__, method.__self__])


def _of_builtin(fn: Any) -> Anatomy:
    name = installed_name(fn)
    if name is not None:
        return Anatomy(("installed", name))
    return Anatomy(("builtin", fn.__qualname__, fn.__module__), [fn.__self__])


def _of_module(module: ModuleType) -> Anatomy:
    return Anatomy(("installed", installed_name(module) or module.__name__))


# Classes

_BOOKKEEPING: Final = frozenset(
    {
        *("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "_abc_impl"),
        *("__firstlineno__", "__static_attributes__", "__annotations__", "__annotate__"),
        *("__annotations_cache__", "__annotate_func__", "__abstractmethods__"),
        # The methods that were made of it hold all that it says.
        *("__dataclass_fields__", "__dataclass_params__"),
    }
)


def _of_class(cls: type) -> Anatomy:
    name = installed_name(cls)
    if name is not None:
        return Anatomy(("installed", name))
    held = {key: each for key, each in vars(cls).items() if key not in _BOOKKEEPING}
    parts = {f"{type.__dict__['__name__'].__get__(cls)}.{key}": each for key, each in held.items()}
    own = ("class", list(held), len(cls.__bases__))
    bases = [f"base {number}" for number in range(len(cls.__bases__))]
    return Anatomy(own, [type(cls), *cls.__bases__, *parts.values()], ["metaclass", *bases, *parts])


def _wrapping(kind: str, *names: str) -> Callable[[Any], Anatomy]:
    def apart(value: Any) -> Anatomy:
        return Anatomy(kind, [getattr(value, name) for name in names])

    return apart


def _of_slot(descriptor: Any) -> Anatomy:
    return Anatomy(("slot", descriptor.__name__))


def _of_cache(value: Any) -> Anatomy:
    # It holds what others do, and is filled and emptied by calls.
    return Anatomy(("weak", type_name(value)))


# Values


def _of_sequence(value: Any) -> Anatomy:
    return Anatomy(type_name(value), value)


def _of_set(value: Any) -> Anatomy:
    return Anatomy(type_name(value), list(value), ordered=False)


def _of_dict(value: Any) -> Anatomy:
    return Anatomy(("dict", len(value)), [*value.keys(), *value.values()])


def _of_array(value: Any) -> Anatomy:
    if value.dtype.hasobject:
        return _of_instance(value)
    numpy = sys.modules["numpy"]
    flat = numpy.ascontiguousarray(value).reshape(-1)
    data = flat.view(numpy.uint8) if flat.nbytes else b""
    return Anatomy(("array", repr(value.dtype), value.shape, blake2b(data).digest()))


def _of_instance(value: Any) -> Anatomy:
    """Take an object apart as pickle does: what it would be made of again."""
    kind = type(value)
    reduce = copyreg.dispatch_table.get(kind)
    made = value.__reduce_ex__(4) if reduce is None else reduce(value)
    if isinstance(made, str):
        return Anatomy(("global", made), [kind])
    factory, args, state, members, pairs = (*made, None, None, None)[:5]
    return Anatomy(
        "instance",
        [factory, args, state, list(members or ()), list(starmap(_pair, pairs or ()))],
    )


def _pair(key: Any, value: Any) -> tuple[Any, Any]:
    return key, value


_APART: Final[dict[Any, Callable[[Any], Anatomy]]] = {
    FunctionType: _of_function,
    BuiltinFunctionType: _of_builtin,
    MethodType: _of_method,
    ModuleType: _of_module,
    View: _of_view,
    CellType: _of_cell,
    staticmethod: _wrapping("staticmethod", "__func__"),
    classmethod: _wrapping("classmethod", "__func__"),
    property: _wrapping("property", "fget", "fset", "fdel"),
    cached_property: _wrapping("cached_property", "func", "attrname"),
    _lru_cache_wrapper: _wrapping("lru_cache", "__wrapped__"),
    MemberDescriptorType: _of_slot,
    GetSetDescriptorType: _of_slot,
    WeakKeyDictionary: _of_cache,
    WeakValueDictionary: _of_cache,
    WeakSet: _of_cache,
    list: _of_sequence,
    tuple: _of_sequence,
    dict: _of_dict,
    MappingProxyType: _of_dict,
    set: _of_set,
    frozenset: _of_set,
}
