"""What the camera does to the light: exposure, colour, lens and noise."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.worlds.film import Film, develop

PLAIN = Film(stops=0.0, tint=np.ones(3, np.float32), vignette=0.0, blur=0.0, noise=0.0, quality=90)
LIGHT = np.random.default_rng(0).uniform(0.1, 1, (3, 30, 40)).astype(np.float32)


def rng():
    return np.random.default_rng(0)


def test_a_picture_is_bytes_in_the_usual_order():
    picture = develop(LIGHT, PLAIN, rng())
    assert picture.shape == (30, 40, 3)
    assert picture.dtype == np.uint8
    brighter = LIGHT.argsort(axis=None)
    assert (np.diff(picture.transpose(2, 0, 1).ravel()[brighter].astype(int)) >= 0).all()


def test_exposure_fits_the_light_there_is():
    dim = develop(LIGHT * np.float32(0.01), PLAIN, rng()).astype(int)
    assert np.abs(dim - develop(LIGHT, PLAIN, rng())).max() <= 3
    assert 80 < dim.mean() < 170


def test_stops_brighten():
    means = [develop(LIGHT, replace(PLAIN, stops=s), rng()).mean() for s in (-1.0, 0.0, 1.0)]
    assert means == sorted(means)
    assert means[2] - means[0] > 50


def test_tint_pushes_a_channel():
    warm = develop(LIGHT, replace(PLAIN, tint=np.array([1.3, 1, 0.7], np.float32)), rng())
    plain = develop(LIGHT, PLAIN, rng())
    difference = (warm.astype(int) - plain).mean(axis=(0, 1))
    assert difference[0] > 5
    assert difference[1] == 0
    assert difference[2] < -5


def test_vignette_darkens_corners_only():
    flat = np.full((3, 31, 41), 0.5, np.float32)
    picture = develop(flat, replace(PLAIN, vignette=0.5), rng()).astype(int)
    assert picture[15, 20, 0] - picture[0, 0, 0] > 20
    assert np.ptp(develop(flat, PLAIN, rng())) == 0


def test_blur_softens_and_keeps_the_light():
    sharp, soft = (develop(LIGHT, replace(PLAIN, blur=b), rng()).astype(float) for b in (0.0, 1.0))
    assert np.abs(np.diff(soft, axis=1)).mean() < 0.6 * np.abs(np.diff(sharp, axis=1)).mean()
    assert soft.mean() == pytest.approx(sharp.mean(), abs=6)


def test_noise_has_the_strength_it_says():
    flat = np.full((3, 60, 80), 0.5, np.float32)
    noisy = develop(flat, replace(PLAIN, noise=0.02), rng()).astype(float)
    assert noisy.std() == pytest.approx(0.02 * 255, rel=0.1)


def test_darkness_stays_dark():
    assert develop(np.zeros((3, 8, 8), np.float32), PLAIN, rng()).max() == 0
