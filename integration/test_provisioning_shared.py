"""Groups belong to the subject that a role was made for: whoever else is led to it brings and takes none."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import pytest

from harness.external import is_external
from harness.provisioning import MARK, Place
from harness.target import Target
from harness.wire import ServerError

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")

# People of two companies, of whom some have the same name.
SAME_NAME = {"claim": "email", "pattern": "([^@]+)@.*", "user": r"\1"}
LOWERCASE = {"claim": "email", "pattern": "([^@]+)@one.example", "user": r"\1", "lowercase": True}


@pytest.fixture
def shared(place: Place) -> Target:
    return place.make(jwt={"user_mappings": [SAME_NAME]})


def token(target: Target, subject: str, email: str, *groups: str, **claims: Any) -> str:
    return target.issuer.token(subject, email=email, groups=list(groups), **claims)


def refusal(target: Target, user: str, token: str) -> dict[str, Any]:
    target.gateway.mark()
    assert target.refusal(user, token)["C"] == "28000"
    return target.gateway.last_login(decision="refused")


def test_two_people_who_are_one_role_give_each_other_nothing(place: Place, shared: Target) -> None:
    """Also not to a session that is open, nor to a token that is older."""
    first = token(shared, "u-1", "ann@one.example", "team-blue")
    second = token(shared, "u-2", "ann@two.example", "db-readers")
    with shared.wire("ann", first) as open_session:
        assert open_session.query("SELECT body FROM papers")[-2].fields["C"] == "42501"

        login = refusal(shared, "ann", second)

        assert login["reason"] == "provisioning_refused"
        assert "another subject" in login["detail"]
        assert open_session.query("SELECT body FROM papers")[-2].fields["C"] == "42501"
    assert place.groups("ann") == ["subjects", "team_blue"]


def test_two_people_who_are_one_role_take_nothing_from_each_other(place: Place, shared: Target) -> None:
    first = token(shared, "u-1", "ben@one.example", "db-readers")
    with shared.wire("ben", first) as open_session:
        assert (
            refusal(shared, "ben", token(shared, "u-2", "ben@two.example"))["reason"]
            == "provisioning_refused"
        )
        assert open_session.rows("SELECT body FROM papers") == [("read me",)]
    shared.wire("ben", first).close()


@pytest.mark.parametrize(
    "other",
    [
        lambda place: place.make(jwt={"user_mappings": [SAME_NAME]}),
        lambda place: place.make(jwt={"user_mappings": [SAME_NAME]}, provisioning={"recheck": 0}),
    ],
    ids=["another gateway", "a gateway that remembers nothing"],
)
def test_whom_a_role_is_for_is_kept_in_the_database(
    place: Place, shared: Target, other: Callable[[Place], Target]
) -> None:
    shared.wire("cleo", token(shared, "u-1", "cleo@one.example", "db-readers")).close()
    target = other(place)
    second = token(target, "u-2", "cleo@two.example", "db-readers")
    for _ in range(2):
        assert refusal(target, "cleo", second)["reason"] == "provisioning_refused"
    target.wire("cleo", token(target, "u-1", "cleo@three.example", "db-readers")).close()
    assert place.groups("cleo") == ["readers", "subjects"]


def test_of_two_people_who_come_at_the_same_moment_one_is_let_in(place: Place, shared: Target) -> None:
    targets = [shared, place.make(jwt={"user_mappings": [SAME_NAME]})]

    def login(number: int) -> str | None:
        target, subject = targets[number // 2 % 2], f"u-{number % 2}"
        group = ["db-readers", "team-blue"][number % 2]
        try:
            target.wire("mia", token(target, subject, f"mia@{number}.example", group)).close()
        except ServerError:
            return None
        return group

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        groups = set(pool.map(login, range(16))) - {None}

    assert groups in ({"db-readers"}, {"team-blue"})
    role = {"db-readers": "readers", "team-blue": "team_blue"}[groups.pop()]
    assert place.groups("mia") == sorted([role, "subjects"])


def test_names_that_differ_in_case_are_two_people(place: Place) -> None:
    target = place.make(jwt={"user_mappings": [LOWERCASE]})
    target.wire("dan", token(target, "u-1", "dan@one.example")).close()
    login = refusal(target, "dan", token(target, "u-2", "Dan@one.example", "db-readers"))
    assert login["reason"] == "provisioning_refused"
    assert place.groups("dan") == ["subjects"]


def test_a_role_that_was_disabled_is_not_the_next_ones(place: Place, shared: Target) -> None:
    """A name that is given to somebody else after years."""
    shared.wire("eve", token(shared, "u-1", "eve@one.example", "db-readers")).close()
    comment = place.comment("eve")
    assert comment
    place.sql(f"COMMENT ON ROLE eve IS '{comment}; disabled'")
    target = place.make(jwt={"user_mappings": [SAME_NAME]})
    assert refusal(target, "eve", token(target, "u-2", "eve@two.example"))["reason"] == "provisioning_refused"


def test_a_role_can_be_given_to_another_subject_by_hand(place: Place, shared: Target) -> None:
    shared.wire("flo", token(shared, "u-1", "flo@one.example", "db-readers")).close()
    place.sql(f"COMMENT ON ROLE flo IS '{MARK}'")

    target = place.make(jwt={"user_mappings": [SAME_NAME]})
    target.wire("flo", token(target, "u-2", "flo@two.example", "team-red")).close()

    assert place.groups("flo") == ["subjects", "team_red"]
    again = place.make(jwt={"user_mappings": [SAME_NAME]})
    assert refusal(again, "flo", token(again, "u-1", "flo@one.example"))["reason"] == "provisioning_refused"


def test_an_older_token_for_a_role_of_nobody_gets_what_both_say(place: Place, shared: Target) -> None:
    now = shared.issuer.claims("x")["iat"]
    place.cli("--subject", "gus", "--group", "db-readers", "--group", "team-red")
    old = token(shared, "u-1", "gus@one.example", "db-readers", "team-blue", iat=now - 100)
    shared.wire("gus", old).close()
    assert place.groups("gus") == ["readers", "subjects"]


def test_a_token_without_iat_overrides_none_that_has_one(place: Place) -> None:
    issuer = place.target.issuer
    dated = issuer.token("hal", groups=[])
    undated = issuer.token("hal", groups=["db-readers"], iat=None)
    for token, target in [
        (dated, place.target),
        (undated, place.target),
        (undated, place.make()),
        (undated, place.make(provisioning={"recheck": 0})),
    ]:
        with target.wire("hal", token) as wire:
            assert wire.value("SELECT current_user") == "hal"
        assert place.groups("hal") == ["subjects"]


def test_a_token_without_iat_takes_nothing_from_one_that_has_one(place: Place) -> None:
    issuer = place.target.issuer
    place.login("ida", "db-readers")
    place.make().wire("ida", issuer.token("ida", groups=[], iat=None)).close()
    assert place.groups("ida") == ["readers", "subjects"]


def test_a_denied_role_is_never_given_by_a_prefix(place: Place) -> None:
    target = place.make(jwt={"deny_roles": ["postgres", "pg_*", "team_bl*"]})
    place.login("jan", "team-red", "team-blue", target=target)
    assert place.groups("jan") == ["subjects", "team_red"]


def test_a_role_that_was_given_and_is_denied_now_is_taken_away(place: Place) -> None:
    place.login("kim", "team-red", "team-blue")
    target = place.make(jwt={"deny_roles": ["postgres", "pg_*", "team_blue"]})
    place.login("kim", "team-red", "team-blue", target=target)
    assert place.groups("kim") == ["subjects", "team_red"]


def test_a_group_that_can_become_somebody_with_privileges_is_not_given(place: Place) -> None:
    place.sql("CREATE ROLE team_deputy; CREATE ROLE helper CREATEROLE; GRANT helper TO team_deputy")
    try:
        place.login("lea", "team-deputy")
        assert place.groups("lea") == ["subjects"]
    finally:
        place.sql("DROP ROLE team_deputy, helper")
