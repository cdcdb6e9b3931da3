"""Roles that logins make: once, byte for byte, never anybody else's."""

from __future__ import annotations

import concurrent.futures

import pytest

from harness import Issuer, eventually, find_postgres
from harness.external import is_external
from harness.provisioning import ADMIN, MARK, Place, place_of

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")


STRANGE = [
    'o\'Hara "x"; DROP TABLE notes --',
    "Zürich 東京",
    "UPPER.Case@Example.COM",
    "back\\slash",
    "q" * 63,
]


def test_the_first_login_makes_the_role_and_the_second_does_nothing(place: Place) -> None:
    assert place.login("anna", "db-readers") == "anna"

    assert place.groups("anna") == ["readers", "subjects"]
    assert place.sql("SELECT rolcanlogin, rolinherit, rolsuper FROM pg_roles WHERE rolname = 'anna'") == [
        (False, True, False)
    ]
    assert (place.comment("anna") or "").startswith(MARK)
    assert place.events("anna") == [
        ("role_made", None),
        ("granted", "readers"),
        ("granted", "subjects"),
        ("gateway_admitted", "gateway"),
    ]
    before = place.catalogue()
    assert place.login("anna", "db-readers") == "anna"
    # Another gateway remembers nothing, looks, and finds nothing to do.
    assert place.login("anna", "db-readers", target=place.make()) == "anna"
    assert place.catalogue() == before


def test_a_role_that_is_known_to_be_right_costs_no_look(place: Place) -> None:
    statements = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgdog-jwt provisioning'"
    last = "SELECT max(query_start) FROM pg_stat_activity WHERE application_name = 'pgdog-jwt provisioning'"
    target = place.make()
    place.login("bert", target=target)
    assert place.sql(statements)[0][0] >= 1
    before = place.sql(last)

    for _ in range(5):
        place.login("bert", target=target)

    assert place.sql(last) == before


def test_the_role_that_was_made_is_one_row_level_security_holds(place: Place) -> None:
    token = place.target.issuer.token("cleo", groups=["db-readers"])
    with place.target.wire("cleo", token) as wire:
        wire.rows("INSERT INTO notes (body) VALUES ('mine')")
        assert wire.rows("SELECT owner, body FROM notes") == [("cleo", "mine")]
        assert wire.rows("SELECT body FROM papers") == [("read me",)]


def test_a_role_that_somebody_else_made_is_left_alone(place: Place) -> None:
    before = place.catalogue()

    assert place.login("alice", "db-readers", "team-red") == "alice"

    assert place.catalogue() == before
    assert place.events("alice") == []


def test_twenty_first_logins_of_one_subject_make_one_role(place: Place) -> None:
    targets = [place.target, place.make()]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        logins = [pool.submit(place.login, "hugo", "db-readers", target=targets[n % 2]) for n in range(20)]
        assert {login.result() for login in logins} == {"hugo"}

    assert place.groups("hugo") == ["readers", "subjects"]
    made = [event for target in targets for event in place.events("hugo", target) if event[0] == "role_made"]
    assert len(made) == 1


def test_twenty_subjects_come_at_once(place: Place) -> None:
    targets = [place.target, place.make(jwt={"shared_pool": True})]
    groups = ["db-readers", "team-red", "db-writers", "team-blue"]
    names = [f"member{number}" for number in range(20)]

    def login(number: int) -> str | None:
        # In another order each time: no two of them may wait for each other.
        turned = groups[number % 4 :] + groups[: number % 4]
        return place.login(names[number], *turned, target=targets[number % 2])

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(login, range(20))) == names
    for name in names:
        assert place.groups(name) == sorted(
            ["subjects", "readers", "writers", 'Wri"ters', "team_red", "team_blue"]
        )


@pytest.mark.parametrize("name", STRANGE, ids=["quotes", "letters", "case", "backslash", "long"])
def test_a_name_is_made_byte_for_byte(place: Place, name: str) -> None:
    assert place.login(name, "db-readers") == name

    assert place.groups(name) == ["readers", "subjects"]
    place.login(name)
    assert place.groups(name) == ["subjects"]


@pytest.mark.parametrize(
    "name",
    [
        "readers",
        "subjects",
        "team_red",
        "team_anything",
        ADMIN,
        "postgres",
        "pg_new",
        "gateway",
        "none",
        "NONE",
    ],
)
def test_no_token_becomes_a_group_an_account_or_a_denied_role(place: Place, name: str) -> None:
    before = place.catalogue()

    assert place.refusal(name) in ("role_denied", "role_invalid")

    assert place.catalogue() == before


def test_a_privileged_role_is_never_touched_even_if_it_bears_the_mark(place: Place) -> None:
    place.sql(f"CREATE ROLE chief SUPERUSER; COMMENT ON ROLE chief IS '{MARK}; seen=2020-01-01'")
    place.sql(f"CREATE ROLE vice CREATEROLE; COMMENT ON ROLE vice IS '{MARK}; seen=2020-01-01'")
    before = place.catalogue()

    assert place.refusal("chief", groups=["db-readers"]) == "role_refused"
    assert place.refusal("vice", groups=["db-readers"]) == "role_refused"
    assert place.cli(target=place.make(provisioning={"disable_after": 30}, start=False)).returncode == 0

    assert place.catalogue() == before


def test_a_refused_token_makes_no_role(place: Place) -> None:
    target = place.target
    assert target.refusal("ghost", target.issuer.token("ghost", aud="elsewhere"))["C"] == "28000"
    assert target.refusal("ghost", target.issuer.token("ghost"), database="nowhere")["C"] == "3D000"
    options = {"options": "-c role=postgres"}
    assert target.refusal("ghost", target.issuer.token("ghost"), **options)["C"] == "28000"

    assert not place.exists("ghost")


def test_a_role_that_was_dropped_is_made_again(place: Place) -> None:
    target = place.make(provisioning={"recheck": 0})
    place.login("quin", "db-readers", target=target)
    place.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
    place.sql("DROP ROLE quin")

    def again() -> bool:
        return place.login("quin", "db-readers", target=target) == "quin"

    eventually(again, "a new role")
    assert place.groups("quin") == ["readers", "subjects"]


def test_valid_until_follows_the_token(place: Place) -> None:
    target = place.make(provisioning={"valid_until": "token", "valid_until_margin": 600})
    query = "SELECT extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles WHERE rolname = 'rita'"
    end = place.target.issuer.claims("x")["exp"]
    for exp, expected in [(end, end + 600), (end + 500, end + 600), (end + 700, end + 1300)]:
        place.login("rita", target=target, exp=exp)
        assert place.sql(query) == [(expected,)]


def test_a_first_login_that_only_reads_waits_until_a_replica_has_the_role(issuer: Issuer) -> None:
    with place_of(find_postgres(), issuer, replica=True) as place:
        target = place.make(general={"jwt_user_auto_provision_read_only": True})

        for number in range(10):
            assert place.login(f"reader{number}", "db-readers", target=target) == f"reader{number}"


def test_a_subject_that_logs_in_itself_gets_a_role_that_may(place: Place) -> None:
    settings = {"jwt_server_user": None, "jwt_server_password": None, "jwt_user_auto_provision": False}
    target = place.make(general=settings, start=False)

    assert place.cli("--subject", "sole", "--group", "db-readers", target=target).returncode == 0

    assert place.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'sole'") == [(True,)]
    assert place.groups("sole") == ["readers", "subjects"]
    assert place.groups("gateway").count("sole") == 0
