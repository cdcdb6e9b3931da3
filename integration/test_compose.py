"""The container files hang together. Where there is a compose tool, it says so itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.external import is_external
from harness.gateway import REPOSITORY, find_gateway

COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
DOCKERFILES = ["Dockerfile", "integration/compose/Dockerfile"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE_FILE.read_text())


def start_of_pgdog(compose: dict[str, Any], image: str, *command: str) -> subprocess.CompletedProcess[str]:
    """What the service does first, with another command behind it."""
    # Compose reads `$$` as `$`.
    entrypoint = [word.replace("$$", "$") for word in compose["services"]["pgdog"]["entrypoint"]]
    return subprocess.run(
        [*entrypoint, *command],
        env=os.environ | {"PGDOG_IMAGE": image},
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_a_pgdog_without_an_image_says_what_is_missing(compose: dict[str, Any]) -> None:
    done = start_of_pgdog(compose, "", "echo", "started")

    assert done.returncode == 1
    assert "started" not in done.stdout
    assert "PGDOG_IMAGE is not set" in done.stderr
    assert "docs/pgdog.md" in done.stderr


def test_a_pgdog_with_an_image_is_what_runs(compose: dict[str, Any]) -> None:
    done = start_of_pgdog(compose, "my/pgdog", "echo", "two words", "--config")

    assert (done.returncode, done.stdout) == (0, "two words --config\n")


def test_pgdog_and_the_gateway_have_the_same_files_and_keys(compose: dict[str, Any]) -> None:
    def sources(name: str) -> set[str]:
        return {mount.split(":")[0] for mount in compose["services"][name]["volumes"]}

    assert sources("pgdog") == sources("gateway")
    ports = [port for name in ("pgdog", "gateway") for port in compose["services"][name]["ports"]]
    assert len({port.rpartition(":")[0] for port in ports}) == len(ports)


def test_every_service_is_an_image_or_can_be_built(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        build = service.get("build")
        assert build or service.get("image"), name
        if build:
            context, file = (
                (build, "Dockerfile") if isinstance(build, str) else (build["context"], build["dockerfile"])
            )
            assert (REPOSITORY / context / file).is_file(), name


def test_services_depend_on_services_that_are_there_and_say_when_they_are_ready(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in services
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]


def test_mounted_files_and_volumes_are_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (REPOSITORY / source).is_file(), source
            else:
                assert source in compose["volumes"]


def test_ports_are_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_test_runner_starts_only_when_asked_for(compose: dict[str, Any]) -> None:
    started = [name for name, service in compose["services"].items() if "profiles" not in service]

    assert sorted(started) == ["gateway", "keys", "primary", "replica"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_copies_what_is_there(name: str) -> None:
    text = (REPOSITORY / name).read_text()

    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source


def test_the_gateway_does_not_run_as_root() -> None:
    final_stage = (REPOSITORY / "Dockerfile").read_text().rpartition("FROM ")[2]

    assert re.search(r"^USER (?!root|0)", final_stage, re.MULTILINE)


@pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")
def test_the_gateway_accepts_its_configuration(tmp_path: Path) -> None:
    folder = REPOSITORY / "integration" / "compose"
    text = (folder / "pgdog.toml").read_text()
    keys = tmp_path / "keys"
    subprocess.run([find_gateway(), "token", "mint", "--new-key", keys, "--sub", "x"], check=True, timeout=20)
    (tmp_path / "pgdog.toml").write_text(text.replace("/keys", str(keys)))

    done = subprocess.run(
        [find_gateway(), "check", "--config", tmp_path / "pgdog.toml", "--users", folder / "users.toml"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 0, done.stderr


def compose_tool() -> list[str] | None:
    """`docker compose` or `docker-compose`, whichever works here."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, timeout=20)
            if done.returncode == 0:
                return command
    return None


def test_the_compose_tool_accepts_the_file() -> None:
    tool = compose_tool()
    if tool is None:
        pytest.skip("no working `docker compose` or `docker-compose` on this machine")

    done = subprocess.run(
        [*tool, "--file", COMPOSE_FILE, "--profile", "test", "--profile", "pgdog", "config", "--quiet"],
        cwd=REPOSITORY,
        env=os.environ | {"COMPOSE_PROJECT_NAME": "check"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr
