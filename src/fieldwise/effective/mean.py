"""A mean mean and variance of maps: one at a time, merged, and saved between runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MapMean:
    """Mean and spread of maps so far (Welford, 1962; merged as by Chan, Golub & LeVeque, 1979).

    count:   of maps
    skipped: of inputs that gave a number that is not finite
    mean:    of the maps
    spread:  the sum of squared differences from the mean
    """

    count: int
    skipped: int
    mean: Floats
    spread: Floats

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> MapMean:
        """Of no maps, of this shape."""
        return cls(0, 0, np.zeros(shape), np.zeros(shape))

    @classmethod
    def one(cls, values: Floats) -> MapMean:
        """Of one map, which is skipped where it is not finite throughout."""
        if not np.isfinite(values).all():
            return cls(0, 1, np.zeros(values.shape), np.zeros(values.shape))
        return cls(1, 0, values.astype(np.float64), np.zeros(values.shape))

    def __add__(self, other: MapMean) -> MapMean:
        """Of the maps of both.

        >>> both = MapMean.one(np.array([1.0])) + MapMean.one(np.array([3.0]))
        >>> both.mean.item(), both.standard_error.item()
        (2.0, 1.0)
        """
        count, skipped = self.count + other.count, self.skipped + other.skipped
        if not count:
            return MapMean(0, skipped, self.mean, self.spread)
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        spread = self.spread + other.spread + apart**2 * (self.count * other.count / count)
        return MapMean(count, skipped, mean, spread)

    @property
    def done(self) -> int:
        """Inputs so far."""
        return self.count + self.skipped

    @property
    def standard_error(self) -> Floats:
        """Of the mean, per position; not a number for fewer than two maps."""
        if self.count < 2:
            return np.full(self.mean.shape, np.nan)
        return np.sqrt(self.spread / (self.count * (self.count - 1)))

    def save(self, path: Path, made_from: Mapping[str, object]) -> None:
        """Write it as .npz, in the place of what is there; ``made_from`` tells runs apart."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with beside.open("wb") as file:
            np.savez(
                file,
                count=self.count, skipped=self.skipped, mean=self.mean, spread=self.spread,
                made_from=json.dumps(made_from, sort_keys=True),
            )  # fmt: skip
        beside.replace(path)

    @classmethod
    def load(cls, path: Path, made_from: Mapping[str, object]) -> MapMean:
        """What ``save`` has written.  Raises UsageError for another file, or of another run."""
        try:
            with np.load(path, allow_pickle=False) as file:
                saved = json.loads(str(file["made_from"]))
                found = cls(int(file["count"]), int(file["skipped"]), file["mean"], file["spread"])
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise UsageError(f"{path} holds no effective field to go on with.") from error
        wanted = json.loads(json.dumps(made_from))
        differ = sorted(name for name in {*saved, *wanted} if saved.get(name) != wanted.get(name))
        if differ:
            name = differ[0]
            raise UsageError(
                f"{path} is of another run: its {name} was {saved.get(name)!r}, and now is "
                f"{wanted.get(name)!r}; name another file, or begin again."
            )
        return found
