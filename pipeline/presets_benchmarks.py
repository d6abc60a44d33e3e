"""The zero-shot benchmarks of Depth Anything V1 and V2, as they are distributed.

A preset takes every image that has ground truth; which of them a protocol scores is said by its
list (``--split``). Counts are those that the lists in use have.
"""

from pipeline.presets import Preset, Terms
from pipeline.records import Role

_BENCHMARK = Role.BENCHMARK
_WHERE = r"(?:(?P<where>.+)/)?"
_TEXTS = {r".+\.(?:txt|md|json|csv|yaml)": "text"}
_KITTI = r"(?P<drive>\d{4}_\d\d_\d\d_drive_\d{4}_sync)"

KITTI = Preset(
    name="kitti",
    help="the raw drives (2011_*_sync.zip) with data_depth_annotated.zip, or their folders; give "
    "the Eigen list as --split",
    role=_BENCHMARK,
    terms=Terms(
        title="KITTI, raw and depth",
        homepage="https://www.cvlibs.net/datasets/kitti",
        citation="Uhrig et al., Sparsity Invariant CNNs, 3DV 2017; Geiger et al., Vision meets "
        "Robotics: The KITTI Dataset, IJRR 2013",
        licence="CC-BY-NC-SA-3.0",
        rehost="conditions",
        commercial="no",
        note="The licence is from memory and could not be confirmed. The Eigen list has 697 lines, "
        "45 of them without ground truth.",
    ),
    image=rf"{_KITTI}/(?P<camera>image_0[23])/data/(?P<frame>\d{{10}})\.png",
    ignored={
        r"image_0[01]/.+": "grey camera",
        r"(?:oxts|velodyne_points|proj_depth/velodyne_raw)/.+": "other sensor",
        **_TEXTS,
    },
    truth=rf"{_KITTI}/proj_depth/groundtruth/(?P<camera>image_0[23])/(?P<frame>\d{{10}})\.png",
    encoding="png-256",
    images=652,
)

_NYU_TERMS = Terms(
    title="NYU Depth v2",
    homepage="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    citation="Silberman et al., Indoor Segmentation and Support Inference from RGBD Images, "
    "ECCV 2012",
    licence="none stated; used for research",
    rehost="unknown",
    commercial="unknown",
    note="Terms could not be confirmed. Protocols differ in depth as measured or filled in.",
)

NYU_V2 = Preset(
    name="nyu-v2",
    help="nyu_depth_v2_labeled.mat, 1,449 images with filled `depths`; --split takes the 654 of "
    "the test list by their numbers: 00001.png …",
    role=_BENCHMARK,
    terms=_NYU_TERMS,
    image=r"nyu_depth_v2_labeled[^/]*\.mat",
    ignored={r"splits\.mat": "list", **_TEXTS},
    encoding="nyu-mat",
    images=1449,
)

NYU_V2_RAW = Preset(
    name="nyu-v2-raw",
    help="as nyu-v2, with `rawDepths` as measured: what the sensor did not see stays unknown",
    role=_BENCHMARK,
    terms=_NYU_TERMS,
    image=NYU_V2.image,
    ignored=NYU_V2.ignored,
    encoding="nyu-mat-raw",
    images=1449,
)

NYU_V2_H5 = Preset(
    name="nyu-v2-h5",
    help="nyudepthv2.tar.gz of FastDepth and TFDS, or its folder: {train,val}/<scene>/00001.h5",
    role=_BENCHMARK,
    terms=_NYU_TERMS,
    image=r"(?P<scene>[^/]+)/(?P<frame>\d+)\.h5",
    ignored=_TEXTS,
    encoding="nyu-h5",
    images=48_238,
)

NYU_V2_PNG = Preset(
    name="nyu-v2-png",
    help="export of Marigold: {train,test}/<scene>/{rgb,depth,filled}_0001.png; depth as measured "
    "counts, filled is passed over",
    role=_BENCHMARK,
    terms=_NYU_TERMS,
    image=rf"{_WHERE}rgb_(?P<frame>\d+)\.png",
    ignored={r"filled_\d+\.png": "filled depth", **_TEXTS},
    truth=rf"{_WHERE}depth_(?P<frame>\d+)\.png",
    encoding="png-mm",
    images=654,
)

SINTEL = Preset(
    name="sintel",
    help="MPI-Sintel-complete.zip or MPI-Sintel-training_images.zip with "
    "MPI-Sintel-depth-training-*.zip, or their folders: the final pass with its .dpt",
    role=_BENCHMARK,
    terms=Terms(
        title="MPI Sintel",
        homepage="http://sintel.is.tue.mpg.de",
        citation="Butler et al., A Naturalistic Open Source Movie for Optical Flow Evaluation, "
        "ECCV 2012",
        licence="CC-BY-3.0, that of the film",
        rehost="unknown",
        commercial="unknown",
        note="Terms could not be confirmed. Papers seldom say whether they score the clean or the "
        "final pass; this is the final one.",
    ),
    image=r"final/(?P<scene>[^/]+)/frame_(?P<frame>\d+)\.png",
    ignored={
        r"test/(?:clean|final)/.+": "without truth",
        r"clean/[^/]+/frame_\d+\.png": "clean pass",
        r"(?!final/|depth/)[^/]+/[^/]+/frame_\d+\.(?:png|flo|cam|dpt)": "other picture",
        r"(?:bundler|flow_code|sdk)/.+": "tool",
        r".+\.(?:exe|py|m|cpp|h|cam)": "tool",
        **_TEXTS,
    },
    truth=r"depth/(?P<scene>[^/]+)/frame_(?P<frame>\d+)\.dpt",
    encoding="dpt-m",
    images=1064,
)

_DDAD_TERMS = Terms(
    title="DDAD: Dense Depth for Autonomous Driving",
    homepage="https://github.com/TRI-ML/DDAD",
    citation="Guizilini et al., 3D Packing for Self-Supervised Monocular Depth Estimation, CVPR "
    "2020",
    licence="CC-BY-NC-SA-4.0",
    rehost="conditions",
    commercial="no",
    note="Published again only under the same terms and with the authors named.",
)

DDAD = Preset(
    name="ddad",
    help="DDAD.tar or its folder, in DGP layout: <scene>/{scene_*.json, calibration/, rgb/, "
    "point_cloud/}; LiDAR is projected into each camera",
    role=_BENCHMARK,
    terms=_DDAD_TERMS,
    image=r"(?P<scene>[^/]+)/rgb/(?P<camera>CAMERA_\d+)/(?P<time>\d+)\.(?:png|jpg)",
    ignored={
        r"(?:ddad|scene_dataset_v[\d.]+)\.json": "list of scenes",
        r"(?:feature_)?ontology/.+": "annotations",
        r"bounding_box_[23]d/.+": "annotations",
        r"point_cloud/.+": "other sweep",
        r"calibration/.+": "calibration",
    },
    index=r"scene_[0-9a-f]+\.json",
    encoding="dgp-lidar",
    images=99_600,
)

DDAD_PNG = Preset(
    name="ddad-png",
    help="an export with input/*.jpg and gt_depth/*.png, metres = value / 256",
    role=_BENCHMARK,
    terms=_DDAD_TERMS,
    image=rf"{_WHERE}input/(?P<time>[^/]+)\.(?:jpg|png)",
    ignored=_TEXTS,
    truth=rf"{_WHERE}gt_depth/(?P<time>[^/]+)\.png",
    encoding="png-256",
    images=3950,
)

_ETH3D_TERMS = Terms(
    title="ETH3D",
    homepage="https://www.eth3d.net",
    citation="Schöps et al., A Multi-View Stereo Benchmark with High-Resolution Images and "
    "Multi-Camera Videos, CVPR 2017",
    licence="CC-BY-NC-SA-4.0",
    rehost="conditions",
    commercial="no",
    note="The licence is from memory and could not be confirmed.",
)

ETH3D = Preset(
    name="eth3d",
    help="<scene>_dslr_jpg.7z and <scene>_dslr_depth.7z of the 13 training scenes, or their "
    "folders",
    role=_BENCHMARK,
    terms=_ETH3D_TERMS,
    image=r"(?P<scene>[^/]+)/images/dslr_images/(?P<name>[^/]+)\.JPG",
    ignored={
        r"images/dslr_images_undistorted/.+": "undistorted twin",
        r"(?:dslr|rig)_calibration[^/]*/.+": "calibration",
        **_TEXTS,
    },
    truth=r"(?P<scene>[^/]+)/ground_truth_depth/dslr_images/(?P<name>[^/]+)\.JPG",
    encoding="bare-float32-m",
    images=454,
)

ETH3D_TWO_VIEW = Preset(
    name="eth3d-two-view",
    help="two_view_training.7z and two_view_training_gt.7z, or their folders: left image, "
    "disparity and the mask of what both cameras see",
    role=_BENCHMARK,
    terms=_ETH3D_TERMS,
    image=r"(?P<scene>[^/]+)/im0\.png",
    ignored={
        r"im1\.png": "right view",
        r"(?:disp1GT\.pfm|mask1nocc\.png)": "right view",
        **_TEXTS,
    },
    truth=r"(?P<scene>[^/]+)/disp0GT\.pfm",
    masks=(r"(?P<scene>[^/]+)/mask0nocc\.png",),
    encoding="pfm-disparity-mask",
    images=27,
)

_DIODE = rf"{_WHERE}(?P<name>\d+_\d+_(?:indoors|outdoor)_\d+_\d+)"

DIODE = Preset(
    name="diode",
    help="val.tar.gz or its folder: {indoors,outdoor}/scene_*/scan_*/ with .png, _depth.npy, "
    "_depth_mask.npy (its diode_meta.json lists fewer than there are)",
    role=_BENCHMARK,
    terms=Terms(
        title="DIODE",
        homepage="https://diode-dataset.org",
        citation="Vasiljevic et al., DIODE: A Dense Indoor and Outdoor DEpth Dataset, "
        "arXiv:1908.00463",
        licence="MIT",
        rehost="yes",
        commercial="yes",
        note="The licence is from memory and could not be confirmed.",
    ),
    image=rf"{_DIODE}\.png",
    ignored={r".+_normal\.npy": "normals", **_TEXTS},
    truth=rf"{_DIODE}_depth\.npy",
    masks=(rf"{_DIODE}_depth_mask\.npy",),
    encoding="npy-m-mask",
    images=771,
)

DA_2K = Preset(
    name="da-2k",
    help="DA-2K.zip or its folder: images/ and annotations.json with pairs of points of which one "
    "is closer",
    role=_BENCHMARK,
    terms=Terms(
        title="DA-2K",
        homepage="https://huggingface.co/datasets/depth-anything/DA-2K",
        citation="Yang et al., Depth Anything V2, NeurIPS 2024, arXiv:2406.09414",
        licence="Apache-2.0",
        rehost="conditions",
        commercial="conditions",
        note="The licence is that of its card; pictures are from the web, nothing is said of their "
        "owners.",
    ),
    image=r"images/(?P<scene>[^/]+)/(?P<name>[^/]+)\.(?i:jpg|jpeg|png|webp)",
    ignored={r".+\.(?:txt|md|csv|yaml)": "text"},
    index=r"annotations\.json",
    encoding="point-pairs",
)

BENCHMARKS: tuple[Preset, ...] = (
    KITTI,
    NYU_V2,
    NYU_V2_RAW,
    NYU_V2_H5,
    NYU_V2_PNG,
    SINTEL,
    DDAD,
    DDAD_PNG,
    ETH3D,
    ETH3D_TWO_VIEW,
    DIODE,
    DA_2K,
)
