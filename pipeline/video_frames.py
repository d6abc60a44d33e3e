"""Frames of videos: every so many-th one, as a JPEG of quality 95 named by its number.

PNG would keep each decoded pixel, but these are a decoder's rounding of a picture that has lost
more already, at four times the bytes: 7.3 TB in place of 1.9 for the 8.2 million frames of BDD100K.
A photograph of 1280 x 720 in H.264 at 8 Mbit/s (31 frames panning over it) gave frames of 895 kB as
PNG and 233 kB as JPEG, which differed from the decoded ones by 0.97 of 255 on average, those from
the photograph by 1.2. The same libraries give the same bytes each time; other versions of them may
not.

What a file is, its first bytes say, and its demuxer is named to FFmpeg, which would otherwise also
follow playlists to other files and hosts. Frames are shown upright, as the file's display matrix
says. One frame is in memory at a time. FFmpeg is native code that crafted files have crashed
before: this belongs into a process of its own.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pipeline.archives import Entry
from pipeline.optional import needs

EVERY = 30
QUALITY = 95
MAX_FRAME_PIXELS = 64 << 20
MAX_FRAMES = 4_000_000  # a day and a half at 30 a second
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def video_entries(stream: BinaryIO, *, every: int = EVERY) -> Iterator[Entry]:
    """One entry per frame that is taken, ``frame_000000.jpg`` the first one, in order of showing.

    Args:
        stream: The video, to be read from anywhere.
        every: Frames ``0, every, 2 * every …`` are taken.

    Raises:
        SourceError: The library for videos is not installed.
        ValueError: It is no video, or it is broken; what came before that is sound.
    """
    av = needs("av", "videos")
    format_ = _format(stream)
    with _faults(av), av.open(stream, mode="r", format=format_, metadata_errors="replace") as video:
        if not video.streams.video:
            raise ValueError("there is no picture in it")
        track = video.streams.video[0]
        _limit(track)
        number = -1
        for number, frame in enumerate(video.decode(track)):
            if number >= MAX_FRAMES:
                raise ValueError(f"it goes on after {MAX_FRAMES:,} frames")
            if number % every == 0:
                yield _entry(frame, number)
        _check_end(number + 1, declared=track.frames)


@contextmanager
def _faults(av: Any) -> Iterator[None]:
    """What FFmpeg complains of, as a fault of the file."""
    try:
        yield
    except av.FFmpegError as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _format(stream: BinaryIO) -> str:
    head = stream.read(16)
    stream.seek(0)
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    raise ValueError("neither QuickTime or MP4, nor Matroska or WebM, nor AVI")


def _limit(track: Any) -> None:
    """Small memory, and one thread: there is a process for every two processors anyway."""
    context = track.codec_context
    if context is None:
        raise ValueError("no decoder is known for its pictures")
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise ValueError(f"frames of {context.width} x {context.height} pixels")
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # the size may change later on
    context.thread_count = 1


def _entry(frame: Any, number: int) -> Entry:
    name = f"frame_{number:06d}.jpg"
    if frame.is_corrupt:
        refusal = ("corrupt_member", "the decoder could not make out the whole frame")
        return Entry(name, 0, io.BytesIO, refusal=refusal)
    data = _jpeg(frame)
    return Entry(name, len(data), lambda: io.BytesIO(data))


def _jpeg(frame: Any) -> bytes:
    """An upright frame. Colour keeps half the resolution, as it has in the video."""
    pixels_HW3 = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, like the display matrix
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(pixels_HW3, turns)).save(
        buffer, "JPEG", quality=QUALITY, subsampling="4:2:0"
    )
    return buffer.getvalue()


def _check_end(count: int, *, declared: int) -> None:
    """A file that was cut off just ends; edit lists may hide a few frames of a sound one."""
    if count < declared * 0.99 - 2:
        raise ValueError(f"it ends after {count:,} of {declared:,} frames")
    if not count:
        raise ValueError("it has no frames")
