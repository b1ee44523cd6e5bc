"""The names of weights in a file, matched with those of a model; no tensors, and no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What torch.compile, FSDP and activation checkpointing put into names, at any depth."""
_TRIED = 8
"""Names by which a common prefix is looked for, at either end."""


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Which entry of a file each entry of a model is.

    names:     by the model's names, those of the file
    prefix:    what the file's names begin with and the model's do not; '' for nothing
    added:     what the model's names begin with and the file's do not; '' for nothing
    wrappers:  names of wrappers that stand in the file's names
    missing:   what the model has and the file does not
    left_over: what the file has and the model does not, as the file calls it
    """

    names: dict[str, str]
    prefix: str = ""
    added: str = ""
    wrappers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def within(self, children: Iterable[str]) -> tuple[str, ...]:
        """What is left over within these parts of the model (its children's names), or at its top.

        >>> found = match_names(["a.w"], ["a.w", "a.0.w", "head.w", "scale"])
        >>> found.left_over, found.within(["a"])
        (('a.0.w', 'head.w', 'scale'), ('a.0.w', 'scale'))
        """
        known = set(children)
        inside = []
        for name in self.left_over:
            plain = _plain(name)
            if not plain.startswith(self.prefix):
                continue
            first, dot, _ = f"{self.added}{plain.removeprefix(self.prefix)}".partition(".")
            if first in known or not dot:
                inside.append(name)
        return tuple(inside)


def match_names(wanted: Sequence[str], given: Sequence[str]) -> NameMatch:
    """The entries of a file that a model's entries are, by name.

    A prefix that all of them have in common is looked for, on either side: the one under which
    the most names match, and of several the shortest.

    >>> found = match_names(["a.w", "a.b"], ["module._orig_mod.a.w", "module._orig_mod.a.b", "x.w"])
    >>> found.names["a.w"], found.prefix, found.wrappers, found.left_over
    ('module._orig_mod.a.w', 'module.', ('_orig_mod',), ('x.w',))
    >>> found = match_names(["net.a.w", "net.a.b"], ["a.w"])
    >>> found.names, found.added, found.missing
    ({'net.a.w': 'a.w'}, 'net.', ('net.a.b',))
    """
    model = {_plain(name): name for name in wanted}
    file = {_plain(name): name for name in given}
    best: tuple[int, int, str, str] | None = None
    for prefix, added in sorted(_prefixes(list(model), list(file))):
        found = sum(f"{prefix}{name.removeprefix(added)}" in file for name in model
                    if name.startswith(added))  # fmt: skip
        rank = (-found, len(prefix) + len(added), prefix, added)
        best = rank if best is None or rank < best else best
    _, _, prefix, added = best or (0, 0, "", "")
    names = {
        name: file[key]
        for plain, name in model.items()
        if plain.startswith(added) and (key := f"{prefix}{plain.removeprefix(added)}") in file
    }
    used = set(names.values())
    parts = {part for name in used for part in name.split(".")}
    own = {part for name in wanted for part in name.split(".")}
    return NameMatch(
        names,
        prefix if names else "",
        added if names else "",
        tuple(sorted((parts - own) & _WRAPPERS)),
        tuple(name for name in wanted if name not in names),
        tuple(name for name in given if name not in used),
    )


def _plain(name: str) -> str:
    """A name without wrappers.

    >>> _plain("encoder._orig_mod.conv.weight")
    'encoder.conv.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefixes(model: Sequence[str], file: Sequence[str]) -> set[tuple[str, str]]:
    """Prefixes of the file's names, and of the model's, that are worth a try."""
    found = {("", "")}
    found |= {(prefix, "") for prefix in _fronts(file, model)}
    found |= {("", prefix) for prefix in _fronts(model, file)}
    return found


def _fronts(long: Sequence[str], short: Sequence[str]) -> set[str]:
    """What stands before one of the short names in one of the long ones."""
    ends = {*short[:_TRIED], *short[-_TRIED:]}
    return {name.removesuffix(end) for name in long for end in ends if name.endswith(f".{end}")}


def first_names(names: Sequence[str], most: int = 3) -> str:
    """The first of several names, for a sentence.

    >>> first_names(["a", "b", "c", "d", "e"])
    "'a', 'b', 'c' and 2 more"
    """
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
