import dataclasses

import pytest
import torch

from model.batches import Batch
from model.transfer import on_device


@dataclasses.dataclass(frozen=True)
class Input:
    labelled: Batch | None
    pseudo: Batch | None
    number: int


def inputs(count=3):
    for number in range(count):
        images = torch.full((2, 3, 4, 4), number, dtype=torch.uint8)
        target = images[:, 0].float()
        yield Input(Batch(images, target, target > 0), None, number)


def test_on_a_cpu_inputs_pass_as_they_are_one_at_a_time():
    drawn = []

    def watched():
        for each in inputs():
            drawn.append(each)
            yield each

    moved = on_device(watched(), "cpu")
    for number in range(3):
        each = next(moved)
        assert each is drawn[-1]
        assert len(drawn) == number + 1
    with pytest.raises(StopIteration):
        next(moved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_inputs_arrive_whole_and_keep_what_else_they_hold():
    for each, expected in zip(on_device(inputs(8), "cuda"), inputs(8), strict=True):
        assert each.number == expected.number
        assert each.pseudo is None
        assert each.labelled.images_B3HW.is_cuda
        for field in dataclasses.fields(Batch):
            found = getattr(each.labelled, field.name).cpu()
            assert torch.equal(found, getattr(expected.labelled, field.name))
