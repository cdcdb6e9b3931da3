"""A revocation file that loses lines, and revocations of tokens that are taken after their `exp`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import eventually, primary_alone
from harness.external import is_external
from harness.target import Target
from harness.web import Web

pytestmark = pytest.mark.skipif(is_external(), reason="starts a gateway of its own")

MakeGateway = Callable[..., Target]
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
BOTH = '{"token_id": "stolen"}\n{"subject": "bob"}\n'


def command(target: Target, text: str) -> list[dict[str, Any]]:
    with target.connect("admin", PASSWORD, dbname="admin", row_factory=dict_row) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []  # type: ignore[return-value]


def is_in(target: Target, user: str, token: str) -> bool:
    try:
        target.connect(user, token).close()
    except psycopg.OperationalError:
        return False
    return True


def metric(web: Web, name: str) -> float:
    return web.samples()[f"pgdog_jwt_{name}"]


def complaints(target: Target, text: str) -> list[dict[str, Any]]:
    events = [event for event in target.gateway.log() if event.get("event") == "revocation_file"]
    return [event for event in events if text in event.get("problem", "")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "revoked.jsonl"
    path.write_text(BOTH)
    return path


@pytest.fixture
def web(make_gateway: MakeGateway, cluster: Any, file: Path) -> Web:
    tables = {"databases": [primary_alone(cluster)], "jwt": {"revocation_file": str(file)}}
    return Web(make_gateway, admin=ADMIN, **tables)


def test_a_file_that_is_truncated_in_place_lets_nobody_in(web: Web, file: Path) -> None:
    target = web.target
    stolen = target.issuer.token("alice", jti="stolen")
    assert not is_in(target, "alice", stolen)
    assert metric(web, "revocations_lost") == 0

    file.write_text("")

    eventually(lambda: complaints(target, "2 revocations that still hold are gone"), "a complaint in the log")
    assert not is_in(target, "alice", stolen)
    assert not is_in(target, "bob", target.issuer.token("bob"))
    names = ("revocation_file_up", "revocations_lost", "revocations")
    assert [metric(web, name) for name in names] == [0, 2, 2]
    assert {row["kept"] for row in command(target, "SHOW REVOCATIONS")} == {"lost"}
    with pytest.raises(psycopg.Error, match="refused"):
        command(target, "RELOAD")

    # What is added meanwhile counts.
    file.write_text('{"subject": "carol"}\n')
    eventually(lambda: not is_in(target, "carol", target.issuer.token("carol")), "the new revocation")
    assert not is_in(target, "alice", stolen)

    file.write_text(BOTH)
    eventually(lambda: complaints(target, "1 revocation that still holds is gone"), "carol's is missed now")
    command(target, "UNREVOKE SUBJECT 'carol'")
    eventually(lambda: metric(web, "revocation_file_up") == 1, "the file to be good again")
    assert is_in(target, "carol", target.issuer.token("carol"))
    assert not is_in(target, "alice", stolen)


def test_a_loss_that_is_meant_counts(web: Web, file: Path) -> None:
    target = web.target
    stolen = target.issuer.token("alice", jti="stolen")

    new = file.with_suffix(".new")
    new.write_text('{"subject": "bob"}\n{"end_of_list": 1}\n')
    new.rename(file)

    eventually(lambda: is_in(target, "alice", stolen), "the end of the revocation")
    assert not is_in(target, "bob", target.issuer.token("bob"))
    with file.open("a") as open_file:
        open_file.write('{"subject": "bob", "withdrawn": true}\n')
    eventually(lambda: is_in(target, "bob", target.issuer.token("bob")), "the end of the other")
    assert metric(web, "revocation_file_up") == 1


def test_a_file_that_is_cut_starts_no_gateway(make_gateway: MakeGateway, file: Path) -> None:
    file.write_text('{"subject": "bob"}\n{"end_of_list": 2}\n')
    target = make_gateway(jwt={"revocation_file": str(file)}, start=False)
    with pytest.raises(RuntimeError, match="does not start") as caught:
        target.gateway.start()
    assert "line 2" in str(caught.value)
    assert "counts 2 lines" in str(caught.value)


def test_a_revocation_until_the_end_of_its_token_holds_during_the_leeway(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(admin=ADMIN, databases=[primary_alone(cluster)], jwt={"leeway": 3600})
    ended = int(time.time()) - 5
    token = target.issuer.token("alice", jti="late", iat=ended - 60, exp=ended)
    assert is_in(target, "alice", token)
    session = target.connect("alice", token)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended))

    command(target, f"REVOKE TOKEN 'late' UNTIL '{until}'")

    assert not is_in(target, "alice", token)
    assert target.gateway.last_login(decision="refused")["reason"] == "revoked"
    with pytest.raises(psycopg.OperationalError, match="its token was revoked"):
        session.execute("SELECT 1")
    (row,) = command(target, "SHOW REVOCATIONS")
    assert row["token_id"] == "late"
    with pytest.raises(psycopg.Error, match="has passed"):
        command(target, "REVOKE TOKEN 'old' UNTIL '2020-01-01'")
