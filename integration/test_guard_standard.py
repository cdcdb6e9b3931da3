"""The guard in its standard form: functions may be made, and what they did to the identity is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.target import Target
from harness.wire import Wire

BECOME = """
CREATE OR REPLACE FUNCTION scratch.become(name text) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('role', name, false); RETURN current_user; END $$
"""


@pytest.fixture(params=["transaction", "session"])
def target(request: pytest.FixtureRequest, make_gateway: Callable[..., Target]) -> Target:
    return make_gateway(
        general={"pooler_mode": request.param, "default_pool_size": 1}, jwt={"guard": "standard"}
    )


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        wire.query(BECOME)
        yield wire


def test_a_role_that_a_function_took_is_gone_at_the_next_statement(wire: Wire) -> None:
    wire.query("SELECT scratch.become('bob')")

    assert wire.value("SELECT current_user") == "alice"


def test_a_role_that_a_block_took_is_gone_at_the_next_statement(wire: Wire) -> None:
    wire.query("DO $$ BEGIN PERFORM set_config('role', 'bob', false); END $$")

    assert wire.value("SELECT current_user") == "alice"


def test_a_role_that_a_transaction_took_is_gone_after_it(wire: Wire) -> None:
    for statement in ("BEGIN", "SELECT scratch.become('bob')", "COMMIT"):
        wire.query(statement)

    assert wire.value("SELECT current_user") == "alice"


def test_the_next_client_of_the_server_is_its_own_subject(target: Target, wire: Wire) -> None:
    wire.query("SELECT scratch.become('bob')")
    wire.close()

    with target.wire("alice") as next_client:
        assert next_client.value("SELECT current_user") == "alice"


def test_set_role_is_refused_as_in_the_strict_form(wire: Wire) -> None:
    answer = wire.query("SET ROLE bob")

    assert [message.fields["C"] for message in answer if message.type == "E"] == ["42501"]
