import pytest

from jobs.cli import build_app
from jobs.command_line import repeat_list_flags
from jobs.plan_config import PlanConfig
from jobs.settings import load_settings

LISTS, VALUED = {"--labelled", "--benchmark"}, {"--name"}


@pytest.mark.parametrize(
    ("words", "arguments", "expected"),
    [
        ("--labelled a b --name n", 0, "--labelled a --labelled b --name n"),
        ("--labelled a --labelled b", 0, "--labelled a --labelled b"),
        ("--labelled=a b", 0, "--labelled=a --labelled b"),
        ("--labelled a b --switch", 0, "--labelled a --labelled b --switch"),
        # the positional argument came first: what follows belongs to the flag
        ("model --benchmark a=x b=y", 1, "model --benchmark a=x --benchmark b=y"),
        # it has not come yet: the word is the positional argument
        ("--benchmark a=x model", 1, "--benchmark a=x model"),
        ("--benchmark a=x b=y model", 1, "--benchmark a=x b=y --benchmark model"),
        # values of other flags are no positional arguments
        ("--name n --benchmark a=x model", 1, "--name n --benchmark a=x model"),
        ("--name --labelled a b", 0, "--name --labelled a b"),
        ("--labelled a -- b", 0, "--labelled a -- b"),
        ("--labelled a --unknown b", 0, "--labelled a --unknown b"),
        ("--labelled", 0, "--labelled"),
    ],
)
def test_several_words_after_a_list_flag(words, arguments, expected):
    rewritten = repeat_list_flags(words.split(), lists=LISTS, valued=VALUED, arguments=arguments)
    assert rewritten == expected.split()


def test_an_empty_value_is_a_value():
    words = ["--name", "", "--labelled", "", "b"]
    assert repeat_list_flags(words, lists=LISTS, valued=VALUED, arguments=0) == [
        "--name", "", "--labelled", "", "--labelled", "b"
    ]  # fmt: skip


def test_words_after_a_list_flag_are_its_values_where_no_argument_must_be_given():
    """``factory plan --gpus 1 8 64``: 8 and 64 are no sources."""
    calls = []
    words = "plan --teacher t --gpus 1 8 64 --cost-per-gpu-hour 1.2 2.5"
    build_app(calls.append)(words.split(), prog_name="factory", standalone_mode=False)
    given = load_settings(PlanConfig, flags=calls[0].flags, file=None, environ={})
    assert (given.sources, given.gpus, given.cost_per_gpu_hour) == ((), (1, 8, 64), (1.2, 2.5))
    build_app(calls.append)(
        ["plan", "a", "b", *words.split()[1:]], prog_name="factory", standalone_mode=False
    )
    given = load_settings(PlanConfig, flags=calls[1].flags, file=None, environ={})
    assert (given.sources, given.gpus) == (("a", "b"), (1, 8, 64))
