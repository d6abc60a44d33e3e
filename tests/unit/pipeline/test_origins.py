"""What stands behind things of a catalog: sources with their terms, models from elsewhere."""

import pytest

from pipeline.catalog import Catalog
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.licences import terms_from
from pipeline.origins import Origins
from tests.catalog_factories import fill_source, label_all

FACTS = {"family": "depth_anything", "geometry": "disparity_affine_invariant"}
ELSEWHERE = {"org/encoder": "Apache-2.0", "org/released": "CC-BY-NC-4.0"}


@pytest.fixture
def catalog():
    with Catalog.open("sqlite://") as catalog:
        yield catalog


@pytest.fixture
def line(catalog):
    """rooms → teacher → labels of photos → student; more → released → labels of more."""
    fill_source(catalog, "rooms", 2, role="labelled")
    fill_source(catalog, "photos", 3)
    fill_source(catalog, "more", 1)
    fill_source(catalog, "apart", 1)
    catalog.set_terms("rooms", terms_from({"licence": "MIT"}, title="Rooms"))
    own = {"licence": "mine", "commercial": "conditions", "rehost": "no", "attribution": True}
    catalog.set_terms("photos", terms_from(own, title="Photos"))
    train(catalog, "teacher", "a", labelled=["rooms"], config={"encoder": "org/encoder"})
    label(catalog, "labels", "teacher", "a" * 64, "photos")
    catalog.register_model(
        "released-1234", sha256="f" * 64, uri="org/released", kind="imported", **FACTS
    )
    label(catalog, "more-labels", "released-1234", "f" * 64, "more")
    train(catalog, "student", "b", pseudo=["labels"], config={"encoder": "scratch:tiny"})
    return catalog


def train(catalog, name, letter, *, labelled=(), pseudo=(), config):
    pinned = catalog.pin_snapshot(labelled=labelled, pseudo=pseudo)
    run = catalog.begin_run(
        "x", name=name, config=config, code_version="1", snapshot_id=pinned.snapshot_id
    )
    catalog.register_model(
        name, sha256=letter * 64, key=f"models/{name}", kind="x", run_id=run, **FACTS
    )


def label(catalog, name, teacher, sha256, source):
    catalog.open_label_set(
        name, teacher=teacher, teacher_sha256=sha256, recipe={}, recipe_hash="r", code_version="1"
    )
    label_all(catalog, name, [source])


def behind(catalog, *things):
    return [
        (each.kind, each.name, each.licence)
        for each in Origins(catalog, ELSEWHERE.get).behind(*things)
    ]


def test_a_student_comes_from_its_images_its_teachers_and_their_encoder(line):
    assert behind(line, ("model", "student")) == [
        ("source", "photos", "mine"),
        ("source", "rooms", "MIT"),
        ("model", "org/encoder", "Apache-2.0"),
    ]


def test_what_is_known_of_each(line):
    photos, rooms, encoder = Origins(line, ELSEWHERE.get).behind(("label-set", "labels"))
    assert (photos.commercial, photos.rehost, photos.attribution) == ("conditions", "no", True)
    assert (rooms.commercial, rooms.rehost, rooms.attribution) == ("yes", "yes", False)
    assert (encoder.commercial, encoder.via) == ("yes", "label-set labels")


def test_a_model_from_elsewhere_under_its_name_its_place_or_unknown(line):
    released = [("model", "released-1234", "CC-BY-NC-4.0")]
    assert behind(line, ("model", "released-1234")) == released
    assert behind(line, ("model", "org/released")) == released
    assert behind(line, ("model", "/no/such")) == [("model", "/no/such", None)]


def test_a_source_without_anything_said(line):
    [apart] = Origins(line, ELSEWHERE.get).behind(("source", "apart"))
    assert (apart.licence, apart.commercial, apart.rehost, apart.via) == (
        None,
        *["unknown"] * 2,
        "",
    )


def test_several_things_share_what_is_behind_them(line):
    both = behind(line, ("label-set", "labels"), ("label-set", "more-labels"), ("source", "rooms"))
    assert [name for _, name, _ in both] == [
        "more", "photos", "rooms", "org/encoder", "released-1234",
    ]  # fmt: skip


def test_snapshots_of_a_model_and_of_the_teachers_before_it(line):
    origins = Origins(line, ELSEWHERE.get)
    assert len(origins.snapshots(("model", "teacher"))) == 1
    assert origins.snapshots(("model", "teacher")) < origins.snapshots(("model", "student"))
    assert origins.snapshots(("model", "released-1234"), ("source", "rooms")) == set()
    assert origins.snapshots(("label-set", "labels")) == origins.snapshots(("model", "teacher"))


def test_things_by_their_names(line):
    label(line, "rooms", "teacher", "a" * 64, "more")
    origins = Origins(line, ELSEWHERE.get)
    assert origins.find("student") == ("model", "student")
    assert origins.find("label-set:rooms") == ("label-set", "rooms")
    with pytest.raises(CatalogConflictError, match="say source:rooms or label-set:rooms"):
        origins.find("rooms")
    for ref in ("studnet", "model:studnet", "source:student"):
        with pytest.raises(CatalogMissingError, match="did you mean 'student'"):
            origins.find(ref)


def test_self_training_in_a_circle_ends(line):
    """A label set of a student that learns from it: names meet, nothing is walked twice."""
    label(line, "again", "student", "b" * 64, "more")
    train(line, "next", "c", pseudo=["again", "labels"], config={"encoder": "student"})
    names = [name for _, name, _ in behind(line, ("model", "next"))]
    assert names == ["more", "photos", "rooms", "org/encoder"]


@pytest.mark.parametrize("kind", ["source", "label-set"])
def test_what_is_not_there(line, kind):
    with pytest.raises(CatalogMissingError, match="is named 'rooom'"):
        behind(line, (kind, "rooom"))
