"""The page of the documentation that lists every protocol, metric and printed number."""

from collections.abc import Iterable, Sequence

from model.metrics import HIGHER_IS_BETTER
from model.protocols import METRIC_NAMES, PROTOCOLS, Crop, Protocol
from model.published import Published, published_for

_HEAD = """\
# Protocols

What `factory evaluate MODEL --benchmark PROTOCOL=SOURCE` does, for each `PROTOCOL`. A protocol
never changes: what is done differently gets a new version, and every result in the catalog carries
the fields below. A bare name means its newest version. Made by `make docs` from
`model/protocol_rows.py` and `model/published.py`.

[datasets.md](datasets.md) says how each benchmark is ingested; `--split` takes the list of images
where a protocol names a split. A source with another number of images than the split warns.

Every protocol scores each image by itself and then takes the mean over images, so that a large
image counts as much as a small one. A prediction is turned into disparity, brought to the size of
the truth, aligned and clipped; truth outside of the limits or the crop is not looked at. The author
of Depth Anything says that it was evaluated in disparity, following MiDaS (V1#174); its code,
lists, caps and crops were never released. What others found to reproduce is marked
[below](#printed-numbers). V1#, V2# and MiDaS# are threads of LiheYoung/Depth-Anything,
DepthAnything/Depth-Anything-V2 and isl-org/MiDaS.
"""

_METRIC_TEXTS = {
    "abs_rel": "absolute relative error, mean \\|p − t\\| / t",
    "sq_rel": "squared relative error, mean (p − t)² / t, in the unit of t",
    "rmse": "root mean square error, in the unit of t",
    "rmse_log": "root mean square error of natural logarithms",
    "log10": "mean \\|log10 p − log10 t\\|",
    "silog": (
        "100 · sqrt(mean e² − mean(e)²), e = ln p − ln t; λ = 1, as KITTI, ZoeDepth and Marigold; "
        "Depth Anything V2's metric code has λ = 0.5 under the same name"
    ),
    "delta1": "share of pixels with max(p/t, t/p) < 1.25; the same in depth and disparity",
    "delta2": "the same below 1.25²",
    "delta3": "the same below 1.25³",
    "boundary_f1": (
        "F1 of occluding boundaries at ten thresholds from 5 to 25 %, as Depth Pro "
        "(arXiv:2410.02073); none for an image whose truth has no boundary"
    ),
    "pair_accuracy": "share of pairs whose nearer point is the noted one; a tie is wrong",
    "whdr": "weighted human disagreement rate: 1 − pair accuracy where, as here, all weights are 1",
}

_ALIGNMENTS = {
    "affine_disparity": "scale and shift in disparity",
    "affine_depth": "scale and shift in depth",
    "median_scale": "ratio of medians in depth",
    "none": "nothing",
}


def markdown_page() -> str:
    """Protocols in one table and in words, metrics, and what is printed of their benchmarks."""
    lines = [_HEAD, *_overview()]
    for known in PROTOCOLS:
        lines += ["", f"## {known.ref}", "", known.description, "", *_facts(known)]
    lines += ["", "## Metrics", "", *_metrics(), "", "## Printed numbers", "", *_printed()]
    return "\n".join(lines) + "\n"


def _overview() -> Iterable[str]:
    yield "| protocol | images | aligned | truth, m | crop | spaces | metrics |"
    yield "|---|--:|---|---|---|---|---|"
    for known in PROTOCOLS:
        cells = (
            f"[`{known.ref}`](#{known.ref.replace('@', '')})",
            "any" if known.images is None else f"{known.images:,}",
            "–" if known.truth == "pairs" else _ALIGNMENTS[known.alignment],
            _limits(known),
            "yes" if known.crop else "–",
            ", ".join(known.spaces),
            _names(known),
        )
        yield f"| {' | '.join(cells)} |"
    yield f"\n*basic*: {', '.join(METRIC_NAMES)}."


def _names(known: Protocol) -> str:
    if known.metrics[: len(METRIC_NAMES)] != METRIC_NAMES:
        return ", ".join(known.metrics)
    return ", ".join(("basic", *known.metrics[len(METRIC_NAMES) :]))


def _facts(known: Protocol) -> Iterable[str]:
    """What the table has no room for."""
    if known.split is not None:
        count = "" if known.images is None else f" ({known.images:,} images)"
        yield f"- split: {known.split}{count}"
    if known.only is not None:
        yield f"- only samples whose path matches `{known.only}`"
    if known.crop is not None:
        yield f"- crop: {_crop(known.crop)}"
    if known.truth == "map":
        yield f"- brought to the truth's size: {known.interpolation} (`--upsampling` overrides)"
        yield f"- clipped: {_clipped(known)}"
        yield f"- skipped: images with fewer than {known.minimum_valid_pixels} valid pixels"
    side = "the model's own" if known.size is None else f"{known.size} pixels"
    yield f"- shorter side at the network's input: {side} (`--size` overrides)"


def _limits(known: Protocol) -> str:
    if known.minimum_depth is None and known.maximum_depth is None:
        return "–"
    nearest = "0" if known.minimum_depth is None else f"{known.minimum_depth:g}"
    return f"{nearest} to {known.maximum_depth:g}"


def _crop(crop: Crop) -> str:
    edges = f"rows {crop.top} to {crop.bottom}, columns {crop.left} to {crop.right}"
    if crop.of is None:
        return f"{edges}, as shares of the image, cut to whole pixels"
    return f"{edges} of {crop.of[0]} x {crop.of[1]}, ends not included; shares of other sizes"


def _clipped(known: Protocol) -> str:
    far = (
        "the farthest valid truth" if known.maximum_depth is None else f"{known.maximum_depth:g} m"
    )
    if known.minimum_depth is not None:
        return f"from {known.minimum_depth:g} m to {far}"
    if known.alignment == "affine_depth":
        return f"from the nearest valid truth to {far}"
    return f"at {far}"


def _metrics() -> Iterable[str]:
    yield "p is the prediction and t the truth at the valid pixels of one image.\n"
    yield "| metric | better | what it is |"
    yield "|---|---|---|"
    for name, text in _METRIC_TEXTS.items():
        yield f"| `{name}` | {'higher' if name in HIGHER_IS_BETTER else 'lower'} | {text} |"


def _printed() -> Iterable[str]:
    yield (
        "From papers and the pages of projects. After a number: whether others got it again with "
        "released weights, **yes** within 5 %, **about** within 10 %, or **no**, and what they "
        "found (plumbline: kmatzen/plumbline, `REPRODUCTIONS.md`), each in a protocol of its own. "
        "Nothing after it: nobody is known to have tried. † trained on that data set."
    )
    for known in PROTOCOLS:
        rows = published_for(known)
        if rows:
            yield f"\n### {rows[0].data_set}, beside {known.ref}\n"
            yield from _pivot(rows)


def _pivot(rows: Sequence[Published]) -> Iterable[str]:
    """One line per model, one column per metric."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    yield f"| model | {' | '.join(metrics)} | printed in |"
    yield f"|---|{'--:|' * len(metrics)}---|"
    for model, source in dict.fromkeys((row.model, row.source) for row in rows):
        of_model = [row for row in rows if (row.model, row.source) == (model, source)]
        cells = {row.metric: _cell(row) for row in of_model}
        mark = " †" if of_model[0].trained_on_it else ""
        numbers = " | ".join(cells.get(metric, "–") for metric in metrics)
        yield f"| {model}{mark} | {numbers} | {source} |"


def _cell(row: Published) -> str:
    digits = 3 if round(row.value, 3) == row.value else 4
    printed = f"{row.value:.{digits}f}"
    return printed if row.reproduces == "untried" else f"{printed} **{row.reproduces}** {row.found}"


if __name__ == "__main__":
    print(markdown_page(), end="")
