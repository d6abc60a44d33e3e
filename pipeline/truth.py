"""An image with its ground truth, from the files that hold them.

Which files belong together: see `pipeline.pairs` and `pipeline.joins`; how numbers mean depth:
`truth_encodings`. Each file counts as one `Member` with truth, as the truth of one, or as one
`Drop`:

====================  ===========================================================================
reason                meaning
====================  ===========================================================================
no_truth              an image without a depth file
no_image              a depth file without an image
ambiguous_pair        several images or depth files that would belong together
corrupt_truth         the depth file is broken, or no such file at all
not_a_depth_map       a sound file of another kind: a coloured picture of depth, 8 bits, 3 channels
empty_truth           not one value is valid
truth_size_mismatch   the depth has another shape than the image (another size of the same shape
                      is kept as it is)
truth_orientation     the image is to be turned by its EXIF tag: whether the depth is, nobody says
no_mask               an image without the mask that its ground truth needs
other_truth           named like depth, but not a file of this encoding
other_file            neither an image nor depth by its name
apple_double          macOS leaves these (``._name``) beside the real files
====================  ===========================================================================
"""

from pipeline.archives import EntryError
from pipeline.examiner import OPENED_BY_NATIVE_CODE
from pipeline.filesystems import public_uri
from pipeline.image_formats import sniff
from pipeline.images import ImageDecodeError, ReadHeader, read_header
from pipeline.member_paths import normalised_text
from pipeline.parts import Sample, read_part
from pipeline.records import Drop, Member, Truth
from pipeline.structure import Structure
from pipeline.truth_decoding import with_truth
from pipeline.truth_encodings import TRUTH_ENCODINGS, TruthEncoding
from pipeline.truth_files import TruthFileError

ASPECT_TOLERANCE = 0.01  # a crop shows from 1.5 % on (NYU's 561 x 427), rounding stays below


def read_sample(sample: Sample) -> Member | Drop:
    """The image's bytes with its decoded truth; whether the image is sound is for others to say.

    Raises:
        SourceError: The library that reads the ground truth is not installed.
        StorageError: The file system failed.
    """
    image = sample.image
    uri = normalised_text(public_uri(image.uri))
    try:
        placed = read_part(image)
        parts = [read_part(part).data for part in sample.truth]
    except (FileNotFoundError, PermissionError) as error:
        return Drop(sample.path, uri, "unreadable", normalised_text(str(error)), bytes=image.size)
    except EntryError as error:
        return Drop(sample.path, uri, error.reason, error.detail, bytes=image.size)
    # A name that is not UTF-8 does not lead back to the file.
    in_place = placed.offset if uri == public_uri(image.uri) else None
    member = Member(sample.path, uri, placed.data, offset=in_place)
    names = [part.path for part in sample.truth]
    return decoded(member, parts, TRUTH_ENCODINGS[sample.encoding], names=names)


def decoded(
    member: Member, parts: list[bytes], encoding: TruthEncoding, *, names: list[str]
) -> Member | Drop:
    """The image with its truth, or why they do not go together; ``names`` are those of the parts.

    Raises:
        SourceError: The library that reads the ground truth is not installed.
    """
    header = _header(member.data)
    structure = None if header is None else header.structure
    size = None if structure is None else (structure.height, structure.width)
    if size is not None and structure is not None and encoding.points and structure.orientation > 4:
        size = size[::-1]  # points are those of the image as it is shown
    try:
        whole = with_truth(member, parts, encoding, image_size=size)
    except TruthFileError as error:
        refused: tuple[str, str] | None = (error.reason, error.detail)
    else:
        refused = _refusal(whole.truth, structure) if whole.truth is not None else None
    if refused is None:
        return whole
    detail = normalised_text(f"{names[0]}: {refused[1]}" if names else refused[1])
    return Drop(member.path, member.uri, refused[0], detail, bytes=len(member.data))


def misfit(truth: Truth, *, size: tuple[int, int], orientation: int) -> tuple[str, str] | None:
    """Why a map does not belong to an image, if it does not.

    Args:
        truth: Of the image.
        size: Width and height of the image as it is shown.
        orientation: The image's EXIF tag.
    """
    if orientation != 1:
        return (
            "truth_orientation",
            f"EXIF turns the image ({orientation}); nobody says how the depth lies",
        )
    height, width = truth.values_HW.shape
    if abs(width * size[1] / (height * size[0]) - 1) > ASPECT_TOLERANCE:
        return "truth_size_mismatch", f"{width} x {height}, the image is {size[0]} x {size[1]}"
    return None


def _refusal(truth: Truth, structure: Structure | None) -> tuple[str, str] | None:
    if not (truth.values_HW > 0).any():
        return "empty_truth", "not one valid value"
    if structure is None:
        return None
    size = structure.width, structure.height
    return misfit(truth, size=size, orientation=structure.orientation)


def _header(data: bytes) -> ReadHeader | None:
    """None for an image that is broken, or is native code's to open: others look at that."""
    if sniff(data) in OPENED_BY_NATIVE_CODE:
        return None
    try:
        return read_header(data)
    except ImageDecodeError:
        return None
