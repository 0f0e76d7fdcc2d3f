"""Several workers in a SLURM job: which cohorts share it, what it asks for, how it trains them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from experiments.cluster.arrays import admitted
from experiments.local import packed
from experiments.matrix.slurm_options import SlurmOptions, merged
from experiments.rundir.layout import WEIGHTS
from experiments.rundir.status import State, count_states
from experiments.slurm import ABOUT_TO_TIME_OUT
from experiments.worker.job import BLOCKED, STOPPED
from models.checkpoints.files import sha256
from tests.experiments import cli, forked, sending
from tests.experiments.cluster.test_arrays import A, flat, made, spec, students, task, trials
from tests.experiments.sending import Place

TWO = SlurmOptions(workers_per_gpu=2)

# ---- which tasks share a job (pure) --------------------------------------------------------------


def in_jobs(found) -> list[list[list[int]]]:
    """Per array and job, the trials that name the runs."""
    return [
        [[s.trial for t in together for s in t.job.specs] for together in array.jobs]
        for array in found
    ]


@pytest.mark.parametrize(
    ("workers", "jobs"),
    [
        (1, [[0], [1], [2], [3], [4]]),
        (2, [[0, 1], [2, 3], [4]]),
        (3, [[0, 1, 2], [3, 4]]),
        (9, [[0, 1, 2, 3, 4]]),
    ],
)
def test_so_many_tasks_a_job(workers, jobs):
    (array,) = made(students(A, 5), workers=workers)
    assert in_jobs([array]) == [jobs]
    assert array.most == min(workers, 5)
    assert array.seconds == 300.0


def test_who_must_be_alone_is():
    tasks = [replace(task(spec(0)), alone=True), *(task(spec(i)) for i in (1, 2, 3))]
    tasks[2] = replace(tasks[2], alone=True)
    found = made(tasks, workers=2)
    assert in_jobs(found) == [[[0], [2]], [[1, 3]]]
    assert [array.most for array in found] == [1, 2]
    assert trials(made(tasks)) == [[0, 1, 2, 3]]  # with one worker it makes no difference


def test_students_of_different_teachers_share_no_job():
    assert in_jobs(made([*students(A, 1), *students("b", 1, 1)], workers=2)) == [[[0]], [[1]]]


@pytest.mark.parametrize(
    ("workers", "seconds", "minutes"), [(1, 1000.0, 30), (2, 1000.0, 60), (4, 3600.0, 480)]
)
def test_the_limit_is_that_of_one_after_the_other(workers, seconds, minutes):
    (array,) = made(students(A, 4), seconds=seconds, workers=workers)
    assert array.minutes == minutes
    assert array.seconds == 4 * seconds


def test_arrays_and_limits_count_jobs():
    found = made(students(A, 10), size=2, workers=2)
    assert [len(array.jobs) for array in found] == [2, 2, 1]
    sent, left = admitted(found, 3)
    assert flat(flat(in_jobs(sent))) == [*range(6)]
    assert ([len(array.jobs) for array in sent], left) == ([2, 1], 2)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "flags", "workers", "asked"),
    [
        ({}, {}, 2, (2, None)),
        ({"cpus": 4, "mem": "16G"}, {}, 1, (4, "16G")),
        ({"cpus": 4, "mem": "16G"}, {}, 3, (12, "48G")),
        ({"cpus": 4, "mem": "16G"}, {"mem": "20G"}, 3, (12, "20G")),
        ({"cpus": 4, "mem": "16G"}, {"cpus": 5}, 3, (5, "48G")),
        ({}, {"cpus": 5, "mem": "500M"}, 3, (5, "500M")),
        ({"mem": "1500M"}, {}, 2, (2, "3000M")),
    ],
    ids=range(7),
)
def test_files_say_what_a_worker_needs_and_flags_what_the_job_does(files, flags, workers, asked):
    options = merged(None, SlurmOptions(**files), flags).of_job(workers)
    assert (options.cpus, options.mem) == asked


@pytest.mark.parametrize("value", [0, 49, "2", 2.0, True, None, [2]])
def test_the_key_is_checked(fake, place, value):
    place.write(slurm={"workers_per_gpu": value})
    said = place.call("submit", "--yes")
    assert said.code == 2
    assert "slurm.workers_per_gpu: " in said.err and said.err.count("\n") == 1
    assert fake.jobs == []


def test_several_processes_do_not_share_a_gpu(fake, place):
    place.write(processes=2, slurm={"workers_per_gpu": 2})
    said = place.call("submit", "--yes", "--no-timing")
    assert said.code == 2
    assert "--workers-per-gpu (slurm.workers_per_gpu): 2 with processes: 2: one of" in said.err
    assert place.call("submit", "--yes", "--no-timing", "--workers-per-gpu", "1").code == 0


def test_no_run_id_depends_on_it(place):
    before = [s.id for s in place.plan().expansion.runs]
    place.write(slurm={"workers_per_gpu": 4})
    assert [s.id for s in place.plan().expansion.runs] == before


# ---- sent ----------------------------------------------------------------------------------------


def test_jobs_are_sent_with_a_file_per_worker(fake, place):
    """The teacher first and alone; the flag wins over the matrix."""
    place.write(slurm={"workers_per_gpu": 9, "cpus": 2, "mem": "4G"})
    flags = ("--gpus", "1", "--yes", "--no-timing", "--workers-per-gpu", "2")
    said = place.call("submit", *flags, "--cohort-size", "1")
    assert said.code == 0, said.err
    assert (
        "up to 2 workers share the GPU of a job, which asks for "
        "4 cores (2 per worker), 8G of memory (4G per worker)"
    ) in said.out
    assert "to send: 4 jobs in 3 arrays" in said.out
    teacher, _, taught = place.sent
    files = [sorted(p.name for p in sent.folder.glob("task*")) for sent in place.sent]
    assert files == [
        ["task-0.json"],
        ["task-0-0.json", "task-0-1.json"],
        ["task-0-0.json", "task-0-1.json", "task-1-0.json", "task-1-1.json"],
    ]
    assert [len(ids) for ids in taught.tasks] == [2, 2]
    assert taught.after == (f"{teacher.job}_0",)
    asked = [(j["options"]["cpus-per-task"], j["options"]["mem"]) for j in fake.jobs]
    assert asked == [("2", "4G"), ("4", "8G"), ("4", "8G")]
    assert {j["options"]["gpus-per-node"] for j in fake.jobs} == {"1"}
    assert fake.jobs[1]["script"].count("--cpus-per-task=4") == 2  # srun does not inherit it
    runs = [run for sent in place.sent for ids in sent.tasks for run in ids]
    assert len(runs) == len(set(runs)) == 7
    assert place.call("submit", *flags).out.endswith("7 pending\nnothing to send\n")


def test_what_a_flag_gave_is_said_so(fake, place):
    flags = ("--no-timing", "--workers-per-gpu", "2", "--mem", "9G", "--dry-run")
    said = place.call("submit", *flags, "--cohort-size", "1").out
    assert (
        "the cores of a job, which asks for 2 cores (1 per worker), 9G of memory (as given)" in said
    )
    assert said.count("#SBATCH --mem=9G") == 3


def test_runs_per_job_stay_about_the_same(fake, place):
    """Eight runs in a job, which two workers share."""
    place.write(trials=1, methods=["kd", "at", "rkd", "dkd", "fitnet", "sp", "nst", "dist"])
    assert place.call("submit", "--yes", "--no-timing", "--workers-per-gpu", "2").code == 0
    _, taught = place.sent
    assert [len(ids) for ids in taught.tasks] == [8]
    assert len(list(taught.folder.glob("task-0-*.json"))) == 2


def test_where_nothing_can_share_it_is_said(fake, place):
    place.write(trials=1, methods=["kd"])
    said = place.call("submit", "--yes", "--no-timing", "--workers-per-gpu", "2")
    assert "one worker per job: no two cohorts can share a job" in said.out


# ---- trained -------------------------------------------------------------------------------------


@pytest.fixture
def sent(fake, place, monkeypatch) -> Place:
    """A matrix whose jobs of two workers are submitted; their workers are forks."""
    forked.install(monkeypatch)
    send(place)
    return place


def send(place: Place) -> None:
    sending.send(place, sending.settings(options=TWO, cohort_size=1))


def tasks(fake) -> list[str]:
    """Teachers come first."""
    return [f"{job['id']}_{t['index']}" for job in fake.jobs for t in job["tasks"]]


def states(place: Place) -> dict[str, int]:
    return count_states(place.plan().statuses().values())


def test_all_tasks_train_what_a_local_run_trains(fake, sent, finished):
    """Bit for bit; every line of the log says whose it is."""
    said = [fake.run(task) for task in tasks(fake)]
    assert [ended.code for ended in said] == [0] * 4
    assert states(sent) == {State.DONE: 7}
    for path in (finished / "runs").rglob(WEIGHTS):
        assert sha256(sent.runs / path.relative_to(finished / "runs")) == sha256(path)
    for line in said[2].out.splitlines():
        assert line.startswith("resnet14 -> resnet8, ") and ": " in line
    assert said[2].out.count(": done: top-1 ") == 2
    again = fake.run(tasks(fake)[2])  # as if it were requeued: nothing is trained twice
    assert (again.code, "epoch" in again.out) == (0, False)


def stop_at_first_epoch(monkeypatch, number: int) -> list[object]:
    """A signal to the supervisor, twice, as SLURM may send it; who hands the job back is noted."""
    handed: list[object] = []

    def epoch(*_):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(packed.Log, "epoch", epoch)
    monkeypatch.setattr(packed, "requeue_or_wait", handed.append)
    return handed


@pytest.mark.parametrize("number", [ABOUT_TO_TIME_OUT, signal.SIGTERM], ids=str)
def test_stopped_in_the_middle_requeued_and_resumed(fake, place, tmp_path, monkeypatch, number):
    forked.install(monkeypatch)
    place.write(methods=["vanilla"], trials=2, recipe__epochs=8)
    send(place)
    (job,) = tasks(fake)
    with monkeypatch.context() as patch:
        handed = stop_at_first_epoch(patch, number)
        ended = fake.run(job)
    assert ended.code == STOPPED
    assert [queue.signal for queue in handed] == [number]
    assert states(place) == {State.TODO: 2}
    with fake.state() as state:
        state["jobs"][0]["tasks"][0]["restarts"] = 1
    fake.move(job, "PENDING", "BeginTime")
    ended = fake.run(job)
    assert ended.code == 0
    assert states(place) == {State.DONE: 2}
    assert ended.out.count("epoch 8/8") == 2 and ended.out.count("epoch 1/8") < 2


def test_one_cohort_is_blocked_and_the_other_goes_on(fake, sent, finished):
    """The job then counts as failed, as that of one worker does; nothing is tried again in it."""
    teacher, _, taught, _ = tasks(fake)
    fake.run(teacher)
    path = sent.sent[2].folder / "task-0-0.json"
    job = json.loads(path.read_text())
    path.write_text(json.dumps({**job, "ids": ["of another day"]}))
    ended = fake.run(taught)
    assert ended.code == BLOCKED
    assert ended.out.count(": done: top-1 ") == 1
    assert ": blocked: the code changed since it was planned" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_without_its_teacher_it_is_blocked_and_looks_failed(fake, sent):
    ended = fake.run(tasks(fake)[2])
    assert (ended.code, ended.err) == (BLOCKED, "")
    assert ended.out.count(": blocked: teacher resnet14: ") == 2


def test_a_worker_dies_and_another_goes_on(fake, sent, monkeypatch):
    killed: list[int] = []
    epoch = packed.Log.epoch

    def kill_one(self, spec, row):
        epoch(self, spec, row)
        if not killed:
            found = queues[0].running.items()
            killed.extend(p for p, (task, *_) in found if spec in task.job.specs)
            os.kill(killed[0], signal.SIGKILL)

    queues, start = [], packed.PackedQueue.run
    monkeypatch.setattr(packed.PackedQueue, "run", lambda self: queues.append(self) or start(self))
    monkeypatch.setattr(packed.Log, "epoch", kill_one)
    ended = fake.run(tasks(fake)[1])
    assert (ended.code, len(killed)) == (0, 1)
    assert ended.out.count(": done: top-1 ") == 2


def test_what_dies_twice_is_lost_and_the_job_fails(fake, sent, monkeypatch):
    """The disk then says what is left, and submit sends it again, alone."""
    monkeypatch.setattr(forked.worker, "work", lambda path, as_json: os.kill(os.getpid(), 9))
    job = tasks(fake)[1]
    ended = fake.run(job)
    assert ended.code == 1
    assert ended.out.count(": lost: its worker died (SIGKILL); repeat the command") == 2


def test_status_logs_and_cancel_know_its_runs(fake, sent):
    run = sent.specs("kd")[1]
    sent.directory(run)
    found = ((entry, entry.task_of(run.id)) for entry in sent.sent)
    entry, number = next((e, number) for e, number in found if number is not None)
    entry.log(number).write_text(f"{run}: epoch 1/2: loss 1\n")
    fake.move(f"{entry.job}_{number}", "RUNNING", "n1")
    said = cli.call("logs", run.id, "--runs", str(sent.runs))
    assert f"{run}: epoch 1/2: loss 1" in said.out
    assert "2 running" in sent.call("status").out
    said = sent.call("cancel", "--yes", "--methods", "kd", "--trials", "1")
    assert said.code == 0
    assert fake.queue.get(f"{entry.job}_{number}") is None
    assert "2 lost" in sent.call("status").out  # until the next submit, like any canceled job


def test_the_supervisors_end_without_slurms_own_process(monkeypatch):
    """A node that lost slurmd: workers save and end, as after a signal."""
    queue = packed.PackedQueue([], [], packed.Log())
    queue._pass_stops_on()
    assert not queue.stops
    monkeypatch.setattr(packed.os, "getppid", lambda: queue.parent + 1)
    queue._pass_stops_on()
    assert queue.stops
