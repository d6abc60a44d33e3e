"""Every protocol there is; where a constant comes from is said beside it.

Depth Anything V1 and V2 never released their evaluation: neither lists, caps nor crops (asked for
in the threads V1#43, #165, #174 and V2#58, #91, #280, #281, #289). Their author says no more than
"in the disparity space, following MiDaS" (V1#174). What stands here under the names of their
benchmarks is what others found to reproduce the printed numbers, or else the plainest choice; see
`model.published` for which is which.
"""

from model.protocol_fields import METRIC_NAMES, Crop, Protocol

# Garg et al. (arXiv:1603.04992), as code has it since (ZoeDepth `utils/config.py`, monodepth2).
GARG_CROP = Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229)
# Eigen et al. (arXiv:1406.2283), as code has it since (BTS, Marigold `kitti_dataset.py`).
EIGEN_CROP = Crop(0.3324324, 0.91351351, 0.0359477, 0.96405229)
# Rows 45 to 470 and columns 41 to 600 of 480 x 640 (BTS, Marigold `nyu_dataset.py`).
NYU_CROP = Crop(45, 471, 41, 601, of=(480, 640))

NEAREST_M = 1e-3  # of ZoeDepth, Depth Anything's metric code and Marigold, on KITTI and NYU alike
_ALL_METRICS = (*METRIC_NAMES, "sq_rel", "rmse_log")

_KITTI_SPLIT = "Eigen's test list, the 652 of its 697 images that have annotated ground truth"
_NYU_SPLIT = "the 654 test images of the labelled set, depth as measured and not filled in"

_GENERAL = (
    Protocol(
        name="relative",
        version=1,
        description=(
            "Zero-shot relative depth on any set: scale and shift by least squares in disparity on "
            "all valid pixels, no crop, no cap, per image, then the mean over images."
        ),
    ),
    Protocol(
        name="metric",
        version=1,
        description=(
            "Metric depth on any set with truth in metres: nothing is aligned, no crop, truth from "
            "1 mm to 80 m, per image, then the mean over images. The limits are those of Depth "
            "Anything V2's metric_depth outdoors, where the model can say 80 m."
        ),
        alignment="none",
        minimum_depth=0.001,
        maximum_depth=80.0,
        spaces=("depth",),
    ),
    Protocol(
        name="affine-depth",
        version=1,
        description=(
            "For models of depth up to scale and shift, on any set: both by least squares in depth "
            "on all valid pixels, as Marigold's least_square; no crop, no cap. Disparity up to a "
            "shift has no depth, and is refused."
        ),
        alignment="affine_depth",
        spaces=("depth",),
    ),
    Protocol(
        name="median-scale",
        version=1,
        description=(
            "For models of depth up to one factor, on any set: the ratio of the medians in depth "
            "(arXiv:1704.07813), as monodepth2 does; no crop, no cap. Disparity up to a shift is "
            "refused."
        ),
        alignment="median_scale",
        spaces=("depth",),
    ),
    Protocol(
        name="pairs",
        version=1,
        description=(
            "Which of two points is nearer, on any set with pairs: each pair in an order drawn "
            "from its image and number; a tie is wrong. Per image, then the mean over images."
        ),
        truth="pairs",
        alignment="none",
        spaces=("order",),
        metrics=("pair_accuracy", "whdr"),
    ),
    Protocol(
        name="boundaries",
        version=1,
        description=(
            "How sharp depth is where one thing stands before another, on any set with dense, "
            "exact truth: boundary F1 of Depth Pro (arXiv:2410.02073) after alignment in "
            "disparity. Sparse truth, or truth that is soft at edges, says nothing here."
        ),
        spaces=("depth",),
        metrics=("boundary_f1",),
    ),
)

_KITTI = (
    Protocol(
        name="kitti-eigen-garg",
        version=1,
        description=(
            "KITTI as it is mostly reported: Garg's crop of the full image, truth to 80 m, scale "
            "and shift in disparity. Reproduces the KITTI column of Depth Anything V2's table 2."
        ),
        split=_KITTI_SPLIT,
        images=652,
        crop=GARG_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=80.0,
        metrics=_ALL_METRICS,
    ),
    Protocol(
        name="kitti-eigen-eigen",
        version=1,
        description=(
            "As kitti-eigen-garg in Eigen's crop, which reaches further up. Marigold uses it, "
            "after a crop of its own to 352 x 1216 that is not made here."
        ),
        split=_KITTI_SPLIT,
        images=652,
        crop=EIGEN_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=80.0,
        metrics=_ALL_METRICS,
    ),
    Protocol(
        name="kitti-metric",
        version=1,
        description=(
            "Metric depth on KITTI: kitti-eigen-garg without alignment, as ZoeDepth, which first "
            "crops to 352 x 1216, and resizes depth; here that crop is not made, and disparity is "
            "resized."
        ),
        split=_KITTI_SPLIT,
        images=652,
        alignment="none",
        crop=GARG_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=80.0,
        spaces=("depth",),
        metrics=_ALL_METRICS,
    ),
    Protocol(
        name="kitti-median",
        version=1,
        description=(
            "KITTI as self-supervised methods are compared (monodepth2's eigen_benchmark): Garg's "
            "crop, ratio of the medians, 80 m."
        ),
        split=_KITTI_SPLIT,
        images=652,
        alignment="median_scale",
        crop=GARG_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=80.0,
        spaces=("depth",),
        metrics=_ALL_METRICS,
    ),
)

_NYU = (
    Protocol(
        name="nyu-eigen",
        version=1,
        description=(
            "NYU Depth v2: Eigen's crop, truth to 10 m, scale and shift in disparity. About "
            "reproduces the NYU column of Depth Anything V2's table 2; depth that was filled in "
            "moves V2-L from .043 to .055."
        ),
        split=_NYU_SPLIT,
        images=654,
        crop=NYU_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=10.0,
        metrics=_ALL_METRICS,
    ),
    Protocol(
        name="nyu-metric",
        version=1,
        description=(
            "Metric depth on NYU Depth v2: nyu-eigen without alignment, as ZoeDepth, which resizes "
            "depth; here disparity is resized."
        ),
        split=_NYU_SPLIT,
        images=654,
        alignment="none",
        crop=NYU_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=10.0,
        spaces=("depth",),
        metrics=_ALL_METRICS,
    ),
    Protocol(
        name="nyu-affine-depth",
        version=1,
        description="NYU Depth v2 as Marigold scores it: nyu-eigen with least squares in depth.",
        split=_NYU_SPLIT,
        images=654,
        alignment="affine_depth",
        crop=NYU_CROP,
        minimum_depth=NEAREST_M,
        maximum_depth=10.0,
        spaces=("depth",),
        metrics=_ALL_METRICS,
    ),
)

_OTHERS = (
    Protocol(
        name="sintel",
        version=1,
        description=(
            "MPI Sintel, truth to 72 m: where DepthAnythingAC cuts it, and, as far as is recalled, "
            "MiDaS; monst3r takes 70 m. Does not reproduce table 2 of Depth Anything V2: .232 "
            "is found where .487 is printed."
        ),
        split="all of the training sequences",
        images=1064,
        maximum_depth=72.0,
    ),
    Protocol(
        name="sintel-boundaries",
        version=1,
        description=(
            "Boundary F1 of Depth Pro on MPI Sintel, after alignment in disparity. No cap: what "
            "stands before the sky counts."
        ),
        split="all of the training sequences",
        images=1064,
        spaces=("depth",),
        metrics=("boundary_f1",),
    ),
    Protocol(
        name="ddad",
        version=1,
        description=(
            "DDAD: the front camera, truth to 200 m, no crop (packnet-sfm `eval_ddad.yaml`). "
            "ZoeDepth and Depth Anything's metric code take 80 m and Garg's crop; what is behind "
            "the printed table is not known."
        ),
        split="the 50 validation scenes (000150 to 000199, as recalled), CAMERA_01",
        images=3950,
        # The DGP layout, or an export that holds the front camera alone.
        only=r"(?:^|/)0001[5-9]\d/rgb/CAMERA_01/|(?:^|/)input/[^/]+$",
        maximum_depth=200.0,
    ),
    Protocol(
        name="eth3d",
        version=1,
        description=(
            "ETH3D high-resolution multi-view, no crop, no cap, as Marigold. Does not reproduce "
            "table 2 of Depth Anything V2: .089 is found where .131 is printed."
        ),
        split="all of the 13 training scenes",
        images=454,
    ),
    Protocol(
        name="diode",
        version=1,
        description=(
            "DIODE validation, indoors and outdoor together, the data set's own masks, no crop, "
            "no cap. Does not reproduce table 2 of Depth Anything V2: .214 is found where .066 is "
            "printed; indoors alone comes near."
        ),
        split="validation",
        images=771,
    ),
    Protocol(
        name="diode-indoor",
        version=1,
        description="DIODE validation, indoors alone; otherwise as diode.",
        split="validation, indoors",
        images=325,
        only=r"(?:^|[/_])indoors[/_]",
    ),
    Protocol(
        name="diode-outdoor",
        version=1,
        description="DIODE validation, outdoor alone; otherwise as diode.",
        split="validation, outdoor",
        images=446,
        only=r"(?:^|[/_])outdoor[/_]",
    ),
    Protocol(
        name="da-2k",
        version=1,
        description=(
            "DA-2K of Depth Anything V2: which of two points is nearer. The data set names the "
            "nearer one first every time; here each pair comes in an order drawn from its image "
            "and number, and a tie is wrong. Per image, then the mean over images; the paper says "
            "no more than accuracy, which may be over pairs."
        ),
        truth="pairs",
        split="all of its images, about 1,000 with 2,000 pairs",
        alignment="none",
        spaces=("order",),
        metrics=("pair_accuracy",),
    ),
)

# MiDaS (arXiv:1907.01341): least squares in disparity on the valid pixels, clipped at 1 / cap,
# metric in depth. Its validation code is public for NYU alone, where the cap is 10 m; the others
# are recalled. No crop, and no limit nearby. There, as in ZoeDepth and Marigold, truth at the very
# cap is not valid; here it is, as in Depth Anything V2's metric code.
_MIDAS = (
    Protocol(
        name="midas",
        version=1,
        description=(
            "NYU Depth v2 as in MiDaS's own tables: cap 10 m, no crop, clipped at 1/cap after "
            "alignment in disparity, scored in depth. Their δ>1.25 in percent is 100 (1 − δ1). "
            "Their images are brought to the network as each model asks."
        ),
        split=_NYU_SPLIT,
        images=654,
        maximum_depth=10.0,
        spaces=("depth",),
    ),
    Protocol(
        name="midas-kitti",
        version=1,
        description=(
            "KITTI as in MiDaS's own tables: cap 80 m (recalled), no crop, scored in depth. The "
            "161 images that are in Eigen's test list and in the official validation set too; "
            "that list was never published (MiDaS#166)."
        ),
        split="161 images of Eigen's test list",
        images=161,
        maximum_depth=80.0,
        spaces=("depth",),
    ),
    Protocol(
        name="midas-sintel",
        version=1,
        description="MPI Sintel as in MiDaS's own tables: cap 72 m (recalled), scored in depth.",
        split="all of the training sequences",
        images=1064,
        maximum_depth=72.0,
        spaces=("depth",),
    ),
    Protocol(
        name="midas-eth3d",
        version=1,
        description="ETH3D as in MiDaS's own tables: cap 72 m (recalled), scored in depth.",
        split="all of the 13 training scenes",
        images=454,
        maximum_depth=72.0,
        spaces=("depth",),
    ),
)

PROTOCOL_ROWS = (*_GENERAL, *_KITTI, *_NYU, *_OTHERS, *_MIDAS)
