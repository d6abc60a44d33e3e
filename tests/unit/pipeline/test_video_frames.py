"""Videos give every so many-th frame, upright; what is no video or is cut off is an error."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pipeline.archives import ARCHIVE_FAULTS
from pipeline.video_frames import video_entries

av = pytest.importorskip("av")
STEP = 8  # levels of grey between one frame and the next


def video(format_: str = "mov", *, frames: int = 25, codec: str = "mpeg4") -> bytes:
    buffer = io.BytesIO()
    write(buffer, format_, frames, codec)
    return buffer.getvalue()


def write(to, format_: str, frames: int, codec: str, **options: str) -> None:
    """Frame ``n`` is grey at level ``n * STEP``, with a white corner at the top left."""
    with av.open(to, "w", format=format_, options=options) as container:
        track = container.add_stream(codec, rate=30)
        track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        track.bit_rate = 4_000_000
        for number in range(frames):
            picture = np.full((64, 96, 3), number * STEP, np.uint8)
            picture[:16, :16] = 255
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())


def turned(data: bytes) -> bytes:
    """As a telephone held upright writes it: to be shown a quarter turn clockwise."""
    place = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    return data[:place] + matrix + data[place + 36 :]


def read(data: bytes, every: int = 10) -> dict[str, np.ndarray]:
    entries = video_entries(io.BytesIO(data), every=every)
    return {entry.name: np.array(Image.open(io.BytesIO(entry.read()))) for entry in entries}


@pytest.mark.parametrize(
    ("format_", "codec"),
    [("mov", "mpeg4"), ("mp4", "libx264"), ("matroska", "mpeg4"), ("webm", "libvpx"),
     ("avi", "mpeg4")],
)  # fmt: skip
def test_every_tenth_frame_by_its_number(format_, codec):
    data = video(format_, codec=codec)
    found = read(data)
    assert list(found) == ["frame_000000.jpg", "frame_000010.jpg", "frame_000020.jpg"]
    for number, picture in zip((0, 10, 20), found.values(), strict=True):
        assert picture.shape == (64, 96, 3)
        assert abs(picture[40:, 40:].mean() - number * STEP) < 6


def test_all_frames_or_the_first_alone():
    assert len(read(video(), every=1)) == 25
    assert list(read(video(), every=100)) == ["frame_000000.jpg"]


def test_the_same_video_gives_the_same_bytes():
    data = video()
    twice = [[entry.read() for entry in video_entries(io.BytesIO(data), every=5)] for _ in "ab"]
    assert twice[0] == twice[1] and len(twice[0]) == 5


def test_frames_are_jpegs_near_the_decoded_picture():
    data = video()
    entry = next(video_entries(io.BytesIO(data)))
    assert entry.read().startswith(b"\xff\xd8") and entry.size == len(entry.read())
    with av.open(io.BytesIO(data)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    shown = np.array(Image.open(io.BytesIO(entry.read()))).astype(int)
    assert np.abs(shown - decoded).mean() < 1.5


def test_a_video_of_a_telephone_held_upright_is_turned():
    upright = read(turned(video()))["frame_000000.jpg"]
    assert upright.shape == (96, 64, 3)
    assert upright[4:12, -12:-4].min() > 200, "the white corner is at the top right"
    assert upright[4:12, 4:12].max() < 60


def test_a_video_that_is_cut_off_gives_what_came_before(tmp_path):
    file = tmp_path / "clip.mov"
    write(str(file), "mov", 25, "mpeg4", movflags="faststart")
    data = file.read_bytes()
    found = []
    with pytest.raises(ValueError, match=r"ends after|InvalidData"):
        for entry in video_entries(io.BytesIO(data[: len(data) * 2 // 3]), every=1):
            found.append(entry.name)
    assert 5 < len(found) < 25
    with pytest.raises(ValueError):
        read(video()[:-600])  # without its directory, which comes last


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("data", [b"", b"x" * 4000, PLAYLIST, b"\0\0\0\x18ftyp" + b"qt  " * 50])
def test_what_is_no_video_is_refused(data):
    with pytest.raises(ValueError):
        read(data)


def test_sound_alone_is_no_video():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(track.encode(frame))
        container.mux(track.encode())
    with pytest.raises(ValueError, match="no picture"):
        read(buffer.getvalue())


def test_frames_of_too_many_pixels_are_refused_before_one_is_decoded(monkeypatch):
    monkeypatch.setattr("pipeline.video_frames.MAX_FRAME_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match="96 x 64"):
        read(video())


def test_a_video_without_end_is_left(monkeypatch):
    monkeypatch.setattr("pipeline.video_frames.MAX_FRAMES", 12)
    found = []
    with pytest.raises(ValueError, match="goes on after 12"):
        for entry in video_entries(io.BytesIO(video()), every=5):
            found.append(entry.name)
    assert found == ["frame_000000.jpg", "frame_000005.jpg", "frame_000010.jpg"]


def test_broken_bytes_are_frames_or_faults():
    data = video()
    chance = np.random.default_rng(3)
    for _ in range(20):
        broken = bytearray(data)
        for place in chance.integers(0, len(data), 30):
            broken[place] ^= 0xFF
        try:
            assert len(read(bytes(broken), every=1)) <= 100
        except ARCHIVE_FAULTS:
            continue
