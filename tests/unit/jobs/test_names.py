import os
import socket

import pytest

from jobs.names import actor_name, place, title


def test_titles_name_what_is_worked_on_and_count_the_rest():
    assert title("label", ["places365"], by="dav2-l") == "label places365 with dav2-l"
    assert title("label", ["a"], by="/models/mine/") == "label a with mine"
    assert title("evaluate", ["s3://key:secret@bucket/m"]) == "evaluate m"
    assert "secret" not in title("evaluate", ["https://key:secret@host"])
    assert title("evaluate", list("abcde")) == "evaluate a, b, c and 2 more"
    assert title("", ["a", "b"]) == "a, b"


def test_a_title_with_any_letters_can_be_sent():
    """Ray writes it as UTF-8, which knows no half letters."""
    assert title("label", ["a"], by="/models/größe 日本") == "label a with größe 日本"
    assert title("label", ["a"], by="/models/half \udcff").encode() == rb"label a with half \udcff"


def test_no_two_actors_have_one_name():
    names = {actor_name("label set") for _ in range(20)}
    assert len(names) == 20
    whose = f" of {socket.gethostname()}:{os.getpid()}"
    assert all(name.startswith("label set #") and name.endswith(whose) for name in names)


@pytest.mark.parametrize(
    ("visible", "device", "where"),
    [
        (None, "cpu", "CPU"),
        (None, "cuda:1", "GPU 1"),
        ("5", "cuda:0", "GPU 5"),
        ("5,7", "cuda", "GPU 5"),
        ("5,7", "cuda:1", "GPU 7"),
        ("", "cpu", "CPU"),
        ("GPU-8932f937", "cuda:0", "GPU 8932f937"),
    ],
)
def test_a_place_counts_gpus_as_the_machine_does(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, where: str
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert place(device) == f"{socket.gethostname()} {where}, process {os.getpid()}"
