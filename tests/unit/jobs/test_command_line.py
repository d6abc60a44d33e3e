import pytest

from jobs.command_line import repeat_list_flags

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
