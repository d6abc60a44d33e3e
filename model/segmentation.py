"""Semantic segmentation networks that find the sky: images in, masks out.

Whatever transformers loads for semantic segmentation, and MaskFormer and Mask2Former, whose queries
give class scores too. Images are prepared by the checkpoint's own processor, in its Pillow version,
with two exceptions: nothing is cut off and nothing is padded, so that the mask covers just the
image. Computed in float32: the masks are kept, and should depend little on the machine.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import (
    AutoModelForSemanticSegmentation,
    Mask2FormerForUniversalSegmentation,
    MaskFormerForInstanceSegmentation,
    PreTrainedModel,
)
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

from model.checkpoint_files import PROCESSOR, ModelFolder, OriginalFile, find_checkpoint
from model.devices import pick_device
from model.errors import CheckpointError
from model.loading import load_whole, quiet_transformers
from model.precision import exact_convolutions

MAX_ASPECT = 20  # longer side over shorter; a strip would be blown up beyond all memory
_CLASSES_AT_ONCE = 16  # at the image's size, of which the largest have megapixels
_SHOWN = 12
_SKY = re.compile(r"\bsky\b", re.IGNORECASE)
_OF_QUERIES = {
    "maskformer": MaskFormerForInstanceSegmentation,
    "mask2former": Mask2FormerForUniversalSegmentation,
}


def segmenter_digest(reference: str) -> str:
    """Hex SHA-256 over the weights and configuration of a segmenter that knows sky.

    Raises:
        CheckpointError: It is none, or cannot be read; the network itself is not loaded.
    """
    files = _segmenter_files(reference)
    sky_classes(files)
    _processor(files)
    return files.sha256()


def load_segmenter(reference: str, *, device: torch.device | str = "auto") -> "Segmenter":
    """Load a segmentation network in Hugging Face format, entirely or not at all.

    Raises:
        CheckpointError: Not a semantic segmentation model, without a class named sky, or with
            keys that are missing, left over or of another shape.
    """
    files = _segmenter_files(reference)
    return Segmenter(
        _load(files),
        _processor(files),
        sky=sky_classes(files),
        sha256=files.sha256(),
        device=pick_device(device),
    )


def sky_classes(files: ModelFolder) -> tuple[int, ...]:
    """Numbers of the classes with the word sky in their name, in any case.

    ``sky`` of ADE20K and Cityscapes and ``sky-other-merged`` of COCO are; ``skyscraper`` is not.

    Raises:
        CheckpointError: There is none; names some of those there are.
    """
    names: Mapping[str, str] = files.config.get("id2label") or {}
    found = tuple(int(number) for number, name in names.items() if _SKY.search(str(name)))
    if any(number >= len(names) for number in found):
        raise CheckpointError(f"{files.name}: class {max(found)} of {len(names)} is named sky")
    if not found:
        known = ", ".join(map(str, list(names.values())[:_SHOWN])) or "no names at all"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise CheckpointError(f"{files.name}: none of its classes is named sky: {known}{more}")
    return found


class Segmenter:
    """A network that marks sky; a plain class, whole actors are made of it.

    Args:
        network: Whose output has ``logits``, or class and mask logits of queries.
        processor: Prepares images; called from many threads.
        sky: Numbers of its classes that are sky.
        sha256: Hex digest over weights and configuration.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        processor: Any,
        *,
        sky: Sequence[int],
        sha256: str,
        device: torch.device,
    ) -> None:
        self.sha256 = sha256
        self.device = device
        self._sky = sorted(sky)
        self._processor = processor
        self._network = network.eval().requires_grad_(False).to(device)

    def prepare(self, image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An RGB image as the network wants it: float32 3 x H x W; safe to call from many threads.

        Raises:
            ValueError: Not uint8 H x W x 3, or one side more than ``MAX_ASPECT`` times the other.
        """
        if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
            raise ValueError(
                f"expected uint8 height x width x 3, got {image_HWC.dtype} {image_HWC.shape}"
            )
        height, width = image_HWC.shape[:2]
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise ValueError(f"an image of {width} x {height} is too long for a network")
        prepared = self._processor(
            image_HWC,
            input_data_format="channels_last",
            do_center_crop=False,
            do_pad=False,
            return_tensors="np",
        )
        pixels_CHW: NDArray[np.float32] = prepared["pixel_values"][0].astype(np.float32, copy=False)
        return pixels_CHW

    @torch.inference_mode()
    def masks(
        self, images_BCHW: NDArray[np.float32], *, sizes: Sequence[tuple[int, int]]
    ) -> list[NDArray[np.bool_]]:
        """Where the sky is: bool H x W for each image, at the size asked for.

        Scores are brought to that size (bilinear, pixel centres) before they are compared, as the
        post-processing of transformers does. A pixel is sky if its sky score is above all others.

        Args:
            images_BCHW: As `prepare` returns them, stacked.
            sizes: Height and width of each mask, pixels.
        """
        pixels = torch.from_numpy(np.require(images_BCHW, requirements=["C", "W"]))
        with exact_convolutions():
            scores_BKHW = _class_scores(self._network(pixel_values=pixels.to(self.device)))
        return [
            _sky_mask(scores_KHW, size, self._sky).cpu().numpy()
            for scores_KHW, size in zip(scores_BKHW, sizes, strict=True)
        ]


def _class_scores(output: Any) -> Tensor:
    """Scores B x K x H x W of K classes, float32.

    Of queries q with class logits c and mask logits m: score of class k is the sum over q of
    softmax(c_q)_k * sigmoid(m_q), without the class for "nothing" (arXiv:2107.06278, §3.4).
    """
    if "class_queries_logits" not in output:
        logits: Tensor = output.logits.float()
        return logits
    classes = output.class_queries_logits.float().softmax(dim=-1)[..., :-1]
    masks = output.masks_queries_logits.float().sigmoid()
    return torch.einsum("bqk,bqhw->bkhw", classes, masks)


def _sky_mask(scores_KHW: Tensor, size: tuple[int, int], sky: Sequence[int]) -> Tensor:
    """Sky above everything else at that size; only a few classes have that size at once."""
    others = [number for number in range(len(scores_KHW)) if number not in set(sky)]
    sky_HW = _best(scores_KHW, list(sky), size)
    if not others:
        return torch.ones_like(sky_HW, dtype=torch.bool)
    return sky_HW > _best(scores_KHW, others, size)


def _best(scores_KHW: Tensor, classes: list[int], size: tuple[int, int]) -> Tensor:
    """The highest score of some classes, H x W at another size."""
    best: Tensor | None = None
    for start in range(0, len(classes), _CLASSES_AT_ONCE):
        some = scores_KHW[classes[start : start + _CLASSES_AT_ONCE]]
        large = interpolate(some[None], size=size, mode="bilinear", align_corners=False)[0]
        highest = large.amax(dim=0)
        best = highest if best is None else torch.maximum(best, highest)
    assert best is not None
    return best


def _segmenter_files(reference: str) -> ModelFolder:
    files = find_checkpoint(reference, variants="none: segmenters are directories")
    if isinstance(files, OriginalFile):
        raise CheckpointError(f"{reference}: a segmenter is a directory in Hugging Face format")
    known = {*MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES, *_OF_QUERIES}
    if files.model_type not in known:
        raise CheckpointError(
            f"{reference}: model type {files.model_type!r} is not a semantic segmentation model "
            f"that is known here: {', '.join(sorted(known))}"
        )
    return files


def _load(files: ModelFolder) -> PreTrainedModel:
    of_type: Any = _OF_QUERIES.get(files.model_type, AutoModelForSemanticSegmentation)
    network: PreTrainedModel = load_whole(of_type, files)
    return network


def _processor(files: ModelFolder) -> Any:
    """What prepares images for this checkpoint, in the version that needs no torchvision."""
    if not files.processor:
        raise CheckpointError(
            f"{files.name}: has no {PROCESSOR}, which says how it wants its images"
        )
    said = files.processor.get("image_processor_type") or files.processor.get(
        "feature_extractor_type", ""
    )
    name = str(said).removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    usual = IMAGE_PROCESSOR_MAPPING_NAMES.get(files.model_type) or {}
    of_type = getattr(transformers, f"{name.removesuffix('Pil')}Pil", None) or getattr(
        transformers, usual.get("pil", ""), None
    )
    if of_type is None:
        raise CheckpointError(f"{files.name}: its image processor {said!r} needs torchvision")
    try:
        with quiet_transformers():
            return of_type.from_dict(dict(files.processor))
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{files.name}: {PROCESSOR} cannot be used: {error}") from error
