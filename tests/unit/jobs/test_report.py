"""Reports as files: what stands in them, and that nothing in them comes from outside."""

import base64
import hashlib
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from jobs.config import Common, ReportConfig
from jobs.console import LineReporter
from jobs.errors import ConfigError
from jobs.network_numbers import count_parameters
from jobs.report import report
from jobs.workspace import open_workspace
from pipeline.errors import CatalogConflictError, CatalogMissingError, ShardCorruptError
from pipeline.labels import read_label_rows, write_label_shard
from pipeline.licences import terms_from
from pipeline.shards import read_image_rows, write_image_shard
from pipeline.storage import Store
from tests.catalog_factories import begin_ingest
from tests.report_stores import HOSTILE, fill_store

TARGETS = ("photos", "rooms", "labels", "teacher", "student")
ADDRESSES = {"src", "href", "srcset", "poster", "data", "action", "background", "xlink:href"}


class Reader(HTMLParser):
    """Collects elements, addresses and text of a page as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.addresses, self.words, self.handlers = [], [], [], []
        self.scripts, self.policy, self.figure_ids = [], "", []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def figures(self, section: str) -> int:
        return sum(name.startswith(f"{section}-") for name in self.figure_ids)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "figure" and "id" in dict(attributes):
            self.figure_ids.append(dict(attributes)["id"])
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"]
        self.addresses += [value for name, value in attributes if name in ADDRESSES]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        kind = self.tags[-1] if self.tags else ""
        if kind == "script" and not self.scripts:
            self.scripts.append(data)
        elif kind != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    fill_store(folder)
    return folder


@pytest.fixture(scope="module")
def page(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages")

    def read(target) -> Reader:
        file = out / f"{target.replace(':', '-')}.html"
        if not file.exists():
            report(ReportConfig(store=str(store), target=target, out=str(file)))
        return Reader(file.read_text())

    return read


@pytest.mark.parametrize("target", TARGETS)
def test_a_page_has_one_script_without_data_and_fetches_nothing(page, target):
    found = page(target)
    assert not {"iframe", "object", "embed", "base", "form"} & set(found.tags)
    assert found.tags.count("script") == 1
    assert found.scripts == page("teacher").scripts  # the same on every page: nothing of a store
    digest = base64.b64encode(hashlib.sha256(found.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in found.policy
    assert found.policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in found.policy.replace("style-src 'unsafe-inline'", "")
    assert found.handlers == []
    assert all(address.startswith(("data:", "#")) for address in found.addresses)


def test_terms_of_a_source_are_text(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    said = {"licence": f"L {HOSTILE}", "homepage": f"javascript:alert(1) {HOSTILE}"}
    said |= {"citation": f"C {HOSTILE}", "note": f"N {HOSTILE}", "commercial": "conditions"}
    with open_workspace(Common(store=str(copy))) as workspace:
        workspace.catalog.set_terms("photos", terms_from(said, title=f"T {HOSTILE}"))
        lease = begin_ingest(workspace.catalog, "photos")
        workspace.catalog.finish_ingest(lease, {"ignored": {"masked twin": 30, "list": 12}})
    out = tmp_path / "photos.html"
    report(ReportConfig(store=str(copy), target="photos", out=str(out)))
    found = Reader(out.read_text())
    for letter in ("L", "C", "N", "T", "javascript:alert(1)"):
        assert f"{letter} {HOSTILE}" in found.text
    assert "Commercial use on conditions" in found.text
    assert "Publishing images again nobody has said" in found.text
    assert "42 files belong to the data set" in found.text and "masked twin" in found.text
    assert all(address.startswith(("data:", "#")) for address in found.addresses)


def test_what_was_withdrawn_is_on_the_page(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        lease = begin_ingest(workspace.catalog, "photos")
        workspace.catalog.withdraw_source(lease, reason="their owner asked", ttl_s=60)
    out = tmp_path / "photos.html"
    report(ReportConfig(store=str(copy), target="photos", out=str(out)))
    found = Reader(out.read_text()).text
    assert "The whole source was withdrawn." in found and "Withdrawn on 2" in found
    assert "their owner asked 12 images" in found


def test_hostile_names_stay_text(page):
    text = page("photos").text
    for place in ("000-{}.jpg", "CC {}", "truncated_{}", "broken-{}.jpg", "ends {}"):
        assert place.format(HOSTILE) in text


def test_a_label_set_shows_images_beside_depth_and_everything_that_counts(page):
    found = page("labels")
    assert found.figures("maps") == 10 and found.figures("quarantine") == 2
    pictures = [address for address in found.addresses if address.startswith("data:image/webp")]
    assert len(pictures) == 2 * (10 + found.figures("worst")) + 2
    for expected in (
        "10 of 12 images", "16.67% of all", "decode_failed", "Dynamic range of a map", "Disparity",
        "a" * 64, "disparity_affine_invariant", "code version 1", "teacher", "rooms", "not given",
        "No licence was given for 1 of 2 sources", "complete", "Made of it", "student",
    ):  # fmt: skip
        assert expected in found.text, expected


def test_a_label_set_shows_what_its_labels_say_of_their_quality(page):
    text = page("labels").text
    for expected in (
        "Share of pixels at the first or last code of the map, 10 labels.",
        "Share of pixels equal to their right and lower neighbour, 10 labels.",
        "Correlation with the label of the mirrored image, 8 labels.",
    ):
        assert expected in text, expected
    assert "train-student can leave out" in text


def test_a_label_set_without_these_signals_says_nothing_of_them(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        for shard in workspace.catalog.label_shards("labels"):
            rows = [
                replace(row, saturated=None, flat=None, flip_correlation=None)
                for row in read_label_rows(workspace.store, shard.key)
            ]
            (copy / shard.key).unlink()
            write_label_shard(workspace.store, rows, key=shard.key, footer={})
    out = tmp_path / "x.html"
    report(ReportConfig(store=str(copy), target="labels", out=str(out)))
    assert "Distributions" in out.read_text()
    assert "Quality" not in out.read_text()


def test_pictures_are_small_webps_of_the_right_shape(page):
    for address in page("labels").addresses:
        if address.startswith("data:image/webp;base64,"):
            image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
            assert image.format == "WEBP" and image.size in {(64, 48), (128, 96)}


def test_a_source_shows_truth_formats_and_what_was_refused(page):
    found = page("rooms")
    pictures = [address for address in found.addresses if address.startswith("data:image/webp")]
    assert found.figures("images") == 3
    assert len(pictures) == 2 * (3 + found.figures("odd"))
    for expected in (
        "labelled source",
        "Ground truth",
        "JPEG",
        "too_small",
        "8 × 8 pixels",
        "2 of 5",
    ):
        assert expected in found.text, expected


def test_a_model_shows_architecture_training_and_scores(page):
    found = page("student")
    assert "polyline" in found.tags
    for expected in (
        "depth_anything dinov2, 2 layers, 64 channels", "17", "400", "scratch:tiny", "relative@1",
        "0.1234", "Not zero-shot: rooms", "labels", "photos", "Apache-2.0",
    ):  # fmt: skip
        assert expected in found.text, expected


def test_the_same_store_gives_the_same_page_but_for_its_date(store, tmp_path):
    texts = []
    for name in ("a.html", "b.html"):
        report(ReportConfig(store=str(store), target="labels", out=str(tmp_path / name)))
        texts.append((tmp_path / name).read_text().partition("<footer>")[0])
    assert texts[0] == texts[1]


def test_the_summary_and_the_number_of_samples(store, tmp_path):
    out = tmp_path / "deep" / "page.html"
    stream = io.StringIO()
    summary = report(
        ReportConfig(store=str(store), target="photos", out=str(out), samples=3),
        reporter=LineReporter(stream),
    )
    odd = Reader(out.read_text()).figures("odd")
    assert 0 < odd < 12
    assert summary == {
        "target": "photos", "kind": "source", "out": str(out), "images": 3 + odd,
        "bytes": out.stat().st_size,
    }  # fmt: skip
    assert json.dumps(summary)
    assert "photos" in stream.getvalue()
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_an_unknown_name_and_things_without_a_page(store, tmp_path):
    config = {"store": str(store), "out": str(tmp_path / "x.html")}
    with pytest.raises(CatalogMissingError, match="did you mean 'labels'"):
        report(ReportConfig(target="label", **config))
    with open_workspace(Common(store=str(store))) as workspace:
        run = workspace.catalog.runs()[0].snapshot_id
    with pytest.raises(ConfigError, match="is a snapshot"):
        report(ReportConfig(target=run, **config))
    assert not (tmp_path / "x.html").exists()


def test_a_name_that_is_both_is_told_apart(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        workspace.catalog.register_source("labels", role="unlabelled", uri="/x", layout="images")
    config = {"store": str(copy), "out": str(tmp_path / "x.html")}
    with pytest.raises(CatalogConflictError, match="source:labels or label-set:labels"):
        report(ReportConfig(target="labels", **config))
    assert report(ReportConfig(target="source:labels", **config))["kind"] == "source"
    assert report(ReportConfig(target="label-set:labels", **config))["kind"] == "label-set"


def test_an_empty_source_and_an_empty_label_set_have_a_page(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        workspace.catalog.register_source("empty", role="unlabelled", uri="/x", layout="images")
        workspace.catalog.open_label_set(
            "none", teacher="t", teacher_sha256="c" * 64, recipe={}, recipe_hash="d" * 64,
            code_version="1",
        )  # fmt: skip
    for target in ("empty", "none"):
        out = tmp_path / f"{target}.html"
        report(ReportConfig(store=str(copy), target=target, out=str(out)))
        assert f"<h1>{target}</h1>" in out.read_text()


def test_images_that_are_gone_are_counted_not_shown(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        [shard] = workspace.catalog.image_shards("rooms")
        gone = [
            replace(record, data=None, uri=str(tmp_path / "gone.jpg"), offset=0)
            for record in read_image_rows(workspace.store, shard.key)
        ]
        written = write_image_shard(
            Store(str(tmp_path / "other")), gone, source="rooms", code_version="1"
        )
        shutil.copyfile(tmp_path / "other" / written.key, copy / shard.key)
    out = tmp_path / "x.html"
    assert report(ReportConfig(store=str(copy), target="rooms", out=str(out)))["images"] == 0
    assert "3 more could not be read" in out.read_text()


def test_labels_that_stand_beside_other_images_are_not_shown(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "store")
    with open_workspace(Common(store=str(copy))) as workspace:
        first, second = workspace.catalog.label_shards("labels")
        shutil.copyfile(copy / second.key, copy / first.key)
    with pytest.raises(ShardCorruptError, match="where the image shard has"):
        report(ReportConfig(store=str(copy), target="labels", out=str(tmp_path / "x.html")))


def test_parameters_are_counted_from_the_header_alone(store):
    with open_workspace(Common(store=str(store))) as workspace:
        assert count_parameters(workspace.store, "models/student/model.safetensors") == 3 * 4 + 5
        workspace.store.put("models/bad/model.safetensors", b"\xff" * 64)
        with pytest.raises(ValueError, match="no safetensors header"):
            count_parameters(workspace.store, "models/bad/model.safetensors")
