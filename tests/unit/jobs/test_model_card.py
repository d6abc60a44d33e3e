"""Cards of models, read back by the library of the Hugging Face Hub."""

import re

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from jobs.card_facts import hub_id, newest, shown
from jobs.card_front_matter import licence_fields
from jobs.cli import DONE, WRONG_USAGE, run
from jobs.config import Common
from jobs.model_card import Usage, card_of_reference, model_card
from jobs.run_files import RunFiles
from jobs.workspace import open_workspace
from pipeline.catalog import EvaluationRow
from pipeline.errors import CatalogMissingError
from pipeline.licences import terms_from
from tests.report_stores import fill_store

NASTY = 'A "set" | of\n---\n# <script>alert(1)</script> `x` *y*: [z](javascript:0)'
STUDENT = "d" * 64
INTERVALS = {"depth": {"abs_rel": [0.04, 0.06], "delta1": None}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Teacher, labels and student of `tests.report_stores`, with nasty terms and more results."""
    folder = tmp_path_factory.mktemp("store")
    fill_store(folder)
    with open_workspace(Common(store=str(folder))) as workspace:
        catalog = workspace.catalog
        terms = {"licence": "CC-BY-NC-4.0", "citation": NASTY, "homepage": "javascript:alert(1)"}
        catalog.set_terms("rooms", terms_from(terms, title=NASTY))
        for number, abs_rel in enumerate((0.9, 0.05)):
            leaks = {"checked": "near", "exact": 1, "near": number, "trained_on": 15,
                     "validated": ["tea_cher | a"]}  # fmt: skip
            evaluate(
                catalog,
                config={
                    "protocol": {"description": "As it was <then>."},
                    "upsampling": "bicubic",
                    "intervals": INTERVALS,
                    "leaks": leaks,
                    "expected_images": 652,
                    "skipped": {"no_map": 2},
                },
                metrics={"depth/abs_rel": abs_rel, "depth/delta1": 0.98, "depth/none": None},
            )
        evaluate(catalog, model_sha256="f" * 64, metrics={"depth/abs_rel": 7.0})
        evaluate(catalog, protocol="gone", metrics={"order/pair_accuracy": 0.9}, source="da\n2k|")
        run_id = catalog.model("student").run_id
        written = {"recipe": {"batch_size": 4, "size": 70, "name": "```"}, "steps": 400,
                   "config": {"seed": 3, "preset": "v1"}}  # fmt: skip
        RunFiles(workspace.store, run_id).write_json("config.json", written)
        import_models(catalog)
        train(workspace, "metric", geometry="depth_metric", init="v2-small")
        relative = {"geometry": "disparity_affine_invariant", "encoder": "facebook/dinov2-small"}
        path = {"kind": "plain", "value": "/home/somebody/facebook/dinov2-small"}
        train(workspace, "from-path", **relative, start=path)
        train(workspace, "from-hub", **relative, start=path | {"value": "facebook/dinov2-small"})
    return folder


def evaluate(catalog, **facts):
    given = {"model": "student", "model_sha256": STUDENT, "protocol": "relative", "version": 1,
             "source": "bench", "source_digest": "e" * 64, "images": 12, "valid_pixels": 3456,
             "config": {}, "code_version": "1", **facts}  # fmt: skip
    catalog.record_evaluation(**given)


def import_models(catalog):
    places = {
        "v2-small": "depth-anything/Depth-Anything-V2-Small-hf@abc",
        "private": "/home/somebody/secret/large.pth#v2-l",
        "remote": "s3://bucket/hidden/model",
    }
    for letter, (name, uri) in enumerate(places.items(), start=1):
        catalog.register_model(
            name, uri=uri, sha256=f"{letter}" * 64, family="depth_anything", kind="imported",
            geometry="disparity_affine_invariant",
            licence='My "own"\nlicence: <b>' if name == "remote" else None,
        )  # fmt: skip


def train(workspace, name, *, geometry, start=None, **config):
    """A run on `rooms`; what Ray would make in between is missing."""
    catalog = workspace.catalog
    run_id = catalog.begin_run(
        name, name=name, config=config, code_version="1",
        snapshot_id=catalog.pin_snapshot(labelled=["rooms"], pseudo=[]).snapshot_id,
    )  # fmt: skip
    if start:
        RunFiles(workspace.store, run_id).write_json("config.json", {"start": start})
    catalog.finish_run(run_id, state="done", metrics={"steps": 5, "loss": 0.25})
    catalog.register_model(
        name, key=f"models/{name}", sha256="9" * 64, family="depth_anything", kind=name,
        geometry=geometry, run_id=run_id,
    )  # fmt: skip


def card(store, name, **options):
    with open_workspace(Common(store=str(store))) as workspace:
        return model_card(workspace, name, **options)


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def test_the_hub_reads_the_front_matter(store):
    data = ModelCard(card(store, "student")).data
    assert data.license == "apache-2.0"
    assert (data.library_name, data.pipeline_tag) == ("transformers", "depth-estimation")
    assert data.datasets == ["rooms", "photos"]
    assert {"relative-depth", "pseudo-labels", "depth_anything"} <= set(data.tags)
    assert data.model_name == "student"
    assert data.get("base_model") is None


def test_the_newest_results_of_these_weights_are_in_the_index(store):
    results = ModelCard(card(store, "student")).data.eval_results
    values = {
        (each.dataset_name, each.dataset_config, each.metric_name): each.metric_value
        for each in results
    }
    assert values == {
        ("bench", "relative@1", "abs_rel (depth)"): 0.05,
        ("bench", "relative@1", "delta1 (depth)"): 0.98,
        ("rooms", "relative@1", "abs_rel"): 0.1234,
        ("rooms", "relative@1", "delta1"): 0.91,
        ("da 2k|", "gone@1", "pair_accuracy (order)"): 0.9,
    }
    assert {each.task_type for each in results} == {"depth-estimation"}
    assert results[0].dataset_args == {"images": 12, "digest": "e" * 64}


def test_results_have_intervals_settings_and_what_was_seen_in_training(store):
    text = section(card(store, "student"), "Results")
    row = next(line for line in text.splitlines() if line.startswith("| bench | `relative@1`"))
    header = "| Benchmark | Protocol | Space | Images | AbsRel ↓ | δ1 ↑ |"
    assert header in text and "| Images | Pair accuracy ↑ |" in text
    assert row == "| bench | `relative@1` | depth | 12 | 0.05 (0.04 to 0.06) | 0.98 |"
    assert "`relative@1` on bench: As it was &lt;then&gt;." in text
    assert "12 images (the split has 652; 2 skipped: no_map), 3,456 valid pixels" in text
    assert "upsampled bicubic" in text
    assert "- rooms is among what the model was made from." in text
    assert (
        "1 of the same bytes, 1 that look alike, against 15 training images. Scored on while in "
        "training (--validation), and perhaps chosen by it: tea_cher \\| a."
    ) in text
    assert "a protocol that this version does not know" in text


def test_data_with_licences_and_what_follows(store):
    text = card(store, "student")
    data, licences = section(text, "Training data"), section(text, "Licences")
    assert "of all pinned shards; quarantined labels among them were not learnt from." in data
    assert re.search(r"\| rooms: .* \| ground truth \| CC-BY-NC-4.0 \| no \| 3 \|", data)
    assert re.search(r"\| photos \| pseudo-labels labels \| .* \| unknown \| 12 \|", data)
    assert "| labels | `teacher` |" in data
    assert "Commercial use is forbidden by the licence of rooms." in licences
    assert "whether commercial use is permitted by photos." in licences
    assert "Apache-2.0, as stated for the weights, permits more than these do." in licences
    assert "not legal advice" in licences


def test_names_of_others_open_nothing(store):
    text = card(store, "student")
    body = ModelCard(text).text
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert not re.search(r"<script|href=\"(?!https://)|<h1>[^<]*alert", html)
    assert "<h1>student</h1>" in html and html.count("<h1>") == 1
    assert html.count("alert(1)") >= 2  # it is there, as text
    headings = [line for line in text.splitlines() if re.match(r"#+ ", line)]
    assert headings == [
        "# student", "## How to use it", "## Training data", "## Recipe", "## Results",
        "## Licences", "## Lineage", "## Limits",
    ]  # fmt: skip
    assert text.count("\n---\n") == 1 and text.count("\n```") % 2 == 0
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(bars) == 1, block


def test_recipe_and_digests_are_as_the_run_wrote_them(store):
    text = card(store, "student")
    for line in ("| `steps` | 400 |", "| `seed` | 3 |", "| `batch_size` | 4 |", "| `size` | 70 |"):
        assert line in section(text, "Recipe")
    lineage = section(text, "Lineage")
    assert STUDENT in lineage and "b" * 64 in lineage and "a" * 64 in lineage


def test_a_teacher_learnt_from_ground_truth_alone(store):
    text = card(store, "teacher")
    assert "pseudo-labels" not in ModelCard(text).data.tags
    assert "| Pseudo-labels |" not in text
    assert "The values of its recipe are not on record." in text


def test_an_imported_model_is_known_by_its_id(store):
    text = card(store, "v2-small")
    data = ModelCard(text).data
    assert data.license == "apache-2.0"
    assert data.base_model == ["depth-anything/Depth-Anything-V2-Small-hf"]
    assert data.get("datasets") is None and data.get("eval_results") is None
    assert "https://huggingface.co/depth-anything/Depth-Anything-V2-Small-hf)" in text
    assert "Unknown: it was not trained here." in text
    assert "It has not been evaluated" in text and "## Recipe" not in text


def test_places_of_this_machine_stay_out(store):
    for name in ("private", "remote", "metric", "student", "from-path"):
        text = card(store, name)
        assert not re.search(r"/home|somebody|bucket|hidden|s3:|/data", text), name
    assert "factory export private --format hf" in card(store, "private")


def test_a_licence_that_the_hub_does_not_know_has_a_name(store):
    data = ModelCard(card(store, "remote")).data
    assert (data.license, data["license_name"]) == ("other", "my-own-licence-b")


def test_a_metric_model_speaks_of_metres(store):
    text = card(store, "metric")
    assert ModelCard(text).data.license == "unknown"
    assert "metric-depth" in ModelCard(text).data.tags
    assert "depth in metres" in text and "nobody has stated one" in text
    assert "The last loss was 0.25." in text and "How good it is has not been measured." in text


def test_what_it_began_with_is_an_id_only_where_it_was_one(store):
    hub, path = card(store, "from-hub"), card(store, "from-path")
    assert ModelCard(hub).data.base_model == ["facebook/dinov2-small"]
    assert "https://huggingface.co/facebook/dinov2-small) | Apache-2.0 | permitted" in hub
    assert ModelCard(path).data.get("base_model") is None
    assert "- **Began with** the encoder `dinov2-small`." in path
    assert "| model | `dinov2-small` | unknown | unknown |" in path
    metric = ModelCard(card(store, "metric"))
    assert metric.data.base_model == ["depth-anything/Depth-Anything-V2-Small-hf"]


def test_another_format_says_how_it_is_used(store):
    text = card(store, "student", usage=Usage("onnx", ("Run it with onnxruntime.",)))
    assert ModelCard(text).data.library_name == "onnx"
    assert section(text, "How to use it").strip() == "Run it with onnxruntime."


def test_the_card_of_what_is_in_no_catalog():
    text = card_of_reference(
        "apple/DepthPro-hf@main", sha256="a" * 64, family="depth_pro", geometry="disparity_metric"
    )
    data = ModelCard(text).data
    assert (data.license, data.base_model) == ("apple-amlr", ["apple/DepthPro-hf"])
    assert "# DepthPro-hf@main" in text and "1 / metres" in text
    pinned = card_of_reference(
        "Intel/zoedepth-nyu@refs/pr/1", sha256="a" * 64, family="zoedepth", geometry="depth_metric"
    )
    assert "\n# zoedepth-nyu@refs/pr/1\n" in pinned
    local = card_of_reference(
        "/home/me/x.pth#v1-s", sha256="a" * 64, family="depth_anything",
        geometry="disparity_affine_invariant",
    )  # fmt: skip
    assert "/home" not in local and ModelCard(local).data.license == "unknown"


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        (None, {"license": "unknown"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("CC-BY-3.0-US", {"license": "other", "license_name": "cc-by-3.0-us"}),
        ("***", {"license": "other", "license_name": "other"}),
        ("other", {"license": "other", "license_name": "other"}),
    ],
)
def test_licences_as_the_hub_has_them(licence, fields):
    assert licence_fields(licence) == fields


@pytest.mark.parametrize(
    ("reference", "hub", "others_read"),
    [
        ("facebook/dinov2-small@main", "facebook/dinov2-small", "facebook/dinov2-small@main"),
        ("scratch:tiny", None, "scratch:tiny"),
        ("/home/me/models/mine/", None, "mine"),
        ("weights/model.safetensors", None, "model.safetensors"),
        ("s3://bucket/a/b.pth#v1-s", None, "b.pth#v1-s"),
        ("teacher-1", None, "teacher-1"),
    ],
)
def test_what_a_reference_shows(reference, hub, others_read):
    assert (hub_id(reference), shown(reference)) == (hub, others_read)


def test_a_path_that_is_there_is_no_id(tmp_path, monkeypatch):
    (tmp_path / "facebook" / "dinov2-small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_id("facebook/dinov2-small") is None


def test_one_result_per_protocol_and_source():
    def row(number, version="1"):
        return EvaluationRow(
            "m", "a", "p", version, "s", "d", number, 1, {}, {}, "1", float(number)
        )

    assert newest([row(1), row(3, "2"), row(2)], sha256="a") == (row(2), row(3, "2"))
    assert newest([row(1)], sha256="b") == ()


def test_the_command_prints_the_card_and_nothing_else(store, tmp_path, capsys):
    where = ["catalog", "card", "student", "--store", str(store)]
    assert run(where) == DONE
    printed = capsys.readouterr().out
    assert printed == card(store, "student")
    assert run([*where, "--out", str(tmp_path / "README.md")]) == DONE
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == printed
    assert run(["catalog", "card", "nobody", "--store", str(store)]) == WRONG_USAGE


def test_a_model_that_is_not_there(store):
    with pytest.raises(CatalogMissingError, match="studend"):
        card(store, "studend")
