"""What a model predicts while it trains, as one picture: image, truth or label, prediction.

Bright is near and grey is unknown, each map in the colours of its own range. A prediction of depth
is turned into disparity first, so that the two maps beside each other look alike.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.colour import colourise
from jobs.training_examples import Example
from jobs.training_validation import Predict
from model.geometry import to_disparity

TILE_PIXELS = 256
GAP_PIXELS = 4


def preview(predict: Predict, shown: Sequence[Example], *, geometry: str) -> NDArray[np.uint8]:
    """A row of three tiles per example, RGB; tiles are at most 256 pixels wide.

    Args:
        predict: Gives a map for each image.
        shown: One at least.
        geometry: Of what is predicted.
    """
    predictions = predict([example.image_HWC for example in shown])
    rows = [
        [
            example.image_HWC,
            colourise(_disparity(example.values_HW, example.geometry)),
            colourise(_disparity(prediction_HW, geometry)),
        ]
        for example, prediction_HW in zip(shown, predictions, strict=True)
    ]
    return _grid([[_tile(picture) for picture in row] for row in rows])


def as_png(picture_HWC: NDArray[np.uint8]) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(picture_HWC).save(buffer, "PNG")
    return buffer.getvalue()


def _disparity(values_HW: NDArray[np.floating], geometry: str) -> NDArray[np.floating]:
    return to_disparity(np.asarray(values_HW, np.float64), geometry)


def _tile(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = min(TILE_PIXELS, picture_HWC.shape[0])
    if side == picture_HWC.shape[0]:
        return picture_HWC
    resized = Image.fromarray(picture_HWC).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _grid(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """The tiles, white between them."""
    side = rows[0][0].shape[0]
    pitch = side + GAP_PIXELS
    height, width = len(rows) * pitch - GAP_PIXELS, len(rows[0]) * pitch - GAP_PIXELS
    picture = np.full((height, width, 3), 255, np.uint8)
    for line, row in enumerate(rows):
        for column, tile in enumerate(row):
            top, left = line * pitch, column * pitch
            picture[top : top + side, left : left + side] = tile
    return picture
