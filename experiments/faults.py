"""Whose fault an error is: the run's own, or that of the disk under it."""

from __future__ import annotations

import errno

# No space, no quota, a broken or vanished disk: somebody sees to it, and the run can go on.
OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS}


def is_of_disk(error: BaseException | None) -> bool:
    """Whether a disk's refusal is what began the chain of errors that ends in this one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_DISK:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
