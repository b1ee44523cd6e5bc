"""How a job is cut into pieces, as its journal says it: what a resumed run has to do again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fieldwise.tile.choices import Cache
from fieldwise.tile.jobs.work import CACHES, JobPlan


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a request leads to a plan, whatever memory there is, by the names of ``Request``.

    None: what has nothing to do with its engine, and what was left to default

    >>> str(Cut("stream", cache="both", along=2, band=32, strip=200))
    '--engine stream --cache both --axis 2 --band 32 --strip 200'
    >>> str(Cut.parse({"engine": "halo", "tile": [64, 64], "batch": 4}))
    '--engine halo --tile 64 --batch 4'
    >>> Cut.parse({"engine": "stream", "band": "wide"})
    """

    engine: str
    cache: Cache | None = None
    along: int | None = None
    band: int | None = None
    strip: int | None = None
    piece: int | None = None
    tile: Sequence[int] | None = None
    batch: int | None = None

    @classmethod
    def of(cls, plan: JobPlan, *, piece: int | None = None) -> Cut:
        """Of a plan; piece: the rows of a piece, where they were asked for."""
        across = tuple(axis.tile for axis in plan.axes)
        if plan.engine == "halo":
            return cls("halo", "none", tile=across, batch=plan.batch)
        strip = across[0] if across else None
        return cls("stream", plan.cache, plan.along, plan.step, strip, piece)

    @classmethod
    def parse(cls, plain: object) -> Cut | None:
        """From plain data; None for anything else."""
        if not isinstance(plain, dict) or not plain.keys() <= cls.__annotations__.keys():
            return None
        given = {name: one for name, one in plain.items() if one is not None}
        tile = given.get("tile", [1])
        numbers = [one for name, one in given.items() if name not in ("engine", "cache", "tile")]
        if given.get("engine") not in ("stream", "halo") or not isinstance(tile, list):
            return None
        if given.get("cache", "rows") not in CACHES:
            return None
        if not all(type(number) is int and number > 0 for number in (*numbers, *tile)):
            return None
        return cls(**{**given, **({"tile": tuple(tile)} if "tile" in given else {})})

    def changed(self, before: Cut | None) -> list[str]:
        """The options in which another cut differs.

        >>> Cut("halo", tile=(64, 64), batch=4).changed(Cut("halo", tile=(64, 32), batch=4))
        ['--tile']
        >>> Cut("halo", tile=(64, 64)).changed(Cut("stream", band=32)), Cut("halo").changed(None)
        (['--engine'], [])
        """
        if before is None:
            return []
        own, other = self.plain(), before.plain()
        names = [name for name in self.__slots__ if own.get(name) != other.get(name)]
        if self.engine != before.engine:
            names = ["engine"]
        return [_option(name) for name in names]

    def plain(self) -> Mapping[str, object]:
        """As plain data."""
        return {name: one for name, one in asdict(self).items() if one is not None}

    def __str__(self) -> str:
        tile = self.tile and max(self.tile)
        plain = {**self.plain(), **({"tile": tile} if tile else {})}
        return " ".join(f"{_option(name)} {one}" for name, one in plain.items())


def _option(name: str) -> str:
    return f"--{_OPTIONS.get(name, name)}"


_OPTIONS = {"along": "axis"}
