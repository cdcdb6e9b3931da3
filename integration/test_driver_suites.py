"""The comparison behind `make test-drivers`: a difference needs an entry, and an entry needs a difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites import differences, outcomes
from suites.differences import Difference, Known
from suites.outcomes import FAILED, PASSED, SKIPPED
from suites.source import PACKAGES, SOURCES
from suites.suite import SUITES

RUNS = [("driver", "session")]
SLOW = Difference("driver", "session", "tests.slow")
OTHER = Difference("driver", "transaction", "tests.slow")


def known(*there: Difference, sometimes: tuple[Difference, ...] = ()) -> Known:
    return Known(dict.fromkeys(there, "a reason"), frozenset(sometimes))


@pytest.mark.parametrize(
    ("direct", "behind", "differs"),
    [
        (PASSED, PASSED, False),
        (PASSED, FAILED, True),
        (PASSED, SKIPPED, True),
        (PASSED, None, True),
        (FAILED, FAILED, False),
        (FAILED, PASSED, False),
        (SKIPPED, FAILED, False),
    ],
)
def test_a_test_differs_that_passes_without_the_gateway_alone(
    direct: str, behind: str | None, differs: bool
) -> None:
    found = differences.compare(
        "driver", "session", {"tests.slow": direct}, {"tests.slow": behind} if behind else {}
    )

    assert found == ({SLOW} if differs else set())


def test_a_difference_without_an_entry_fails() -> None:
    assert differences.judge(known(), {SLOW}, RUNS) == ([SLOW], [])


def test_an_entry_without_a_difference_fails() -> None:
    assert differences.judge(known(SLOW), set(), RUNS) == ([], [SLOW])


def test_a_known_difference_does_not_fail() -> None:
    assert differences.judge(known(SLOW), {SLOW}, RUNS) == ([], [])


def test_one_that_depends_on_time_may_be_there_or_not() -> None:
    for found in ({SLOW}, set()):
        assert differences.judge(known(SLOW, sometimes=(SLOW,)), found, RUNS) == ([], [])


def test_a_run_says_nothing_of_other_modes() -> None:
    assert differences.judge(known(OTHER), set(), RUNS) == ([], [])


def test_an_entry_must_have_a_reason_and_be_there_once(tmp_path: Path) -> None:
    file = tmp_path / "differences.yaml"
    for text in (
        "driver: [{tests: [a], reason: ' '}]",
        "driver: [{tests: [a], reason: why, mode: [session]}]",
        "driver: [{tests: [a, a], reason: why}]",
        "driver: [{tests: [a], reason: why}, {tests: [a], reason: why, modes: [session]}]",
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"differences\.yaml"):
            differences.read(file)


def test_the_file_names_suites_that_are_run() -> None:
    assert {one.suite for one in differences.read().reasons} <= {one.name for one in SUITES}


def test_every_package_has_a_version_and_a_checksum() -> None:
    for path in (SOURCES, PACKAGES):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines
        assert all("==" in line and "--hash=sha256:" in line for line in lines)


def test_a_report_is_read(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text("""<testsuites><testsuite>
        <testcase classname="t.A" name="good"/>
        <testcase classname="t.A" name="bad"><failure message="it   is&#10;so">trace</failure></testcase>
        <testcase classname="t.A" name="bad"/>
        <testcase classname="t.A" name="torn"><error message="gone"/></testcase>
        <testcase classname="t.A_postgresql+psycopg_15_18" name="left"><skipped message="why"/></testcase>
    </testsuite></testsuites>""")

    found, messages = outcomes.read(report)

    assert found == {"t.A.good": PASSED, "t.A.bad": FAILED, "t.A.torn": FAILED, "t.A.left": SKIPPED}
    assert messages == {"t.A.bad": "it is so", "t.A.torn": "gone"}
