"""Small networks on which folders go wrong, each with the verdicts that a right one reaches.

A verdict names what becomes of every affine op that a module runs: ``folded`` (into which
partner, in which direction) or ``refused`` (words of the reason).  ``either`` leaves open
whether it is folded: only the numbers are judged.  ``absent`` ops are no candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, Conv2dSame, LayerScale2d, MixedConv2d, StdConv2d
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torchvision.ops import FrozenBatchNorm2d

# ------------------------------------------------------------------------------ vocabulary


@dataclass(frozen=True)
class Folded:
    """The op is folded: into this partner ('' for any), in this direction ('' for any)."""

    into: str = ""
    direction: str = ""


@dataclass(frozen=True)
class Refused:
    """The op stays, and the reason contains these words."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Absent:
    """The op is no candidate, or it stays for any reason."""


@dataclass(frozen=True)
class Either:
    """Folding is right where it is exact, staying is right too."""


Verdict = Folded | Refused | Absent | Either
Verdicts = Mapping[str, Verdict]


def folded(into: str = "", direction: str = "backward") -> Folded:
    return Folded(into, direction)


def forward(into: str = "") -> Folded:
    return Folded(into, "forward")


def refused(*words: str) -> Refused:
    return Refused(words)


absent = Absent()
either = Either()
needs_graph = refused("allow_graph=True")


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it is run on, and what folding must say.

    build:      makes the network, in eval mode where it can be
    shapes:     of its inputs; names are keywords
    verdicts:   module path ('' for what forward itself computes) → verdict
    with_graph: the verdicts where allow_graph=True changes them
    error:      words of the error that folding raises instead
    low:        the network keeps its own dtypes; errors are judged by those
    tolerance:  relative, in float64
    as_built:   the statistics are the point and must not be drawn at random
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...] | Mapping[str, tuple[int, ...]]
    verdicts: Verdicts
    with_graph: Verdicts = field(default_factory=dict)
    error: str = ""
    low: torch.dtype | None = None
    tolerance: float = 1e-12
    as_built: bool = False


class Net(nn.Module):
    """Modules by name, and the forward function over them."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


CASES: list[Case] = []
IMAGE = ((2, 4, 7, 6),)


def case(
    name: str,
    verdicts: Verdicts,
    build: Callable[[], nn.Module],
    shapes: Any = IMAGE,
    **options: Any,
) -> None:
    """Add a case; a second one of the same name is a mistake."""
    assert all(known.name != name for known in CASES), name
    CASES.append(Case(name, build, shapes, verdicts, **options))


def conv(before: int = 4, after: int = 5, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, **options)


def bn(channels: int = 5, **options: Any) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **options)


def chain(**parts: Any) -> Net:
    """The modules one after the other."""

    def run(self: Net, x: Tensor) -> Tensor:
        for name in parts:
            x = getattr(self, name)(x)
        return x

    return Net(run, **parts)


def draw(*shape: int) -> Tensor:
    """Generic constants, away from zero."""
    return torch.rand(shape) + 0.5


# ------------------------------------------------- kinds of BatchNorm, kinds of convolution

INTO_CONV = {"bn": folded("conv")}


class OwnBatchNorm(nn.BatchNorm2d):
    """A subclass that changes nothing."""


class LoudBatchNorm(nn.BatchNorm2d):
    """A subclass that computes something else."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input).relu()


class ArithmeticBatchNorm(nn.Module):
    """Frozen statistics, written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, draw(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def functional_bn(self: Net, x: Tensor) -> Tensor:
    return F.batch_norm(self.conv(x), self.mean, self.var, self.gamma, self.beta)


def training_bn() -> nn.Module:
    net = chain(conv=conv(), bn=bn()).eval()
    net.bn.train()
    return net


case("conv without bias, then bn", INTO_CONV, lambda: chain(conv=conv(bias=False), bn=bn()))
case("conv with bias, then bn", INTO_CONV, lambda: chain(conv=conv(), bn=bn()))
case(
    "one dimension",
    INTO_CONV,
    lambda: chain(conv=nn.Conv1d(4, 5, 3), bn=nn.BatchNorm1d(5)),
    ((2, 4, 9),),
)
case(
    "three dimensions",
    INTO_CONV,
    lambda: chain(conv=nn.Conv3d(2, 3, 2), bn=nn.BatchNorm3d(3)),
    ((2, 2, 4, 3, 5),),
)
case("synchronised bn", INTO_CONV, lambda: chain(conv=conv(), bn=nn.SyncBatchNorm(5)))
case("subclass of bn", INTO_CONV, lambda: chain(conv=conv(), bn=OwnBatchNorm(5)))
case(
    "subclass of bn with a relu inside",
    {"bn": either},
    lambda: chain(conv=conv(), bn=LoudBatchNorm(5)),
)
case("bn without learned parameters", INTO_CONV, lambda: chain(conv=conv(), bn=bn(affine=False)))
case("bn with another eps", INTO_CONV, lambda: chain(conv=conv(), bn=bn(eps=0.1, momentum=None)))
case(
    "bn without running statistics",
    {"bn": refused("statistics of the batch")},
    lambda: chain(conv=conv(), bn=bn(track_running_stats=False)),
)
case("bn in training mode", {}, training_bn, error="training mode")
case(
    "functional bn",
    {"": needs_graph},
    lambda: Net(functional_bn, conv=conv(), mean=draw(5), var=draw(5), gamma=draw(5), beta=draw(5)),
    with_graph={"": folded("conv")},
)
case("frozen bn of torchvision", INTO_CONV, lambda: chain(conv=conv(), bn=FrozenBatchNorm2d(5)))
case("frozen bn as arithmetic", INTO_CONV, lambda: chain(conv=conv(), bn=ArithmeticBatchNorm(5)))
case(
    "bn with its activation inside keeps the activation",
    INTO_CONV,
    lambda: chain(conv=conv(), bn=BatchNormAct2d(5, act_layer=nn.SiLU), head=conv(5, 3)),
)
case(
    "negative and zero gamma", INTO_CONV, lambda: chain(conv=conv(), bn=signed_bn()), as_built=True
)


def signed_bn() -> nn.BatchNorm2d:
    norm = bn()
    norm.weight.data = torch.tensor([-1.0, 0.0, 2.0, -3.0, 0.5])
    return norm


for groups, label in ((2, "grouped"), (4, "depthwise")):
    case(
        f"{label} conv",
        INTO_CONV,
        lambda groups=groups: chain(conv=conv(4, 8, groups=groups), bn=bn(8)),
    )
case(
    "strided, dilated, padded conv",
    INTO_CONV,
    lambda: chain(conv=conv(stride=2, dilation=2, padding=2), bn=bn()),
)
case("conv with padding 'same'", INTO_CONV, lambda: chain(conv=conv(padding="same"), bn=bn()))
case(
    "circular conv, then bn",
    INTO_CONV,
    lambda: chain(conv=conv(padding=1, padding_mode="circular"), bn=bn()),
)
for rank in (1, 2, 3):
    case(
        f"transposed conv, {rank}-D",
        INTO_CONV,
        lambda rank=rank: chain(
            conv=getattr(nn, f"ConvTranspose{rank}d")(4, 5, 3, stride=2, output_padding=1),
            bn=getattr(nn, f"BatchNorm{rank}d")(5),
        ),
        ((2, 4, *[3] * rank),),
    )
case(
    "transposed conv with two groups",
    INTO_CONV,
    lambda: chain(conv=nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), bn=bn(6)),
)
case(
    "transposed conv with as many inputs as outputs",
    INTO_CONV,
    lambda: chain(conv=nn.ConvTranspose2d(4, 4, 2, stride=2), bn=bn(4)),
)
case(
    "transposed conv, square in every group",
    INTO_CONV,
    lambda: chain(conv=nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False), bn=bn(4)),
)
case("Conv2dSame of timm", INTO_CONV, lambda: chain(conv=Conv2dSame(4, 5, 3, stride=2), bn=bn()))
case("standardised weights", INTO_CONV, lambda: chain(conv=StdConv2d(4, 5, 3), bn=bn()))
case(
    "parametrised weights",
    INTO_CONV,
    lambda: chain(conv=parametrizations.weight_norm(conv()), bn=bn()),
)
case(
    "spectral norm",
    INTO_CONV,
    lambda: chain(conv=parametrizations.spectral_norm(conv()).eval(), bn=bn()),
)
case("old weight_norm", INTO_CONV, lambda: chain(conv=old_weight_norm(), bn=bn()))
case("old spectral_norm", INTO_CONV, lambda: chain(conv=spectral_norm(conv()).eval(), bn=bn()))
case("pruned weights", INTO_CONV, lambda: chain(conv=pruned(), bn=bn()))
case(
    "a hook that sets the weight",
    {"bn": refused("a hook of 'conv' may compute its weight", "allow_graph")},
    lambda: chain(conv=weight_by_hook(), bn=bn()),
    with_graph={"bn": folded("conv")},
)
case(
    "a running variance below zero",
    {"bn": refused("channel 1 of 'conv' would not be finite")},
    lambda: Net(lambda self, x: self.bn(self.conv(x)).nan_to_num(), conv=conv(), bn=impossible()),
    as_built=True,
)
case(
    "functional conv",
    {"bn": needs_graph},
    lambda: Net(lambda self, x: self.bn(F.conv2d(x, self.kernel)), kernel=kernel(), bn=bn()),
    with_graph={"bn": folded()},
)
case(
    "weights that derive from the input",
    {"bn": refused()},
    lambda: Net(
        lambda self, x: self.bn(F.conv2d(x, self.kernel * x.mean())), kernel=kernel(), bn=bn()
    ),
)


def kernel() -> nn.Parameter:
    return nn.Parameter(torch.randn(5, 4, 3, 3))


def pruned() -> nn.Module:
    return prune.l1_unstructured(prune.l1_unstructured(conv(), "weight", 0.3), "bias", 2)


def weight_by_hook() -> nn.Module:
    layer = conv()
    layer.half_weight = nn.Parameter(layer.weight.detach() / 2)
    del layer.weight
    layer.weight = layer.half_weight * 2

    def double(module: nn.Module, args: Any) -> None:
        module.weight = module.half_weight * 2

    layer.register_forward_pre_hook(double)
    return layer


def impossible() -> nn.Module:
    norm = bn()
    norm.running_var[1] = -1
    return norm


def old_weight_norm() -> nn.Module:
    with torch.no_grad():
        return weight_norm(conv())


# --------------------------------------------------------------------------- linear layers

INTO_FC = {"bn": folded("fc")}


def linear(before: int = 4, after: int = 5, **options: Any) -> nn.Linear:
    return nn.Linear(before, after, **options)


case("linear", INTO_FC, lambda: chain(fc=linear(), bn=nn.BatchNorm1d(5)), ((6, 4),))
case(
    "linear without bias",
    INTO_FC,
    lambda: chain(fc=linear(bias=False), bn=nn.BatchNorm1d(5)),
    ((6, 4),),
)
case(
    "linear on (N, L, C), L = C, bn over L",
    {"bn": refused()},
    lambda: chain(fc=linear(4, 5), bn=nn.BatchNorm1d(5)),
    ((2, 5, 4),),
)
case(
    "linear on (N, L, C), transposed, bn over C",
    INTO_FC,
    lambda: Net(
        lambda self, x: self.bn(self.fc(x).transpose(1, 2)), fc=linear(), bn=nn.BatchNorm1d(5)
    ),
    ((2, 5, 4),),
)
case(
    "linear, tokens flattened for bn (LeViT)",
    INTO_FC,
    lambda: Net(
        lambda self, x: self.bn((y := self.fc(x)).flatten(0, 1)).reshape_as(y),
        fc=linear(bias=False),
        bn=nn.BatchNorm1d(5),
    ),
    ((2, 3, 4),),
)
case(
    "product with a matrix of the model",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(x @ self.matrix),
        matrix=nn.Parameter(torch.randn(4, 5)),
        bn=nn.BatchNorm1d(5),
    ),
    ((6, 4),),
    with_graph={"bn": folded()},
)
case(
    "product of two derived values",
    {"bn": refused()},
    lambda: Net(lambda self, x: self.bn(x @ x.transpose(1, 2)), bn=nn.BatchNorm1d(4)),
    ((2, 4, 6),),
)
case(
    "layer norm before linear",
    {"norm": forward("fc")},
    lambda: chain(norm=nn.LayerNorm(4), fc=linear()),
    ((2, 3, 4),),
)
case(
    "layer norm without bias before linear",
    {"norm": forward("fc")},
    lambda: chain(norm=nn.LayerNorm(4, bias=False), fc=linear(bias=False)),
    ((2, 3, 4),),
)
case(
    "rms norm before linear",
    {"norm": forward("fc")},
    lambda: chain(norm=nn.RMSNorm(4), fc=linear()),
    ((2, 3, 4),),
)
case(
    "layer norm over two dimensions before linear",
    {"norm": either},
    lambda: chain(norm=nn.LayerNorm((3, 4)), fc=linear()),
    ((2, 3, 4),),
)
case(
    "group norm before conv",
    {"norm": forward("conv")},
    lambda: chain(norm=nn.GroupNorm(2, 4), conv=conv()),
)
case(
    "group norm before a conv that pads",
    {"norm": refused("pads with zeros, which a shift would have to reach")},
    lambda: chain(norm=nn.GroupNorm(2, 4), conv=conv(padding=1)),
)
case(
    "group norm before silu",
    {"norm": refused("it is read by silu")},
    lambda: chain(norm=nn.GroupNorm(2, 4), act=nn.SiLU(), conv=conv()),
)
case(
    "group norm without scale and shift",
    {"norm": absent},
    lambda: chain(norm=nn.GroupNorm(2, 4, affine=False), conv=conv()),
)
case(
    "instance norm before conv",
    {"norm": forward("conv")},
    lambda: chain(norm=nn.InstanceNorm2d(4, affine=True), conv=conv()),
)
case(
    "layer norm read by a residual too",
    {"norm": refused()},
    lambda: Net(
        lambda self, x: (y := self.norm(x)) + self.fc(y), norm=nn.LayerNorm(4), fc=linear(4, 4)
    ),
    ((2, 3, 4),),
)
case(
    "layer norm before gelu",
    {"norm": refused("gelu")},
    lambda: chain(norm=nn.LayerNorm(4), act=nn.GELU(), fc=linear()),
    ((2, 3, 4),),
)


# --------------------------------------------------------------- sharing, ties and readers

case(
    "conv shared by two bns",
    {"bn1": refused("conv"), "bn2": refused("conv")},
    lambda: Net(
        lambda self, x: self.bn1(self.conv(x)) + self.bn2(self.conv(x)),
        conv=conv(),
        bn1=bn(),
        bn2=bn(),
    ),
    with_graph={"bn1": either, "bn2": either},
)
case(
    "conv shared by two inputs, two bns",
    {"bn1": refused("conv"), "bn2": refused("conv")},
    lambda: Net(
        lambda self, x, y: self.bn1(self.conv(x)) + self.bn2(self.conv(y)),
        conv=conv(),
        bn1=bn(),
        bn2=bn(),
    ),
    IMAGE * 2,
    with_graph={"bn1": either, "bn2": either},
)
case(
    "bn on one use of a shared conv",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: self.bn(self.conv(x)) + self.conv(x.flip(2)), conv=conv(), bn=bn()),
    with_graph={"bn": either},
)
case(
    "bn shared by two convs",
    {"bn": folded()},
    lambda: Net(
        lambda self, x: self.bn(self.one(x)) + self.bn(self.two(x)), one=conv(), two=conv(), bn=bn()
    ),
)
case(
    "bn shared by a conv and a relu",
    {"bn": refused()},
    lambda: Net(
        lambda self, x: self.bn(self.conv(x)) + self.bn(self.other(x).relu()),
        conv=conv(),
        other=conv(),
        bn=bn(),
    ),
    with_graph={"bn": either},
)
case(
    "conv and bn run three times together",
    INTO_CONV,
    lambda: Net(lambda self, x: loop(self, x), conv=conv(4, 4, padding=1), bn=bn(4)),
)
case(
    "shared conv, a bn per step",
    {"bns.0": refused("conv"), "bns.1": refused("conv")},
    lambda: Net(
        lambda self, x: self.bns[1](self.conv(self.bns[0](self.conv(x)).relu())),
        conv=conv(4, 4, padding=1),
        bns=nn.ModuleList([bn(4), bn(4)]),
    ),
    with_graph={"bns.0": either, "bns.1": either},
)


def loop(self: Net, x: Tensor) -> Tensor:
    for _ in range(3):
        x = self.bn(self.conv(x)).relu()
    return x


def tied() -> nn.Module:
    net = Net(
        lambda self, x: self.bn(self.one(x)) + self.two(x.flip(3)), one=conv(), two=conv(), bn=bn()
    )
    net.two.weight = net.one.weight
    return net


def both_tied() -> nn.Module:
    net = Net(
        lambda self, x: self.bn1(self.one(x)) + self.bn2(self.two(x)),
        one=conv(),
        two=conv(),
        bn1=bn(),
        bn2=bn(),
    )
    net.two.weight, net.two.bias = net.one.weight, net.one.bias
    return net


def aliased() -> nn.Module:
    net = Net(lambda self, x: self.other(self.conv(x)), conv=conv(), bn=bn())
    net.other = net.bn
    return net


case("tied parameters", {"bn": folded("one")}, tied)
case("tied parameters, each with its bn", {"bn1": folded("one"), "bn2": folded("two")}, both_tied)
case("one bn under two names", INTO_CONV, aliased)
case(
    "conv's weight is read elsewhere",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.conv(x)) * self.conv.weight.mean(), conv=conv(), bn=bn()
    ),
)
case(
    "bn's weight is read elsewhere",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.conv(x)) * self.bn.weight.mean(), conv=conv(), bn=bn()
    ),
)
case(
    "forward asks for the class of the bn",
    {"bn": either},
    lambda: Net(
        lambda self, x: (
            self.bn(self.conv(x)) * (2 if isinstance(self.bn, nn.BatchNorm2d) else 3)
        ).relu(),
        conv=conv(),
        bn=bn(),
    ),
)
case(
    "conv output returned",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: [y := self.conv(x), self.bn(y)], conv=conv(), bn=bn()),
)
case(
    "conv output has two consumers",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: self.bn(y := self.conv(x)).relu() + y, conv=conv(), bn=bn()),
)
case(
    "conv output is changed in place after bn read it",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: self.bn(y := self.conv(x)) * y.add_(1), conv=conv(), bn=bn()),
)
case(
    "conv output is changed in place before bn reads it",
    {"bn": refused("relu")},
    lambda: Net(
        lambda self, x: self.bn(self.act(self.conv(x))),
        conv=conv(),
        act=nn.ReLU(inplace=True),
        bn=bn(),
    ),
)
case(
    "bn output has two consumers",
    INTO_CONV,
    lambda: Net(lambda self, x: (y := self.bn(self.conv(x))) + y.relu(), conv=conv(), bn=bn()),
)
case(
    "two bns read one conv",
    {"bn1": refused("conv"), "bn2": refused("conv")},
    lambda: Net(
        lambda self, x: self.bn1(y := self.conv(x)) + self.bn2(y).relu(),
        conv=conv(),
        bn1=bn(),
        bn2=bn(),
    ),
    with_graph={"bn1": either, "bn2": either},
)


# ----------------------------------------------------------------------- order and position

case(
    "conv, bn, bn",
    {"bn1": folded("conv"), "bn2": folded("conv")},
    lambda: chain(conv=conv(), bn1=bn(), bn2=bn()),
)
case(
    "conv, relu, bn, defined as neighbours",
    {"bn": refused("relu")},
    lambda: Net(lambda self, x: self.bn(self.conv(x).relu()), conv=conv(), bn=bn()),
)
case(
    "bn defined before its conv and after another",
    {"bn": folded("late")},
    lambda: Net(
        lambda self, x: self.bn(self.late(self.early(x).relu())),
        early=conv(4, 5),
        bn=bn(5),
        late=conv(5, 5),
    ),
)
case(
    "preactivation",
    {"bn1": refused("relu"), "bn2": folded("conv1")},
    lambda: chain(
        bn1=bn(4), act1=nn.ReLU(), conv1=conv(), bn2=bn(), act2=nn.ReLU(), conv2=conv(5, 3)
    ),
)
case("bn alone", {"": refused()}, lambda: nn.BatchNorm2d(4))
case("bn on the input and nothing after", {"bn": refused()}, lambda: chain(bn=bn(4), act=nn.ReLU()))
case(
    "residual around conv and bn",
    INTO_CONV,
    lambda: Net(lambda self, x: x + self.bn(self.conv(x)), conv=conv(4, 4, padding=1), bn=bn(4)),
)
case(
    "bn after a residual sum",
    INTO_CONV,
    lambda: Net(
        lambda self, x: self.bn(self.conv(x) + x).relu(), conv=conv(4, 4, padding=1), bn=bn(4)
    ),
)
case(
    "bn after a sum of two convs",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.one(x) + self.two(x)).relu(), one=conv(), two=conv(), bn=bn()
    ),
)
case(
    "bn after a gate",
    {"bn": refused()},
    lambda: Net(
        lambda self, x: self.bn((y := self.conv(x)) * y.mean((2, 3), keepdim=True).sigmoid()),
        conv=conv(),
        bn=bn(),
    ),
)


def unpooled(norm: nn.Module, largest: Tensor, places: Tensor) -> Tensor:
    return F.max_unpool2d(norm(largest).relu(), places, 2)


for layer, label in ((nn.Dropout2d(0.5), "dropout"), (nn.Identity(), "identity")):
    case(
        f"{label} between conv and bn",
        INTO_CONV,
        lambda layer=layer: chain(conv=conv(), between=layer, bn=bn()),
    )
case(
    "average pooling between conv and bn",
    INTO_CONV,
    lambda: chain(conv=conv(), pool=nn.AvgPool2d(2), bn=bn()),
)
case(
    "max pooling between conv and bn",
    INTO_CONV,
    lambda: chain(conv=conv(), pool=nn.MaxPool2d(2), bn=bn(), act=nn.ReLU()),
)
case(
    "padded max pooling between conv and bn",
    INTO_CONV,
    lambda: chain(conv=conv(), pool=nn.MaxPool2d(3, 2, 1), bn=bn(), act=nn.ReLU()),
)
case(
    "max pooling between conv and a bn with negative scales",
    {"bn": refused("max_pool", "not positive")},
    lambda: chain(conv=conv(), pool=nn.MaxPool2d(2), bn=signed_bn(), act=nn.ReLU()),
    as_built=True,
)
case(
    "max pooling whose places are used",
    {"bn": refused("max_pool")},
    lambda: Net(
        lambda self, x: unpooled(self.bn, *F.max_pool2d(self.conv(x), 2, return_indices=True)),
        conv=conv(),
        bn=bn(),
    ),
)
case(
    "bn over flattened positions",
    {"bn": refused()},
    lambda: chain(conv=conv(4, 2), flat=nn.Flatten(), bn=nn.BatchNorm1d(40), act=nn.ReLU()),
)
case(
    "bn after global pooling and flattening",
    INTO_CONV,
    lambda: chain(
        conv=conv(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), bn=nn.BatchNorm1d(5)
    ),
)
case(
    "channels shuffled between conv and bn",
    {"bn": either},
    lambda: chain(conv=conv(4, 6), shuffle=nn.ChannelShuffle(2), bn=bn(6)),
)
case(
    "pixels shuffled between conv and bn",
    {"bn": either},
    lambda: chain(conv=conv(4, 8), shuffle=nn.PixelShuffle(2), bn=bn(2)),
)


# ---------------------------------------------------------------------------------- forward

case(
    "bn before an unpadded conv",
    {"bn": forward("conv")},
    lambda: chain(bn=bn(4), conv=conv()),
)
case(
    "bn before a grouped, strided conv without bias",
    {"bn": forward("conv")},
    lambda: chain(bn=bn(4), conv=conv(4, 6, groups=2, stride=2, bias=False)),
)
case(
    "bn before a zero-padded conv",
    {"bn": refused("pad")},
    lambda: chain(bn=bn(4), conv=conv(padding=1)),
)
for mode in ("reflect", "replicate", "circular"):
    case(
        f"bn before a conv with {mode} padding",
        {"bn": forward("conv")},
        lambda mode=mode: chain(bn=bn(4), conv=conv(padding=1, padding_mode=mode)),
    )
case(
    "bn before zero padding of its own",
    {"bn": refused("pad")},
    lambda: chain(bn=bn(4), pad=nn.ZeroPad2d(1), conv=conv()),
)
case(
    "bn before reflection padding of its own",
    {"bn": forward("conv")},
    lambda: chain(bn=bn(4), pad=nn.ReflectionPad2d(1), conv=conv()),
)
case(
    "bn before a transposed conv",
    {"bn": refused()},
    lambda: chain(bn=bn(4), conv=nn.ConvTranspose2d(4, 5, 3, stride=2)),
)
case(
    "scale alone before a zero-padded conv",
    {"scale": forward("conv")},
    lambda: chain(scale=LayerScale2d(4), conv=conv(padding=1)),
)
case(
    "scale alone before a transposed conv with groups",
    {"scale": forward("conv")},
    lambda: chain(scale=LayerScale2d(4), conv=nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)),
)
case(
    "bn, average pooling, conv",
    {"bn": forward("conv")},
    lambda: chain(act=nn.ReLU(), bn=bn(4), pool=nn.AvgPool2d(2), conv=conv(4, 5, 1)),
)
case(
    "bn, average pooling with padding, conv",
    {"bn": refused()},
    lambda: chain(bn=bn(4), pool=nn.AvgPool2d(3, 2, 1), conv=conv(4, 5, 1)),
)
case(
    "bn, max pooling, conv",
    {"bn": forward("conv")},
    lambda: chain(bn=bn(4), pool=nn.MaxPool2d(2), conv=conv(4, 5, 1)),
)
case(
    "bn with negative scales, max pooling, conv",
    {"bn": refused("max_pool", "not positive")},
    lambda: chain(bn=signed_bn(), pool=nn.MaxPool2d(2), conv=conv(5, 4, 1)),
    ((2, 5, 7, 6),),
    as_built=True,
)
case(
    "bn, dropout, linear",
    {"bn": forward("fc")},
    lambda: chain(bn=nn.BatchNorm1d(4), drop=nn.Dropout(), fc=linear()),
    ((6, 4),),
)
case(
    "bn, global pooling, flatten, linear",
    {"bn": forward("fc")},
    lambda: chain(bn=bn(4), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=linear()),
)
case(
    "bn, flatten of positions, linear",
    {"bn": forward("fc")},
    lambda: chain(bn=bn(4), flat=nn.Flatten(), fc=linear(168, 3)),
)
case(
    "bn, permute to channels last, linear",
    {"bn": forward("fc")},
    lambda: Net(lambda self, x: self.fc(self.bn(x).permute(0, 2, 3, 1)), bn=bn(4), fc=linear()),
)
case(
    "bn before two unpadded convs",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.one(y := self.bn(x)) + self.two(y), bn=bn(4), one=conv(), two=conv()
    ),
)
case(
    "bn before an unpadded conv and a skip",
    {"bn": refused()},
    lambda: Net(
        lambda self, x: self.conv(y := self.bn(x)) + y[:, :, 1:-1, 1:-1], bn=bn(4), conv=conv(4, 4)
    ),
)
case(
    "bn before a conv that is run elsewhere too",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: self.conv(self.bn(x)) + self.conv(x), bn=bn(4), conv=conv()),
    with_graph={"bn": either},
)
case(
    "relu, bn between two convs",
    {"bn": forward("two")},
    lambda: chain(one=conv(), act=nn.ReLU(), bn=bn(), two=conv(5, 3, 1)),
)


# ----------------------------------------------------------------------- constant arithmetic

case(
    "layer scale after conv",
    {"scale": folded("conv")},
    lambda: chain(conv=conv(), scale=LayerScale2d(5)),
)
case(
    "layer scale after permuted linear (ConvNeXt)",
    {"": needs_graph},
    lambda: Net(
        lambda self, x: (
            x + self.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * self.gamma.view(1, -1, 1, 1)
        ),
        fc=linear(4, 4),
        gamma=nn.Parameter(draw(4)),
    ),
    with_graph={"": folded("fc")},
)
case(
    "multiply over W, as wide as there are channels",
    {"": absent},
    lambda: Net(lambda self, x: self.conv(x) * self.mask, conv=conv(), mask=draw(5)),
    ((2, 4, 7, 7),),
)
case(
    "multiply over H, as high as there are channels",
    {"": absent},
    lambda: Net(lambda self, x: self.conv(x) * self.mask, conv=conv(), mask=draw(5, 1)),
    ((2, 4, 7, 7),),
)
case(
    "multiply over channels and positions",
    {"": absent},
    lambda: Net(lambda self, x: self.conv(x) * self.mask, conv=conv(), mask=draw(5, 5, 5)),
    ((2, 4, 7, 7),),
)
case(
    "add over the batch, as large as there are channels",
    {"": absent},
    lambda: Net(lambda self, x: self.conv(x) + self.mask, conv=conv(), mask=draw(5, 1, 1, 1)),
    ((5, 4, 7, 7),),
)
case(
    "multiply and add per channel",
    {"": needs_graph},
    lambda: Net(
        lambda self, x: self.conv(x) * self.scale + self.shift,
        conv=conv(),
        scale=draw(5, 1, 1),
        shift=draw(1, 5, 1, 1),
    ),
    with_graph={"": folded("conv")},
)
case(
    "constant minus and over conv",
    {"": either},
    lambda: Net(lambda self, x: 1 / (self.one - self.conv(x)), conv=conv(), one=draw(5, 1, 1)),
)
case(
    "a number times conv",
    {"": needs_graph},
    lambda: Net(lambda self, x: self.conv(x) * 0.5 + 2, conv=conv()),
    with_graph={"": folded("conv")},
)
case(
    "numbers between conv and bn",
    {"": needs_graph, "bn": refused()},
    lambda: Net(lambda self, x: self.bn(3 - self.conv(x) / 2).relu(), conv=conv(), bn=bn()),
    with_graph={"": folded("conv"), "bn": folded("conv")},
)
case(
    "numbers that change nothing",
    INTO_CONV,
    lambda: Net(lambda self, x: self.bn(self.conv(x) * 1 + 0).relu(), conv=conv(), bn=bn()),
)
case(
    "a number over conv, and a division by zero",
    {"": absent},
    lambda: Net(lambda self, x: (2 / self.conv(x)).atan() + (x.sum() / 0).atan(), conv=conv()),
)
case(
    "pixels scaled before a padded conv",
    {"": needs_graph},
    lambda: Net(lambda self, x: self.conv(x / 255), conv=conv(padding=1)),
    with_graph={"": forward("conv")},
)
case(
    "input normalised before an unpadded conv",
    {"": needs_graph},
    lambda: Net(normalised, conv=conv(), mean=draw(4, 1, 1), std=draw(4, 1, 1)),
    with_graph={"": forward("conv")},
)
case(
    "input normalised before a padded conv",
    {"": either},
    lambda: Net(normalised, conv=conv(padding=1), mean=draw(4, 1, 1), std=draw(4, 1, 1)),
)


def normalised(self: Net, x: Tensor) -> Tensor:
    return self.conv((x - self.mean) / self.std)


# --------------------------------------------------------------------- branches and blocks

case(
    "concat of two convs",
    {"bn": folded()},
    lambda: Net(
        lambda self, x: self.bn(torch.cat([self.one(x), self.two(x)], 1)),
        one=conv(4, 2),
        two=conv(4, 3, bias=False),
        bn=bn(),
    ),
)
case(
    "concat of a conv and the input",
    {"bn": refused("cat")},
    lambda: Net(
        lambda self, x: self.bn(torch.cat([self.conv(x), x], 1)).relu(),
        conv=conv(4, 2, padding=1),
        bn=bn(6),
    ),
)
case(
    "concat of a conv with itself",
    {"bn": refused("conv")},
    lambda: Net(
        lambda self, x: self.bn(torch.cat([y := self.conv(x), y], 1)).relu(),
        conv=conv(4, 2),
        bn=bn(4),
    ),
    with_graph={"bn": either},
)
case(
    "concat along W, as wide as there are channels",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(torch.cat([self.one(x), self.two(x)], 3)).relu(),
        one=conv(4, 8),
        two=conv(4, 8),
        bn=bn(8),
    ),
)
case(
    "mixed convolutions (MixNet)",
    {"bn": folded()},
    lambda: chain(conv=MixedConv2d(4, 6, [1, 3]), bn=bn(6)),
)
case(
    "dense block",
    {"bn1": refused("relu"), "bn2": folded("conv1"), "bn3": refused("cat")},
    lambda: Net(
        dense, bn1=bn(4), conv1=conv(4, 3, 1), bn2=bn(3), conv2=conv(3, 2, padding=1), bn3=bn(6)
    ),
)
case(
    "RepVGG block",
    {"large.1": folded("large.0", ""), "small.1": folded("small.0", ""), "skip": either},
    lambda: Net(
        lambda self, x: (self.large(x) + self.small(x) + self.skip(x)).relu(),
        large=nn.Sequential(conv(4, 4, padding=1, bias=False), bn(4)),
        small=nn.Sequential(conv(4, 4, 1, bias=False), bn(4)),
        skip=bn(4),
    ),
    with_graph={"large.1": Folded(), "small.1": Folded(), "skip": Folded()},
)


def beside(name: str, verdict: Verdict, run: Callable[..., Tensor], **parts: Any) -> None:
    """A bn on a skip connection: it can only go into a conv of the same input, if at all."""
    parts = {"conv": conv(4, 4, padding=1), "skip": bn(4), **parts}
    case(
        f"bn beside {name}",
        {"skip": either if isinstance(verdict, Folded) else verdict},
        lambda: Net(lambda self, x: run(self, x.sin()).relu(), **copy.deepcopy(parts)),
        with_graph={"skip": verdict},
    )


def side_by_side(self: Net, x: Tensor) -> Tensor:
    return self.conv(x) + self.skip(x)


beside("a conv", Folded(), side_by_side)
beside("a pointwise conv", Folded(), side_by_side, conv=conv(4, 4, 1))
beside("a depthwise conv (RepGhost)", Folded(), side_by_side, conv=conv(4, 4, padding=1, groups=4))
beside(
    "a grouped, dilated conv",
    Folded(),
    side_by_side,
    conv=conv(4, 4, padding=2, groups=2, dilation=2, bias=False),
)
beside("a conv along one axis", either, side_by_side, conv=conv(4, 4, (1, 3), padding=(0, 1)))
beside("a circular conv", either, side_by_side, conv=conv(4, 4, padding=1, padding_mode="circular"))
beside("a transposed conv", either, side_by_side, conv=nn.ConvTranspose2d(4, 4, 3, padding=1))
beside("a conv of something else", refused(), lambda self, x: self.conv(x.cos()) + self.skip(x))
beside("a conv and its relu", refused(), lambda self, x: self.conv(x).relu() + self.skip(x))
beside(
    "a conv that is read twice",
    refused(),
    lambda self, x: (y := self.conv(x)) + self.skip(x) + y.abs(),
)
beside("a product with a conv", refused(), lambda self, x: self.conv(x) * self.skip(x))
case(
    "bn over a sum of convs and their input (RepViT)",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.one(y := x.sin()) + self.two(y) + y).relu(),
        one=conv(4, 4, padding=1, groups=4),
        two=conv(4, 4, 1, groups=4),
        bn=bn(4),
    ),
    with_graph={"bn": Folded()},
)


def sliced(verdict: Verdict, name: str, rest: Callable[[Tensor], Tensor]) -> None:
    """A bn behind the first four channels of a conv, and something behind others."""
    case(
        f"bn on a slice, {name}",
        {"bn": verdict},
        lambda: Net(
            lambda self, x: (self.bn((y := self.conv(x))[:, :4]), rest(y)),
            conv=conv(4, 8),
            bn=bn(4),
        ),
    )


sliced(folded("conv"), "relu on the other", lambda y: y[:, 4:].relu())
sliced(folded("conv"), "every second of the others", lambda y: y[:, 5::2].relu())
sliced(folded("conv"), "a channel picked", lambda y: y[:, 4].relu())
sliced(folded("conv"), "a channel indexed", lambda y: y[:, torch.tensor([6, 4])].relu())
sliced(refused("'conv' is also read by 'slice#2'"), "an overlap", lambda y: y[:, 3:].relu())
sliced(refused("'conv' is also read by 'sigmoid'"), "the whole", lambda y: y.sigmoid())
sliced(
    refused("'conv' is also read by '/conv'"),
    "a conv",
    lambda y: F.conv2d(y, torch.ones(1, 8, 1, 1).to(y)),
)
case(
    "bn on a part of a dimension that is taken apart",
    {"bn": folded("conv")},
    lambda: Net(
        lambda self, x: (
            self.bn((y := self.conv(x).unflatten(1, (2, 4)).unbind(1))[1]) + y[0].relu()
        ),
        conv=conv(4, 8),
        bn=bn(4),
    ),
)
case(
    "bn behind a concatenation of slices",
    {"bn": folded("conv")},
    lambda: Net(
        lambda self, x: self.bn(torch.cat([(y := self.conv(x))[:, :3], y[:, 3:]], 1)).relu(),
        conv=conv(4, 8),
        bn=bn(8),
    ),
)
case(
    "bn on a chunk of conv's channels",
    {"bn": either},
    lambda: Net(
        lambda self, x: torch.cat([self.bn((y := self.conv(x).chunk(2, 1))[0]), y[1]], 1),
        conv=conv(4, 6),
        bn=bn(3),
    ),
)


def dense(self: Net, x: Tensor) -> Tensor:
    new = self.conv2(self.bn2(self.conv1(self.bn1(x).relu())).relu())
    return self.bn3(torch.cat([x, new], 1)).relu()


# ----------------------------------------------------------------------- how modules are run


def hooked(where: str, hook: Callable[..., Any]) -> nn.Module:
    net = chain(conv=conv(), bn=bn(), act=nn.ReLU())
    net.get_submodule(where).register_forward_hook(hook)
    return net


def pre_hooked() -> nn.Module:
    net = chain(conv=conv(), bn=bn(), act=nn.ReLU())
    net.bn.register_forward_pre_hook(lambda module, args: (args[0].abs(),))
    return net


case("hook on what follows", INTO_CONV, lambda: hooked("act", lambda module, args, out: out + 1))
case(
    "hook that squares conv's output",
    {"bn": refused()},
    lambda: hooked("conv", lambda m, a, out: out**2),
)
case(
    "hook that squares bn's output", {"bn": either}, lambda: hooked("bn", lambda m, a, out: out**2)
)
case("hook that rectifies bn's input", {"bn": refused()}, pre_hooked)
case(
    "keyword calls",
    INTO_CONV,
    lambda: Net(
        lambda self, *, image, scale: self.bn(input=self.conv(input=image)) * scale,
        conv=conv(),
        bn=bn(),
    ),
    {"image": (2, 4, 7, 6), "scale": (2, 1, 1, 1)},
)
case(
    "control flow that depends on the data",
    {},
    lambda: Net(
        lambda self, x: self.bn(self.conv(x)) if x.sum() > 0 else self.conv(x), conv=conv(), bn=bn()
    ),
    error="depend on the input",
)
case(
    "module list by index",
    {"bns.1": folded("convs.1"), "bns.0": folded("convs.0")},
    lambda: Net(
        lambda self, x: self.bns[0](self.convs[0](x)).relu() + self.bns[1](self.convs[1](x)),
        convs=nn.ModuleList([conv(), conv()]),
        bns=nn.ModuleList([bn(), bn()]),
    ),
)
case(
    "module dict, nested",
    {"parts.block.1": folded("parts.block.0")},
    lambda: Net(
        lambda self, x: self.parts["block"](x),
        parts=nn.ModuleDict({"block": nn.Sequential(conv(), bn())}),
    ),
)
case(
    "outputs in a dict",
    {"bn1": folded("one"), "bn2": folded("two")},
    lambda: Net(
        lambda self, x: {"a": (y := self.bn1(self.one(x))), "b": [self.bn2(self.two(y.relu()))]},
        one=conv(),
        bn1=bn(),
        two=conv(5, 3),
        bn2=bn(3),
    ),
)
case(
    "several inputs",
    {"bn1": folded("one"), "bn2": folded("two")},
    lambda: Net(
        lambda self, x, y: self.bn1(self.one(x)) + self.bn2(self.two(y)),
        one=conv(),
        bn1=bn(),
        two=conv(),
        bn2=bn(),
    ),
    IMAGE * 2,
)
case("nothing to fold", {}, lambda: chain(conv=conv(), act=nn.ReLU()))


# -------------------------------------------------------------- what stands between the two


def between(name: str, verdict: Verdict, step: Callable[[Tensor], Tensor], **parts: Any) -> None:
    """Conv, a step, bn and a relu, so that the bn can only go back."""
    parts = {"conv": conv(), "bn": bn(), **parts}
    case(
        f"conv, {name}, bn",
        {"bn": verdict},
        lambda: Net(lambda self, x: self.bn(step(self.conv(x))).relu(), **copy.deepcopy(parts)),
    )


between("flip of the channels", folded("conv"), lambda y: y.flip(1))
between("roll of the channels", folded("conv"), lambda y: y.roll(2, 1))
between("channels by index", either, lambda y: y[:, [2, 0, 1, 4, 3]])
between("one channel several times", refused(), lambda y: y[:, [2, 0, 0, 4, 3]])
between("channels repeated", refused(), lambda y: y.repeat(1, 2, 1, 1), bn=bn(10))
between("some of the channels", either, lambda y: y[:, 1:4], bn=bn(3))
between("a crop", folded("conv"), lambda y: y[:, :, 1:, ::2])
between("nearest upsampling", either, lambda y: F.interpolate(y, scale_factor=2.0))
between(
    "bilinear upsampling",
    either,
    lambda y: F.interpolate(y, scale_factor=1.5, mode="bilinear", align_corners=True),
)
between("uneven adaptive pooling", folded("conv"), lambda y: F.adaptive_avg_pool2d(y, 3))
between(
    "average pooling that counts its padding",
    refused(),
    lambda y: F.avg_pool2d(y, 3, 2, 1),
)
between(
    "average pooling that does not count its padding",
    folded("conv"),
    lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
)
between("average pooling in ceil mode", either, lambda y: F.avg_pool2d(y, 3, 2, ceil_mode=True))
between(
    "average pooling with another divisor",
    either,
    lambda y: F.avg_pool2d(y, 2, divisor_override=3),
)
between("mean over space", either, lambda y: y.mean((2, 3), keepdim=True))
case(
    "conv, relu, a scale that is not positive",
    {"scale": refused("made by relu, which a scale that is not positive does not pass")},
    lambda: chain(
        conv=conv(),
        act=nn.ReLU(),
        scale=Net(lambda self, y: y * self.by, by=torch.tensor([0.5, 2, -1, 3, 4]).view(5, 1, 1)),
        last=nn.Sigmoid(),
    ),
)
between("sum over space", either, lambda y: y.sum((2, 3), keepdim=True))
between("maximum over space", folded("conv"), lambda y: y.amax((2, 3), keepdim=True))
between("zero padding", refused(), lambda y: F.pad(y, (1, 1)))
between("reflection", either, lambda y: F.pad(y, (1, 1, 1, 1), mode="reflect"))
between("padding of the channels", refused(), lambda y: F.pad(y, (0, 0, 0, 0, 1, 1)), bn=bn(7))
between("a sum with itself", refused(), lambda y: y + y)
between("a product with itself", refused(), lambda y: y * y)
between("a spatial mask", refused(), lambda y: y * torch.arange(4.0, dtype=y.dtype))
between("a position embedding", refused(), lambda y: y + torch.arange(20.0).view(5, 4).to(y.dtype))
between("a change of sign", either, lambda y: -y)
between("a softmax", refused(), lambda y: y.softmax(1))
between("a transposition of space", folded("conv"), lambda y: y.transpose(2, 3))
between(
    "a transposition of channels and rows",
    refused(),
    lambda y: y.transpose(1, 2),
)
between("a clone", folded("conv"), lambda y: y.clone())
between("contiguous memory", folded("conv"), lambda y: y.contiguous())
case(
    "conv, a detour through float32, bn",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.conv(x).float().to(x.dtype)).relu(), conv=conv(), bn=bn()
    ),
    tolerance=1e-6,
)

case(
    "difference of two convs",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(self.one(x) - self.two(x)).relu(), one=conv(), two=conv(), bn=bn()
    ),
)
case(
    "weighted sum of two convs",
    {"bn": either},
    lambda: Net(
        lambda self, x: self.bn(torch.add(self.one(x), self.two(x), alpha=3)).relu(),
        one=conv(),
        two=conv(),
        bn=bn(),
    ),
)
case(
    "conv without batch",
    {"bn": either},
    lambda: Net(lambda self, x: self.bn(self.conv(x[0])[None]).relu(), conv=conv(), bn=bn()),
)
case(
    "linear over W, as wide as there are channels, then bn",
    {"bn": refused()},
    lambda: chain(fc=linear(4, 5), bn=bn(5), act=nn.ReLU()),
    ((2, 5, 7, 4),),
)
case(
    "bn, then linear over W, as wide as there are channels",
    {"bn": refused()},
    lambda: chain(bn=bn(4), fc=linear(4, 5)),
    ((2, 4, 7, 4),),
)
case(
    "conv run through its forward",
    {"bn": either},
    lambda: Net(lambda self, x: self.bn(self.conv.forward(x)), conv=conv(), bn=bn()),
)
case(
    "bn run through its forward",
    {"": either},
    lambda: Net(lambda self, x: self.bn.forward(self.conv(x)), conv=conv(), bn=bn()),
)
case(
    "decoder that uses the encoder's weight",
    {"bn": refused("conv")},
    lambda: Net(
        lambda self, x: F.conv_transpose2d(self.bn(self.conv(x)).relu(), self.conv.weight),
        conv=conv(),
        bn=bn(),
    ),
    with_graph={"bn": either},
)
case(
    "part of conv's output returned",
    {"bn": refused("conv")},
    lambda: Net(lambda self, x: (self.bn(y := self.conv(x)), y[:, :1]), conv=conv(), bn=bn()),
)
case(
    "conv output replaced by its bn, in place",
    {"bn": either},
    lambda: Net(lambda self, x: overwritten(self, x), conv=conv(), bn=bn()),
)
case(
    "bns that share their parameters",
    {"bn1": folded("one"), "bn2": folded("two")},
    lambda: tied_bns(),
)
case(
    "weights in channels-last memory",
    INTO_CONV,
    lambda: chain(conv=conv(), bn=bn()).to(memory_format=torch.channels_last),
)
case(
    "instance norm by running statistics",
    {"norm": either},
    lambda: chain(conv=conv(), norm=nn.InstanceNorm2d(5, track_running_stats=True, affine=True)),
)
case(
    "instance norm by its own statistics",
    {"norm": absent},
    lambda: chain(conv=conv(), norm=nn.InstanceNorm2d(5, affine=True)),
)
case(
    "frozen parameters",
    INTO_CONV,
    lambda: chain(conv=conv(), bn=bn()).requires_grad_(False),
)
case(
    "module that runs its bn and returns two values",
    {"block.bn": folded("block.conv")},
    lambda: Net(
        lambda self, x: sum(self.block(x)),
        block=Net(lambda self, x: (y := self.bn(self.conv(x)), y.relu()), conv=conv(), bn=bn()),
    ),
)


def overwritten(self: Net, x: Tensor) -> Tensor:
    y = self.conv(x)
    y[:] = self.bn(y)
    return y


def tied_bns() -> nn.Module:
    net = Net(
        lambda self, x: self.bn1(self.one(x)) + self.bn2(self.two(x)),
        one=conv(),
        two=conv(),
        bn1=bn(),
        bn2=bn(),
    )
    net.bn2.weight, net.bn2.bias = net.bn1.weight, net.bn1.bias
    return net


# -------------------------------------------------------------------------------- precision


def large_means() -> nn.Module:
    net = chain(conv=conv(), bn=bn())
    with torch.no_grad():
        net.conv.bias.fill_(1e4)
        net.bn.running_mean.fill_(1e4)
        net.bn.running_var.fill_(1e-3)
    return net


def mixed_precision() -> nn.Module:
    net = chain(conv=conv(), bn=bn())
    net.conv.half()
    return net


case(
    "mean = bias = 1e4, variance 1e-3",
    INTO_CONV,
    large_means,
    as_built=True,
    tolerance=1e-10,
)
case("half precision with a float bn", INTO_CONV, mixed_precision, low=torch.float16)
case("half precision", INTO_CONV, lambda: chain(conv=conv(), bn=bn()).half(), low=torch.float16)
case("bfloat16", INTO_CONV, lambda: chain(conv=conv(), bn=bn()).bfloat16(), low=torch.bfloat16)
case("single precision", INTO_CONV, lambda: chain(conv=conv(), bn=bn()), low=torch.float32)
