"""A batch through the network: codes are those of the codec, and a bad map spoils only itself."""

import time
from collections import deque

import numpy as np
import pytest
import torch

from model import label_pass
from model.depth_model import load_depth_model
from model.label_pass import MAX_LAUNCHED, LabelPass
from pipeline.depth_codec import quantise
from tests.factories import tiny_teacher

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_teacher(tmp_path_factory.mktemp("teacher"))
    return load_depth_model(str(folder), device="cpu")


def images(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 42, 56, 3), dtype=np.uint8))


@pytest.mark.parametrize("bits", [16, 12])
def test_codes_are_those_of_the_codec(model, bits):
    runner = LabelPass(model, bits=bits, consistency=False)
    batch = runner.stack(images(3))
    assert torch.equal(batch, torch.from_numpy(np.stack(images(3))))
    launched = runner.launch(batch)
    assert launched.seconds() > 0
    for index, map_HW in enumerate(model.disparity(batch).numpy()):
        expected, found = quantise(map_HW, bits=bits), launched.wait(index)
        assert found.codes_HW.dtype == np.uint16
        np.testing.assert_array_equal(found.codes_HW, expected.codes_HW)
        assert (found.minimum, found.maximum) == (expected.minimum, expected.maximum)
        ends = (expected.codes_HW == 0) | (expected.codes_HW == 2**bits - 1)
        assert found.saturated == ends.mean()
        assert 0 <= found.flat <= 1
        assert found.flip_correlation is None
        assert found.is_finite


def test_consistency_is_one_where_image_and_network_are_symmetric(model):
    runner = LabelPass(model, bits=16, consistency=True)
    half = np.random.default_rng(0).integers(0, 256, (42, 28, 3), dtype=np.uint8)
    symmetric = np.concatenate([half, half[:, ::-1]], axis=1)
    real = model.disparity

    def brightness(batch, **_):
        return batch.float().mean(3)

    try:
        model.disparity = brightness
        launched = runner.launch(runner.stack([symmetric, images(1)[0]]))
        model.disparity = lambda batch, **_: brightness(batch) * torch.arange(56.0)
        uneven = runner.launch(runner.stack([symmetric]))
        model.disparity = lambda batch, **_: torch.ones(batch.shape[:3])
        constant = runner.launch(runner.stack([symmetric]))
    finally:
        model.disparity = real
    assert launched.wait(0).flip_correlation == pytest.approx(1, abs=1e-12)
    assert launched.wait(1).flip_correlation == pytest.approx(1, abs=1e-12)  # mirrored back
    assert -1 <= uneven.wait(0).flip_correlation < 0.9
    assert constant.wait(0).flip_correlation is None
    assert constant.wait(0).saturated == constant.wait(0).flat == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_leaves_its_batch_alone(model, monkeypatch, bad):
    runner = LabelPass(model, bits=16, consistency=False)
    batch = runner.stack(images(3))
    maps = model.disparity(batch).clone()
    expected = [quantise(map_HW).codes_HW for map_HW in maps.numpy()]
    maps[1, 5, 5] = bad
    monkeypatch.setattr(model, "disparity", lambda *_, **__: maps)
    launched = runner.launch(batch)
    assert [launched.wait(index).is_finite for index in range(3)] == [True, False, True]
    for index in (0, 2):
        np.testing.assert_array_equal(launched.wait(index).codes_HW, expected[index])


class PlayedEvent:
    """A CUDA event that happens when somebody waits for it; all waits are noted."""

    log: deque = deque()

    def record(self):
        self.happened = False

    def synchronize(self):
        self.happened = True
        self.log.append(self)

    def elapsed_time(self, end):
        assert end.happened
        return 1500.0


@pytest.fixture
def played_cuda(monkeypatch, model):
    """The queue of a GPU, on a CPU: events and pinned memory are played, the rest is real."""
    PlayedEvent.log = deque()
    monkeypatch.setattr(label_pass, "_event", PlayedEvent)
    monkeypatch.setattr(label_pass, "_to_pinned", lambda tensor: tensor.clone())
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.inference_mode())
    runner = LabelPass(model, bits=16, consistency=False)
    runner._queue = label_pass._CudaQueue(model.device)
    return runner


def test_launching_waits_only_for_the_one_before_the_last(played_cuda, model):
    assert MAX_LAUNCHED == 2
    batches = [torch.from_numpy(np.stack(images(2, seed))) for seed in range(5)]
    launched = [played_cuda.launch(batch) for batch in batches[:2]]
    assert not PlayedEvent.log
    launched += [played_cuda.launch(batch) for batch in batches[2:]]
    assert list(PlayedEvent.log) == [each.end for each in launched[:3]]
    assert launched[4].seconds() == 1.5
    for batch, each in zip(batches, launched, strict=True):
        expected = quantise(model.disparity(batch)[1].numpy()).codes_HW
        np.testing.assert_array_equal(each.wait(1).codes_HW, expected)
        assert each.end in PlayedEvent.log


def test_a_launch_that_fails_leaves_nothing_to_wait_for(played_cuda, model, monkeypatch):
    with monkeypatch.context() as patched:

        def full(_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        patched.setattr(model, "disparity", full)
        for _ in range(3):
            with pytest.raises(torch.OutOfMemoryError):
                played_cuda.launch(torch.from_numpy(np.stack(images(2))))
    assert played_cuda.launch(torch.from_numpy(np.stack(images(2)))).wait(0).is_finite
    assert len(played_cuda._queue._ends) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("consistency", [False, True])
def test_a_gpu_gives_the_codes_of_its_own_maps(tmp_path, consistency):
    folder = tiny_teacher(tmp_path / "teacher")
    model = load_depth_model(str(folder), device="cuda")
    runner = LabelPass(model, bits=16, consistency=consistency)
    batches = [runner.stack(images(4, seed)) for seed in range(6)]
    assert all(batch.is_pinned() for batch in batches)
    launched = [runner.launch(batch) for batch in batches]
    for batch, each in zip(batches, launched, strict=True):
        maps = model.disparity(batch).cpu().numpy()
        for index, map_HW in enumerate(maps):
            expected, found = quantise(map_HW), each.wait(index)
            np.testing.assert_array_equal(found.codes_HW, expected.codes_HW)
            assert (found.minimum, found.maximum) == (expected.minimum, expected.maximum)
            assert (found.flip_correlation is None) == (not consistency)
        assert each.seconds() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_whoever_waits_for_a_gpu_takes_no_core_from_those_who_decode():
    end = label_pass._event()
    torch.cuda._sleep(1_000_000_000)  # cycles: half a second or so
    end.record()
    started, busy = time.perf_counter(), time.thread_time()
    end.synchronize()
    waited, busy = time.perf_counter() - started, time.thread_time() - busy
    assert waited > 0.1
    assert busy < 0.3 * waited
