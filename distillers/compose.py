"""Wrappers: what changes another method, and how the two become one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .base import Distiller, MethodError
from .needs import FIELDS, Needs


class Wrapper(Distiller):
    """What stands before a "+": overrides hooks of the method behind it, which ``super()`` is.

    "lskd+dkd" is a class whose bases are LSKD and DKD, so every hook that the wrapper leaves alone
    is the wrapped method's, and one that it overrides calls ``super()``'s where both are to work.
    A wrapper may override `forward` too, to add or replace terms. It has no `needs_of` of its own.

    needs      beside the wrapped method's
    defaults   its options, under names that no wrapped method has
    presets    of its own; a preset of the wrapped method of the same name is applied before
    choices, ranges, optional   of its own options
    """

    needs = Needs()

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of ``method`` whose value, otherwise as in ``options``, is another in here."""
        return {}

    @classmethod
    def preset(cls, name: str, method: str) -> Mapping[str, Any]:
        """The wrapper's own preset ``name`` when it stands before ``method``."""
        return cls.presets.get(name, {})


_MADE: dict[tuple[type[Wrapper], type[Distiller]], type[Distiller]] = {}


def composed(wrapper: type[Wrapper], base: type[Distiller]) -> type[Distiller]:
    """The class of "WRAPPER+BASE", one per pair. Its ``name``, which its terms bear, is the base's.

    Raises MethodError where the two cannot be one.
    """
    if (wrapper, base) not in _MADE:
        _check(wrapper, base)
        _MADE[wrapper, base] = _compose(wrapper, base)
    return _MADE[wrapper, base]


def _compose(wrapper: type[Wrapper], base: type[Distiller]) -> type[Distiller]:
    whole = {**Distiller.base_defaults, **base.defaults}
    namespace = {
        "__doc__": f"{wrapper.__doc__}\n\n    Here with {base.title}: {base.__doc__}",
        "__module__": base.__module__,
        "name": base.name,
        "title": f"{wrapper.title}+{base.title}",
        "paper": wrapper.paper,
        "arxiv": wrapper.arxiv,
        "version": wrapper.version + base.version - 1,
        "needs": merged(wrapper.needs, base.needs),
        "needs_of": classmethod(lambda _, options: merged(wrapper.needs, base.needs_of(options))),
        "defaults": {**base.defaults, **wrapper.adapted(base.name, whole), **wrapper.defaults},
        "presets": _presets(wrapper, base, whole),
        "choices": {**base.choices, **wrapper.choices},
        "ranges": {**base.ranges, **wrapper.ranges},
        "optional": {**base.optional, **wrapper.optional},
    }
    made = type(f"{wrapper.__name__}{base.__name__}", (wrapper, base), namespace)
    return cast(type[Distiller], made)


def _check(wrapper: type[Wrapper], base: type[Distiller]) -> None:
    both = f"{wrapper.name}+{base.name}"
    if issubclass(base, wrapper):
        raise MethodError(f"method {both!r}: {wrapper.name} is there twice")
    if not base.needs.teacher:
        raise MethodError(f"method {both!r}: {base.name} has no teacher to learn from")
    taken = wrapper.defaults.keys() & {**Distiller.base_defaults, **base.defaults}.keys()
    if taken:
        raise MethodError(f"method {both!r}: both have an option {', '.join(sorted(taken))}")


def _presets(
    wrapper: type[Wrapper], base: type[Distiller], whole: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    found = {}
    for preset in (*base.presets, *(name for name in wrapper.presets if name not in base.presets)):
        inner = base.presets.get(preset, {})
        outer = wrapper.adapted(base.name, {**whole, **inner})
        found[preset] = {**inner, **outer, **wrapper.preset(preset, base.name)}
    return found


def merged(a: Needs, b: Needs) -> Needs:
    """What satisfies both. Raises MethodError for two different samplers."""
    if a.sampler and b.sampler and a.sampler != b.sampler:
        raise MethodError(f"the samplers {a.sampler} and {b.sampler} exclude each other")
    return Needs(
        **{field: getattr(a, field) or getattr(b, field) for field in FIELDS},
        teacher=a.teacher or b.teacher,
        sampler=a.sampler or b.sampler,
        views=(*b.views, *(view for view in a.views if view not in b.views)),
        full_batches=a.full_batches or b.full_batches,
        batch="global" if "global" in (a.batch, b.batch) else "local",
        min_batch=max(a.min_batch, b.min_batch),
    )
