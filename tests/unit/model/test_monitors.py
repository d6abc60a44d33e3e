import pytest
import torch

from model.errors import ModelError, NonFiniteLossError, NothingLearntError, ScaleDriftError
from model.monitors import LARGEST, LEAST_SPREAD, IdleMonitor, ScaleMonitor, check_finite
from model.student import TrainableDepth, build_network


def predictions(mean=1.0, std=0.5, maximum=3.0):
    return {"prediction_mean": mean, "prediction_std": std, "prediction_maximum": maximum}


def stopped_at(metrics_of_step, *, steps=200, patience=10, monitor=None):
    """The step at which a monitor stops, None where it does not, and what it says."""
    monitor = monitor or ScaleMonitor(patience=patience)
    for step in range(steps):
        try:
            monitor.check(metrics_of_step(step), step=step)
        except ScaleDriftError as error:
            return step, str(error)
    return None, ""


class TestFinite:
    @pytest.mark.parametrize("name", ["total", "gradient_norm"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_not_a_number_is_refused_with_all_metrics(self, name, value):
        metrics = {"total": 1.5, "feature": 0.25, "gradient_norm": 2.0}
        check_finite(metrics, step=3)
        with pytest.raises(NonFiniteLossError, match=rf"step 3: .*{name} {value}.*"):
            check_finite(metrics | {name: value}, step=3)


class TestIdle:
    NOTHING = {"total": 0.0, "gradient_norm": 0.0}

    def test_steps_without_a_gradient_are_stopped_after_a_while_or_at_the_last(self):
        for steps, last in ((200, 9), (4, 3), (1, 0)):
            monitor = IdleMonitor(steps, patience=10)
            for step in range(last):
                monitor.check(self.NOTHING, step=step)
            with pytest.raises(NothingLearntError, match=f"step {last}: no image of the last"):
                monitor.check(self.NOTHING, step=last)

    def test_one_step_that_learns_is_enough(self):
        monitor = IdleMonitor(4)
        for step in range(4):
            learns = {"total": 0.0, "gradient_norm": 0.1} if step == 2 else self.NOTHING
            monitor.check(learns, step=step)


class TestScale:
    def test_healthy_predictions_pass(self):
        assert stopped_at(lambda step: predictions(mean=1 + step, maximum=10 + step)) == (None, "")

    def test_growth_is_stopped_once_it_has_been_huge_for_long_enough(self):
        def grows(step):
            return predictions(std=1.1**step, maximum=3 * 1.1**step)

        first = next(step for step in range(200) if 3 * 1.1**step > LARGEST)
        step, said = stopped_at(grows, patience=10)
        assert step == first + 9
        assert f"huge since step {first}" in said
        assert "lower learning rate" in said
        assert 3 * 1.1**step < 2**31  # long before float32 or bfloat16 overflows

    def test_a_shift_that_runs_away_leaves_a_constant(self):
        step, said = stopped_at(lambda step: predictions(mean=2.0**step, std=1.0, maximum=2.0**14))
        assert step == 11 + 9
        assert "constant since step 11" in said

    def test_a_dead_last_layer_is_zero_not_constant(self):
        step, said = stopped_at(
            lambda step: predictions() if step < 5 else predictions(0.0, 0.0, 0.0)
        )
        assert step == 5 + 9
        assert "zero since step 5" in said
        assert "begin anew" in said

    def test_odd_steps_are_no_drift(self):
        odd = predictions(maximum=10 * LARGEST)
        assert stopped_at(lambda step: predictions() if step % 10 == 9 else odd) == (None, "")

    def test_a_monitor_that_goes_on_stops_where_it_would_have(self):
        def dies(step):
            return predictions() if step < 3 else predictions(0.0, 0.0, 0.0)

        first = ScaleMonitor(patience=10)
        for step in range(7):
            first.check(dies(step), step=step)
        assert first.state_dict() == {"zero": 3}
        second = ScaleMonitor(patience=10)
        second.load_state_dict(first.state_dict())
        for step in range(7, 12):
            second.check(dies(step), step=step)
        with pytest.raises(ScaleDriftError, match="zero since step 3"):
            second.check(dies(12), step=12)

    def test_is_an_error_of_the_model(self):
        assert issubclass(ScaleDriftError, ModelError)

    def test_no_patience_is_refused(self):
        with pytest.raises(ValueError, match="at least 1 step, not 0"):
            ScaleMonitor(patience=0)

    def test_metrics_without_predictions_are_an_error(self):
        with pytest.raises(KeyError, match="prediction_mean"):
            ScaleMonitor().check({"total": 1.0}, step=0)


@pytest.mark.parametrize("encoder", ["scratch:tiny", "scratch:s"])
@torch.inference_mode()
def test_a_new_network_is_far_from_every_rule(encoder):
    trainable = TrainableDepth(build_network(encoder, size=70))
    noise = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    disparity = trainable(noise).map_BHW
    assert disparity.std() > 8 * LEAST_SPREAD * disparity.mean()
    assert 0 < disparity.max() < LARGEST / 1000
