"""The known differences, each with a reason, and the comparison of a run with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from .outcomes import FAILED, PASSED, SKIPPED, Outcomes

FILE = Path(__file__).with_name("differences.yaml")


@dataclass(frozen=True, order=True)
class Difference:
    """A test of a suite that fails in one pooling mode, though it passes without the gateway."""

    suite: str
    mode: str
    test: str

    def __str__(self) -> str:
        return f"{self.suite}, {self.mode}: {self.test}"


@dataclass(frozen=True)
class Known:
    """`sometimes`: those that need not be seen in each run, because they depend on time."""

    reasons: dict[Difference, str]
    sometimes: frozenset[Difference]


def read(path: Path = FILE) -> Known:
    """For each suite entries with `tests`, `reason`, `modes` (both, if none is named), and `sometimes`."""
    reasons: dict[Difference, str] = {}
    sometimes = set()
    for suite, entries in (yaml.safe_load(path.read_text()) or {}).items():
        for entry in entries:
            unknown = entry.keys() - {"tests", "reason", "modes", "sometimes"}
            if unknown or not entry["reason"].strip():
                raise ValueError(f"{path.name}: {suite}: {unknown or 'a difference without a reason'}")
            for test in entry["tests"]:
                for mode in entry.get("modes", ("session", "transaction")):
                    difference = Difference(suite, mode, test)
                    if difference in reasons:
                        raise ValueError(f"{path.name}: {difference} is there twice")
                    reasons[difference] = entry["reason"]
                    if entry.get("sometimes"):
                        sometimes.add(difference)
    return Known(reasons, frozenset(sometimes))


def compare(suite: str, mode: str, direct: Outcomes, behind: Outcomes) -> set[Difference]:
    """Tests that pass without the gateway and not behind it: also those that are skipped or missing there."""
    good = (test for test, outcome in direct.items() if outcome == PASSED)
    return {Difference(suite, mode, test) for test in good if behind.get(test, SKIPPED) in (FAILED, SKIPPED)}


def judge(
    known: Known, found: set[Difference], runs: Iterable[tuple[str, str]]
) -> tuple[list[Difference], list[Difference]]:
    """Those that are not in the file, and those of the file that have not occurred; of these runs alone."""
    runs = set(runs)
    there = {one for one in known.reasons if (one.suite, one.mode) in runs}
    return sorted(found - there), sorted(there - found - known.sometimes)
