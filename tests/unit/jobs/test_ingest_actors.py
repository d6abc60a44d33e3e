"""How many processes read, and the desk at which they hand in."""

import threading

import pytest

from jobs.ingest_actors import Desk, HandedIn, IngestActors, plan_actors
from jobs.ingest_judge import Before, Question
from jobs.ray_runtime import Node, Resources
from jobs.shard_writer import Written
from pipeline.storage import Store
from tests.catalog_factories import image_shard


@pytest.mark.parametrize(
    ("asked", "cpus", "pieces", "expected"),
    [
        (None, 1, 9, IngestActors(1, 1)),
        (None, 2, 9, IngestActors(1, 2)),
        (None, 16, 99, IngestActors(8, 2)),
        (None, 16, 3, IngestActors(3, 2)),
        (2, 2, 9, IngestActors(2, 1)),
        (5, 2, 9, IngestActors(5, 1)),
        (2, 16, 1, IngestActors(1, 2)),
    ],
)
def test_one_process_for_two_cpus_unless_told_otherwise(asked, cpus, pieces, expected):
    assert plan_actors(asked, Resources((Node(cpus),)), pieces=pieces) == expected


def test_processes_fit_on_the_machines_of_a_cluster():
    small = Resources((Node(2), Node(3), Node(3)))
    assert plan_actors(None, small, pieces=99) == IngestActors(4, 1)


def test_the_desk_gives_out_what_was_handed_in_once_and_in_order(tmp_path):
    desk = Desk(Store(str(tmp_path)), Before())
    shards = [HandedIn("p1", 0, Written(image_shard("s", number), {})) for number in range(3)]
    desk.judge([Question("a", b"x" * 16)])
    for shard in shards:
        desk.hand_in(shard)
    collected = desk.collect()
    assert (collected.looked, collected.shards) == (1, tuple(shards))
    assert (desk.collect().looked, desk.collect().shards) == (0, ())


def test_nothing_is_lost_at_a_busy_desk(tmp_path):
    desk = Desk(Store(str(tmp_path)), Before())
    shard = Written(image_shard("s", 0), {})

    def hand_in() -> None:
        for attempt in range(200):
            desk.hand_in(HandedIn("p1", attempt, shard))

    threads = [threading.Thread(target=hand_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    found = 0
    while any(thread.is_alive() for thread in threads):
        found += len(desk.collect().shards)
    assert found + len(desk.collect().shards) == 800
