"""How one start of a run ended, as reported by its worker."""

from __future__ import annotations


class Outcome:
    """Values of ``state`` in reports. The state of a run on disk is `status.State`."""

    DONE = "done"
    FAILED = "failed"  # a failure of the run; retried only on request (--retry-failed)
    INTERRUPTED = "interrupted"  # by a signal or a storage error; the next start resumes it
    HELD = "held"  # another process holds the run's claim
    BLOCKED = "blocked"  # its teacher, data or plugin is missing, or not the one planned


def is_divergence(error: str) -> bool:
    """Whether the reason of a failed run is that its loss or gradients were not finite."""
    return "Diverged: " in error
