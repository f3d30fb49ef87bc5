"""The code of a notebook's cell as a function: what it needs, and what it gives.

The statements of the cell become the body of a function of their own file and lines, so
tracebacks and the debugger show the cell. What it takes from outside is found by Python's
own rules: the names that the compiled function reads from its globals, and those that are
read before the cell itself gives them a value.
"""

from __future__ import annotations

import ast
import builtins
import dis
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.notebook.reading import is_async, only_called, read_early

_INDENT = 4
_SAID = frozenset({"print", "display"})


@dataclass(frozen=True)
class Cell:
    r"""The statements of a cell that is to be a function.

    Attributes
    ----------
    name
        What the function is called.
    source
        The cell, its first line as a comment, so that line numbers are those of the cell.
    file
        What tracebacks call it.

    Examples
    --------
    >>> cell = Cell("clean", "# %%flow step clean\nraw + bonus", "cell")
    >>> cell.names
    ('raw', 'bonus')
    >>> cell.function(["raw"], [], {"bonus": 5})(2)
    7
    """

    name: str
    source: str
    file: str

    @property
    def body(self) -> list[ast.stmt]:
        """The statements.

        Raises
        ------
        FlowError
            If it is no Python, or does what no function can.
        """
        try:
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            compile(self.source, self.file, "exec", flags, dont_inherit=True)
            body = ast.parse(self.source, self.file).body
        except SyntaxError as error:
            raise _refused(error.lineno, error.msg) from None
        if not body:
            raise FlowError("%%flow step: the cell is empty; write what the step computes")
        for each in ast.walk(ast.Module(body, [])):
            if isinstance(each, ast.ImportFrom) and any(a.name == "*" for a in each.names):
                raise _refused(each.lineno, "a step cannot import *; import the names it uses")
        for each in body:
            if isinstance(each, ast.Global):
                raise _refused(each.lineno, "'global' means nothing on a worker; leave it out")
        return body

    @property
    def names(self) -> tuple[str, ...]:
        """The names that come from outside, in the order in which they appear.

        Those of Python itself are among them only if the cell gives them another value.
        """
        body = self.body
        code = self._compiled([], [], body)
        early = read_early(body)
        own = {*code.co_varnames, *code.co_cellvars}
        wanted = {*_globals(code), *(name for name in early if name in own)}
        order = {
            each.id: (each.lineno, each.col_offset)
            for each in reversed(list(ast.walk(ast.Module(body, []))))
            if isinstance(each, ast.Name)
        }
        return tuple(sorted(wanted, key=lambda name: order.get(name, (0, 0))))

    @property
    def assigned(self) -> frozenset[str]:
        """The names that the cell gives a value before it reads them from outside, or after."""
        code = self._compiled([], [], self.body)
        return frozenset({*code.co_varnames, *code.co_cellvars})

    def shown(self, inputs: Sequence[str]) -> str:
        """Write the function as Python, line by line as the cell: what tracebacks show.

        Python looks for the lines of a function from its ``def`` on.

        Parameters
        ----------
        inputs
            The names of its arguments.
        """
        first, _, rest = self.source.partition("\n")
        kind = "async def" if is_async(self.body) else "def"
        head = f"{kind} {self.name}({', '.join(inputs)}):  {first}"
        return f"{head}\n{textwrap.indent(rest, ' ' * _INDENT)}"

    def only_calls(self, name: str) -> bool:
        """Tell whether a name is only ever called."""
        return only_called(self.body, name)

    def function(
        self, inputs: Sequence[str], captured: Sequence[str], scope: dict[str, Any]
    ) -> Callable[..., Any]:
        """Make the function.

        Parameters
        ----------
        inputs
            The names of its arguments.
        captured
            The names that the cell reads, and then gives another value: their values at
            this moment are the defaults of keyword arguments.
        scope
            Where all other names are looked up.
        """
        made: dict[str, Any] = {}
        body = self.body
        for node in ast.walk(ast.Module(body, [])):
            # Where `shown` has it, so that what is pointed at is what went wrong.
            if isinstance(node, (ast.stmt, ast.expr)):
                node.col_offset += _INDENT
                node.end_col_offset = (node.end_col_offset or 0) + _INDENT
        # The one statement of this module is the definition.
        exec(self._module(inputs, captured, body), scope, made)  # noqa: S102 - the user's cell
        function: Callable[..., Any] = made[self.name]
        return function

    def _compiled(
        self, inputs: Sequence[str], captured: Sequence[str], body: list[ast.stmt]
    ) -> CodeType:
        module = self._module(inputs, captured, body)
        return next(each for each in module.co_consts if isinstance(each, CodeType))

    def _module(
        self, inputs: Sequence[str], captured: Sequence[str], body: list[ast.stmt]
    ) -> CodeType:
        kind = ast.AsyncFunctionDef if is_async(body) else ast.FunctionDef
        arguments = ast.arguments(
            posonlyargs=[],
            args=[ast.arg(name) for name in inputs],
            kwonlyargs=[ast.arg(name) for name in captured],
            kw_defaults=[ast.Name(name, ast.Load()) for name in captured],
            defaults=[],
        )
        made = kind(
            name=self.name,
            args=arguments,
            body=[*body[:-1], *self._ending(body)],
            decorator_list=[],
            lineno=1,
            col_offset=0,
        )
        if "type_params" in kind._fields:  # from Python 3.12 on
            made.type_params = []  # type: ignore[union-attr, unused-ignore]
        module = ast.fix_missing_locations(ast.Module([made], []))
        try:
            return compile(module, self.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise _refused(error.lineno, error.msg) from None

    def _ending(self, body: list[ast.stmt]) -> Iterator[ast.stmt]:
        """Give the last statement, and what returns the value of the cell."""
        last = body[-1]
        if isinstance(last, ast.Expr) and not _only_says(last.value):
            yield ast.copy_location(ast.Return(last.value), last)
            return
        yield last
        if self.name not in _stored(body):
            raise FlowError(
                f"%%flow step: the cell gives no value; expected is an expression as its last "
                f"line, or a value for {quoted(self.name)}"
            )
        line = last.end_lineno or last.lineno
        value = ast.Name(self.name, ast.Load())
        for each in (value, returned := ast.Return(value)):
            each.lineno = each.end_lineno = line
            each.col_offset = each.end_col_offset = 0
        yield returned


def missing(names: Sequence[str], known: Mapping[str, Any]) -> None:
    """Refuse names that are defined nowhere.

    Raises
    ------
    FlowError
        Naming the first of them.
    """
    for name in names:
        if name not in known and not hasattr(builtins, name):
            near = did_you_mean(name, [each for each in known if not each.startswith("_")])
            near = f"; {near}" if near.startswith("did") else ""
            raise FlowError(
                f"%%flow step: the name {quoted(name)} is not defined; run the cell that defines "
                f"it first{near}"
            )


def _only_says(value: ast.expr) -> bool:
    """Tell whether an expression is there for what it shows, and not for its value."""
    is_call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
    return is_call and value.func.id in _SAID  # type: ignore[attr-defined]


def _stored(body: list[ast.stmt]) -> set[str]:
    return {
        each.id
        for statement in body
        for each in ast.walk(statement)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    } | {
        each.name
        for each in body
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }


def _globals(code: CodeType) -> Iterator[str]:
    """Name what a function, and those inside it, read from their globals."""
    for each in dis.get_instructions(code):
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield str(each.argval)
    for const in code.co_consts:
        if isinstance(const, CodeType):
            inside = dict.fromkeys(_globals(const))
            # The body of a class looks its own names up by name too.
            own = {e.argval for e in dis.get_instructions(const) if e.opname == "STORE_NAME"}
            yield from (name for name in inside if name not in own)


def _refused(line: int | None, why: str) -> FlowError:
    where = "" if line is None else f"line {line}: "
    return FlowError(f"%%flow step: {where}{why}")
