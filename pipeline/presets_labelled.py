"""The labelled sets of Depth Anything V1 and V2 (arXiv:2401.10891, 2406.09414), as distributed.

Where image and depth lie in one archive, a group takes the whole path in front of both, whatever
people call it. Counts are those that the owners publish; what could not be confirmed is said in the
terms' note.
"""

from pipeline.presets import Preset, Terms
from pipeline.records import Role

_LABELLED = Role.LABELLED
_WHERE = r"(?:(?P<where>.+)/)?"
_TEXTS = {r".+\.(?:txt|md|json|csv|yaml)": "text"}

BLENDEDMVS = Preset(
    name="blendedmvs",
    help="BlendedMVS.zip, or the folder of scenes (24 hexadecimal digits) that is in it; masked "
    "twins of images are passed over",
    role=_LABELLED,
    terms=Terms(
        title="BlendedMVS",
        homepage="https://github.com/YoYo000/BlendedMVS",
        citation="Yao et al., BlendedMVS: A Large-scale Dataset for Generalized Multi-view Stereo "
        "Networks, CVPR 2020",
        licence="CC-BY-4.0",
        rehost="yes",
        commercial="yes",
        note="The authors are to be named. Depth has the scale of its scene's reconstruction.",
    ),
    image=rf"{_WHERE}(?P<scene>[0-9a-f]{{24}})/blended_images/(?P<frame>\d{{8}})\.jpg",
    ignored={
        r".+_masked\.jpg": "masked twin",
        r"cams/.+\.txt": "camera",
        r"textured_mesh/.+": "mesh",
        **_TEXTS,
    },
    truth=rf"{_WHERE}(?P<scene>[0-9a-f]{{24}})/rendered_depth_maps/(?P<frame>\d{{8}})\.pfm",
    encoding="pfm-relative",
    images=115_000,  # as Depth Anything counts it
)

_DIML_TERMS = Terms(
    title="DIML/CVL RGB-D",
    homepage="https://dimlrgbd.github.io",
    citation="Cho et al., DIML/CVL RGB-D Dataset: 2M RGB-D Images of Natural Indoor and Outdoor "
    "Scenes, arXiv:2110.11590, 2021",
    licence="DIML terms: attribution, no commercial use, redistribution under the same terms",
    rehost="conditions",
    commercial="no",
    note="Published again only under the same terms and with the authors named.",
)

# The samples and the full set call their folders and files by different names.
DIML_INDOOR = Preset(
    name="diml-indoor",
    help="folder or zips with <place>/color/*_c.png and <place>/depth_filled/*_depth_filled.png, "
    "or col/*_c.png and up_png/*_*.png; the .egg archives of ALZip are to be repacked",
    role=_LABELLED,
    terms=_DIML_TERMS,
    image=rf"{_WHERE}col(?:or)?/(?P<frame>[^/]+)_c\.png",
    ignored={
        r"(?!(?:color|depth_filled|col|up_png)/)[^/]+/[^/]+\.png": "other picture",
        **_TEXTS,
    },
    truth=rf"{_WHERE}(?:depth_filled|up_png)/(?P<frame>[^/]+?)_(?:depth_filled|[^/_]+)\.png",
    encoding="png-mm-diml",
)

DIML_OUTDOOR = Preset(
    name="diml-outdoor",
    help="folder or zips with <place>/outleft/*.png and <place>/depthmap/*.png, or left/*_left.png "
    "and depth/*_depth.png; depth is from stereo, its confidence stays unread",
    role=_LABELLED,
    terms=_DIML_TERMS,
    image=rf"{_WHERE}(?:out)?left/(?P<frame>[^/]+?)(?:_left)?\.png",
    ignored={
        r"(?!(?:outleft|depthmap|left|depth)/)[^/]+/[^/]+\.png": "other picture",
        r".+\.mat": "camera",
        **_TEXTS,
    },
    truth=rf"{_WHERE}depth(?:map)?/(?P<frame>[^/]+?)(?:_depth)?\.png",
    encoding="png-mm-diml",
)

HRWSI = Preset(
    name="hrwsi",
    help="the zip of HR-WSI or its folder: {train,val}/{imgs/*.jpg, gts/*.png, valid_masks/*.png}",
    role=_LABELLED,
    terms=Terms(
        title="HR-WSI",
        homepage="https://github.com/KexianHust/Structure-Guided-Ranking-Loss",
        citation="Xian et al., Structure-Guided Ranking Loss for Single Image Depth Prediction, "
        "CVPR 2020",
        licence="research only, as its README says",
        rehost="unknown",
        commercial="no",
        note="Stereo pictures from the web; nothing is said of their owners.",
    ),
    image=rf"{_WHERE}imgs/(?P<name>[^/]+)\.jpg",
    ignored={r"instance_masks/.+": "other picture", **_TEXTS},
    truth=rf"{_WHERE}gts/(?P<name>[^/]+)\.png",
    masks=(rf"{_WHERE}valid_masks/(?P<name>[^/]+)\.png",),
    encoding="png8-disparity-mask",
    images=20_778,
)

IRS = Preset(
    name="irs",
    help="IRSDataset/ or its zips: {Home,Office,Restaurant,Store}/<scene>/{l_N.png, d_N.exr}",
    role=_LABELLED,
    terms=Terms(
        title="IRS: Indoor Robotics Stereo",
        homepage="https://github.com/HKBU-HPML/IRS",
        citation="Wang et al., IRS: A Large Naturalistic Indoor Robotics Stereo Dataset to Train "
        "Deep Models for Disparity and Surface Normal Estimation, ICME 2021",
        licence="Apache-2.0 text in its repository",
        rehost="unknown",
        commercial="unknown",
        note="Whether the repository's licence means the pictures too is not said.",
    ),
    image=rf"{_WHERE}l_(?P<frame>\d+)\.png",
    ignored={r"r_\d+\.png": "right view", r"n_\d+\.exr": "normals", **_TEXTS},
    truth=rf"{_WHERE}d_(?P<frame>\d+)\.exr",
    encoding="exr-disparity-irs",
    images=103_316,
)

# Its own loader leaves out what lies below the first and above the 98th percentile of a map. That
# is a rule for training and not a property of the files: here all values above zero are kept.
MEGADEPTH = Preset(
    name="megadepth",
    help="MegaDepth_v1.tar.gz or its folder: <scene>/dense*/{imgs/*.jpg, depths/*.h5}",
    role=_LABELLED,
    terms=Terms(
        title="MegaDepth v1",
        homepage="https://www.cs.cornell.edu/projects/megadepth",
        citation="Li and Snavely, MegaDepth: Learning Single-View Depth Prediction from Internet "
        "Photos, CVPR 2018",
        licence="photographs of Flickr users, research",
        rehost="no",
        commercial="no",
        note="The photographs belong to those who took them; terms could not be confirmed.",
    ),
    image=rf"{_WHERE}imgs/(?P<name>[^/]+)\.(?i:jpg|jpeg|png)",
    ignored=_TEXTS,
    truth=rf"{_WHERE}depths/(?P<name>[^/]+)\.h5",
    encoding="hdf5-relative",
    images=128_228,
)

_TARTANAIR = r"(?:(?P<world>[^/]+)/(?P<level>Easy|Hard)/)?(?P<track>P\d+)"

TARTANAIR = Preset(
    name="tartanair",
    help="the zips image_left.zip and depth_left.zip, or folders: "
    "<world>/{Easy,Hard}/P*/{image_left/*_left.png, depth_left/*_left_depth.npy}",
    role=_LABELLED,
    terms=Terms(
        title="TartanAir V1",
        homepage="https://theairlab.org/tartanair-dataset",
        citation="Wang et al., TartanAir: A Dataset to Push the Limits of Visual SLAM, IROS 2020",
        licence="CC-BY-4.0 is said of V2; of V1 it could not be confirmed",
        rehost="unknown",
        commercial="unknown",
        note="Depth from 1,000 m on is taken as sky: that limit is ours, its tools say only that "
        "sky has very large values.",
    ),
    image=rf"{_TARTANAIR}/image_left/(?P<frame>\d+)_left\.png",
    ignored={
        r"(?:image_right|depth_right|seg_left|seg_right|flow)/.+": "other picture",
        **_TEXTS,
    },
    truth=rf"{_TARTANAIR}/depth_left/(?P<frame>\d+)_left_depth\.npy",
    encoding="npy-m-sky",
)

_HYPERSIM = r"(?P<scene>ai_\d+_\d+)/images/scene_(?P<camera>cam_\d+)"

HYPERSIM = Preset(
    name="hypersim",
    help="scene zips (ai_001_001.zip …) or folders with *_final_preview/frame.*.tonemap.jpg and "
    "*_geometry_hdf5/frame.*.depth_meters.hdf5",
    role=_LABELLED,
    terms=Terms(
        title="Hypersim",
        homepage="https://github.com/apple/ml-hypersim",
        citation="Roberts et al., Hypersim: A Photorealistic Synthetic Dataset for Holistic Indoor "
        "Scene Understanding, ICCV 2021",
        licence="CC-BY-SA-3.0",
        rehost="conditions",
        commercial="conditions",
        note="The authors are to be named, and what is made of it keeps the licence.",
    ),
    image=rf"{_HYPERSIM}_final_preview/frame\.(?P<frame>\d+)\.tonemap\.jpg",
    ignored={
        r"frame\.\d+\.(?!depth_meters\.hdf5|tonemap\.jpg).+": "other picture",
        r"_detail/.+": "camera",
        **_TEXTS,
    },
    truth=rf"{_HYPERSIM}_geometry_hdf5/frame\.(?P<frame>\d+)\.depth_meters\.hdf5",
    encoding="hdf5-ray-hypersim",
    images=77_400,
)

_VKITTI2 = r"(?P<scene>Scene\d+)/(?P<variant>[^/]+)/frames"

VKITTI2 = Preset(
    name="vkitti2",
    help="vkitti_2.0.3_rgb.tar and vkitti_2.0.3_depth.tar, or their folders",
    role=_LABELLED,
    terms=Terms(
        title="Virtual KITTI 2",
        homepage="https://europe.naverlabs.com/proxy-virtual-worlds-vkitti-2",
        citation="Cabon et al., Virtual KITTI 2, arXiv:2001.10773",
        licence="CC-BY-NC-SA-3.0",
        rehost="conditions",
        commercial="no",
        note="The licence is from memory and could not be confirmed.",
    ),
    image=rf"{_VKITTI2}/rgb/(?P<camera>Camera_\d)/rgb_(?P<frame>\d+)\.jpg",
    ignored={r"frames/(?!rgb/|depth/).+": "other picture", **_TEXTS},
    truth=rf"{_VKITTI2}/depth/(?P<camera>Camera_\d)/depth_(?P<frame>\d+)\.png",
    encoding="png-cm",
)

LABELLED: tuple[Preset, ...] = (
    BLENDEDMVS,
    DIML_INDOOR,
    DIML_OUTDOOR,
    HRWSI,
    IRS,
    MEGADEPTH,
    TARTANAIR,
    HYPERSIM,
    VKITTI2,
)
