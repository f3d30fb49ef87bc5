"""What is done with a flow: computed here, run on Dask, drawn.

Each action is imported when it is called. This is where the algebra reaches up to the
engine and to the notebook, so that ``flow.run()`` can be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.algebra.evaluate import evaluate

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import graphviz

    from nbflow.algebra.flow import Flow
    from nbflow.notebook.picture import Picture
    from nbflow.running.run import Run


class Actions:
    """The actions of whatever is a flow, or stands for one."""

    __slots__ = ()

    def _flow(self) -> Flow:
        raise NotImplementedError

    # Computing it

    def call(self, *inputs: Any, params: dict[str, Any] | None = None) -> Any:
        """Compute the value in plain Python, in this process, without a record.

        This is what the flow means; `run` gives the same value.

        Parameters
        ----------
        inputs
            Arguments for every open first step.
        params
            Values of the flow's parameters.

        Examples
        --------
        >>> from nbflow import step
        >>> @step
        ... def add(x, y=1):
        ...     return x + y
        >>> (add >> add.s(10)).call(1)
        12
        """
        __tracebackhide__ = True
        ready = self._flow().ready(*inputs)
        if not ready.handlers:
            return evaluate(ready.topology, params or {})
        from nbflow.running.callbacks import Failure, notify

        failures: list[Failure] = []

        def failed(step: str, element: Any, error: BaseException, attempts: int) -> None:
            failures.append(Failure(step, element, error, attempts))

        try:
            return evaluate(ready.topology, params or {}, failed)
        except BaseException:
            if failures:
                notify(ready.handlers, failures)
            raise

    def run(self, *inputs: Any, **options: Any) -> Run:
        """Run on Dask, and wait for the end.

        Parameters
        ----------
        inputs
            Arguments for every open first step.
        options
            ``params``, ``cluster``, ``raise_on_error`` and the others of
            `nbflow.launch.submit`.

        Raises
        ------
        Exception
            The exception of the first step that failed, unless
            ``raise_on_error=False``.
        """
        from nbflow.running.launch import run

        __tracebackhide__ = True
        return run(self._flow(), *inputs, **options)

    def submit(self, *inputs: Any, **options: Any) -> Run:
        """Start on Dask, and return at once."""
        from nbflow.running.launch import submit

        return submit(self._flow(), *inputs, **options)

    async def arun(self, *inputs: Any, **options: Any) -> Run:
        """Run on Dask, and leave the event loop free until the end."""
        from nbflow.running.launch import arun

        return await arun(self._flow(), *inputs, **options)

    # Drawing it

    def graph(self, **options: Any) -> graphviz.Digraph:
        """Give the drawing as a `graphviz.Digraph`."""
        from nbflow.notebook.draw import digraph

        return digraph(self._flow(), **options)

    def show(self, **options: Any) -> Picture:
        """Draw the flow: ``direction="LR"``, ``collapse=True``, ``focus=None``."""
        from nbflow.notebook.picture import picture

        return picture(self._flow(), **options)

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the drawing into a file, and give its path.

        Parameters
        ----------
        path
            The file; what is written says its ending: ``.svg``, ``.png``, ``.pdf``,
            ``.html``, ``.dot`` or ``.mmd`` (Mermaid).
        options
            As for `show`.

        Raises
        ------
        FlowError
            If it ends otherwise, or cannot be written.
        """
        from nbflow.notebook.saving import saved

        return saved(path, self._flow(), **options)

    def to_dot(self, **options: Any) -> str:
        """Give the drawing as DOT."""
        return str(self.graph(**options).source)

    def to_mermaid(self, **options: Any) -> str:
        """Give the drawing as Mermaid, for a README."""
        from nbflow.notebook.mermaid import mermaid

        return mermaid(self._flow(), **options)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from nbflow.notebook.picture import picture

        return picture(self._flow()).mimebundle()
