"""What a file of weights holds: safetensors, or what torch.save wrote, of which no code is run.

torch.load is called with weights_only=True and never otherwise: its unpickler knows tensors,
containers and numbers, and ends at the first name of anything else.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from fieldwise.capture.pickles import PICKLES
from fieldwise.capture.state_names import first_names
from fieldwise.errors import UsageError, said_by, summary_of

State = Mapping[str, Tensor]
"""Weights by name."""

USUAL = (
    "", "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params",
    "ema", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema",
)  # fmt: skip
"""Where weights stand in a checkpoint, those that are taken first at the front."""

_INDEX = ".index.json"
_LARGEST_INDEX = 64 << 20
_DEEPEST = 4


def read_states(path: Path) -> dict[str, State]:
    """The weights in a file, by where they stand in it: '' is the file itself, 'ema.state_dict'.

    Raises UsageError for what cannot be read, with what can be done about it.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r}; check the path.")
    if path.name.lower().endswith(_INDEX):
        return {"": _sharded(path)}
    if _is_torch_file(path):
        return _found_in(_unpickled(path), path)
    return {"": _safetensors(path)}


def _is_torch_file(path: Path) -> bool:
    """Whether torch.save wrote it, by its beginning; an unknown beginning: by its name."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return path.suffix.lower() not in (".pt2", ".npz")
    return path.suffix.lower() in PICKLES and not _begins_as_safetensors(head)


def _begins_as_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{"


def _safetensors(path: Path) -> State:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UsageError(
            "Reading weights needs safetensors; install it with pip install 'fieldwise[tile]'."
        ) from error
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            f"{str(path)!r} is no readable safetensors file ({said_by(error)}); write the weights "
            "with safetensors.torch.save_model."
        ) from error


def _sharded(path: Path) -> State:
    """The weights of an index, whose shards lie beside it."""
    if path.stat().st_size > _LARGEST_INDEX:
        raise UsageError(f"{str(path)!r} is larger than {_LARGEST_INDEX >> 20} MiB, and no index.")
    try:
        held = json.loads(path.read_bytes())["weight_map"]
        places = {str(name): str(shard) for name, shard in held.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{str(path)!r} is no index of weights ({summary_of(error)}); it has a 'weight_map' of "
            "names and the files that hold them."
        ) from error
    state: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or shard in (".", "..") or "\\" in shard:
            raise UsageError(f"{str(path)!r} names the shard {shard!r}, which is not beside it.")
        held = read_states(path.parent / shard).get("", {})
        wanted = [name for name, place in places.items() if place == shard]
        if absent := [name for name in wanted if name not in held]:
            raise UsageError(
                f"{str(path)!r} looks for {first_names(absent)} in {shard!r}, which lacks "
                f"{len(absent)} of {len(wanted)}; download both again."
            )
        state.update((name, held[name]) for name in wanted)
    return state


def _unpickled(path: Path) -> object:
    """What torch.save wrote, read by torch's unpickler of weights; mapped where it can be."""
    failed: Exception | None = None
    for mapped in (True, False):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise _refused(path, error) from error
        except Exception as error:
            if "TorchScript" in str(error):
                raise UsageError(
                    f"{str(path)!r} is a TorchScript program, a model with its weights, and no "
                    "file of weights; write them with torch.save(model.state_dict(), FILE)."
                ) from error
            failed = error
    assert failed is not None
    raise UsageError(
        f"{str(path)!r} is no readable file of weights ({summary_of(failed)}); write them with "
        "torch.save(model.state_dict(), FILE) or as safetensors."
    ) from failed


def _refused(path: Path, error: Exception) -> UsageError:
    """What to say of a file that names something that is not weights."""
    names = _foreign(path, error)
    if not names:
        return UsageError(
            f"{str(path)!r} is no whole file of weights as torch.save writes it; another pickle "
            "could run any code when it is loaded, and fieldwise loads none. Write the weights "
            "with torch.save(model.state_dict(), FILE) or as safetensors."
        )
    clean = str(path.with_name(f"{path.stem}.clean.pt"))
    return UsageError(
        f"{str(path)!r} holds {first_names(names)} beside tensors: loading it runs code, and "
        "fieldwise never does. Where it comes from somebody you trust, and where these names can "
        "be imported, write its weights alone: import torch; found = torch.load("
        f"{str(path)!r}, map_location='cpu', weights_only=False); torch.save("
        f"found['state_dict'], {clean!r}). The key may be another one, and of a whole model it is "
        "found.state_dict()."
    )


def _foreign(path: Path, error: Exception) -> list[str]:
    """The names that stand in the way, all where torch can list them, or else the first."""
    try:
        listed = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001  (what a hostile file raises is open; the first is named)
        listed = []
    first = re.search(r"(?:GLOBAL|Unsupported global: GLOBAL) (\S+)", str(error)) or re.search(
        r"global (\S+) whose module", str(error)
    )
    names = listed or ([first[1]] if first else [])
    return sorted(names, key=lambda name: name.startswith(("torch.", "numpy.")))


def _found_in(held: object, path: Path) -> dict[str, State]:
    """The weights in what was unpickled, the usual places first.

    Raises UsageError where there are none.
    """
    found: dict[str, State] = {}
    _collect(held, "", found, _DEEPEST)
    if not found:
        what = "a list" if isinstance(held, list) else f"a {type(held).__name__!r}"
        keys = [str(key) for key in held] if isinstance(held, Mapping) else []
        where = f"its entries are {first_names(keys, 6)}" if keys else f"it is {what}"
        raise UsageError(
            f"{str(path)!r} holds no weights: tensors by name are looked for, at its top or under "
            f"a name like 'state_dict', and {where}."
        )
    order = {place: number for number, place in enumerate(USUAL)}
    last = len(USUAL)
    return dict(sorted(found.items(), key=lambda one: order.get(one[0].split(".")[0], last)))


def _collect(held: object, place: str, found: dict[str, State], depth: int) -> None:
    if not isinstance(held, Mapping) or depth == 0:
        return
    if _is_state(held):
        found[place] = {name: value for name, value in held.items() if isinstance(value, Tensor)}
        return
    for key, value in held.items():
        if isinstance(key, str):
            _collect(value, f"{place}.{key}" if place else key, found, depth - 1)


def _is_state(held: Mapping[object, object]) -> TypeGuard[Mapping[str, object]]:
    """Whether these are weights by name, perhaps with a few other things beside them."""
    tensors = sum(isinstance(value, Tensor) for value in held.values())
    nested = sum(isinstance(value, Mapping) and bool(value) for value in held.values())
    return tensors > nested and all(isinstance(key, str) for key in held)
