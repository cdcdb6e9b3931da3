"""The groups of roles that logins make: those of the token, in a claim or from the userinfo endpoint."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator

import pytest

from harness.external import is_external
from harness.provisioning import MARK, Place, Userinfo
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")


@pytest.fixture
def userinfo() -> Iterator[Userinfo]:
    endpoint = Userinfo()
    yield endpoint
    endpoint.http.shutdown()
    endpoint.http.server_close()


def test_groups_follow_the_token(place: Place) -> None:
    for groups, roles in [
        (["db-readers"], ["readers"]),
        (["db-writers", "team-red", "unknown"], ['Wri"ters', "team_red", "writers"]),
        (["team-blue", "db-readers"], ["readers", "team_blue"]),
        ([], []),
    ]:
        place.login("dora", *groups)
        assert place.groups("dora") == sorted([*roles, "subjects"])


def test_a_group_that_was_taken_away_is_gone_for_sessions_that_are_open_and_for_pooled_connections(
    place: Place,
) -> None:
    issuer = place.target.issuer
    with place.target.wire("emil", issuer.token("emil", groups=["db-readers"])) as old:
        assert old.rows("SELECT body FROM papers") == [("read me",)]

        with place.target.wire("emil", issuer.token("emil", groups=[])) as new:
            assert new.query("SELECT body FROM papers")[-2].fields["C"] == "42501"
        assert old.query("SELECT body FROM papers")[-2].fields["C"] == "42501"


def test_an_older_token_gives_nothing_back_that_a_newer_one_took(place: Place) -> None:
    issuer = place.target.issuer
    now = issuer.claims("x")["iat"]
    old = issuer.token("fred", groups=["db-readers"], iat=now - 100)
    new = issuer.token("fred", groups=[], iat=now - 50)

    for token, target in [(old, place.target), (new, place.target), (old, place.target), (old, place.make())]:
        with target.wire("fred", token) as wire:
            assert wire.value("SELECT current_user") == "fred"

    assert place.groups("fred") == ["subjects"]


def test_memberships_that_the_configuration_does_not_own_stay(place: Place) -> None:
    place.login("gina", "db-readers")
    place.sql("GRANT accounting TO gina; CREATE ROLE team; GRANT team TO gina")

    place.login("gina")

    assert place.groups("gina") == ["accounting", "subjects", "team"]


def test_groups_that_change_all_the_time_end_as_the_newest_token_says(place: Place) -> None:
    issuer = place.target.issuer
    now = issuer.claims("x")["iat"]
    targets = [place.target, place.make()]

    def login(number: int, target: Target | None = None) -> None:
        groups = ["db-readers", "team-red"] if number % 2 else ["team-blue", "db-writers"]
        place.login("inga", *groups, target=target or targets[number % 2], iat=now - 100 + number)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(login, range(24)))
    # At a gateway that remembers nothing: the others may rely for a while on what they saw last.
    login(31, place.make())

    assert place.groups("inga") == ["readers", "subjects", "team_red"]


@pytest.mark.parametrize(
    "group",
    [
        "team-'; DROP ROLE accounting; --",
        'team-"; GRANT accounting TO mallet; --',
        "team-red\\",
        "team-",
        "team-*",
        "team-" + "x" * 200,
        "team-red\0blue",
        "postgres",
        "accounting",
        "subjects, accounting",
        "team-mighty",
        "team-seer",
        "pg_read_all_data",
        "*",
        "",
    ],
)
def test_a_group_leads_to_no_role_that_the_configuration_does_not_name(place: Place, group: str) -> None:
    assert place.login("mallet", group) == "mallet"

    assert place.groups("mallet") == ["subjects"]
    assert place.exists("accounting")


def test_another_subject_is_no_group(place: Place) -> None:
    """What a token names as a group must not be the role of another token, whatever it is called."""
    place.sql(f"CREATE ROLE team_victim; COMMENT ON ROLE team_victim IS '{MARK}; seen=2026-01-01'")

    try:
        place.login("mallet", "team-victim")

        assert place.groups("mallet") == ["subjects"]
    finally:
        place.sql("DROP ROLE team_victim")


def test_a_claim_that_is_no_list_of_names_ends_the_login(place: Place) -> None:
    for odd in (7, {"a": "b"}, ["db-readers", 7], [["db-readers"]]):
        assert place.refusal("nobody_yet", groups=odd) == "invalid_claim"
    assert not place.exists("nobody_yet")


def test_userinfo_is_asked_once_for_a_token_and_only_when_the_token_does_not_say(
    place: Place, userinfo: Userinfo
) -> None:
    target = place.make(provisioning={"userinfo_url": userinfo.url})
    userinfo.says(sub="uma", groups=["db-readers", "team-red"])
    token = target.issuer.token("uma")

    def login(_: int) -> None:
        target.wire("uma", token).close()

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(login, range(10)))
    assert userinfo.asked == [f"Bearer {token}"]
    assert place.groups("uma") == ["readers", "subjects", "team_red"]

    place.login("uma", "team-blue", target=target, iat=target.issuer.claims("x")["iat"] + 0)
    assert len(userinfo.asked) == 1
    assert token not in target.gateway.log_text()


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (401, b"{}"),
        (302, b""),
        (200, b"no json"),
        (200, b'{"groups": ["db-readers"]}'),
        (200, b'{"sub": "somebody else", "groups": ["db-readers"]}'),
        (200, b'{"sub": "uri", "groups": 7}'),
        (200, b'{"sub": "uri", "sub": "uri", "groups": []}'),
        (200, b'{"sub": "uri", "groups": [], "x": "' + b"x" * 100_000 + b'"}'),
    ],
    ids=["error", "unauthorized", "redirect", "garbage", "no subject", "stranger", "odd", "twice", "huge"],
)
def test_a_userinfo_answer_that_cannot_be_believed_ends_the_login(
    place: Place, userinfo: Userinfo, answer: tuple[int, bytes]
) -> None:
    target = place.make(provisioning={"userinfo_url": userinfo.url})
    userinfo.answer = lambda _: answer

    assert place.refusal("uri", target) == "groups_unavailable"

    assert not place.exists("uri")


def test_a_userinfo_endpoint_that_hangs_ends_the_login_in_time(place: Place, userinfo: Userinfo) -> None:
    release = threading.Event()

    def hang(_: str) -> tuple[int, bytes]:
        release.wait(30)
        return 500, b""

    userinfo.answer = hang
    target = place.make(provisioning={"userinfo_url": userinfo.url, "userinfo_timeout": 200})
    try:
        assert place.refusal("ulf", target) == "groups_unavailable"
    finally:
        release.set()
