import colorsys

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from model.perturbations import cutmix, cutmix_boxes, generator_for, perturb_colours
from model.recipes import V1, override

ALL = override(V1, jitter_probability=1.0, grayscale_probability=0.0, blur_probability=0.0)
NOTHING = override(
    V1,
    jitter_probability=0.0,
    grayscale_probability=0.0,
    blur_probability=0.0,
    cutmix_probability=0.0,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(step=0, *, seed=0, rank=0):
    return generator_for(seed=seed, step=step, rank=rank)


def photos(batch=6, size=(20, 24)):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5))


class TestGenerator:
    def test_the_same_numbers_give_the_same_draws(self):
        first, second = (torch.rand(4, generator=draw(7, seed=3, rank=1)) for _ in range(2))
        assert torch.equal(first, second)

    def test_each_number_matters_and_none_stands_for_another(self):
        keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2, 0, 0), (0, 2, 0)]
        draws = {
            torch.rand((), generator=draw(step, seed=seed, rank=rank)).item()
            for seed, step, rank in keys
        }
        assert len(draws) == len(keys)

    def test_the_global_generator_is_neither_read_nor_moved(self):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = cutmix(
            perturb_colours(photos(), recipe=V1, generator=(g := draw())), recipe=V1, generator=g
        )
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(99)
        second = cutmix(
            perturb_colours(photos(), recipe=V1, generator=(g := draw())), recipe=V1, generator=g
        )
        assert torch.equal(first.images_B3HW, second.images_B3HW)


class TestColours:
    def test_stay_in_range_keep_shape_and_leave_the_argument(self):
        images = photos(batch=32)
        images[:4], images[4:8] = 0.0, 1.0
        before = images.clone()
        for step in range(20):
            changed = perturb_colours(images, recipe=V1, generator=draw(step))
            assert changed.shape == images.shape
            assert changed.dtype == torch.float32
            assert changed.min() >= 0
            assert changed.max() <= 1
        assert torch.equal(images, before)

    def test_steps_differ_and_images_of_a_batch_differ(self):
        images = photos(batch=1).expand(4, -1, -1, -1)
        first, second = (perturb_colours(images, recipe=ALL, generator=draw(i)) for i in (0, 1))
        assert not torch.allclose(first, second, atol=1e-3)
        assert all(not torch.allclose(first[0], first[i], atol=1e-3) for i in (1, 2, 3))

    def test_with_every_chance_at_zero_nothing_changes(self):
        assert torch.equal(perturb_colours(photos(), recipe=NOTHING, generator=draw()), photos())

    def test_chances_are_met(self):
        images = photos(batch=400, size=(8, 8))
        for name, expected in (("jitter", 0.8), ("grayscale", 0.2), ("blur", 0.5)):
            recipe = override(NOTHING, **{f"{name}_probability": expected})
            changed = perturb_colours(images, recipe=recipe, generator=draw())
            share = ((changed - images).abs().amax(dim=(1, 2, 3)) > 1e-6).float().mean().item()
            assert share == pytest.approx(expected, abs=0.09)  # 4.5 standard deviations at most

    def test_grayscale_takes_all_colour_away(self):
        recipe = override(NOTHING, grayscale_probability=1.0)
        gray = perturb_colours(photos(), recipe=recipe, generator=draw())
        assert torch.equal(gray[:, 0], gray[:, 1])
        assert torch.equal(gray[:, 0], gray[:, 2])
        luma = (photos() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1)
        torch.testing.assert_close(gray[:, 0], luma)

    def test_brightness_scales_within_its_range(self):
        still = override(
            ALL, jitter_contrast=0.0, jitter_saturation=0.0, jitter_hue=0.0, jitter_brightness=0.5
        )
        images = photos(batch=100) * 0.5 + 0.05
        ratio = perturb_colours(images, recipe=still, generator=draw()) / images
        factor = ratio.flatten(1).median(dim=1).values
        torch.testing.assert_close(
            ratio, factor[:, None, None, None].expand_as(ratio), rtol=1e-3, atol=1e-3
        )
        assert 0.5 <= factor.min() < 0.6
        assert 1.4 < factor.max() <= 1.5

    def test_contrast_and_saturation_blend_towards_grey(self):
        images = photos(batch=60) * 0.3 + 0.35  # far enough from 0 and 1 that nothing is clipped
        luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(
            dim=1, keepdim=True
        )
        anchors = {"contrast": luma.mean(dim=(2, 3), keepdim=True), "saturation": luma}
        for name, anchor in anchors.items():
            off = {
                f"jitter_{other}": 0.0 for other in ("brightness", "contrast", "saturation", "hue")
            }
            recipe = override(ALL, **(off | {f"jitter_{name}": 0.5}))
            changed = perturb_colours(images, recipe=recipe, generator=draw())
            factor = ((changed - anchor) * (images - anchor)).sum(dim=(1, 2, 3)) / (
                (images - anchor) ** 2
            ).sum(dim=(1, 2, 3))
            rebuilt = anchor + factor[:, None, None, None] * (images - anchor)
            torch.testing.assert_close(changed, rebuilt, rtol=1e-3, atol=1e-3)
            assert 0.5 <= factor.min() < 0.65
            assert 1.35 < factor.max() <= 1.5

    def test_hue_turns_within_its_range(self):
        off = {f"jitter_{name}": 0.0 for name in ("brightness", "contrast", "saturation")}
        red = torch.zeros(100, 3, 8, 8)
        red[:, 0] = 1.0
        turned = perturb_colours(red, recipe=override(ALL, **off), generator=draw())
        hues = [colorsys.rgb_to_hsv(*pixel.tolist())[0] for pixel in turned[:, :, 0, 0]]
        turns = np.array([hue - 1 if hue > 0.5 else hue for hue in hues])
        assert -0.25 <= turns.min() < -0.2
        assert 0.2 < turns.max() <= 0.25

    def test_blur_is_a_gaussian_within_its_range(self):
        recipe = override(NOTHING, blur_probability=1.0)
        images = photos(batch=12, size=(40, 44))
        blurred = perturb_colours(images, recipe=recipe, generator=draw())
        sigmas = np.linspace(0.1, 2.0, 191)
        found = []
        for image, result in zip(images.numpy(), blurred.numpy(), strict=True):
            gaps = [
                np.abs(
                    gaussian_filter1d(
                        gaussian_filter1d(image, s, axis=1, mode="mirror", truncate=6),
                        s, axis=2, mode="mirror", truncate=6,
                    ) - result
                ).max()
                for s in sigmas
            ]  # fmt: skip
            assert min(gaps) < 0.02
            found.append(sigmas[int(np.argmin(gaps))])
        assert max(found) - min(found) > 0.8

    @pytest.mark.parametrize("size", [(5, 5), (1, 1), (14, 3)])
    def test_an_image_smaller_than_the_blur_is_no_problem(self, size):
        images = photos(size=size)
        changed = perturb_colours(images, recipe=V1, generator=draw())
        assert changed.shape == images.shape
        assert torch.isfinite(changed).all()

    def test_nothing_moves(self):
        images = torch.full((40, 3, 33, 41), 0.3)
        images[:, :, 10:13, 25:28] = 0.7
        recipe = override(V1, jitter_hue=0.0)
        changed = perturb_colours(images, recipe=recipe, generator=draw())
        contrast = (changed - changed[:, :, :1, :1]).abs().sum(dim=1)
        weight = contrast / contrast.sum(dim=(1, 2), keepdim=True)
        rows = (weight.sum(dim=2) * torch.arange(33)).sum(dim=1)
        columns = (weight.sum(dim=1) * torch.arange(41)).sum(dim=1)
        torch.testing.assert_close(rows, torch.full((40,), 11.0), atol=1e-2, rtol=0)
        torch.testing.assert_close(columns, torch.full((40,), 26.0), atol=1e-2, rtol=0)


def box_of(mask):
    """Rows and columns of a mask that is one full rectangle."""
    rows, columns = (mask.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert mask[top:bottom, left:right].all()
    assert mask.sum() == (bottom - top) * (right - left)
    return int(top), int(bottom), int(left), int(right)


class TestCutMix:
    def test_boxes_are_rectangles_of_the_areas_and_shapes_asked_for(self):
        recipe = override(V1, cutmix_probability=1.0)
        masks = cutmix_boxes(400, (120, 120), recipe=recipe, generator=draw())
        boxes = np.array([box_of(mask) for mask in masks])
        height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
        area, aspect = height * width / 120**2, height / width
        assert area.max() <= 0.4
        assert area.min() >= 0.02 * 0.9  # both sides are rounded down to whole pixels
        assert aspect.max() <= 1 / 0.3 * 1.1
        assert aspect.min() >= 0.3 * 0.9
        # Uniform: the mean of U(0.02, 0.4) is 0.21, its deviation 0.11, that of the mean 0.0055.
        assert area.mean() == pytest.approx(0.21, abs=0.025)
        assert (area > 0.35).mean() == pytest.approx(0.05 / 0.38, abs=0.07)
        assert 0 in boxes[:, 0]
        assert 120 in boxes[:, 1]

    def test_the_largest_boxes_that_a_recipe_may_ask_for_are_found(self):
        largest = {"cutmix_area_minimum": 0.8, "cutmix_area_maximum": 0.8}
        recipe = override(V1, **largest, cutmix_probability=1.0)
        masks = cutmix_boxes(20, (120, 120), recipe=recipe, generator=draw())
        assert masks.float().mean(dim=(1, 2)).numpy() == pytest.approx(0.8, abs=0.03)

    def test_the_chance_of_a_box_is_met(self):
        masks = cutmix_boxes(400, (30, 30), recipe=V1, generator=draw())
        share = masks.flatten(1).any(dim=1).float().mean().item()
        assert share == pytest.approx(0.5, abs=0.1)

    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (14, 28)])
    def test_tiny_crops_get_boxes_too(self, size):
        recipe = override(V1, cutmix_probability=1.0)
        for mask in cutmix_boxes(20, size, recipe=recipe, generator=draw()):
            box_of(mask)

    def test_pixels_are_the_partners_inside_and_the_images_own_outside(self):
        images = photos(batch=8)
        mixed = cutmix(images, recipe=override(V1, cutmix_probability=1.0), generator=draw())
        assert mixed.mask_BHW.any()
        for index, partner in enumerate(mixed.partner_B.tolist()):
            assert partner != index
            inside = mixed.mask_BHW[index]
            assert torch.equal(mixed.images_B3HW[index][:, inside], images[partner][:, inside])
            assert torch.equal(mixed.images_B3HW[index][:, ~inside], images[index][:, ~inside])

    def test_every_image_is_a_partner_once_and_partners_change_with_the_step(self):
        offsets = set()
        for step in range(12):
            partner = cutmix(photos(batch=5), recipe=V1, generator=draw(step)).partner_B
            assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
            offsets.add(int(partner[0]))
        assert offsets == {1, 2, 3, 4}

    def test_a_single_image_stays_as_it_is(self):
        recipe = override(V1, cutmix_probability=1.0)
        mixed = cutmix(photos(batch=1), recipe=recipe, generator=draw())
        assert torch.equal(mixed.images_B3HW, photos(batch=1))
        assert not mixed.mask_BHW.any()

    def test_the_argument_is_left_alone(self):
        images = photos()
        cutmix(images, recipe=override(V1, cutmix_probability=1.0), generator=draw())
        assert torch.equal(images, photos())
