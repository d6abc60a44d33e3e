"""Trees of lineage as one drawing: what is shown of them, and what is left out."""

from typing import Any

from jobs.report_lineage_graph import lineage_graph
from jobs.report_svg import Drawing, Mark

HOSTILE = "</title><script>alert(1)</script>"


def node(kind: str, name: str, *, behind: tuple[Any, ...] = (), **facts: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, **facts, "from": list(behind)}


def chain() -> dict[str, Any]:
    """A student of one label set, whose teacher had learnt from one source."""
    rooms = node("source", "rooms", licence="MIT", commercial="yes")
    snapshot = node("snapshot", "s1", behind=(rooms,))
    run = node("run", "teacher-1", of="t", job="teacher", state="done", behind=(snapshot,))
    teacher = node("model", "t", made="teacher", run_id="teacher-1", behind=(run,))
    photos = node("source", HOSTILE, commercial="unknown", withdrawn_at=1.0)
    labels = node("label-set", "labels", teacher="t", behind=(teacher, photos))
    pinned = node("snapshot", "s2", behind=(labels, {**rooms, "repeated": True}))
    last = node("run", "student-2", of="s", job="student", state="done", behind=(pinned,))
    return node("model", "s", made="student", run_id="student-2", behind=(last,))


def texts(drawing: Drawing, css: str) -> list[str]:
    found = [mark for box in boxes(drawing) for mark in box.inside]
    return [mark.text for mark in found if mark.attributes.get("class") == css]


def boxes(drawing: Drawing) -> list[Mark]:
    return [mark for mark in drawing.marks if mark.element == "g"]


def test_snapshots_and_makers_are_left_out_and_their_links_led_on() -> None:
    drawing = lineage_graph(chain(), {"kind": "model", "name": "s", "into": []})
    assert drawing is not None
    assert sorted(texts(drawing, "name")) == ["</title><script>ale…", "labels", "rooms", "s", "t"]
    assert sum(mark.element == "path" for mark in drawing.marks) == 5
    assert "run student-2" in texts(drawing, "note")
    assert sorted(texts(drawing, "mark")) == ["withdrawn +"]


def test_the_run_that_a_page_is_about_is_shown() -> None:
    run = chain()["from"][0]
    into = [{"kind": "model", "name": "s", "made": "student", "run_id": "student-2"}]
    drawing = lineage_graph(run, {"kind": "run", "name": "student-2", "into": into})
    assert drawing is not None
    (subject,) = (box for box in boxes(drawing) if "subject" in str(box.attributes["class"]))
    assert [mark.text for mark in subject.inside][1:] == ["", "student run", "s", "student-2"]


def test_what_is_ahead_stands_to_the_right_of_what_is_behind() -> None:
    scores = [
        {"kind": "evaluation", "name": "kitti@1", "model": "s", "source": source}
        for source in ("kitti", "kitti-2")
    ]
    drawing = lineage_graph(chain(), {"kind": "model", "name": "s", "into": scores})
    assert drawing is not None
    lefts = {
        box.inside[0].text.splitlines()[0]: float(box.inside[1].attributes["x"])
        for box in boxes(drawing)
    }
    assert lefts["source rooms"] < lefts["teacher model t"] < lefts["label set labels"]
    assert lefts["label set labels"] < lefts["student model s"] < lefts["evaluation kitti@1"]
    assert texts(drawing, "note").count("on kitti: s") == 1
    assert len(boxes(drawing)) == 7


def test_a_thing_alone_has_no_drawing() -> None:
    alone = {"kind": "source", "name": "x"}
    assert lineage_graph({**alone, "from": []}, {**alone, "into": []}) is None
