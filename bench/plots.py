"""A picture for each scenario: a bar for each contestant, the median, and a line from least to greatest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from figures import COLUMNS, Column
from measure import Outcome

BAR_INCHES = 0.45
PANEL_INCHES = 3.2
NAME_INCHES = 2.2
PANELS_IN_ROW = 4


def save(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """PNG files in the folder, named after the scenarios. Without matplotlib: none, and a line about it."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed; scripts/setup plots installs it")
        return []
    matplotlib.use("Agg")
    folder.mkdir(exist_ok=True)
    return [path for outcome in outcomes if (path := draw(outcome, folder))]


def draw(outcome: Outcome, folder: Path) -> Path | None:
    """All figures of a scenario beside each other; ratios are left to the table."""
    from matplotlib import pyplot

    results = [result for result in outcome.results if result.is_good]
    columns = [
        column
        for column in COLUMNS[outcome.scenario.kind]
        if column.of is None and any(result.spread(column.figure) for result in results)
    ]
    if not columns:
        return None
    across = min(len(columns), PANELS_IN_ROW)
    down = -(-len(columns) // across)
    size = (NAME_INCHES + PANEL_INCHES * across, (1.0 + BAR_INCHES * len(results)) * down)
    figure, panels = pyplot.subplots(down, across, sharey=True, squeeze=False, figsize=size)
    try:
        for panel, column in zip_longest(panels.flat, columns):
            if column is None:
                panel.set_visible(False)
            else:
                bars(panel, column, outcome)
        panels[0][0].set_yticks(range(len(results)), [result.contestant for result in results])
        panels[0][0].invert_yaxis()
        figure.suptitle(outcome.scenario.name)
        figure.tight_layout()
        path = folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', outcome.scenario.name).strip('-').lower()}.png"
        figure.savefig(path, dpi=80)
    finally:
        pyplot.close(figure)
    return path


def bars(panel: Any, column: Column, outcome: Outcome) -> None:
    """One figure of everyone who has it."""
    results = [result for result in outcome.results if result.is_good]
    spreads = {place: spread for place, each in enumerate(results) if (spread := each.spread(column.figure))}
    medians = [each.median for each in spreads.values()]
    below = [each.median - each.least for each in spreads.values()]
    above = [each.greatest - each.median for each in spreads.values()]
    drawn = panel.barh(list(spreads), medians, xerr=[below, above], capsize=3, color="#7d9cc0")
    panel.bar_label(drawn, labels=[f" {value:.{column.digits}f}" for value in medians], padding=3)
    panel.margins(x=0.25)
    panel.locator_params(axis="x", nbins=4)
    panel.set_title(column.title, fontsize="medium")
    panel.spines[["top", "right"]].set_visible(False)
