"""What sbatch answered: the job and its cluster, a refusal, or nothing that can be relied on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess

from experiments import slurm

# Complaints after which the controller may or may not have accepted the job: the request, or only
# its answer, was lost.
LOST_ON_THE_WAY = (
    "timed out",
    "Unable to contact",
    "Zero Bytes were transmitted",
    "Connection reset",
    "Connection refused",
    "connection failure",
    "Broken pipe",
    "send failure",
    "receive failure",
    "unexpected message received",
    "Transport endpoint",
    "Unspecified error",
)
SHOWN = 100  # characters of an answer in a message


class UnclearError(slurm.SlurmError):
    """Nobody knows whether sbatch's job was accepted."""


@dataclass(frozen=True)
class Sent:
    """An accepted array: its job id, and its cluster where sbatch names one."""

    job: str
    cluster: str | None = None


def understood(done: CompletedProcess[str]) -> Sent:
    """What an sbatch that has ended says. Raises UnclearError, or SlurmError for a refusal."""
    sentences = _sentences(done.stdout)
    if done.returncode == 0:
        found = sentences or _plain(done.stdout)
        if len(found) == 1:
            return found[0]
        said = slurm.one_line(done.stdout)[:SHOWN]
        raise UnclearError(f"sbatch: no job id in its answer: {said}")
    if len(sentences) == 1:  # a wrapper around sbatch failed after it
        return sentences[0]
    said = _complaint(done)
    if done.returncode < 0 or sentences or _may_have_arrived(done):
        raise UnclearError(f"sbatch: {said}")
    raise slurm.SlurmError(f"sbatch: {said}")


def _sentences(text: str) -> Sequence[Sent]:
    """ "Submitted batch job 12 on cluster x", anywhere: each job once."""
    form = r"Submitted batch job (\d+)(?: on cluster ([\w.-]*\w))?"
    return list(dict.fromkeys(Sent(job, where or None) for job, where in re.findall(form, text)))


def _plain(text: str) -> Sequence[Sent]:
    """ "12" or "12;x" as lines of their own, which sbatch prints with --parsable.

    With a cluster, it is not mistaken for a number in a greeting.
    """
    lines = (re.fullmatch(r"(\d+)(?:;([\w.-]+))?", line.strip()) for line in text.splitlines())
    found = list(dict.fromkeys(Sent(m[1], m[2]) for m in lines if m))
    return [sent for sent in found if sent.cluster] or found


def _may_have_arrived(done: CompletedProcess[str]) -> bool:
    said = f"{done.stderr}\n{done.stdout}"
    return not said.strip() or any(words.lower() in said.lower() for words in LOST_ON_THE_WAY)


def _complaint(done: CompletedProcess[str]) -> str:
    """sbatch's messages among what a site's scripts print, in one line; or all of it."""
    text = done.stderr if done.stderr.strip() else done.stdout
    said = re.findall(r"^sbatch: (?:error: |fatal: )?.*$", text, re.MULTILINE)
    if done.returncode < 0 and not text.strip():
        return f"was killed by signal {-done.returncode}"
    return (
        slurm.one_line("\n".join(said)).removeprefix("sbatch: ") if said else slurm.one_line(text)
    )
