"""Samples joined while they are streamed, in whatever order their files come."""

import io
import os
import random
import tempfile
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.joins import Names
from pipeline.presets import Preset, Terms
from pipeline.records import Drop, Ignored, Member, Role
from pipeline.splits import Split
from pipeline.streamed_joins import StreamedJoin, joined_stream
from pipeline.truth_encodings import TRUTH_ENCODINGS

TERMS = Terms(
    title="t", homepage="h", citation="c", licence="l", rehost="unknown", commercial="unknown"
)
PLAIN = Preset(
    name="plain",
    help="",
    role=Role.LABELLED,
    terms=TERMS,
    image=r"rgb/(?P<frame>\d+)\.png",
    truth=r"depth/(?P<frame>\d+)\.png",
    encoding="png-mm",
)


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def depth(millimetres: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6), millimetres, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def member(path: str) -> Member:
    seed = zlib.crc32(path.encode()) % 1000
    number = int(path.rpartition("/")[2].partition(".")[0])
    data = depth(1000 * number) if path.startswith("depth") else picture(seed)
    return Member(path, "/x.tar.gz", data)


def run(paths, preset=PLAIN, split=None) -> list[Member | Drop | Ignored]:
    names = Names(preset, split)
    with StreamedJoin(names, TRUTH_ENCODINGS[preset.encoding or ""]) as joining:
        chosen = [(path, joining.choose(path)) for path in paths]
        found = [choice if isinstance(choice, Ignored) else member(path) for path, choice in chosen]
        return list(joined_stream(found, joining))


def outcomes(items) -> dict[str, object]:
    return {
        item.path: getattr(item, "reason", None) or getattr(item, "what", None) or "member"
        for item in items
    }


@pytest.mark.parametrize("seed", range(5))
def test_any_order_gives_the_same_samples(seed):
    paths = [f"{kind}/{n}.png" for kind in ("rgb", "depth") for n in range(1, 9)]
    random.Random(seed).shuffle(paths)
    items = run(paths)
    assert outcomes(items) == {f"rgb/{n}.png": "member" for n in range(1, 9)}
    for item in items:
        number = int(item.path[4:-4])
        assert item.data == member(item.path).data
        assert (item.truth.values_HW == number).all()


def test_what_stays_alone():
    items = run(["rgb/1.png", "depth/2.png", "rgb/3.png", "depth/3.png"])
    assert outcomes(items) == {
        "rgb/3.png": "member",
        "rgb/1.png": "no_truth",
        "depth/2.png": "no_image",
    }


def test_the_second_of_a_kind_is_ambiguous():
    names = Names(PLAIN)
    with StreamedJoin(names, TRUTH_ENCODINGS["png-mm"]) as joining:
        items = list(
            joined_stream(
                [
                    member("depth/1.png"),
                    member("rgb/1.png"),
                    replace(member("rgb/1.png"), path="copy/rgb/1.png"),
                    replace(member("depth/1.png"), path="copy/depth/1.png"),
                ],
                joining,
            )
        )
    assert outcomes(items) == {
        "rgb/1.png": "member",
        "copy/rgb/1.png": "ambiguous_pair",
        "copy/depth/1.png": "ambiguous_pair",
    }


def test_the_truth_of_an_image_that_is_left_out_is_left_out():
    paths = ["rgb/1.png", "depth/1.png", "depth/2.png", "rgb/2.png", "depth/3.png"]
    assert outcomes(run(paths, split=Split(["rgb/1.png"]))) == {
        "rgb/1.png": "member",
        "rgb/2.png": "not in split",
        "depth/2.png": "not in split",
        "depth/3.png": "no_image",
    }


def test_truth_that_does_not_fit_its_image_is_dropped():
    turned = Member("rgb/1.png", "/x", picture(1))
    odd = io.BytesIO()
    Image.fromarray(np.ones((4, 9), np.uint16)).save(odd, "PNG")
    with StreamedJoin(Names(PLAIN), TRUTH_ENCODINGS["png-mm"]) as joining:
        truth = Member("depth/1.png", "/x", odd.getvalue())
        (item,) = joined_stream([turned, truth], joining)
    assert item.reason == "truth_size_mismatch" and item.detail.startswith("depth/1.png: ")


def test_one_file_for_all_images_waits_to_the_end():
    shared = replace(PLAIN, truth=r"depth/1\.png")
    paths = ["rgb/4.png", "depth/1.png", "rgb/5.png"]
    items = run(paths, preset=shared)
    assert outcomes(items) == {"rgb/4.png": "member", "rgb/5.png": "member"}
    assert all((item.truth.values_HW == 1).all() for item in items)


def test_one_file_for_all_images_does_not_keep_the_others_on_disk(monkeypatch):
    files = []

    def temporary(**options):
        files.append(tempfile.TemporaryFile(**options))  # noqa: SIM115  # the join closes it
        return files[-1]

    monkeypatch.setattr("pipeline.spool.tempfile", SimpleNamespace(TemporaryFile=temporary))
    shared = replace(PLAIN, truth=r"depth/1\.png")
    found = map(member, ["depth/1.png", *(f"rgb/{n}.png" for n in range(2, 30))])
    with StreamedJoin(Names(shared), TRUTH_ENCODINGS["png-mm"]) as joining:
        for item in joined_stream(found, joining):
            assert isinstance(item, Member)
            sizes = sorted(os.fstat(file.fileno()).st_size for file in files)
            assert sizes == [0, len(depth(1000))]


def test_memory_holds_paths_alone():
    import tracemalloc

    names = Names(PLAIN)
    blob = bytes(1_000_000)
    with StreamedJoin(names, TRUTH_ENCODINGS["png-mm"]) as joining:
        tracemalloc.start()
        waiting = (Member(f"rgb/{n}.png", "/x", blob + b"%d" % n) for n in range(60))
        assert [item.reason for item in joined_stream(waiting, joining)] == ["no_truth"] * 60
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8_000_000
