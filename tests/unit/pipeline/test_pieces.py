"""Pieces are cut the same whatever was taken out before, and items read are known again."""

import dataclasses

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data_sets import Bundle, Part, Sample
from pipeline.errors import ShardCorruptError
from pipeline.pieces import (
    Outcome,
    Piece,
    cut_pieces,
    item_digest,
    known_items,
    options_digest,
    piece_key,
    read_piece,
    write_piece,
)
from pipeline.raw_files import FoundFile
from pipeline.records import Drop
from pipeline.storage import Store
from pipeline.withdrawn_since import WithdrawnSince

OPTIONS = options_digest(layout="auto")
FILE = FoundFile("a/b.jpg", "/data/a/b.jpg", 10, version="17")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def files(sizes: list[int]) -> list[FoundFile]:
    return [
        FoundFile(f"{number:05d}.jpg", f"/data/{number:05d}.jpg", size, version="1")
        for number, size in enumerate(sizes)
    ]


def cut(items, *, max_items: int = 5, max_bytes: int = 100) -> list[Piece]:
    return list(cut_pieces(items, options=OPTIONS, max_items=max_items, max_bytes=max_bytes))


@given(st.lists(st.integers(0, 150), max_size=60))
def test_every_item_is_in_one_piece_and_a_limit_is_passed_by_the_last_one_only(sizes):
    items = files(sizes)
    pieces = cut(items)
    assert [item for piece in pieces for item in piece.items] == items
    for piece in pieces:
        assert 1 <= len(piece.items) <= 5
        assert sum(item.bytes for item in piece.items[:-1]) < 100
    for piece in pieces[:-1]:
        assert len(piece.items) == 5 or sum(item.bytes for item in piece.items) >= 100


@given(st.lists(st.integers(0, 150), max_size=60), st.data())
def test_without_some_whole_pieces_the_others_are_as_they_were(sizes, data):
    pieces = cut(files(sizes))
    stay = [piece for piece in pieces[:-1] if data.draw(st.booleans())] + pieces[-1:]
    assert cut(item for piece in stay for item in piece.items) == stay


def test_a_piece_is_named_after_its_items_and_the_options():
    (piece,) = cut(files([1, 2, 3]))
    assert piece.piece_id[0] == "p" and len(piece.piece_id) == 21
    (other,) = cut(files([1, 2, 4]))
    (again,) = cut(files([1, 2, 3]))
    (strict,) = cut_pieces(
        files([1, 2, 3]), options=options_digest(layout="images"), max_items=5, max_bytes=100
    )
    assert again == piece
    assert len({piece.piece_id, other.piece_id, strict.piece_id}) == 3


@pytest.mark.parametrize(
    "change",
    [{"path": "a/c.jpg"}, {"uri": "/elsewhere/a/b.jpg"}, {"bytes": 11}, {"version": "18"}],
)
def test_a_file_that_changed_or_moved_is_another(change):
    other = dataclasses.replace(FILE, **change)
    assert item_digest(other, options=OPTIONS) != item_digest(FILE, options=OPTIONS)
    assert item_digest(dataclasses.replace(FILE), options=OPTIONS) == item_digest(
        FILE, options=OPTIONS
    )


def test_what_says_nothing_of_its_version_is_never_known():
    assert item_digest(dataclasses.replace(FILE, version=""), options=OPTIONS) is None
    image = Part("a.png", "/data/x.tar", 512, 10, 10, version="3")
    depth = dataclasses.replace(image, path="a.npy", offset=2048)
    sample = Sample("a.png", image, (depth,), "npy-m")
    assert item_digest(sample, options=OPTIONS) is not None
    unsure = dataclasses.replace(sample, truth=(dataclasses.replace(depth, version=""),))
    assert item_digest(unsure, options=OPTIONS) is None
    moved = dataclasses.replace(sample, truth=(dataclasses.replace(depth, offset=4096),))
    assert item_digest(moved, options=OPTIONS) != item_digest(sample, options=OPTIONS)


def test_links_and_what_the_listing_refuses_are_known():
    link = FoundFile("l", "/data/l", 0, "link")
    drop = Drop("a.png", "/data", "no_truth", "nothing belongs to it")
    digests = [item_digest(each, options=OPTIONS) for each in (link, drop)]
    assert None not in digests and len(set(digests)) == 2


def test_options_of_another_kind_are_other_options():
    assert options_digest(a=1, b=None) == options_digest(b=None, a=1)
    assert options_digest(a=1) != options_digest(a=2) != options_digest(a="2")


def test_what_became_of_items_is_found_again(store):
    items = [*files([10, 20, 30]), dataclasses.replace(FILE, path="no\udcffname", version="")]
    (piece,) = cut(items)
    outcomes = [
        Outcome(1),
        Outcome(7, {"truncated": 2, "empty": 1}, {"annotation": 4}),
        Outcome(0, {"truncated": 1}),
        Outcome(1),
    ]
    assert write_piece(store, piece, outcomes, source="s") == 3  # the last one has no version
    known = known_items(store, "s", {piece.piece_id: 1.0})
    assert len(known) == 3 and known.pieces_found == 0
    assert [known.find(item, options=OPTIONS) for item in items] == [*outcomes[:3], None]
    assert known.pieces_found == 1
    assert known.find(FILE, options=OPTIONS) is None
    assert known.find(items[0], options="others") is None


def test_items_of_many_pieces_are_kept_apart(store):
    pieces = cut(files([1] * 23))
    for number, piece in enumerate(pieces):
        outcomes = [Outcome(number * 100 + place) for place in range(len(piece.items))]
        write_piece(store, piece, outcomes, source="s")
    known = known_items(store, "s", {piece.piece_id: 1.0 for piece in pieces})
    for number, piece in enumerate(pieces):
        for place, item in enumerate(piece.items):
            assert known.find(item, options=OPTIONS) == Outcome(number * 100 + place)
    assert known.pieces_found == 5


def test_the_same_items_give_the_same_object(store):
    (piece,) = cut(files([1, 2]))
    objects = []
    for _ in range(2):
        write_piece(store, piece, [Outcome(1), Outcome(0, {"b": 1, "a": 1})], source="s")
        objects.append(store.get(piece_key("s", piece.piece_id)))
    assert objects[0] == objects[1]


def test_a_piece_that_is_gone_or_broken_is_read_again(store):
    one, two, three = cut(files([100, 100, 100]))
    for piece in (one, two):
        write_piece(store, piece, [Outcome(1)], source="s")
    store.put(piece_key("s", two.piece_id), b"PAR1 and nothing else")
    known = known_items(store, "s", {each.piece_id: 1.0 for each in (one, two, three)})
    assert len(known) == 1
    with pytest.raises(ShardCorruptError, match=two.piece_id):
        read_piece(store, piece_key("s", two.piece_id))
    assert len(known_items(store, "s", {})) == 0


def test_nothing_is_written_where_nothing_can_be_known(store):
    (piece,) = cut([dataclasses.replace(FILE, version="")])
    assert write_piece(store, piece, [Outcome(1)], source="s") == 0
    assert list(store.list()) == []


def test_people_can_read_what_became_of_a_piece(store, tmp_path):
    (piece,) = cut(files([5]))
    write_piece(store, piece, [Outcome(3, {"empty": 1})], source="s")
    (row,) = pq.read_table(tmp_path / piece_key("s", piece.piece_id)).to_pylist()
    assert (row["path"], row["bytes"], row["kept"]) == ("00000.jpg", 5, 3)
    assert row["refused"] == '{"dropped": {"empty": 1}, "ignored": {}}'


@pytest.mark.parametrize("reason", ["unreadable", "missing_library", "decode_timeout"])
def test_what_may_pass_by_itself_is_read_again(store, reason):
    (piece,) = cut(files([1, 2]))
    assert write_piece(store, piece, [Outcome(3, {reason: 1}), Outcome(1)], source="s") == 1
    known = known_items(store, "s", {piece.piece_id: 1.0})
    found = [known.find(item, options=OPTIONS) for item in piece.items]
    assert found == [None, Outcome(1)]


def test_the_newest_word_on_an_item_counts(store):
    items = files([1, 2])
    (both,), (alone,) = cut(items), cut(items[1:])
    write_piece(store, both, [Outcome(1), Outcome(1)], source="s")
    write_piece(store, alone, [Outcome(0, {"torn": 1})], source="s")
    known = known_items(store, "s", {alone.piece_id: 2.0, both.piece_id: 1.0})
    found = [known.find(item, options=OPTIONS) for item in items]
    assert found == [Outcome(1), Outcome(0, {"torn": 1})]


def test_what_was_withdrawn_since_is_kept_no_more(store):
    items = [
        *files([1, 2]),
        FoundFile("a.tar", "/data/a.tar", 9, version="1"),
        Bundle((FoundFile("b.tar.gz", "/data/b.tar.gz", 9, version="1"),), "png-mm", is_all=True),
    ]
    (piece,) = cut(items)
    outcomes = [Outcome(1), Outcome(1), Outcome(5, {"torn": 1, "leak": 1}), Outcome(3)]
    write_piece(store, piece, outcomes, source="s")
    gone = [("00000.jpg", "withdrawn", 9.0), ("a.tar/x.jpg", "leak", 8.0)]
    gone += [("a.tar/y/z.jpg", "withdrawn", 8.0), ("a.tarball", "leak", 9.0)]

    def found(when: float) -> list[Outcome | None]:
        known = known_items(store, "s", {piece.piece_id: when}, withdrawn=WithdrawnSince(gone))
        return [known.find(item, options=OPTIONS) for item in items]

    assert found(10.0) == outcomes
    assert found(8.5) == [Outcome(0, {"withdrawn": 1}), *outcomes[1:3], None]
    assert found(7.0)[2] == Outcome(3, {"torn": 1, "leak": 2, "withdrawn": 1})


def test_more_withdrawn_than_was_kept_means_reading_again(store):
    (piece,) = cut(files([1]))
    write_piece(store, piece, [Outcome(0, {"torn": 1})], source="s")
    gone = WithdrawnSince([("00000.jpg", "withdrawn", 9.0)])
    known = known_items(store, "s", {piece.piece_id: 1.0}, withdrawn=gone)
    assert known.find(piece.items[0], options=OPTIONS) is None


def test_what_had_a_twin_is_read_again_when_that_may_be_gone(store):
    (piece,) = cut(files([1, 2]))
    write_piece(store, piece, [Outcome(0, {"duplicate": 1}), Outcome(0, {"torn": 1})], source="s")

    def found(twins_gone: float) -> list[bool]:
        known = known_items(store, "s", {piece.piece_id: 5.0}, twins_gone=twins_gone)
        return [known.find(item, options=OPTIONS) is not None for item in piece.items]

    assert found(4.0) == [True, True]
    assert found(6.0) == [False, True]
