"""What is said of what could not be compared."""

from jobs.leakage_words import SHOWN, Doubts
from tests.catalog_factories import image_shard


def test_without_doubt_there_is_nothing_to_say():
    doubts = Doubts()
    doubts.note("key", 10, "", by_looks=True)
    assert doubts.in_words() == ""


def test_all_doubts_are_said():
    doubts = Doubts(unknown=["model a", "teacher b"], lost=1234)
    doubts.say_unhashed([image_shard("web", 0), image_shard("web", 1)], of=5)
    doubts.note("key", 10, "", by_looks=False)
    doubts.note("torn", 10, "no Parquet", by_looks=False)
    assert doubts.in_words().split("; ") == [
        "nothing is known of the training of model a, teacher b",
        "only bytes were compared: nobody has looked at the images of 2 of 5 training shards yet "
        "(--leakage near does, and so does factory catalog duplicates web --near, on a cluster "
        "too)",
        "10 images are gone or damaged: their bytes alone count",
        "1,234 images were withdrawn since, and nothing is known of them",
        "not compared, because it cannot be read: torn (no Parquet)",
    ]


def test_long_lists_are_cut_and_commands_stay_whole():
    names = [f"m{n}" for n in range(SHOWN + 2)]
    doubts = Doubts(unknown=names)
    doubts.say_unhashed([image_shard(name, 0) for name in names], of=9)
    said = doubts.in_words()
    assert f"{', '.join(names[:SHOWN])} and 2 more" in said
    assert "factory catalog duplicates --near" in said
