"""Runs of one kind can either all be trained or none: verdicts that are known need no building."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.memo import Memo, code_digest, versions

if TYPE_CHECKING:
    from experiments.plan.capability import Capabilities

Kind = tuple[str, str, str, Recipe, str]
# What a verdict depends on, beside the versions of packages.
CODE = (
    "models",
    "distillers",
    "experiments/plan/capability.py",
    "experiments/matrix/recipe.py",
    "experiments/train/one_sample.py",
)


@dataclass(frozen=True)
class Code:
    """What verdicts depend on: the `code_digest` of CODE, and the digests of the plugins."""

    digest: str
    plugins: tuple[str, ...]

    @classmethod
    def of_today(cls) -> Code:
        """Of the checkout, which is read, and of the plugins that were imported."""
        from distillers import plugins

        return cls(code_digest(*CODE), tuple(plugins.digests()))


def kind(spec: RunSpec) -> Kind:
    """Runs of one kind can either all be trained or none.

    The recipe is part of it because a method may refuse an optimizer, and the data set because its
    size and its classes bound banks and samplers.
    """
    return spec.pair, spec.method, repr(spec.options), spec.recipe, spec.dataset.key


def remembered(
    specs: Sequence[RunSpec],
    memo: Memo,
    root: Path,
    compute: Callable[[], Capabilities | None],
    code: Code | None = None,
) -> dict[str, str]:
    """`Capabilities.reasons`, without building anything that was built before by the same code.

    For looking at results, which must not take seconds: nothing is read but the memory. What is
    not known is computed by ``compute()``, unless that has no data. ``root`` is where the data is,
    ``code`` that of today, if it is known.
    """
    code = code or Code.of_today()
    by_data: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_data.setdefault(spec.dataset.key, []).append(spec)
    found: dict[str, str] = {}
    for group in by_data.values():
        found |= _of_one_data_set(group, memo, root, compute, code)
    return found


def _of_one_data_set(
    specs: Sequence[RunSpec],
    memo: Memo,
    root: Path,
    compute: Callable[[], Capabilities | None],
    code: Code,
) -> dict[str, str]:
    key = {
        "dataset": specs[0].dataset.model_dump(mode="json"),
        "root": str(root),
        "plugins": sorted(code.plugins),
        "packages": versions(),
        "code": code.digest,
    }
    known: dict[str, str | None] = memo.known("capability", key) or {}
    names = {spec.id: _name(spec) for spec in specs}
    unknown = list({names[s.id]: s for s in specs if names[s.id] not in known}.values())
    if unknown:
        capabilities = compute()
        if capabilities is None:
            return {}
        reasons = capabilities.reasons(unknown)
        known |= {names[spec.id]: reasons.get(spec.id) for spec in unknown}
        memo.store("capability", key, known)
    found = {run: known[name] for run, name in names.items()}
    return {run: reason for run, reason in found.items() if reason is not None}


def _name(spec: RunSpec) -> str:
    """A `kind` as a short text."""
    pair, method, options, recipe, _ = kind(spec)
    text = "\0".join((pair, method, options, recipe.model_dump_json()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
