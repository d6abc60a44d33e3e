"""Small inline pictures for a report: photographs and colour-mapped depth as JPEG data URIs."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.colour import colourise, colourise_error
from jobs.report_page import Picture
from pipeline.records import Truth

LONGEST_SIDE = 480  # pixels: sharp at the size of a card, also on a screen of double density
QUALITY = 82


def photograph(image_HWC: NDArray[np.uint8], *, alt: str, label: str = "") -> Picture:
    """A picture of an image, uint8 RGB."""
    return _picture(image_HWC, alt=alt, label=label)


def disparity_map(
    disparity_HW: NDArray[np.float32],
    *,
    alt: str,
    label: str = "",
    limits: tuple[float, float] | None = None,
) -> Picture:
    """A picture of a map in which larger is nearer, coloured between limits; NaN has no colour."""
    return _picture(colourise(disparity_HW, limits=limits), alt=alt, label=label)


def error_map(
    error_HW: NDArray[np.floating], *, limit: float, alt: str, label: str = ""
) -> Picture:
    """A picture of signed errors, red above 0 and blue below, full at the limit."""
    return _picture(colourise_error(error_HW, limit=limit), alt=alt, label=label)


def truth_map(truth: Truth, *, alt: str) -> Picture:
    """A picture of ground truth, near and far coloured as in a disparity map."""
    values = truth.values_HW.astype(np.float32)
    if not truth.geometry.is_disparity:
        with np.errstate(divide="ignore"):
            values = np.where(values > 0, 1 / values, np.nan).astype(np.float32)
    return disparity_map(values, alt=alt)


def _picture(image_HWC: NDArray[np.uint8], *, alt: str, label: str = "") -> Picture:
    image = Image.fromarray(image_HWC)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/jpeg;base64,{data}", alt, image.width, image.height, label)
