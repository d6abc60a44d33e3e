import math

import numpy as np
import pytest
import torch

from model.metric_depth import silog_loss, to_metres

ALL = torch.ones(1, 1, 2, dtype=torch.bool)


def maps(*rows):
    return torch.tensor([[rows]], dtype=torch.float32).reshape(1, 1, -1)


class TestToMetres:
    def test_depth_stays_and_disparity_is_inverted(self):
        values = np.array([[2.0, 0.5, np.nan, 0.0, -1.0, np.inf]])
        nan = np.nan
        np.testing.assert_array_equal(
            to_metres(values, "depth_metric"), np.float32([[2, 0.5, nan, nan, nan, nan]])
        )
        np.testing.assert_array_equal(
            to_metres(values, "disparity_metric"), np.float32([[0.5, 2, nan, nan, nan, nan]])
        )
        assert to_metres(values, "depth_metric").dtype == np.float32

    @pytest.mark.parametrize("geometry", ["depth_scale_invariant", "disparity_affine_invariant"])
    def test_what_has_no_unit_is_refused(self, geometry):
        with pytest.raises(ValueError, match=geometry):
            to_metres(np.ones((1, 1)), geometry)


class TestSilog:
    def test_by_hand(self):
        # g = log d* - log d is (log 2, -log 4) = (1, -2) log 2: squares 1 and 4, mean -1/2
        truth, predicted = maps(2.0, 1.0), maps(1.0, 4.0)
        expected = math.log(2) * math.sqrt(5 / 2 - 0.5 / 4)
        assert silog_loss(predicted, truth, ALL).item() == pytest.approx(expected, rel=1e-6)
        free = math.log(2) * math.sqrt(5 / 2 - 1 / 4)
        assert silog_loss(predicted, truth, ALL, mean_weight=1).item() == pytest.approx(free)

    def test_gradient_by_hand(self):
        # dL/dd_i = -(g_i - λ·mean g) / (n·L·d_i)
        truth, predicted = maps(2.0, 1.0), maps(1.0, 4.0).requires_grad_()
        loss = silog_loss(predicted, truth, ALL)
        loss.backward()
        errors = np.log(2) * np.array([1.0, -2.0])
        expected = -(errors - 0.5 * errors.mean()) / (2 * loss.item() * np.array([1.0, 4.0]))
        np.testing.assert_allclose(predicted.grad.flatten(), expected, rtol=1e-5)

    def test_one_factor_on_all_costs_what_the_weight_leaves(self):
        truth = torch.rand(2, 3, 4) + 0.5
        mask = torch.ones_like(truth, dtype=torch.bool)
        for weight in (0.0, 0.5):
            loss = silog_loss(truth * 3, truth, mask, mean_weight=weight).item()
            assert loss == pytest.approx(math.log(3) * math.sqrt(1 - weight), rel=1e-5)
        assert silog_loss(truth * 3, truth, mask, mean_weight=1.0).item() < 1e-5

    def test_pixels_are_pooled_over_the_batch_and_not_per_image(self):
        # One image too near by half, one too far by double: each alone is forgiven half of it.
        truth, ones = torch.ones(2, 2, 2), torch.ones(2, 2, 2, dtype=torch.bool)
        predicted = torch.tensor([0.5, 2.0])[:, None, None].expand(2, 2, 2)
        together = silog_loss(predicted, truth, ones).item()
        assert together == pytest.approx(math.log(2), rel=1e-6)
        alone = silog_loss(predicted[:1], truth[:1], ones[:1]).item()
        assert alone == pytest.approx(math.log(2) / math.sqrt(2), rel=1e-6)

    def test_invalid_pixels_reach_neither_loss_nor_gradient(self):
        predicted = maps(1.0, 4.0, 7.0, 5.0).requires_grad_()
        truth = maps(2.0, 1.0, math.nan, 0.0)
        mask = torch.tensor([[[True, True, False, False]]])
        loss = silog_loss(predicted, truth, mask)
        loss.backward()
        assert loss.item() == pytest.approx(
            silog_loss(maps(1.0, 4.0), maps(2.0, 1.0), ALL).item(), rel=1e-6
        )
        assert predicted.grad.flatten()[2:].tolist() == [0, 0]
        assert predicted.grad.flatten()[:2].abs().min() > 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("case", ["nothing valid", "perfect", "underflow", "overflowing"])
    def test_is_finite_and_so_is_its_gradient(self, dtype, case):
        values = {"underflow": 0.0, "overflowing": 6e4}.get(case, 2.0)
        predicted = torch.full((2, 3, 3), values, dtype=dtype, requires_grad=True)
        truth = torch.full((2, 3, 3), 2.0)
        mask = torch.full((2, 3, 3), case != "nothing valid")
        loss = silog_loss(predicted, truth, mask)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(predicted.grad).all()
        assert (loss.item() == 0) == (case in ("nothing valid", "perfect"))

    def test_half_precision_gives_the_loss_of_its_values(self):
        generator = torch.Generator().manual_seed(0)
        predicted = (torch.rand(2, 8, 8, generator=generator) * 60 + 0.1).half()
        truth = torch.rand(2, 8, 8, generator=generator) * 60 + 0.1
        mask = torch.rand(2, 8, 8, generator=generator) > 0.3
        loss = silog_loss(predicted, truth, mask).item()
        g = (truth.double().log() - predicted.double().log())[mask].numpy()
        assert loss == pytest.approx(math.sqrt((g**2).mean() - 0.5 * g.mean() ** 2), rel=1e-5)
