"""Tenants in the user name, for tests of every way in which a subject comes to its server connection."""

from __future__ import annotations

from typing import Any

from . import wire as w
from .escapes import escapes
from .target import Target
from .wire import Wire

VARIABLE = "app.current_tenant_id"
TENANTS = {"claim": "tenant_id"}
WHO = f"SELECT session_user, current_user, current_setting('{VARIABLE}')"
PID = "SELECT pg_backend_pid()"
# The owner of the database wrote it: what it does cannot be seen in the text of a call.
FORGE = f"""
    CREATE FUNCTION scratch.forge() RETURNS text LANGUAGE sql AS
        $$SELECT set_config('{VARIABLE}', 'forged', false) || set_config('app.left', 'behind', false)$$
"""


def token(target: Target, user: str, *tenants: str) -> str:
    return target.issuer.token(user, tenant_id=list(tenants))


def has_its_tenant(target: Target, user: str) -> None:
    """The tenant that was typed is that of the session, and one that the token holds."""
    both = token(target, user, "a", "b")
    for tenant in ("a", "b", "a"):
        with target.wire(f"{user}.{tenant}", both) as wire:
            assert wire.rows(WHO) == [(user, user, tenant)]
    for typed, reason in ((f"{user}.c", "tenant_denied"), (user, "tenant_missing")):
        assert target.refusal(typed, both)["C"] == "28000"
        assert target.gateway.last_login(decision="refused", user=typed)["reason"] == reason
    for parameters in ({VARIABLE: "b"}, {"options": f"-c {VARIABLE}=b"}):
        assert target.refusal(f"{user}.a", both, **parameters)["C"] == "28000"


def keeps_its_tenant(target: Target, user: str) -> None:
    """Whatever it tries, in a transaction and outside."""
    who = [(user, user, "a")]
    wire = target.wire(f"{user}.a", token(target, user, "a"))
    resets: list[tuple[str, ...]] = [("RESET ALL",), ("DISCARD ALL",), ("BEGIN", "RESET ALL", "COMMIT")]
    for escape in [*escapes(VARIABLE, "b", everywhere=False), *resets]:
        try:
            for text in escape:
                wire.query(text)
            wire.query("ROLLBACK")
            gone = escape[0].startswith("LOAD")
        except (EOFError, OSError):
            gone = True
        if gone:
            wire.close()
            wire = target.wire(f"{user}.a", token(target, user, "a"))
        assert wire.rows(WHO) == who, escape
    wire.query("BEGIN")
    wire.query("RESET ALL")
    assert wire.rows(WHO) == who
    wire.close()


def share_one_server(target: Target, user: str, cluster: Any) -> None:
    """Two tenants of one token take turns, and neither finds anything of the other."""
    both = token(target, user, "a", "b")
    with cluster.admin() as admin:
        admin.execute(FORGE)
    cluster.wait_for_replay()
    try:
        with target.wire(f"{user}.a", both) as one, target.wire(f"{user}.b", both) as other:
            assert one.value(PID) == other.value(PID)
            for _ in range(10):
                takes_a_turn(one, user, "a")
                takes_a_turn(other, user, "b")
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP FUNCTION scratch.forge")


def takes_a_turn(wire: Wire, user: str, tenant: str) -> None:
    assert wire.rows(f"{WHO}, COALESCE(current_setting('app.left', true), '')") == [(user, user, tenant, "")]
    wire.query(f"SET app.own = '{tenant}'")
    assert wire.rows(f"{WHO}, current_setting('app.own')") == [(user, user, tenant, tenant)]
    assert w.types_of(wire.query("SELECT scratch.forge()")) == "TDCZ"
