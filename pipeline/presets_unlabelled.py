"""The eight unlabelled sets of Depth Anything (arXiv:2401.10891, table 1), as distributed.

Depth Anything took the frames of BDD100K's videos, so that there are two presets for it. Counts are
those of the owners' pages and papers; what could not be confirmed is said in the terms' note.
"""

from pipeline.presets import AttributionTable, Preset, Terms
from pipeline.records import Role

_UNLABELLED = Role.UNLABELLED
_ANNOTATIONS = {r".+\.json": "annotations"}
_TABLES = {r".+\.(?:csv|tsv|txt)": "table"}
_LOCK = {r"lock\.mdb": "lock"}
# A video has 8 hexadecimal digits for the drive and 8 for the clip; its image has the same name.
_BDD_CLIP = r"[0-9a-f]{8}-[0-9a-f]{8}"

_BDD_TERMS = Terms(
    title="BDD100K",
    homepage="https://bdd-data.berkeley.edu",
    citation="Yu et al., BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning, "
    "CVPR 2020",
    licence="BDD100K licence (The Regents of the University of California)",
    rehost="conditions",
    commercial="no",
    note="Use, copies, changes and distribution for education, research and not-for-profit "
    "purposes, with the copyright notice.",
)

BDD100K = Preset(
    name="bdd100k",
    help="bdd100k_images_100k.zip and bdd100k_images_10k.zip, or the folder images/ of them; 10k "
    "is no part of 100k",
    role=_UNLABELLED,
    terms=_BDD_TERMS,
    image=rf"{_BDD_CLIP}\.jpg",  # names tell; a copy that many have has folders of its own
    ignored={r"labels/.+": "annotations", **_ANNOTATIONS},
    images=110_000,
)

# The 70,000 clips for training have some 1,200 frames each: every tenth are the 8.2 million of
# Depth Anything, near enough.
BDD100K_VIDEOS = Preset(
    name="bdd100k-videos",
    help="the zips of videos, or a folder of .mov files: every 10th frame (--every N) as JPEG",
    role=_UNLABELLED,
    terms=_BDD_TERMS,
    image=rf"{_BDD_CLIP}\.mov/frame_\d+\.jpg",
    video=rf"{_BDD_CLIP}\.mov",
    every=10,
    ignored={r"(?:labels|info)/.+": "annotations", **_ANNOTATIONS},
)

GOOGLE_LANDMARKS = Preset(
    name="google-landmarks-v2",
    help="images_000.tar … images_499.tar with train_attribution.csv beside them",
    role=_UNLABELLED,
    terms=Terms(
        title="Google Landmarks Dataset v2",
        homepage="https://github.com/cvdfoundation/google-landmark",
        citation="Weyand et al., Google Landmarks Dataset v2 – A Large-Scale Benchmark for "
        "Instance-Level Recognition and Retrieval, CVPR 2020",
        licence="CC-BY, each image in its own version (train_attribution.csv)",
        rehost="conditions",
        commercial="conditions",
        attribution=True,
        note="The author of every published image is to be named: `catalog attribution` writes "
        "the list.",
    ),
    image=r"[0-9a-f]/[0-9a-f]/[0-9a-f]/(?P<id>[0-9a-f]{16})\.jpg",
    ignored=_TABLES,
    attribution=AttributionTable(
        files=r"train_attribution\.csv",
        example="train_attribution.csv",
        key="id",
        image_key="id",
        licence="license",
        author="author",
        title="title",
        url="url",
    ),
    images=4_132_914,
)

IMAGENET_21K = Preset(
    name="imagenet-21k",
    help="fall11_whole.tar or winter21_whole.tar.gz as they are (tars in a tar), tars of single "
    "synsets, or folders of them",
    role=_UNLABELLED,
    terms=Terms(
        title="ImageNet-21K",
        homepage="https://www.image-net.org",
        citation="Deng et al., ImageNet: A Large-Scale Hierarchical Image Database, CVPR 2009",
        licence="ImageNet terms of access",
        rehost="no",
        commercial="no",
        note="Non-commercial research and education; images are passed on only to associates who "
        "accept the terms. The count is that of fall 2011; the 13.1 million of Depth Anything are "
        "those of winter 2021.",
    ),
    image=r"n\d{8}_\d+\.JPEG",
    images=14_197_122,
)

LSUN = Preset(
    name="lsun",
    help="<category>_<split>_lmdb.zip as they are, the LMDB folders in them, or what its data.py "
    "exported from them",
    role=_UNLABELLED,
    terms=Terms(
        title="LSUN",
        homepage="https://github.com/fyu/lsun",
        citation="Yu et al., LSUN: Construction of a Large-scale Image Dataset using Deep Learning "
        "with Humans in the Loop, arXiv:1506.03365, 2015",
        licence="none stated",
        rehost="unknown",
        commercial="unknown",
        note="Images were found on the web and belong to others; no licence is stated, so that "
        "nothing but research use should be taken for granted. The count, that of the ten scene "
        "categories, is not confirmed.",
    ),
    image=r"[0-9a-f]{40}(?:\.webp)?",
    ignored=_LOCK,
    images=9_895_373,
)

OBJECTS365 = Preset(
    name="objects365",
    help="patch0.tar.gz … of train and val, with their folders v1 and v2 where there are any",
    role=_UNLABELLED,
    terms=Terms(
        title="Objects365 v2",
        homepage="https://www.objects365.org",
        citation="Shao et al., Objects365: A Large-Scale, High-Quality Dataset for Object "
        "Detection, ICCV 2019",
        licence="annotations CC-BY-4.0; images are from Flickr, under their owners' terms",
        rehost="no",
        commercial="no",
        note="Academic use. The terms for images could not be confirmed.",
    ),
    image=r"objects365_v[12]_\d{8}\.jpg",
    ignored=_ANNOTATIONS,
    images=1_822_289,
)

OPEN_IMAGES = Preset(
    name="open-images-v7",
    help="train_0.tar.gz … train_f.tar.gz, validation.tar.gz, test.tar.gz or the folders in them, "
    "with the CSV files that name the authors (train-images-boxable-with-rotation.csv …) beside "
    "them",
    role=_UNLABELLED,
    terms=Terms(
        title="Open Images V7",
        homepage="https://storage.googleapis.com/openimages/web/index.html",
        citation="Kuznetsova et al., The Open Images Dataset V4, IJCV 2020",
        licence="CC-BY-2.0",
        rehost="conditions",
        commercial="conditions",
        attribution=True,
        note="Images are listed as CC BY 2.0, which the publisher does not warrant: verify the "
        "licence of each. The count is that of the archives (images with boxes); about 9 million "
        "are listed by URL.",
    ),
    image=r"(?P<id>[0-9a-f]{16})\.jpg",
    ignored=_TABLES,
    attribution=AttributionTable(
        files=r"(?:oidv\d+-)?(?:train|validation|test)-images-[a-z-]+\.csv"
        r"|image_ids_and_rotation\.csv",
        example="train-images-boxable-with-rotation.csv (and those of validation and test)",
        key="ImageID",
        image_key="id",
        licence="License",
        author="Author",
        title="Title",
        url="OriginalLandingURL",
    ),
    images=1_910_098,
)

PLACES365 = Preset(
    name="places365",
    help="train_large_places365standard.tar, train_large_places365challenge.tar, val_large.tar …, "
    "those of 256 pixels, or places365standard_easyformat.tar",
    role=_UNLABELLED,
    terms=Terms(
        title="Places365",
        homepage="http://places2.csail.mit.edu",
        citation="Zhou et al., Places: A 10 Million Image Database for Scene Recognition, TPAMI "
        "2018",
        licence="Places terms of use",
        rehost="no",
        commercial="no",
        note="Non-commercial research and education; the copyright is with the owners of the "
        "images. The text of the terms could not be confirmed.",
    ),
    image=r"(?:[a-z]/(?:[^/]+/)+|train/[^/]+/|Places365_(?:val|test)_)\d{8}\.jpg",
    ignored=_TABLES,
    images=8_026_628,
)

SA_1B = Preset(
    name="sa-1b",
    help="sa_000000.tar … sa_000999.tar, or a folder of sa_<id>.jpg; masks stay unread",
    role=_UNLABELLED,
    terms=Terms(
        title="SA-1B",
        homepage="https://ai.meta.com/datasets/segment-anything",
        citation="Kirillov et al., Segment Anything, ICCV 2023",
        licence="SA-1B Dataset Research License",
        rehost="no",
        commercial="no",
        note="Research use. The text of the licence could not be confirmed. Faces and number "
        "plates are blurred.",
    ),
    image=r"sa_\d+\.jpg",
    ignored={r"sa_\d+\.json": "annotations", **_TABLES},
    images=11_185_362,
)

UNLABELLED: tuple[Preset, ...] = (
    BDD100K,
    BDD100K_VIDEOS,
    GOOGLE_LANDMARKS,
    IMAGENET_21K,
    LSUN,
    OBJECTS365,
    OPEN_IMAGES,
    PLACES365,
    SA_1B,
)
