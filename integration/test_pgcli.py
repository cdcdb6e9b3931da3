"""pgcli, for a token's subject: its commands, and a session at a terminal with completion."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import primary_alone
from harness.target import Target

MakeGateway = Callable[..., Target]

PGCLI = Path(sys.executable).with_name("pgcli")
SECONDS = 60
# What a terminal is told beside the text.
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|\x1b[=>]|\r")


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(make_module_gateway: MakeGateway, cluster: Any, request: pytest.FixtureRequest) -> Target:
    return make_module_gateway(general={"pooler_mode": request.param}, databases=[primary_alone(cluster)])


@pytest.fixture
def place(target: Target, tmp_path: Path) -> dict[str, Any]:
    """Where pgcli runs, and as whom: arguments of `subprocess.Popen`."""
    address = {
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGUSER": "alice",
        "PGDATABASE": target.database,
    }
    own = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm", "PAGER": "cat"}
    return {"cwd": tmp_path, "env": os.environ | target.psql_environment("alice") | address | own}


def run(place: dict[str, Any], *arguments: str) -> str:
    """What pgcli prints, which says of nothing that it went wrong."""
    command = [PGCLI, "--less-chatty", "--no-password", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, **place
    )
    output = CONTROL.sub("", done.stdout + done.stderr)
    assert done.returncode == 0, output
    assert not re.search(r"error|denied|Traceback", output, re.IGNORECASE), output
    return output


def test_the_server_can_be_pinged(place: dict[str, Any]) -> None:
    assert "PONG" in run(place, "--ping")


def test_databases_are_listed(place: dict[str, Any]) -> None:
    assert re.search(r"\bdemo\b.*\bUTF8\b", run(place, "--list"))


def test_a_statement_runs_as_the_subject(place: dict[str, Any]) -> None:
    output = run(place, "-c", "SELECT current_user", "-c", "SELECT count(*) > 0 AS found FROM notes")

    assert re.search(r"\balice\b", output)
    assert re.search(r"\bTrue\b", output)


DESCRIBES = {
    "\\d": "notes",
    "\\d notes": "owner",
    "\\d+ notes": "Storage",
    "\\dt": "table",
    "\\dn": "public",
    "\\df served_by": "served_by",
    "\\du alice": "Attributes|rolname",
    "\\dT": "Description",
    "\\dv": "SELECT 0|view",
    "\\di": "index",
    "\\ds": "sequence",
    "\\dp notes": "Access",
    "\\dx": "plpgsql",
    "\\db": "pg_default",
    "\\l": "Collate",
    "\\sf served_by": "CREATE OR REPLACE FUNCTION",
    "\\conninfo": "You are connected",
}


def test_commands_describe(place: dict[str, Any]) -> None:
    output = run(place, *(part for command in DESCRIBES for part in ("-c", command)))

    for command, shown in DESCRIBES.items():
        assert re.search(shown, output), command


class Terminal:
    """pgcli at a terminal of its own."""

    def __init__(self, place: dict[str, Any]) -> None:
        self.screen, far = pty.openpty()
        command = [PGCLI, "--less-chatty", "--no-password", "--prompt", "ready> "]
        self.process = subprocess.Popen(command, stdin=far, stdout=far, stderr=far, **place)
        os.close(far)
        self.seen = ""

    def until(self, wanted: str) -> str:
        """What is on the screen up to the first match, which is taken off."""
        end = time.monotonic() + SECONDS
        while not (found := re.search(wanted, self.seen)):
            assert select.select([self.screen], [], [], max(0, end - time.monotonic()))[0], self.seen
            self.seen += CONTROL.sub("", os.read(self.screen, 65_536).decode(errors="replace"))
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())


@pytest.fixture
def terminal(place: dict[str, Any]) -> Iterator[Terminal]:
    terminal = Terminal(place)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.screen)


def test_a_session_at_a_terminal(terminal: Terminal) -> None:
    """Beside the session pgcli has one of its own that reads the catalogue, for completion."""
    terminal.until("ready>")
    terminal.type("BEGIN;\r")
    terminal.until("BEGIN\n")
    terminal.type("SELECT 'as ' || current_user;\r")
    terminal.until(r"as alice\b")
    terminal.type("ROLLBACK;\r")
    terminal.until("ROLLBACK\n")
    terminal.type("SELECT nonsense;\r")
    terminal.until('column "nonsense" does not exist')
    terminal.type("SET ROLE bob;\r")
    terminal.until("42501|permission denied|not allowed|cannot")
    terminal.type("\\refresh\r")
    terminal.until("Auto-completion refresh")
    terminal.type("\\q\r")
    assert terminal.process.wait(SECONDS) == 0
