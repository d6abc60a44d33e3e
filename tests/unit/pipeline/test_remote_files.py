"""Patience with file systems behind a URL: what is tried again, how often, and what never is."""

import errno
import uuid
from itertools import pairwise
from pathlib import Path

import fsspec
import pytest

from pipeline import remote_files
from pipeline.errors import StorageError, StoreFullError
from pipeline.filesystems import ordinary_errors
from pipeline.remote_files import TRIES, BrokenOffError, is_passing, persistent


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    made = []
    monkeypatch.setattr(remote_files.time, "sleep", made.append)
    return made


@pytest.fixture
def memory():
    return fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}/k"


class Failing:
    """Raises some errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *_, **__) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


class ServiceError(Exception):
    """As botocore has it."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def test_faults_that_pass_are_waited_for_longer_each_time(pauses):
    action = Failing(*[TimeoutError()] * (TRIES - 1))
    assert persistent(action) == "answer"
    assert len(pauses) == TRIES - 1
    assert all(later > earlier for earlier, later in pairwise(pauses))


def test_patience_has_an_end(monkeypatch):
    action = Failing(*[ConnectionResetError()] * 100)
    with pytest.raises(ConnectionResetError):
        persistent(action)
    assert action.calls == TRIES
    monkeypatch.setattr(remote_files, "GIVE_UP_S", 0.0)
    action = Failing(*[ConnectionResetError()] * 100)
    with pytest.raises(ConnectionResetError):
        persistent(action)
    assert action.calls == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), PermissionError(), ValueError(), ServiceError("AccessDenied")]
)
def test_what_does_not_pass_is_not_tried_again(error, pauses):
    action = Failing(error)
    with pytest.raises(type(error)):
        persistent(action)
    assert (action.calls, pauses) == (1, [])


def test_what_botocore_has_repeated_is_not_repeated_again():
    exceptions = pytest.importorskip("botocore.exceptions")
    for kind in ("EndpointConnectionError", "ConnectionClosedError", "ConnectTimeoutError"):
        assert not is_passing(getattr(exceptions, kind)(endpoint_url="http://host"))
    assert not is_passing(ServiceError("SlowDown", 503))
    assert is_passing(exceptions.ResponseStreamingError(error="reset"))
    assert is_passing(exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2))
    assert is_passing(ServiceError("ConditionalRequestConflict", 409))


def test_short_answers_are_tried_again_and_long_ones_refused(memory, monkeypatch):
    fs, path = memory
    fs.pipe_file(path, b"0123456789")
    answers = [b"0123", b"", b"0123456789", b"23", b"2345", b"0123456789"]
    monkeypatch.setattr(fs, "cat_file", lambda *_, **__: answers.pop(0))
    assert remote_files.read(fs, path) == b"0123456789"
    assert remote_files.read_span(fs, path, 2, 6) == b"2345"
    with pytest.raises(OSError, match="ranges of bytes are not understood"):
        remote_files.read_span(fs, path, 2, 6)
    answers += [b"0"] * TRIES
    with pytest.raises(BrokenOffError, match="1 bytes came of 10"):
        remote_files.read(fs, path)


def test_an_answer_that_ends_with_its_object_is_believed_and_any_other_is_not(
    memory, monkeypatch, pauses
):
    fs, path = memory
    fs.pipe_file(path, b"0123456789")
    answers = [b"89", b"8", b"89", b"", b"01"]
    monkeypatch.setattr(fs, "cat_file", lambda *_, **__: answers.pop(0))
    assert remote_files.read_up_to(fs, path, 8, 12) == b"89" and pauses == []
    assert remote_files.read_up_to(fs, path, 8, 12) == b"89" and len(pauses) == 1
    assert remote_files.read_up_to(fs, path, 12, 14) == b"" and len(pauses) == 1
    with pytest.raises(OSError, match="ranges of bytes are not understood"):
        remote_files.read_up_to(fs, path, 0, 1)
    answers = [b"8"] * TRIES
    with pytest.raises(BrokenOffError, match="1 bytes came of 2"):
        remote_files.read_up_to(fs, path, 8, 12)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ServiceError("InvalidRange", 416), b""),
        (ServiceError("AccessDenied", 403), None),
        (FileNotFoundError("gone"), None),
    ],
)
def test_a_range_behind_the_end_is_empty(memory, monkeypatch, error, answer):
    fs, path = memory
    fs.pipe_file(path, b"0123456789")
    monkeypatch.setattr(fs, "cat_file", Failing(error))
    if answer is None:
        with pytest.raises(type(error)):
            remote_files.read_up_to(fs, path, 10, 12)
    else:
        assert remote_files.read_up_to(fs, path, 10, 12) == answer


def test_a_short_download_is_tried_again(memory, monkeypatch, tmp_path):
    fs, path = memory
    fs.pipe_file(path, b"0123456789")
    answers = [b"0123", b"0123456789"]
    monkeypatch.setattr(fs, "get_file", lambda _, file: Path(file).write_bytes(answers.pop(0)))
    remote_files.download(fs, path, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


class Exclusive:
    """A file system with exclusive creation, whose answers get lost."""

    def __init__(self, *faults: Exception) -> None:
        self.objects = {}
        self.faults = list(faults)

    def pipe_file(self, path, data, mode="overwrite"):
        if mode == "create" and path in self.objects:
            raise FileExistsError(path)
        self.objects[path] = data
        if self.faults:
            raise self.faults.pop(0)

    def info(self, path):
        if path not in self.objects:
            raise FileNotFoundError(path)
        return {"size": len(self.objects[path]), "type": "file"}

    def cat_file(self, path, start, end):
        return self.objects[path][start:end]


def test_an_object_in_the_way_is_ours_if_it_has_our_bytes():
    fs = Exclusive(TimeoutError(), TimeoutError())
    remote_files.put(fs, "k", b"mine", exclusive=True)
    assert fs.objects == {"k": b"mine"}
    for other in (b"othr", b"longer", b""):
        with pytest.raises(FileExistsError):
            remote_files.put(fs, "k", other, exclusive=True)
    assert fs.objects == {"k": b"mine"}


def test_a_finished_upload_in_parts_that_is_unknown_afterwards():
    lost = FileNotFoundError("The specified upload does not exist")
    lost.__cause__ = ServiceError("NoSuchUpload", 404)
    fs = Exclusive(lost)
    remote_files.put(fs, "k", b"mine", exclusive=True)
    assert fs.objects == {"k": b"mine"} and not fs.faults


def test_an_upload_whose_parts_are_gone_begins_again():
    lost = FileNotFoundError("The specified upload does not exist")
    lost.__cause__ = ServiceError("NoSuchUpload", 404)
    fs = Exclusive()
    tries = []

    def pipe_file(path, data, mode):
        tries.append(mode)
        if len(tries) == 1:
            raise lost
        fs.objects[path] = data

    fs.pipe_file = pipe_file
    remote_files.put(fs, "k", b"mine", exclusive=True)
    assert tries == ["create", "create"] and fs.objects == {"k": b"mine"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ServiceError("QuotaExceeded", 403),
        ServiceError("Whatever", 507),
    ],
)
def test_no_room_has_a_name_of_its_own(error):
    with pytest.raises(StoreFullError, match="k in s3://b"), ordinary_errors("k in s3://b"):
        raise error
    wrapped = OSError(errno.EIO, "wrapped")
    wrapped.__cause__ = error
    if isinstance(error, ServiceError):
        with pytest.raises(StoreFullError), ordinary_errors("k"):
            raise wrapped


def test_other_faults_are_no_lack_of_room():
    with pytest.raises(StorageError) as caught, ordinary_errors("k"):
        raise ServiceError("SlowDown", 503)
    assert not isinstance(caught.value, StoreFullError)
