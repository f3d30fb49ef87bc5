"""Which names the statements of a cell read before they give them a value themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def read_early(body: Sequence[ast.stmt]) -> set[str]:
    r"""Name what is read where the cell may not have given it a value yet.

    The bodies of functions count as read when they are called, which is later.

    Examples
    --------
    >>> sorted(read_early(ast.parse("df = df.dropna()\nn = len(df)").body))
    ['df', 'len']
    """
    reading = _Reading()
    reading.block(body, set())
    return reading.early


class _Reading:
    """Follows statements in the order in which they are run."""

    def __init__(self) -> None:
        self.early: set[str] = set()

    def block(self, body: Iterable[ast.stmt], known: set[str]) -> set[str]:
        """Follow statements; give the names that surely have a value after them."""
        for each in body:
            known = self.statement(each, known)
        return known

    def statement(self, each: ast.stmt, known: set[str]) -> set[str]:
        match each:
            case ast.If():
                known = self.expression(each.test, known)
                return self.block(each.body, known) & self.block(each.orelse, known)
            case ast.For() | ast.AsyncFor():
                known = self.expression(each.iter, known)
                inside = self.expression(each.target, set(known))
                self.block(each.body, inside)
                self.block(each.orelse, known)
                return known
            case ast.While():
                known = self.expression(each.test, known)
                self.block(each.body, set(known))
                self.block(each.orelse, known)
                return known
            case ast.Try() | ast.TryStar():
                return self._try(each, known)
            case ast.With() | ast.AsyncWith():
                for item in each.items:
                    known = self.expression(item.context_expr, known)
                    if item.optional_vars is not None:
                        known = self.expression(item.optional_vars, known)
                return self.block(each.body, known)
            case ast.Match():
                known = self.expression(each.subject, known)
                for case in each.cases:
                    inside = self.expression(case.pattern, set(known))
                    inside = known if case.guard is None else self.expression(case.guard, inside)
                    self.block(case.body, known | _bound(case.pattern))
                return known
        return self._simple(each, known)

    def _try(self, each: ast.Try | ast.TryStar, known: set[str]) -> set[str]:
        after = self.block(each.body, set(known))
        ends = [self.block(each.orelse, set(after))]
        for handler in each.handlers:
            if handler.type is not None:
                self.expression(handler.type, known)
            own = {handler.name} if handler.name else set()
            ends.append(self.block(handler.body, known | own) - own)
        return self.block(each.finalbody, set.intersection(*ends))

    def _simple(self, each: ast.stmt, known: set[str]) -> set[str]:
        match each:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                parts = [*each.decorator_list, *each.args.defaults, *each.args.kw_defaults]
                return self._all(parts, known) | {each.name}
            case ast.ClassDef():
                self._all([*each.decorator_list, *each.bases], known)
                self.block(each.body, set(known))
                return known | {each.name}
            case ast.Import() | ast.ImportFrom():
                names = {alias.asname or alias.name.partition(".")[0] for alias in each.names}
                return known | names
            case ast.Assign():
                return self._all(each.targets, self.expression(each.value, known))
            case ast.AnnAssign():
                if each.value is None:
                    return known
                return self.expression(each.target, self.expression(each.value, known))
            case ast.AugAssign():
                if isinstance(each.target, ast.Name):
                    self._read(each.target.id, known)
                return self.expression(each.target, self.expression(each.value, known))
            case ast.Delete():
                names = {target.id for target in each.targets if isinstance(target, ast.Name)}
                for name in names:
                    self._read(name, known)
                return known - names
        return self._all(ast.iter_child_nodes(each), known)

    def _all(self, parts: Iterable[ast.AST | None], known: set[str]) -> set[str]:
        for part in parts:
            if part is not None:
                known = self.expression(part, known)
        return known

    def expression(self, each: ast.AST, known: set[str]) -> set[str]:
        """Follow an expression, or what a value is assigned to."""
        match each:
            case ast.Name(id=name, ctx=ast.Load()):
                self._read(name, known)
                return known
            case ast.Name(id=name, ctx=ast.Store()):
                return known | {name}
            case ast.Lambda():
                return self._all([*each.args.defaults, *each.args.kw_defaults], known)
            case ast.NamedExpr():
                return self.expression(each.target, self.expression(each.value, known))
        if isinstance(each, _COMPREHENSIONS):
            return self._comprehension(each, known)
        return self._all(ast.iter_child_nodes(each), known)

    def _comprehension(
        self,
        each: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp,
        known: set[str],
    ) -> set[str]:
        inside = set(known)
        for generator in each.generators:
            inside = self.expression(generator.iter, inside)
            inside = self.expression(generator.target, inside)
            inside = self._all(generator.ifs, inside)
        parts = [each.key, each.value] if isinstance(each, ast.DictComp) else [each.elt]
        self._all(parts, inside)
        return known

    def _read(self, name: str, known: set[str]) -> None:
        if name not in known:
            self.early.add(name)


def _bound(pattern: ast.AST) -> set[str]:
    """Name what a pattern gives a value."""
    names = (
        getattr(each, "name", None) or getattr(each, "rest", None) for each in ast.walk(pattern)
    )
    return {name for name in names if isinstance(name, str)}


def is_async(body: Sequence[ast.stmt]) -> bool:
    """Tell whether the statements themselves, and not only functions in them, await something.

    Examples
    --------
    >>> is_async(ast.parse("async def f(): await g()").body), is_async(ast.parse("await g()").body)
    (False, True)
    """
    stack: list[ast.AST] = list(body)
    while stack:
        each = stack.pop()
        if isinstance(each, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            return True
        if isinstance(each, ast.comprehension) and each.is_async:
            return True
        if not isinstance(each, _FUNCTIONS):
            stack.extend(ast.iter_child_nodes(each))
    return False


def only_called(body: Sequence[ast.stmt], name: str) -> bool:
    """Tell whether a name stands only where it is called.

    Examples
    --------
    >>> body = ast.parse("tidy(raw)").body
    >>> only_called(body, "tidy"), only_called(body, "raw")
    (True, False)
    """
    every = [node for each in body for node in ast.walk(each)]
    called = {id(node.func) for node in every if isinstance(node, ast.Call)}
    uses = [node for node in every if isinstance(node, ast.Name) and node.id == name]
    return all(id(node) in called for node in uses)
