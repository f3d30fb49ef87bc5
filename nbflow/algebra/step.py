"""Steps: a user's function that can be placed in flows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, overload

from nbflow.algebra.callables import checked_name
from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import MISSING, Call, Expression, ParamRef
from nbflow.algebra.flow import Composable, Flow, gathered, lift
from nbflow.algebra.mapping import checked_count, mapped
from nbflow.algebra.options import Options
from nbflow.algebra.wiring import placed
from nbflow.errors import FlowError, quoted

# What a decorated function keeps of itself.
_WORN = functools.WRAPPER_ASSIGNMENTS


class Step(Composable):
    """A function with a name and options; made by `step`.

    Calling a step calls the function. `s` describes a call without making it, and
    ``>>`` connects steps and calls.

    Examples
    --------
    >>> @step
    ... def add(x, y=1):
    ...     return x + y
    >>> add(1), (1 >> add >> add.s(10)).call()
    (2, 12)
    """

    definition: Definition
    _node: Any

    def __init__(self, definition: Definition) -> None:
        fn = definition.fn
        worn: dict[str, Any] = {each: getattr(fn, each) for each in _WORN if hasattr(fn, each)}
        # One node for the bare step, so that a step used in two places runs once.
        node = placed(Call(definition))
        self.__dict__.update(worn, __wrapped__=fn, definition=definition, _node=node)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a step cannot be changed: {name!r} was not set; use .options()")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a step cannot be changed: {name!r} was not deleted")

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind to an instance as a function would, so that decorated methods work."""
        return self if instance is None else functools.partial(self.definition.fn, instance)

    def _flow(self) -> Flow:
        return Flow(self._node, {self.definition.name: self.definition})

    @property
    def name(self) -> str:
        """What placed calls of the step are named by."""
        return self.definition.name

    @property
    def fn(self) -> Callable[..., Any]:
        """The function itself."""
        return self.definition.fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function here and now, as if it were undecorated."""
        return self.definition.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Step({quoted(self.name)[1:-1]})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Step):
            return self.definition.same_as(other.definition)
        return NotImplemented

    def __hash__(self) -> int:
        # That of the flow of the bare step, which is equal to it.
        return hash((self.definition.name,))

    # Placing a call

    def s(self, *args: Any, **kwargs: Any) -> Flow:
        """Describe a call; the value from upstream comes before `args`.

        Any argument may be a flow or hold flows: their values are passed.

        Raises
        ------
        SignatureError
            If an argument has no place in the function's signature.
        """
        return self._placed(args, kwargs, immutable=False)

    def si(self, *args: Any, **kwargs: Any) -> Flow:
        """Describe a call that receives nothing from upstream, and only waits for it.

        Raises
        ------
        SignatureError
            If the call is not complete as it stands.
        """
        return self._placed(args, kwargs, immutable=True)

    def _placed(self, args: Any, kwargs: dict[str, Any], *, immutable: bool) -> Flow:
        flows = [lift(each) for each in (*args, *kwargs.values())]
        expressions: list[Expression] = [each.expression for each in flows]
        count = len(args)
        pairs = tuple(zip(kwargs, expressions[count:], strict=True))
        node = placed(Call(self.definition, tuple(expressions[:count]), pairs, immutable))
        return gathered(node, [self._flow(), *flows])

    def map(self, items: Any = None, **options: Any) -> Flow:
        """Describe one call for each item; the value is the list of their values.

        Parameters
        ----------
        items
            What to go over: a list, a tuple, a range, an array, a generator; a frame,
            which gives slices of its rows; a flow, whose value is listed when it runs;
            or None for what flows in.
        options
            ``chunk_size``, ``max_concurrency``, ``on_error`` and ``key``; see
            `nbflow.mapping.mapped`.

        Examples
        --------
        >>> step(abs).map([-1, 2]).call()
        [1, 2]
        >>> (3 >> step(range) >> step(str).map()).call()
        ['0', '1', '2']
        """
        return mapped(self._flow(), items, options)

    def starmap(self, tuples: Any = None, **options: Any) -> Flow:
        """Describe one call for each tuple of arguments.

        Examples
        --------
        >>> step(pow).starmap([(2, 3), (3, 2)]).call()
        [8, 9]
        """
        return mapped(self._flow(), tuples, options, spread=True)

    def reduce(self, split_every: int = 8) -> Flow:
        """Describe a fan-in as a tree: calls on parts of a list, then on their values.

        For a step that takes a list and gives what may be a member of such a list, as
        a sum or a concatenation does. Many small calls take the place of one that would
        need all values at once.

        Parameters
        ----------
        split_every
            How many values one call gets at most.

        Raises
        ------
        FlowError
            If that is not a whole number of at least 2.

        Examples
        --------
        >>> ([1, 2, 3] >> step(sum).reduce(split_every=2)).call()
        6
        """
        most = checked_count("split_every", split_every, least=2)
        node = placed(Call(self.definition, split_every=most))
        return Flow(node, {self.definition.name: self.definition})

    # Copies

    def options(self, **options: Any) -> Step:
        """Copy with other options.

        Raises
        ------
        FlowError
            If there is no such option, or its value cannot be right.
        """
        old = self.definition
        name = checked_name(options.pop("name", old.name))
        return Step(Definition(old.fn, name, old.options.replaced(options), old.arity))

    def named(self, name: str) -> Step:
        """Copy under another name in the graph."""
        return self.options(name=name)


@overload
def step(fn: Callable[..., Any], **options: Any) -> Step: ...
@overload
def step(
    fn: None = None, *, name: str | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Step]: ...
def step(fn: Any = None, *, name: str | None = None, **options: Any) -> Any:
    """Make a step of a function: bare, with options, or around any callable.

    Parameters
    ----------
    fn
        The function, which may be a coroutine function; or a step, for a copy of it.
    name
        The name of its calls in a graph, instead of the function's own.
    options
        ``retry``, ``timeout``, ``when``, ``lock``, ``isolation``, ``fuse``, ``resources``,
        ``priority``, ``tags``, ``effect``, ``compensate``, ``on_doubt``, ``verify``,
        ``checkpoint``, ``delay``; see `Options`.

    Raises
    ------
    FlowError
        If it is not callable, is a generator function, or an option is wrong.

    Examples
    --------
    >>> @step(name="twice", fuse=False)
    ... def double(x):
    ...     return 2 * x
    >>> double.name, step(str.upper)("a")
    ('twice', 'A')
    """
    if isinstance(fn, Step):
        return fn.options(**options, name=fn.name if name is None else name)
    chosen = Options().replaced(options)
    if fn is None:
        return functools.partial(_step, name=name, options=chosen)
    return _step(fn, name=name, options=chosen)


def _step(fn: Any, *, name: str | None, options: Options) -> Step:
    if isinstance(fn, Flow):
        raise FlowError(f"{fn!r} is a flow already; a step is made of a function")
    plain = Definition.of(fn, name)
    return Step(Definition(plain.fn, plain.name, options, plain.arity))


class Param(Composable):
    """A named run-time parameter; made by `param`."""

    __slots__ = ("_reference",)

    def __init__(self, reference: ParamRef) -> None:
        self._reference = reference

    def _flow(self) -> Flow:
        return Flow(self._reference, {})

    @property
    def name(self) -> str:
        """The name by which a run gives the value."""
        return self._reference.name

    @property
    def default(self) -> Any:
        """The value used when a run gives none; raises if there is none."""
        if self._reference.default is MISSING:
            raise AttributeError(f"the parameter {quoted(self.name)} has no default")
        return self._reference.default

    def __eq__(self, other: object) -> bool:
        return self._flow() == other if isinstance(other, Composable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._flow())

    def __repr__(self) -> str:
        default = self._reference.default
        return (
            f"param({self.name!r})" if default is MISSING else f"param({self.name!r}, {default!r})"
        )


def param(name: str, default: Any = MISSING) -> Param:
    """Name a value that is given when the flow runs; usable wherever a value is.

    Parameters
    ----------
    name
        The name, as in ``flow.run(params={"path": "eu.csv"})``.
    default
        The value if a run gives none. Without it, a run must give one.

    Examples
    --------
    >>> flow = param("n", 2) >> step(range) >> list
    >>> flow.call(), flow.call(params={"n": 3})
    ([0, 1], [0, 1, 2])
    """
    return Param(ParamRef(checked_name(name), default))
