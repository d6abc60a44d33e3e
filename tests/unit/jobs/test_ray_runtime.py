"""How processes are sized so that they fit the machines of a cluster."""

import os
import signal
import sys
from itertools import product

import pytest

from jobs.interrupts import STOPPING, calm_interrupts
from jobs.ray_runtime import Node, Resources, _termination_as_before


def fits(nodes: tuple[Node, ...], count: int, *, cpus: int, gpus: float) -> bool:
    """By filling one machine after the other, process by process."""
    placed = 0
    for node in nodes:
        free_cpus, free_gpus = node.cpus, float(node.gpus)
        while free_cpus >= cpus and free_gpus >= gpus and placed < count:
            free_cpus, free_gpus, placed = free_cpus - cpus, free_gpus - gpus, placed + 1
    return placed == count


@pytest.mark.parametrize(
    ("nodes", "count", "gpus", "cpus"),
    [
        ((Node(8),), 1, 0, 8),
        ((Node(8),), 3, 0, 2),
        ((Node(2),), 8, 0, 1),
        ((Node(4), Node(4)), 1, 0, 4),  # no process stretches over two machines
        ((Node(10), Node(10)), 3, 0, 5),
        ((Node(64), Node(16, gpus=1), Node(16, gpus=1)), 2, 1, 16),  # a head without a GPU
        ((Node(16, gpus=4),), 8, 0.5, 2),
        ((), 1, 0, 1),
    ],
)
def test_each_process_gets_the_most_that_fits_on_a_machine(
    nodes: tuple[Node, ...], count: int, gpus: float, cpus: int
) -> None:
    assert Resources(nodes).cpus_each(count, gpus=gpus) == cpus


def test_as_many_as_asked_for_find_a_place_and_one_cpu_more_would_be_too_much() -> None:
    for first, second, gpus, count in product((1, 5, 16), (0, 3, 12), (0.0, 0.5, 1.0), (1, 2, 5)):
        nodes = (Node(first, gpus=1), Node(second, gpus=2))
        cpus = Resources(nodes).cpus_each(count, gpus=gpus)
        if fits(nodes, count, cpus=1, gpus=gpus):
            assert fits(nodes, count, cpus=cpus, gpus=gpus)
            assert not fits(nodes, count, cpus=cpus + 1, gpus=gpus)


def test_a_cluster_is_the_sum_of_its_machines() -> None:
    resources = Resources((Node(64), Node(16, gpus=8)))
    assert (resources.cpus, resources.gpus) == (80, 8)


def test_room_is_counted_machine_by_machine() -> None:
    for first, second, gpus, cpus in product((1, 5, 16), (0, 3, 12), (0.0, 0.5, 1.0), (1, 2, 5)):
        nodes = (Node(first, gpus=1), Node(second, gpus=2))
        room = Resources(nodes).room(cpus=cpus, gpus=gpus)
        assert fits(nodes, room, cpus=cpus, gpus=gpus)
        assert not fits(nodes, room + 1, cpus=cpus, gpus=gpus)
        assert Resources(nodes).fits(cpus=cpus, gpus=gpus) == (room > 0)


def test_machines_that_are_alike_are_counted_in_words() -> None:
    assert Resources(()).in_words() == "no machine"
    two_and_one = Resources((Node(8, gpus=1), Node(4), Node(8, gpus=1)))
    assert two_and_one.in_words() == "2 x (8 CPUs, 1 GPUs) + 1 x (4 CPUs, 0 GPUs)"
    assert Resources(tuple(Node(n) for n in range(1, 8))).in_words().endswith("+ …")


def test_a_signal_while_ray_starts_stops_as_it_would_have_before(request) -> None:
    heard: list[str] = []
    first = signal.signal(signal.SIGTERM, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, first))
    with calm_interrupts(heard.append):
        ours = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), _termination_as_before():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [STOPPING] and signal.getsignal(signal.SIGTERM) is ours
