"""One run of a suite by pytest, as what became of each test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from harness import Workspace

from .suite import Place, Suite

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"
TEST_SECONDS = 60
MESSAGE_LENGTH = 200

# SQLAlchemy has them in the names of classes.
DRIVER_AND_VERSION = re.compile(r"_postgresql\+psycopg_\d+_\d+$")

Outcomes = dict[str, str]
Messages = dict[str, str]


class UnfinishedError(Exception):
    """A run that took too long, or told nothing."""


def run(
    workspace: Workspace, suite: Suite, place: Place, source: Path, folder: Path, seconds: float
) -> tuple[Outcomes, Messages]:
    """`folder` gets the copy of the tests, `report.xml` and `output`."""
    tests, report, output = suite.copy(source, folder), folder / "report.xml", folder / "output"
    command = [
        *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "--quiet", "--tb=native"),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", str(TEST_SECONDS)),
        *("--junitxml", report, *suite.command(place)),
    ]
    path = os.pathsep.join((str(tests / "lib"), str(source / "packages")))
    with output.open("wb") as log:
        child = workspace.spawn(command, output=log, cwd=tests, env=place.environment | {"PYTHONPATH": path})
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        raise UnfinishedError(f"not done within {seconds:.0f} s") from None
    finally:
        workspace.stop(child, signal.SIGKILL)
    if not report.is_file():
        raise UnfinishedError(output.read_text(errors="replace")[-2000:])
    return read(report)


def read(report: Path) -> tuple[Outcomes, Messages]:
    """What became of each test, and of those that failed the first words."""
    outcomes: Outcomes = {}
    messages: Messages = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{DRIVER_AND_VERSION.sub('', case.get('classname') or '')}.{case.get('name')}"
        wrong = [child for child in case if child.tag in ("failure", "error")]
        if wrong:
            outcomes[name] = FAILED
            messages[name] = " ".join((wrong[0].get("message") or "").split())[:MESSAGE_LENGTH]
        elif outcomes.get(name) != FAILED:
            outcomes[name] = PASSED if case.find("skipped") is None else SKIPPED
    return outcomes, messages
