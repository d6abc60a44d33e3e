import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import Sample, collate, normalise, prepare_sample, to_target, to_unit
from pipeline.truth_encodings import TRUTH_ENCODINGS, decode_truth

HOLES = np.array([[1.0, 2.0, np.nan], [4.0, np.nan, np.nan]], np.float32)
SKY = np.array([[True, False, True], [False, False, True]])


class TestToTarget:
    def test_depth_becomes_disparity_from_zero_to_one(self):
        # d = 1, 1/2, 1/4; the smallest is 0, the largest 1.
        expected = [[1, 1 / 3, np.nan], [0, np.nan, np.nan]]
        for geometry, unit in (("depth_metric", 1), ("depth_scale_invariant", 57)):
            target = to_target(HOLES * unit, geometry)
            assert target.dtype == np.float32
            np.testing.assert_allclose(target, expected, atol=1e-6)

    def test_disparity_is_only_brought_to_zero_to_one(self):
        for geometry in ("disparity_metric", "disparity_affine_invariant"):
            np.testing.assert_allclose(
                to_target(HOLES, geometry), [[0, 1 / 3, np.nan], [1, np.nan, np.nan]], atol=1e-6
            )

    def test_affine_invariant_disparity_may_be_negative(self):
        target = to_target(HOLES - 3, "disparity_affine_invariant")
        np.testing.assert_allclose(target, [[0, 1 / 3, np.nan], [1, np.nan, np.nan]], atol=1e-6)

    def test_sky_is_zero_only_where_there_is_no_value(self):
        # d = 1, 1/2, 1/4 and 0 in the sky: the farthest thing measured stands in front of it.
        for geometry in ("depth_metric", "depth_scale_invariant"):
            target = to_target(HOLES, geometry, SKY)
            np.testing.assert_allclose(target, [[1, 1 / 2, 0], [1 / 4, np.nan, 0]], atol=1e-6)

    def test_sky_of_a_known_disparity_is_infinitely_far(self):
        target = to_target(HOLES, "disparity_metric", SKY)
        np.testing.assert_allclose(target, [[1 / 4, 1 / 2, 0], [1, np.nan, 0]], atol=1e-6)

    def test_sky_lies_level_with_the_farthest_where_the_shift_is_unknown(self):
        for shift in (0, -3, 100):
            target = to_target(HOLES + shift, "disparity_affine_invariant", SKY)
            np.testing.assert_allclose(target, [[0, 1 / 3, 0], [1, np.nan, 0]], atol=1e-5)

    def test_sky_beside_a_wall_of_one_depth_is_behind_it(self):
        wall = np.array([[7.0, 7.0, np.nan]])
        sky = np.array([[False, True, True]])
        np.testing.assert_array_equal(to_target(wall, "depth_metric", sky), [[1, 1, 0]])

    def test_sky_that_is_all_measured_changes_nothing(self):
        values = np.array([[1.0, 2.0, 4.0]])
        sky = np.array([[False, False, True]])
        plain = to_target(values, "depth_metric")
        np.testing.assert_array_equal(to_target(values, "depth_metric", sky), plain)

    @pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, -np.inf])
    def test_impossible_depth_is_invalid(self, bad):
        values = np.array([[1.0, 2.0, bad]], np.float32)
        np.testing.assert_array_equal(to_target(values, "depth_metric"), [[1, 0, np.nan]])

    def test_maps_without_a_range_are_finite(self):
        np.testing.assert_array_equal(
            to_target(np.full((2, 2), 7.0), "depth_metric"), np.zeros((2, 2))
        )
        nothing = np.full((2, 3), np.nan, np.float32)
        assert np.isnan(to_target(nothing, "depth_metric")).all()
        np.testing.assert_array_equal(
            to_target(nothing, "depth_metric", SKY), np.where(SKY, 0, np.nan).astype(np.float32)
        )

    def test_a_far_range_keeps_its_precision_and_the_argument(self):
        disparity = (1e6 + np.arange(5, dtype=np.float64))[None]
        before = disparity.copy()
        target = to_target(disparity, "disparity_affine_invariant")
        np.testing.assert_allclose(target, [[0, 0.25, 0.5, 0.75, 1]], atol=1e-6)
        np.testing.assert_array_equal(disparity, before)

    def test_an_unknown_geometry_is_refused(self):
        with pytest.raises(ValueError, match="depth_in_feet"):
            to_target(HOLES, "depth_in_feet")


class TestMixedGeometry:
    """One room, measured by sources that keep it in their own ways, is one target."""

    FOCAL, BASELINE = 886.81 * 64 / 1024, 0.12

    def depth(self):
        rows, columns = np.mgrid[0:48, 0:64]
        depth = 2.0 + 0.05 * rows + np.sin(columns / 9)
        depth[30:, 10:20] = 1.25
        return depth

    def measured(self):
        """The values of each kind of source, and what they are said to be."""
        depth = self.depth()
        x, y = np.arange(64) - 31.5, np.arange(48)[:, None] - 23.5
        distance = depth * np.sqrt(self.FOCAL**2 + x**2 + y**2) / self.FOCAL
        buffer = io.BytesIO()
        np.save(buffer, distance)
        along_rays = decode_truth([buffer.getvalue()], TRUTH_ENCODINGS["npy-ray-hypersim"])
        return {
            "metric depth": (depth, "depth_metric"),
            "relative depth": (depth * 0.037, "depth_scale_invariant"),
            "metric disparity": (1 / depth, "disparity_metric"),
            "disparity in pixels": (
                self.FOCAL * self.BASELINE / depth - 3.5, "disparity_affine_invariant",
            ),
            "relative inverse depth": (412.0 / depth + 17, "disparity_affine_invariant"),
            "ray distance": (along_rays.values_HW, along_rays.geometry.value),
        }  # fmt: skip

    def test_every_geometry_gives_the_same_target(self):
        depth = self.depth()
        expected = (1 / depth - 1 / depth.max()) / (1 / depth.min() - 1 / depth.max())
        for name, (values, geometry) in self.measured().items():
            target = to_target(values.astype(np.float32), geometry)
            np.testing.assert_allclose(target, expected, atol=2e-6, err_msg=name)

    def test_distances_along_rays_are_no_depths(self):
        depth = self.depth()
        x, y = np.arange(64) - 31.5, np.arange(48)[:, None] - 23.5
        distance = depth * np.sqrt(self.FOCAL**2 + x**2 + y**2) / self.FOCAL
        wrong = to_target(distance, "depth_metric") - to_target(depth, "depth_metric")
        assert np.abs(wrong).max() > 0.05


def chart(height, width):
    """An image whose red and green say where a pixel lies, 0..255 from centre to centre."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.zeros((height, width, 3))
    image[..., 0] = (columns + 0.5) / width * 255
    image[..., 1] = (rows + 0.5) / height * 255
    return np.rint(image).astype(np.uint8)


def ramp(height, width, *, along):
    """A map that says the same of one axis, 0..1."""
    rows, columns = np.mgrid[0:height, 0:width]
    share = (columns + 0.5) / width if along == "columns" else (rows + 0.5) / height
    return share.astype(np.float32)


def prepare(image, target, *, size=28, seed=0, flip=0.5, interpolation="linear"):
    return prepare_sample(
        image,
        target,
        size=size,
        rng=np.random.default_rng(seed),
        flip_probability=flip,
        interpolation=interpolation,
    )


class TestPrepareSample:
    @settings(max_examples=150, deadline=None)
    @given(
        height=st.integers(20, 90),
        width=st.integers(20, 90),
        map_height=st.integers(20, 90),
        size=st.sampled_from([14, 28, 42, 70]),
        seed=st.integers(0, 10_000),
        interpolation=st.sampled_from(["linear", "nearest"]),
    )
    def test_image_and_map_show_the_same_place_within_a_pixel(
        self, height, width, map_height, size, seed, interpolation
    ):
        map_width = max(round(map_height * width / height), 1)
        image = chart(height, width)
        for channel, along, side, length, map_side in (
            (0, "columns", width, max(round(width * size / min(height, width)), size), map_width),
            (1, "rows", height, max(round(height * size / min(height, width)), size), map_height),
        ):
            target = ramp(map_height, map_width, along=along)
            sample = prepare(image, target, size=size, seed=seed, interpolation=interpolation)
            seen = sample.image_HWC[..., channel] / 255 * length
            labelled = sample.target_HW * length
            # One pixel of the crop; rounding to 8 bits; near the border, and in between the pixels
            # of a smaller original, resizing knows no better than half a pixel of that.
            slack = 1.0 + length / 255 + 0.5 * length / side + 0.5 * length / map_side
            assert np.abs(seen - labelled).max() <= slack

    def test_alignment_at_the_same_resolution_is_within_half_a_pixel(self):
        image = chart(60, 90)
        for seed in range(20):
            for interpolation in ("linear", "nearest"):
                sample = prepare(
                    image,
                    ramp(60, 90, along="columns"),
                    size=40,
                    seed=seed,
                    interpolation=interpolation,
                )
                gap = (sample.image_HWC[..., 0] / 255 - sample.target_HW)[:, 2:-2] * 60
                assert abs(gap.mean()) < 0.15, "a shift of one of the two"
                assert np.abs(gap).max() < 1.0

    @pytest.mark.parametrize("size", [(30, 30), (30, 100), (100, 30), (31, 30), (28, 28), (5, 9)])
    def test_samples_have_the_size_asked_for(self, size):
        sample = prepare(chart(*size), ramp(*size, along="rows"))
        assert sample.image_HWC.shape == (28, 28, 3)
        assert sample.image_HWC.dtype == np.uint8
        assert sample.target_HW.shape == (28, 28)
        assert sample.target_HW.dtype == np.float32
        assert sample.image_HWC.flags.c_contiguous
        assert sample.target_HW.flags.c_contiguous

    @pytest.mark.parametrize("longer", ["columns", "rows"])
    def test_the_shorter_side_is_shown_whole_and_the_crop_roams_the_longer(self, longer):
        size, shown = ((28, 84), 1) if longer == "columns" else ((84, 28), 0)
        image, target = chart(*size), ramp(*size, along=longer)
        starts = set()
        for seed in range(60):
            sample = prepare(image, target, seed=seed, flip=0.0)
            assert sample.image_HWC[0, 0, shown] < 10
            assert sample.image_HWC[-1, -1, shown] > 245
            starts.add(round(float(sample.target_HW[0, 0]) * 84 - 0.5))
        assert min(starts) <= 4
        assert max(starts) >= 52
        assert len(starts) > 25

    def test_a_sample_of_the_size_itself_is_untouched(self):
        image, target = chart(28, 28), ramp(28, 28, along="rows")
        for interpolation in ("linear", "nearest"):
            sample = prepare(image, target, flip=0.0, interpolation=interpolation)
            np.testing.assert_array_equal(sample.image_HWC, image)
            np.testing.assert_array_equal(sample.target_HW, target)

    def test_flips_as_often_as_asked_and_both_alike(self):
        image, target = chart(28, 28), ramp(28, 28, along="columns")
        flipped = 0
        for seed in range(200):
            sample = prepare(image, target, seed=seed)
            rising = sample.target_HW[0, -1] > sample.target_HW[0, 0]
            assert rising == (sample.image_HWC[0, -1, 0] > sample.image_HWC[0, 0, 0])
            flipped += not rising
        assert 70 < flipped < 130
        always = prepare(image, target, flip=1.0)
        np.testing.assert_array_equal(always.image_HWC, image[:, ::-1])
        np.testing.assert_array_equal(always.target_HW, target[:, ::-1])

    def test_the_same_generator_gives_the_same_sample(self):
        image, target = chart(40, 90), ramp(40, 90, along="columns")
        first, second, other = (prepare(image, target, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.image_HWC, second.image_HWC)
        np.testing.assert_array_equal(first.target_HW, second.target_HW)
        assert not np.array_equal(first.target_HW, other.target_HW)

    def test_nearest_neither_grows_holes_nor_invents_values(self):
        rng = np.random.default_rng(0)
        target = rng.choice([0.2, 0.9], (60, 60)).astype(np.float32)
        target[rng.random((60, 60)) < 0.5] = np.nan
        sample = prepare(chart(60, 60), target, interpolation="nearest")
        values = sample.target_HW[np.isfinite(sample.target_HW)]
        assert set(values.tolist()) == {np.float32(0.2), np.float32(0.9)}
        assert np.isnan(sample.target_HW).mean() == pytest.approx(0.5, abs=0.08)

    def test_arguments_are_left_alone(self):
        image, target = chart(40, 50), ramp(40, 50, along="rows")
        copies = image.copy(), target.copy()
        prepare(image, target, flip=1.0)
        np.testing.assert_array_equal(image, copies[0])
        np.testing.assert_array_equal(target, copies[1])

    def test_wrong_arrays_are_refused(self):
        target = ramp(30, 30, along="rows")
        for image in (
            chart(30, 30).astype(np.float32),
            chart(30, 30)[..., 0],
            chart(30, 30)[..., :2],
        ):
            with pytest.raises(ValueError, match="image must be uint8"):
                prepare(image, target)
        with pytest.raises(ValueError, match="target must be"):
            prepare(chart(30, 30), target[None])


def sample(value, size=4):
    target = np.full((size, size), value, np.float32)
    target[0, 0] = np.nan
    image = np.arange(size * size * 3, dtype=np.uint8).reshape(size, size, 3) + np.uint8(value)
    return Sample(image_HWC=image, target_HW=target)


class TestCollate:
    def test_samples_become_tensors_and_nan_becomes_invalid(self):
        batch = collate([sample(1), sample(2), sample(3)])
        assert len(batch) == 3
        assert batch.images_B3HW.shape == (3, 3, 4, 4)
        assert batch.images_B3HW.dtype == torch.uint8
        assert batch.images_B3HW[1, 2, 3, 1] == sample(2).image_HWC[3, 1, 2]
        assert batch.target_BHW.dtype == torch.float32
        assert batch.target_BHW[:, 1, 1].tolist() == [1, 2, 3]
        assert batch.target_BHW[:, 0, 0].tolist() == [0, 0, 0]
        assert batch.valid_BHW.sum().item() == 3 * 15
        assert not batch.valid_BHW[:, 0, 0].any()

    def test_a_batch_moves_as_a_whole(self):
        moved = collate([sample(1)]).to("meta")
        assert {
            moved.images_B3HW.device.type,
            moved.target_BHW.device.type,
            moved.valid_BHW.device.type,
        } == {"meta"}

    def test_nothing_and_mixed_sizes_are_refused(self):
        with pytest.raises(ValueError, match="at least one"):
            collate([])
        with pytest.raises(ValueError, match="same shape"):
            collate([sample(1), sample(1, size=5)])


class TestNormalise:
    def test_uses_the_statistics_of_imagenet(self):
        images = torch.tensor([124, 116, 104], dtype=torch.uint8)[None, :, None, None].expand(
            1, 3, 2, 2
        )
        found = normalise(images)[0, :, 0, 0]
        expected = [
            (124 / 255 - 0.485) / 0.229,
            (116 / 255 - 0.456) / 0.224,
            (104 / 255 - 0.406) / 0.225,
        ]
        torch.testing.assert_close(found, torch.tensor(expected))

    def test_bytes_and_floats_of_the_same_image_agree(self):
        images = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4) * 5
        unit = to_unit(images)
        assert unit.dtype == torch.float32
        assert unit.max() <= 1
        assert torch.equal(normalise(images), normalise(unit))
