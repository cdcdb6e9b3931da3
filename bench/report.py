"""Results for people (an aligned table) and for programs (JSON)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plots
import targets
from figures import COLUMNS, Column
from measure import Outcome, Result

FOLDER = Path(__file__).resolve().parent
RESULTS_FILE = FOLDER / "RESULTS.md"
RESULTS_FOLDER = FOLDER / "results"
ABSENT = "–"
NAME_WIDTH = 36

LEGEND = """\
Medians of the rounds. Ratios compare two turns of the same round, in which the contestants
take turns: their median, and in brackets the least and the greatest.
CPU-s/100k, CPU-s/GiB: user and system time of the pooler, in seconds for 100 000 queries, or for a GiB.
peak MiB: the most memory that was resident during a turn.
KiB/client: memory that came with the clients; idle CPU %: of one core, while all of them wait."""


@dataclass(frozen=True)
class Report:
    """Everything about one invocation."""

    facts: Mapping[str, str]
    conditions: Mapping[str, str]
    outcomes: Sequence[Outcome]

    def heading(self) -> str:
        """Facts and conditions, one to a line."""
        lines = {**self.facts, **self.conditions}
        width = max(map(len, lines))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())

    def table(self) -> str:
        kinds = [each.scenario.kind for each in self.outcomes]
        parts = []
        for before, outcome in zip([None, *kinds], self.outcomes, strict=False):
            parts += [] if outcome.scenario.kind == before else [columns(outcome.scenario.kind)]
            parts.append(rows(outcome))
        return "\n".join(parts)

    def save(self) -> list[Path]:
        """Writes the JSON and the plots, and adds a section to RESULTS.md, the newest first."""
        date = re.sub(r"[^0-9]+", "-", self.facts["date"]).strip("-")
        RESULTS_FOLDER.mkdir(exist_ok=True)
        json_file = RESULTS_FOLDER / f"{date}.json"
        json_file.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        parts = [self.heading(), self.table().lstrip("\n"), targets.table(self.outcomes)]
        body = "\n\n".join(part for part in parts if part)
        section = f"## {self.facts['date']}\n\n```text\n{body}\n```\n"
        text = RESULTS_FILE.read_text() if RESULTS_FILE.exists() else f"# Results\n\n{LEGEND}\n"
        before, mark, after = text.partition("\n## ")
        RESULTS_FILE.write_text(f"{before.rstrip()}\n\n{section}{mark}{after}")
        return [json_file, RESULTS_FILE, *plots.save(self.outcomes, RESULTS_FOLDER / date)]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.facts,
            "conditions": dict(self.conditions),
            "scenarios": [
                {**asdict(each.scenario), "results": [asdict(result) for result in each.results]}
                for each in self.outcomes
            ],
        }


def columns(kind: str) -> str:
    """The heading of the table for scenarios of this kind, after an empty line."""
    return "\n" + _aligned(COLUMNS[kind], "", [each.title for each in COLUMNS[kind]])


def rows(outcome: Outcome) -> str:
    """One scenario in the table, after an empty line."""
    return "\n".join(["", outcome.scenario.name, *(_row(outcome, result) for result in outcome.results)])


def _row(outcome: Outcome, result: Result) -> str:
    name = f"  {result.contestant}" + (f" ({result.note})" if result.note else "")
    if not result.is_good:
        return f"{name}  FAILED: {result.failure or 'no runs'}"
    kind = COLUMNS[outcome.scenario.kind]
    return _aligned(kind, name, [_cell(outcome, result, column) for column in kind])


def _cell(outcome: Outcome, result: Result, column: Column) -> str:
    if column.of is None:
        found = result.spread(column.figure)
        return ABSENT if found is None else f"{found.median:.{column.digits}f}"
    found = result.ratio(column.figure, outcome.of(column.of))
    return ABSENT if found is None else f"{found.median:.2f} ({found.least:.2f}–{found.greatest:.2f})"


def _aligned(kind: Sequence[Column], name: str, cells: Sequence[str]) -> str:
    """The name to the left, all else to the right. Scenarios are printed one by one, so widths are fixed."""
    right = [f"{cell:>{column.width}}" for cell, column in zip(cells, kind, strict=True)]
    return "  ".join([f"{name:<{NAME_WIDTH}}", *right]).rstrip()


class Progress:
    """One line that is written over, on a terminal; nothing elsewhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream if stream.isatty() else None

    def __call__(self, text: str = "") -> None:
        if self.stream:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{text[:width]:<{width}}\r")
            self.stream.flush()
