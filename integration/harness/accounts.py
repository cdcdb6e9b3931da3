"""Accounts that role mappings lead to: what the tests of `mode = "service_account"` share."""

from __future__ import annotations

from typing import Any

from .activity import end_backends
from .cluster import Cluster
from .gateway import primary_alone
from .target import Target
from .wire import Wire

READER, WRITER, BOSS, BYPASS = "acct_reader", "acct_writer", "acct_boss", "acct_bypass"
READER_PASSWORD = "reader secret"
WRITER_PASSWORD = "p@ss/#%:w\"o'r d\\:é"
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
WHO = "SELECT session_user || ',' || current_user"
# What `leave_traces` leaves, and a setting that follows the session.
TRACES = (
    "SELECT session_user::text, current_setting('application_name'), current_setting('app.left', true),"
    " (SELECT body FROM newsletter)"
)
PID = "SELECT pg_backend_pid()"

READERS = {"value": "reader", "server_user": READER, "server_password": READER_PASSWORD}
WRITERS = {"value": "writer", "server_user": WRITER, "server_password": WRITER_PASSWORD}

# The owner of the database wrote the function: what it does cannot be seen in the text of a call.
SCHEMA = """
    CREATE TABLE payroll (who text, amount int);
    INSERT INTO payroll VALUES ('ceo', 1000000);
    CREATE TABLE newsletter (body text);
    INSERT INTO newsletter VALUES ('hello');
    CREATE FUNCTION leave_traces(mark text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('app.left', mark, false), set_config('search_path', 'pg_temp, public', false);
        PERFORM set_config('role', 'acct_helper', false), pg_advisory_lock_shared(77);
        EXECUTE 'CREATE TEMPORARY TABLE IF NOT EXISTS newsletter AS SELECT '
            || quote_literal(mark) || ' AS body';
        EXECUTE 'LISTEN traces';
    END $$;
"""


def create_accounts(cluster: Cluster) -> None:
    """The accounts, and what tells them apart."""
    logins = {
        READER: READER_PASSWORD,
        WRITER: WRITER_PASSWORD,
        f"{BOSS} SUPERUSER": "boss",
        f"{BYPASS} BYPASSRLS": "b",
    }
    names = ", ".join([READER, WRITER, BOSS, BYPASS])
    with cluster.admin() as admin:
        for name, password in logins.items():
            quoted = password.replace("'", "''")
            admin.execute(
                f"SET standard_conforming_strings = on; CREATE ROLE {name} LOGIN PASSWORD '{quoted}'"
            )
        admin.execute("CREATE ROLE acct_helper NOLOGIN")
        admin.execute(f"GRANT acct_helper TO {READER}, {WRITER}")
        admin.execute(SCHEMA)
        admin.execute(f"GRANT SELECT ON newsletter TO {names}, acct_helper")
        admin.execute(f"GRANT SELECT, INSERT, DELETE ON payroll TO {WRITER}")
    if cluster.replica:
        cluster.wait_for_replay()


def drop_accounts(cluster: Cluster) -> None:
    names = ", ".join([READER, WRITER, BOSS, BYPASS])
    with cluster.admin() as admin:
        end_backends(admin, "usename LIKE 'acct%'")
        admin.execute("DROP TABLE payroll, newsletter; DROP FUNCTION leave_traces")
        admin.execute(f"DROP ROLE {names}, acct_helper")


def account_tables(
    accounts: Any, *mappings: dict[str, Any], default: Any = None, **jwt: Any
) -> dict[str, Any]:
    """Tables of a configuration with these mappings."""
    return {
        "databases": [primary_alone(accounts)],
        "general": {
            "jwt_server_user": None,
            "jwt_server_password": None,
            "jwt_user_auto_provision": None,
            "jwt_username_claim": "email",
        },
        "admin": ADMIN,
        "jwt": {
            "identity": {"mode": "service_account"},
            "role_mappings": list(mappings),
            "default_role_mapping": default,
            **jwt,
        },
    }


def token(target: Target, name: str, role: Any = None, **claims: Any) -> str:
    """For somebody who has an e-mail address and roles."""
    return target.issuer.token(f"id of {name}", email=name, role=role, **claims)


def enter(target: Target, name: str, role: Any = None, *, database: str = "demo", **claims: Any) -> Wire:
    return target.wire(name, token(target, name, role, **claims), database=database)


def refused(
    target: Target, name: str, role: Any = None, *, database: str = "demo", **claims: Any
) -> dict[str, str]:
    return target.refusal(name, token(target, name, role, **claims), database=database)
