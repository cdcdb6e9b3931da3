"""What one client prepares means nothing for another, though both prepare the same text."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import MakeGateway
from harness import DATABASE, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Message, Wire

SERVICE = {"name": "service", "database": DATABASE, "password": "service-secret"}
PASSWORDS = {"service": "service-secret", "bob": None}


def ask(wire: Wire, *messages: bytes) -> list[Message]:
    wire.send(*messages, w.SYNC)
    return wire.until_ready()


def login(target: Target, user: str) -> Wire:
    return target.wire(user, PASSWORDS[user])


@pytest.fixture(scope="module", params=[False, True], ids=["pools", "shared_pool"])
def target(request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Any) -> Target:
    with cluster.admin() as admin:
        admin.execute("GRANT SELECT ON notes TO service")
    return make_module_gateway(
        general={"default_pool_size": 3},
        jwt={"shared_pool": request.param},
        databases=[primary_alone(cluster)],
        users=[SERVICE],
    )


@pytest.mark.parametrize("victim", PASSWORDS)
def test_a_table_of_ones_own_does_not_change_what_others_have_prepared(target: Target, victim: str) -> None:
    """Neither has asked for the columns; then somebody does, for whom the name is another table's."""
    text = "SELECT body FROM notes"
    with login(target, victim) as wire, login(target, victim) as holder, target.wire("alice") as other:
        assert w.types_of(ask(wire, w.parse(text, "s"))) == "1Z"
        other.query("CREATE TEMP TABLE notes (body int)")
        assert w.types_of(ask(other, w.parse(text, "s"), w.describe("S", "s"))) == "1tTZ"
        holder.query("BEGIN")
        holder.query("SELECT 1")

        # On a server that holds it not yet.
        replies = ask(wire, w.bind(statement="s"), w.execute())

        holder.query("COMMIT")
        assert w.types_of(replies).replace("D", "") == "2CZ"


@pytest.mark.parametrize("shared", [False, True], ids=["pools", "shared_pool"])
def test_people_who_are_one_user_leave_each_other_nothing(
    make_gateway: MakeGateway, cluster: Any, shared: bool
) -> None:
    """Neither a statement that fails, nor what a function has set, whatever server_cleaning says."""
    mapping = {"claim": "email", "pattern": r"[^@]+@example\.com", "user": "alice"}
    target = make_gateway(
        general={"default_pool_size": 2, "server_cleaning": "never"},
        jwt={"shared_pool": shared, "user_mappings": [mapping]},
        databases=[primary_alone(cluster)],
    )
    with cluster.admin() as admin:
        admin.execute(
            "CREATE OR REPLACE FUNCTION scratch.leave() RETURNS text LANGUAGE sql AS "
            "$$ SELECT set_config('app.left', 'here', false) $$; "
            "GRANT EXECUTE ON FUNCTION scratch.leave() TO alice"
        )

    def token(name: str) -> str:
        return target.issuer.token(name, email=f"{name}@example.com")

    text = "SELECT body FROM notes"
    with target.wire("alice", token("one")) as wire, target.wire("alice", token("two")) as other:
        ask(wire, w.parse(text, "s"))
        other.query("CREATE TEMP TABLE notes (body int)")
        assert w.types_of(ask(other, w.parse(text, "s"), w.describe("S", "s"))) == "1tTZ"
        assert other.value("SELECT scratch.leave()") == "here"
        other.query("DISCARD ALL")
        other.query("SELECT scratch.leave()")

        for _ in range(2):
            assert w.types_of(ask(wire, w.bind(statement="s"), w.execute())).replace("D", "") == "2CZ"
            assert wire.value("SELECT current_setting('app.left', true)") in (None, "")


def test_what_the_gateway_makes_of_a_text_holds_for_its_owner_alone(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """SET ROLE to its own role changes nothing for a token's subject; to others it is a setting."""
    only = primary_alone(cluster)
    target = make_gateway(general={"default_pool_size": 1}, databases=[only], users=[SERVICE])
    with cluster.admin() as admin:
        admin.execute("GRANT alice TO service")
    try:
        with (
            target.wire("alice") as other,
            login(target, "service") as wire,
            login(target, "service") as next_,
        ):
            ask(other, w.parse("SET ROLE alice", "s"), w.bind(statement="s"), w.execute())
            replies = ask(wire, w.parse("SET ROLE 'alice'", "s"), w.bind(statement="s"), w.execute())

            assert w.types_of(replies) == "12CZ"
            assert next_.value("SELECT current_user") == "service"
            assert wire.value("SELECT current_user") == "alice"
    finally:
        with cluster.admin() as admin:
            admin.execute("REVOKE alice FROM service")


def test_nobody_learns_what_another_has_prepared(target: Target) -> None:
    """Names on servers would tell: a text that is known already would have an older one."""
    with login(target, "bob") as wire, target.wire("alice") as other:
        ask(wire, w.parse("SELECT 'guess 1'", "s"), w.parse("SELECT 'something else'", "t"))
        ask(other, *(w.parse(f"SELECT 'guess {number}'", f"s{number}") for number in range(3)))

        rows = other.rows("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''guess%'")
        names = sorted(int((name or "").rpartition("_")[2]) for (name,) in rows)
        assert names[-1] - names[-3] == 2


@pytest.mark.parametrize(
    ("mode", "prepared"), [("session", "extended"), ("transaction", "disabled"), ("transaction", "extended")]
)
@pytest.mark.parametrize("text", ["CREATE EXTENSION IF NOT EXISTS plpgsql", "RESET ROLE", "RESET ALL"])
def test_a_statement_completes_with_its_own_tag(
    make_gateway: MakeGateway, cluster: Any, mode: str, prepared: str, text: str
) -> None:
    """Behind a batch that has failed the names stand for what they stood for, unless they were used since."""
    general = {"pooler_mode": mode, "prepared_statements": prepared, "default_pool_size": 1}
    target = make_gateway(general=general, databases=[primary_alone(cluster)])

    def run(text: str, portal: str) -> bytes:
        return w.parse(text) + w.bind(portal=portal) + w.execute(portal)

    with target.wire("alice") as wire:
        for portal in ("", "q"):
            wire.send(run(text, ""), w.execute("missing"), run("SELECT 2", portal), w.SYNC)
            wire.send(run("SELECT 1", portal), w.SYNC)

            assert w.types_of(wire.until_ready())[-2:] == "EZ"
            replies = wire.until_ready()
            assert w.types_of(replies) == "12DCZ"
            assert replies[-2].tag == "SELECT 1"
