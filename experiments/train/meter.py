"""Loss and accuracy of an epoch, summed on the device: the loop never waits for a number."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.train.distributed import SINGLE, ProcessGroup

# Updates in a row that a gradient scaler may skip. It halves its scale each time: one that is still
# too large after so many is no matter of the scale, but divergence.
SKIPS_ALLOWED = 50


class Diverged(RuntimeError):  # noqa: N818  (an outcome of training)
    """A loss is not finite; the message gives the step, the terms and their last finite values."""


class Meter:
    """Mean loss terms and training accuracy of an epoch; notes the first loss that is not finite.

    Everything is a tensor on the device until `means` or `check` is called.
    """

    def __init__(self, device: torch.device, patience: int = 1) -> None:
        """``patience``: losses in a row that are not finite before that counts as divergence.

        1 unless a gradient scaler skips such steps.
        """
        self.device, self.patience = device, patience
        self.terms: tuple[str, ...] = ()
        none = torch.zeros(0, dtype=torch.float64, device=device)
        self.sums, self.last_finite, self.first_bad = none, none.clone(), none.clone()
        self.bad_run = torch.zeros((), dtype=torch.int64, device=device)
        self.reset()

    def reset(self) -> None:
        """Start an epoch. The last finite values are kept, for the message of Diverged."""
        self.samples, self.scored = 0, False
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.sums = torch.zeros_like(self.sums)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)

    def update(
        self, losses: dict[str, Tensor], logits: Tensor | None, labels: Tensor, step: int
    ) -> None:
        """Add one step. ``labels`` are (B,) or soft (B, C); ``logits`` None if no student ran."""
        names = tuple(losses)
        if not set(names) <= set(self.terms):
            self._grow(names)
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        present: slice | list[int] = slice(None)
        if names != self.terms:
            present = [self.terms.index(name) for name in names]
        self._watch(values, present, step)
        self.sums[present] += values * len(labels)
        self.samples += len(labels)
        self.scored = logits is not None
        if logits is not None:
            hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
            self.correct += (logits.detach().argmax(dim=1) == hard).sum()

    def _grow(self, names: tuple[str, ...]) -> None:
        """Add terms, with sums of zero: a method may return some only after its first batch."""
        new = tuple(name for name in names if name not in self.terms)
        self.terms += new
        for name in ("sums", "last_finite", "first_bad"):
            old: Tensor = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_zeros(len(new))]))

    def _watch(self, values: Tensor, present: slice | list[int], step: int) -> None:
        """Note the first loss that is not finite, without a look at it on the host."""
        finite = values.isfinite().all()
        self.bad_run = torch.where(finite, 0, self.bad_run + 1)
        newly_bad = (self.bad_run >= self.patience) & (self.bad_step < 0)
        self.bad_step = torch.where(newly_bad, step, self.bad_step)
        self.first_bad[present] = torch.where(newly_bad, values, self.first_bad[present])
        self.last_finite[present] = torch.where(finite, values, self.last_finite[present])

    def check(self, epoch: int, group: ProcessGroup = SINGLE) -> None:
        """Raise Diverged if a loss was not finite since the last check, in any process.

        Waits for the device.
        """
        step = int(self.bad_step)
        (anywhere,) = group.any(step >= 0)
        if anywhere and step < 0:
            raise Diverged(f"loss not finite in another process at epoch {epoch}")
        if step >= 0:
            now = _listed(self.terms, self.first_bad)
            before = _listed(self.terms, self.last_finite)
            raise Diverged(
                f"loss not finite at epoch {epoch}, step {step}: {now}; last finite: {before}"
            )

    def means(self, group: ProcessGroup = SINGLE) -> dict[str, float]:
        """The epoch so far: mean of every term, their total, and the student's accuracy (%)."""
        samples, correct, sums = self._totals(group)
        count = max(samples, 1)
        terms = {name: value / count for name, value in sums.items()}
        total = sum(terms.values())
        accuracy = {"train_top1": 100 * correct / count} if self.scored else {}
        return {**accuracy, "train_loss": total, **terms}

    def _totals(self, group: ProcessGroup) -> tuple[int, int, dict[str, float]]:
        """Number of samples, of correct ones, and the sum of every term, over all processes."""
        sums = dict(zip(self.terms, self.sums.tolist(), strict=True))
        counts = group.sums({"samples": self.samples, "correct": int(self.correct)})
        return int(counts["samples"]), int(counts["correct"]), group.sums(sums)

    def state(self, group: ProcessGroup = SINGLE) -> dict[str, object]:
        """What is needed to resume within an epoch, with sums over all processes."""
        samples, correct, sums = self._totals(group)
        return {
            "terms": list(self.terms),
            "samples": samples,
            "scored": self.scored,
            "correct": torch.tensor(correct),
            "sums": torch.tensor([sums[name] for name in self.terms], dtype=torch.float64),
            "last_finite": self.last_finite,
            "first_bad": self.first_bad,
            "bad_step": self.bad_step,
            "bad_run": self.bad_run,
        }

    def load(self, state: dict[str, object], group: ProcessGroup = SINGLE) -> None:
        """The inverse of `state`. The main process continues the sums, the others start at zero."""
        self.terms = tuple(state["terms"])  # type: ignore[arg-type]
        self.samples = state["samples"]  # type: ignore[assignment]
        self.scored = bool(state["scored"])
        for name in ("correct", "sums", "last_finite", "first_bad", "bad_step", "bad_run"):
            value = state[name]
            assert isinstance(value, Tensor)
            setattr(self, name, value.to(self.device, copy=True))
        if not group.is_main:
            self.samples, self.correct = 0, torch.zeros_like(self.correct)
            self.sums = torch.zeros_like(self.sums)


def _listed(names: tuple[str, ...], values: Tensor) -> str:
    return ", ".join(f"{n} {v:.6g}" for n, v in zip(names, values.tolist(), strict=True))
