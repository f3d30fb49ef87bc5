"""What flows into a flow from outside: parameters, constants and missing inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbflow.expression import Const, Expression, Node, ParamRef, leaves, parts_of
from nbflow.notebook.figure import Arrow, Figure
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import count, counted, dimensions

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from nbflow.topology import Topology

# Of one figure; above that they are drawn as one.
_MANY = 24
_MOST = 150
_SHAPED = ("pandas", "numpy", "polars", "pyarrow")
_SPELLED = (bool, int, float, type(None))


@dataclass
class Feeds:
    """The figures of what flows into steps, and their edges.

    Attributes
    ----------
    topology
        The flow.
    figures
        One for each parameter, constant and missing input that was met.
    arrows
        From there to the steps.
    """

    topology: Topology
    figures: dict[Hashable, Figure] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)

    def feed(self, figure: Figure) -> None:
        """Add what flows into a figure."""
        nodes = [self.topology.nodes[each] for each in figure.members]
        params = dict.fromkeys(
            leaf.name for node in nodes for leaf in leaves_of(node) if isinstance(leaf, ParamRef)
        )
        if len(params) > _MANY:
            self._join(figure, Kind.PARAM, tuple(params), f"{count(len(params))} parameters")
        else:
            for name in params:
                self._join(figure, Kind.PARAM, name, name)
        missing = dict.fromkeys(name for node in nodes if node.open for name in _missing(node))
        for name in list(missing)[:_MANY]:
            self._join(figure, Kind.INPUT, name, f"{name} = ?")
        self._feed_constants(figure, nodes)

    def _feed_constants(self, figure: Figure, nodes: Sequence[Node]) -> None:
        found = {id(each): each.value for node in nodes for each in _flowed_in(node)}
        if not found:
            return
        if len(found) == 1 or len(found) > _MANY or len(nodes) > 1:
            values = list(found.values())
            title = described(values[0]) if len(values) == 1 else counted(len(values), "value")
            self._join(figure, Kind.CONSTANT, tuple(found), title)
            return
        for key, value in found.items():
            self._join(figure, Kind.CONSTANT, (key,), described(value))

    def _join(self, figure: Figure, kind: Kind, identity: Hashable, title: str) -> None:
        known = self.figures.get((kind, identity))
        if known is None:
            if len(self.figures) >= _MOST:
                return
            known = Figure(f"{kind[0]}{len(self.figures)}", kind, title)
            self.figures[kind, identity] = known
        self.arrows.append(Arrow(known.key, figure.key))


def leaves_of(node: Node) -> Iterator[Expression]:
    """Go through the nodes, constants and parameters among the arguments of a step."""
    for part in parts_of(node):
        yield from leaves(part)


def _flowed_in(node: Node) -> Iterator[Const]:
    """Go through the constants that came over ``>>``; those of ``.s()`` are not drawn."""
    own = len(node.args) - len(node.call.args)
    named = len(node.kwargs) - len(node.call.kwargs)
    parts = [*node.args[:own], *(part for _, part in node.kwargs[:named])]
    for part in parts:
        for leaf in leaves(part):
            if isinstance(leaf, Const):
                yield leaf


def _missing(node: Node) -> tuple[str, ...]:
    given = len(node.args) + (node.call.elements is not None)
    names = node.call.definition.arity.missing(given, [name for name, _ in node.kwargs])
    return names or ("input",)


def described(value: Any) -> str:
    """Say what a constant is without computing anything, and without its contents.

    A text may be a password, and a picture is saved with the notebook.

    Examples
    --------
    >>> described(4), described("secret"), described([1, 2])
    ('4', 'str', 'list of 2')
    """
    kind = type(value)
    if kind in _SPELLED:
        return repr(value) if kind is not int or value.bit_length() < 64 else "int"
    if kind in (list, tuple, dict):
        return f"{kind.__name__} of {count(len(value))}"
    if str(kind.__module__).split(".")[0] in _SHAPED:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(type(each) is int for each in shape):
            rows, columns = (*shape, None, None)[:2]
            return f"{kind.__name__} {dimensions(rows, columns)}".rstrip()
    return kind.__name__
