import numpy as np
import pytest
import torch

from model.losses import (
    SampleLoss,
    affine_invariant_loss,
    affine_normalise,
    average,
    cutmix_loss,
    feature_alignment_loss,
    masked_median,
)

SIZE = (7, 9)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_maps(batch=4, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(batch, *size, generator=generator) * 3
    target = torch.rand(batch, *size, generator=generator)
    mask = torch.rand(batch, *size, generator=generator) < 0.7
    return prediction, target, mask


def normalised_by_numpy(values, mask):
    """Eq. (2)-(3) of arXiv:2401.10891 for one sample, valid pixels only."""
    chosen = values.numpy().astype(np.float64)[mask.numpy()]
    centred = chosen - np.median(chosen)
    return centred / np.abs(centred).mean()


def loss_by_numpy(prediction, target, mask):
    return np.abs(normalised_by_numpy(target, mask) - normalised_by_numpy(prediction, mask)).mean()


class TestMaskedMedian:
    @pytest.mark.parametrize("valid", [1, 2, 3, 10, 62, 63])
    def test_is_numpys_for_odd_and_even_counts(self, valid):
        rng = np.random.default_rng(valid)
        values = rng.normal(size=(5, *SIZE)).astype(np.float32)
        mask = np.stack([rng.permutation(63).reshape(SIZE) < valid for _ in range(5)])
        expected = [np.median(value[chosen]) for value, chosen in zip(values, mask, strict=True)]
        found = masked_median(torch.from_numpy(values), torch.from_numpy(mask))
        np.testing.assert_array_equal(found.numpy(), np.array(expected, np.float32))

    def test_ties_count_as_often_as_they_occur(self):
        values = torch.tensor([[[1.0, 1.0, 1.0, 5.0, 9.0]]])
        assert masked_median(values, torch.ones_like(values, dtype=torch.bool)).item() == 1.0

    def test_the_gradient_goes_to_the_first_of_equal_middle_values(self):
        values = torch.tensor([[[9.0, 2.0, 2.0, 5.0, 0.0, 5.0]]], requires_grad=True)
        mask = torch.tensor([[[True, True, True, True, True, True]]])
        masked_median(values, mask).sum().backward()  # (2 + 5) / 2
        assert values.grad.flatten().tolist() == [0, 0.5, 0, 0.5, 0, 0]

    def test_without_valid_values_is_zero(self):
        assert (
            masked_median(torch.ones(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool)).item() == 0
        )


class TestAffineNormalise:
    def test_has_median_zero_and_mean_deviation_one(self):
        values, _, mask = random_maps()
        result = affine_normalise(values, mask)
        for sample, chosen in zip(result, mask, strict=True):
            assert abs(np.median(sample[chosen].numpy())) < 1e-6
            assert sample[chosen].abs().mean().item() == pytest.approx(1, abs=1e-6)
        assert (result[~mask] == 0).all()

    def test_agrees_with_numpy(self):
        values, _, mask = random_maps()
        for sample, chosen, result in zip(
            values, mask, affine_normalise(values, mask), strict=True
        ):
            np.testing.assert_allclose(
                result[chosen].numpy(), normalised_by_numpy(sample, chosen), atol=1e-5
            )

    def test_a_constant_map_is_zero(self):
        mask = torch.ones(1, *SIZE, dtype=torch.bool)
        assert (affine_normalise(torch.full((1, *SIZE), 7.3), mask) == 0).all()


class TestAffineInvariantLoss:
    def test_agrees_with_numpy(self):
        prediction, target, mask = random_maps()
        expected = [loss_by_numpy(*each) for each in zip(prediction, target, mask, strict=True)]
        loss = affine_invariant_loss(prediction, target, mask)
        np.testing.assert_allclose(loss.value_B.numpy(), expected, rtol=1e-5)
        assert loss.mean().item() == pytest.approx(np.mean(expected), rel=1e-5)

    @pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (0.01, -4.0), (250.0, 1000.0)])
    def test_is_unchanged_by_scale_and_shift_of_either(self, scale, shift):
        prediction, target, mask = random_maps()
        plain = affine_invariant_loss(prediction, target, mask).value_B
        for moved in (
            affine_invariant_loss(prediction * scale + shift, target, mask),
            affine_invariant_loss(prediction, target * scale + shift, mask),
        ):
            torch.testing.assert_close(moved.value_B, plain, rtol=2e-3, atol=1e-5)

    def test_is_zero_for_an_affine_copy_and_not_for_a_negative_one(self):
        _, target, mask = random_maps()
        assert affine_invariant_loss(target * 5 + 2, target, mask).mean().item() < 1e-5
        assert affine_invariant_loss(-target, target, mask).mean().item() == pytest.approx(
            2, abs=1e-5
        )

    def test_invalid_pixels_may_hold_anything(self):
        prediction, target, mask = random_maps()
        plain = affine_invariant_loss(prediction, target, mask).value_B
        prediction = prediction.masked_fill(~mask, torch.inf).requires_grad_()
        loss = affine_invariant_loss(prediction, target.masked_fill(~mask, torch.nan), mask)
        loss.mean().backward()
        torch.testing.assert_close(loss.value_B, plain)
        assert torch.isfinite(prediction.grad).all()
        assert (prediction.grad[~mask] == 0).all()
        assert (prediction.grad[mask] != 0).any()

    def test_a_batch_of_two_is_the_mean_of_its_singles(self):
        prediction, target, mask = random_maps(batch=2)
        singles = [
            affine_invariant_loss(prediction[[i]], target[[i]], mask[[i]]).mean() for i in (0, 1)
        ]
        both = affine_invariant_loss(prediction, target, mask).mean()
        torch.testing.assert_close(both, (singles[0] + singles[1]) / 2)

    def test_a_sample_without_enough_pixels_does_not_count(self):
        prediction, target, mask = random_maps(batch=2)
        alone = affine_invariant_loss(prediction[[0]], target[[0]], mask[[0]]).mean()
        mask[1] = False
        mask[1, 0, :9] = True
        loss = affine_invariant_loss(prediction, target, mask, minimum_valid=10)
        assert loss.counted_B.tolist() == [True, False]
        torch.testing.assert_close(loss.mean(), alone)
        assert affine_invariant_loss(prediction, target, mask, minimum_valid=9).counted_B.all()

    @pytest.mark.parametrize(
        "kind", ["no_pixel", "one_pixel", "flat_prediction", "flat_target", "flat"]
    )
    @pytest.mark.parametrize("minimum_valid", [0, 10])
    def test_degenerate_maps_give_finite_losses_and_gradients(self, kind, minimum_valid):
        prediction, target, mask = random_maps()
        if kind in ("no_pixel", "one_pixel"):
            mask = torch.zeros_like(mask)
            mask[:, 2, 3] = kind == "one_pixel"
        if kind in ("flat_prediction", "flat"):
            prediction = torch.full_like(prediction, 3.7)
        if kind in ("flat_target", "flat"):
            target = torch.zeros_like(target)
        prediction.requires_grad_()
        loss = affine_invariant_loss(prediction, target, mask, minimum_valid=minimum_valid).mean()
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(prediction.grad).all()
        expected = {"flat_prediction": 1.0, "flat_target": 1.0}.get(kind, 0.0)
        assert loss.item() == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_input_is_computed_in_float32(self, dtype):
        prediction, target, mask = random_maps(size=(64, 64))
        half = (prediction * 900).to(dtype)
        loss = affine_invariant_loss(half, target.to(dtype), mask)
        reference = affine_invariant_loss(half.double(), target.to(dtype).double(), mask)
        assert loss.value_B.dtype == torch.float32
        torch.testing.assert_close(loss.value_B, reference.value_B)

    def test_a_prediction_that_is_not_finite_shows_in_the_loss(self):
        prediction, target, mask = random_maps(batch=1)
        mask[:] = True
        for bad in (torch.nan, torch.inf):
            prediction[0, 0, 0] = bad
            assert not torch.isfinite(affine_invariant_loss(prediction, target, mask).mean())

    def test_gradient_is_that_of_finite_differences(self):
        # Step by step in float64, with the loss itself in float32: bounds as wide as that is.
        prediction, target, mask = random_maps(batch=1, seed=3)
        prediction.requires_grad_()
        affine_invariant_loss(prediction, target, mask).mean().backward()
        direction = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1))
        step = 1e-6

        def along(distance):
            moved = prediction.detach().double() + distance * direction.double()
            return loss_by_numpy(moved[0], target[0], mask[0])

        slope = (along(step) - along(-step)) / (2 * step)
        assert (prediction.grad * direction).sum().item() == pytest.approx(slope, rel=1e-3)


class TestCutmixLoss:
    def box(self, batch=4):
        mix = torch.zeros(batch, *SIZE, dtype=torch.bool)
        mix[:, 1:6, 2:6] = True
        return mix

    def test_is_the_area_weighted_mean_of_regions_normalised_apart(self):
        prediction, target_a, _ = random_maps(seed=1)
        _, target_b, _ = random_maps(seed=2)
        mix, valid = self.box(), torch.ones(4, *SIZE, dtype=torch.bool)
        share = 20 / 63  # 5 × 4 of 7 × 9, eq. (8)
        expected = [
            share * loss_by_numpy(p, a, m) + (1 - share) * loss_by_numpy(p, b, ~m)
            for p, a, b, m in zip(prediction, target_a, target_b, mix, strict=True)
        ]
        loss = cutmix_loss(prediction, target_a, target_b, mix, valid, valid)
        np.testing.assert_allclose(loss.value_B.numpy(), expected, rtol=1e-5)

    def test_each_region_has_its_own_scale_and_shift(self):
        _, target_a, _ = random_maps(seed=1)
        _, target_b, _ = random_maps(seed=2)
        mix, valid = self.box(), torch.ones(4, *SIZE, dtype=torch.bool)
        pasted = torch.where(mix, target_a * 9 + 4, target_b * 0.5 - 1)
        assert cutmix_loss(pasted, target_a, target_b, mix, valid, valid).mean().item() < 1e-5
        whole = affine_invariant_loss(pasted, torch.where(mix, target_a, target_b), valid)
        assert whole.mean().item() > 0.1

    def test_without_a_box_it_is_the_plain_loss(self):
        prediction, target, valid = random_maps()
        other = torch.full_like(target, torch.nan)
        none = torch.zeros_like(valid)
        loss = cutmix_loss(prediction, other, target, none, none, valid)
        torch.testing.assert_close(
            loss.value_B, affine_invariant_loss(prediction, target, valid).value_B
        )

    def test_a_region_without_enough_pixels_leaves_the_weight_to_the_other(self):
        prediction, target, valid = random_maps()
        mix = self.box()
        nothing = torch.zeros_like(valid)
        loss = cutmix_loss(prediction, target, target, mix, nothing, valid)
        alone = affine_invariant_loss(prediction, target, valid & ~mix)
        torch.testing.assert_close(loss.value_B, alone.value_B)

    def test_nothing_valid_at_all_is_zero_with_a_finite_gradient(self):
        prediction, target, _ = random_maps()
        nothing = torch.zeros(4, *SIZE, dtype=torch.bool)
        prediction.requires_grad_()
        loss = cutmix_loss(prediction, target, target, self.box(), nothing, nothing)
        loss.mean().backward()
        assert loss.mean().item() == 0
        assert not loss.counted_B.any()
        assert torch.isfinite(prediction.grad).all()


class TestFeatureAlignmentLoss:
    def features(self, cosines):
        """Tokens at the cosines given to the frozen (1, 0), of length 2."""
        cosines = torch.tensor(cosines)
        features = 2 * torch.stack([cosines, (1 - cosines**2).sqrt()], dim=-1)
        frozen = torch.tensor([1.0, 0.0]).expand_as(features)
        return features, frozen

    def test_tokens_above_the_margin_are_left_out_one_by_one(self):
        # The mean cosine of both samples is above the margin: only a rule per token keeps any.
        features, frozen = self.features([[0.99, 0.95, 0.8, 0.7], [1.0, 1.0, 1.0, 0.6]])
        loss = feature_alignment_loss(features, frozen, margin=0.85)
        torch.testing.assert_close(loss.value_B, torch.tensor([0.25, 0.4]))
        assert loss.kept_share_B.tolist() == [0.5, 0.25]

    def test_a_margin_of_one_keeps_all(self):
        features, frozen = self.features([[0.9, 0.5, 0.1]])
        loss = feature_alignment_loss(features, frozen, margin=1.0)
        torch.testing.assert_close(loss.value_B, torch.tensor([0.5]))
        assert loss.kept_share_B.tolist() == [1.0]

    def test_only_kept_tokens_and_only_the_student_get_gradients(self):
        features, frozen = self.features([[0.9, 0.5]])
        features.requires_grad_()
        frozen = frozen.clone().requires_grad_()
        feature_alignment_loss(features, frozen).value_B.mean().backward()
        assert features.grad[0, 0].tolist() == [0, 0]
        assert features.grad[0, 1].abs().sum() > 0
        assert frozen.grad is None

    def test_all_tokens_aligned_is_zero_with_a_finite_gradient(self):
        features, frozen = self.features([[0.99, 0.95]])
        features.requires_grad_()
        loss = feature_alignment_loss(features, frozen)
        loss.value_B.mean().backward()
        assert loss.value_B.item() == 0
        assert loss.kept_share_B.item() == 0
        assert (features.grad == 0).all()

    def test_gradient_is_that_of_the_closed_form(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, 5, 8, generator=generator, requires_grad=True)
        frozen = torch.randn(2, 5, 8, generator=generator)
        feature_alignment_loss(features, frozen, margin=1.0).value_B.sum().backward()
        f, g = features.detach().double().numpy(), frozen.double().numpy()
        f_length, g_length = (np.linalg.norm(x, axis=2, keepdims=True) for x in (f, g))
        cosine = (f * g).sum(axis=2, keepdims=True) / (f_length * g_length)
        expected = (cosine * f / f_length**2 - g / (f_length * g_length)) / 5
        np.testing.assert_allclose(features.grad.numpy(), expected, atol=1e-6)

    def test_length_of_a_feature_does_not_matter_and_zero_is_finite(self):
        features, frozen = self.features([[0.3, 0.5]])
        plain = feature_alignment_loss(features, frozen).value_B
        torch.testing.assert_close(feature_alignment_loss(features * 40, frozen * 3).value_B, plain)
        zero = torch.zeros_like(features).requires_grad_()
        feature_alignment_loss(zero, frozen).value_B.mean().backward()
        assert torch.isfinite(zero.grad).all()

    def test_a_feature_that_is_not_a_number_shows_in_the_loss(self):
        features, frozen = self.features([[0.9, 0.5]])
        features[0, 0, 0] = torch.nan
        assert torch.isnan(feature_alignment_loss(features, frozen).value_B).all()


def test_the_total_is_the_plain_average_of_what_is_there():
    one, two, six = (torch.tensor(value) for value in (1.0, 2.0, 6.0))
    assert average(one, two, six).item() == 3
    assert average(one, None, None).item() == 1
    assert average(two, None, six).item() == 4
    with pytest.raises(ValueError, match="labelled"):
        average(None, None)


def test_a_weighted_total_counts_each_loss_as_often_as_its_weight():
    one, six = torch.tensor(1.0), torch.tensor(6.0)
    assert average(one, None, six, weights=(1, 1, 0.25)).item() == pytest.approx(2.0)
    assert average(one, six, weights=(1, 0)).item() == 1
    third = torch.tensor(0.1)
    assert torch.equal(average(one, third, six, weights=(1, 1, 1)), average(one, third, six))
    with pytest.raises(ValueError, match="labelled"):
        average(six, weights=(0,))


def test_the_mean_of_no_sample_is_zero():
    assert SampleLoss(torch.zeros(2), torch.zeros(2, dtype=torch.bool)).mean().item() == 0
