"""Counted operations, against products worked out by hand and the closed form of Depth Anything."""

import numpy as np
import pytest
import torch

from model.depth_model import load_depth_model, load_network
from model.flop_count import counted_flops
from model.flops import encoder_flops, head_flops
from tests.factories import tiny_teacher


def test_a_matrix_product_takes_two_operations_for_each_pair():
    left, right = torch.ones(5, 7), torch.ones(7, 11)
    assert counted_flops(lambda: left @ right) == 2 * 5 * 7 * 11
    assert counted_flops(lambda: left + 1) == 0


def test_attention_is_counted_too():
    tokens = torch.ones(1, 1, 10, 4)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert counted_flops(lambda: attend(tokens, tokens, tokens)) == 2 * (2 * 10 * 10 * 4)


@pytest.mark.parametrize("images", [1, 3])
def test_a_teacher_needs_what_the_formula_says(tmp_path, images):
    torch.set_num_threads(1)
    folder = tiny_teacher(tmp_path / "teacher", size=56)
    model = load_depth_model(str(folder), device="cpu")
    batch_BHWC = torch.from_numpy(np.zeros((images, 56, 84, 3), np.uint8))
    config = load_network(str(folder)).network.config
    expected = encoder_flops(config.backbone_config, 56, 84) + head_flops(config, 56, 84)
    counted = counted_flops(lambda: model.disparity(batch_BHWC))
    assert counted == pytest.approx(images * expected, rel=0.02)
