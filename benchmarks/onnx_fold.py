"""Tools that fold affine nodes of ONNX files, side by side on the same files.

    pip install --no-deps onnxslim onnxsim onnxoptimizer sympy colorama
    python benchmarks/onnx_fold.py

The files are small ones in which a fold is easy to get wrong, and networks of torchvision and timm
as torch.onnx writes them where BatchNorm is kept.  Weights and statistics are random.  Every tool
has a process of its own.  What it writes is run in ONNX Runtime without optimisation
beside the file that was read: wrong is what differs by more than 1e-3 of the largest output.
Counted are the nodes that are affine in what derives from the input: BatchNormalization, and Add,
Sub, Mul and Div with a constant.  Writes docs/onnx_fold.md; exit code 1 where fieldwise is wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper

if TYPE_CHECKING:
    from torch import Tensor, nn

PAGE = Path(__file__).parent.parent / "docs" / "onnx_fold.md"
SECONDS = 300
WRONG = 1e-3
NORM = dict.fromkeys(("g", "b", "m", "v"), (4,))
NORM3 = dict.fromkeys(("g", "b", "m", "v"), (3,))
BN = "BatchNormalization"
Shapes = Mapping[str, tuple[int, ...]]

# ------------------------------------------------------------------------------ the files

HARD: Mapping[str, tuple[str, Shapes]] = {
    "Conv, BN": (f"c = Conv (x, w) y = {BN} (c, g, b, m, v)", {"w": (4, 3, 3, 3), **NORM}),
    "ConvTranspose, BN": (
        f"c = ConvTranspose <strides = [2, 2]> (x, w) y = {BN} (c, g, b, m, v)",
        {"w": (3, 4, 3, 3), **NORM}),
    "grouped ConvTranspose, BN": (
        f"c = ConvTranspose <group = 3> (x, w, a) y = {BN} (c, g, b, m, v)",
        {"w": (3, 2, 3, 3), "a": (6,), **dict.fromkeys(NORM, (6,))}),
    "BN, Conv": (f"n = {BN} (x, g, b, m, v) y = Conv (n, w)", {"w": (4, 3, 3, 3), **NORM3}),
    "BN, padded Conv (must stay)": (
        f"n = {BN} (x, g, b, m, v) y = Conv <pads = [1, 1, 1, 1]> (n, w)",
        {"w": (4, 3, 3, 3), **NORM3}),
    "depthwise Conv, BN": (
        f"c = Conv <group = 3> (x, w) y = {BN} (c, g, b, m, v)", {"w": (3, 1, 3, 3), **NORM3}),
    "Conv, Mul, Add": (
        "c = Conv (x, w) d = Mul (c, s) y = Add (d, t)",
        {"w": (4, 3, 3, 3), "s": (1, 4, 1, 1), "t": (4, 1, 1)}),
    "Conv, Sub from a constant, Div": (
        "c = Conv (x, w) d = Sub (t, c) y = Div (d, v)",
        {"w": (4, 3, 3, 3), "t": (1, 4, 1, 1), "v": (4, 1, 1)}),
    "Conv, Mul along the width (must stay)": (
        "c = Conv (x, w) y = Mul (c, s)", {"w": (4, 3, 5, 5), "s": (4,)}),
    "two Convs, Concat, BN": (
        f"c = Conv (x, w) d = Conv (x, u) e = Concat <axis = 1> (c, d) y = {BN} (e, g, b, m, v)",
        {"w": (1, 3, 3, 3), "u": (3, 3, 3, 3), **NORM}),
    "Conv, AveragePool, BN": (
        f"c = Conv (x, w) p = AveragePool <kernel_shape = [2, 2]> (c) y = {BN} (p, g, b, m, v)",
        {"w": (4, 3, 3, 3), **NORM}),
    "Conv, MaxPool, BN with a negative scale (must stay)": (
        f"c = Conv (x, w) p = MaxPool <kernel_shape = [2, 2]> (c) y = {BN} (p, g, b, m, v)",
        {"w": (4, 3, 3, 3), **NORM}),
    "BN, two Convs": (
        f"n = {BN} (x, g, b, m, v) c = Conv (n, w) d = Conv (n, u) y = Add (c, d)",
        {"w": (4, 3, 3, 3), "u": (4, 3, 3, 3), **NORM3}),
    "one weight for two Convs, BN behind one": (
        f"c = Conv (x, w) n = {BN} (c, g, b, m, v) d = Conv (x, w) y = Add (n, d)",
        {"w": (4, 3, 3, 3), **NORM}),
    "a Conv that is read twice, BN (must stay)": (
        f"c = Conv (x, w) n = {BN} (c, g, b, m, v) y = Add (n, c)", {"w": (4, 3, 3, 3), **NORM}),
    "Gemm with alpha and beta, BN": (
        f"p = GlobalAveragePool (x) f = Flatten (p) "
        f"c = Gemm <alpha = 0.5, beta = 2.0> (f, w, a) y = {BN} (c, g, b, m, v)",
        {"w": (3, 4), "a": (4,), **NORM}),
    "MatMul, Add, BN": (
        f"p = GlobalAveragePool (x) f = Flatten (p) c = MatMul (f, w) d = Add (c, a) "
        f"y = {BN} (d, g, b, m, v)", {"w": (3, 4), "a": (4,), **NORM}),
    "BN, Gemm": (
        f"p = GlobalAveragePool (x) f = Flatten (p) n = {BN} (f, g, b, m, v) y = Gemm (n, w)",
        {"w": (3, 4), **NORM3}),
    "parallel Convs with BN (RepVGG)": (
        f"c = Conv <pads = [1, 1, 1, 1]> (x, w) n = {BN} (c, g, b, m, v) d = Conv (x, u) "
        f"k = {BN} (d, b, g, m, v) y = Add (n, k)",
        {"w": (4, 3, 3, 3), "u": (4, 3, 1, 1), **NORM}),
    "quantised weight, Conv, BN (must stay)": (
        f"q = QuantizeLinear (w, vs) k = DequantizeLinear (q, vs) c = Conv (x, k) "
        f"y = {BN} (c, g, b, m, v)", {"w": (4, 3, 3, 3), "vs": (), **NORM}),
}  # fmt: skip
ZOO = (
    "torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:densenet121",
    "torchvision:googlenet", "timm:repvgg_a0",
)  # fmt: skip


def hard_file(text: str, shapes: Shapes) -> ModelProto:
    """A file in onnx's text form, with drawn initialisers; those that begin with v are positive."""
    rank = 2 if "Flatten" in text else 4
    out = "float[N, C] y" if rank == 2 else "float[N, C, H, W] y"
    head = '<ir_version: 8, opset_import: ["" : 17]> net (float[2, 3, 8, 8] x)'
    model = onnx.parser.parse_model(f"{head} => ({out}) {{ {text} }}")
    draw = np.random.default_rng(0)
    for name, shape in shapes.items():
        array = draw.standard_normal(shape).astype(np.float32)
        array = np.abs(array) + np.float32(0.3) if name.startswith("v") else array
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def exported(spec: str, path: Path) -> None:
    """A network with random statistics, as torch.onnx writes it with its BatchNorms."""
    import torch
    from torch import nn

    from fieldwise.capture import load_model

    torch.manual_seed(0)
    model = load_model(spec, "1x3x64x64").runnable().module
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name, least in (("running_mean", -0.5), ("running_var", 0.5), ("weight", 0.5)):
                getattr(module, name).data.uniform_(least, least + 1)
            module.bias.data.uniform_(-0.5, 0.5)
    export(model, torch.randn(1, 3, 64, 64), path)


def export(model: nn.Module, x: Tensor, path: Path) -> None:
    """A network as torch.onnx writes it with its BatchNorms."""
    import torch

    warnings.simplefilter("ignore")
    torch.onnx.export(
        model, (x,), path, dynamo=True, optimize=False, verbose=False, external_data=False
    )
    onnx.save(without_zero_biases(onnx.load(path)), path)


def without_zero_biases(model: ModelProto) -> ModelProto:
    """The exporter writes a bias that is not there as zeros cast to the type of the input."""
    makers = {out: node for node in model.graph.node for out in node.output}
    for node in model.graph.node:
        made = makers.get(node.input[2]) if node.op_type == "Conv" and len(node.input) > 2 else None
        if made is not None and made.op_type == "Expand":
            del node.input[2:]
    while True:
        read = {name for node in model.graph.node for name in node.input}
        read |= {one.name for one in model.graph.output}
        dead = [node for node in model.graph.node if not read.intersection(node.output)]
        for node in dead:
            model.graph.node.remove(node)
        if not dead:
            return model


# ------------------------------------------------------------------------------ the tools


def by_fieldwise(source: Path, out: Path) -> None:
    """Ours; its own verification is off, so that the algebra alone is judged."""
    import fieldwise.onnx
    from fieldwise import fold

    net = fieldwise.onnx.load(source)
    shape = tuple(one for one in net.graph.inputs[0].dims or () if isinstance(one, int))
    fold(net, shape, verify=False).save(out)


def by_onnxslim(source: Path, out: Path) -> None:
    """Its usual passes."""
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), out)


def by_onnxsim(source: Path, out: Path) -> None:
    """Its usual passes, without its own check."""
    import onnxsim

    onnx.save(onnxsim.simplify(onnx.load(source), check_n=0)[0], out)


def by_onnxoptimizer(source: Path, out: Path) -> None:
    """All passes that fuse or eliminate."""
    import onnxoptimizer

    passes = onnxoptimizer.get_fuse_and_elimination_passes()
    onnx.save(onnxoptimizer.optimize(onnx.load(source), passes, fixed_point=True), out)


def by_onnxscript(source: Path, out: Path) -> None:
    """Its optimiser, then its usual rewriting."""
    from onnxscript import optimizer, rewriter

    onnx.save(rewriter.rewrite(optimizer.optimize(onnx.load(source))), out)


def by_onnxruntime(source: Path, out: Path) -> None:
    """Its basic level, which keeps to ONNX's own operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


TOOLS: Mapping[str, Callable[[Path, Path], None]] = {
    "fieldwise": by_fieldwise,
    "onnxslim": by_onnxslim,
    "onnxsim": by_onnxsim,
    "onnxoptimizer": by_onnxoptimizer,
    "onnxscript": by_onnxscript,
    "onnxruntime": by_onnxruntime,
}

# ------------------------------------------------------------------------------ the judgement


def affine_nodes(model: ModelProto) -> int:
    """The nodes that are affine in what derives from the input."""
    constant = {one.name for one in model.graph.initializer}
    count = 0
    for node in model.graph.node:
        given = [name for name in node.input if name]
        if constant.issuperset(given):
            constant.update(node.output)
        elif node.op_type == BN:
            count += 1
        elif node.op_type in ("Add", "Sub", "Mul", "Div"):
            count += any(name in constant for name in given)
    return count


def outputs(path: Path, x: np.ndarray | None = None) -> list[np.ndarray]:
    """What a file gives for an input, or one that is drawn, in ONNX Runtime as it stands."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    [one] = session.get_inputs()
    if x is None:
        x = np.random.default_rng(1).standard_normal(one.shape).astype(np.float32)
    found: list[np.ndarray] = session.run(None, {one.name: x})
    return found


def run_tool(tool: str, sources: Sequence[Path]) -> list[str]:
    """What a tool made of files, in a process of its own; of what kills that, each in its own."""
    if tool != "fieldwise" and find_spec(tool) is None:
        return ["not installed"] * len(sources)
    code = _run(tool, sources)
    if code < 0 and len(sources) > 1:
        missing = [source for source in sources if not _out(tool, source).exists()]
        crashed = {source for source in missing if _run(tool, [source]) < 0}
    else:
        crashed = set(sources) if code < 0 else set()
    return ["crashed" if one in crashed else judged(one, _out(tool, one)) for one in sources]


def _out(tool: str, source: Path) -> Path:
    return source.with_name(f"{source.stem}.{tool}.onnx")


def _run(tool: str, sources: Sequence[Path]) -> int:
    arguments = [sys.executable, __file__, "--tool", tool, *map(str, sources)]
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return -1
    return done.returncode


def judged(source: Path, out: Path) -> str:
    """What a tool made of a file: how many affine nodes are left, or what went wrong."""
    if not out.exists():
        return "refused"
    try:
        found = outputs(out)
    except Exception:  # noqa: BLE001  its errors have no common base
        return "WRONG: not a valid file"
    error = max(
        float(np.abs(one - two).max() / np.abs(two).max())
        for one, two in zip(found, outputs(source), strict=True)
    )
    left = affine_nodes(onnx.load(out))
    return str(left) if error <= WRONG else f"WRONG ({error:.0e})"


def page(rows: list[tuple[str, int, list[str]]]) -> str:
    """The results as a page."""
    names = [name for name in TOOLS if name == "fieldwise" or find_spec(name) is not None]
    versions = ", ".join(f"{name} {version(name)}" for name in names if name != "fieldwise")
    lines = [
        "# Folding ONNX files, beside other tools",
        "",
        "Affine nodes (BatchNormalization; Add, Sub, Mul and Div with a constant) that are left of "
        "a file. *WRONG*: the outputs differ by more than a thousandth in ONNX Runtime; *refused*: "
        f"an error. Versions: {versions}. Made by `python benchmarks/onnx_fold.py`, whose first "
        "lines say how to install the others.",
        "",
        f"| file | before | {' | '.join(TOOLS)} |",
        f"| --- | --: | {' | '.join(['--:'] * len(TOOLS))} |",
        *(f"| {name} | {before} | {' | '.join(found)} |" for name, before, found in rows),
    ]
    columns = list(zip(*(found for *_, found in rows), strict=True))
    total = sum(before for _, before, _ in rows)
    sums = [f"{total - _left(column, rows)} of {total}" for column in columns]
    wrong = [str(sum("WRONG" in one for one in column)) for column in columns]
    refused = [
        str(sum(one.startswith(("refused", "crashed")) for one in column)) for column in columns
    ]
    lines += [
        f"| **removed** | | {' | '.join(sums)} |",
        f"| **files wrong** | | {' | '.join(wrong)} |",
        f"| **files refused** | | {' | '.join(refused)} |",
        "",
    ]
    return "\n".join(lines)


def _left(column: tuple[str, ...], rows: list[tuple[str, int, list[str]]]) -> int:
    """Nodes that are left where the result is right; all of them where it is not."""
    return sum(
        int(one) if one.isdigit() else before
        for one, (_, before, _) in zip(column, rows, strict=True)
    )


def main() -> int:
    """Compare all tools on all files, or run one on one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", choices=TOOLS)
    parser.add_argument("paths", nargs="*", type=Path)
    given = parser.parse_args()
    if given.tool:
        for source in given.paths:
            with suppress(Exception):
                TOOLS[given.tool](source, _out(given.tool, source))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{n}.onnx" for n, name in enumerate((*HARD, *ZOO))}
        for name, source in files.items():
            if name in HARD:
                onnx.save(hard_file(*HARD[name]), source)
            else:
                exported(name, source)
        before = [affine_nodes(onnx.load(source)) for source in files.values()]
        columns = []
        for tool in TOOLS:
            columns.append(run_tool(tool, list(files.values())))
            print(tool, *columns[-1], sep=" | ", flush=True)
    found = [list(row) for row in zip(*columns, strict=True)]
    rows = list(zip(files, before, found, strict=True))
    PAGE.write_text(page(rows))
    return int(any("WRONG" in found[0] or found[0].startswith("refused") for *_, found in rows))


if __name__ == "__main__":
    sys.exit(main())
