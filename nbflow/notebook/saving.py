"""Pictures as files: in which form a file is written says its ending."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nbflow.errors import FlowError, quoted
from nbflow.notebook.html import page
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.pdf import pdf, unwritable
from nbflow.notebook.picture import Picture, picture
from nbflow.notebook.report import report

if TYPE_CHECKING:
    from nbflow.algebra.flow import Flow
    from nbflow.record.state import RunState

ENDINGS: Final = (".svg", ".png", ".pdf", ".html", ".dot", ".mmd")
_SIGNS, _PATH = 12, 400


def saved(
    path: str | os.PathLike[str], flow: Flow, state: RunState | None = None, **options: Any
) -> Path:
    """Write a flow, or a run of it, into a file, and give its path.

    Parameters
    ----------
    path
        The file. It ends in ``.svg``, ``.png``, ``.pdf``, ``.html``, ``.dot`` or ``.mmd``.
    flow
        What is drawn.
    state
        How a run of it is.
    options
        ``direction="LR"``, ``collapse=True``, ``focus=None`` and ``hops=1``, as for
        `show`.

    Raises
    ------
    FlowError
        If the file ends otherwise, cannot be written, or nothing can draw the picture.
    """
    file = checked(path, ENDINGS)
    ending = file.suffix.lower()
    if ending == ".mmd":
        return written(file, mermaid(flow, state, **options).encode())
    if ending == ".svg":
        options = {"hover": True, **options}
    drawn = picture(flow, state, **options)
    if ending == ".html":
        whole = drawn.html
        if state is not None:
            whole = replace(report(flow, state), picture=drawn).html
        return written(file, page(flow.name, whole).encode("utf-8", "replace"))
    return written(file, _content(drawn, file))


def _content(drawn: Picture, file: Path) -> bytes:
    """Give the picture in the form that the ending of a file names."""
    ending = file.suffix.lower()
    if ending == ".dot":
        found: bytes | None = drawn.dot.encode("utf-8", "replace") or None
    elif ending == ".png":
        found = drawn.png
    elif drawn.svg is None:
        found = None
    elif ending == ".pdf":
        missing = unwritable(drawn.svg)
        if missing:
            raise FlowError(
                f"{quoted(file.name)} cannot be written: the fonts of PDF lack "
                f"{quoted(missing[:_SIGNS])}; save it as .svg or .html, which have all signs"
            )
        found = pdf(drawn.svg)
    else:
        found = drawn.svg.encode("utf-8", "replace")
    if found is not None:
        return found
    if drawn.svg is None:
        raise FlowError(
            f"{quoted(file.name)} cannot be drawn: no renderer works here. Expected is the package "
            f"graphviz-pure, which nbflow brings, or Graphviz; .dot and .mmd need none"
        )
    raise FlowError(
        f"{quoted(file.name)} cannot be drawn: the fonts of the packaged renderer lack signs of a "
        f"name in it. Save it as .svg or .html, or install Graphviz, which has those of the system"
    )


def checked(path: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    """Give the file that a path means, if a picture can be written there.

    Parameters
    ----------
    path
        The path; ``~`` is the folder of the user.
    endings
        What it may end in.

    Raises
    ------
    FlowError
        If it ends otherwise, is a folder, or is in none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise FlowError(
            f"the file is {path!r}; expected is a path, such as {'flow' + endings[0]!r}"
        )
    try:
        # What a link leads to is written, not the link.
        file = Path(os.path.realpath(Path(path).expanduser()))
        is_folder, has_folder = file.is_dir(), file.parent.is_dir()
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise FlowError(f"{quoted(str(path), _PATH)} is no path of a file: {error}") from None
    if is_folder:
        raise FlowError(
            f"{quoted(str(path), _PATH)} is a folder; expected is a file, such as "
            f"'flow{endings[0]}'"
        )
    if file.suffix.lower() not in endings:
        name, said = quoted(file.name), "has no ending"
        if file.suffix:
            said = f"ends in {quoted(file.suffix)}"
        if len(endings) == 1:
            raise FlowError(
                f"this cannot be saved as {name}; expected is a file that ends in {endings[0]}"
            )
        raise FlowError(
            f"{name} {said}, and the ending says what is written; expected is "
            f"{', '.join(endings[:-1])} or {endings[-1]}"
        )
    if not has_folder:
        raise FlowError(
            f"{quoted(str(path), _PATH)} cannot be written: there is no folder "
            f"{quoted(str(file.parent), _PATH)}; make it, or take another"
        )
    return file


def written(file: Path, content: bytes) -> Path:
    """Write a file as a whole or not at all, and give its path.

    Raises
    ------
    FlowError
        If the system does not let it.
    """
    passing = file.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with passing.open("xb") as out:
            out.write(content)
        passing.replace(file)
    except OSError as error:
        with suppress(OSError):
            passing.unlink()
        why = error.strerror or str(error)
        raise FlowError(f"{quoted(str(file), _PATH)} cannot be written: {why}") from error
    return file
