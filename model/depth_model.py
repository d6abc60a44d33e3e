"""Depth networks behind one interface: images in, maps of a known geometry out.

Any depth model of transformers can be a teacher. What differs between families, preprocessing and
the meaning of the output, is settled in `model.families`; what is left is the same for all.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoModelForDepthEstimation,
    DepthAnythingForDepthEstimation,
    PreTrainedModel,
)

from model.bucket_sizes import BUCKET_RATIO
from model.checkpoint_files import PROCESSOR, ModelFolder, OriginalFile, find_checkpoint
from model.devices import pick_device, pick_precision
from model.errors import CheckpointError
from model.families import Family, check_model_type, family_of
from model.geometry import to_disparity
from model.loading import load_whole, quiet_transformers
from model.original_weights import (
    DEPTH_VARIANTS,
    depth_variant,
    import_depth_anything,
    read_original,
)
from model.padding import cut_margins, upsample_inside
from model.precision import exact_convolutions, keep_output_float32_, settle_for_bf16_
from model.preprocessing import IMAGE_MEAN, IMAGE_STD, Preprocessing
from model.upsampling import check_upsampling, upsample

RESIZES = ("exact", "buckets")
NEAREST_M = 1e-3  # metres; nearer than this a depth is a fault, and its inverse would drown the map


def load_depth_model(
    reference: str,
    *,
    device: torch.device | str = "auto",
    precision: str = "fp32",
    side: int | None = None,
    resize: str = "exact",
) -> "DepthModel":
    """Load a depth model, entirely or not at all.

    Args:
        reference: A directory in Hugging Face format, a Hugging Face id (``owner/name``, or
            ``owner/name@revision``), or an original file with its variant: ``FILE.pth#v1-s``,
            ``FILE.pth#v2-metric-l@80`` (maximum depth in metres).
        device: ``auto``, or what torch calls it.
        precision: ``fp32``, ``bf16`` (autocast, the last layer in float32) or ``auto``.
        side: Shorter side at the network's input, pixels; None for the model's own.
        resize: ``exact`` for the family's own sizes, ``buckets`` for fewer (`model.bucket_sizes`).

    Raises:
        CheckpointError: Not a depth model, not readable, with keys that are missing, left over or
            of another shape, or of a family that has no sizes in buckets.
    """
    chosen = pick_device(device)
    loaded = load_network(reference)
    family = loaded.family if side is None else _with_side(loaded.family, side, reference)
    return DepthModel(
        loaded.network,
        _with_resize(family, resize, reference),
        reference=reference,
        sha256=loaded.sha256,
        device=chosen,
        precision=pick_precision(precision, chosen),
    )


class LoadedNetwork(NamedTuple):
    """A network as its file has it, float32 on the CPU; ``sha256`` is that of the file."""

    network: PreTrainedModel
    family: Family
    sha256: str


def load_network(reference: str) -> LoadedNetwork:
    """The network of a reference, to be trained on; takes and raises what `load_depth_model` does.

    `load_depth_model` is what makes predictions of it.
    """
    files = find_checkpoint(reference, variants=DEPTH_VARIANTS)
    if isinstance(files, OriginalFile):
        variant = depth_variant(files.variant)
        network = import_depth_anything(read_original(files.path), variant, name=reference)
        family = family_of(network.config, {}, name=reference)
    else:
        network = _load_folder(files)
        family = family_of(network.config, files.processor, name=reference)
    return LoadedNetwork(network, family, files.sha256())


class DepthModel:
    """A depth network, ready to predict; a plain class, whole actors are made of it.

    Attributes:
        family: Name of the family, for example ``depth_anything``.
        geometry: Of what `forward` and `predict` return.
        preprocessing: How images are brought to the network.
        sha256: Hex digest over weights and configuration; the same on every machine.
        parameters: How many numbers the weights are.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        family: Family,
        *,
        reference: str,
        sha256: str,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self.reference = reference
        self.family = family.name
        self.geometry = family.geometry
        self.preprocessing: Preprocessing = family.preprocessing
        self.sha256 = sha256
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.device = device
        self.precision = precision
        self._family = family
        keep_output_float32_(network, last=family.last)
        if precision == "bf16":
            settle_for_bf16_(network)
        self._network = network.eval().requires_grad_(False).to(device)

    def prepare(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An RGB image at the network's size, still uint8; safe to call from many threads.

        Raises:
            ValueError: Not uint8 H x W x 3.
        """
        return self.preprocessing.resize(image_HWC)

    @torch.inference_mode()
    def forward(
        self,
        images_BHWC: NDArray[np.uint8] | Tensor,
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """Maps of prepared images of one size.

        Args:
            images_BHWC: uint8, as `prepare` returns them, stacked.
            sizes: Height and width of each image before it was prepared; only where
                ``preprocessing.padded`` are they needed, to cut the margins off.

        Returns:
            float32 B x H x W on the device, in ``geometry``, at the network's own output size; of
            the images alone, also where the network saw margins.

        Raises:
            ValueError: Not such images, or no sizes where they are needed.
        """
        maps_BHW = self._maps(images_BHWC)
        if not self.preprocessing.padded:
            return maps_BHW
        if sizes is None:
            raise ValueError(f"{self.family} sees margins: say how large the images themselves are")
        return cut_margins(maps_BHW, sizes)

    @torch.inference_mode()
    def disparity(
        self,
        images_BHWC: NDArray[np.uint8] | Tensor,
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """As `forward`, but always disparity: larger is nearer, NaN where the network failed.

        Depth is taken to be at least ``NEAREST_M`` before it is inverted.
        """
        values = self.forward(images_BHWC, sizes=sizes)
        if self.geometry == "depth_metric":
            values = values.clamp(min=NEAREST_M)
        return to_disparity(values, self.geometry)

    @torch.inference_mode()
    def predict(
        self, image_HWC: NDArray[np.uint8], *, upsampling: str = "bilinear"
    ) -> NDArray[np.float32]:
        """The map of one RGB image at the image's own size, in ``geometry``: float32 H x W.

        Raises:
            ValueError: No such image, or no such way to upsample (`model.upsampling`).
        """
        check_upsampling(upsampling)
        height, width = image_HWC.shape[:2]
        map_HW = self._maps(self.prepare(image_HWC)[None])[0]
        to_image = upsample_inside if self.preprocessing.padded else upsample
        values: NDArray[np.float32] = to_image(map_HW, (height, width), upsampling).cpu().numpy()
        return values

    def _maps(self, images_BHWC: NDArray[np.uint8] | Tensor) -> Tensor:
        """As the network puts them out, margins and all."""
        if isinstance(images_BHWC, np.ndarray):  # torch warns of arrays that it could not write to
            images_BHWC = torch.from_numpy(np.require(images_BHWC, requirements=["C", "W"]))
        images = images_BHWC.to(self.device, non_blocking=True)  # only pinned memory does not wait
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"expected uint8 B x H x W x 3, got {images.dtype} {images.shape}")
        if not self._family.one_by_one:
            return self._forward(images)
        return torch.cat([self._forward(image[None]) for image in images])

    def _forward(self, images_BHWC: Tensor) -> Tensor:
        pixels = self.preprocessing.normalise(images_BHWC)
        bf16 = self.precision == "bf16"
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16)
        with autocast, exact_convolutions():
            output = self._network(pixel_values=pixels)
        return self._family.read(output)


def save_depth_model(network: DepthAnythingForDepthEstimation, folder: Path, *, side: int) -> None:
    """Write a Depth Anything network so that others can load it.

    ``transformers.pipeline("depth-estimation", model=folder)`` and `load_depth_model` both do.

    Args:
        network: With the head that was trained.
        folder: Made where it is missing.
        side: Shorter side that images are brought to, pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        network.save_pretrained(folder)
    processor = {
        "image_processor_type": "DPTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": network.config.patch_size,
        "resample": 3,  # bicubic, by Pillow's count
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "do_pad": False,
    }
    text = json.dumps(processor, indent=2, sort_keys=True) + "\n"
    (folder / PROCESSOR).write_text(text, encoding="utf-8")


def _load_folder(files: ModelFolder) -> PreTrainedModel:
    check_model_type(files.model_type, files.name)
    network: PreTrainedModel = load_whole(AutoModelForDepthEstimation, files)
    return network


def _with_side(family: Family, side: int, name: str) -> Family:
    preprocessing = family.preprocessing
    if side == preprocessing.side:
        return family
    if not family.any_side:
        raise CheckpointError(
            f"{name}: this network runs at {preprocessing.side} pixels only, not at {side}"
        )
    if side < preprocessing.multiple:
        raise CheckpointError(f"{name}: side must be at least {preprocessing.multiple}, not {side}")
    wide = preprocessing.wide and round(preprocessing.wide * side / preprocessing.side)
    changed = dataclasses.replace(preprocessing, side=side, wide=wide)
    return dataclasses.replace(family, preprocessing=changed)


def _with_resize(family: Family, resize: str, name: str) -> Family:
    if resize not in RESIZES:
        raise ValueError(f"resize must be {' or '.join(RESIZES)}, not {resize!r}")
    if resize == "exact":
        return family
    try:
        changed = dataclasses.replace(family.preprocessing, bucket_ratio=BUCKET_RATIO)
    except ValueError as error:
        raise CheckpointError(f"{name}: {family.name}: {error}") from error
    return dataclasses.replace(family, preprocessing=changed)
