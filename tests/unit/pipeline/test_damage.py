"""Counting rows that are broken: named, judged when there is enough to judge by, and kept."""

import json

import pytest

from pipeline.damage import JUDGED_FROM_ROWS, NAMED, Damage, Skip, Tally, merged
from pipeline.errors import ShardCorruptError


def broken(number: int) -> Damage:
    return Damage("sources/a.parquet", f"{number:032x}", "truncated", f"picture {number}")


def tally(*, used: int, damaged: int) -> Tally:
    made = Tally()
    for number in range(damaged):
        made.add(broken(number))
    for _ in range(used):
        made.add(None)
    return made


def test_every_row_is_counted_once() -> None:
    made = tally(used=5, damaged=3)
    for reason in ("flat", "flat", "decode_failed"):
        made.add(Skip(reason))
    assert made.used == 5
    assert made.skipped == {"flat": 2, "decode_failed": 1}
    assert made.damaged == {"truncated": 3}


def test_only_the_first_are_named_and_all_are_counted() -> None:
    made = tally(used=0, damaged=NAMED + 20)
    assert made.damaged.total() == NAMED + 20
    assert made.named == [broken(number) for number in range(NAMED)]


def test_a_row_that_is_met_in_every_epoch_is_named_once() -> None:
    made = Tally()
    for _ in range(7):
        made.add(broken(1))
        made.add(broken(2))
    assert made.damaged.total() == 14
    assert made.named == [broken(1), broken(2)]


@pytest.mark.parametrize(
    ("used", "damaged", "limit", "stops"),
    [
        (JUDGED_FROM_ROWS - 3, 3, 0.015, False),  # 3 of 200 is the limit itself
        (JUDGED_FROM_ROWS - 4, 4, 0.015, True),
        (JUDGED_FROM_ROWS - 5, 4, 0.015, False),  # a row too early to judge
        (JUDGED_FROM_ROWS, 1, 0.0, True),
        (JUDGED_FROM_ROWS, 0, 0.0, False),
        (0, 10 * JUDGED_FROM_ROWS, 1.0, False),
    ],
)
def test_what_is_too_much_is_judged_from_two_hundred_rows_on(
    used: int, damaged: int, limit: float, stops: bool
) -> None:
    made = tally(used=used, damaged=damaged)
    if not stops:
        made.check(limit)
        return
    with pytest.raises(ShardCorruptError, match=r"sources/a\.parquet, sample 0+: truncated"):
        made.check(limit)


def test_few_rows_are_judged_when_the_epoch_ends() -> None:
    made = tally(used=9, damaged=1)
    made.check(0.05)
    with pytest.raises(ShardCorruptError, match=r"1 of 10 .* 10\.00%"):
        made.check(0.05, epoch_ends=True)


def test_rows_left_out_on_purpose_do_not_hide_the_damage() -> None:
    made = tally(used=100, damaged=10)
    for _ in range(100_000):
        made.skipped["flat"] += 1
    with pytest.raises(ShardCorruptError, match="10 of 110"):
        made.check(0.05, epoch_ends=True)


def test_a_state_survives_json_and_does_not_change_afterwards() -> None:
    made = tally(used=3, damaged=2)
    made.add(Skip("flat"))
    state = made.state()
    text = json.dumps(state)
    made.add(broken(77))
    made.add(Skip("flat"))
    assert json.dumps(state) == text
    again = Tally.of(json.loads(text))
    assert again.state() == state
    again.add(broken(77))
    again.add(Skip("flat"))
    assert again == made


def test_tallies_of_several_ranks_add_up() -> None:
    one, two = tally(used=3, damaged=2), tally(used=4, damaged=3)
    two.add(Skip("flat"))
    whole = Tally.of(merged([one.state(), two.state()]))
    assert (whole.used, whole.skipped, whole.damaged) == (7, {"flat": 1}, {"truncated": 5})
    assert whole.named == [broken(0), broken(1), broken(2)]
    assert Tally.of(merged([])) == Tally()
