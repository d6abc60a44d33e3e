"""`factory demo`: the whole line on one laptop, offline, in minutes, ending in a report.

Nothing is downloaded, so teacher and student start from random weights and see a few hundred
rendered scenes and a handful of photographs. That is enough to see every part work and to get maps
that tell near from far; it is not enough for a good depth model, and the demo says so.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.config import (
    Common,
    DemoConfig,
    IngestConfig,
    LabelConfig,
    PredictConfig,
    ReportConfig,
)
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.label import label
from jobs.predict import predict
from jobs.ray_runtime import ray_cluster
from jobs.report import report
from jobs.train_student import train_student
from jobs.train_teacher import train_teacher
from jobs.training_config import TrainStudentConfig, TrainTeacherConfig
from jobs.workspace import open_workspace

SIDE = 126  # nine patches of 14 pixels: small enough for a CPU
RENDERED = "synthetic://mixed?n={n}&seed={seed}&width=192&height=144"
TEACHER_STEPS, STUDENT_STEPS, BATCH_SIZE = 400, 250, 12
LEARNING_RATE = 1e-4  # the recipe's 5e-6 is for an encoder that is pretrained
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "rocket.jpg",
)  # fmt: skip
LABEL_SETS = {"photographs": "photograph-labels", "rendered-unlabelled": "rendered-labels"}
# Calibration of the motorcycle pair, from the documentation of skimage.data.stereo_motorcycle.
FOCAL_PX, BASELINE_M, PRINCIPAL_POINT_DX_PX = 994.978, 0.193001, 31.086
LIMITS = (
    "What this shows is that every part works, not good depth: the encoder starts from random "
    "weights instead of DINOv2, sees a few hundred rendered scenes at 126 pixels, and has no "
    "pretrained features to be aligned with. The README says how to use released weights."
)


def demo(config: DemoConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Render, ingest, train, label, train again, evaluate, report; returns where everything is.

    Run again on the same folder, it goes on: what is ingested, labelled or trained stays.
    """
    started = time.monotonic()
    line = _Line(config, reporter or Reporter.silent())
    line.reporter.note(f"$ export FACTORY_STORE={line.store}")
    photographs = _photographs(config, line.out)
    with ray_cluster(config.ray, name="demo"):
        line.ingest(RENDERED.format(n=400, seed=0), "rendered", role="labelled")
        line.ingest(RENDERED.format(n=200, seed=1), "rendered-unlabelled")
        line.ingest(str(photographs), "photographs")
        line.ingest(RENDERED.format(n=40, seed=2), "rendered-held-out", role="benchmark")
        line.ingest(
            str(_stereo_pair(line.out)),
            "motorcycle",
            role="benchmark",
            layout="pairs",
            truth="npy-m",
        )
        line.train_teacher()
        for source, label_set in LABEL_SETS.items():
            line.label(source, label_set)
        line.train_student()
        compared = line.evaluate("demo-teacher", "demo-student")
        line.predict(photographs)
    pages = {target: line.report(target) for target in ("photograph-labels", "demo-student")}
    line.reporter.note(LIMITS)
    return {
        "report": pages["photograph-labels"],
        "student_report": pages["demo-student"],
        "evaluation": str(line.evaluation / "evaluation.html"),
        "predictions": str(line.out / "predictions"),
        "store": line.store,
        "results": compared["results"],
        "limits": LIMITS,
        "seconds": round(time.monotonic() - started, 1),
    }


@dataclass(frozen=True, slots=True)
class _Line:
    """The verbs, with what they have in common filled in; each says its command before it runs."""

    config: DemoConfig
    reporter: Reporter

    @property
    def out(self) -> Path:
        return Path(self.config.out).expanduser().resolve()

    @property
    def store(self) -> str:
        return self.config.store or str(self.out / "store")

    @property
    def evaluation(self) -> Path:
        return self.out / "evaluation"

    def _common(self) -> dict[str, Any]:
        return {"store": self.store, "catalog": self.config.catalog, "ray": self.config.ray}

    def _say(self, command: str) -> None:
        self.reporter.note(f"\n$ factory {command}")

    def ingest(self, uri: str, source: str, *, role: str = "unlabelled", **options: Any) -> None:
        flags = "".join(f" --{name} {value}" for name, value in options.items())
        self._say(f"ingest '{uri}' --source {source} --role {role}{flags}")
        config = IngestConfig(uri=uri, source=source, role=role, **options, **self._common())
        ingest(config, reporter=self.reporter)

    def train_teacher(self) -> None:
        self._say(
            f"train-teacher --labelled rendered --encoder scratch:tiny --name demo-teacher "
            f"--size {SIDE} --steps {TEACHER_STEPS}"
        )
        if self._is_trained("demo-teacher"):
            return
        config = TrainTeacherConfig(
            labelled=("rendered",),
            name="demo-teacher",
            steps=TEACHER_STEPS,
            **self._training(),
        )
        train_teacher(config, reporter=self.reporter)

    def label(self, source: str, label_set: str) -> None:
        self._say(f"label {source} --teacher demo-teacher --label-set {label_set}")
        config = LabelConfig(
            sources=(source,), teacher="demo-teacher", label_set=label_set, **self._common()
        )
        label(config, reporter=self.reporter)

    def train_student(self) -> None:
        self._say(
            f"train-student --labelled rendered --pseudo {' '.join(LABEL_SETS.values())} "
            f"--encoder scratch:tiny --name demo-student --size {SIDE} --steps {STUDENT_STEPS}"
        )
        if self._is_trained("demo-student"):
            return
        config = TrainStudentConfig(
            labelled=("rendered",),
            pseudo=tuple(LABEL_SETS.values()),
            name="demo-student",
            steps=STUDENT_STEPS,
            **self._training(),
        )
        train_student(config, reporter=self.reporter)

    def _is_trained(self, model: str) -> bool:
        with open_workspace(Common(**self._common())) as workspace:
            found = any(row.name == model for row in workspace.catalog.models())
        if found:
            self.reporter.note(f"{model} is there already; remove {self.out} to begin anew")
        return found

    def _training(self) -> Mapping[str, Any]:
        return {
            "encoder": "scratch:tiny",
            "size": SIDE,
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "allow_licence": ("any",),  # what it makes stays on this laptop
            **self._common(),
        }

    def evaluate(self, *models: str) -> dict[str, Any]:
        benchmarks = ("relative@1=rendered-held-out", "relative@1=motorcycle")
        flags = " ".join(f"--benchmark {benchmark}" for benchmark in benchmarks)
        self._say(f"evaluate {' '.join(models)} {flags} --out {self.evaluation}")
        config = EvaluateConfig(
            models=models, benchmark=benchmarks, out=str(self.evaluation), **self._common()
        )
        return evaluate(config, reporter=self.reporter)

    def predict(self, photographs: Path) -> None:
        out = self.out / "predictions"
        self._say(f"predict demo-student {photographs} --out {out}")
        config = PredictConfig(
            model="demo-student", images=(str(photographs),), out=str(out), **self._common()
        )
        predict(config, reporter=self.reporter)

    def report(self, target: str) -> str:
        page = self.out / f"{target}.html"
        self._say(f"report {target} --out {page}")
        report(ReportConfig(target=target, out=str(page), **self._common()), reporter=self.reporter)
        return str(page)


def _photographs(config: DemoConfig, out: Path) -> Path:
    """The user's folder, or a copy of the photographs that ship inside scikit-image."""
    if config.images is not None:
        folder = Path(config.images).expanduser()
        if not folder.is_dir():
            raise ConfigError([f"--images {config.images}: no such folder"])
        return folder
    return _copied(PHOTOGRAPHS, out / "photographs")


def _stereo_pair(out: Path) -> Path:
    """The Middlebury 2014 motorcycle: left view and measured depth in metres, named as a pair."""
    folder = out / "motorcycle"
    scratch = _copied(("motorcycle_left.png", "motorcycle_disp.npz"), out / "scratch")
    folder.mkdir(parents=True, exist_ok=True)
    disparity_px = np.load(scratch / "motorcycle_disp.npz")["arr_0"]
    depth_metric = FOCAL_PX * BASELINE_M / (disparity_px + PRINCIPAL_POINT_DX_PX)
    depth_metric[~np.isfinite(disparity_px)] = np.nan
    np.save(folder / "motorcycle_depth.npy", depth_metric.astype(np.float32))
    shutil.copyfile(scratch / "motorcycle_left.png", folder / "motorcycle_rgb.png")
    shutil.rmtree(scratch)
    return folder


def _copied(names: tuple[str, ...], folder: Path) -> Path:
    try:
        import skimage
    except ImportError as error:
        hint = "the demo needs scikit-image: pip install 'pseudo-label-factory[demo]'"
        raise ConfigError([hint]) from error
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(Path(skimage.__file__).parent / "data" / name, folder / name)
    return folder
