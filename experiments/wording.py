"""Wording that all output shares; light, so that `--help` may import it."""

from __future__ import annotations


def plural(count: int, noun: str, many: str = "") -> str:
    """A count with its noun; ``many`` is the plural where that is not the noun with an "s".

    >>> plural(1, "run"), plural(1200, "run"), plural(2, "class", "classes")
    ('1 run', '1,200 runs', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def form(count: int, one: str, many: str) -> str:
    """The form of a verb that agrees with a count.

    >>> form(1, "is", "are"), form(2, "is", "are")
    ('is', 'are')
    """
    return one if count == 1 else many


def as_yaml(value: object) -> str:
    """A value as a YAML file has it, in one line.

    >>> as_yaml((1, None)), as_yaml("0.5")
    ('[1, null]', "'0.5'")
    """
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
