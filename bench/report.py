"""Results for people (an aligned table) and for programs (JSON)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contestants import DIRECT, PGBOUNCER
from measure import Outcome, Result

FOLDER = Path(__file__).resolve().parent
RESULTS_FILE = FOLDER / "RESULTS.md"
RESULTS_FOLDER = FOLDER / "results"
ABSENT = "–"
MIB = 1024 * 1024

COLUMNS = ["", "per second", "of direct", "of PgBouncer", "mean ms", "CPU-s/100k", "of PgBouncer", "peak MiB"]
# Scenarios are printed one by one, and still stand under one heading.
WIDTHS = [36, *(len(name) for name in COLUMNS[1:])]

LEGEND = """\
Medians. Ratios are medians of the ratios within a round, in which the contestants take turns.
CPU-s/100k: user and system time of the pooler, in seconds for 100 000 transactions.
peak MiB: the most memory that was resident during a run."""


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
        return "\n".join([columns(), *map(rows, self.outcomes)])

    def save(self) -> tuple[Path, Path]:
        """Writes the JSON and adds a section to RESULTS.md, the newest first."""
        date = re.sub(r"[^0-9]+", "-", self.facts["date"]).strip("-")
        RESULTS_FOLDER.mkdir(exist_ok=True)
        json_file = RESULTS_FOLDER / f"{date}.json"
        json_file.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        section = f"## {self.facts['date']}\n\n```text\n{self.heading()}\n\n{self.table()}\n```\n"
        text = RESULTS_FILE.read_text() if RESULTS_FILE.exists() else f"# Results\n\n{LEGEND}\n"
        before, mark, after = text.partition("\n## ")
        RESULTS_FILE.write_text(f"{before.rstrip()}\n\n{section}{mark}{after}")
        return json_file, RESULTS_FILE

    def as_json(self) -> dict[str, Any]:
        return {
            **self.facts,
            "conditions": dict(self.conditions),
            "scenarios": [
                {**asdict(each.scenario), "results": [asdict(result) for result in each.results]}
                for each in self.outcomes
            ],
        }


def columns() -> str:
    """The heading of the table."""
    return _aligned([COLUMNS])


def rows(outcome: Outcome) -> str:
    """One scenario in the table, after an empty line."""
    return _aligned(["", outcome.scenario.name, *(_row(outcome, result) for result in outcome.results)])


def _row(outcome: Outcome, result: Result) -> list[str] | str:
    name = f"  {result.contestant}" + (f" ({result.note})" if result.note else "")
    if not result.is_good:
        return f"{name}  FAILED: {result.failure or 'no runs'}"
    direct, pgbouncer = outcome.of(DIRECT), outcome.of(PGBOUNCER)
    peak = result.median("peak_bytes")
    return [
        name,
        _number(result.median("tps"), 0),
        _number(result.ratio("tps", direct), 2),
        _number(result.ratio("tps", pgbouncer), 2),
        _number(result.median("latency_ms"), 3),
        _number(result.median("cpu_per_100k"), 2),
        _number(result.ratio("cpu_per_100k", pgbouncer), 2),
        _number(peak and peak / MIB, 1),
    ]


def _number(value: float | None, digits: int) -> str:
    return ABSENT if value is None else f"{value:.{digits}f}"


def _aligned(lines_or_cells: Sequence[list[str] | str]) -> str:
    """Lists become columns: the first to the left, the others to the right. Texts stay as they are."""
    lines = []
    for each in lines_or_cells:
        if isinstance(each, str):
            lines.append(each)
        else:
            numbers = [f"{cell:>{width}}" for cell, width in zip(each[1:], WIDTHS[1:], strict=True)]
            lines.append("  ".join([f"{each[0]:<{WIDTHS[0]}}", *numbers]).rstrip())
    return "\n".join(lines)


class Progress:
    """One line that is written over, on a terminal; nothing elsewhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream if stream.isatty() else None

    def __call__(self, text: str = "") -> None:
        if self.stream:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{text[:width]:<{width}}\r")
            self.stream.flush()
