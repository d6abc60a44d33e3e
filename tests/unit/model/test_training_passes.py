"""Passes, workers, averages, monitors and clocks of the loop, on a step whose loss is a mean."""

import dataclasses
import io
import time

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.averaging import WeightAverage
from model.batches import Batch
from model.errors import ScaleDriftError
from model.flops import StepWork
from model.monitors import ScaleMonitor
from model.optimisation import build_optimiser, load_training_state, training_state
from model.recipes import V1, override
from model.student import TrainableDepth, build_network
from model.training import TIMINGS, fit
from model.training_step import StepLosses, TrainingStep

FAST = override(V1, learning_rate=0.01)


pytestmark = pytest.mark.usefixtures("one_thread")


class Linear(nn.Module):
    """Pixels to a number per pixel, in an encoder and a head."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Conv2d(3, 5, 1)
        self.head = nn.Conv2d(5, 1, 1)

    def forward(self, pixels):
        return self.head(self.backbone(pixels).tanh())[:, 0]


class MeanStep:
    """Mean squared error, plus noise that follows from the number of the pass; remembers those."""

    def __init__(self, network, noise=0.0):
        self.network = network
        self.noise = noise
        self.numbers = []

    def __call__(self, labelled, pseudo, *, step):
        self.numbers.append(step)
        shape = labelled.target_BHW.shape
        shift = torch.randn(shape, generator=torch.Generator().manual_seed(step)) * self.noise
        seen = self.network(labelled.images_B3HW / 255 + shift[:, None])
        total = (seen - labelled.target_BHW).square().mean()
        seen = seen.detach()
        return StepLosses(
            total=total,
            labelled=total,
            pseudo=None,
            feature=None,
            kept_share=None,
            prediction_mean=seen.mean(),
            prediction_std=seen.std(correction=0),
            prediction_maximum=seen.max(),
        )


@dataclasses.dataclass
class Input:
    labelled: Batch
    number: int = 0
    pseudo: None = None


def batch(seed, count=4, side=6):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    target = images[:, 0] / 255 - images[:, 2] / 510
    return Batch(images, target, torch.ones_like(target, dtype=torch.bool))


def part(whole, first, last):
    return Batch(*(getattr(whole, f.name)[first:last] for f in dataclasses.fields(Batch)))


def halves(wholes):
    """Each batch as two of half the size."""
    for whole in wholes:
        middle = len(whole) // 2
        yield Input(part(whole, 0, middle))
        yield Input(part(whole, middle, len(whole)))


def train(network, batches, *, steps, step=None, **options):
    """Untimed metrics of each step."""
    optimiser, schedule = build_optimiser(network, FAST, steps=options.pop("total", steps))
    if (state := options.pop("state", None)) is not None:
        options["start_step"] = load_training_state(
            state,
            network,
            optimiser=optimiser,
            schedule=schedule,
            average=options.get("average"),
            monitor=options.get("monitor"),
        )
    if (saved := options.pop("saved", None)) is not None:
        options["on_checkpoint"] = lambda done, _: saved.append(
            through_a_file(
                training_state(
                    network,
                    optimiser=optimiser,
                    schedule=schedule,
                    step=done,
                    average=options.get("average"),
                    monitor=options.get("monitor"),
                )
            )
        )
    found = []
    fit(
        step or MeanStep(network),
        batches,
        optimiser=optimiser,
        schedule=schedule,
        steps=steps,
        clip_norm=1.0,
        network=network,
        on_step=lambda done, metrics: found.append(
            {name: value for name, value in metrics.items() if name not in TIMINGS}
        ),
        **options,
    )
    return found


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class TestAccumulation:
    def test_two_half_batches_are_one_batch_where_the_loss_is_a_mean(self):
        wholes = [batch(seed) for seed in range(6)]
        one, two = Linear(), Linear()
        straight = train(one, [Input(whole) for whole in wholes], steps=6)
        split = train(two, halves(wholes), steps=6, accumulate=2)
        for whole_step, split_step in zip(straight, split, strict=True):
            for name in ("total", "labelled", "gradient_norm", "prediction_mean"):
                assert split_step[name] == pytest.approx(whole_step[name], rel=1e-4), name
            assert split_step["prediction_maximum"] == whole_step["prediction_maximum"]
        for first, second in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)

    def test_metrics_are_means_over_the_passes_and_the_largest_maximum(self):
        network = Linear()
        inputs = [Input(batch(seed)) for seed in range(3)]
        passes = [MeanStep(network)(each.labelled, None, step=0) for each in inputs]
        (metrics,) = train(network, inputs, steps=1, accumulate=3)
        for name in ("total", "prediction_mean", "prediction_std"):
            expected = sum(getattr(losses, name).item() for losses in passes) / 3
            assert metrics[name] == pytest.approx(expected, rel=1e-5)
        assert metrics["prediction_maximum"] == pytest.approx(
            max(losses.prediction_maximum.item() for losses in passes)
        )

    def test_passes_are_numbered_and_no_more_is_drawn_than_there_are(self):
        network = Linear()
        step = MeanStep(network)
        source = iter([Input(batch(seed)) for seed in range(9)])
        train(network, source, steps=4, start_step=2, accumulate=3, step=step)
        assert step.numbers == [6, 7, 8, 9, 10, 11]
        assert len(list(source)) == 3

    def test_a_checkpoint_follows_the_last_pass(self):
        network = Linear()
        inputs = [Input(batch(seed), number=seed) for seed in range(6)]
        seen = []
        train(
            network,
            inputs,
            steps=3,
            accumulate=2,
            checkpoint_steps=2,
            on_checkpoint=lambda done, last: seen.append((done, last.number)),
        )
        assert seen == [(2, 3), (3, 5)]

    def test_batches_that_end_within_a_step_are_an_error(self):
        with pytest.raises(ValueError, match="batches ended after step 1 of 2"):
            train(Linear(), [Input(batch(seed)) for seed in range(3)], steps=2, accumulate=2)
        with pytest.raises(ValueError, match="at least one pass, not 0"):
            train(Linear(), [], steps=2, accumulate=0)

    @pytest.mark.parametrize("stop", [1, 4])
    def test_a_run_that_went_on_is_the_run_that_never_stopped(self, stop):
        """With passes whose noise follows from their number, an average and a monitor."""

        def inputs(step):
            return (Input(batch(number)) for number in range(2 * step, 12))

        def parts(seed):
            network = Linear(seed)
            return network, {
                "step": MeanStep(network, noise=0.1),
                "average": WeightAverage(network, decay=0.9),
                "monitor": ScaleMonitor(),
                "accumulate": 2,
                "total": 6,
            }

        network, options = parts(0)
        straight = train(network, inputs(0), steps=6, **options)
        first, its = parts(0)
        saved = []
        begun = train(first, inputs(0), steps=stop, saved=saved, **its)
        second, others = parts(1)
        ended = train(second, inputs(stop), steps=6, state=saved[-1], **others)
        assert begun + ended == straight
        with options["average"].applied(), others["average"].applied():
            for one, two in zip(network.parameters(), second.parameters(), strict=True):
                assert torch.equal(one, two)
        for one, two in zip(network.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, two)

    def test_gradients_are_exchanged_once_a_step(self, process_group):
        network = DistributedDataParallel(Linear())
        exchanged = []

        def hook(_, bucket):
            exchanged.append(bucket.index())
            future = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        network.register_comm_hook(None, hook)
        plain = Linear()
        wholes = [batch(seed) for seed in range(3)]
        found = train(network, halves(wholes), steps=3, accumulate=2)
        assert len(exchanged) == 3
        assert found == train(plain, halves(wholes), steps=3, accumulate=2)
        for one, two in zip(network.module.parameters(), plain.parameters(), strict=True):
            assert torch.equal(one, two)


class TestAverage:
    def test_is_updated_after_each_step(self):
        network = Linear()
        average = WeightAverage(network, decay=0.5)
        expected = network.head.weight.detach().clone()
        weights = []
        train(
            network,
            [Input(batch(seed)) for seed in range(4)],
            steps=4,
            average=average,
            on_checkpoint=lambda *_: weights.append(network.head.weight.detach().clone()),
            checkpoint_steps=1,
        )
        for n, weight in enumerate(weights):
            decay = min(0.5, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * weight
        with average.applied():
            torch.testing.assert_close(network.head.weight, expected)


class TestMonitor:
    def test_a_real_network_whose_last_layer_grows_is_stopped_before_the_step(self):
        network = TrainableDepth(build_network("scratch:tiny", size=28))
        images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
        target = images[:, 0] / 255
        inputs = [Input(Batch(images, target, target >= 0))] * 30
        last_layer = network.network.head.conv3
        kept = {}

        def grow(done, metrics):
            with torch.no_grad():
                last_layer.weight.mul_(4)
                last_layer.bias.mul_(4)
            kept.update({n: p.detach().clone() for n, p in network.named_parameters()})

        optimiser, schedule = build_optimiser(network, V1, steps=30)
        with pytest.raises(ScaleDriftError, match=r"step 11: .* huge since step 9 ") as caught:
            fit(
                TrainingStep(network, recipe=override(V1, size=28)),
                inputs,
                optimiser=optimiser,
                schedule=schedule,
                steps=30,
                monitor=ScaleMonitor(patience=3),
                on_step=grow,
            )
        assert "maximum" in str(caught.value)
        assert all(torch.equal(p, kept[name]) for name, p in network.named_parameters())


class TestClock:
    @pytest.fixture
    def metrics(self, monkeypatch):
        """Of a step of two passes on a clock that goes as told.

        1 s for a batch, 2 s for a pass and 100 s for whoever is called back.
        """
        now = [0.0]
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])

        def takes(seconds):
            now[0] += seconds

        class Slow(MeanStep):
            def __call__(self, *batches, step):
                takes(2.0)
                return super().__call__(*batches, step=step)

        def slow():
            for seed in range(4):
                takes(1.0)
                yield Input(batch(seed))

        def measure(work=None):
            network = Linear()
            optimiser, schedule = build_optimiser(network, FAST, steps=2)
            return fit(
                Slow(network),
                slow(),
                optimiser=optimiser,
                schedule=schedule,
                steps=2,
                accumulate=2,
                work=work,
                on_step=lambda *_: takes(100.0),
                on_checkpoint=lambda *_: takes(100.0),
                checkpoint_steps=1,
            )

        return measure

    def test_waiting_for_data_is_told_from_the_step_and_callbacks_from_both(self, metrics):
        found = metrics()
        assert found["step_s"] == 6
        assert found["data_wait_share"] == pytest.approx(1 / 3)
        assert found["images_per_s"] == pytest.approx(8 / 6)
        assert not {"tflops", "mfu"} & found.keys()

    def test_operations_become_rates(self, metrics):
        found = metrics(StepWork(flops=3e12, peak_flops=1e12))
        assert found["tflops"] == pytest.approx(0.5)
        assert found["mfu"] == pytest.approx(0.5)
        assert set(TIMINGS) <= found.keys()
