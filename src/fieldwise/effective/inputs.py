"""What the mean is taken over: noise, or the pictures and arrays of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.normalisation import Normalisation, own_normalisation
from fieldwise.errors import UsageError, said_by
from fieldwise.graph.ir import Shape
from fieldwise.resizing import has_range, resized

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the channels, as torchvision and the papers have them."""


class NumberedInputs(Sequence[Tensor]):
    """Inputs by number, each made when it is asked for."""

    def make(self, number: int) -> Tensor:
        """Input ``number``, from 0 on."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self.make(number) for number in numbers]
        return self.make(numbers)


@dataclass(frozen=True)
class Noise(NumberedInputs):
    """Inputs of this shape whose samples are standard normal, the same ones for the same seed.

    >>> Noise((1, 1, 4), number=2)[0].shape
    torch.Size([1, 1, 4])
    """

    shape: Shape
    number: int
    seed: int = 0

    def __len__(self) -> int:
        return self.number

    def make(self, number: int) -> Tensor:
        """Input ``number``, from 0 on."""
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return torch.randn(self.shape, generator=dice)

    def __str__(self) -> str:
        return f"noise with seed {self.seed}"


@dataclass(frozen=True)
class Pictures(NumberedInputs):
    """The pictures, and .npy arrays, of a folder in the order of their names.

    A picture is resized to the input's height and width (bicubic), as grey or RGB by the number of
    its channels, scaled to [0, 1] (8 or 16 bits) and normalised.  An array is taken as it is: its
    shape is the input's, or that without the batch.
    """

    paths: tuple[Path, ...]
    shape: Shape
    normalisation: Normalisation

    def __len__(self) -> int:
        return len(self.paths)

    def make(self, number: int) -> Tensor:
        """Input ``number``, from 0 on."""
        path = self.paths[number]
        if path.suffix.lower() == ".npy":
            return _array(path, self.shape)
        return _picture(path, self.shape, self.normalisation)

    def __str__(self) -> str:
        names = "\n".join(path.name for path in self.paths)
        digest = hashlib.sha256(names.encode()).hexdigest()[:16]
        return f"{len(self.paths)} files, {digest}"


def pictures(folder: Path, shape: Shape, normalisation: Normalisation) -> Pictures:
    """Those in a folder and below.  Raises UsageError where there are none."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {str(folder)!r}; name one of pictures.")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in (*PICTURES, ".npy"))
    paths = tuple(sorted(path for path in files if path.is_file()))
    if not paths:
        kinds = ", ".join((*PICTURES, ".npy"))
        raise UsageError(f"There are no pictures in {str(folder)!r}; it may hold {kinds}.")
    return Pictures(paths, shape, normalisation)


def normalisation_of(model: nn.Module, channels: int) -> Normalisation:
    """As the model's own config says (timm has one), else ImageNet's, of one channel its mean.

    >>> normalisation_of(nn.Identity(), 3) == IMAGENET
    True
    """
    mean, deviation = own_normalisation(model) or IMAGENET
    if len(mean) == channels:
        return tuple(mean), tuple(deviation)
    return (sum(mean) / len(mean),) * channels, (sum(deviation) / len(deviation),) * channels


def _picture(path: Path, shape: Shape, normalisation: Normalisation) -> Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            "Reading pictures needs Pillow; install it with pip install pillow."
        ) from error
    if len(shape) != 4 or shape[1] not in _CHANNELS:
        wanted = "x".join(map(str, shape))
        raise UsageError(
            f"A picture is no input of shape {wanted}; give .npy arrays of that shape instead."
        )
    try:
        with Image.open(path) as image:
            if not has_range(image):
                raise UsageError(
                    f"{str(path)!r} holds numbers of no range that is known; give .npy arrays of "
                    "the input's shape instead."
                )
            values = resized(image, (shape[2], shape[3]), shape[1])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{str(path)!r} is no readable picture: {said_by(error)}.") from error
    mean, deviation = (np.asarray(one, dtype=np.float32) for one in normalisation)
    return torch.from_numpy(((values - mean) / deviation).transpose(2, 0, 1)[None].copy())


def _array(path: Path, shape: Shape) -> Tensor:
    try:
        values: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{str(path)!r} is no readable array: {said_by(error)}.") from error
    if values.shape not in (shape, shape[1:]) or values.dtype.kind not in "fiub":
        found, wanted = ("x".join(map(str, size)) for size in (values.shape, shape))
        raise UsageError(f"{str(path)!r} holds {found} of {values.dtype}; the input is {wanted}.")
    return torch.from_numpy(values.astype(np.float64)).reshape(shape)


_CHANNELS = (1, 3)
