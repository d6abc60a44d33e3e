import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from model.batches import Batch, Sample, collate, normalise, to_unit
from model.errors import NonFiniteLossError
from model.losses import affine_invariant_loss, cutmix_loss, feature_alignment_loss
from model.optimisation import build_optimiser, load_training_state, training_state
from model.perturbations import cutmix, generator_for, perturb_colours
from model.recipes import V1, override
from model.training import TIMINGS, fit
from model.training_step import StepLosses, TrainingStep

SIZE = 16
FAST = override(V1, learning_rate=2e-3, size=SIZE)


pytestmark = pytest.mark.usefixtures("one_thread")


class TinyDepth(nn.Module):
    """Patches of 4×4 as tokens, and a head that sees tokens and pixels; remembers its inputs."""

    def __init__(self, seed=0, width=16):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Conv2d(3, width, 4, stride=4)
        self.head = nn.Sequential(nn.Conv2d(width + 3, 16, 1), nn.GELU(), nn.Conv2d(16, 1, 1))
        self.seen = []

    def forward(self, pixels):
        self.seen.append(pixels.detach().clone())
        tokens = self.backbone(pixels)
        grown = nn.functional.interpolate(tokens, scale_factor=4)
        disparity = self.head(torch.cat([grown, pixels], dim=1))[:, 0]
        return SimpleNamespace(map_BHW=disparity, features_BNC=tokens.flatten(2).transpose(1, 2))


class Frozen:
    """The encoder of another ``TinyDepth``; remembers its inputs."""

    def __init__(self, seed=5):
        self.encoder = TinyDepth(seed).backbone
        self.seen = []

    def __call__(self, pixels):
        assert not torch.is_grad_enabled()
        self.seen.append(pixels.clone())
        return self.encoder(pixels).flatten(2).transpose(1, 2)


def images_and_depth(seed, count):
    """Random smooth images whose disparity has a closed form: red less half of blue."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = np.kron(small, np.ones((SIZE // 4, SIZE // 4, 1), np.uint8))
        target = (image[..., 0] - 0.5 * image[..., 2]).astype(np.float32) / 255
        target[rng.random((SIZE, SIZE)) < 0.1] = np.nan
        yield Sample(image, target)


def batch(seed=0, count=4):
    return collate(list(images_and_depth(seed, count)))


@dataclasses.dataclass
class Pair:
    labelled: Batch | None = None
    pseudo: Batch | None = None


def stream(start=0):
    """Endless inputs, a function of the step alone."""
    step = start
    while True:
        yield Pair(batch(2 * step, 2), batch(2 * step + 1, 4))
        step += 1


def losses_equal(one, two):
    return all(
        torch.equal(getattr(one, field.name), getattr(two, field.name))
        for field in dataclasses.fields(StepLosses)
        if getattr(one, field.name) is not None
    )


class TestStep:
    def test_is_the_papers_step_put_together_by_hand(self):
        network, frozen = TinyDepth(), Frozen()
        labelled, pseudo = batch(1, 2), batch(2, 4)
        recipe = override(FAST, cutmix_probability=1.0)
        step = TrainingStep(network, recipe=recipe, frozen_encoder=frozen, seed=3, rank=1)
        losses = step(labelled, pseudo, step=11)

        generator = generator_for(seed=3, step=11, rank=1)
        colours = perturb_colours(to_unit(pseudo.images_B3HW), recipe=recipe, generator=generator)
        mixed = cutmix(colours, recipe=recipe, generator=generator)
        assert mixed.mask_BHW.any()
        first, second = (
            network(normalise(labelled.images_B3HW)),
            network(normalise(mixed.images_B3HW)),
        )
        expected_labelled = affine_invariant_loss(
            first.map_BHW, labelled.target_BHW, labelled.valid_BHW
        ).mean()
        expected_pseudo = cutmix_loss(
            second.map_BHW,
            pseudo.target_BHW[mixed.partner_B],
            pseudo.target_BHW,
            mixed.mask_BHW,
            pseudo.valid_BHW[mixed.partner_B],
            pseudo.valid_BHW,
        ).mean()
        with torch.no_grad():
            features = frozen(normalise(mixed.images_B3HW))
        expected_feature = feature_alignment_loss(second.features_BNC, features)
        torch.testing.assert_close(losses.labelled, expected_labelled)
        torch.testing.assert_close(losses.pseudo, expected_pseudo)
        torch.testing.assert_close(losses.feature, expected_feature.value_B.mean())
        torch.testing.assert_close(losses.kept_share, expected_feature.kept_share_B.mean())
        total = (losses.labelled + losses.pseudo + losses.feature) / 3
        torch.testing.assert_close(losses.total, total)

    def test_runs_the_network_once_over_clean_labelled_and_perturbed_pseudo_images(self):
        network, frozen = TinyDepth(), Frozen()
        labelled, pseudo = batch(1, 2), batch(2, 4)
        TrainingStep(network, recipe=FAST, frozen_encoder=frozen)(labelled, pseudo, step=0)
        (pixels,) = network.seen
        assert torch.equal(pixels[:2], normalise(labelled.images_B3HW))
        assert not torch.allclose(pixels[2:], normalise(pseudo.images_B3HW), atol=0.1)
        (frozen_pixels,) = frozen.seen
        assert torch.equal(frozen_pixels, pixels[2:])

    def test_a_teacher_has_the_labelled_loss_alone(self):
        frozen = Frozen()
        losses = TrainingStep(TinyDepth(), recipe=FAST, frozen_encoder=frozen)(
            batch(), None, step=0
        )
        assert torch.equal(losses.total, losses.labelled)
        assert (losses.pseudo, losses.feature, losses.kept_share) == (None, None, None)
        assert not frozen.seen

    def test_pseudo_labels_alone_will_do_and_nothing_at_all_will_not(self):
        step = TrainingStep(TinyDepth(), recipe=FAST)
        losses = step(None, batch(), step=0)
        assert torch.equal(losses.total, losses.pseudo)
        assert losses.labelled is None
        with pytest.raises(ValueError, match="labelled or pseudo-labelled"):
            step(None, None, step=0)

    def test_perturbations_follow_from_seed_step_and_rank_alone(self):
        pseudo = batch()

        def loss(*, seed=0, rank=0, step=0):
            network = TinyDepth(0)
            torch.seed()  # a hidden generator in another state each time
            return TrainingStep(network, recipe=FAST, seed=seed, rank=rank)(None, pseudo, step=step)

        base = loss()
        assert losses_equal(base, loss())
        for other in (loss(seed=1), loss(rank=1), loss(step=1)):
            assert not torch.equal(base.total, other.total)

    def test_monitors_are_of_the_whole_prediction(self):
        network = TinyDepth()
        losses = TrainingStep(network, recipe=FAST)(batch(), None, step=0)
        disparity = network(normalise(batch().images_B3HW)).map_BHW.detach().numpy()
        assert losses.prediction_mean.item() == pytest.approx(disparity.mean(), abs=1e-6)
        assert losses.prediction_std.item() == pytest.approx(disparity.std(), rel=1e-5)
        assert losses.prediction_maximum.item() == pytest.approx(disparity.max())
        assert not losses.prediction_mean.requires_grad

    def test_bf16_runs_the_networks_in_bf16_and_the_losses_in_fp32(self):
        dtypes = []

        class Watched(TinyDepth):
            def forward(self, pixels):
                output = super().forward(pixels)
                dtypes.append(output.map_BHW.dtype)
                return output

        losses = {}
        for precision in ("fp32", "bf16"):
            step = TrainingStep(
                Watched(), recipe=FAST, frozen_encoder=Frozen(), precision=precision
            )
            losses[precision] = step(batch(1), batch(2), step=0)
            losses[precision].total.backward()
        assert dtypes == [torch.float32, torch.bfloat16]
        assert losses["bf16"].total.dtype == torch.float32
        torch.testing.assert_close(losses["bf16"].total, losses["fp32"].total, rtol=0.05, atol=0.02)
        with pytest.raises(ValueError, match=r"fp32, bf16, not 'fp8'"):
            TrainingStep(TinyDepth(), recipe=FAST, precision="fp8")

    def test_a_map_of_another_size_is_refused(self):
        class Small(TinyDepth):
            def forward(self, pixels):
                output = super().forward(pixels)
                output.map_BHW = output.map_BHW[:, ::2, ::2]
                return output

        with pytest.raises(ValueError, match=r"\(4, 8, 8\).*\(4, 3, 16, 16\)"):
            TrainingStep(Small(), recipe=FAST)(batch(), None, step=0)

    def test_a_batch_without_a_valid_pixel_is_a_loss_of_zero_without_a_pull(self):
        empty = batch()
        empty = Batch(empty.images_B3HW, empty.target_BHW, torch.zeros_like(empty.valid_BHW))
        network = TinyDepth()
        losses = TrainingStep(network, recipe=FAST)(empty, empty, step=0)
        losses.total.backward()
        assert losses.total.item() == 0
        assert all((p.grad == 0).all() for p in network.parameters())


def untimed(metrics):
    return {name: value for name, value in metrics.items() if name not in TIMINGS}


def run(network, *, steps, recipe=FAST, start_step=0, total=None, state=None, **options):
    """Losses of some steps, and everything that has to be saved to go on."""
    optimiser, schedule = build_optimiser(network, recipe, steps=total or steps)
    if state is not None:
        start_step = load_training_state(state, network, optimiser=optimiser, schedule=schedule)
    found = []
    fit(
        TrainingStep(network, recipe=recipe, frozen_encoder=Frozen(), seed=9),
        options.pop("batches", None) or stream(start_step),
        optimiser=optimiser,
        schedule=schedule,
        steps=steps,
        start_step=start_step,
        clip_norm=recipe.clip_norm,
        on_step=lambda done, metrics: found.append((done, untimed(metrics))),
        **options,
    )
    return found, training_state(network, optimiser=optimiser, schedule=schedule, step=steps)


class TestFit:
    @pytest.mark.parametrize("stop", [1, 5, 7])
    def test_a_run_that_stopped_and_went_on_is_the_run_that_never_stopped(self, stop):
        straight, end = run(TinyDepth(), steps=8)
        first, state = run(TinyDepth(), steps=stop, total=8)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=True)
        second, other_end = run(TinyDepth(seed=77), steps=8, state=loaded)
        assert first + second == straight
        for name, tensor in end["network"].items():
            assert torch.equal(tensor, other_end["network"][name])

    def test_learns_a_depth_with_a_closed_form(self):
        found, _ = run(TinyDepth(), steps=120, recipe=override(FAST, learning_rate=5e-3))
        labelled = [metrics["labelled"] for _, metrics in found]
        pseudo = [metrics["pseudo"] for _, metrics in found]
        assert np.mean(labelled[-10:]) < np.mean(labelled[:5]) / 3
        assert np.mean(pseudo[-10:]) < np.mean(pseudo[:5]) * 0.8

    def test_every_step_reports_losses_monitors_and_rates_as_floats(self):
        found, _ = run(TinyDepth(), steps=2)
        assert [done for done, _ in found] == [1, 2]
        wanted = {field.name for field in dataclasses.fields(StepLosses)}
        wanted -= {"labelled_gradient", "pseudo_gradient"}  # V2's
        wanted |= {"gradient_norm", "learning_rate_encoder", "learning_rate_head"}
        for _, metrics in found:
            assert set(metrics) == wanted
            assert {type(value) for value in metrics.values()} == {float}
        rates = [metrics["learning_rate_head"] for _, metrics in found]
        assert rates == pytest.approx([2e-2, 1e-2])

    def test_a_missing_loss_is_not_reported_as_a_number(self):
        found, _ = run(TinyDepth(), steps=1, batches=[Pair(labelled=batch())])
        assert "labelled" in found[0][1]
        assert not {"pseudo", "feature", "kept_share"} & set(found[0][1])

    def test_checkpoints_come_regularly_and_at_the_end_with_the_input_they_follow(self):
        inputs = [Pair(batch(i, 2), batch(i + 50, 2)) for i in range(9)]
        calls = []
        run(
            TinyDepth(),
            steps=7,
            batches=inputs,
            on_checkpoint=lambda done, step_input: calls.append((done, step_input)),
            checkpoint_steps=3,
        )
        assert [done for done, _ in calls] == [3, 6, 7]
        assert all(step_input is inputs[done - 1] for done, step_input in calls)

    def test_no_batch_is_drawn_that_is_not_used(self):
        source = iter([Pair(labelled=batch(i)) for i in range(5)])
        run(TinyDepth(), steps=3, batches=source)
        assert len(list(source)) == 2

    def test_too_few_batches_are_an_error(self):
        with pytest.raises(ValueError, match="batches ended after step 2 of 5"):
            run(TinyDepth(), steps=5, batches=[Pair(labelled=batch()), Pair(labelled=batch(1))])

    @pytest.mark.parametrize("limit", [0.01, 1e6])
    def test_gradients_are_clipped_to_the_norm_and_reported_unclipped(self, limit):
        norms = []

        class Watch(torch.optim.SGD):
            def step(self, *args, **kwargs):
                grads = [p.grad for group in self.param_groups for p in group["params"]]
                norms.append(
                    torch.linalg.vector_norm(torch.cat([g.flatten() for g in grads])).item()
                )
                return super().step(*args, **kwargs)

        network = TinyDepth()
        optimiser = Watch(network.parameters(), lr=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
        metrics = fit(
            TrainingStep(network, recipe=FAST),
            stream(),
            optimiser=optimiser,
            schedule=schedule,
            steps=1,
            clip_norm=limit,
        )
        assert metrics["gradient_norm"] > 0.01
        assert norms[0] == pytest.approx(min(limit, metrics["gradient_norm"]), rel=1e-3)

    @pytest.mark.parametrize("where", ["loss", "gradient"])
    def test_a_loss_that_is_not_finite_stops_before_the_optimiser_by_name(self, where):
        class Broken(TinyDepth):
            def forward(self, pixels):
                output = super().forward(pixels)
                if len(self.seen) == 3:
                    bad = output.map_BHW.sum() * torch.nan
                    if where == "gradient":  # a finite value whose slope is infinite
                        bad = (output.map_BHW - output.map_BHW.detach()).abs().sum().sqrt()
                    output.map_BHW = output.map_BHW + bad
                return output

        network = Broken()
        optimiser, schedule = build_optimiser(network, FAST, steps=9)
        before = []

        def remember(done, metrics):
            before[:] = [parameter.detach().clone() for parameter in network.parameters()]

        with pytest.raises(
            NonFiniteLossError, match=r"step 3: .*total .*labelled .*pseudo"
        ) as caught:
            fit(
                TrainingStep(network, recipe=FAST),
                stream(),
                optimiser=optimiser,
                schedule=schedule,
                steps=9,
                on_step=remember,
            )
        assert "nan" in str(caught.value)
        for parameter, kept in zip(network.parameters(), before, strict=True):
            assert torch.equal(parameter, kept)
        assert optimiser.state[next(network.parameters())]["step"] == 2

    def test_a_run_that_is_done_does_nothing(self):
        network = TinyDepth()
        before = network.backbone.weight.clone()
        found, _ = run(network, steps=4, start_step=4)
        assert found == []
        assert torch.equal(network.backbone.weight, before)
