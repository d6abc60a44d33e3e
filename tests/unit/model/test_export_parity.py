import numpy as np
import pytest
import torch

from model.depth_model import load_depth_model
from model.errors import ExportError
from model.export_parity import MAX_DIFFERENCE, check_parity
from tests.tiny_families import save_family

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_family("depth_anything", tmp_path_factory.mktemp("model") / "it")
    return load_depth_model(str(folder), device="cpu")


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def network_and(change):
    """A runner that is the network itself, and something done to its maps."""

    def runner(model):
        def run(pixels_BCHW):
            with torch.inference_mode():
                output = model._network(pixel_values=torch.from_numpy(pixels_BCHW))
            return change(output.predicted_depth.numpy())

        return run

    return runner


def check(model, change=lambda maps: maps, images=None, any_batch=True):
    images = pictures((60, 100), (80, 80)) if images is None else images
    return check_parity(
        model,
        network_and(change)(model),
        images,
        preprocessing=model.preprocessing,
        any_batch=any_batch,
    )


def test_the_network_is_the_network(model):
    parity = check(model)
    assert parity.max_difference == parity.mean_difference == 0
    assert parity.correlation == pytest.approx(1)


def test_one_photograph_is_looked_at_turned_and_in_company(model):
    parity = check(model, images=pictures((60, 100)))
    assert (parity.images, parity.maps) == (1, 5)
    assert parity.sizes == ((70, 112), (112, 70))
    alone = check(model, images=pictures((60, 100)), any_batch=False)
    assert (alone.maps, alone.sizes) == (2, parity.sizes)
    assert check(model, images=pictures((60, 100), (60, 100))).maps == 6


def test_the_numbers_are_shares_of_each_map_s_range(model):
    def raised(maps):
        spans = np.ptp(maps, axis=(1, 2), keepdims=True)
        shifts = np.zeros_like(maps)
        shifts[:, :1] = spans * MAX_DIFFERENCE / 2  # of the first row of each map
        return maps + shifts

    parity = check(model, raised)
    assert parity.max_difference == pytest.approx(MAX_DIFFERENCE / 2, rel=1e-3)
    rows = [70, 112, 70, 70, 70, 70]  # of the six maps
    expected = np.mean([MAX_DIFFERENCE / 2 / each for each in rows])
    assert parity.mean_difference == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: maps * 1.01, "differs from the original by up to"),
        (lambda maps: np.zeros_like(maps), "with a correlation of 0.000000"),
        (lambda maps: maps[:, ::-1], "differs from the original"),
        (lambda maps: maps[:, :-1], r"maps of \(1, 70, 112\), the exported model of \(1, 69, 112"),
        (lambda maps: np.where(maps == maps.max(), np.nan, maps), "not finite"),
    ],
)
def test_what_is_not_the_model_fails(model, change, message):
    with pytest.raises(ExportError, match=message):
        check(model, change)


def test_a_fault_of_batches_alone_is_found(model):
    def first_for_all(maps):
        return np.repeat(maps[:1], len(maps), axis=0)

    with pytest.raises(ExportError, match="differs"):
        check(model, first_for_all, images=pictures((60, 100)))


def test_a_flat_map_proves_nothing(model, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda images: torch.full((len(images), 70, 112), 3.0))
    with pytest.raises(ExportError, match="flat map"):
        check(model, images=pictures((60, 100)))
