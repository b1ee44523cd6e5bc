"""ONNX networks that provoke what the commands say: small ones, a few for every sort of refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, numpy_helper


@dataclass(frozen=True)
class Network:
    """A network in onnx's text form, with drawn initialisers; nodes in ``[ ]`` bear names."""

    text: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    opset: int = 20

    def model(self) -> ModelProto:
        """The model; initialisers called ``v…`` are positive."""
        head = f'<ir_version: 9, opset_import: ["" : {self.opset}, "com.microsoft" : 1]>'
        model = onnx.parser.parse_model(f"{head} {self.text}")
        dice = np.random.default_rng(0)
        for name, shape in self.shapes.items():
            array = dice.standard_normal(shape).astype(np.float32)
            array = np.abs(array) + 0.3 if name.startswith("v") else array
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        for name, value in self.constants.items():
            array = np.asarray(value)
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        for node in model.graph.node:
            node.name = f"/net/{node.name}" if node.name else ""
        return model


IMAGE = "float[1, 4, 16, 16] x"
OUT = "float[N, C, H, W] y"
SIZES = {"w": (4, 4, 3, 3), "w2": (4, 4, 3, 3), "b": (4,)}
NORM = {"s": (4,), "t": (4,), "m": (4,), "v": (4,)}


def image(nodes: str, *, out: str = OUT, source: str = IMAGE, **constants: object) -> Network:
    """A network of an image; drawn tensors that it does not read are left out."""
    drawn = {n: s for n, s in (SIZES | NORM).items() if f" {n}," in nodes or f" {n})" in nodes}
    return Network(f"net ({source}) => ({out}) {{ {nodes} }}", drawn, constants)


CONV = "[conv] a = Conv <pads = [1, 1, 1, 1]> (x, w)"
BN = "[norm] {1} = BatchNormalization ({0}, s, t, m, v)"


def bn(source: str, result: str) -> str:
    """A node of BatchNormalization."""
    return BN.format(source, result)


SE = f"{CONV} [pool] g = GlobalAveragePool (a) [hard] h = HardSigmoid (g) [scale] y = Mul (a, h)"
WHOLE = np.array([0, -1], np.int64)
NETWORKS: dict[str, Network] = {
    "clip, gather, pool": image(
        f"{CONV} [clip] c = Clip (a, lo, hi) [pool] p = MaxPool <kernel_shape = [2, 2], "
        "strides = [2, 2]> (c) [take] y = Gather <axis = 2> (p, k)",
        lo=np.float32(0),
        hi=np.float32(6),
        k=np.array([0, 3, 5, 1, 2], np.int64),
    ),
    "gelu and swish": image(
        f"{CONV} [act] c = Gelu (a) [quick] d = com.microsoft.QuickGelu (c) "
        "[hard] y = HardSwish (d)",
    ),
    "squeeze and excitation": image(SE),
    "a norm behind gelu": image(f"{CONV} [act] c = Gelu (a) {bn('c', 'y')}"),
    "a norm behind a clip": image(
        f"{CONV} [clip] c = Clip (a, lo, hi) {bn('c', 'd')} [act] y = Sigmoid (d)",
        lo=np.float32(0),
        hi=np.float32(6),
    ),
    "a norm behind a pool": image(
        f"{CONV} [pool] c = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], "
        f"count_include_pad = 1> (a) {bn('c', 'd')} [act] y = Softplus (d)",
    ),
    "a norm behind a pool of the largest": image(
        f"{CONV} [pool] c = MaxPool <kernel_shape = [3, 3]> (a) {bn('c', 'd')} [act] y = Elu (d)",
    ),
    "a norm in a fork": image(
        f"{CONV} {bn('a', 'c')} [act] d = Relu (a) [sum] e = Add (c, d) [last] y = Mish (e)",
    ),
    "a norm of the input": image(f"{bn('x', 'a')} [act] b0 = Relu (a) [conv] y = Conv (b0, w)"),
    "a norm before zeros": image(
        f"{bn('x', 'a')} [conv] y = Conv <pads = [1, 1, 1, 1]> (a, w)",
    ),
    "a norm behind a sum": image(
        f"{CONV} [sum] c = Add (a, x) {bn('c', 'd')} [act] y = LeakyRelu (d)",
    ),
    "a norm behind a join": image(
        f"{CONV} [join] c = Concat <axis = 1> (a, x) "
        "[half] c1, c2 = Split <axis = 1, num_outputs = 2> (c) "
        f"{bn('c2', 'd')} [act] y = Tanh (d)",
    ),
    "instance norm": image(
        "[conv] a = Conv <pads = [1, 1, 1, 1]> (x, w) "
        "[norm] c = InstanceNormalization (a, s, t) [act] d = Relu (c) [last] y = Conv (d, w2)",
    ),
    "group norm": image(
        f"{CONV} [norm] y = GroupNormalization <num_groups = 2> (a, one, nought)",
        one=np.ones(2),
        nought=np.zeros(2),
    ),
    "layer norm": image(
        f"{CONV} [norm] y = LayerNormalization <axis = 3> (a, one, nought)",
        one=np.linspace(1, 2, 16),
        nought=np.zeros(16),
    ),
    "SAME padding": image('[conv] y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)'),
    "reflected": image(
        '[pad] a = Pad <mode = "reflect"> (x, p) [conv] y = Conv (a, w)',
        p=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    ),
    "edges": image(
        '[pad] a = Pad <mode = "edge"> (x, p) [conv] y = Conv (a, w)',
        p=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    ),
    "linear resizing": image(
        f'{CONV} [up] y = Resize <mode = "linear"> (a, , k)',
        k=np.array([1, 1, 2, 2], np.float32),
    ),
    "resizing to corners": image(
        f'{CONV} [up] y = Resize <mode = "cubic", '
        'coordinate_transformation_mode = "align_corners"> (a, , , k)',
        k=np.array([1, 4, 25, 25], np.int64),
    ),
    "hanging windows": image(
        "[pool] y = MaxPool <kernel_shape = [3, 3], strides = [3, 3], ceil_mode = 1> (x)"
    ),
    "a cut": image(
        f"{CONV} [cut] y = Slice (a, lo, hi, at)",
        lo=np.array([3], np.int64),
        hi=np.array([14], np.int64),
        at=np.array([2], np.int64),
    ),
    "a positional table": image(f"{CONV} [place] y = Add (a, p)", p=np.random.rand(1, 1, 16, 16)),
    "a linear layer": image(
        "[flat] a = Flatten (x) [fc] y = Gemm (a, k)", out="float[N, C] y", k=np.ones((1024, 3))
    ),
    "a matrix from the right": image("[fc] y = MatMul (x, k)", k=np.random.rand(16, 16)),
    "attention": image(
        "[flat] q = Reshape (x, k) [turn] r = Transpose <perm = [0, 2, 1]> (q) "
        "[scores] z = MatMul (r, q) [soft] u = Softmax (z) [mix] y = MatMul (u, r)",
        out="float[N, T, C] y",
        k=np.array([1, 4, 256], np.int64),
    ),
    "running sums": image(
        f"{CONV} [run] y = CumSum (a, k)",
        k=np.array(2, np.int64),
    ),
    "the place of the largest": image(
        f"{CONV} [where] y = ArgMax <axis = 2> (a)", out="int64[N, C, H, W] y"
    ),
    "the largest few": image(
        f"{CONV} [top] y, i = TopK <axis = 3> (a, k)",
        out="float[N, C, H, W] y, int64[N, C, H, W] i",
        k=np.array([4], np.int64),
    ),
    "a grid that is computed": image(
        "[near] g0 = Conv (x, h) [turn] g = Transpose <perm = [0, 2, 3, 1]> (g0) "
        "[warp] y = GridSample (x, g)",
        h=np.random.rand(2, 4, 1, 1),
    ),
    "gathered by the data": image(
        "[top] c, i = TopK <axis = 3> (x, k) [take] y = GatherElements <axis = 3> (x, i)",
        k=np.array([8], np.int64),
    ),
    "a scatter": image(
        f"{CONV} [put] y = ScatterND (a, i, u)",
        i=np.array([[0, 1, 2]], np.int64),
        u=np.zeros((1, 16)),
    ),
    "regions": image(
        "[box] y = RoiAlign <output_height = 4, output_width = 4> (x, r, k)",
        source=f"{IMAGE}, float[2, 4] r",
        k=np.zeros(2, np.int64),
    ),
    "what the data decide": image(
        f"{CONV} [bits] z = NonZero (a) [act] y = Relu (a)",
        out=f"{OUT}, int64[4, K] z",
    ),
    "quantised on the fly": image(
        f"{CONV} [quant] q, k, n = DynamicQuantizeLinear (a) [back] y = DequantizeLinear (q, k, n)"
    ),
    "quantised": image(
        f"{CONV} [quant] q = QuantizeLinear (a, k, n) [back] d = DequantizeLinear (q, k, n) "
        f"{bn('d', 'y')}",
        k=np.float32(0.1),
        n=np.uint8(7),
    ),
    "transposed": image(
        f"[up] a = ConvTranspose <strides = [2, 2]> (x, w) {bn('a', 'c')} [act] y = Selu (c)"
    ),
    "a norm before transposed": image(
        f"{bn('x', 'a')} [up] y = ConvTranspose <strides = [2, 2]> (a, w)"
    ),
    "both directions": Network(
        "net (float[24, 1, 3] x) => (float[24, 2, 1, 5] y) { [both] y = LSTM <hidden_size = 5, "
        'direction = "bidirectional"> (x, w, r) }',
        {"w": (2, 20, 3), "r": (2, 20, 5)},
    ),
    "one direction": Network(
        "net (float[24, 1, 3] x) => (float[24, 1, 1, 5] y) { [gru] y = GRU <hidden_size = 5> "
        "(x, w, r) }",
        {"w": (1, 15, 3), "r": (1, 15, 5)},
    ),
    "one direction, written out": Network(
        "net (float[24, 1, 3] x) => (float[24, 1, 1, 5] y) { [gru] y = GRU <hidden_size = 5, "
        'activations = ["HardSigmoid", "Tanh"]> (x, w, r) }',
        {"w": (1, 15, 3), "r": (1, 15, 5)},
    ),
    "a spectrum": Network(
        "net (float[1, 64, 1] x) => (float[1, F, B, 2] y) { [spectrum] y = STFT (x, k, w) }",
        {"w": (16,)},
        {"k": np.array(8, np.int64)},
    ),
    "a loop": image(
        "[twice] y = Loop (k, yes, x) <body = b (int64 n, bool go, float[1, 4, 16, 16] c) => "
        "(bool on, float[1, 4, 16, 16] d) { on = Identity (go) [inner] e = Clip (c) "
        "[more] d = Conv <pads = [1, 1, 1, 1]> (e, w) }>",
        k=np.array(2, np.int64),
        yes=np.array(True),
    ),
    "a branch": image(
        "[choice] y = If (yes) <then_branch = t () => (float[1, 4, 16, 16] d) { "
        f"[inner] e = Conv <pads = [1, 1, 1, 1]> (x, w) {bn('e', 'd')} }}, "
        "else_branch = f () => (float[1, 4, 16, 16] g) { g = Identity (x) }>",
        yes=np.array(True),
    ),
    "a definition": image(f"{CONV} [act] y = Celu <alpha = 2.0> (a)"),
    "pixels to space": image(
        f"{CONV} [up] c = DepthToSpace <blocksize = 2> (a) [down] y = SpaceToDepth "
        "<blocksize = 4> (c)",
    ),
    "a local norm": image(f"{CONV} [norm] y = LRN <size = 3> (a)"),
    "a mean": image(f"{CONV} [mean] y = ReduceMean (a, k)", k=np.array([3], np.int64)),
    "a norm of lengths": image(f"{CONV} [norm] y = LpNormalization <axis = 3> (a)"),
    "unpooled": image(
        "[down] a, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) "
        "[up] y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (a, i)"
    ),
}
