"""Hostile and broken files, made from sound ones by chance and by design; the same for a seed."""

import bz2
import gzip
import io
import itertools
import lzma
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.archives import tar

EXTREMES = (0, 1, 2, 127, 128, 254, 255)
NUMBERS = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NAMES = (
    "../../etc/passwd.jpg",
    "/etc/shadow.jpg",
    "C:\\windows\\system32\\a.jpg",
    "a/./b//../../../c.jpg",
    "..",
    ".",
    "/",
    "~root/.ssh/id.jpg",
    "nul\x00inside.jpg",
    "new\nline\r.jpg",
    "\x1b[31mred.jpg",
    "<script>alert(1)</script>.jpg",
    "x" * 5000 + ".jpg",
    "same.jpg",
    "same.jpg",
    "same.jpg#2",
)


def picture(
    format_: str = "JPEG", *, width: int = 40, height: int = 32, **options: object
) -> bytes:
    """A small image that passes every check."""
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_, **options)
    return buffer.getvalue()


def damaged(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Cut, changed, enlarged, mixed up with others, or several of these."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        data = _damaged_once(data, chance, others)
    return data


def _damaged_once(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    broken, kind = bytearray(data), chance.random()
    if not broken:
        return chance.randbytes(chance.randrange(64))
    start = chance.randrange(len(broken))
    if kind < 0.15:
        return data[:start]
    if kind < 0.55:  # bytes, most of them near the start, where headers are
        end = min(len(broken), chance.choice([32, 128, 600, 1 << 30]))
        for _ in range(chance.choice([1, 1, 2, 4, 16])):
            broken[chance.randrange(end)] = chance.choice([*EXTREMES, chance.randrange(256)])
    elif kind < 0.65:
        broken[start] ^= 1 << chance.randrange(8)
    elif kind < 0.78:  # a number somewhere becomes an extreme one: sizes, offsets, counts
        code = chance.choice(["<H", ">H", "<I", ">I", "<Q"])
        number = chance.choice(NUMBERS) & ((1 << 8 * struct.calcsize(code)) - 1)
        number = min(number, 0xFFFF) if code[1] == "H" else number
        if len(broken) >= 8:
            struct.pack_into(code, broken, chance.randrange(len(broken) - 7), number)
    elif kind < 0.84:
        del broken[start : start + chance.randrange(1, 200)]
    elif kind < 0.9:
        broken[start:start] = chance.randbytes(chance.randrange(1, 60))
    elif kind < 0.95:
        broken[start : start + 4096] = broken[start : start + 4096] * 2
    else:
        other = chance.choice(others)
        broken = broken[:start] + other[chance.randrange(len(other) + 1) :]
    return bytes(broken)


def images() -> list[bytes]:
    """One small file of every format that is read, and some of those that are not."""
    variants = [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 40}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("GIF", {}),
        *(("TIFF", {"compression": how}) for how in (None, "tiff_lzw", "jpeg", "tiff_deflate")),
    ]
    return [picture(format_, **options) for format_, options in variants]


def archives() -> dict[str, bytes]:
    """Sound archives by name."""
    files = {"a.jpg": picture(), "deep/b.png": picture("PNG"), "c.txt": b"text" * 100}
    plain = tar(files)
    return {
        "plain.tar": plain,
        "packed.tar.gz": gzip.compress(plain),
        "packed.tar.bz2": bz2.compress(plain),
        "packed.tar.xz": lzma.compress(plain),
        "stored.zip": zipped(files, compression=zipfile.ZIP_STORED),
        "deflated.zip": zipped(files),
        "nested.tar": tar({"in.zip": zipped(files), "in.tar.gz": gzip.compress(plain)}),
        "nested.zip": zipped({"in.tar": plain}),
    }


def tables() -> dict[str, bytes]:
    """Sound files that native code opens."""
    rows = [{"bytes": picture(width=w), "path": f"{w}.jpg"} for w in (40, 48)]
    table = pa.table({"image": rows, "license": ["CC0", None]})
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    return {"rows.parquet": parquet.getvalue(), "rows.arrow": arrow.getvalue()}


def zipped(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "?")), data, compression)
    return buffer.getvalue()


def designed_archives() -> Iterator[tuple[str, bytes]]:
    """Archives that mean harm, by name."""
    yield from _hostile_tars()
    yield from _hostile_zips()
    yield "empty.tar", b""
    yield "zeros.tar", bytes(10240)
    yield "bomb.tar.gz", gzip.compress(tar({"zeros.jpg": bytes(64 << 20)}))
    yield (
        "endless.tar.gz",
        gzip.compress(tar({"a.jpg": picture()})) + gzip.compress(bytes(1 << 20)) * 64,
    )
    yield "cut.tar.gz", gzip.compress(tar({"a.jpg": picture()}))[:-9]
    deep = tar({"a.jpg": picture()})
    for depth in range(40):
        deep = tar({f"{depth}.tar": deep})
    yield "deep.tar", deep
    wide = zipped({"zeros.jpg": bytes(8 << 20)})
    for _ in range(3):  # 4^3 times 8 MB of zeros
        wide = zipped({f"{number}.zip": wide for number in range(4)})
    yield "wide.zip", wide


def _hostile_tars() -> Iterator[tuple[str, bytes]]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in NAMES:
            info = tarfile.TarInfo(name.replace("\0", "?"))
            info.size = len(data := picture())
            archive.addfile(info, io.BytesIO(data))
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
            tarfile.GNUTYPE_SPARSE,
            b"Z",
        ):
            info = tarfile.TarInfo("device.jpg")
            info.type, info.linkname, info.devmajor = kind, "/etc/passwd", 1
            archive.addfile(info)
    yield "names.tar", buffer.getvalue()
    for size in (1 << 30, (1 << 33) - 1, 1 << 62, -1, -512):
        yield f"size{size}.tar", _tar_header("huge.jpg", size) + bytes(2048)
        yield f"name{size}.tar", _tar_header("././@LongLink", size, kind=b"L") + bytes(2048)
        yield f"pax{size}.tar", _tar_header("pax", size, kind=b"x") + bytes(2048)
    records = b"".join(_pax_record(key, value) for key, value in PAX)
    header = _tar_header("pax", len(records), kind=b"x") + records.ljust(
        -(-len(records) // 512) * 512
    )
    yield "pax.tar", header + tar({"a.jpg": picture()})
    yield "chain.tar", _tar_header("pax", 512, kind=b"x") * 4000 + bytes(1024)


PAX = (
    ("path", "../../up.jpg"),
    ("size", "99999999999999999999"),
    ("mtime", "nan"),
    ("GNU.sparse.major", "1"),
    ("GNU.sparse.minor", "0"),
    ("GNU.sparse.map", "0,1,-5,99999999999"),
    ("hdrcharset", "nonsense"),
)


def _pax_record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    length = len(text) + 2
    return f"{length}".encode() + text if len(str(length)) == 2 else f"{length + 1}".encode() + text


def _tar_header(name: str, size: int, *, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[: len(name)] = name.encode()
    if 0 <= size < 8**11:
        header[124:136] = b"%011o\0" % size
    else:  # GNU's base 256
        header[124:136] = (size % (1 << 96)).to_bytes(12, "big")
        header[124] |= 0x80
    header[100:108], header[156:157], header[257:265] = b"0000644\0", kind, b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _hostile_zips() -> Iterator[tuple[str, bytes]]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for number, name in enumerate(NAMES):  # some are there twice, of which it warns
            info = zipfile.ZipInfo(f"{number}")
            info.filename = name.replace("\0", "?")
            archive.writestr(info, picture())
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    yield "names.zip", buffer.getvalue()
    sound = zipped({"a.jpg": picture(), "b.jpg": picture()})
    central = sound.index(b"PK\1\2")
    for place, code in ((20, "<I"), (24, "<I"), (42, "<I"), (28, "<H"), (8, "<H"), (10, "<H")):
        for number in (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF):
            lying = bytearray(sound)
            struct.pack_into(
                code, lying, central + place, number & (0xFFFF if code == "<H" else -1)
            )
            yield f"lie{place}-{number}.zip", bytes(lying)
    yield "bomb.zip", zipped({f"{n}.bmp": bytes(32 << 20) for n in range(3)})
    yield "overlap.zip", overlapping(100, zeros=4 << 20)
    yield "many.zip", zipped({f"{n}.jpg": b"" for n in range(3000)})
    yield "tail.zip", b"junk" * 1000 + sound + b"comment" * 50
    yield "directory.zip", sound[:central] + sound[central:].replace(b"PK\1\2", b"PK\1\3", 1)


def overlapping(entries: int, *, zeros: int) -> bytes:
    """A zip whose entries are all the same bytes: a small file that unpacks to very much."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed.compress(bytes(zeros)) + packed.flush()
    facts = struct.pack("<III", zlib.crc32(bytes(zeros)), len(body), zeros)
    local = b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + facts + struct.pack("<HH", 5, 0)
    central = b"".join(
        b"PK\1\2"
        + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33)
        + facts
        + struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0)
        + b"z.jpg"
        for _ in range(entries)
    )
    start = len(local) + 5 + len(body)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, entries, entries, len(central), start, 0)
    return local + b"z.jpg" + body + central + end


def truths() -> dict[str, bytes]:
    """Small sound files of ground truth, by the name of what reads them."""
    depth_HW = np.linspace(0.5, 9, 12 * 16, dtype=np.float32).reshape(12, 16)
    codes_HW = (depth_HW * 1000).astype(np.uint16)
    npy, npz, png = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, depth_HW)
    np.savez_compressed(npz, depth_HW)
    Image.fromarray(codes_HW).save(png, "PNG")
    return {
        "read_png16": png.getvalue(),
        "read_pgm16": b"P5\n16 12\n65535\n" + codes_HW.astype(">u2").tobytes(),
        "read_pfm": b"Pf\n16 12\n-1.0\n" + depth_HW.tobytes(),
        "read_npy": npy.getvalue(),
        "read_npz": npz.getvalue(),
    }


def designed_truths() -> Iterator[tuple[str, bytes]]:
    """Headers that lie, by the name of what reads them."""
    sizes = (0, 1, -1, 65536, 99_999_999, 10**30)
    for width, height in itertools.product(sizes, repeat=2):
        yield "read_pfm", b"Pf\n%d %d\n-1.0\n" % (width, height) + bytes(64)
        yield "read_pgm16", b"P5\n%d %d\n65535\n" % (width, height) + bytes(64)
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({width}, {height})}}\n"
        yield "read_npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(shape)) + shape.encode()
    for scale in (b"0", b"nan", b"inf", b"-1e999", b"x"):
        yield "read_pfm", b"Pf\n16 12\n" + scale + b"\n" + bytes(16 * 12 * 4)
    for kind in ("|O", "<M8[s]", "<c16", "|V4000000000", "<f4,<f4", "|S9", "(((("):
        shape = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (16, 12)}}\n"
        yield "read_npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(shape)) + shape.encode()
    deep = "(" * 60_000
    yield "read_npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(deep)) + deep.encode()
    yield "read_npz", zipped({"arr_0.npy": bytes(200 << 20)})
    yield "read_npz", overlapping(50, zeros=8 << 20)
