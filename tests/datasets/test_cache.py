"""Images decoded once: one correct file whichever process builds it, and how it is used."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import datasets
from datasets import DataError, Stream, cache
from datasets.cache import CacheSpec, ImageSource, cached

CHECKOUT = Path(__file__).parents[2]
STREAMS = [Stream(), Stream("balanced"), Stream(views=("weak", "strong"))]


def noise(count, size, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def spec(size=8, train=70, test=30, key="k", log=None):
    """A set of noise; the file ``log`` counts the images decoded."""

    def part(count, seed):
        images = noise(count, size, seed)

        def chunk(span):
            if log:
                with log.open("a") as file:
                    file.write(f"{len(span)}\n")
                time.sleep(0.02)
            return images[span.start : span.stop]

        return ImageSource(np.arange(count) % 3, chunk)

    return CacheSpec(
        "noise", key, size, {"train": part(train, 0), "test": part(test, 1)}, tuple("abc")
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 7)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_holds_what_was_decoded(tmp_path):
    made = cached(spec(size=9), tmp_path, None)
    assert torch.equal(made.train.images, torch.from_numpy(noise(70, 9, 0)))
    assert torch.equal(made.test.images, torch.from_numpy(noise(30, 9, 1)))
    assert made.train.labels.tolist() == [i % 3 for i in range(70)]
    assert made.class_names == ("a", "b", "c")
    (name,) = files(tmp_path / ".cache")
    assert re.fullmatch(r"noise-9px-[0-9a-f]{16}\.safetensors", name)
    read = load_file(tmp_path / ".cache" / name)  # safetensors' own reader
    assert torch.equal(read["train.images"], made.train.images)


def test_it_is_made_once(tmp_path):
    first = cached(spec(log=tmp_path / "log"), tmp_path, None)
    decoded = (tmp_path / "log").read_text()
    assert sum(map(int, decoded.split())) == 100
    again = cached(spec(log=tmp_path / "log"), tmp_path, None)
    assert (tmp_path / "log").read_text() == decoded
    assert again.sha256 == first.sha256
    assert torch.equal(again.train.images, first.train.images)


def test_other_files_or_another_size_are_another_cache(tmp_path):
    hashes = {cached(made, tmp_path, None).sha256 for made in (spec(), spec(size=4))}
    cached(spec(key="other files"), tmp_path, None)
    assert len(hashes) == 2
    assert len(files(tmp_path / ".cache")) == 3


def test_the_hash_is_that_of_the_content(tmp_path):
    made = [cached(r, tmp_path, None) for r in (spec(), spec(key="b"), spec(key="c", train=69))]
    assert made[0].sha256 == made[1].sha256 != made[2].sha256


BUILDER = """
    import os, socket, sys, time
    from pathlib import Path
    sys.path.insert(0, {checkout!r})
    from datasets import cache
    from tests.datasets.test_cache import spec
    cache.CHUNK, cache.STALE = 2, 0.5
    if sys.argv[2] == "unlocked":
        cache.SoftFileLease.acquire = lambda lock, timeout: None
    if sys.argv[2] == "elsewhere":
        socket.gethostname = lambda: "another-machine"
    root = Path(sys.argv[1])
    (root / f"ready-{{os.getpid()}}").touch()
    while not (root / "go").exists():
        time.sleep(0.005)
    made = cache.cached(spec(log=root / "log"), root, None)
    print(made.sha256, int(made.train.images.long().sum()))
"""


def builder(root, mode="locked"):
    script = textwrap.dedent(BUILDER.format(checkout=str(CHECKOUT)))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(root), mode], stdout=subprocess.PIPE, text=True
    )


def wait_until(condition, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["locked", "unlocked"])
def test_two_processes_at_once_give_one_right_file(tmp_path, mode):
    builders = [builder(tmp_path, mode) for _ in range(2)]
    wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    (tmp_path / "go").touch()
    said = [started.communicate(timeout=60)[0] for started in builders]
    assert [started.returncode for started in builders] == [0, 0]
    expected = cached(spec(), tmp_path / "elsewhere", None)
    total = int(expected.train.images.long().sum())
    assert said == [f"{expected.sha256} {total}\n"] * 2
    assert len(files(tmp_path / ".cache")) == 1  # neither drafts nor locks are left
    times = 1 if mode == "locked" else 2
    assert sum(map(int, (tmp_path / "log").read_text().split())) == 100 * times


def start_building(root, mode):
    """A builder that has begun to decode and holds the lock."""
    started = builder(root, mode)
    (root / "go").touch()
    wait_until(lambda: (root / "log").exists())
    assert [name for name in files(root / ".cache") if name.endswith(".lock")]
    return started


@pytest.mark.parametrize(("mode", "least"), [("locked", 0), ("elsewhere", 0.5)])
def test_a_builder_that_was_killed_does_not_block(tmp_path, monkeypatch, mode, least):
    """At once on this machine; elsewhere only the missing heartbeats tell."""
    monkeypatch.setattr(cache, "STALE", 0.5 if mode == "elsewhere" else 60)
    killed = start_building(tmp_path, mode)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    start = time.monotonic()
    made = cached(spec(), tmp_path, None)
    assert least < time.monotonic() - start < 5
    assert torch.equal(made.train.images, torch.from_numpy(noise(70, 8, 0)))
    assert len(files(tmp_path / ".cache")) == 1  # its draft is deleted too


@pytest.mark.parametrize("mode", ["locked", "elsewhere"])
def test_a_living_builder_is_waited_for(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(cache, "STALE", 0.5)  # half as long as building takes
    started = start_building(tmp_path, mode)
    made = cached(spec(log=tmp_path / "log"), tmp_path, None)
    assert started.communicate(timeout=60)[0].startswith(made.sha256)
    assert sum(map(int, (tmp_path / "log").read_text().split())) == 100


@pytest.mark.parametrize("content", ["", "another-machine-17"])
def test_a_damaged_lock_file_blocks_for_a_limited_time(tmp_path, monkeypatch, content):
    monkeypatch.setattr(cache, "MAX_WAIT", 0.3)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / spec().file_name).with_suffix(".lock").write_text(content)
    assert len(cached(spec(), tmp_path, None).train.labels) == 70


def test_where_the_data_is_read_only_the_users_cache_serves(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    root = tmp_path / "data"
    root.mkdir()
    writable = cache._writable
    monkeypatch.setattr(
        cache, "_writable", lambda folder: not folder.is_relative_to(root) and writable(folder)
    )
    cached(spec(), root, None)
    assert files(root) == []
    assert len(files(tmp_path / "home" / "kd-datasets")) == 1


def test_a_user_without_a_home_has_no_cache_there(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where passwd lacks the user
    assert cache.folders(tmp_path, None) == [tmp_path / ".cache"]


def test_a_file_beside_read_only_data_is_used(tmp_path, monkeypatch):
    cached(spec(), tmp_path, None)
    monkeypatch.setattr(cache, "_writable", lambda folder: False)
    assert len(cached(spec(), tmp_path, None).train.labels) == 70


def test_no_place_at_all_is_said_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_writable", lambda folder: False)
    with pytest.raises(DataError, match=r"noise: cannot write .*\.cache or .*; name a folder with"):
        cached(spec(), tmp_path, None)


def test_the_named_folder_is_the_only_place(tmp_path):
    cached(spec(), tmp_path, str(tmp_path / "mine"))
    assert files(tmp_path) == ["mine"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"\(No space left on device\); name another folder"):
        cached(spec(), tmp_path, None)
    assert files(tmp_path / ".cache") == []


def test_a_damaged_file_is_named(tmp_path):
    cached(spec(), tmp_path, None)
    (path,) = (tmp_path / ".cache").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"{path.name}: damaged .*; delete it"):
        cached(spec(), tmp_path, None)


# ---- as a data set -------------------------------------------------------------------------------


def in_memory(made, mapped, **settings):
    """The cached images as a data set that stays in the file, or is copied from it."""
    parts = [
        made_part if mapped else datasets.Part(made_part.images.clone(), made_part.labels)
        for made_part in (made.train, made.test)
    ]
    options = {"content": made.sha256} if mapped else {}
    rotation = settings.pop("rotation", 0)
    images = datasets.Images(
        *parts, made.class_names, (0.5,) * 3, (0.2,) * 3, 1, True, rotation=rotation, **options
    )
    return datasets.MemoryData(datasets.Settings("noise", Path(), **settings), images)


@pytest.mark.parametrize("rotation", [0, 20])
@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_images_in_the_file_give_the_same_batches(tmp_path, stream, rotation):
    made = cached(spec(), tmp_path, None)
    settings = {"validation": 12, "subset": 50, "batch_size": 16, "rotation": rotation}
    mapped, copied = (in_memory(made, in_file, **settings) for in_file in (True, False))
    assert mapped._train.images.data_ptr() == made.train.images.data_ptr()  # nothing was copied
    for batches in (
        [d.train_stream(0, 1, stream=stream) for d in (mapped, copied)],
        [d.test_batches() for d in (mapped, copied)],
        [d.test_batches("validation", 5) for d in (mapped, copied)],
    ):
        for one, other in zip(*batches, strict=True):
            for name in ("images", "labels", "indices"):
                assert torch.equal(getattr(one, name), getattr(other, name))
            assert all(map(torch.equal, one.views, other.views))


def test_the_fingerprint_follows_the_content_in_use(tmp_path):
    made = cached(spec(), tmp_path, None)
    prints = [
        in_memory(made, True, **settings).fingerprint
        for settings in ({}, {"subset": 60}, {"validation": 10}, {"validation": 10, "subset": 50})
    ]
    assert len(set(prints)) == 4
    assert in_memory(made, True, subset=70, batch_size=3).fingerprint == prints[0]
    other = cached(spec(key="more", train=71), tmp_path, None)
    assert in_memory(other, True).fingerprint != prints[0]
