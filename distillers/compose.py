"""Wrappers, which modify another method, and how the two are composed into one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Distiller, MethodError
from .needs import FIELDS, Needs


class Wrapper(Distiller):
    """A prefix "NAME+" that overrides hooks of the method after it, reached through ``super()``.

    "lskd+dkd" is a class with the bases LSKD and DKD: hooks that the wrapper does not override are
    the wrapped method's; those it does override call ``super()`` where both should take effect. A
    wrapper may also override `forward`, to add or replace terms. It has no `needs_of` of its own.

    needs      in addition to the wrapped method's
    defaults   its options, under names that no wrapped method uses
    presets    its own; where the wrapped method has a preset of the same name, that comes first
    choices, ranges, optional, search   of its own options
    """

    needs = Needs()

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of ``method`` that get other values under this wrapper than in ``options``."""
        return {}

    @classmethod
    def preset(cls, name: str, method: str) -> Mapping[str, Any]:
        """The wrapper's own preset ``name`` when it wraps ``method``."""
        return cls.presets.get(name, {})

    @classmethod
    def ignores(cls, method: str) -> set[str]:
        """Options of ``method`` that have no effect under this wrapper, so tuning leaves them."""
        return set()


_COMPOSED: dict[tuple[type[Wrapper], type[Distiller]], type[Distiller]] = {}


def composed(wrapper: type[Wrapper], base: type[Distiller]) -> type[Distiller]:
    """The class of "WRAPPER+BASE", one per pair. Its ``name``, used in loss terms, is the base's.

    Raises MethodError where the two cannot be combined.
    """
    if (wrapper, base) in _COMPOSED:
        return _COMPOSED[wrapper, base]
    both = f"{wrapper.name}+{base.name}"
    if issubclass(base, wrapper):
        raise MethodError(f"method {both!r}: {wrapper.name} is applied twice")
    if not base.needs.teacher:
        raise MethodError(f"method {both!r}: {base.name} has no teacher to learn from")
    taken = wrapper.defaults.keys() & {**Distiller.base_defaults, **base.defaults}.keys()
    if taken:
        raise MethodError(f"method {both!r}: both have an option {', '.join(sorted(taken))}")
    _COMPOSED[wrapper, base] = _compose(wrapper, base)
    return _COMPOSED[wrapper, base]


def _compose(wrapper: type[Wrapper], base: type[Distiller]) -> type[Distiller]:
    options = {**Distiller.base_defaults, **base.defaults}
    namespace = {
        "__doc__": f"{wrapper.__doc__}\n\n    Here with {base.title}: {base.__doc__}",
        "__module__": base.__module__,
        "name": base.name,
        "title": f"{wrapper.title}+{base.title}",
        "paper": wrapper.paper,
        "arxiv": wrapper.arxiv,
        "version": wrapper.version + base.version - 1,  # rises with either; both start at 1
        "needs": merged(wrapper.needs, base.needs),
        "needs_of": classmethod(lambda _, options: merged(wrapper.needs, base.needs_of(options))),
        "defaults": {**base.defaults, **wrapper.adapted(base.name, options), **wrapper.defaults},
        "presets": _presets(wrapper, base, options),
        "choices": {**base.choices, **wrapper.choices},
        "ranges": {**base.ranges, **wrapper.ranges},
        "optional": {**base.optional, **wrapper.optional},
    }
    # The wrapper precedes the base in the MRO, so its hooks reach the base's through super().
    return type(f"{wrapper.__name__}{base.__name__}", (wrapper, base), namespace)


def _presets(
    wrapper: type[Wrapper], base: type[Distiller], options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    presets = {}
    for preset in (*base.presets, *(name for name in wrapper.presets if name not in base.presets)):
        inner = base.presets.get(preset, {})
        outer = wrapper.adapted(base.name, {**options, **inner})
        presets[preset] = {**inner, **outer, **wrapper.preset(preset, base.name)}
    return presets


def merged(a: Needs, b: Needs) -> Needs:
    """Needs that satisfy both. Raises MethodError for two different samplers."""
    if a.sampler and b.sampler and a.sampler != b.sampler:
        raise MethodError(f"samplers {a.sampler} and {b.sampler} cannot be combined")
    return Needs(
        **{field: getattr(a, field) or getattr(b, field) for field in FIELDS},
        teacher=a.teacher or b.teacher,
        sampler=a.sampler or b.sampler,
        # b is the wrapped method, which reads its views by position.
        views=(*b.views, *(view for view in a.views if view not in b.views)),
        full_batches=a.full_batches or b.full_batches,
        batch="global" if "global" in (a.batch, b.batch) else "local",
        min_batch=max(a.min_batch, b.min_batch),
        min_classes=max(a.min_classes, b.min_classes),
    )
