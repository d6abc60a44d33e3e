"""What V2 adds to the losses: gradient matching over scales, and the trimmed mean.

The code computes in float32; its gradients are held against differences of float64 oracles.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.losses import affine_invariant_loss, cutmix_loss, gradient_matching, trimmed_mean

SIZE = (13, 17)
# The pull on a flat prediction, up to 1 / FLAT, is beyond float16.
DEGENERATE = [
    (kind, dtype)
    for kind in ("no_pixel", "one_pixel", "flat_target", "flat_prediction")
    for dtype in (torch.float32, torch.bfloat16, torch.float16)
    if (kind, dtype) != ("flat_prediction", torch.float16)
]
BOTH = {"trimmed_share": 0.25, "gradient_scales": 4}


pytestmark = pytest.mark.usefixtures("one_thread")


def random_maps(batch=3, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(batch, *size, generator=generator) * 3
    target = torch.rand(batch, *size, generator=generator)
    mask = torch.rand(batch, *size, generator=generator) < 0.7
    return prediction, target, mask


def residual_by_numpy(prediction, target, mask):
    """Eq. (2)-(3) of arXiv:2401.10891 for one sample; NaN where invalid."""
    mask = np.asarray(mask)

    def normalised(values):
        values = np.asarray(values, np.float64)
        centred = values - np.median(values[mask])
        return np.where(mask, centred / np.abs(centred[mask]).mean(), np.nan)

    return normalised(target) - normalised(prediction)


def gradient_by_numpy(residual, scales):
    """Pixel by pixel, of one map whose invalid pixels are NaN."""
    total = 0.0
    for scale in range(scales):
        pixels = residual[:: 2**scale, :: 2**scale]
        height, width = pixels.shape
        steps = []
        for row in range(height):
            for column in range(width):
                for other in ((row + 1, column), (row, column + 1)):
                    if other[0] < height and other[1] < width:
                        steps.append(abs(pixels[other] - pixels[row, column]))
        if np.isfinite(pixels).any():
            total += np.nansum(steps) / np.isfinite(pixels).sum()
    return total


def trimmed_by_numpy(values, share):
    values = np.sort(values)
    return values[: len(values) - int(share * len(values))].mean()


def losses_by_numpy(prediction, target, mask, *, trimmed_share, gradient_scales):
    residual = residual_by_numpy(prediction, target, mask)
    errors = np.abs(residual[np.asarray(mask)])
    return trimmed_by_numpy(errors, trimmed_share), gradient_by_numpy(residual, gradient_scales)


class TestTrimmedMean:
    def trimmed(self, values, share, mask=None):
        values = torch.tensor([[values]]) if not isinstance(values, torch.Tensor) else values
        mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
        return trimmed_mean(values, mask, share=share)

    def test_the_largest_values_are_left_out(self):
        values = [100.0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        assert self.trimmed(values, 0.1).item() == 5  # 1 to 9
        assert self.trimmed(values, 0.25).item() == 4.5  # 1 to 8: two of ten
        assert self.trimmed(values, 0.0).item() == 14.5
        assert self.trimmed(values, 0.99).item() == 1

    def test_only_valid_values_are_counted(self):
        values = torch.tensor([[[50.0, 1, 2, torch.nan, 3, torch.inf]]])
        mask = torch.tensor([[[True, True, True, False, True, False]]])
        assert self.trimmed(values, 0.25, mask).item() == 2  # 1, 2, 3: one of four left out
        assert self.trimmed(values, 0.25, torch.zeros_like(mask)).item() == 0

    def test_values_equal_to_the_largest_kept_are_kept(self):
        assert self.trimmed([2.0, 2, 2, 2], 0.5).item() == 2
        assert self.trimmed([1.0, 4, 4, 4], 0.5).item() == 3.25

    @pytest.mark.parametrize("share", [0.0, 0.125, 0.25, 0.5])
    def test_agrees_with_numpy_sample_by_sample(self, share):
        values, _, mask = random_maps()
        expected = [
            trimmed_by_numpy(each[chosen].double().numpy(), share)
            for each, chosen in zip(values, mask, strict=True)
        ]
        np.testing.assert_allclose(self.trimmed(values, share, mask).numpy(), expected, rtol=1e-6)

    def test_gradient_goes_to_what_is_kept_in_equal_parts(self):
        values = torch.tensor([[[9.0, 1, 3, 2]]], requires_grad=True)
        self.trimmed(values, 0.25).sum().backward()
        assert values.grad.flatten().tolist() == [0, *[pytest.approx(1 / 3)] * 3]

    def test_what_is_not_a_number_is_not_trimmed_away(self):
        assert torch.isnan(self.trimmed([torch.nan, 1, 2, 3], 0.25)).all()


class TestGradientMatching:
    def test_hand_computed(self):
        residual = torch.tensor([[[0.0, 1, 5], [3, 7, 5], [4, 0, 2]]])
        mask = torch.ones(1, 3, 3, dtype=torch.bool)
        fine = (1 + 4) + (4 + 2) + (4 + 2) + (3 + 6 + 0) + (1 + 7 + 3)  # along rows, then columns
        coarse = 5 + 2 + 4 + 3  # corners 0 5 / 4 2
        assert gradient_matching(residual, mask, scales=1).item() == pytest.approx(fine / 9)
        assert gradient_matching(residual, mask, scales=2).item() == pytest.approx(
            fine / 9 + coarse / 4
        )
        # At scale 3 one pixel is left, which has no neighbour.
        assert gradient_matching(residual, mask, scales=3).item() == pytest.approx(
            fine / 9 + coarse / 4
        )
        mask[0, 1, 1] = False
        less = fine - 4 - 2 - 6 - 7
        assert gradient_matching(residual, mask, scales=1).item() == pytest.approx(less / 8)

    def test_hand_computed_gradient(self):
        residual = torch.tensor([[[0.0, 1.0, 5.0]]], requires_grad=True)
        gradient_matching(
            residual, torch.ones(1, 1, 3, dtype=torch.bool), scales=1
        ).sum().backward()
        assert residual.grad.flatten().tolist() == pytest.approx([-1 / 3, 0, 1 / 3])

    @pytest.mark.parametrize("size", [(13, 17), (1, 9), (9, 1), (1, 1), (16, 16)])
    def test_agrees_with_numpy_pixel_by_pixel(self, size):
        residual, _, mask = random_maps(size=size)
        mask[:, 0, 0] = True
        expected = [
            gradient_by_numpy(np.where(chosen, each.double(), np.nan), 4)
            for each, chosen in zip(residual, mask, strict=True)
        ]
        found = gradient_matching(residual, mask, scales=4)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)

    def test_sees_edges_and_no_constant(self):
        mask = torch.ones(1, 8, 8, dtype=torch.bool)
        flat = torch.full((1, 8, 8), 3.0)
        assert gradient_matching(flat, mask, scales=4).item() == 0
        edge = flat.clone()
        edge[:, :, 4:] += 1
        # One step in each row of every scale with two columns: 8 of 64, 4 of 16, 2 of 4.
        assert gradient_matching(edge, mask, scales=4).item() == pytest.approx(
            1 / 8 + 1 / 4 + 1 / 2
        )


class TestBothLosses:
    def test_agree_with_numpy(self):
        maps = random_maps()
        expected = [losses_by_numpy(*each, **BOTH) for each in zip(*maps, strict=True)]
        loss = affine_invariant_loss(*maps, **BOTH)
        np.testing.assert_allclose(loss.value_B.numpy(), [one for one, _ in expected], rtol=1e-5)
        np.testing.assert_allclose(loss.gradient_B.numpy(), [two for _, two in expected], rtol=1e-5)
        assert loss.gradient_mean().item() == pytest.approx(np.mean([two for _, two in expected]))

    def test_without_being_asked_for_there_is_no_gradient_matching(self):
        loss = affine_invariant_loss(*random_maps())
        assert loss.gradient_B is None
        assert loss.gradient_mean() is None

    @settings(max_examples=25, deadline=None)
    @given(
        scale=st.floats(0.01, 100), shift=st.floats(-50, 50), seed=st.integers(0, 50),
        of_target=st.booleans(),
    )  # fmt: skip
    def test_are_unchanged_by_scale_and_shift_of_either(self, scale, shift, seed, of_target):
        prediction, target, mask = random_maps(batch=1, seed=seed)
        plain = affine_invariant_loss(prediction, target, mask, **BOTH)
        if of_target:
            target = target * scale + shift
        else:
            prediction = prediction * scale + shift
        moved = affine_invariant_loss(prediction, target, mask, **BOTH)
        # A shift of many times the spread costs that many times the rounding of float32.
        bound = 2e-4 * max(1.0, abs(shift) / scale / 10)
        torch.testing.assert_close(moved.value_B, plain.value_B, rtol=bound, atol=bound)
        torch.testing.assert_close(moved.gradient_B, plain.gradient_B, rtol=bound, atol=bound)

    def test_a_batch_of_two_is_the_mean_of_its_singles(self):
        maps = random_maps(batch=2)
        singles = [affine_invariant_loss(*(each[[i]] for each in maps), **BOTH) for i in (0, 1)]
        both = affine_invariant_loss(*maps, **BOTH)
        torch.testing.assert_close(both.mean(), (singles[0].mean() + singles[1].mean()) / 2)
        torch.testing.assert_close(both.gradient_mean(), torch.cat(
            [single.gradient_B for single in singles]).mean())  # fmt: skip

    def test_a_sample_without_enough_pixels_does_not_count(self):
        prediction, target, mask = random_maps(batch=2)
        mask[1] = False
        mask[1, 0, :5] = True
        loss = affine_invariant_loss(prediction, target, mask, minimum_valid=10, **BOTH)
        assert loss.gradient_B[1].item() == 0
        torch.testing.assert_close(loss.gradient_mean(), loss.gradient_B[0])

    def test_gradients_are_those_of_finite_differences(self):
        prediction, target, mask = random_maps(batch=1, seed=3)
        direction = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1))
        step = 1e-6

        def along(distance):
            moved = prediction[0].double() + distance * direction[0].double()
            return np.array(losses_by_numpy(moved, target[0], mask[0], **BOTH))

        slopes = (along(step) - along(-step)) / (2 * step)
        for index, slope in enumerate(slopes):
            moving = prediction.clone().requires_grad_()
            loss = affine_invariant_loss(moving, target, mask, **BOTH)
            (loss.value_B, loss.gradient_B)[index].sum().backward()
            assert (moving.grad * direction).sum().item() == pytest.approx(slope, rel=2e-3)

    @pytest.mark.parametrize(("kind", "dtype"), DEGENERATE)
    @pytest.mark.parametrize("mixed", [False, True])
    def test_degenerate_maps_give_finite_losses_and_gradients(self, kind, dtype, mixed):
        prediction, target, mask = random_maps()
        if kind in ("no_pixel", "one_pixel"):
            mask = torch.zeros_like(mask)
            mask[:, 2, 3] = kind == "one_pixel"
        if kind == "flat_prediction":
            prediction = torch.full_like(prediction, 3.7)
        if kind == "flat_target":
            target = torch.zeros_like(target)
        prediction = prediction.masked_fill(~mask, torch.nan).to(dtype).requires_grad_()
        target = target.masked_fill(~mask, torch.inf).to(dtype)
        if mixed:
            mix = torch.zeros_like(mask)
            mix[:, :, :8] = True
            loss = cutmix_loss(prediction, target, target, mix, mask, mask, minimum_valid=1, **BOTH)
        else:
            loss = affine_invariant_loss(prediction, target, mask, minimum_valid=1, **BOTH)
        (loss.mean() + loss.gradient_mean()).backward()
        assert loss.value_B.dtype == loss.gradient_B.dtype == torch.float32
        assert torch.isfinite(loss.value_B).all()
        assert torch.isfinite(loss.gradient_B).all()
        assert torch.isfinite(prediction.grad).all()
        assert (prediction.grad[~mask] == 0).all()

    def test_a_prediction_that_is_not_finite_shows(self):
        prediction, target, mask = random_maps(batch=1)
        mask[:] = True
        for bad in (torch.nan, torch.inf):
            prediction[0, 0, 0] = bad
            loss = affine_invariant_loss(prediction, target, mask, **BOTH)
            assert not torch.isfinite(loss.mean())
            assert not torch.isfinite(loss.gradient_mean())


class TestUnderCutMix:
    def test_each_region_is_trimmed_and_matched_by_itself_and_weighed_by_its_area(self):
        prediction, target_a, valid_a = random_maps(seed=1)
        _, target_b, valid_b = random_maps(seed=2)
        mix = torch.zeros_like(valid_a)
        mix[:, 2:9, 3:12] = True
        loss = cutmix_loss(prediction, target_a, target_b, mix, valid_a, valid_b, **BOTH)
        for index in range(len(prediction)):
            regions = [
                (target_a, mix[index] & valid_a[index]),
                (target_b, ~mix[index] & valid_b[index]),
            ]
            parts = np.array(
                [losses_by_numpy(prediction[index], t[index], m, **BOTH) for t, m in regions]
            )
            areas = np.array([region.sum().item() for _, region in regions])
            value, gradient = areas @ parts / areas.sum()
            assert loss.value_B[index].item() == pytest.approx(value, rel=1e-5)
            assert loss.gradient_B[index].item() == pytest.approx(gradient, rel=1e-5)

    def test_the_border_of_a_box_is_no_edge_to_match(self):
        _, target_a, _ = random_maps(seed=1)
        _, target_b, _ = random_maps(seed=2)
        mix = torch.zeros(3, *SIZE, dtype=torch.bool)
        mix[:, 2:9, 3:12] = True
        valid = torch.ones_like(mix)
        pasted = torch.where(mix, target_a * 9 + 400, target_b)
        loss = cutmix_loss(pasted, target_a, target_b, mix, valid, valid, **BOTH)
        assert loss.gradient_mean().item() < 1e-3


class TestFlatRegions:
    """A box of CutMix that lies in the sky of both maps, which rounding alone makes uneven."""

    BOX = (slice(4, 20), slice(8, 24))

    def maps(self, *, unevenness):
        rows, _ = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        target = ((rows - 32) / 31).clamp(min=0)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(64, 64, generator=generator) * (rows < 32)
        return (1 + target + unevenness * noise)[None], target[None]

    def loss(self, prediction, target, **options):
        mix = torch.zeros_like(target, dtype=torch.bool)
        mix[(slice(None), *self.BOX)] = True
        every = torch.ones_like(mix)
        return cutmix_loss(prediction, target, target, mix, every, every, **BOTH, **options)

    def pull(self, *, unevenness, **options):
        prediction, target = self.maps(unevenness=unevenness)
        prediction.requires_grad_()
        loss = self.loss(prediction, target, **options)
        (loss.mean() + 2 * loss.gradient_mean()).backward()
        return prediction.grad.norm().item()

    def test_the_pull_of_the_sky_no_longer_grows_as_predictions_flatten(self):
        for unevenness in (1e-2, 1e-3, 1e-4):
            assert self.pull(unevenness=unevenness, minimum_spread=0.001) < 5
        assert self.pull(unevenness=1e-4) > 100

    def test_a_flat_region_leaves_all_the_weight_to_the_other(self):
        prediction, target = self.maps(unevenness=0.01)
        outside = torch.ones_like(target, dtype=torch.bool)
        outside[(slice(None), *self.BOX)] = False
        found = self.loss(prediction, target, minimum_spread=0.001)
        expected = affine_invariant_loss(prediction, target, outside, **BOTH)
        torch.testing.assert_close(found.value_B, expected.value_B)
        torch.testing.assert_close(found.gradient_B, expected.gradient_B)

    def test_what_is_too_flat_is_its_mean_absolute_deviation(self):
        target = torch.tensor([[[0.0, 0.1, 0.2, 0.3]]])  # median 0.15, deviation 0.1
        every = torch.ones_like(target, dtype=torch.bool)
        for limit, counted in ((0.099, True), (0.101, False)):
            loss = affine_invariant_loss(
                target, target, every, minimum_valid=1, minimum_spread=limit
            )
            assert loss.counted_B.tolist() == [counted]

    def test_a_target_that_is_no_number_counts_and_shows(self):
        broken = torch.full((1, 4, 4), torch.nan)
        every = torch.ones_like(broken, dtype=torch.bool)
        loss = affine_invariant_loss(torch.rand(1, 4, 4), broken, every, minimum_spread=0.1)
        assert loss.counted_B.all()
        assert loss.mean().isnan()
