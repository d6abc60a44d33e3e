"""What an evaluation is going to do; everything that can be wrong is found here, before any actor.

Models are loaded once on the CPU and looked at. A model and a protocol that do not fit each other
end the command: a table with holes would be compared as if it had none.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import torch
import transformers

from jobs.errors import ConfigError
from jobs.evaluate_benchmarks import Benchmark
from jobs.evaluate_config import EvaluateConfig
from jobs.evaluate_engine import EvaluationTask
from jobs.evaluate_models import ModelSpec
from jobs.evaluate_scoring import Scoring
from jobs.evaluation_result import EvaluatedModel
from jobs.model_licences import licence_of_model
from jobs.models import ModelLocation, fetch_model, locate_model
from jobs.settings import value_problems
from jobs.version import code_digest
from jobs.workspace import Workspace
from model.comparison import check_prediction
from model.depth_model import DepthModel, load_depth_model
from model.errors import CheckpointError
from pipeline.errors import ShardCorruptError
from pipeline.records import ShardRef
from pipeline.scores import ScorePart
from pipeline.shards import row_group_rows

DIRTY = ".dirty"

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model under one protocol on one source."""

    model: EvaluatedModel
    spec: ModelSpec
    benchmark: Benchmark
    scoring: Scoring

    def settings(self, *, device: str, code_version: str) -> dict[str, Any]:
        """Everything that decides scores but for the images and how many share a batch.

        The latter changes them by rounding alone.
        """
        return self.scoring.as_dict() | {
            "side": self.model.side,
            "precision": self.model.precision,
            "device": device,
            "code_version": code_version,
            "code": code_digest(),
            "libraries": library_versions(),
        }


def check_options(config: EvaluateConfig) -> None:
    """What is wrong with the options alone.

    Raises:
        ConfigError: With every problem.
    """
    problems = value_problems(config)
    if not config.models:
        problems.append("name at least one model to evaluate")
    if config.out == "":
        problems.append("--out is empty: name a folder")
    elif config.out is not None and Path(config.out).expanduser().is_file():
        problems.append(f"--out {config.out} is a file: name a folder")
    if problems:
        raise ConfigError(problems)


def find_evaluations(
    config: EvaluateConfig,
    workspace: Workspace,
    benchmarks: Sequence[Benchmark],
    *,
    precision: str,
    warn: Warn,
) -> list[Evaluation]:
    """Every model on every benchmark, model by model.

    Raises:
        CheckpointError: Not a depth model, or not the one that the catalog has under this name.
        ConfigError: A model that a protocol cannot score, or that is named twice.
    """
    found, problems = [], list[str]()
    seen: dict[str, str] = {}
    for reference in dict.fromkeys(config.models):
        looks = _Looks(reference, workspace, precision)
        if (same := seen.setdefault(looks.sha256, reference)) != reference:
            problems.append(f"{same} and {reference} are the same model, sha256 {looks.sha256}")
        for benchmark in benchmarks:
            model, spec = looks.at(_side(config, benchmark, looks, warn))
            try:
                check_prediction(model.geometry, benchmark.protocol)
            except ValueError as error:
                says = f"{reference} predicts {model.geometry}: {error}"
                problems.append(f"--benchmark {benchmark.name}: {says}")
            how = config.upsampling or benchmark.protocol.interpolation
            scoring = Scoring(protocol=benchmark.protocol, upsampling=how)
            found.append(Evaluation(model, spec, benchmark, scoring))
    if problems:
        raise ConfigError(problems)
    return found


class _Looks:
    """What is to be known of a model, at the sizes that it is asked for."""

    def __init__(self, reference: str, workspace: Workspace, precision: str) -> None:
        self._reference = reference
        self._precision = precision
        self._workspace = workspace
        self._location = locate_model(reference, workspace.catalog)
        self._files = fetch_model(self._location, workspace.store)
        model = self._load(None)
        self._location.check(model.sha256)
        self.sha256 = model.sha256
        self.own_side = model.preprocessing.side
        self._facts = self._described(model)
        self._sides = {self.own_side}

    def can_run_at(self, side: int) -> CheckpointError | None:
        """Why it cannot; None where it can."""
        if side not in self._sides:
            try:
                self._load(side)
            except CheckpointError as error:
                return error
            self._sides.add(side)
        return None

    def at(self, side: int) -> tuple[EvaluatedModel, ModelSpec]:
        """The model at that size, for results and for engines."""
        model = EvaluatedModel(**self._facts, side=side, precision=self._precision)
        spec = ModelSpec(
            name=model.name,
            location=self._location,
            sha256=model.sha256,
            side=side,
            precision=self._precision,
        )
        return model, spec

    def _load(self, side: int | None) -> DepthModel:
        return load_depth_model(self._files, device="cpu", precision="fp32", side=side)

    def _described(self, model: DepthModel) -> dict[str, Any]:
        known = self._workspace.catalog.find_model(model.sha256)
        name = self._location.name or (known.name if known else self._reference)
        return {
            "name": name,
            "sha256": model.sha256,
            "family": model.family,
            "geometry": model.geometry,
            "parameters": model.parameters,
            "licence": (known.licence if known else None) or _licence(self._location),
        }


def _licence(location: ModelLocation) -> str | None:
    return licence_of_model(location.value) if location.kind == "plain" else None


def _side(config: EvaluateConfig, benchmark: Benchmark, looks: _Looks, warn: Warn) -> int:
    """The size asked for; the protocol's where the model can run there; else the model's own."""
    if config.size is not None:
        if (error := looks.can_run_at(config.size)) is not None:
            raise error
        return config.size
    wanted = benchmark.protocol.size
    if wanted is None:
        return looks.own_side
    if (error := looks.can_run_at(wanted)) is not None:
        warn(f"{benchmark.name}: {error}; it is evaluated at its own {looks.own_side}")
        return looks.own_side
    return wanted


def evaluation_tasks(
    evaluations: Iterable[Evaluation],
    workspace: Workspace,
    *,
    device: str,
    code_version: str,
    fresh: bool,
) -> dict[Evaluation, list[EvaluationTask]]:
    """The parts of each evaluation in the order of its images.

    Scores of code that differs from every commit are not kept: nobody could say what made them.
    """

    @cache
    def groups(shard: ShardRef) -> tuple[list[int], bool]:
        """Rows of each, and whether that is known."""
        try:
            return row_group_rows(workspace.store, shard.key), True
        except (ShardCorruptError, FileNotFoundError):
            # Whoever reads it will say why. Its first group may have been scored when it was whole:
            # with that alone, the images of the others would be missing and nobody would say so.
            return [shard.rows], False

    return {
        evaluation: [
            EvaluationTask(
                model=evaluation.spec,
                scoring=evaluation.scoring,
                shard=shard,
                part=_part(evaluation, shard, group, settings),
                rows=rows,
                keep=is_known and DIRTY not in code_version,
                replace=fresh,
            )
            for shard in evaluation.benchmark.shards
            for found, is_known in [groups(shard)]
            for group, rows in enumerate(found)
        ]
        for evaluation in evaluations
        for settings in [evaluation.settings(device=device, code_version=code_version)]
    }


def _part(
    evaluation: Evaluation, shard: ShardRef, group: int, settings: dict[str, Any]
) -> ScorePart:
    return ScorePart(
        source=shard.source,
        shard_id=shard.shard_id,
        image_shard_sha256=shard.sha256,
        group=group,
        model_sha256=evaluation.model.sha256,
        settings=settings,
    )


def local_threads() -> int:
    """Decoding threads, and as many that score, of the engine in this process."""
    return max(2, os.cpu_count() or 1)


def library_versions() -> dict[str, str]:
    """What else decides numbers: who decodes, resizes and computes."""
    libraries = (np, cv2, PIL, torch, transformers)
    return {each.__name__: str(each.__version__) for each in libraries}
