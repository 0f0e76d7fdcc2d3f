"""Folders that are decoded batch by batch: the same pixels however many processes decode them."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import datasets
from datasets import DataError, Stream
from datasets.decoding_process import DecodingProcess
from tests.datasets import image_files

CHECKOUT = Path(__file__).parents[2]
STREAMS = [Stream(), Stream("balanced"), Stream(views=("weak", "strong")), Stream(stage="initial")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("streamed")
    image_files.imagenet(root / "imagenet")
    return root


def build(root, workers=0, **settings):
    settings = {"batch_size": 5, "image_size": 32, **settings}
    return datasets.build("imagenet", root, workers=workers, **settings)


@pytest.fixture(scope="module")
def both(root):
    """The same set decoded in this process and by two others."""
    alone, others = build(root), build(root, workers=2)
    yield alone, others
    others._loaders.close()


def flat(batches):
    return [t for b in batches for t in (b.images, b.labels, b.indices, *b.views)]


def equal(one, other):
    one, other = flat(one), flat(other)
    return len(one) == len(other) > 0 and all(map(torch.equal, one, other))


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_the_number_of_processes_changes_no_pixel(both, stream):
    alone, others = (list(data.train_stream(1, 2, stream=stream)) for data in both)
    assert equal(alone, others)
    assert len(alone) == both[0].steps_per_epoch(stream)
    assert not equal(alone, both[0].train_stream(1, 3, stream=stream))
    assert not equal(alone, both[0].train_stream(2, 2, stream=stream))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_entered_in_the_middle_decodes_nothing_before(root, tmp_path, workers):
    """Killed and resumed: the tail, bit for bit, though the files of what was seen are gone."""
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    data = build(tmp_path, workers, cache=str(tmp_path / "cache"))
    whole = list(data.train_stream(0, 1, stream=Stream(views=("strong",))))
    for start in (0, 3):
        assert equal(data.train_stream(0, 1, start, Stream(views=("strong",))), whole[start:])
    for batch in whole[:3]:
        for index in batch.indices.tolist():
            Path(data._train.path(index)).unlink()
    assert equal(data.train_stream(0, 1, 3, Stream(views=("strong",))), whole[3:])
    with pytest.raises(DataError, match=r"\.JPEG: cannot be read as an image \(.*No such file"):
        next(data.train_stream(0, 1))
    data._loaders.close()


def test_two_streams_at_once_do_not_mix(both):
    _, data = both
    first, second = data.train_stream(0, 1), data.train_stream(0, 2)
    mixed = list(zip(first, second, strict=True))
    assert equal([a for a, _ in mixed], data.train_stream(0, 1))
    assert equal([b for _, b in mixed], data.train_stream(0, 2))


def test_a_stream_left_early_leaves_no_trace(both):
    alone, data = both
    next(data.train_stream(0, 1))
    assert equal(data.test_batches(), alone.test_batches())
    assert equal(data.train_stream(0, 1), alone.train_stream(0, 1))


def test_the_processes_stay_between_epochs(both):
    _, data = both
    list(data.train_stream(0, 1))
    (loader,) = data._loaders._idle
    pids = [decoder.process.pid for decoder in loader]
    list(data.test_batches())
    list(data.train_stream(0, 2))
    assert [decoder.process.pid for decoder in data._loaders._idle[0]] == pids


def test_the_global_generator_is_left_alone(both):
    for data in both:
        torch.manual_seed(3)
        list(data.train_stream(0, 1))
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.manual_seed(3)))


def test_training_crops_are_torchvisions(root):
    data = build(root)
    batch = next(data.train_stream(1, 4))
    augment = v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip()])
    finish = v2.Compose(
        [
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for place, index in enumerate(batch.indices.tolist()):
        torch.manual_seed(datasets.randomness.seed("imagenet", "augment", 1, "main", 4, place))
        picture = Image.open(data._train.path(index)).convert("RGB")
        torch.testing.assert_close(batch.images[place], finish(augment(picture)))


@pytest.mark.parametrize("size", [32, 28])
def test_test_images_are_torchvisions(root, size):
    data = build(root, image_size=size)
    (batch,) = data.test_batches()
    assert batch.images.shape == (9, 3, size, size)
    shown = v2.Compose([v2.Resize(round(size * 256 / 224)), v2.CenterCrop(size)])
    for image, place in zip(batch.images, batch.indices.tolist(), strict=True):
        picture = shown(Image.open(data._parts["test"].path(place)).convert("RGB"))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        assert torch.equal(image, data._normalise(pixels)[0])


def test_every_kind_of_file_is_read(root):
    data = build(root)
    assert data.info.class_names == image_files.CLASSES
    assert data.info.train_labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert (data.sizes, data.warnings) == ({"test": 9}, ("imagenet: 3 of 1000 classes",))
    grey = next(iter(data.test_batches())).images[0]
    assert grey.isfinite().all()


def test_balanced_batches_are_balanced(root):
    data = build(root, batch_size=9)
    for batch in data.train_stream(0, 1, stream=Stream("balanced")):
        assert batch.labels.bincount().tolist() == [3, 3, 3]
        assert torch.equal(batch.labels, data.info.train_labels[batch.indices])


def test_processes_share_a_batch(root):
    stream = Stream(views=("strong",))
    alone = list(build(root).train_stream(0, 1, stream=stream))
    ranks = [list(build(root, shard=(r, 2)).train_stream(0, 1, stream=stream)) for r in (0, 1)]
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([p.images for p in parts]), whole.images)
        assert torch.equal(torch.cat([p.views[0] for p in parts]), whole.views[0])
        assert {p.whole for p in parts} == {len(whole)}


def test_hold_out_and_subset(root):
    data = build(root, validation=6, subset=9)
    assert data.info.train_labels.bincount().tolist() == [3, 3, 3]
    assert data.sizes == {"test": 9, "validation": 6}
    (held,) = data.test_batches("validation")
    shown = {data._parts["validation"].path(k) for k in held.indices.tolist()}
    trained = {data._train.path(k) for b in data.train_stream(0, 1) for k in b.indices.tolist()}
    assert (len(shown), len(trained), len(shown & trained)) == (6, 9, 0)


def test_the_fingerprint_is_that_of_names_and_sizes(root, tmp_path):
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    whole = build(root)
    copied = build(tmp_path, workers=1, batch_size=7)
    assert copied.fingerprint == whole.fingerprint == build(root, subset=24).fingerprint
    assert build(root, subset=23).fingerprint != whole.fingerprint
    victim = Path(whole._train.path(0)).relative_to(root)
    (tmp_path / victim).rename((tmp_path / victim).with_name("other.JPEG"))
    assert build(tmp_path).fingerprint != whole.fingerprint


def test_the_index_spares_the_scan_and_follows_the_folders(root, tmp_path, monkeypatch):
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    cache = str(tmp_path / "cache")
    first = build(tmp_path, cache=cache)
    with monkeypatch.context() as patch:
        patch.setattr("datasets.index.by_class", lambda *_: pytest.fail("scanned again"))
        again = build(tmp_path, cache=cache)
    assert again.fingerprint == first.fingerprint
    assert equal(again.train_stream(0, 1), first.train_stream(0, 1))
    shutil.copy(first._train.path(0), tmp_path / f"imagenet/train/{image_files.CLASSES[2]}/x.jpg")
    assert build(tmp_path, cache=cache).info.train_size == 25


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_in_one_line(root, tmp_path, workers):
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    victim = tmp_path / "imagenet/val" / image_files.CLASSES[1] / f"{image_files.CLASSES[1]}_2.JPEG"
    victim.write_bytes(victim.read_bytes()[:300])
    data = build(tmp_path, workers)
    with pytest.raises(DataError, match=rf"^{re.escape(str(victim))}: cannot be read") as caught:
        list(data.test_batches())
    assert "\n" not in str(caught.value)
    assert len(list(data.train_stream(0, 1))) == 5  # the processes go on
    data._loaders.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, "imagenet: option workers = -1: expected a whole number from 0"),
        ({"workers": True}, "imagenet: option workers = True: expected a whole number from 0"),
        ({"image_size": 4}, "imagenet: option image_size = 4: expected a whole number from 8"),
        ({"worker": 2}, "imagenet: unknown option 'worker': did you mean workers?"),
    ],
)
def test_wrong_options_are_refused(root, options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        datasets.build("imagenet", root, **options)


def test_a_missing_folder_is_named_with_the_layout(tmp_path):
    with pytest.raises(DataError, match=r"imagenet: no folder train in .*; expected imagenet/tr"):
        build(tmp_path)
    image_files.save(tmp_path / "train/a/1.JPEG", image_files.picture(0, 20, 20))
    with pytest.raises(DataError, match=r"val: no such folder; expected imagenet/train"):
        build(tmp_path)
    (tmp_path / "val/b").mkdir(parents=True)
    with pytest.raises(DataError, match=r"val/b: no class of the training part"):
        build(tmp_path)
    (tmp_path / "val/b").rename(tmp_path / "val/a")
    with pytest.raises(DataError, match=r"val/a: holds no image"):
        build(tmp_path)


def wait_for_the_end_of(pids):
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a decoding process outlives its trainer"
        time.sleep(0.05)


SCRIPT = """
    import gc, os, signal, sys
    import datasets
    data = datasets.build("imagenet", sys.argv[1], workers=2, batch_size=4, image_size=32)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    stream = data.train_stream(0, 1)
    next(stream)
    kind = datasets.decoding_process.DecodingProcess
    for decoder in (o for o in gc.get_objects() if isinstance(o, kind)):
        print(decoder.process.pid)
    os.killpg(0, signal.SIGUSR1)  # as SLURM does before the time is up
    print("rest", sum(1 for _ in stream), flush=True)
    left = data.train_stream(0, 2)
    next(left)
    {end}
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_process_stays_behind_and_signals_are_the_trainers(root, end):
    script = textwrap.dedent(SCRIPT.format(end=end))
    started = subprocess.Popen(
        [sys.executable, "-c", script, str(root)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == (0 if end == "pass" else -9)
    *pids, rest = out.splitlines()
    assert (len(pids), rest) == (2, "rest 5")
    wait_for_the_end_of(pids)


def decoders():
    return [o for o in gc.get_objects() if isinstance(o, DecodingProcess)]


@pytest.mark.parametrize("left", ["finished", "left early", "in a cycle"])
def test_the_processes_leave_with_the_data_set(root, left):
    data = build(root, workers=1)
    stream = data.train_stream(0, 1)
    next(stream)
    (pid,) = (decoder.process.pid for decoder in decoders() if decoder.decoder is data._decoder)
    if left == "finished":
        list(stream)
    if left == "in a cycle":
        data.itself = data
    del data, stream
    gc.collect()
    wait_for_the_end_of([pid])


def test_signals_to_stop_the_job_do_not_end_a_decoding_process(root):
    data = build(root, workers=1)
    list(data.train_stream(0, 1))
    (worker,) = (decoder.process for decoder in data._loaders._idle[0])
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(worker.pid, name)
    assert len(list(data.train_stream(0, 3))) == 5
    assert worker.is_alive()
    data._loaders.close()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_cuda_batches_are_bit_equal(root, workers):
    data = build(root, workers, device="cuda")
    there = list(data.train_stream(0, 1, stream=Stream(views=("strong",))))
    assert {b.images.device.type for b in there} == {"cuda"}
    here = flat(build(root).train_stream(0, 1, stream=Stream(views=("strong",))))
    assert all(torch.equal(a.cpu(), b) for a, b in zip(flat(there), here, strict=True))
    data._loaders.close()
