import numpy as np
import pytest
from PIL import Image

from jobs.config import Common, IngestConfig
from jobs.console import SilentReporter
from jobs.errors import ConfigError
from jobs.export_photographs import PHOTOGRAPHS, photographs
from jobs.ingest import ingest
from jobs.workspace import open_workspace
from tests.factories import png


class Listener(SilentReporter):
    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def fill(folder, count):
    """Images that say which they are: number *i* is 40 + i wide."""
    folder.mkdir()
    for index in range(count):
        pixels = np.zeros((40, 40 + index, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return folder


def numbers(images):
    return [image.shape[1] - 40 for image in images]


def test_all_of_a_few_and_some_of_many(tmp_path):
    few, many = fill(tmp_path / "few", 3), fill(tmp_path / "many", 5 * PHOTOGRAPHS)
    assert numbers(photographs([str(few)], None, reporter=Listener())) == [0, 1, 2]
    some = numbers(photographs([str(many)], None, reporter=Listener()))
    assert some == [5 * index for index in range(PHOTOGRAPHS)]


def test_files_and_folders_in_the_order_of_their_names(tmp_path):
    few = fill(tmp_path / "few", 3)
    named = [str(few / "002.png"), str(few)]
    assert numbers(photographs(named, None, reporter=Listener())) == [2, 0, 1, 2]


def test_others_take_the_place_of_what_cannot_be_read(tmp_path):
    many = fill(tmp_path / "many", 2 * PHOTOGRAPHS)
    (many / "000.png").write_bytes(b"no image")
    reporter = Listener()
    found = numbers(photographs([str(many)], None, reporter=reporter))
    assert found == [*range(2, 2 * PHOTOGRAPHS, 2), 1]
    assert len(reporter.warnings) == 1
    assert "000.png" in reporter.warnings[0]


def test_names_without_images_are_refused_together(tmp_path):
    (tmp_path / "empty").mkdir()
    named = [str(tmp_path / "empty"), str(tmp_path / "nowhere")]
    with pytest.raises(ConfigError) as caught:
        photographs(named, None, reporter=Listener())
    assert [problem.rpartition(": ")[2] for problem in caught.value.problems] == [
        "holds no images",
        "there is no such file or folder",
    ]


def test_nothing_at_all_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="name some with --images"):
        photographs([], None, reporter=Listener())
    with (
        open_workspace(Common(store=str(tmp_path / "store"))) as workspace,
        pytest.raises(ConfigError, match="or ingest a source"),
    ):
        photographs([], workspace, reporter=Listener())


def test_images_of_a_source(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(PHOTOGRAPHS + 2):
        (folder / f"{index}.png").write_bytes(png(index))
    store = str(tmp_path / "store")
    ingest(IngestConfig(uri=str(folder), source="pictures", store=store, actors=0))
    with open_workspace(Common(store=store)) as workspace:
        found = photographs([], workspace, reporter=Listener())
    assert len(found) == PHOTOGRAPHS
    assert {image.shape for image in found} == {(48, 64, 3)}
