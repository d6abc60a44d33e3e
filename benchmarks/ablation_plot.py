"""The ablation as a picture: AbsRel of each row, a dot per seed and a line through their means."""

from pathlib import Path

import matplotlib
import numpy as np
from ablation_tables import PAPER, TITLES, Results, collected, complete_seeds

matplotlib.use("Agg")
from matplotlib import pyplot


def plot(results: Results, file: Path) -> None:
    """One panel per set that was scored, and the paper's figures beside them."""
    stages = list(PAPER)
    seeds = complete_seeds(results, [*TITLES])
    results = [result for result in results if result["seed"] in seeds]
    sets = list(results[0]["scores"])
    figure, panels = pyplot.subplots(1, len(sets) + 1, figsize=(3.2 * (len(sets) + 1), 3.6))
    for panel, where in zip(panels, sets, strict=False):
        scores = [np.nanmean(collected(results, s, where, "abs_rel"), axis=1) for s in stages]
        panel.plot([s.mean() for s in scores], "-", color="lightsteelblue")
        for place, means in enumerate(scores):
            panel.plot([place] * len(means), means, "k.", markersize=4)
            panel.plot([place - 0.15, place + 0.15], [means.mean()] * 2, "-", color="steelblue")
        panel.set_title(f"{where} ({len(seeds)} seeds)")
    panels[-1].plot(list(PAPER.values()), "o-", color="grey")
    panels[-1].set_title("paper, ViT-L, six sets")
    for panel in panels:
        names = [TITLES[stage].split(", ")[0].split(" (")[0] for stage in stages]
        panel.set_xticks(range(len(stages)), names, rotation=35, ha="right", fontsize=8)
    panels[0].set_ylabel("AbsRel, lower is better")
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
