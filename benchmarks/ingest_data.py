"""What the ingest benchmark reads: photographs, each made distinct, as a folder and as a tar.

A comment with a number is put into each JPEG, so that no two files are the same while every one
decodes as before. Without photographs at hand, pictures are drawn.
"""

import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PER_FOLDER = 1000


def make(root: Path, *, photos: Path | None, total_bytes: int, side: int | None) -> int:
    """``root/images`` and ``root/images.tar`` of the same files; returns how many there are.

    Args:
        root: Where; what lies there of an earlier call is taken as it is.
        photos: A folder of photographs; None to draw some.
        total_bytes: About how much it is to be.
        side: Shorter side to which the photographs are scaled; None to leave them alone.
    """
    done = root / "done"
    if not done.exists():
        (root / "images").mkdir(parents=True)
        files = _distinct(_originals(photos, side), total_bytes)
        with tarfile.open(root / "images.tar", "w") as archive:
            number = sum(_write(root / "images", archive, *file) for file in enumerate(files))
        done.write_text(str(number))
    return int(done.read_text())


def _write(folder: Path, archive: tarfile.TarFile, number: int, data: bytes) -> int:
    name = f"{number // PER_FOLDER:04d}/{number:07d}.jpg"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
    return 1


def _distinct(originals: list[bytes], total_bytes: int) -> Iterator[bytes]:
    made = 0
    for number, data in enumerate(itertools.cycle(originals)):
        if made >= total_bytes:
            return
        comment = f"{number:012d}".encode()
        numbered = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        made += len(data)
        yield numbered + data[2:]


def _originals(photos: Path | None, side: int | None) -> list[bytes]:
    if photos is None:
        return [_encoded(_drawn(seed, side or 1080)) for seed in range(24)]
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if side is None:
        return [path.read_bytes() for path in paths]
    return [_encoded(_scaled(Image.open(path).convert("RGB"), side)) for path in paths]


def _scaled(image: Image.Image, side: int) -> Image.Image:
    factor = side / min(image.size)
    return image.resize((round(image.width * factor), round(image.height * factor)))


def _drawn(seed: int, side: int) -> Image.Image:
    """Blurred noise of many scales: about as many bytes per pixel as a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side * 4 // 3, 3), np.float32)
    for scale in (4, 16, 64, 256):
        coarse = rng.integers(0, 256, (side // scale + 2, side // scale + 2, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        total += np.asarray(image, np.float32) / 4
    return Image.fromarray(total.astype(np.uint8))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
