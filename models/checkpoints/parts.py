"""The networks in a file: a student and its teacher, raw and averaged weights; one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base import ModelError
from .containers import EMA, MAIN, NESTED, TEACHER, Found, State, role, state_dicts
from .reading import printable

WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")
RAW = "raw"  # the weights that were trained, where the file also has their moving average
PARTS = (MAIN, TEACHER, RAW, EMA)


@dataclass(frozen=True)
class Network(Found):
    """One of the networks in a file; ``called``: what `Checkpoint.part` says of it.

    others  modules of a distiller beside its networks, with their numbers of tensors
    whole   whether it was saved within a distiller, under the prefix of its names
    """

    prefixes: tuple[str, ...] = ()
    called: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False


def networks_in(content: Any, path: Path) -> list[Network]:
    """All networks in a file's content. Raises ModelError if there is none."""
    found = state_dicts(content)
    if not found:
        raise ModelError(
            f"{path}: no state dict: it holds {_holds(content)}; expected a dict of tensors by "
            f"name, or one under {', '.join(map(repr, NESTED[:-1]))}, {NESTED[-1]!r} or the like"
        )
    return [network for one in found for network in _by_prefix(one)]


def _holds(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict of {', '.join(map(repr, list(content)[:6])) or 'nothing'}"[:200]
    return type(content).__name__


def _by_prefix(found: Found) -> Iterator[Network]:
    """The networks that one state dict holds side by side: "student.…", "teacher.…"."""
    state, wrappers = unwrapped(found.state)
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in state))
    roles = {first: part for first in firsts if (part := role(first)) is not None}
    if MAIN not in roles.values() and TEACHER not in roles.values():
        roles = _averaged(state, roles)
    if not roles:
        yield Network(found.keys, found.state, found.part)
        return
    counts = {first: f"{sum(k.startswith(f'{first}.') for k in state)} tensors" for first in firsts}
    for first, part in _with_the_raw(firsts, roles):
        prefix = f"{first}."
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        others = {f"{printable(name)}.": count for name, count in counts.items() if name != first}
        whole = EMA not in roles.values()
        yield Network(found.keys, inner, part, (*wrappers, prefix), None, others, whole)


def _averaged(state: State, roles: Mapping[str, str]) -> dict[str, str]:
    """Those prefixes of a moving average under which the rest of the state stands once more."""
    kept = {}
    for first, part in roles.items():
        prefix = f"{first}."
        inside, _ = unwrapped(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        outside = {name.partition(".")[2] for name in state if not name.startswith(prefix)}
        if len(outside & inside.keys()) > len(inside) / 2:
            kept[first] = part
    return kept


def _with_the_raw(firsts: Sequence[str], roles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The prefixes of networks: beside a moving average, any other one is of the raw weights."""
    for first in firsts:
        if first in roles:
            yield first, roles[first]
        elif EMA in roles.values():
            yield first, MAIN


def taken(networks: Sequence[Network], part: str, path: Path) -> Network:
    """The network that ``part`` asks for, the first in the most usual place."""
    wanted = MAIN if part == RAW else part
    held = list(dict.fromkeys(network.part for network in networks))
    of_part = [network for network in networks if network.part == wanted]
    if not of_part and part == MAIN and held == [EMA]:
        of_part = list(networks)  # nothing else is there
    if not of_part:
        raise ModelError(f"{path}: {_lacks(part, held, networks)}")
    called = of_part[0].part if len(held) > 1 or networks[0].whole else None
    if called == MAIN and TEACHER not in held and EMA in held:
        called = RAW
    return _called(of_part[0], called)


def _lacks(part: str, held: Sequence[str], networks: Sequence[Network]) -> str:
    if held == [MAIN] and not networks[0].whole:
        return f"has no part {part!r}: it holds one network, not a distiller"
    shown = " and ".join(repr(name) for name in held)
    return f"a distiller without {part!r}: it holds {shown} only"


def _called(network: Network, name: str | None) -> Network:
    return Network(**{**vars(network), "called": name})


def unwrapped(state: State) -> tuple[State, tuple[str, ...]]:
    """The state without the prefixes of wrappers, and these prefixes.

    Returns a plain dict: torch's OrderedDict carries module versions that loading would act on.
    """
    prefixes: list[str] = []
    names = list(state)
    while names:
        prefix = next((p for p in WRAPPERS if all(name.startswith(p) for name in names)), None)
        if prefix is None:
            break
        names = [name.removeprefix(prefix) for name in names]
        prefixes.append(prefix)
    return dict(zip(names, state.values(), strict=True)), tuple(prefixes)
