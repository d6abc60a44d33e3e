"""Numbers that others printed, to stand beside ours, and whether anyone got them again.

A printed number is not a target: of Depth Anything's benchmarks only KITTI and NYU come out again
for others, who had the weights and tried; the protocols behind the rest were never released. To
compare, score a released checkpoint in the same run.

KITTI and NYU were got again with V2's weights, aligned in disparity and scored in depth; the author
says of V1 that it was scored in disparity (V1#174). δ1 is the same in either.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Literal

from model.protocol_fields import Protocol

Reproduces = Literal["yes", "about", "no", "untried"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One printed number.

    Attributes:
        data_set: The column it stands in.
        metric: Name of ours that it is comparable with, in its unit: shares, not percent.
        trained_on_it: The model has seen images of this data set in training, so that the number
            is none of zero-shot transfer.
        source: Where it is printed.
        reproduces: Whether others got it again with released weights, under what they took the
            protocol to be: ``yes`` within 5 percent, ``about`` within 10, ``no``, or ``untried``.
        found: What they found, and who; empty where nobody is known to have tried.
    """

    model: str
    data_set: str
    metric: str
    value: float
    source: str
    reproduces: Reproduces = "untried"
    found: str = ""
    trained_on_it: bool = False


# Protocols under which a column's numbers may be held against ours.
_COLUMNS = {
    "kitti-eigen-garg": ("Depth Anything", "KITTI"),
    "nyu-eigen": ("Depth Anything", "NYUv2"),
    "sintel": ("Depth Anything", "Sintel"),
    "ddad": ("Depth Anything", "DDAD"),
    "eth3d": ("Depth Anything", "ETH3D"),
    "diode": ("Depth Anything", "DIODE"),
    "da-2k": ("Depth Anything", "DA-2K"),
    "kitti-metric": ("metric", "KITTI"),
    "nyu-metric": ("metric", "NYUv2"),
    "nyu-affine-depth": ("Marigold", "NYUv2"),
    "midas": ("MiDaS", "NYUv2"),
    "midas-kitti": ("MiDaS", "KITTI"),
    "midas-sintel": ("MiDaS", "Sintel"),
    "midas-eth3d": ("MiDaS", "ETH3D"),
}

_V1 = "Depth Anything, arXiv:2401.10891, table 2"
_V2 = "Depth Anything V2, arXiv:2406.09414, table 2"
_V2_PAIRS = "Depth Anything V2, arXiv:2406.09414, its table of DA-2K"
_V1_METRIC = "Depth Anything, metric_depth/README.md"
_MARIGOLD = "Marigold, arXiv:2312.02145, table 1"
_MIDAS = "MiDaS v3.1, README.md, accuracy"

_SETS = ("KITTI", "NYUv2", "Sintel", "DDAD", "ETH3D", "DIODE")

# Model, then absolute relative error and δ1 on each of `_SETS`; MiDaS was trained on KITTI and NYU.
_V1_ROWS = {
    "MiDaS v3.1 BEiT-L-512": (
        (0.127, 0.850), (0.048, 0.980), (0.587, 0.699), (0.251, 0.766), (0.139, 0.867),
        (0.075, 0.942),
    ),
    "Depth Anything V1 S": (
        (0.080, 0.936), (0.053, 0.972), (0.464, 0.739), (0.247, 0.768), (0.127, 0.885),
        (0.076, 0.939),
    ),
    "Depth Anything V1 B": (
        (0.080, 0.939), (0.046, 0.979), (0.432, 0.756), (0.232, 0.786), (0.126, 0.884),
        (0.069, 0.946),
    ),
    "Depth Anything V1 L": (
        (0.076, 0.947), (0.043, 0.981), (0.458, 0.760), (0.230, 0.789), (0.127, 0.882),
        (0.066, 0.952),
    ),
}  # fmt: skip

# Model, then data set, metric, value, and what kmatzen/plumbline found with the released weights
# (its `REPRODUCTIONS.md`).
_PLUMBLINE = "plumbline"
_V2_ROWS: dict[str, tuple[tuple[str, str, float, float | None], ...]] = {
    "Depth Anything V2 S": (
        ("KITTI", "abs_rel", 0.078, 0.0770),
        ("NYUv2", "abs_rel", 0.053, 0.0510),
        ("Sintel", "abs_rel", 0.500, None),
        ("Sintel", "delta1", 0.718, None),
        ("ETH3D", "abs_rel", 0.142, 0.1012),
        ("DIODE", "abs_rel", 0.073, 0.2196),
    ),
    "Depth Anything V2 B": (
        ("KITTI", "abs_rel", 0.078, 0.0756),
        ("NYUv2", "abs_rel", 0.049, 0.0456),
        ("Sintel", "abs_rel", 0.495, None),
        ("Sintel", "delta1", 0.734, None),
        ("ETH3D", "abs_rel", 0.137, 0.0936),
        ("DIODE", "abs_rel", 0.068, 0.2182),
    ),
    "Depth Anything V2 L": (
        ("KITTI", "abs_rel", 0.074, 0.0710),
        ("NYUv2", "abs_rel", 0.045, 0.0428),
        ("Sintel", "abs_rel", 0.487, 0.2321),
        ("ETH3D", "abs_rel", 0.131, 0.0888),
        ("DIODE", "abs_rel", 0.066, 0.2142),
    ),
}

_PAIR_ROWS = {
    "Depth Anything V2 S": 0.953,
    "Depth Anything V2 B": 0.970,
    "Depth Anything V2 L": 0.971,
    "Depth Anything V2 G": 0.974,
    "Depth Anything V1 L": 0.885,
    "Marigold": 0.868,
}

# Fine-tuned on the data set that they are scored on. The README's log10 on KITTI is left out: it is
# ZoeDepth's RMSE of natural logarithms under another name.
_METRIC_ROWS = {
    "ZoeDepth": {
        "NYUv2": {"delta1": 0.951, "abs_rel": 0.077, "rmse": 0.282, "log10": 0.033},
        "KITTI": {"delta1": 0.971, "abs_rel": 0.054, "rmse": 2.281},
    },
    "Depth Anything V1 L, fine-tuned": {
        "NYUv2": {"delta1": 0.984, "abs_rel": 0.056, "rmse": 0.206, "log10": 0.024},
        "KITTI": {"delta1": 0.982, "abs_rel": 0.046, "rmse": 1.896},
    },
}

# ETH3D and Sintel: absolute relative error; KITTI and NYU: percent of pixels with δ > 1.25. In 3.1
# all were trained on KITTI and NYU, in 3.0 and 2.1 none. Square: of images made square.
_MIDAS_ROWS = {
    "MiDaS v3.1 BEiT-L-512 at 512": (0.0659, 0.2366, 11.56, 1.86),
    "MiDaS v3.1 BEiT-L-512 at 384": (0.0681, 0.2176, 6.28, 2.16),
    "MiDaS v3.1 Swin2-L-384, square": (0.0732, 0.2442, 5.84, 2.92),
    "MiDaS v3.1 Swin2-B-384, square": (0.0790, 0.2404, 5.97, 3.28),
    "MiDaS v3.1 BEiT-L-384": (0.0667, 0.2545, 9.84, 2.21),
    "MiDaS v3.1 BEiT-B-384": (0.0967, 0.2901, 26.60, 3.91),
    "MiDaS v3.1 Swin2-T-256, square": (0.1106, 0.2868, 10.13, 5.55),
    "MiDaS v3.0 DPT-L-384": (0.0888, 0.2697, 8.46, 8.32),
    "MiDaS v3.0 DPT-H-384": (0.0934, 0.2741, 11.56, 8.69),
    "MiDaS v2.1 Large-384": (0.1155, 0.3285, 16.08, 8.71),
    "MiDaS v2.1 Small-256": (0.1344, 0.3370, 29.27, 13.43),
}


def published_for(protocol: Protocol) -> tuple[Published, ...]:
    """What is printed of the benchmark that a protocol stands for; nothing for most."""
    table, data_set = _COLUMNS.get(protocol.name, ("", ""))
    return tuple(row for row in _TABLES.get(table, ()) if row.data_set == data_set)


def _version_1() -> tuple[Published, ...]:
    rows = []
    for model, columns in _V1_ROWS.items():
        for data_set, scores in zip(_SETS, columns, strict=True):
            for metric, value in zip(("abs_rel", "delta1"), scores, strict=True):
                rows.append(_version_1_row(model, data_set, metric, value))
    return tuple(rows)


def _version_1_row(model: str, data_set: str, metric: str, value: float) -> Published:
    found = ""
    if model.endswith("V1 L") and data_set == "DIODE":
        found = {"abs_rel": "0.214 (V2#280)", "delta1": "0.756 (V2#280)"}[metric]
    return Published(
        model=model,
        data_set=data_set,
        metric=metric,
        value=value,
        source=_V1,
        reproduces="no" if found else "untried",
        found=found,
        trained_on_it=model.startswith("MiDaS") and data_set in ("KITTI", "NYUv2"),
    )


def _version_2() -> tuple[Published, ...]:
    return tuple(
        Published(
            model=model,
            data_set=data_set,
            metric=metric,
            value=value,
            source=_V2,
            reproduces=_verdict(value, found),
            found="" if found is None else f"{found} ({_PLUMBLINE})",
        )
        for model, rows in _V2_ROWS.items()
        for data_set, metric, value, found in rows
    )


def _verdict(printed: float, found: float | None) -> Reproduces:
    if found is None:
        return "untried"
    off = abs(found - printed) / printed
    return "yes" if off <= 0.05 else "about" if off <= 0.1 else "no"


def _pairs() -> tuple[Published, ...]:
    return tuple(
        Published(
            model=model, data_set="DA-2K", metric="pair_accuracy", value=value, source=_V2_PAIRS
        )
        for model, value in _PAIR_ROWS.items()
    )


def _metric() -> tuple[Published, ...]:
    return tuple(
        Published(
            model=model,
            data_set=data_set,
            metric=metric,
            value=value,
            source=_V1_METRIC,
            trained_on_it=True,
        )
        for model, data_sets in _METRIC_ROWS.items()
        for data_set, metrics in data_sets.items()
        for metric, value in metrics.items()
    )


def _midas() -> tuple[Published, ...]:
    rows = []
    for model, (eth3d, sintel, kitti, nyu) in _MIDAS_ROWS.items():
        scores = (
            ("ETH3D", "abs_rel", eth3d),
            ("Sintel", "abs_rel", sintel),
            ("KITTI", "delta1", round(1 - kitti / 100, 4)),
            ("NYUv2", "delta1", round(1 - nyu / 100, 4)),
        )
        rows += [
            Published(
                model=model,
                data_set=data_set,
                metric=metric,
                value=value,
                source=_MIDAS,
                trained_on_it="v3.1" in model and data_set in ("KITTI", "NYUv2"),
            )
            for data_set, metric, value in scores
        ]
    return tuple(rows)


_TABLES = {
    "Depth Anything": (*_version_1(), *_version_2(), *_pairs()),
    "metric": _metric(),
    "Marigold": (
        Published(
            model="Marigold v1-0, ensemble",
            data_set="NYUv2",
            metric="abs_rel",
            value=0.055,
            source=_MARIGOLD,
            reproduces="yes",
            found=f"0.0577 with v1-1 ({_PLUMBLINE})",
        ),
    ),
    "MiDaS": _midas(),
}

PUBLISHED: tuple[Published, ...] = tuple(chain.from_iterable(_TABLES.values()))
