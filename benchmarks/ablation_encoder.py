"""A stand-in for DINOv2: a tiny encoder that knows the wide domain, but nothing of depth.

Released weights cannot be had everywhere, and they are far too large for what two cores can train.
So the tiny encoder first learns to say, for each patch, which share of it has which pattern
(bricks, leaves, sky …) and which shape (box, ball, plane …), from patch tokens alone, under the
colour changes of the recipe. Like DINOv2's its features then tell things apart wherever they stand
and however they are lit; unlike DINOv2's they were learnt from labels, of the renderer. It is saved
as any DINOv2 folder, and teacher and students all start from it.
"""

from pathlib import Path

import numpy as np
import torch
from ablation_data import CLASSES, Scenes
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Backbone

from model.batches import normalise, to_unit
from model.encoders import load_encoder
from model.loading import quiet_transformers
from model.perturbations import generator_for, perturb_colours
from model.recipes import Recipe

BATCH, LEARNING_RATE, WEIGHT_DECAY, WARMUP = 32, 1e-3, 0.05, 50


def pretrain(
    folder: Path, wide: Scenes, *, held_out: Scenes, recipe: Recipe, steps: int, device: str
) -> float:
    """Train the stand-in and save it; returns its accuracy on patches of held-out scenes.

    A patch counts as right where the largest share is named right, pattern and shape alike: the
    mean of both, 0 to 1.
    """
    encoder = load_encoder("scratch:tiny", image_size=recipe.size).network.to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = nn.Linear(encoder.config.hidden_size, sum(CLASSES)).to(device)
    parameters = [*encoder.parameters(), *reader.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARMUP, 1 - step / steps)
    )
    encoder.train()
    for step in range(steps):
        images, classes = _views(wide, recipe.size, np.random.default_rng([0, step]))
        unit = to_unit(images).to(device)
        generator = generator_for(seed=0, step=step, rank=0)
        pixels = normalise(perturb_colours(unit, recipe=recipe, generator=generator))
        logits = _read(encoder, reader, pixels)
        loss = _loss(logits, _shares(classes.to(device), encoder.config.patch_size))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with quiet_transformers():
        encoder.eval().cpu().save_pretrained(folder)
    return _accuracy(encoder, reader.cpu(), held_out, recipe.size)


def _views(scenes: Scenes, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random crops, some of them flipped: images B x 3 x H x W and classes B x H x W x 2."""
    images, classes = [], []
    for index in rng.integers(len(scenes), size=BATCH):
        left = rng.integers(scenes.images_NHW3.shape[2] - size + 1)
        turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
        images.append(scenes.images_NHW3[index, :, left : left + size][:, turn])
        classes.append(scenes.classes_NHW2[index, :, left : left + size][:, turn])
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked, torch.from_numpy(np.stack(classes))


def _read(encoder: Dinov2Backbone, reader: nn.Linear, pixels_B3HW: Tensor) -> tuple[Tensor, ...]:
    """Logits of pattern and shape of each patch, B x N x classes each."""
    tokens = encoder(pixels_B3HW).feature_maps[-1][:, 1:]
    return reader(tokens).split(CLASSES, dim=2)


def _shares(classes_BHW2: Tensor, patch: int) -> tuple[Tensor, ...]:
    """Share of each class in each patch, B x N x classes for pattern and for shape."""
    shares = []
    for kind, count in enumerate(CLASSES):
        one_hot = functional.one_hot(classes_BHW2[..., kind].long(), count).permute(0, 3, 1, 2)
        pooled = functional.avg_pool2d(one_hot.float(), patch)
        shares.append(pooled.flatten(2).transpose(1, 2))
    return tuple(shares)


def _loss(logits: tuple[Tensor, ...], shares: tuple[Tensor, ...]) -> Tensor:
    losses = [
        -(share * logit.log_softmax(dim=2)).sum(dim=2).mean()
        for logit, share in zip(logits, shares, strict=True)
    ]
    return torch.stack(losses).mean()


@torch.inference_mode()
def _accuracy(encoder: Dinov2Backbone, reader: nn.Linear, scenes: Scenes, size: int) -> float:
    images = torch.from_numpy(scenes.images_NHW3[:, :, :size]).permute(0, 3, 1, 2)
    logits = _read(encoder, reader, normalise(images))
    shares = _shares(torch.from_numpy(scenes.classes_NHW2[:, :, :size]), encoder.config.patch_size)
    right = [
        (logit.argmax(dim=2) == share.argmax(dim=2)).float().mean()
        for logit, share in zip(logits, shares, strict=True)
    ]
    return torch.stack(right).mean().item()
