"""Small graphs to verify and to print."""

from __future__ import annotations

from fieldwise.axes import AxisMap, Border, IndexSet, Table
from fieldwise.graph import WHOLE, Along, Fixed, Graph, Node, Read, Reshape, Separable, Value
from fieldwise.graph.ir import broadcast, identity, separable, unknown


def values(**shapes: tuple[int, ...]) -> dict[str, Value]:
    return {name: Value(name, shape) for name, shape in shapes.items()}


def residual() -> Graph:
    """A convolution, its activation, and a sum with the input."""
    names = ("x", "block.conv", "act", "act#2", "sum")
    taps = AxisMap.window(3, padding=1)
    window = separable(0, Along(0), WHOLE, Along(2, taps), Along(3, taps, Border.REFLECT))
    return Graph(
        inputs=("x",),
        nodes=(
            Node("conv", ("x",), ("block.conv",), ((window,),), "block.conv"),
            Node("relu", ("block.conv",), ("act",), ((identity(0, 4),),), "block.act"),
            Node("relu", ("act",), ("act#2",), ((identity(0, 4),),), "block.act", call=2),
            Node("add", ("act#2", "x"), ("sum",), ((identity(0, 4), identity(1, 4)),), "block"),
        ),
        outputs=("sum",),
        values=values(**dict.fromkeys(names, (1, 3, 8, 8))),
        scopes={"block": (("sum",),)},
    )


def every_kind_of_read() -> Graph:
    """One node per kind of read, along a batch of one."""
    halves = (IndexSet.range(0, 4), IndexSet.range(4, 8))
    joined = (
        separable(0, Along(0), Along(1), where=((1, halves[0]),)),
        separable(1, Along(0), Along(1, AxisMap.affine(1, -4)), where=((1, halves[1]),)),
    )
    split = tuple((separable(0, Along(0), Along(1, AxisMap.affine(1, start))),) for start in (0, 4))
    bilinear = AxisMap(1, (IndexSet.range(-1, 1), IndexSet.range(0, 2)))
    doubled = separable(0, Along(0), Along(1, bilinear, Border.CLAMP))
    per_head = Read(0, (Reshape(), Separable((Along(0), WHOLE, Along(2)))), shapes=((1, 4, 2),))
    table = Table.of([[0], [3], [0, 1, 5]])
    return Graph(
        inputs=("x", "gate"),
        nodes=(
            Node("split", ("x",), ("a", "b"), split),
            Node("cat", ("b", "a"), ("joined",), (joined,)),
            Node("flip", ("joined",), ("back",), ((separable(0, Along(0), FLIPPED),),)),
            Node(
                "mul",
                ("back", "gate"),
                ("scaled",),
                ((identity(0, 2), broadcast(1, (1, 1), (1, 8))),),
            ),
            Node("upsample", ("a",), ("twice",), ((doubled,),)),
            Node("attend", ("twice",), ("heads",), ((per_head,),)),
            Node("gather", ("scaled",), ("picked",), ((separable(0, Along(0), Along(1, table)),),)),
            Node("take", ("picked",), ("ends",), ((separable(0, Along(0), ENDS),),)),
            Node("sort", ("ends",), ("sorted",), ((unknown(0, 2, "sorts"),),)),
            Node("full_like", ("ends",), ("ones",), ((),)),
        ),
        outputs=("sorted", "heads"),
        values={
            **values(
                x=(1, 8),
                a=(1, 4),
                b=(1, 4),
                joined=(1, 8),
                back=(1, 8),
                gate=(1, 1),
                scaled=(1, 8),
                twice=(1, 8),
                heads=(1, 4, 2),
                picked=(1, 3),
                ends=(1, 3),
                ones=(1, 3),
            ),
            "sorted": Value("sorted", (1, 3), "int64"),
        },
        output_names=("order", "heads"),
    )


FLIPPED = Along(1, AxisMap.affine(-1, 7))
ENDS = Fixed(IndexSet.of([0, 2]))
