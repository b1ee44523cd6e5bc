"""Crops of an ONNX file through ONNX Runtime: planned by its graph, run by a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fieldwise.capture.torch.own_names import NamesItsValues
from fieldwise.errors import UsageError, said_by
from fieldwise.graph.tensors import dtype_name
from fieldwise.tile.arrays import Readable, as_numpy
from fieldwise.tile.choices import Runtime
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.targets import Arguments, CropTarget, PlannedModel
from fieldwise.tile.errors import TileError

if TYPE_CHECKING:
    from fieldwise.capture.onnx import OnnxModule

_ERRORS_ONLY = 3
_USUAL = ("CPUExecutionProvider",)


def target_of(
    planned: PlannedModel, runtime: Runtime = "torch", providers: Sequence[str] = ()
) -> CropTarget:
    """A model as it is run on crops.

    providers: of ONNX Runtime, in order; by default its CPU

    Raises UsageError where ONNX Runtime cannot run it, is not installed, or has no such provider.
    """
    if runtime == "torch":
        if providers:
            raise UsageError("Providers are those of ONNX Runtime; give runtime='ort' too.")
        return planned
    return SessionModel(planned, tuple(providers) or _USUAL)


@dataclass(eq=False)
class SessionModel:
    """A model that was read from an ONNX file, and is run by ONNX Runtime.

    The methods are those of ``PlannedModel``.
    """

    planned: PlannedModel
    providers: tuple[str, ...] = _USUAL
    _session: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.planned.call.model, NamesItsValues):
            raise UsageError("ONNX Runtime runs ONNX files, and this model was not read from one.")
        self._check_types()
        self._session = self._made()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_session": None}

    @property
    def _module(self) -> OnnxModule:
        module: Any = self.planned.call.model
        found: OnnxModule = module
        return found

    def _check_types(self) -> None:
        for like, one in zip(self.planned.call.inputs, self._module.graph.inputs, strict=True):
            if like.dtype != one.dtype:
                raise UsageError(
                    f"ONNX Runtime takes '{one.name}' as {dtype_name(one.dtype)} alone, as the "
                    f"file says, and not as {dtype_name(like.dtype)}."
                )

    def _made(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                "Crops through ONNX Runtime need onnxruntime; pip install onnxruntime."
            ) from error
        known = onnxruntime.get_available_providers()
        missing = [name for name in self.providers if name not in known]
        if missing:
            raise UsageError(f"ONNX Runtime has no {missing[0]} here; it has {', '.join(known)}.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        try:
            return onnxruntime.InferenceSession(
                self._module.file.for_runtime(), options, providers=list(self.providers)
            )
        except Exception as error:
            raise UsageError(
                f"ONNX Runtime does not take {self._module.name!r} ({said_by(error)})."
            ) from error

    def ordered(self, inputs: Sequence[Readable], named: Mapping[str, Readable]) -> Arguments:
        """See ``PlannedModel``."""
        return self.planned.ordered(inputs, named)

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan for inputs of these shapes.

        Raises TileError where the file fixes a size that crops do not have.
        """
        plan = self.planned.plan(*shapes)
        if len(plan) > 1:
            self._check_open(plan)
        return plan

    def _check_open(self, plan: TilePlan) -> None:
        """Crops at borders are smaller than those between, so that no fixed size fits all."""
        for one in self._module.graph.inputs:
            for axis in (tiled.axis for tiled in plan.axes):
                size = None if one.dims is None else one.dims[axis]
                if isinstance(size, int):
                    raise TileError(
                        f"The file takes '{one.name}' at a size of {size} along axis {axis} alone, "
                        f"and crops have several; let torch run them (--runtime torch), or export "
                        f"the file with that axis dynamic."
                    )

    def check(self) -> None:
        """See ``PlannedModel``."""
        self.planned.check()

    def cast(self, given: Arguments) -> Arguments:
        """See ``PlannedModel``."""
        return self.planned.cast(given)

    def whole(self, given: Arguments, plan: TilePlan) -> object:
        """The planned outputs, by name.

        Raises TileError for one that the file does not give: it stands before what data decide.
        """
        if self._session is None:
            self._session = self._made()
        module = self._module
        names = [one.name for one in module.graph.inputs]
        arrays = [as_numpy(array) for array in self.cast(given).arrays]
        feeds = dict(zip(names, arrays, strict=True)) | module.given_values()
        given_out = {one.name for one in self._session.get_outputs()}
        wanted = [output.name for output in plan.outputs]
        for name in wanted:
            if name not in given_out:
                raise TileError(
                    f"ONNX Runtime gives the outputs of the file alone, and '{name}' is none; let "
                    "torch run it (--runtime torch)."
                )
        return dict(zip(wanted, self._session.run(wanted, feeds), strict=True))

    def crop(self, given: Arguments, plan: TilePlan) -> object:
        """What the session returns for a crop.  Raises TileError where it fails."""
        try:
            return self.whole(given, plan)
        except TileError:
            raise
        except Exception as error:
            sizes = ", ".join("x".join(map(str, shape)) for shape in given.shapes)
            raise TileError(
                f"ONNX Runtime fails on a crop of {sizes} ({said_by(error)}); let torch run it "
                f"(--runtime torch)."
            ) from error

    def between_crops(self, _: TilePlan) -> AbstractContextManager[None]:
        """A session keeps nothing from one crop to the next."""
        return nullcontext()

    def doubled(self) -> PlannedModel:
        """The same in float64, by torch."""
        return self.planned.doubled()
