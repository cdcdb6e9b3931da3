"""Drivers' own test suites through the gateway, compared with the same suites without it. See suites/.

make test-drivers
make test-drivers ARGS="asyncpg --mode transaction"
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from harness import Workspace, exit_on_signals
from suites import differences, outcomes, source
from suites.differences import Difference
from suites.lanes import Lanes
from suites.outcomes import FAILED, PASSED
from suites.suite import SUITES, Suite

MODES = ("session", "transaction")
MOST_SECONDS = 20 * 60.0


class Run:
    """Of some suites in some modes, all within `MOST_SECONDS`."""

    def __init__(self, workspace: Workspace, modes: list[str]) -> None:
        self.workspace, self.modes = workspace, modes
        self.end = time.monotonic() + MOST_SECONDS
        self.source = source.fetch()
        self.lanes = Lanes(workspace)
        self.found: set[Difference] = set()
        self.messages: dict[Difference, str] = {}

    def suite(self, suite: Suite) -> None:
        with self.lanes.direct(suite) as place:
            direct, _ = self.outcomes(suite, "PostgreSQL", place)
        if not any(outcome == PASSED for outcome in direct.values()):
            raise outcomes.UnfinishedError(f"no test of {suite.name} passes without the gateway")
        for mode in self.modes:
            with self.lanes.behind(suite, mode) as place:
                behind, messages = self.outcomes(suite, mode, place)
            for difference in differences.compare(suite.name, mode, direct, behind):
                self.found.add(difference)
                self.messages[difference] = messages.get(difference.test, "skipped, or not there")

    def outcomes(
        self, suite: Suite, lane: str, place: outcomes.Place
    ) -> tuple[dict[str, str], dict[str, str]]:
        started = time.monotonic()
        folder = self.workspace.subfolder(f"{suite.name}-{lane}")
        found = outcomes.run(self.workspace, suite, place, self.source, folder, self.end - started)
        counts = ", ".join(f"{list(found[0].values()).count(word)} {word}" for word in (PASSED, FAILED))
        print(f"{suite.name:<12} {lane:<12} {counts}, {time.monotonic() - started:.0f} s", flush=True)
        return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("suites", nargs="*", metavar="suite", help=", ".join(one.name for one in SUITES))
    options.add_argument("--mode", action="append", choices=MODES, help="pooling mode; both without it")
    options.add_argument("--verbose", action="store_true", help="name the known differences too")
    chosen = options.parse_args()
    unknown = set(chosen.suites) - {one.name for one in SUITES}
    if unknown:
        options.error(f"no such suite: {', '.join(sorted(unknown))}")
    suites = [one for one in SUITES if one.name in chosen.suites or not chosen.suites]
    modes = chosen.mode or list(MODES)
    exit_on_signals()
    known = differences.read()
    try:
        with Workspace() as workspace:
            run = Run(workspace, modes)
            for suite in suites:
                run.suite(suite)
    except (outcomes.UnfinishedError, subprocess.SubprocessError) as error:
        print(f"the suites did not come to their end: {error}", file=sys.stderr)
        return 1
    new, gone = differences.judge(known, run.found, [(one.name, mode) for one in suites for mode in modes])
    for difference in new:
        print(f"new: {difference}\n     {run.messages[difference]}")
    for difference in gone:
        print(f"gone, take it out of {differences.FILE.name}: {difference}")
    for difference in sorted(run.found - set(new)) if chosen.verbose else ():
        print(f"known: {difference}\n     {known.reasons[difference]}")
    print(f"{len(run.found)} differences, {len(new)} of them new; {len(gone)} are gone")
    return 1 if new or gone else 0


if __name__ == "__main__":
    raise SystemExit(main())
