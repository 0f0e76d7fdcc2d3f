"""Which runs of a plan can be trained at all: whether their methods can serve their pairs."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.memo import Memo
from experiments.plan import assistants
from experiments.plan.kinds import Code, Kind, kind, remembered
from experiments.rundir.status import State, Status

if TYPE_CHECKING:  # what imports PyTorch is imported where it is used: `status` does without
    from experiments.plan.capability import Capabilities
    from experiments.plan.plan import Plan


@dataclass
class Service:
    """What runs of ``plan`` cannot be, and why; ``tried``: kinds that a dry step was taken of."""

    plan: Plan
    tried: set[Kind] = field(default_factory=set)

    @functools.cached_property
    def _capabilities(self) -> Capabilities:
        """Computed on first use; reading the data, which takes a second, when it asks for them."""
        from experiments.plan.capability import Capabilities

        self.plan.load_code()
        return Capabilities(self.plan.data_sets.info)

    def reasons(self, statuses: Mapping[str, Status]) -> dict[str, str]:
        """`_why_not`, and what follows from it for chains of teachers."""
        found = self._why_not(statuses)
        shown = {entry.spec.id for entry in self.plan.expansion.entries}
        return found | assistants.reasons(statuses, found, shown, self._with_heads)

    def _with_heads(self, methods: Collection[str]) -> Collection[str]:
        """Those of the methods that predict with modules of their own."""
        if self.plan.strict:
            return assistants.with_heads(methods)
        memo, code = Memo(self.plan.workspace.data), self.plan.code or Code.of_today()
        return assistants.remembered(methods, memo, code, self.plan.load_code)

    def _why_not(self, statuses: Mapping[str, Status]) -> dict[str, str]:
        """Run id -> why its method cannot serve its pair.

        Before training every unfinished run's method is built. To look at results, a finished run
        proves it for all runs of its `kind`.
        """
        specs = [s.spec for s in statuses.values() if s.state != State.DONE]
        if not self.plan.strict:
            proven = {kind(s.spec) for s in statuses.values() if s.state == State.DONE}
            specs = [spec for spec in specs if kind(spec) not in proven]
        if not specs:
            return {}
        root = self.plan.workspace.data
        try:
            with activity("checking which methods can serve which pairs"):
                if not self.plan.strict:
                    memo = Memo(root)
                    return remembered(specs, memo, root, lambda: self._capabilities, self.plan.code)
                reasons = self._capabilities.reasons(specs)
            self._try_plugins([spec for spec in specs if spec.id not in reasons])
            return reasons
        except InputError as error:
            if self.plan.strict:
                raise InputError(f"{self.plan.source}: {error}") from error
            return {}  # a plugin that is being edited must not hide results

    def _try_plugins(self, specs: Iterable[RunSpec]) -> None:
        """One dry step for each `kind` of these runs that a user's own code defines.

        Raises InputError with the first finding.
        """
        from experiments.check import dry_step

        for spec in specs:
            key = kind(spec)
            if not spec.plugins or key in self.tried:
                continue
            found = dry_step.findings(spec, self.plan.data_sets.info(spec))
            if found:
                more = f" (and {len(found) - 1} more: `check` lists all)" if found[1:] else ""
                raise InputError(f"{spec.pair}, {spec.method}: {found[0]}{more}")
            self.tried.add(key)
