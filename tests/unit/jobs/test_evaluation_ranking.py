"""Which metric ranks, and which images are worth a look."""

from jobs.evaluation_ranking import (
    benchmarks,
    best_and_worst,
    headline,
    scores_of,
)
from model.evaluation import ImageScore
from model.protocols import protocol
from tests.evaluation_factories import benchmark_result, image


def test_the_best_and_the_worst_have_no_image_in_common():
    result = benchmark_result(errors=(0.5, 0.1, None, 0.3, 0.2, 0.4))
    for count in range(5):
        best, worst = best_and_worst(result, count=count)
        errors = [
            [each.score.metrics["depth"]["abs_rel"] for each in some] for some in (best, worst)
        ]
        assert errors == [[0.1, 0.2, 0.3][:count], [0.5, 0.4][:count]]


def test_larger_shares_rank_first_and_equal_ones_by_their_id():
    def score(share):
        return ImageScore(valid_pixels=1, metrics={"order": {"pair_accuracy": share}})

    images = tuple(image(number, score(share)) for number, share in ((3, 0.5), (1, 0.5), (2, 0.9)))
    best, worst = best_and_worst(
        benchmark_result(rules=protocol("pairs@1"), images=images), count=2
    )
    assert [each.sample_id[-1] for each in best] == ["2", "1"]
    assert [each.sample_id[-1] for each in worst] == ["3"]


def test_nothing_scored_has_no_best():
    assert best_and_worst(benchmark_result(errors=(None, None)), count=3) == ([], [])
    assert headline([benchmark_result(errors=(None,))]) is None


def test_the_headline_is_the_first_metric_that_all_have():
    whole = benchmark_result()
    unscaled = ImageScore(
        valid_pixels=9, metrics={"disparity": {"abs_rel": None, "rmse": 0.2}, "depth": {}}
    )
    assert headline([whole]) == ("disparity", "abs_rel")
    assert headline([whole, benchmark_result("b", images=(image(0, unscaled),))]) == (
        "disparity",
        "rmse",
    )


def test_results_are_gathered_by_benchmark_in_the_order_seen():
    results = [
        benchmark_result(name, source=source) for name in "ab" for source in ("nyu", "kitti")
    ]
    groups = benchmarks(results)
    assert [[(each.source, each.model.name) for each in group] for group in groups] == [
        [("nyu", "a"), ("nyu", "b")],
        [("kitti", "a"), ("kitti", "b")],
    ]


def test_scores_are_those_of_images_that_have_one():
    result = benchmark_result(errors=(0.1, None, 0.3))
    assert list(scores_of(result, "depth", "abs_rel").values()) == [0.1, 0.3]
    assert scores_of(result, "depth", "no_such_metric") == {}
