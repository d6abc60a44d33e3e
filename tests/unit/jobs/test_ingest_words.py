"""What ingest says to people, and what it puts on record about terms."""

import io
import os
import sys

import pytest
from PIL import Image

from jobs.catalog_config import CatalogTermsConfig
from jobs.catalog_terms import source_terms
from jobs.config import IngestConfig
from jobs.console import reporter_for
from jobs.errors import ConfigError
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from pipeline.presets import presets
from pipeline.shards import read_image_rows


@pytest.fixture
def run(tmp_path, capsys):
    """Ingest, and answer with what was said on stderr."""

    def ingest_and_listen(folder, **options):
        ingest(
            IngestConfig(uri=str(folder), store=str(tmp_path / "store"), **options),
            reporter=reporter_for(sys.stderr),
        )
        return capsys.readouterr().err

    return ingest_and_listen


@pytest.fixture
def masks(tmp_path):
    """Two images as SA-1B has them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        buffer = io.BytesIO()
        Image.effect_noise((64, 48), 50 + number).convert("RGB").save(buffer, "JPEG")
        (folder / f"sa_{number}.jpg").write_bytes(buffer.getvalue())
    return folder


def of(tmp_path, name):
    with open_workspace(IngestConfig(uri="", source=name, store=str(tmp_path / "store"))) as there:
        rows = [
            row
            for shard in there.catalog.image_shards(name)
            for row in read_image_rows(there.store, shard.key)
        ]
        return there.catalog.source(name), {row.licence for row in rows}


def test_a_preset_puts_its_terms_on_record_and_its_licence_on_every_image(run, masks, tmp_path):
    assert "warning" not in run(masks, source="s", layout="sa-1b")
    row, licences = of(tmp_path, "s")
    terms = presets()["sa-1b"].terms
    assert (row.preset, row.licence, licences) == ("sa-1b", terms.licence, {terms.licence})
    assert row.terms["citation"] == terms.citation and row.terms["commercial"] == terms.commercial


def test_a_licence_that_was_set_is_that_of_images_that_come_later(run, masks, tmp_path):
    last = (masks / "sa_1.jpg").read_bytes()
    (masks / "sa_1.jpg").unlink()
    run(masks, source="s", layout="sa-1b")
    (tmp_path / "terms.yaml").write_text("licence: bought\ncommercial: yes\n")
    store = str(tmp_path / "store")
    source_terms(CatalogTermsConfig(store=store, ref="s", set=str(tmp_path / "terms.yaml")))
    (masks / "sa_1.jpg").write_bytes(last)
    said = run(masks, source="s", layout="sa-1b")
    assert "the terms on record for s stay" in said and "commercial: 'yes' → " in said
    row, licences = of(tmp_path, "s")
    assert (row.licence, row.terms["commercial"]) == ("bought", "yes")
    assert licences == {presets()["sa-1b"].terms.licence, "bought"}


def test_rendered_images_belong_to_nobody(run, tmp_path):
    run("synthetic://mixed?n=1&seed=1&width=64&height=64", source="s")
    row, licences = of(tmp_path, "s")
    assert (row.licence, row.terms["commercial"], licences) == ("CC0-1.0", "yes", {"CC0-1.0"})


def test_where_nothing_was_kept_it_is_said_what_was_expected_and_found(run, tmp_path):
    (tmp_path / "empty").mkdir()
    said = run(tmp_path / "empty", source="a", layout="sa-1b")
    assert f"expected {presets()['sa-1b'].help}; found no file" in said
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    said = run(tmp_path / "texts", source="b")
    assert "expected images, loose or in archives; found 1 not_an_image: `factory report b`" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), (b"\xff\xd8\xff", "is not UTF-8 text")],
)
def test_a_split_that_is_no_list(run, masks, tmp_path, content, said):
    if content:
        (tmp_path / "split.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"--split .*split\.txt: {said}"):
        run(masks, source="s", split=str(tmp_path / "split.txt"))
    assert not (tmp_path / "store").exists()


def test_pipes_are_neither_read_nor_waited_for(run, masks, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe cannot be read as a source: neither file"):
        run(tmp_path / "pipe", source="s")
    with pytest.raises(ConfigError, match=r"--split .*pipe: is no plain file"):
        run(masks, source="s", split=str(tmp_path / "pipe"))


def test_references_to_files_that_moved_are_told(run, masks, tmp_path):
    options = {"source": "s", "layout": "images", "by_reference": True}
    assert "found again" not in run(masks, **options)
    assert "found again" not in run(masks, **options)
    moved = masks.rename(tmp_path / "moved")
    assert "2 images were found again in files that moved" in run(moved, **options)


def test_copies_may_be_found_again_anywhere(run, masks, tmp_path):
    run(masks, source="s", layout="images")
    assert "found again" not in run(masks.rename(tmp_path / "moved"), source="s", layout="images")


def test_a_data_set_that_would_hold_the_store_is_refused(run, masks, tmp_path):
    for folder in (tmp_path, tmp_path / "store"):
        with pytest.raises(ConfigError, match="lies inside the data set"):
            run(folder, source="s")
    assert not (tmp_path / "store").exists()
    run(masks, source="s", layout="sa-1b")
