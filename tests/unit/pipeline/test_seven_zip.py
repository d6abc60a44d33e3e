"""7z archives: every file comes out as it went in, damage is told, nothing is written by name."""

import io
import os
import random

import pytest

from pipeline import seven_zip
from pipeline.archives import EntryError
from pipeline.seven_zip import seven_zip_entries

py7zr = pytest.importorskip("py7zr")

FILES = {f"a/{number}.bin": os.urandom(30_000) + b"x" * 3000 for number in range(5)} | {"e": b""}


def packed(files, **options) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return buffer.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in seven_zip_entries(io.BytesIO(data))}


def test_round_trip():
    assert read(packed(FILES)) == FILES


def test_equal_names_are_two_files():
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        archive.writestr(b"1", "a")
        archive.writestr(b"22", "a")
    entries = list(seven_zip_entries(io.BytesIO(buffer.getvalue())))
    assert [(entry.name, entry.size) for entry in entries] == [("a", 1), ("a", 2)]


def test_entries_are_read_in_any_order_while_the_archive_is_open():
    entries = seven_zip_entries(io.BytesIO(packed(FILES)))
    kept = [next(entries) for _ in range(3)]
    assert [entry.read() for entry in reversed(kept)] == list(FILES.values())[2::-1]
    entries.close()


def test_links_are_not_followed(tmp_path):
    os.symlink("/etc/passwd", tmp_path / "link")
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        archive.write(tmp_path / "link", "link")
        archive.writestr(b"data", "file")
    link, file = seven_zip_entries(io.BytesIO(buffer.getvalue()))
    assert link.refusal is not None and link.refusal[0] == "not_a_file"
    assert file.refusal is None


def test_names_that_climb_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        archive.writestr(b"data", "up/up.bin")
        archive.writestr(b"good", "good")
        archive.files.files_list[0]["filename"] = "../up.bin"
    climbing, good = seven_zip_entries(io.BytesIO(buffer.getvalue()))
    assert good.name == "good" and climbing.name == "../up.bin"
    with pytest.raises(EntryError, match="cannot be unpacked"):
        climbing.read()
    assert not list(tmp_path.parent.glob("up.bin")) and not list(tmp_path.iterdir())


def test_a_broken_block_loses_what_comes_after_it():
    data = bytearray(packed(FILES))
    data[80_000] ^= 255
    whole, lost = 0, 0
    with pytest.raises(ValueError):
        for entry in seven_zip_entries(io.BytesIO(bytes(data))):
            try:
                assert entry.read() == FILES[entry.name]
                whole += 1
            except EntryError as error:
                assert error.reason == "corrupt_member"
                lost += 1
    assert whole >= 2 and lost >= 1 and whole + lost == len(FILES)


def test_random_damage_raises_nothing_else():
    data, chance = packed(FILES), random.Random(3)
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(3):
            place = chance.choice((chance.randrange(32), -chance.randrange(1, 200), 500))
            damaged[place] ^= 1 << chance.randrange(8)
        try:
            for entry in seven_zip_entries(io.BytesIO(bytes(damaged))):
                try:
                    assert entry.read() == FILES.get(entry.name)
                except EntryError as error:
                    assert error.reason == "corrupt_member"
        except (ValueError, OSError, EOFError, LookupError, RuntimeError):
            continue


@pytest.mark.parametrize("cut", [0, 10, 100, 1000, -5])
def test_cut_off_archives(cut):
    with pytest.raises(ValueError):
        list(seven_zip_entries(io.BytesIO(packed(FILES)[:cut])))


def test_a_password():
    with pytest.raises(ValueError, match="password"):
        list(seven_zip_entries(io.BytesIO(packed({"a": b"secret"}, password="x"))))


def test_what_would_fill_the_disk_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(seven_zip, "MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(ValueError, match="10,001 bytes unpacked, the limit is 10,000"):
        list(seven_zip_entries(io.BytesIO(packed({"zeros": b"\0" * 10_001}))))
