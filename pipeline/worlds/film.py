"""From light to a picture: lens, exposure, white balance, tone curve, sensor noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.worlds.textures import Floats


@dataclass(frozen=True, slots=True)
class Film:
    """How a picture is taken.

    Attributes:
        stops: Exposure against a mean grey, powers of two.
        tint: Linear RGB gains of an imperfect white balance, shape (3,).
        vignette: Light lost in the corners, 0 to 1.
        blur: Weight of the neighbours, 0 (sharp) to 1.
        noise: Standard deviation of the sensor's noise, as a share of the range.
        quality: Of the JPEG, 1 to 95.
    """

    stops: float
    tint: Floats
    vignette: float
    blur: float
    noise: float
    quality: int


def develop(light_3HW: Floats, film: Film, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear radiance to sRGB bytes, shape (H, W, 3); exposed for the picture's own brightness."""
    light = _blurred(light_3HW, film.blur)
    height, width = light.shape[1:]
    grey = light[1, ::4, ::4]
    gain = 0.25 * 2**film.stops / (0.5 * np.median(grey) + 0.5 * grey.mean() + 1e-4)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    falloff = np.float32(-1.6 * gain) * (1 - film.vignette / 2 * (x * x + y * y))
    signal = -np.expm1(light * film.tint[:, None, None] * falloff)
    signal = _GAMMA[(signal * 4095).astype(np.int16)]
    signal += rng.standard_normal((height, width), dtype=np.float32) * np.float32(255 * film.noise)
    return np.asarray(np.clip(signal + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))


# A table: the power itself would cost more than the casting of an empty room.
_GAMMA = (255 * np.linspace(0, 1, 4096) ** (1 / 2.2)).astype(np.float32)


def _blurred(image_3HW: Floats, weight: float) -> Floats:
    """A 3x3 binomial lens blur mixed with the sharp image; the outermost pixels stay sharp."""
    soft, mix = image_3HW.copy(), np.float32(weight / 4)
    soft[:, 1:-1] += mix * (image_3HW[:, :-2] + image_3HW[:, 2:] - 2 * image_3HW[:, 1:-1])
    rows = soft.copy()
    soft[:, :, 1:-1] += mix * (rows[:, :, :-2] + rows[:, :, 2:] - 2 * rows[:, :, 1:-1])
    return soft
