"""The main job in front of every PostgreSQL version that can be had on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import Cluster, Gateway, Installation, Issuer, Workspace, default_config, find_installations
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.external import is_external
from harness.target import Target

READER = {
    "name": "reader",
    "database": "demo",
    "read_only": True,
    "server_user": "gateway",
    "server_password": "gateway-secret",
}
OTHERS = [] if is_external() else find_installations()[1:]


@pytest.mark.skipif(not OTHERS, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", OTHERS, ids=lambda one: f"PostgreSQL {one.version}")
def test_the_main_job(installation: Installation, issuer: Issuer) -> None:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation)
        gateway = Gateway(workspace, default_config(cluster, issuer), {"users": [READER]}).start()
        target = Target.of(gateway, issuer)
        for check in (a_subject_is_itself, a_reader_reads, a_stranger_is_refused, a_statement_is_cancelled):
            check(target, cluster)


Check = Callable[[Target, Any], None]


def a_subject_is_itself(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        assert wire.parameters["server_version"].startswith(cluster.installation.version)
        assert wire.value("SELECT current_user") == "alice"
        assert wire.value("SELECT DISTINCT owner FROM notes") == "alice"
        assert w.error_of(wire.query("SET ROLE bob"))["C"] == "42501"
        wire.send(w.extended("INSERT INTO notes (body) VALUES ($1) RETURNING owner", ["x"]))
        assert "alice" in [message.row[0] for message in wire.until_ready() if message.type == "D"]


def a_reader_reads(target: Target, _: Any) -> None:
    with target.wire("reader") as wire:
        assert wire.rows("SELECT current_user, served_by()") == [("reader", "replica")]
        assert w.error_of(wire.query("DELETE FROM notes"))["C"] == "25006"


def a_stranger_is_refused(target: Target, _: Any) -> None:
    for role in ("stranger", "mallory", "boss"):
        assert target.refusal(role)["C"] == "28000"


def a_statement_is_cancelled(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire, target.open() as canceller:
        wire.send(w.query(sleep_statement("version")))
        await_sleep(cluster, "version")
        canceller.send(w.cancel_request(wire.cancel_key))
        assert w.error_of(wire.until_ready())["C"] == "57014"


@pytest.mark.skipif(not OTHERS, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", OTHERS, ids=lambda one: f"PostgreSQL {one.version}")
def test_tenants_and_resolvers(installation: Installation, issuer: Issuer) -> None:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=False)
        config = default_config(cluster, issuer) | {
            "tenants": {"bypass_users": []},
            "resolver_account": {"user": "reports", "password": "reports-secret"},
            "resolvers": [
                {
                    "name": "length",
                    "query": "SELECT length($1) AS size",
                    "params": ["var:app.current_tenant_id"],
                    "inject": {"app.size": "size"},
                }
            ],
        }
        service = {"name": "service", "database": "demo", "password": "service-secret", "tenants": ["*"]}
        gateway = Gateway(workspace, config, {"users": [service]}).start()
        target = Target.of(gateway, issuer)
        both = "SELECT current_setting('app.current_tenant_id'), current_setting('app.size')"
        for tenant in ("acme", "it's \\ 名前"):
            with target.wire(f"service.{tenant}", "service-secret") as wire:
                assert wire.rows(both) == [(tenant, str(len(tenant)))]
                assert w.error_of(wire.query("SET app.size = '1'"))["C"] == "42501"
                wire.query("DISCARD ALL")
                assert wire.rows(both) == [(tenant, str(len(tenant)))]
