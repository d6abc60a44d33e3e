"""Marks of pairs: each where its point is, right and wrong in colours and shapes of their own."""

import numpy as np

from jobs.evaluation_marks import RIGHT, WRONG, mark_pairs
from jobs.evaluation_result import MarkedPair

GREY = np.full((300, 512, 3), 128, np.uint8)


def spots(image_HWC: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image_HWC == colour).all(axis=-1)


def around(spots_HW: np.ndarray, point: tuple[int, int]) -> np.ndarray:
    return spots_HW[point[0] - 20 : point[0] + 21, point[1] - 20 : point[1] + 21]


def test_marks_lie_on_their_points_and_the_nearer_is_larger():
    for right, colour in ((True, RIGHT), (False, WRONG)):
        marked = mark_pairs(GREY, [MarkedPair((60, 100), (200, 400), is_right=right)])
        found = spots(marked, colour)
        near, far = around(found, (60, 100)), around(found, (200, 400))
        assert found[60, 100] and found[200, 400]
        assert near.sum() > 1.5 * far.sum() > 20
        assert not spots(marked, WRONG if right else RIGHT).any()
        assert (marked[:30] == 128).all() and (marked[240:] == 128).all()
    assert (GREY == 128).all(), "the picture itself stays as it is"


def test_a_disc_is_full_and_a_cross_is_not():
    place = (150, 256)
    disc, cross = (
        around(
            spots(mark_pairs(GREY, [MarkedPair(place, (150, 500), is_right=right)]), colour), place
        )
        for right, colour in ((True, RIGHT), (False, WRONG))
    )
    above = 20 - 8, 20  # inside of a disc, between the arms of a cross
    assert disc[above] and not cross[above]
    diagonal = 20 - 7, 20 - 7
    assert disc[diagonal] and cross[diagonal]


def test_a_wrong_pair_is_never_hidden_below_a_right_one_nor_cut_at_the_edge():
    pairs = [MarkedPair((50, 50), (0, 511), is_right=right) for right in (False, True)]
    marked = mark_pairs(GREY, pairs)
    assert spots(marked, WRONG)[50, 50] and spots(marked, WRONG)[0, 511]
    assert (mark_pairs(GREY, pairs[::-1]) == marked).all()
    assert (mark_pairs(GREY, []) == GREY).all()


def test_marks_keep_to_small_pictures_and_to_views_of_others():
    view = np.asfortranarray(np.zeros((20, 24, 3), np.uint8))[::-1]
    marked = mark_pairs(view, [MarkedPair((3, 3), (15, 20), is_right=True)])
    assert marked.shape == view.shape and spots(marked, RIGHT)[3, 3]
    assert not view.any()
