"""What the executables of `fake_slurm` run: STATE COMMAND ARGUMENTS…

Messages and exit codes are those of SLURM 22.05. Every call pays for what is imported here: json
alone would double its time, so the state is kept as Python writes it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

ACTIVE = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED")
UNKNOWN = "Invalid job id specified"


class Refused(Exception):  # noqa: N818
    """A command's complaint, and its exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


class State:
    """The cluster in a file; one command at a time may touch it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.lock = open(self.path + ".lock", "a")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(self.path) as file:
            self.content = eval(file.read())
        return self.content

    def __exit__(self, *_):
        draft = f"{self.path}.draft"
        with open(draft, "w") as file:
            file.write(repr(self.content))
        os.replace(draft, self.path)
        self.lock.close()


def tasks(state, wanted=None, cluster=None):
    """(job, task) of everything a controller knows; ``wanted``: arrays, tasks or raw ids.

    ``cluster``: that of ``-M``; the one of this machine without it.
    """
    cluster = cluster or state["config"]["ClusterName"]
    for job in state["jobs"]:
        for task in [] if job["purged"] or job["cluster"] != cluster else job["tasks"]:
            names = {job["id"], task["raw"], f"{job['id']}_{task['index']}"}
            if wanted is None or names & set(wanted):
                yield job, task


def active(state):
    """All that is in the queue."""
    return [task for _, task in tasks(state) if task["state"] in ACTIVE]


def option(arguments, *flags):
    """The value behind a flag, in either way of giving one."""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in flags:
            return value if equals else arguments[i + 1]
    return None


def asked(state, arguments):
    """The cluster of ``-M``, if there is one and it answers."""
    cluster = option(arguments, "-M")
    if cluster and cluster not in state["clusters"]:
        raise Refused(f"squeue: error: No cluster '{cluster}' known by database.")
    if cluster in state["silent"]:
        raise Refused("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    return cluster or state["config"]["ClusterName"]


# ---- commands ------------------------------------------------------------------------------------


def sbatch(state, arguments):
    import re
    import shlex

    with open(arguments[0]) as file:
        script = file.read()
    lines = re.findall(r"^#SBATCH --(.*)$", script, re.MULTILINE)
    pairs = [shlex.split(line)[0].partition("=") for line in lines]
    options = {key: value for key, _, value in pairs}
    count = int(options["array"].partition("%")[0].partition("-")[2]) + 1
    if count > state["config"]["MaxArraySize"]:
        raise Refused("sbatch: error: Batch job submission failed: Invalid job array specification")
    if state["limit"] is not None and count + len(active(state)) > state["limit"]:
        raise Refused("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    own = state["config"]["ClusterName"]
    cluster = options.get("clusters", own).partition(",")[0]
    if cluster not in (own, *state["clusters"]):
        raise Refused(f"sbatch: error: No cluster '{cluster}' known by database.")
    first = state["next"] if cluster == own else state["next_there"].get(cluster, 100)
    number = str(first)
    if cluster == own:
        state["next"] += count + 1
    else:
        state["next_there"][cluster] = first + count + 1
    raw = [str(int(number) + 1 + i) for i in range(count)]
    made = [
        {"index": i, "raw": raw[i], "state": "PENDING", "reason": "Priority", "restarts": 0}
        for i in range(count)
    ]
    job = {"id": number, "name": options["job-name"], "user": state["user"], "tasks": made}
    job["cluster"] = cluster
    kinds = dict(part.split(":", 1) for part in options.get("dependency", "").split(",") if part)
    job |= {"after": kinds.get("afterok", ""), "after_end": kinds.get("afterany", "")}
    job["purged"] = False
    job |= {"script": script, "options": options, "environment": dict(os.environ)}
    state["jobs"].append(job)
    look_after(state)
    there = f" on cluster {cluster}" if "clusters" in options else ""
    return state["answer"].format(job=number, cluster=cluster, there=there)


def look_after(state):
    """Dependencies: fulfilled, not yet, or never. Of a purged teacher nobody knows anything."""
    for job in state["jobs"]:
        teachers, others = (
            [task["state"] for _, task in tasks(state, job[kind].split(":"), job["cluster"])]
            for kind in ("after", "after_end")
        )
        never = any(s not in (*ACTIVE, "COMPLETED") for s in teachers)
        waits = any(s in ACTIVE for s in (*teachers, *others))
        for task in job["tasks"]:
            held = "held" in task["reason"]
            if task["state"] == "PENDING" and not held:
                task["reason"] = "Dependency" if waits else "Priority"
                task["state"] = "CANCELLED" if never else "PENDING"


def squeue(state, arguments):
    jobs, name, user = (option(arguments, f) for f in ("-j", "--name", "-u"))
    wanted = jobs.split(",") if jobs else None
    cluster = asked(state, arguments)
    if wanted and len(wanted) == 1 and not list(tasks(state, wanted, cluster)):
        raise Refused(f"slurm_load_jobs error: {UNKNOWN}")
    first = state["associations"][0] if state["associations"] else [""]
    usual = {"-A": first["account"] if isinstance(first, dict) else first[0], "-q": "normal"}
    usual["-p"] = next((n.rstrip("*") for n in state["partitions"] if "*" in n), "")
    keys = {"-A": "account", "-q": "qos", "-p": "partition"}
    picked = {flag: option(arguments, flag) for flag in keys if option(arguments, flag)}
    rows = [
        fill(option(arguments, "-o"), job, task)
        for job, task in tasks(state, wanted, cluster)
        if (option(arguments, "-t") == "all" or task["state"] in ACTIVE)
        and name in (None, job["name"])
        and user in (None, job["user"])
        and job["user"] not in state["hidden"]
        and all(job["options"].get(keys[f], usual[f]) in v.split(",") for f, v in picked.items())
    ]
    return "".join(f"{row}\n" for row in rows)


def fill(form, job, task):
    shown = task["reason"] if task["state"] != "PENDING" else f"({task['reason']})"
    cells = {"F": job["id"], "K": task["index"], "T": task["state"], "R": shown}
    cells |= {"i": f"{job['id']}_{task['index']}", "j": job["name"], "A": task["raw"]}
    for letter, value in cells.items():
        form = form.replace(f"%{letter}", str(value))
    return form


def sacct(state, arguments):
    if not state["accounting"]:
        raise Refused("Slurm accounting storage is disabled")
    jobs, name = option(arguments, "-j"), option(arguments, "--name")
    cluster = asked({**state, "silent": []}, arguments)  # accounts need no controller
    columns = option(arguments, "-o").split(",")
    rows = []
    for job in state["jobs"]:
        if job["cluster"] != cluster or job["user"] in state["unaccounted"]:
            continue
        if job["id"] in (jobs or job["id"]).split(",") and name in (None, job["name"]):
            for task in job["tasks"]:
                cells = {"JobID": f"{job['id']}_{task['index']}", "JobName": job["name"]}
                cells["State"], cells["ExitCode"] = task["state"], task.get("code", "0:0")
                cells["DerivedExitCode"] = task.get("derived", "0:0")
                cells |= {"NodeList": task.get("node", ""), "Start": "Unknown", "End": "Unknown"}
                rows.append("|".join(cells[column] for column in columns))
    return "".join(f"{row}\n" for row in rows)


def scontrol(state, arguments):
    cluster = asked(state, arguments)
    if "-M" in arguments:
        arguments = arguments[2:]
    if arguments[:2] == ["show", "config"]:
        lines = (f"{key:<24}= {value}\n" for key, value in state["config"].items())
        return "Configuration data as of 2026-01-01T00:00:00\n" + "".join(lines)
    if arguments[-2:] == ["show", "partition"]:
        return "".join(partition(state, name) for name in state["partitions"])
    found = list(tasks(state, arguments[1:], cluster))
    if arguments[0] not in ("requeue", "release") or not found:
        raise Refused(f"{UNKNOWN} for job {arguments[-1]}")
    for _, task in found:
        task.update(state="PENDING", reason="BeginTime", restarts=task["restarts"] + 1)
    return ""


def partition(state, name):
    """A line of `scontrol --oneliner show partition`."""
    limits = {"MaxTime": state["partitions"][name], "DefaultTime": state["defaults"].get(name)}
    more = {"QoS": "N/A", "State": "UP", **state["more"].get(name, {})}
    values = {"PartitionName": name.rstrip("*"), "Default": "YES" if "*" in name else "NO"}
    values |= {key: value or "NONE" for key, value in limits.items()} | more
    return " ".join(f"{key}={value}" for key, value in values.items()) + "\n"


def scancel(state, arguments):
    for _, task in tasks(state, arguments, asked(state, arguments)):
        if task["state"] in ACTIVE:
            task["state"] = "CANCELLED"
    look_after(state)
    return ""


def sinfo(state, arguments):
    if "%R|%c|%m|%G" in arguments:
        return "".join("|".join(map(str, row)) + "\n" for row in state["nodes"])
    wanted = option(arguments, "--partition")
    parts = state["partitions"].items()
    if "%P|%L" in arguments:  # the default times; sinfo says n/a where there is none
        parts = [(n, state["defaults"].get(n, "n/a")) for n, _ in parts]
    rows = [f"{n}|{limit}\n" for n, limit in parts if wanted in (None, n.rstrip("*"))]
    return "".join(rows)


def sacctmgr(state, arguments):
    """Rows are dicts by sacctmgr's own names; a list has the first few of them."""
    if not state["accounting"]:
        raise Refused("You are not running a supported accounting_storage plugin")
    if "cluster" in arguments:
        names = (state["config"]["ClusterName"], *state["clusters"])
        return "".join(f"{name}|6817\n" for name in names)
    short = {"assoc": "associations", "user": "associations", "qos": "qos"}
    names = {
        "associations": ["account", "defaultqos", "maxsubmitjobs", "grpsubmitjobs"],
        "qos": ["name", "maxsubmitjobsperuser", "maxsubmitjobsperaccount"],
    }
    kind = short[arguments[arguments.index("show") + 1]]
    rows = [
        r if isinstance(r, dict) else dict(zip(names[kind], r, strict=False)) for r in state[kind]
    ]
    if kind == "associations":
        usual = {"cluster": state["config"]["ClusterName"], "user": state["user"]}
        rows = [{**usual, **row} for row in rows]
        default = next((row["account"] for row in rows if row["user"]), "")
        rows = [{"defaultaccount": default, **row} for row in rows]
        account = option(arguments, "account")
        rows = [row for row in rows if account in (None, row["account"])]
        rows = [row for row in rows if row["user"] or "user" not in arguments]
    columns = option(arguments, "format").split(",")
    return "".join("|".join(row.get(c, "") for c in columns) + "\n" for row in rows)


def srun(arguments):
    """The command behind srun's own options, its output where ``--output`` says."""
    output = option(arguments, "--output").replace("%A", os.environ["SLURM_ARRAY_JOB_ID"])
    output = output.replace("%a", os.environ["SLURM_ARRAY_TASK_ID"]).replace("%t", "0")
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    first = arguments.index("--output") + 2
    command = arguments[first:]
    while command[0].startswith("--"):
        command.pop(0)
    os.execvp(command[0], command)


def answer(state, command, arguments):
    """A command's output; what the test wants refused is refused after so many calls."""
    calls = sum(call[0] == command for call in state["calls"])
    state["calls"].append([command, *arguments])
    if command in state["refuse"]:
        allowed, text = state["refuse"][command]
        if calls >= allowed:
            raise Refused(text)
    return globals()[command](state, arguments)


def main():
    path, command, *arguments = sys.argv[1:]
    if command == "srun":
        srun(arguments)
    try:
        with State(path) as state:
            delay = state["slow"].get(command, 0)
            print(answer(state, command, arguments), end=state["banner"])
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(refused.code)
    time.sleep(delay)


if __name__ == "__main__":
    main()
