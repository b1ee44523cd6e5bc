"""Where the voxels of a medical volume lie in the world: an affine map, rotation and all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

Vector = tuple[Fraction, Fraction, Fraction]
"""World coordinates x, y, z."""


@dataclass(frozen=True, slots=True)
class VoxelMap:
    """World coordinates of a voxel: origin + the sum of its indices times the columns.

    name:    which one of a file's it is, as NIfTI calls them: 'sform' or 'qform'
    axes:    the axis that each column belongs to: its letter; before an input's layout is known its
             number in the file; '' where the file has no such axis
    code:    what world this is, as NIfTI numbers them: 1 the scanner's, 4 MNI152, …
    """

    name: str
    axes: tuple[str, str, str]
    columns: tuple[Vector, Vector, Vector]
    origin: Vector
    code: int

    def at(self, *indices: Fraction | int) -> Vector:
        """World coordinates of a point, counted in voxels from the centre of the first.

        >>> whole = [Fraction(n) for n in (0, 2, 10, 0)]
        >>> no, two, ten = (whole[0],), whole[1], whole[2]
        >>> columns = ((two, *no * 2), (*no, two, *no), (*no * 2, two))
        >>> found = VoxelMap("sform", ("X", "Y", "Z"), columns, (ten, ten, ten), 1).at(1, 0, 3)
        >>> list(map(int, found))
        [12, 10, 16]
        """
        return _sum(self.origin, indices, self.columns)

    def named(self, letters: Mapping[str, str]) -> VoxelMap:
        """The same with axes called so."""
        first, second, third = (letters.get(axis, axis) for axis in self.axes)
        return replace(self, axes=(first, second, third))

    def regridded(self, ends: Callable[[str], tuple[Fraction, Fraction] | None]) -> VoxelMap | None:
        """That of positions which stand at start + step·i of these voxels; None where none is.

        ends: (start, step) of an axis; None where positions have no regular place along it
        """
        found = [ends(axis) if axis else (Fraction(0), Fraction(1)) for axis in self.axes]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        first, second, third = (
            _times(column, step) for column, (_, step) in zip(self.columns, known, strict=True)
        )
        origin = self.at(*(start for start, _ in known))
        return replace(self, columns=(first, second, third), origin=origin)

    def rows(self) -> list[list[float]]:
        """As a matrix of 4 x 4, each number rounded once."""
        columns = (*self.columns, self.origin)
        return [*([float(one[row]) for one in columns] for row in range(3)), [0.0, 0.0, 0.0, 1.0]]


def voxel_map(
    name: str, matrix: Sequence[Sequence[float]], axes: tuple[str, str, str], code: int
) -> VoxelMap:
    """The map of a matrix of 4 x 4.  Raises ValueError for one that holds what is no number."""
    try:
        exact = [[Fraction(float(one)) for one in row] for row in matrix[:3]]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its {name} holds what is no number") from error
    first, second, third, origin = ((exact[0][n], exact[1][n], exact[2][n]) for n in range(4))
    return VoxelMap(name, axes, (first, second, third), origin, code)


def _sum(origin: Vector, numbers: Sequence[Fraction | int], columns: Sequence[Vector]) -> Vector:
    x, y, z = (
        origin[row] + sum((n * column[row] for n, column in zip(numbers, columns, strict=True)),
                          Fraction(0))
        for row in range(3)
    )  # fmt: skip
    return x, y, z


def _times(column: Vector, step: Fraction) -> Vector:
    x, y, z = (one * step for one in column)
    return x, y, z
