"""How one start of a run ended, as its worker reports it."""

from __future__ import annotations


class Outcome:
    """Values of the reports' ``state``; what the disk says of a run is `status.State`."""

    DONE = "done"
    FAILED = "failed"  # its own fault: nobody tries again before somebody has looked
    INTERRUPTED = "interrupted"  # by a signal or a full disk; saved, and resumed by the next start
    HELD = "held"  # another process holds the run's claim
    BLOCKED = "blocked"  # its teacher, or what it was planned with, is not there
