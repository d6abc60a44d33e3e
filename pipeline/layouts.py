"""Ways in which people keep images that belong to no data set known by name.

====================  ===========================================================================
layout                meaning
====================  ===========================================================================
auto                  archives are opened wherever they are, all else is an image or dropped
images                nothing is opened
tar, zip, parquet …   says what the named file is, whatever it is called
arrow                 what ``save_to_disk`` of the datasets library wrote: Arrow files, and files
                      about them
webdataset            tars of images with files of the same name beside each
img2dataset           the same, or Parquet, with tables about the images beside the archives
pairs                 images and ground truth beside them
====================  ===========================================================================
"""

from pipeline.arrow_images import choose_saved
from pipeline.choices import Choose, open_archives, open_nothing
from pipeline.sidecars import choose_images

LAYOUTS = (
    *("auto", "images", "tar", "zip", "parquet", "lmdb", "arrow", "video", "webdataset"),
    *("img2dataset", "pairs"),
)
WITH_SIDECARS = ("webdataset", "img2dataset")
_CHOOSE: dict[str, Choose] = {
    "images": open_nothing,
    "arrow": choose_saved,
    "webdataset": choose_images,
    "img2dataset": choose_images,
}


def choose_in(layout: str) -> Choose:
    """What is to be done with each path."""
    return _CHOOSE.get(layout, open_archives)
