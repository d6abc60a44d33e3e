"""The digest of a file that grew is that of the whole file."""

import hashlib
import os

import pytest

from pipeline.followed_file import BUFFER_BYTES, FollowedFile


@pytest.mark.parametrize(
    "pieces", [[0], [5], [3, 0, BUFFER_BYTES], [BUFFER_BYTES + 1, 7, 2_500_000]]
)
def test_a_file_that_grows(tmp_path, pieces):
    path = tmp_path / "growing"
    path.touch()
    followed = FollowedFile(path)
    with path.open("ab", buffering=0) as sink:
        for size in pieces:
            sink.write(os.urandom(size))
            followed.follow()
    assert followed.finish() == (sum(pieces), hashlib.sha256(path.read_bytes()).hexdigest())
    followed.close()


def test_what_cannot_be_read_is_said_in_the_end(tmp_path):
    path = tmp_path / "growing"
    path.touch()
    followed = FollowedFile(path)
    followed._file.close()
    followed.follow()
    with pytest.raises(ValueError, match="closed file"):
        followed.finish()
    followed.close()
