"""What differs in how the steps of two flows are to be run: their options."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from nbflow.algebra.options import Options
from nbflow.sketch.rows import Held
from nbflow.sketch.sketch import Sketch

_DEFAULTS: Final = Options()


def options_changed(old: Sketch, new: Sketch, pairs: Mapping[str, str]) -> dict[str, str]:
    """Say for each step whose options differ what they were, and what they are.

    Parameters
    ----------
    old, new
        The flows.
    pairs
        For each step of the new flow that the old one has too, its name there.

    Examples
    --------
    >>> from nbflow import step
    >>> clean = step(abs).named("clean")
    >>> old, new = (Sketch.of(4 >> each, {}) for each in (clean, clean.options(timeout=5)))
    >>> options_changed(old, new, {"clean": "clean"})
    {'clean': 'timeout None → 5.0'}
    """
    before, now = _options(old), _options(new)
    found = {}
    for name, was in pairs.items():
        said = [
            _told(key, before[was].get(key), now[name].get(key))
            for key in dict.fromkeys([*before[was], *now[name]])
            if before[was].get(key) != now[name].get(key)
        ]
        if said:
            found[name] = ", ".join(said)
    return found


Setting = tuple[str, str]


def _options(sketch: Sketch) -> dict[str, dict[str, Setting]]:
    found = {}
    for name, number in zip(sketch.names, sketch.nodes, strict=True):
        definition = sketch.rows[sketch.rows[number][1]][1]
        _, _, _, _, pairs, _ = sketch.rows[definition]
        found[name] = {key: _setting(sketch, held) for key, held in pairs}
    return found


def _setting(sketch: Sketch, held: Held) -> Setting:
    """Give what tells an option apart, and what it is in words."""
    if isinstance(held, int):
        sealed = sketch.sealed[held]
        return blake2b(sealed.data, digest_size=16).hexdigest(), sealed.name or sealed.kind
    return repr(held[0]), repr(held[0])


def _told(key: str, before: Setting | None, now: Setting | None) -> str:
    default: Any = getattr(_DEFAULTS, key)
    was, gets = (repr(default) if each is None else each[1] for each in (before, now))
    return f"{key} changed" if was == gets else f"{key} {was} → {gets}"
