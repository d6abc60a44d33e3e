import numpy as np
import pytest
import torch

from model.geometry import GEOMETRIES, disparity_geometry, to_disparity
from pipeline.records import Geometry


def test_strings_are_those_of_the_data_plane():
    assert set(GEOMETRIES) == {geometry.value for geometry in Geometry}


def test_every_disparity_geometry_is_one():
    for geometry in Geometry:
        assert Geometry(disparity_geometry(geometry.value)).is_disparity
    assert disparity_geometry("depth_metric") == "disparity_metric"
    assert disparity_geometry("depth_scale_invariant") == "disparity_affine_invariant"


VALUES = [2.0, 0.5, 0.0, -1.0, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("geometry", ["depth_metric", "depth_scale_invariant"])
def test_depth_is_inverted_and_invalid_where_it_is_no_distance(geometry):
    disparity = to_disparity(np.array([VALUES], np.float32), geometry)
    np.testing.assert_array_equal(disparity, [[0.5, 2.0] + [np.nan] * 5])
    assert disparity.dtype == np.float32


@pytest.mark.parametrize("geometry", ["disparity_metric", "disparity_affine_invariant"])
def test_disparity_passes_with_zero_and_negative_values(geometry):
    disparity = to_disparity(np.array([VALUES], np.float32), geometry)
    np.testing.assert_array_equal(disparity, [[2.0, 0.5, 0.0, -1.0] + [np.nan] * 3])


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_tensors_and_arrays_agree(geometry):
    values = np.array([VALUES, VALUES[::-1]], np.float32)
    as_tensor = to_disparity(torch.from_numpy(values), geometry)
    assert as_tensor.dtype == torch.float32
    np.testing.assert_array_equal(as_tensor.numpy(), to_disparity(values, geometry))


def test_argument_is_left_alone():
    values = np.array(VALUES, np.float64)
    to_disparity(values, "depth_metric")
    np.testing.assert_array_equal(values, VALUES)


def test_gradient_is_finite_beside_invalid_pixels():
    depth = torch.tensor(VALUES, requires_grad=True)
    disparity = to_disparity(depth, "depth_metric")
    disparity[torch.isfinite(disparity)].sum().backward()
    # d(1/z)/dz = -1/z²
    torch.testing.assert_close(depth.grad, torch.tensor([-0.25, -4.0, 0, 0, 0, 0, 0]))


def test_unknown_geometry_is_refused_by_name():
    with pytest.raises(ValueError, match="height_map"):
        to_disparity(np.ones(1), "height_map")
    with pytest.raises(ValueError, match="height_map"):
        disparity_geometry("height_map")
