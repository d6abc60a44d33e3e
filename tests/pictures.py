"""Pictures that look like photographs to a perceptual hash."""

import io

import numpy as np
from PIL import Image


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(seed: int, *, width: int = 320, height: int = 240) -> Image.Image:
    """Something with a spectrum like a photograph's: amplitudes fall with the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    amplitude = 1 / np.maximum(frequency, 1 / width)
    noise_CHW = rng.standard_normal((3, height, width))
    common = rng.standard_normal((height, width))
    waves = np.fft.ifft2(np.fft.fft2(0.4 * noise_CHW + common) * amplitude).real
    scaled = 128 + 45 * (waves - waves.mean()) / waves.std()
    return Image.fromarray(np.moveaxis(scaled.clip(0, 255), 0, -1).astype(np.uint8))
