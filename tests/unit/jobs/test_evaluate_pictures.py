"""Truth that is shown small: what is valid stays to be seen, and nothing is made up."""

import numpy as np
import pytest

from jobs.evaluate_pictures import shrunk_truth


def test_every_cell_with_a_value_shows_one_of_its_own():
    rng = np.random.default_rng(0)
    values_HW = np.where(rng.random((375, 1242)) < 0.03, rng.random((375, 1242)), np.nan)
    values_HW = values_HW.astype(np.float32)
    size = (155, 512)
    shown = shrunk_truth(values_HW, size)
    rows, columns = np.nonzero(np.isfinite(values_HW))
    cells = {
        (row * size[0] // 375, column * size[1] // 1242)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    }
    assert {tuple(cell) for cell in np.argwhere(np.isfinite(shown)).tolist()} == cells
    assert np.isin(shown[np.isfinite(shown)], values_HW).all()


@pytest.mark.parametrize("size", [(4, 6), (8, 12), (3, 2)])
def test_a_ramp_stays_a_ramp_at_any_size(size):
    ramp_HW = np.add.outer(np.arange(4.0), 10 * np.arange(6.0)).astype(np.float32)
    shown = shrunk_truth(ramp_HW, size)
    assert shown.shape == size and np.isfinite(shown).all()
    assert (np.diff(shown, axis=0) >= 0).all() and (np.diff(shown, axis=1) >= 0).all()
    if size == (4, 6):
        assert np.array_equal(shown, ramp_HW)
