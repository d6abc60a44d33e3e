"""Broken ground truth is refused by a reason or read, whatever is broken: never another error."""

import io
import warnings

import numpy as np
import pytest

from pipeline.presets import match_end, presets
from pipeline.records import Member
from pipeline.truth_decoding import IndexEntry, inner_members, with_truth
from pipeline.truth_encodings import TRUTH_ENCODINGS
from pipeline.truth_files import TruthFileError
from tests.native_data_sets import DEPTH, NATIVE

MUTATIONS = 150
REASONS = {"corrupt_truth", "not_a_depth_map", "no_truth", "points_outside", "mask_size_mismatch"}
NAMES = [name for name in NATIVE if name not in ("ddad-png", "nyu-v2-png", "diml-indoor")]


def parts_of(name: str, files: dict[str, bytes], image: str) -> list[bytes]:
    """The files of one image's ground truth, in the order of the encoding."""
    preset = presets()[name]
    encoding = TRUTH_ENCODINGS[preset.encoding]
    if encoding.index is not None:
        index = next(path for path in files if match_end(preset.index, path))
        entries: list[IndexEntry] = list(encoding.index(files[index], index))
        truth = next(entry.truth for entry in entries if entry.image == image)
        return [files[path] for path in truth]
    patterns = [preset.image] if encoding.members else [preset.truth, *preset.masks]
    return [
        next(data for path, data in files.items() if match_end(pattern, path))
        for pattern in patterns
    ]


def mutated(parts: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One of the files cut off, or with some bytes changed."""
    changed = [bytearray(part) for part in parts]
    one = changed[rng.integers(len(changed))]
    if rng.random() < 0.3:
        del one[rng.integers(len(one)) :]
    else:
        for place in rng.integers(len(one), size=rng.integers(1, 4)):
            one[place] = rng.integers(256)
    return [bytes(part) for part in changed]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_broken(name, tmp_path):
    native = NATIVE[name](tmp_path)
    encoding = TRUTH_ENCODINGS[presets()[name].encoding]
    image = next(iter(native.truths))
    parts = parts_of(name, native.files, image)
    rng = np.random.default_rng(len(name))
    refused = 0
    for _ in range(MUTATIONS):
        some = mutated(parts, rng)
        try:
            # A header of numpy that looks as if Python 2 had written it is warned of.
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                if encoding.members is not None:
                    list(inner_members(io.BytesIO(some[0]), encoding, path="x", uri="/x"))
                else:
                    with_truth(Member(image, "/x", b""), some, encoding, image_size=DEPTH.shape)
        except TruthFileError as error:
            assert error.reason in REASONS
            refused += 1
    assert refused > MUTATIONS / 10
