"""The unit files: systemd accepts them, and they lock the service in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import find_gateway
from harness.external import is_external

UNITS = Path(__file__).resolve().parents[1] / "deploy" / "systemd"

pytestmark = [
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"),
    pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere"),
]


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The files, with the program where it is on this machine."""
    copies = []
    for unit in sorted(UNITS.iterdir()):
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/usr/local/bin/pgdog-jwt", str(find_gateway())))
        copies.append(copy)
    return copies


def test_systemd_finds_nothing_to_complain_about(units: list[Path]) -> None:
    assert {unit.name for unit in units} == {"pgdog-jwt.service", "pgdog-jwt.socket"}

    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)

    complaints = [line for line in done.stderr.splitlines() if "pgdog" in line]
    assert (done.returncode, complaints) == (0, [])


def test_little_is_left_to_a_process_that_was_taken_over(units: list[Path]) -> None:
    (service,) = (unit for unit in units if unit.suffix == ".service")

    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", service],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout[-300:] + done.stderr
