"""Which size, precision and place an evaluation gets where nobody says."""

from pathlib import Path
from typing import Any

import pytest

from jobs import evaluate_plan
from jobs.errors import ConfigError
from jobs.evaluate_benchmarks import Benchmark, parse_benchmarks
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_plan import Evaluation, evaluation_tasks, find_evaluations
from jobs.evaluate_workers import choose_place
from jobs.ray_runtime import Node, Resources
from jobs.workspace import Workspace, open_workspace
from model.errors import CheckpointError
from model.protocols import Protocol
from tests.factories import image_shard, tiny_teacher

LAPTOP = Resources((Node(cpus=8),))
WORKSTATION = Resources((Node(cpus=16, gpus=2),))


def config(*models: str, **changes: Any) -> EvaluateConfig:
    return EvaluateConfig(models=models, benchmark=(), **changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_teacher(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def workspace(tmp_path: Path):
    with open_workspace(config(store=str(tmp_path / "store"))) as workspace:
        yield workspace


def benchmark(workspace: Workspace, **changes: Any) -> Benchmark:
    rules = Protocol(name="test", version=1, description="", **changes)
    shard = image_shard(workspace.store, range(70), truth=True)
    return Benchmark(rules, "pictures", (shard,), "digest")


def planned(workspace: Workspace, model: str, **changes: Any) -> tuple[Evaluation, list[str]]:
    rules = {name: changes.pop(name) for name in ("size_of_protocol",) if name in changes}
    warnings: list[str] = []
    (found,) = find_evaluations(
        config(model, **changes),
        workspace,
        [benchmark(workspace, size=rules.get("size_of_protocol"))],
        precision="fp32",
        warn=warnings.append,
    )
    return found, warnings


@pytest.mark.parametrize(
    ("asked", "of_protocol", "side"),
    [(None, None, 42), (None, 56, 56), (70, 56, 70), (70, None, 70), (42, 56, 42)],
)
def test_the_size_asked_for_then_the_protocols_then_the_models_own(
    workspace, model, asked, of_protocol, side
):
    found, warnings = planned(workspace, model, size=asked, size_of_protocol=of_protocol)
    assert (found.model.side, found.spec.side, warnings) == (side, side, [])


def test_a_model_of_one_size_keeps_it_and_that_is_said(workspace, model, monkeypatch):
    """The protocol's size is a default; one that was asked for is an error."""
    from jobs import evaluate_plan

    load = evaluate_plan.load_depth_model

    def load_at_42(*arguments: Any, side: int | None, **options: Any) -> Any:
        if side not in (None, 42):
            raise CheckpointError("this network runs at 42 pixels only")
        return load(*arguments, side=side, **options)

    monkeypatch.setattr(evaluate_plan, "load_depth_model", load_at_42)
    found, warnings = planned(workspace, model, size_of_protocol=56)
    assert found.model.side == 42 and "at its own 42" in warnings[0]
    with pytest.raises(CheckpointError, match="42 pixels only"):
        planned(workspace, model, size=56)


def test_the_way_to_upsample_is_the_protocols_unless_another_is_asked_for(workspace, model):
    assert planned(workspace, model)[0].scoring.upsampling == "bilinear"
    assert planned(workspace, model, upsampling="bicubic")[0].scoring.upsampling == "bicubic"


def test_a_part_for_each_row_group_named_after_all_that_decides_it(workspace, model, monkeypatch):
    found, _ = planned(workspace, model)

    def keys(**changes: Any) -> list[str]:
        options: dict[str, Any] = {"device": "cpu", "code_version": "1", "fresh": False}
        (tasks,) = evaluation_tasks([found], workspace, **options | changes).values()
        assert [task.rows for task in tasks] == [64, 6]
        return [task.part.key for task in tasks]

    assert len({*keys(), *keys(device="cuda"), *keys(code_version="2")}) == 6
    with monkeypatch.context() as patched:
        patched.setattr(evaluate_plan, "code_digest", lambda: "other modules of the same version")
        others = keys()
    assert not {*others} & {*keys()}
    assert keys(fresh=True) == keys()


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_is_left_of_a_shard_that_cannot_be_read_is_not_taken_for_all_of_it(
    workspace, model, is_gone
):
    """Its first group may have been scored; with that alone, the others would just be missing."""
    (found,) = find_evaluations(
        config(model), workspace, [benchmark(workspace)], precision="fp32", warn=pytest.fail
    )
    key = found.benchmark.shards[0].key
    workspace.store.delete(key)
    if not is_gone:
        workspace.store.put(key, b"PAR1")
    options = {"device": "cpu", "code_version": "1", "fresh": False}
    (tasks,) = evaluation_tasks([found], workspace, **options).values()
    assert [(task.rows, task.keep) for task in tasks] == [(70, False)]


@pytest.mark.parametrize(
    ("resources", "changes", "actors"),
    [
        (LAPTOP, {}, None),
        (LAPTOP, {"actors": 2}, 2),
        (LAPTOP, {"ray": "auto"}, 1),
        (WORKSTATION, {}, 2),
        (WORKSTATION, {"actors": 0, "gpus_per_actor": 0.0}, None),
    ],
)
def test_small_work_stays_in_this_process(resources, changes, actors):
    place = choose_place(config(**changes), resources)
    assert (place.actors.count if place.actors else None) == actors


def test_auto_is_bf16_on_gpus_alone():
    assert choose_place(config(precision="auto", actors=1), WORKSTATION).precision == "bf16"
    assert choose_place(config(precision="auto", actors=1), LAPTOP).precision == "fp32"
    here = choose_place(config(precision="auto", actors=0, gpus_per_actor=0.0), WORKSTATION)
    assert (here.precision, here.device) == ("fp32", "cpu")


def test_gpus_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="--gpus-per-actor 1"):
        choose_place(config(actors=1, gpus_per_actor=1.0), LAPTOP)


def test_benchmarks_are_named_once():
    parsed = parse_benchmarks(("relative@1=a", "metric=a", "relative=a", "relative@1=b"))
    assert [(rules.ref, source) for rules, source in parsed] == [
        ("relative@1", "a"),
        ("metric@1", "a"),
        ("relative@1", "b"),
    ]


def test_all_that_is_wrong_with_benchmarks_is_said_at_once():
    with pytest.raises(ConfigError) as refused:
        parse_benchmarks(("relative@1", "=a", "nothing@9=a"))
    assert len(refused.value.problems) == 3
