"""How sbatch reads times, amounts of memory, GPUs and the names of its options."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

UNLIMITED = 2**31 // 60  # minutes (68 years): stands for SLURM's words for "no limit"
_NO_LIMIT = ("infinite", "unlimited")
_TO_MEGABYTES = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}

# sbatch's options that take no value, and those that may go without one; all others need one.
# From the manual pages of SLURM 22.05 to 24.11. A site's own plugins may add more.
_SWITCHES = """contiguous exclusive get-user-env help hold ignore-pbs nice no-kill no-requeue
overcommit oversubscribe parsable propagate quiet reboot requeue share spread-job stepmgr test-only
usage use-min-nodes verbose version wait"""
_VALUED = """account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
constraint container container-id core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
deadline delay-boot dependency distribution error exclude export export-file extra extra-node-info
gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint input
job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
ntasks-per-node ntasks-per-socket open-mode oom-kill-step output partition power prefer priority
profile qos reservation resv-ports segment signal sockets-per-node switches thread-spec
threads-per-core time time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey wrap"""
SWITCHES = frozenset(_SWITCHES.split())
OPTIONAL = ("exclusive", "get-user-env", "nice", "no-kill", "propagate")
KNOWN = SWITCHES | frozenset(_VALUED.split())
SHORT = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "W": "wait",
    "a": "array",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}
SAME = {"cluster": "clusters", "tasks-per-node": "ntasks-per-node"}  # as sbatch has it
_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


# ---- values --------------------------------------------------------------------------------------


def minutes(value: Any) -> int:
    """A time limit as SLURM writes it, in whole minutes, rounded up; UNLIMITED for its words.

    >>> minutes("1-12"), minutes("2:30:00"), minutes("90"), minutes(90), minutes("10:30")
    (2160, 150, 90, 90, 11)
    """
    text = str(value).strip()
    if text.lower() in _NO_LIMIT:
        return UNLIMITED
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if match is None or isinstance(value, (bool, float)):
        raise ValueError("expected minutes, or a time such as 12:00:00 or 2-00:00:00")
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, mins, seconds = [*numbers, 0, 0][:3]
        total = int(days) * 1440 + hours * 60 + mins + seconds / 60
    elif len(numbers) == 3:
        total = numbers[0] * 60 + numbers[1] + numbers[2] / 60
    else:  # minutes[:seconds]
        total = numbers[0] + (numbers[1] / 60 if len(numbers) == 2 else 0)
    if total <= 0:  # which sbatch takes for no limit
        raise ValueError("must be positive (UNLIMITED: no limit)")
    return min(math.ceil(total), UNLIMITED)


def memory(value: Any) -> str:
    """An amount of memory as sbatch takes it, in its shortest form; without a unit, megabytes.

    >>> memory("16g"), memory("2000MB"), memory(16000), memory("0")
    ('16G', '2000M', '16000M', '0')
    """
    text = str(value).strip()
    match = re.fullmatch(r"\+?(\d+(?:\.\d+)?)([KMGT]?)B?", text, re.ASCII | re.IGNORECASE)
    if match is None or isinstance(value, bool):
        raise ValueError("expected megabytes, or an amount such as 16G or 2000MB")
    amount, unit = match[1], match[2].upper() or "M"
    if "." in amount:
        nearest = math.ceil(float(amount) * _TO_MEGABYTES[unit])
        raise ValueError(f"sbatch takes whole numbers only: {nearest}M")
    return f"{int(amount)}{unit}" if int(amount) else "0"


def megabytes(amount: str) -> int:
    """What `memory` gave in megabytes, rounded up.

    >>> megabytes("16G"), megabytes("100K"), megabytes("0")
    (16384, 1, 0)
    """
    unit = amount[-1] if amount[-1].isalpha() else "M"
    return math.ceil(int(amount.rstrip(unit)) * _TO_MEGABYTES[unit])


def times(mem: str, count: int) -> str:
    """So many times an amount of memory.

    >>> times("16G", 2), times("1500M", 3), times("0", 4)
    ('32G', '4500M', '0')
    """
    match = re.match(r"\d+", mem)
    assert match is not None  # `memory` has made it
    return f"{int(match[0]) * count}{mem[match.end() :]}"


def gpus(value: Any) -> int | str:
    """GPUs of one process: 0 or 1, or with a type "a100:1"; "a100:2" is for two processes.

    >>> gpus("1"), gpus("a100:1"), gpus("a100:0")
    (1, 'a100:1', 0)
    """
    match = re.fullmatch(r"(?:([A-Za-z][\w.-]*):)?(\d{1,4})", str(value), re.ASCII)
    if match is None or isinstance(value, (bool, float)):
        kind = str(value).removeprefix("gpu:")
        hint = f": did you mean {kind}:1?" if re.fullmatch(r"[A-Za-z][\w.-]*", kind) else ""
        raise ValueError(f"expected 0, 1, or a type and a number such as a100:1{hint}")
    kind, count = match[1], int(match[2])
    if kind is None and count > 1:
        raise ValueError(
            "expected at most 1: it is for one process, and a cohort trains on one GPU "
            "(more: `processes:`, or `workers_per_gpu:`)"
        )
    return f"{kind}:{count}" if kind and count else count


def gpu_type(asked: int | str | None) -> str | None:
    """The type of GPU of what `gpus` gave; None for any."""
    return asked.partition(":")[0] if isinstance(asked, str) else None


# ---- options -------------------------------------------------------------------------------------


def option_name(key: str, own: Collection[str] = ()) -> str:
    """The full name of an option of sbatch, as its getopt finds it: "arr" and "-a" are "array".

    A name that is not known (and of a site's plugin, perhaps) stays as it is. ``own`` names are no
    abbreviations. Raises ValueError for what is no name, or fits several.
    """
    bare = key.strip().lstrip("-")
    if not re.fullmatch(r"[A-Za-z][\w-]*", bare, re.ASCII):
        raise ValueError(f"{key!r} is no option of sbatch: expected a name such as mail-type")
    if bare in SHORT:
        return SHORT[bare]
    name = SAME.get(bare, bare.replace("_", "-"))
    if name in KNOWN or name in own or bare in own:
        return name
    found = sorted(option for option in KNOWN if option.startswith(name))
    if len(found) > 1:
        raise ValueError(f"{key} may be any of {', '.join(found)}: write the whole name")
    return found[0] if found else bare


def option_value(name: str, value: str | int | bool) -> str | int | bool:
    """An option's value as it goes to sbatch; True for a switch, False to leave the option out.

    Raises ValueError for a line break, which would begin another line of the script, and for a
    value too many or too few.
    """
    if any(ord(c) < 32 for c in str(value)):
        raise ValueError(f"{name}: expected one line, without control characters")
    word = str(value).strip().lower()
    if name in SWITCHES and word in (*_YES, *_NO):
        return word in _YES
    if name in SWITCHES and name not in OPTIONAL:
        raise ValueError(f"{name}: takes no value: expected true or false, got {value!r}")
    if value is True and name in KNOWN:
        raise ValueError(f"{name}: expected a value")
    if word == "false" or (word == "true" and name not in KNOWN):
        return word == "true"
    return value
