"""The start that our dispatch modes have in common."""

from __future__ import annotations

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fieldwise.graph.ir import Args, Kwargs


class DispatchMode(TorchDispatchMode):
    """A mode that hands every call of an operator to ``called``.

    Nothing is compiled inside: to exclude the compiler torch would import it, which takes seconds.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        return self.called(func, args, kwargs or {})

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """What the call gives; the mode is off meanwhile."""
        raise NotImplementedError

    def taken_apart(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        """What a composite operator gives, each operator within it handed to ``called``."""
        with self:
            return func.decompose(*args, **kwargs)
