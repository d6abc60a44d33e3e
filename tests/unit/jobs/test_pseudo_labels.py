"""What the driver says of a filter before a run begins."""

import io
from collections.abc import Iterator

import pytest

from jobs.config import Common
from jobs.console import LineReporter, Reporter
from jobs.errors import ConfigError
from jobs.pseudo_labels import check_filter, label_filter
from jobs.training_config import TrainStudentConfig
from jobs.workspace import Workspace, open_workspace
from pipeline.errors import CatalogMissingError
from pipeline.label_filter import EVERY_LABEL, LabelFilter
from tests.report_stores import fill_store


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Label set `labels` of ten, five alike in each of two shards, and sets without any."""
    folder = tmp_path_factory.mktemp("store")
    fill_store(folder)
    with open_workspace(Common(store=str(folder))) as workspace:
        recipes = {"old": {"side": 518}, "plain": {"consistency": False}}
        for name, recipe in recipes.items():
            workspace.catalog.open_label_set(
                name,
                teacher="t",
                teacher_sha256="c" * 64,
                recipe=recipe,
                recipe_hash=name,
                code_version="1",
            )
        yield workspace


def said(workspace: Workspace, wanted: LabelFilter, *label_sets: str) -> str:
    stream = io.StringIO()
    check_filter(wanted, label_sets, workspace, LineReporter(stream))
    return stream.getvalue()


def test_the_options_are_the_limits() -> None:
    config = TrainStudentConfig(
        encoder="e", name="n", pseudo=("p",), max_flat=0.25, min_flip_correlation=0.5
    )
    assert label_filter(config) == LabelFilter(max_flat=0.25, min_flip_correlation=0.5)


def test_it_says_how_much_passes(workspace: Workspace) -> None:
    # saturated is 0, 0.008, 0.012, 0.016 and 0.02, twice each
    text = said(workspace, LabelFilter(max_saturated=0.012), "labels")
    assert "label set labels: 6 of 10 labels looked at pass (saturated 4)" in text
    both = said(workspace, LabelFilter(max_saturated=0.012, min_flip_correlation=0.95), "labels")
    assert "2 of 10 labels looked at pass (inconsistent 4, saturated 4)" in both


def test_nothing_is_read_or_said_where_nothing_is_asked(workspace: Workspace) -> None:
    assert said(workspace, EVERY_LABEL, "labels", "old") == ""


def test_a_set_that_cannot_answer_or_has_nothing_that_passes_is_refused(
    workspace: Workspace,
) -> None:
    everything = LabelFilter(max_saturated=1, max_flat=1, min_flip_correlation=-1)
    with pytest.raises(ConfigError) as refused:
        check_filter(everything, ["labels", "old", "plain"], workspace, Reporter.silent())
    assert len(refused.value.problems) == 4
    assert "'old' is older than this signal" in str(refused.value)
    assert "'plain' was made without --consistency" in str(refused.value)
    with pytest.raises(ConfigError, match="none of 10 labels passes: flat 10"):
        check_filter(LabelFilter(max_flat=0.01), ["labels"], workspace, Reporter.silent())
    with pytest.raises(CatalogMissingError, match="nowhere"):
        check_filter(everything, ["nowhere"], workspace, Reporter.silent())
