"""Networks written as a list of layers: the graph of a ``layer_list``, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from fieldwise.axes import AxisMap
from fieldwise.axes.region import Shape as Shape
from fieldwise.capture.layer_kinds import KINDS
from fieldwise.capture.layer_limits import (
    MAX_LENGTH,
    Cost,
    TooLargeError,
    check_cost,
    fields,
    result_length,
)
from fieldwise.capture.layer_list import MOST_AXES, LayerSpec, fail_at, layer_names, parse_layers
from fieldwise.errors import UsageError
from fieldwise.graph import WHOLE, Along, Coord, Graph, Node, Value
from fieldwise.graph.ir import separable


def layers_graph(text: str, input_shape: Shape | None = None) -> Graph:
    """The graph of a written list on an input of shape (batch, channels, *spatial).

    Without an input shape the number of axes is what the list is written for (one, unless an
    option such as '3x5' says more), and the length is such that the last layer has interior
    units.  Channels are kept: every layer makes as many as it is given.

    Raises UsageError for a list that cannot be read, and for one that the input is too small
    for; the text shows the layer.

    >>> graph = layers_graph("conv3 relu conv3/2", (1, 1, 9))
    >>> [(name, graph.shape(name)) for name in graph.values]
    [('input', (1, 1, 9)), ('conv3', (1, 1, 7)), ('relu', (1, 1, 7)), ('conv3/2', (1, 1, 3))]
    """
    layers = parse_layers(text)
    shape = input_shape or default_input(text, layers)
    check_input(text, layers, shape)
    for axis in range(len(shape) - 2):
        _fields(text, layers, axis)
    shapes = _output_shapes(text, layers, shape)
    values = {"input": Value("input", shape)}
    nodes: list[Node] = []
    source = "input"
    for layer, name, result in zip(layers, layer_names(layers), shapes, strict=True):
        values[name] = Value(name, result)
        coords = _coords(layer, len(shape))
        read = separable(0, *coords, kind=KINDS[layer.kind].combines)
        nodes.append(Node(KINDS[layer.kind].op, (source,), (name,), ((read,),), module=name))
        source = name
    scopes = {node.module: (node.results,) for node in nodes}
    return Graph(("input",), tuple(nodes), (source,), values, scopes)


def check_input(text: str, layers: Sequence[LayerSpec], shape: Shape) -> None:
    """Raise UsageError unless the shape is (batch, channels, *spatial) with the layers' axes."""
    written = "x".join(map(str, shape[:8]))
    if not 3 <= len(shape) <= 2 + MOST_AXES or min(shape) < 1:
        raise UsageError(
            f"The input {written} of a layer list is not batch x channels x one to three axes; "
            "write for example 1x1x64x64."
        )
    if max(shape) > MAX_LENGTH:
        raise UsageError(
            f"The input {written} of a layer list is too large; use at most {MAX_LENGTH} along "
            "each axis."
        )
    _check_axes(text, layers, len(shape) - 2)


def _check_axes(text: str, layers: Sequence[LayerSpec], axes: int) -> None:
    for layer in layers:
        if layer.axes not in (1, axes):
            fail_at(
                layer,
                f"Layer {layer.text!r} is written for {layer.axes} axes, "
                f"but the network has {axes}; give one number for all axes or {axes}.",
                text,
            )


def default_input(text: str, layers: Sequence[LayerSpec]) -> Shape:
    """A shape at which the last map with a finite field has a few interior units.

    >>> default_input("conv3 conv3 maxpool2", parse_layers("conv3 conv3 maxpool2"))
    (1, 1, 22)
    """
    axes = max(layer.axes for layer in layers)
    _check_axes(text, layers, axes)
    return (1, 1, *(_default_length(text, layers, axis) for axis in range(axes)))


def _default_length(text: str, layers: Sequence[LayerSpec], axis: int) -> int:
    finite = [field for field in _fields(text, layers, axis) if field is not None]
    coarsest = max([1, *(ceil(field.rate) for field in finite)])
    length = (finite[-1].extent if finite else 1) + 8 * coarsest
    return -(-length // coarsest) * coarsest


def _fields(text: str, layers: Sequence[LayerSpec], axis: int) -> tuple[AxisMap | None, ...]:
    """The field of every layer along an axis, None where it is the whole axis.

    Raises UsageError at the first layer that passes a limit (see layer_limits).
    """
    found: list[AxisMap | None] = []
    try:
        for field in fields([(KINDS[layer.kind], layer.at(axis)) for layer in layers]):
            found.append(field)  # noqa: PERF402  what was found before the error is counted
    except TooLargeError as error:
        layer = layers[len(found)]
        fail_at(layer, f"Layer {layer.text!r} is too large: {error}.", text)
    return tuple(found)


def _output_shapes(text: str, layers: Sequence[LayerSpec], shape: Shape) -> Iterator[Shape]:
    """The shapes of the layers' results on an input of this shape.

    Raises UsageError at the first layer that does not fit, or passes a limit.
    """
    total = Cost()
    for layer in layers:
        out = list(shape[:2])
        for axis, size in enumerate(shape[2:]):
            try:
                length, cost = result_length(KINDS[layer.kind], layer.at(axis), size)
                total = total + cost
                check_cost(total)
            except TooLargeError as error:
                fail_at(layer, f"Layer {layer.text!r} is too large: {error}.", text)
            if length < 1:
                fail_at(
                    layer,
                    f"Layer {layer.text!r} does not fit: {layer.at(axis).span} samples wide, it "
                    f"is given {size} along axis {axis}; use a larger input or more padding.",
                    text,
                )
            out.append(length)
        shape = tuple(out)
        yield shape


def _coords(layer: LayerSpec, rank: int) -> tuple[Coord, ...]:
    kind = KINDS[layer.kind]
    channel: Coord = WHOLE if kind.mixes else Along(1)
    if kind.whole:
        return (Along(0), channel, *(WHOLE for _ in range(rank - 2)))
    spatial = (Along(axis + 2, kind.read(layer.at(axis)), kind.border) for axis in range(rank - 2))
    return (Along(0), channel, *spatial)
