"""Where code comes from: what is installed, and in which version, and what is the user's own."""

from __future__ import annotations

import sys
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from nbflow.values.transfer import _INSTALLED, _OURS

# Known by the one name or the other, the code of a notebook or a script is the user's own.
_MAIN: Final = ("__main__", "__mp_main__")
# The user's own modules are looked at each time: they are edited, moved and reloaded.
_installed: Final[set[str]] = set()


def is_installed(name: Any) -> bool:
    """Tell whether a module that is loaded came with Python or as a package.

    Examples
    --------
    >>> is_installed("json"), is_installed("__main__"), is_installed(None)
    (True, False, False)
    """
    if type(name) is not str or name in _MAIN:
        return False
    if name in _installed:
        return True
    module = sys.modules.get(name)
    if module is None or not (name.partition(".")[0] == _OURS or _lies_installed(module)):
        return False
    _installed.add(name)
    return True


def _lies_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return _is_installed_path(file)
    folders = [str(each) for each in getattr(module, "__path__", ())]
    if folders:
        return all(map(_is_installed_path, folders))
    # What is built into Python has no file, as a module made at run time has none.
    return module.__name__.partition(".")[0] in sys.stdlib_module_names


def _is_installed_path(path: str) -> bool:
    return path.startswith(_INSTALLED) or "site-packages" in path or "dist-packages" in path


def installed_name(value: Any) -> str | None:
    """Name a function, class or module that is installed, with its version; None for others.

    What Python brings has no version here, and neither has nbflow: to update them is
    not to change a flow.

    Examples
    --------
    >>> import json
    >>> installed_name(json.dumps), installed_name(lambda: 0)
    ('json.dumps', None)
    """
    module: Any
    path: Any
    if isinstance(value, ModuleType):
        module, path = value.__name__, ""
    else:
        module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not is_installed(module) or type(path) is not str:
        return None
    found: Any = sys.modules.get(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part, None)
    if found is not value:
        return None
    version = version_of(module)
    return f"{module}.{path}".rstrip(".") + (f" {version}" if version else "")


def version_of(module: str) -> str:
    """Give the version of the package that a module is from, empty if it has none.

    Examples
    --------
    >>> version_of("json")
    ''
    """
    return _version(module.partition(".")[0])


@cache
def _version(package: str) -> str:
    if package in sys.stdlib_module_names or package == _OURS:
        return ""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    # Not every package is called as its module is.
    found = _distributions().get(package)
    if found:
        return metadata.version(found[0])
    version = getattr(sys.modules.get(package), "__version__", "")
    return version if isinstance(version, str) else ""


@cache
def _distributions() -> Any:
    return metadata.packages_distributions()


def own_source(name: str) -> bytes | None:
    """Read the source of a module of the user's own, without importing it.

    Of a package it is that of all its modules. It is None for what is installed, or
    cannot be found.

    Parameters
    ----------
    name
        As in ``import name``.
    """
    if name in _installed or name.partition(".")[0] in sys.stdlib_module_names:
        return None
    places: Any = None
    file, full = None, ""
    for part in name.split("."):
        full = f"{full}.{part}" if full else part
        spec = PathFinder.find_spec(full, places)
        if spec is None:
            return None
        places, file = spec.submodule_search_locations, spec.origin
    folders = [Path(each) for each in places or ()]
    files = [each for folder in folders for each in sorted(folder.rglob("*.py"))]
    if not folders and file is not None:
        files = [Path(file)]
    if any(_is_installed_path(str(each)) for each in (*folders, *files)):
        _installed.add(name)
        return None
    return b"\0".join(each.read_bytes() for each in files if each.is_file())
