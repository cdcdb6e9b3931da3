"""Settings stay with the client that made them, also where the role is confirmed after each statement."""

from __future__ import annotations

import pytest

from conftest import MakeGateway
from harness import primary_alone
from harness import wire as w
from harness.target import Target


@pytest.fixture(scope="module", params=["strict", "standard"])
def guarded(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster) -> Target:
    return make_module_gateway(
        general={"default_pool_size": 1},
        jwt={"guard": request.param},
        databases=[primary_alone(cluster)],
    )


@pytest.mark.parametrize("text", ["SET work_mem = '6MB'", "SELECT set_config('work_mem', '6MB', false)"])
def test_a_setting_is_its_client_s_alone(guarded: Target, text: str) -> None:
    with guarded.wire("alice") as wire, guarded.wire("alice") as other:
        for _ in range(3):
            wire.query(text)
            assert other.value("SHOW work_mem") == "4MB"
            assert wire.value("SHOW work_mem") == "6MB"
            wire.query("RESET work_mem")
            assert wire.value("SHOW work_mem") == "4MB"


@pytest.mark.parametrize("reset", ["RESET ALL", "DISCARD ALL"])
def test_what_is_reset_is_reset_for_its_client_alone(guarded: Target, reset: str) -> None:
    with guarded.wire("alice") as wire, guarded.wire("alice") as other:
        for each in (wire, other):
            each.query("SET work_mem = '6MB'")
        wire.query(reset)

        assert other.value("SHOW work_mem") == "6MB"
        assert wire.value("SHOW work_mem") == "4MB"


def test_a_discard_that_fails_or_is_skipped_takes_nothing(guarded: Target) -> None:
    with guarded.wire("alice") as wire, guarded.wire("alice") as other:
        wire.query("SET work_mem = '6MB'")
        batch = (w.parse("DISCARD ALL"), w.bind(), w.execute(), w.SYNC)
        wire.send(w.execute("no portal"), *batch)
        assert w.types_of(wire.until_ready()) == "EZ"
        assert other.value("SHOW work_mem") == "4MB"
        assert wire.value("SHOW work_mem") == "6MB"

        wire.query("BEGIN")
        wire.query("SET work_mem = '7MB'")
        assert w.error_of(wire_ask(wire, "DISCARD ALL"))["C"] == "25001"
        wire.query("ROLLBACK")
        assert other.value("SHOW work_mem") == "4MB"
        assert wire.value("SHOW work_mem") == "6MB"


@pytest.mark.parametrize("goodbye", [b"", w.TERMINATE], ids=["closed", "terminated"])
def test_a_client_that_leaves_while_its_statement_runs_leaves_no_setting(
    guarded: Target, goodbye: bytes
) -> None:
    for _ in range(5):
        with guarded.wire("alice") as wire:
            wire.query("SELECT 1")
            wire.send(
                w.query("SELECT pg_sleep(0.1); SET work_mem = '6MB'; SET app.tenant = 'theirs'") + goodbye
            )
        with guarded.wire("alice") as other:
            assert other.value("SHOW work_mem") == "4MB"
            assert other.value("SELECT current_setting('app.tenant', true)") in ("", None)


def wire_ask(wire, text: str):
    wire.send(w.query(text))
    return wire.until_ready()


NAMES = {"short": "mine", "long": "n" * 70, "own": "pgdog-jwt"}


@pytest.mark.parametrize("reset", ["RESET application_name", "RESET ALL", "SET application_name TO DEFAULT"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_client_is_told_the_name_that_a_reset_leads_back_to(guarded: Target, name: str, reset: str) -> None:
    """Simple, in a transaction, and in the extended protocol."""
    shown = name[:63]
    with guarded.wire("alice", application_name=name) as wire:
        for batch in (w.query(reset), w.query("BEGIN") + w.query(reset), w.step(reset) + w.SYNC):
            wire.query("SET application_name = 'other'")
            wire.send(batch)
            told = [each for _ in range(batch.count(b"BEGIN") + 1) for each in wire.until_ready()]
            told = [each.body for each in told if each.type == "S" and each.body.startswith(b"application")]

            assert told[-1] == b"application_name\0" + shown.encode() + b"\0"
            assert b"pgdog-jwt\0" not in b"".join(told) or name == "pgdog-jwt"
            assert wire.value("SHOW application_name") == shown
            wire.query("COMMIT")
