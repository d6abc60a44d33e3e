"""How models score on a handful of real photographs with real depth, each data set by itself.

    .venv/bin/python benchmarks/real_pairs.py MODEL… --data DIR [--store DIR] [--protocol REF]

``DIR`` has a folder per data set, with pairs such as ``a_rgb.png`` and ``a_depth.png`` in the data
set's own encoding: `FOLDERS` says which. Two images say little of a model; the point is that every
encoding ends in plausible numbers, and that the sign, the unit and the mask of each are right. A
model that always says "the lower in the picture, the nearer" is scored beside: what does not beat
it has not learnt to see. Models are references, as for `factory evaluate`.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jobs.config import IngestConfig
from jobs.console import Reporter
from jobs.evaluate import evaluate
from jobs.evaluate_config import EvaluateConfig
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from model.evaluation import evaluate_image, summarise
from model.protocols import protocol
from pipeline.shards import read_image_rows

FOLDERS = {
    "kitti": "png-256",
    "kitti_road_u16": "png-mm",
    "nyu_sync": "png-mm",
    "nyu_rel_u16": "png-relative",
    "fastdepth_nyu": "npy-m",
    "tum_rgbd": "png-5000",
    "icl_nuim": "png-5000",
    "seven_scenes": "png-mm",
    "redwood": "png-mm",
    "sunrgbd": "png-sunrgbd",
    "esanet_kinect2": "png-10000",
    "pgm16_rgbd": "pgm-mm",
    "phoxi_npy": "npy-m",
    "tartanair": "npy-m",
    "middlebury14_npz": "npz-disparity",
    "middlebury_png8": "png8-disparity",
    "sceneflow_pfm": "pfm-disparity",
}


def main() -> None:
    """Ingest, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", help="where the models are known; a temporary one without it")
    parser.add_argument("--protocol", default="relative@1")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        common = {"store": asked.store or scratch}
        sources = [name for name in FOLDERS if (asked.data / name).is_dir()]
        for name in sources:
            bring_in(asked.data / name, FOLDERS[name], common)
        summary = evaluate(
            EvaluateConfig(
                models=tuple(asked.models),
                benchmark=tuple(f"{asked.protocol}=real-{name}" for name in sources),
                actors=0,
                pictures=0,
                **common,
            ),
            reporter=Reporter.silent(),
        )
        floor = {name: lower_is_nearer(name, asked.protocol, common) for name in sources}
    print_table(summary, floor, sources)


def bring_in(folder: Path, truth: str, common: dict[str, Any]) -> None:
    """One data set as a benchmark source; known images are not read again."""
    ingest(
        IngestConfig(
            uri=str(folder),
            source=f"real-{folder.name}",
            role="benchmark",
            layout="pairs",
            truth=truth,
            **common,
        )
    )


def lower_is_nearer(name: str, ref: str, common: dict[str, Any]) -> dict[str, Any]:
    """The scores of a plane that comes nearer towards the lower edge of each image."""
    rules = protocol(ref)
    config = EvaluateConfig(models=(), benchmark=(), **common)
    with open_workspace(config) as workspace:
        records = [
            record
            for shard in workspace.catalog.image_shards(f"real-{name}")
            for record in read_image_rows(workspace.store, shard.key)
        ]
    scores = []
    for record in records:
        assert record.truth is not None
        height, width = record.truth.values_HW.shape
        plane_HW = np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, 1)
        score = evaluate_image(
            plane_HW,
            record.truth.values_HW,
            geometry="disparity_affine_invariant",
            truth_geometry=record.truth.geometry,
            protocol=rules,
        )
        scores.append(score)
    return summarise(scores)


def print_table(summary: dict[str, Any], floor: dict[str, Any], sources: list[str]) -> None:
    """AbsRel and δ1 in depth: a data set per row, a model per column, the plane last."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sources}
    for result in summary["results"]:
        rows[result["source"].removeprefix("real-")].append(result)
    names = [Path(result["model"]).name for result in next(iter(rows.values()))]
    print(f"| data set | images | {' | '.join(names)} | lower is nearer |")
    print("|---" + "|--:" * (len(names) + 2) + "|")
    totals: list[list[float]] = [[] for _ in range(len(names) + 1)]
    for name, results in rows.items():
        all_of_them = [*results, floor[name]]
        for column, result in zip(totals, all_of_them, strict=True):
            if (value := result["metrics"]["depth"]["abs_rel"]) is not None:
                column.append(value)
        print(f"| {name} | {results[0]['images']} | {' | '.join(map(shown, all_of_them))} |")
    means = " | ".join(f"{statistics.fmean(column):.3f}" for column in totals)
    print(f"| mean AbsRel | | {means} |")


def shown(result: dict[str, Any]) -> str:
    """AbsRel / δ1 of one result; RMSE of disparity in 0..1 where the truth has no depth."""
    depth, disparity = (result["metrics"].get(space, {}) for space in ("depth", "disparity"))
    if depth.get("abs_rel") is not None:
        return f"{depth['abs_rel']:.3f} / {depth['delta1']:.3f}"
    return f"rmse {disparity['rmse']:.3f}" if disparity.get("rmse") is not None else "–"


if __name__ == "__main__":
    main()
