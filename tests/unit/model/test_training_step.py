"""The step under the recipe of V2, and each part of it switched off; V1's is in test_training."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from model.batches import Sample, collate, normalise, to_unit
from model.losses import affine_invariant_loss, cutmix_loss, feature_alignment_loss
from model.perturbations import cutmix, generator_for, perturb_colours
from model.recipes import V1, V2, V2_TEACHER, override
from model.training_step import TrainingStep

SIZE = 16
CLEAN = {
    f"{name}_probability": 0.0 for name in ("jitter", "grayscale", "blur", "cutmix")
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


class TinyDepth(nn.Module):
    """Patches of 4×4 as tokens, a map from tokens and pixels."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Conv2d(3, 8, 4, stride=4)
        self.head = nn.Conv2d(11, 1, 1)

    def forward(self, pixels):
        tokens = self.backbone(pixels)
        grown = nn.functional.interpolate(tokens, scale_factor=4)
        disparity = self.head(torch.cat([grown, pixels], dim=1))[:, 0]
        return SimpleNamespace(map_BHW=disparity, features_BNC=tokens.flatten(2).transpose(1, 2))


def frozen(pixels):
    return TinyDepth(seed=5)(pixels).features_BNC


def never(pixels):
    raise AssertionError("the frozen encoder is not needed")


def batch(seed, count=4):
    rng = np.random.default_rng(seed)
    targets = rng.random((count, SIZE, SIZE), np.float32)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return collate([Sample(*each) for each in zip(images, targets, strict=True)])


def losses_of(recipe, labelled, pseudo, encoder=None, step=3):
    network = TinyDepth()
    losses = TrainingStep(network, recipe=recipe, frozen_encoder=encoder, seed=1)(
        labelled, pseudo, step=step
    )
    return network, losses


def test_a_v2_student_is_put_together_by_hand():
    pseudo = batch(2)
    network, losses = losses_of(V2, None, pseudo, frozen)
    generator = generator_for(seed=1, step=3, rank=0)
    images = perturb_colours(to_unit(pseudo.images_B3HW), recipe=V2, generator=generator)
    mixed = cutmix(images, recipe=V2, generator=generator)
    output = network(normalise(mixed.images_B3HW))
    expected = cutmix_loss(
        output.map_BHW,
        pseudo.target_BHW[mixed.partner_B],
        pseudo.target_BHW,
        mixed.mask_BHW,
        pseudo.valid_BHW[mixed.partner_B],
        pseudo.valid_BHW,
        trimmed_share=0.1,
        gradient_scales=4,
    )
    feature = feature_alignment_loss(output.features_BNC, frozen(normalise(mixed.images_B3HW)))
    torch.testing.assert_close(losses.pseudo, expected.mean())
    torch.testing.assert_close(losses.pseudo_gradient, expected.gradient_mean())
    torch.testing.assert_close(losses.feature, feature.value_B.mean())
    on_pseudo = losses.pseudo + 2 * losses.pseudo_gradient
    torch.testing.assert_close(losses.total, (on_pseudo + losses.feature) / 2)
    assert losses.labelled is None
    assert losses.labelled_gradient is None


def test_a_v2_teacher_matches_gradients_and_trims_nothing():
    labelled = batch(1)
    network, losses = losses_of(override(V2_TEACHER, trimmed_share=0.5), labelled, None, never)
    expected = affine_invariant_loss(
        network(normalise(labelled.images_B3HW)).map_BHW,
        labelled.target_BHW,
        labelled.valid_BHW,
        gradient_scales=4,
    )
    torch.testing.assert_close(losses.labelled, expected.mean())
    torch.testing.assert_close(losses.labelled_gradient, expected.gradient_mean())
    torch.testing.assert_close(losses.total, losses.labelled + 2 * losses.labelled_gradient)
    assert losses.pseudo is None
    assert losses.pseudo_gradient is None


def test_without_a_weight_no_gradient_is_matched():
    _, losses = losses_of(V1, batch(1), batch(2), frozen)
    assert losses.labelled_gradient is None
    assert losses.pseudo_gradient is None
    torch.testing.assert_close(losses.total, (losses.labelled + losses.pseudo + losses.feature) / 3)


def test_without_a_weight_the_frozen_encoder_does_not_run():
    _, losses = losses_of(override(V1, feature_weight=0.0), batch(1), batch(2), never)
    assert losses.feature is None
    torch.testing.assert_close(losses.total, (losses.labelled + losses.pseudo) / 2)


def test_the_feature_loss_counts_by_its_weight():
    _, losses = losses_of(override(V1, feature_weight=0.5), batch(1), batch(2), frozen)
    total = (losses.labelled + losses.pseudo + 0.5 * losses.feature) / 2.5
    torch.testing.assert_close(losses.total, total)


def test_without_perturbations_the_student_sees_clean_images_and_whole_maps():
    pseudo = batch(2)
    network, losses = losses_of(override(V1, **CLEAN), None, pseudo)
    expected = affine_invariant_loss(
        network(normalise(pseudo.images_B3HW)).map_BHW, pseudo.target_BHW, pseudo.valid_BHW
    )
    torch.testing.assert_close(losses.pseudo, expected.mean())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_part_pulls_on_the_network_and_none_breaks_it(precision):
    recipe = override(V2, pseudo_only=False)
    network = TinyDepth()
    step = TrainingStep(network, recipe=recipe, frozen_encoder=frozen, precision=precision)
    losses = step(batch(1), batch(2), step=0)
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    for parameter in network.parameters():
        assert torch.isfinite(parameter.grad).all()
    assert network.backbone.weight.grad.abs().sum() > 0


def test_without_cutmix_the_loss_is_that_of_boxes_that_are_never_drawn():
    recipe = override(V2, **CLEAN)
    network, losses = losses_of(recipe, None, batch(2))
    pseudo = batch(2)
    none = torch.zeros_like(pseudo.valid_BHW)
    expected = cutmix_loss(
        network(normalise(pseudo.images_B3HW)).map_BHW,
        pseudo.target_BHW,
        pseudo.target_BHW,
        none,
        pseudo.valid_BHW,
        pseudo.valid_BHW,
        trimmed_share=0.1,
        gradient_scales=4,
    )
    torch.testing.assert_close(losses.pseudo, expected.mean())
    torch.testing.assert_close(losses.pseudo_gradient, expected.gradient_mean())


@pytest.mark.parametrize("recipe", [V2, override(V2, **CLEAN)])
def test_pseudo_labels_that_are_flat_teach_nothing(recipe):
    pseudo = batch(2)
    flat = dataclasses.replace(pseudo, target_BHW=0.5 + 1e-4 * pseudo.target_BHW)
    _, losses = losses_of(recipe, None, flat)
    assert losses.total.item() == 0
    losses.total.backward()
    _, losses = losses_of(override(recipe, minimum_spread=0.0), None, flat)
    assert losses.total.item() > 0.1


def test_ground_truth_counts_however_far_one_pixel_lies_from_the_rest():
    labelled = batch(1)
    target = 1e-4 * labelled.target_BHW
    target[:, 0, 0] = 1.0
    _, losses = losses_of(V1, dataclasses.replace(labelled, target_BHW=target), None)
    assert losses.labelled.item() > 0.1
