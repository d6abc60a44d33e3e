"""The judge says what is new, the same each time it is asked, and reads nothing for nothing."""

import dataclasses

import pytest

from jobs.ingest_judge import Before, Judge, Question
from pipeline.identity import sample_id, sha256_hex
from pipeline.records import Drop
from pipeline.seen import content_digest, drop_digest
from pipeline.shards import write_drops
from pipeline.storage import Store
from tests.factories import image_record, image_shard


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def question(path: str, data: bytes, *, source: str = "pictures") -> Question:
    sha256 = sha256_hex(data)
    return Question(path, content_digest(sha256, None), sample_id(source, path), sha256)


def asked(index: int) -> Question:
    """The question about a row of `image_shard`."""
    record = image_record(index)
    content = content_digest(record.sha256, None)
    return Question(record.path, content, record.sample_id, record.sha256)


def verdicts(judge: Judge, *questions: Question) -> list[str]:
    return [answer.verdict for answer in judge.judge(questions)]


def test_a_new_source_costs_no_reading(store):
    judge = Judge(store, Before())
    assert verdicts(judge, question("a", b"1"), question("b", b"1")) == ["new", "new"]


def test_what_the_source_has_is_the_same_or_changed(store):
    shard = image_shard(store, range(3))
    judge = Judge(store, Before(shards=[shard]))
    other = dataclasses.replace(asked(1), content=b"x" * 16)
    assert verdicts(judge, asked(0), other, asked(7)) == ["same", "changed", "new"]


def test_twins_are_found_in_all_shards_and_among_the_new(store):
    shard = image_shard(store, range(3), source="elsewhere")
    judge = Judge(store, Before(images=[shard]))
    twin = dataclasses.replace(asked(2), sample_id=sample_id("here", "twin"))
    new = question("n", b"new", source="here")
    copy = question("c", b"new", source="here")
    assert verdicts(judge, twin, new, copy) == ["duplicate", "new", "duplicate"]


def test_a_piece_that_is_tried_again_gets_the_same_answers(store):
    judge = Judge(store, Before(images=[]))
    questions = [question("a", b"1"), question("b", b"1"), question("c", b"2")]
    first = verdicts(judge, *questions)
    assert first == ["new", "duplicate", "new"]
    assert verdicts(judge, *questions) == first
    assert verdicts(judge, *reversed(questions)) == first[::-1]


def test_twins_are_welcome_where_nobody_minds(store):
    judge = Judge(store, Before())
    assert verdicts(judge, question("a", b"1"), question("b", b"1")) == ["new", "new"]


def test_what_was_written_down_as_refused_is_known(store):
    old, new = Drop("a", "u", "truncated", sha256="00"), Drop("b", "u", "truncated", sha256="00")
    key = write_drops(store, [old], source="s", shard_id="d1", code_version="1")
    judge = Judge(store, Before(drops=[key]))
    answers = judge.judge([Question(drop.path, drop_digest(drop)) for drop in (old, new)])
    assert [answer.is_known for answer in answers] == [True, False]


def test_a_refusal_of_the_judge_itself_is_known_next_time(store):
    shard, twin = image_shard(store, range(2)), question("twin", b"1")
    changed = dataclasses.replace(asked(1), content=b"x" * 16)
    before = Before(shards=[shard], images=[])
    questions = [changed, question("first", b"1"), twin]
    first = Judge(store, before).judge(questions)
    assert [answer.verdict for answer in first] == ["changed", "new", "duplicate"]
    assert not any(answer.is_known for answer in first)
    drops = [
        Drop(asked.path, "u", answer.verdict, sha256=asked.sha256)
        for asked, answer in zip(questions, first, strict=True)
        if answer.verdict != "new"
    ]
    key = write_drops(store, drops, source="s", shard_id="d1", code_version="1")
    again = Judge(store, dataclasses.replace(before, drops=[key])).judge(questions)
    assert [answer.is_known for answer in again] == [True, False, True]
