"""Logins whose roles cannot be made right: refused, in time, and nothing is left half done."""

from __future__ import annotations

import json

import pytest

from harness import eventually
from harness.external import is_external
from harness.provisioning import ADMIN, ADMIN_PASSWORD, Place

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")


def test_without_an_administrator_only_what_was_right_logs_in(place: Place) -> None:
    target = place.make(provisioning={"recheck": 0})
    place.login("jana", "db-readers", target=target)
    place.sql(f"ALTER ROLE {ADMIN} NOLOGIN")
    try:
        place.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'provisioner'")

        assert place.login("jana", "db-readers", target=target) == "jana"
        assert place.refusal("jana", target, groups=[]) == "provisioning_unavailable"
        assert place.refusal("kurt", target) == "provisioning_unavailable"
        assert place.groups("jana") == ["readers", "subjects"]
        # A gateway that has seen nothing yet looks with the rights that everybody has.
        fresh = place.make()
        for groups in ([], ["db-readers", "team-red"], ["team-red"]):
            assert place.refusal("jana", fresh, groups=groups) == "provisioning_unavailable"
        assert place.login("jana", "db-readers", target=fresh) == "jana"
        assert place.login("alice", target=fresh) == "alice"
        assert place.refusal("kurt", fresh) == "provisioning_unavailable"
    finally:
        place.sql(f"ALTER ROLE {ADMIN} LOGIN")
    eventually(lambda: place.login("jana", target=target) == "jana", "the administrator's return")
    assert place.groups("jana") == ["subjects"]


def test_an_administrator_that_is_kept_waiting_keeps_no_login_for_ever(place: Place) -> None:
    target = place.make(provisioning={"timeout": 300})
    with place.cluster.admin() as admin, admin.transaction():
        admin.execute("LOCK TABLE pg_auth_members IN ACCESS EXCLUSIVE MODE")
        assert place.refusal("lena", target, groups=["db-readers"]) == "provisioning_unavailable"

    assert not place.exists("lena")
    eventually(lambda: place.login("lena", target=target) == "lena", "a login")


def test_what_the_administrator_may_not_do_ends_the_login_and_leaves_nothing(place: Place) -> None:
    place.sql("CREATE ROLE feeble LOGIN PASSWORD 'feeble'")
    target = place.make(provisioning={"admin_user": "feeble", "admin_password": "feeble"})

    assert place.refusal("mona", target) == "provisioning_refused"

    assert not place.exists("mona")


def test_a_role_of_the_configuration_that_is_missing_ends_the_login(place: Place) -> None:
    target = place.make(provisioning={"roles": ["no such role"]})

    assert place.refusal("nils", target) == "provisioning_refused"

    assert not place.exists("nils")


def test_no_secret_is_in_the_log(place: Place) -> None:
    target = place.make(general={"log_level": "trace"})
    token = target.issuer.token("olga", groups=["db-readers"])
    target.wire("olga", token).close()

    text = target.gateway.log_text()
    assert "role_made" in text
    assert ADMIN_PASSWORD not in text
    assert json.dumps(ADMIN_PASSWORD)[1:-1] not in text
    assert token not in text
    assert token.rsplit(".", 1)[1] not in text


def test_the_administrators_password_comes_from_a_file_that_may_change(place: Place) -> None:
    file = place.cluster.primary.workspace.folder / "admin-password"
    file.write_text("wrong\n")
    target = place.make(provisioning={"admin_password": None, "admin_password_file": str(file)})
    assert place.refusal("paul", target) == "provisioning_unavailable"

    file.write_text(f"{ADMIN_PASSWORD}\n")

    eventually(lambda: place.login("paul", target=target) == "paul", "a login with the new password")


def test_no_client_keeps_another_from_logging_in_with_locks(place: Place) -> None:
    issuer = place.target.issuer
    place.login("nele")
    with place.target.wire("eve", issuer.token("eve", groups=["db-readers"])) as eve:
        eve.rows("BEGIN")
        for function in ("hashtext", "hashtextextended"):
            more = ", 0" if function == "hashtextextended" else ""
            eve.rows(f"SELECT pg_advisory_lock({function}('nele'{more}))")
        for table in ("pg_authid", "pg_auth_members", "pg_shdescription", "pg_roles"):
            eve.query("SAVEPOINT s")
            eve.query(f"LOCK TABLE pg_catalog.{table} IN ACCESS EXCLUSIVE MODE")
            eve.query("ROLLBACK TO s")
        eve.query("COMMENT ON ROLE nele IS 'mine'")

        assert place.login("nele", "db-readers") == "nele"
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        assert place.sql(locks) == [(2,)]
    assert place.groups("nele") == ["readers", "subjects"]
