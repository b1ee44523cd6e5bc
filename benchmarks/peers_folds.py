"""What folding tools leave of BatchNorm, and whether the result is right; see peers.py.

Weights, scales and offsets are drawn, and the statistics are those of inputs that went through the
network (``settled``): what a trained network has.  Truth is the network itself, in float64.  Tools
that take float64 are held to 1e-9 of the largest output, those that know float32 alone to 1e-3.
Counted is what still runs: BatchNorm ops of a captured run, BatchNormalization nodes of an ONNX
file, subtractions of a constant in inductor's graph, one of which every BatchNorm becomes there.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
import onnx_fold
import torch
from fold_subjects import RIGHT, RIGHT_IN_SINGLE, count, difference, outputs, settled
from fold_tools import Tool as Fold
from fold_tools import by_adjacency, by_fieldwise, by_fieldwise_graph, by_fx, by_torchao
from peers_frame import SILENTLY_WRONG, Capability, Run, Tool
from torch import Tensor, nn

SHAPE = (1, 3, 64, 64)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a tool made: its outputs, BatchNorms left, and the largest error of a right one."""

    outputs: list[Tensor]
    left: int
    limit: float = RIGHT


@dataclass(frozen=True, slots=True)
class Subject:
    """A network by how it is built."""

    build: Callable[[], nn.Module]

    def made(self) -> nn.Module:
        """In eval mode and float64, with settled statistics; the same one in every process."""
        torch.manual_seed(0)
        return settled(self.build(), SHAPE).double().eval()

    def example(self) -> tuple[Tensor, ...]:
        """An input."""
        torch.manual_seed(1)
        return (torch.randn(SHAPE, dtype=torch.float64),)


# ------------------------------------------------------------------------------ tools in PyTorch


def of_modules(fold: Fold) -> Callable[[Subject], Run]:
    """A tool that gives a module."""

    def prepare(subject: Subject) -> Run:
        model, example = subject.made(), subject.example()

        def run() -> Callable[[], Folded]:
            found = fold(copy.deepcopy(model), example)
            return lambda: Folded(outputs(found, example), count(found, example))

        return run

    return prepare


def by_timm(model: nn.Module, _: tuple[Tensor, ...]) -> nn.Module:
    """Modules that have a method for it fold themselves."""
    from timm.utils import reparameterize_model

    return reparameterize_model(model)


def by_inductor(subject: Subject) -> Run:
    """Dynamo, and inductor's passes with freezing on; the graph is run as it is, not compiled."""
    from functorch.compile import make_boxed_func
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx
    from torch.fx import GraphModule

    model = subject.made().float()
    example = tuple(one.float() for one in subject.example())
    graphs: list[GraphModule] = []

    def kept(graph: GraphModule, _inputs: object, **_options: object) -> Callable[..., object]:
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    def backend(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        return compile_fx(graph, inputs, inner_compile=kept)

    def run() -> Callable[[], Folded]:
        torch._dynamo.reset()
        graphs.clear()
        with torch.no_grad(), config.patch(freezing=True, force_disable_caches=True):
            found = [torch.compile(model, backend=backend)(*example)]
        left = sum("aten.sub" in str(node.target) for one in graphs for node in one.graph.nodes)
        return lambda: Folded(found, left, RIGHT_IN_SINGLE)

    return run


# ------------------------------------------------------------------------------ tools of ONNX files


def of_files(fold: Callable[[Path, Path], None]) -> Callable[[Subject], Run]:
    """A tool that reads an ONNX file and writes another."""

    def prepare(subject: Subject) -> Run:
        folder = Path(tempfile.mkdtemp())
        source, out = folder / "given.onnx", folder / "folded.onnx"
        [x] = (one.float() for one in subject.example())
        onnx_fold.export(subject.made().float(), x, source)

        def run() -> Callable[[], Folded]:
            fold(source, out)
            return lambda: Folded(
                [torch.from_numpy(one) for one in onnx_fold.outputs(out, x.numpy())],
                sum(node.op_type == onnx_fold.BN for node in onnx.load(out).graph.node),
                RIGHT_IN_SINGLE,
            )

        return run

    return prepare


# ------------------------------------------------------------------------------ the networks


class Checked(nn.Module):
    """A convolution and its BatchNorm, behind a check of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        """Two rows and columns fewer."""
        if x.shape[1] != 3:
            raise ValueError("Three channels are needed.")
        return self.norm(self.conv(x))


class Twice(Checked):
    """The convolution runs again behind the BatchNorm, which therefore has to stay."""

    def forward(self, x: Tensor) -> Tensor:
        """Four rows and columns fewer."""
        return self.conv(self.norm(self.conv(x)))


def zoo(spec: str) -> nn.Module:
    """An architecture of torchvision or timm."""
    from fieldwise.capture.specs import load_model

    source = load_model(spec, "x".join(map(str, SHAPE))).source
    assert isinstance(source, nn.Module)
    return source


ZOO = ("torchvision:resnet18", "timm:efficientnet_b0", "timm:repvgg_a0")
SMALL: Mapping[str, Callable[[], nn.Module]] = {
    "BatchNorm before a convolution": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "behind a transposed convolution": lambda: nn.Sequential(
        nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)
    ),
    "a forward that checks its input": Checked,
    "a convolution that runs twice": Twice,
}


def judge(subject: Subject, found: Callable[[], Folded]) -> tuple[str, str]:
    """Held against the network in float64; how many BatchNorms of how many are left."""
    model, example, folded = subject.made(), subject.example(), found()
    error = difference([one.double() for one in folded.outputs], outputs(model, example))
    note = f"{folded.left} left"
    if error <= folded.limit:
        return "right", note
    return SILENTLY_WRONG, f"{note}, by {error:.0e}"


CAPABILITY = Capability(
    module="peers_folds",
    subjects={
        **{spec: Subject(partial(zoo, spec)) for spec in ZOO},
        **{name: Subject(build) for name, build in SMALL.items()},
    },
    tools={
        "fieldwise": Tool(of_modules(by_fieldwise), ("fieldwise",)),
        "fieldwise, graph allowed": Tool(of_modules(by_fieldwise_graph), ("fieldwise",)),
        "torch.fx": Tool(of_modules(by_fx), ("torch",)),
        "neighbours": Tool(of_modules(by_adjacency), ("torch",)),
        "torchao": Tool(of_modules(by_torchao), ("torchao",)),
        "inductor": Tool(by_inductor, ("torch",)),
        "timm": Tool(of_modules(by_timm), ("timm",)),
        "ONNX Runtime": Tool(of_files(onnx_fold.by_onnxruntime), ("onnxruntime",)),
        "onnxslim": Tool(of_files(onnx_fold.by_onnxslim), ("onnxslim",)),
        "onnxsim": Tool(of_files(onnx_fold.by_onnxsim), ("onnxsim",)),
    },
    judge=judge,
    base=of_modules(by_fieldwise),
)
