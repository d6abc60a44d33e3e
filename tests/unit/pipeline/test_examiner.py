"""The examiner says what `examine` says, from another process where native code is involved."""

import io
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.examiner import Examiner, packed, unpacked
from pipeline.filters import ImageLimits, Refusal, examine
from pipeline.image_formats import sniff
from pipeline.records import ImageHeader
from pipeline.sandbox import SandboxLimits

LIMITS = ImageLimits()
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "AVIF")


def encoded(format_: str, *, side: int = 48) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def header_only():
    with Examiner(LIMITS) as examiner:
        yield examiner


@pytest.fixture(scope="module")
def decoding():
    with Examiner(LIMITS, verify="decode") as examiner:
        yield examiner


@pytest.mark.parametrize("format_", FORMATS)
def test_says_what_examine_says(header_only, decoding, format_):
    data = encoded(format_)
    broken = data[:-200] + bytes(100) + data[-100:]
    for candidate in (data, data[:-7], data[:40], broken, b"", b"text"):
        assert header_only(candidate) == examine(candidate, limits=LIMITS)
        assert decoding(candidate) == examine(candidate, limits=LIMITS, verify="decode")


def test_the_samples_get_the_same_verdicts(header_only, shared_data):
    native = 0
    for path in sorted((shared_data / "tricky").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            native += sniff(data) in ("WEBP", "AVIF")
            assert header_only(data) == examine(data, limits=LIMITS)
    assert native >= 3


@pytest.mark.parametrize("format_", sorted(set(FORMATS) - {"WEBP", "AVIF"}))
def test_no_process_is_started_for_headers_that_python_reads(monkeypatch, format_):
    monkeypatch.setattr(subprocess, "Popen", None)
    with Examiner(LIMITS) as examiner:
        assert examiner(encoded(format_)) == ImageHeader(48, 48, format_, 1)


def test_too_many_bytes_are_sent_nowhere(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with Examiner(ImageLimits(max_bytes=100), verify="decode") as examiner:
        verdict = examiner(encoded("PNG"))
    assert isinstance(verdict, Refusal)
    assert verdict.reason == "too_many_bytes"


def test_a_picture_that_needs_more_memory_than_there_is_is_refused():
    data = encoded("PNG", side=1500)
    limits = SandboxLimits(memory_bytes=8 << 20)
    with Examiner(LIMITS, verify="decode", sandbox_limits=limits) as examiner:
        verdict = examiner(data)
        assert isinstance(verdict, Refusal)
        assert verdict.reason == "decoder_crashed"
        assert examiner(encoded("PNG")) == ImageHeader(48, 48, "PNG", 1)


@given(
    st.one_of(
        st.builds(
            ImageHeader,
            st.integers(1, 1 << 31),
            st.integers(1, 1 << 31),
            st.sampled_from(FORMATS),
            st.integers(1, 8),
        ),
        st.builds(Refusal, st.sampled_from(["truncated", "too_small"]), st.text(max_size=99)),
    )
)
def test_verdicts_survive_the_journey(verdict):
    assert unpacked(packed(verdict)) == verdict


@given(st.binary(max_size=40))
def test_whatever_a_child_answers_is_a_verdict(answer):
    verdict = unpacked(answer)
    if isinstance(verdict, ImageHeader):
        assert packed(verdict) == answer
    else:
        assert verdict.reason
