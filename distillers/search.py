"""Search spaces of methods, and the configurations that tuning tries.

A class declares its own options' space as ``search``; without, it follows from the defaults
(`derived`). Sizes of banks and heads, layers, schedules and learning rates are never searched.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from models.registry import near

from .base import Distiller, MethodError
from .compose import Wrapper
from .registry import defaults, find, parts, resolve
from .spaces import Choice, Integers, LogUniform, Space, Uniform, ends
from .values import checked, limits_of

__all__ = [
    "Choice", "Integers", "LogUniform", "Space", "Uniform",
    "configurations", "derived", "narrowed", "own_space", "space_of",
]  # fmt: skip

SCHEDULES = ("warmup", "decay", "curriculum", "epochs", "_lr")  # parts of names
TENFOLD, FOURFOLD = 10.0, 4.0  # up and down: of weights; of temperatures and other numbers
MARGIN = 0.05  # of a closed range stays out at either end, where fractions switch something off


def space_of(
    name: str, preset: str | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Space]:
    """The search space of a method by option, in alphabetical order; empty for the student alone.

    It includes Hinton's term where that has a weight, and what wrappers add. What the preset or
    ``options`` (an entry's own) switch off stays off, and where the preset or a wrapper moves a
    default, the space moves with it. Raises MethodError for what `resolve` refuses.
    """
    usual, values = defaults(name), defaults(name, preset)
    now = resolve(name, options, preset)
    found: dict[str, Space] = {}
    ignored: set[str] = set()
    classes = _classes(name)
    for cls in reversed(classes):  # wrappers come after what they wrap
        found |= own_space(cls, values)
        if issubclass(cls, Wrapper):
            ignored |= cls.ignores(classes[-1].name)
    if now["kd"] and "kd" not in found:
        found["kd"] = _around_weight(now["kd"])
    if now["kd"]:
        found.setdefault("kd_temperature", _around_temperature(values["kd_temperature"]))
    else:
        ignored |= {"kd_temperature"}
    ignored |= {key for key in found if _is_weight(key) and now[key] == 0 != usual[key]}
    return {key: found[key] for key in sorted(found.keys() - ignored)}


def configurations(
    name: str,
    options: Mapping[str, Any],
    count: int,
    seed: int = 0,
    space: Mapping[str, Space] | None = None,
) -> list[dict[str, Any]]:
    """The first ``count`` configurations of a method, each with all its options.

    Number 0 is ``options`` (resolved); number k takes the k-th point of a scrambled Sobol sequence
    seeded by (name, seed) for the options of ``space``, by default the method's. So a larger count
    keeps the earlier ones. Where all options of the space are lists, two numbers may be equal.
    Raises MethodError where the method has no search space.
    """
    space = space_of(name, options=options) if space is None else space
    if not space:
        raise MethodError(f"method {name!r}: it has no option to search")
    if count < 1:
        raise MethodError(f"method {name!r}: {count} configurations: expected at least 1")
    own = resolve(name, options)
    keys = sorted(space)
    drawn = [
        {key: space[key].at(u) for key, u in zip(keys, point, strict=True)}
        for point in _points(name, seed, len(keys), count - 1)
    ]
    return [own, *(resolve(name, {**own, **values}) for values in drawn)]


def _points(name: str, seed: int, dimension: int, count: int) -> list[list[float]]:
    """The first points of the sequence; those of a longer one begin with them."""
    if not count:
        return []
    import numpy as np
    from scipy.stats import qmc  # here: it takes half a second, and only tuning needs it

    digest = hashlib.sha256(f"{name}\0{seed}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    sequence = qmc.Sobol(dimension, scramble=True, seed=random)
    exponent = (count - 1).bit_length()  # Sobol points come in powers of two
    points: list[list[float]] = sequence.random_base2(exponent)[:count].tolist()
    return points


# ---- a class's own space -------------------------------------------------------------------------


def _classes(name: str) -> list[type[Distiller]]:
    """Wrappers, outermost first, and the method; "+kd" is no class here but a weight."""
    found = parts(name)
    wraps = [issubclass(cls, Wrapper) for cls in found]
    return found[: wraps.count(True) + 1]


def own_space(cls: type[Distiller], values: Mapping[str, Any] | None = None) -> dict[str, Space]:
    """What one class, a method or a wrapper, brings; ``values``: all defaults, by default its own.

    A declared space moves with a default that a preset or a wrapper has moved.
    """
    usual = {**Distiller.base_defaults, **cls.defaults}
    values = usual if values is None else values
    if cls.search is None:
        return derived(cls, values)
    return {
        key: _moved(cls, key, space, usual[key], values[key]) for key, space in cls.search.items()
    }


def _moved(cls: type[Distiller], key: str, space: Space, usual: Any, value: Any) -> Space:
    """``space``, declared for the default ``usual``, where a preset has ``value`` instead."""
    if not isinstance(space, LogUniform) or not usual or not value or value == usual:
        return space
    if key.endswith("temperature") and value >= 1:
        return _around_temperature(value)
    factor = value / usual
    return _clipped(cls, key, value, LogUniform(space.low * factor, space.high * factor))


def derived(cls: type[Distiller], values: Mapping[str, Any]) -> dict[str, Space]:
    """The space that follows from the defaults ``values`` of a method's own float options.

    A weight is searched from a tenth to ten times its default; a temperature from a quarter, or
    1, to four times; an option between two limits between these; another positive one from a
    quarter to four times. ``weight`` is left out where parts have weights of their own.
    """
    found = {key: _around(cls, key, values[key]) for key in cls.defaults if key in values}
    space = {key: one for key, one in found.items() if one is not None and _searched(cls, key)}
    weighted = any(key.endswith("_weight") for key in space)
    if cls.loss is not Distiller.loss and values["weight"] and not weighted:
        space["weight"] = _around_weight(values["weight"])
    return space


def _searched(cls: type[Distiller], key: str) -> bool:
    fixed = key in cls.choices or key in cls.optional or key in Distiller.base_defaults
    return not fixed and not any(part in key for part in SCHEDULES)


def _around(cls: type[Distiller], key: str, value: Any) -> Space | None:
    if type(value) is not float or value <= 0:
        return None
    low, high = limits_of(cls, key, float, value)
    if -math.inf < low and high < math.inf:
        margin = MARGIN * (high - low)
        return Uniform(low + margin, high - margin)
    if key.endswith("weight"):
        return _clipped(cls, key, value, _around_weight(value))
    if key.endswith("temperature"):
        return _clipped(cls, key, value, _around_temperature(value))
    return _clipped(cls, key, value, LogUniform(value / FOURFOLD, value * FOURFOLD))


def _around_weight(value: float) -> LogUniform:
    return LogUniform(*(float(f"{v:.6g}") for v in (value / TENFOLD, value * TENFOLD)))


def _around_temperature(value: float) -> LogUniform:
    """Of soft labels not below 1; contrastive terms have temperatures far below."""
    low = value / FOURFOLD if value < 1 else max(1.0, value / FOURFOLD)
    return LogUniform(low, value * FOURFOLD)


def _clipped(cls: type[Distiller], key: str, value: float, space: LogUniform) -> LogUniform:
    low, high = limits_of(cls, key, float, value)
    low, high = max(space.low, low), min(space.high, high)
    return LogUniform(*(float(f"{v:.6g}") for v in (low, high)))


def _is_weight(key: str) -> bool:
    return key in Distiller.base_defaults or key.endswith("_weight")


# ---- what an entry of a matrix narrows -----------------------------------------------------------


def narrowed(name: str, space: Mapping[str, Space], search: Mapping[str, Any]) -> dict[str, Space]:
    """``space`` with an entry's ``search``; options that are not in ``space`` are added to it.

    A value is [low, high], in the scale that the option has in ``space`` (else linear, or whole
    numbers for an option that is one); {low, high, scale: linear | log}; or {values: [...]}.
    Raises MethodError, in one line, for an unknown option and a value that it does not take.
    """
    options, cls = defaults(name), find(name)
    found = dict(space)
    for key, written in search.items():
        if key not in options:
            raise MethodError(
                f"method {name!r}: search: unknown option {key!r}: {near(key, options)}"
            )
        where = f"method {name!r}: search: {key}: {written!r}"
        try:
            kind = cls.optional.get(key, type(options[key]))
            found[key] = _parsed(written, space.get(key), kind)
            for value in ends(found[key]):
                checked(cls, key, value, options[key])
        except ValueError as error:  # a MethodError is one
            raise MethodError(f"{where}: expected {_expected(error)}") from None
    return {key: found[key] for key in sorted(found)}


def _expected(error: ValueError) -> str:
    return str(error).partition("expected ")[2] or str(error)


def _parsed(written: Any, space: Space | None, kind: type) -> Space:
    if isinstance(written, Mapping) and written.keys() == {"values"}:
        values = written["values"]
        if not isinstance(values, list | tuple):
            raise ValueError("a list under values")
        return Choice(tuple(values))
    low, high, scale = _limits(written)
    if kind is int:
        if scale == "log":
            raise ValueError("no scale: the option is a whole number")
        return Integers(low, high)  # type: ignore[arg-type]  # it checks that they are whole
    if scale is None:
        scale = "log" if isinstance(space, LogUniform) else "linear"
    return LogUniform(low, high) if scale == "log" else Uniform(low, high)


def _limits(written: Any) -> tuple[float, float, str | None]:
    """Low, high and the scale, if given."""
    if isinstance(written, Mapping) and {"low", "high"} <= written.keys() <= {
        "low",
        "high",
        "scale",
    }:
        low, high, scale = written["low"], written["high"], written.get("scale")
        if scale not in (None, "linear", "log"):
            raise ValueError("scale: linear or scale: log")
    elif isinstance(written, list | tuple) and len(written) == 2:
        (low, high), scale = written, None
    else:
        raise ValueError("[low, high], {low, high, scale: linear | log} or {values: [...]}")
    if any(type(value) not in (int, float) for value in (low, high)):
        raise ValueError("numbers for low and high")
    return low, high, scale
