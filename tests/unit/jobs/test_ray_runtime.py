"""How processes are sized so that they fit the machines of a cluster."""

from itertools import product

import pytest

from jobs.ray_runtime import Node, Resources


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
