"""`pgdog-jwt setup sync`, and roles that nobody uses."""

from __future__ import annotations

import subprocess

import pytest

from harness import eventually, find_gateway
from harness.external import is_external
from harness.provisioning import ADMIN, ADMIN_PASSWORD, MARK, Place

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers and gateways of its own")


def test_a_dry_run_shows_the_statements_and_changes_nothing(place: Place) -> None:
    before = place.catalogue()

    done = place.cli("--dry-run", "--subject", 'o\'Dry "x"', "--group", "db-readers", "--group", "team-red")

    assert done.returncode == 0, done.stderr
    role = '"o\'Dry ""x"""'
    for statement in (
        f"CREATE ROLE {role} NOLOGIN;",
        f'GRANT "readers" TO {role};',
        f'GRANT "subjects" TO {role};',
        f'GRANT "team_red" TO {role};',
        f'GRANT {role} TO "gateway"',
    ):
        assert statement in done.stdout
    assert ADMIN_PASSWORD not in done.stdout + done.stderr
    assert place.catalogue() == before


def test_the_statements_of_a_dry_run_are_what_happens(place: Place) -> None:
    done = place.cli("--dry-run", "--subject", "sven", "--group", "db-writers")
    with place.cluster.admin() as admin:
        admin.execute(done.stdout)
    shown = place.groups("sven")

    assert place.cli("--subject", "tess", "--group", "db-writers").returncode == 0

    assert shown == place.groups("tess") == ['Wri"ters', "subjects", "writers"]
    again = place.cli("--dry-run", "--subject", "tess", "--group", "db-writers")
    assert "nothing to do" in again.stdout
    assert "GRANT" not in again.stdout


def test_tokens_of_a_file_are_checked_before_anything_is_done(place: Place) -> None:
    issuer = place.target.issuer
    good = issuer.token("udo", groups=["db-readers"])
    bad = issuer.token("ute", groups=["db-readers"], expires_in=-10)

    done = place.cli("--token-file", "-", stdin=f"{bad}\n\n{good}\nnonsense\n")

    assert done.returncode == 1
    assert "-:1: " in done.stderr
    assert "-:4: " in done.stderr
    assert "nonsense" not in done.stderr
    assert good not in done.stdout + done.stderr
    assert place.groups("udo") == ["readers", "subjects"]
    assert not place.exists("ute")


def test_a_subject_on_the_command_line_is_held_to_the_same_rules(place: Place) -> None:
    before = place.catalogue()
    for name in ("postgres", "pg_x", "readers", "team_new", ADMIN, "none", "x" * 64, ""):
        assert place.cli("--subject", name).returncode == 1, name
    assert place.catalogue() == before


def test_one_role_that_cannot_be_disabled_keeps_no_other_from_it(place: Place) -> None:
    place.login("xaver")
    place.sql(f"COMMENT ON ROLE xaver IS '{MARK}; seen=2020-01-01'")
    # Somebody else made it, for all that it says: before 16 the administrator may change it all the same.
    place.sql(f"CREATE ROLE aaron LOGIN; COMMENT ON ROLE aaron IS '{MARK}; seen=2020-01-01'")
    try:
        done = place.cli(target=place.make(provisioning={"disable_after": 30}, start=False))

        assert done.returncode == (1 if place.cluster.installation.major >= 16 else 0)
        assert (place.comment("xaver") or "").endswith("; disabled")
    finally:
        place.sql("DROP ROLE aaron")


def test_unused_roles_are_disabled_and_come_back_with_the_next_token(place: Place) -> None:
    for name in ("vera", "walt"):
        place.login(name, "db-readers")
    place.sql(f"COMMENT ON ROLE vera IS '{MARK}; seen=2020-01-01'")
    place.sql("CREATE ROLE xeno; GRANT xeno TO gateway; COMMENT ON ROLE xeno IS 'seen=2020-01-01'")
    target = place.make(provisioning={"disable_after": 30}, start=False)
    holders = (
        "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid "
        "WHERE m.member = 'gateway'::regrole AND r.rolname IN ('vera', 'walt', 'xeno') ORDER BY 1"
    )

    shown = place.cli("--dry-run", target=target)
    assert '"vera"' in shown.stdout
    assert "walt" not in shown.stdout
    assert "xeno" not in shown.stdout
    assert place.sql(holders) == [("vera",), ("walt",), ("xeno",)]

    assert place.cli(target=target).returncode == 0
    assert place.sql(holders) == [("walt",), ("xeno",)]
    assert place.groups("vera") == ["readers", "subjects"]
    assert (place.comment("vera") or "").endswith("; disabled")

    target.gateway.start()
    assert place.login("vera", "db-readers", target=target) == "vera"
    assert place.sql(holders) == [("vera",), ("walt",), ("xeno",)]
    assert not (place.comment("vera") or "").endswith("; disabled")


def test_a_running_gateway_looks_for_unused_roles(place: Place) -> None:
    place.login("yara")
    place.sql(f"COMMENT ON ROLE yara IS '{MARK}; seen=2020-01-01'")

    target = place.make(provisioning={"disable_after": 30})

    eventually(lambda: (place.comment("yara") or "").endswith("; disabled"), "a disabled role")
    assert ("gateway_expelled", "gateway") in eventually(lambda: place.events("yara", target), "an event")


def test_the_day_of_the_last_login_is_kept(place: Place) -> None:
    place.login("zoe")
    place.sql(f"COMMENT ON ROLE zoe IS '{MARK}; seen=2020-01-01'")

    place.login("zoe", target=place.make())

    (today,) = place.sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')")[0]
    assert f"seen={today}" in (place.comment("zoe") or "")


def test_check_says_who_makes_which_roles(place: Place) -> None:
    target = place.make(provisioning={"disable_after": 30}, start=False)
    files = ("--config", target.gateway.config_file, "--users", target.gateway.users_file)

    done = subprocess.run([find_gateway(), *files, "check"], capture_output=True, text=True, timeout=20)

    assert f"made at logins by {ADMIN}, in subjects" in done.stdout, done.stderr
    assert "team-* = team_*" in done.stdout
    assert "30 days" in done.stdout
    assert ADMIN_PASSWORD not in done.stdout + done.stderr
