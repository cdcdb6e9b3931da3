"""OAUTHBEARER by its real clients: psql 18, and psycopg over libpq 18; and drivers that do not know it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import Installation, eventually, find_installations
from harness.certificates import self_signed
from harness.device_issuer import CLIENT, DeviceIssuer
from harness.target import Target

MakeGateway = Callable[..., Target]

OAUTH = Path(__file__).parent / "oauth"
WISH = "-c pgdog_jwt.client_flow=oauthbearer"
WHO = "SELECT current_user"
TOKEN_REQUEST = 1  # PQAUTHDATA_OAUTH_BEARER_TOKEN


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceIssuer]:
    provider = DeviceIssuer(tmp_path_factory.mktemp("provider"))
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def installation() -> Installation:
    found = next((one for one in find_installations() if one.major >= 18), None)
    if found is None or not found.program("psql").is_file():
        pytest.skip("no psql 18 on this machine")
    return found


@pytest.fixture(scope="module")
def flow(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that gives psql a way to get tokens."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine, and libpq asks for tokens in C")
    asked = [installation.program("pg_config"), "--includedir"]
    headers = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    library = tmp_path_factory.mktemp("flow") / "flow.so"
    command = [compiler, "-shared", "-fPIC", f"-I{headers}", "-o", library, OAUTH / "flow.c", "-ldl"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def gateway(make: MakeGateway, provider: DeviceIssuer, flow: str, **tables: Any) -> Target:
    general = tables.pop("general", {})
    jwt = {"issuer": provider.name, "client_flow": flow} | tables
    return make(issuer=provider.tokens, jwt=jwt, general=general)


@pytest.fixture(scope="module")
def sasl(make_module_gateway: MakeGateway, provider: DeviceIssuer) -> Target:
    return gateway(make_module_gateway, provider, "oauthbearer", oauth_scope="openid db")


@pytest.fixture(scope="module")
def both(make_module_gateway: MakeGateway, provider: DeviceIssuer) -> Target:
    return gateway(make_module_gateway, provider, "both")


class Psql:
    """psql 18, whose tokens come from a program."""

    def __init__(self, installation: Installation, library: Path, provider: DeviceIssuer) -> None:
        self.installation, self.library, self.provider = installation, library, provider

    def start(self, target: Target, *, token: str | None = None, **options: str) -> subprocess.Popen[str]:
        """With a token at hand, or else by the device flow."""
        settings = {
            "host": target.host,
            "port": str(target.port),
            "dbname": target.database,
            "user": "alice",
            "oauth_issuer": self.provider.name,
            "oauth_client_id": CLIENT,
            "connect_timeout": "15",
        } | options
        words = " ".join(f"{name}='{value}'" for name, value in settings.items())
        program = ["echo", token] if token else [sys.executable, str(OAUTH / "device_flow.py")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(
            [self.installation.program("psql"), "--no-psqlrc", "-At", words, "-c", WHO],
            env=environment
            | {
                "LD_PRELOAD": str(self.library),
                "OAUTH_FLOW": shlex.join(program),
                "OAUTH_AUTHORITY": str(self.provider.authority),
                "OAUTH_CLIENT_ID": CLIENT,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, target: Target, **options: Any) -> tuple[int, str, str]:
        return ended(self.start(target, **options))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, output.strip(), errors


@pytest.fixture
def psql(installation: Installation, flow: Path, provider: DeviceIssuer) -> Psql:
    return Psql(installation, flow, provider)


def test_psql_gets_its_token_by_the_device_flow(psql: Psql, sasl: Target, provider: DeviceIssuer) -> None:
    """From nothing but the issuer's name: discovery at the gateway, a person's approval, the login."""
    sasl.gateway.mark()
    process = psql.start(sasl, require_auth="oauth")
    try:
        codes = eventually(lambda: provider.waiting() or process.poll() is not None, "psql's question")
        assert codes is not True, process.communicate()
        provider.approve(codes[0], "alice")
    finally:
        status, output, errors = ended(process)

    assert (status, output) == (0, "alice"), errors
    assert codes[0] in errors
    # The scope is the gateway's: psql was told none.
    assert provider.scopes[-1] == "openid db"
    assert [event["decision"] for event in sasl.gateway.audit()] == ["accepted"]
    assert sasl.gateway.last_login(user="alice")["issuer"] == provider.name


def test_psql_that_knows_the_issuer_shows_its_token_at_once(
    psql: Psql, sasl: Target, provider: DeviceIssuer
) -> None:
    document = f"{provider.name}/.well-known/openid-configuration"
    token = provider.tokens.token("alice")

    assert psql.run(sasl, token=token, oauth_issuer=document)[:2] == (0, "alice")


def test_psql_hears_that_its_token_is_refused(psql: Psql, sasl: Target, provider: DeviceIssuer) -> None:
    for issuer in (provider.name, f"{provider.name}/.well-known/openid-configuration"):
        sasl.gateway.mark()
        status, output, errors = psql.run(sasl, token=provider.tokens.token("bob"), oauth_issuer=issuer)
        assert (status, output) == (2, "")
        assert 'authentication failed for user "alice"' in errors
        assert {event["reason"] for event in sasl.gateway.audit()} == {"user_mismatch"}


def test_psql_refuses_an_issuer_that_is_not_its_own(psql: Psql, sasl: Target, provider: DeviceIssuer) -> None:
    """So a token never goes to a gateway that names another issuer."""
    token = provider.tokens.token("alice")
    status, _, errors = psql.run(sasl, token=token, oauth_issuer="https://login.example.com")
    assert status == 2
    assert "incompatible with oauth_issuer" in errors


def test_an_issuer_that_ends_in_a_slash_is_spelled_as_psql_spells_it(
    psql: Psql, make_gateway: MakeGateway, provider: DeviceIssuer
) -> None:
    name = f"{provider.name}/"
    target = gateway(make_gateway, provider, "oauthbearer", oauth_issuer=name)
    assert psql.run(target, token=provider.tokens.token("alice"), oauth_issuer=name)[:2] == (0, "alice")


def test_a_token_that_the_gateway_knows_but_whose_role_is_missing(
    psql: Psql, sasl: Target, provider: DeviceIssuer
) -> None:
    status, _, errors = psql.run(sasl, token=provider.tokens.token("nobody_here"), user="nobody_here")
    assert status == 2
    assert 'authentication failed for user "nobody_here"' in errors


def test_psql_of_both_kinds_on_one_gateway(psql: Psql, both: Target, provider: DeviceIssuer) -> None:
    token = provider.tokens.token("alice")

    assert psql.run(both, token=token, options=WISH, require_auth="oauth")[:2] == (0, "alice")
    assert psql.run(both, password=token, require_auth="password")[:2] == (0, "alice")
    # An old one, and what is no libpq at all.
    assert both.psql("alice", "-c", WHO, password=token).stdout.strip() == "alice"

    async def by_asyncpg() -> str:
        connection = await both.connect_asyncpg("alice", token, statement_cache_size=0)
        try:
            return await connection.fetchval(WHO)
        finally:
            await connection.close()

    assert asyncio.run(by_asyncpg()) == "alice"


def test_an_old_driver_where_tokens_are_no_passwords_fails_and_does_not_hang(sasl: Target) -> None:
    """And its token is not sent."""

    async def by_asyncpg() -> None:
        await sasl.connect_asyncpg("alice", "x")

    with pytest.raises(Exception, match=r"OAUTHBEARER|SASL"):
        asyncio.run(by_asyncpg())


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("poll", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request))


@pytest.fixture
def give() -> Iterator[Callable[[str], list[tuple[bytes, bytes]]]]:
    """Gives psycopg's own libpq a token; what libpq says of where to get one is in the list."""
    maps = Path("/proc/self/maps")
    loaded = maps.read_text().split() if maps.exists() else []
    path = next((word for word in loaded if "/libpq" in word and ".so" in word), None)
    if path is None or psycopg.pq.version() < 180000:
        pytest.skip("psycopg has no libpq 18 here")
    libpq = ctypes.CDLL(path)
    kept: list[Any] = []

    def install(token: str) -> list[tuple[bytes, bytes]]:
        asked: list[tuple[bytes, bytes]] = []
        text = ctypes.create_string_buffer(token.encode())

        def hook(kind: int, _connection: int, request: Any) -> int:
            if kind != TOKEN_REQUEST:
                return 0
            asked.append((request.contents.openid_configuration, request.contents.scope))
            request.contents.token = ctypes.cast(text, ctypes.c_char_p)
            return 1

        kept.extend([text, HOOK(hook)])
        libpq.PQsetAuthDataHook(kept[-1])
        return asked

    yield install
    libpq.PQsetAuthDataHook(libpq.PQdefaultAuthDataHook)


def test_psycopg_shows_a_token_over_tls(
    make_gateway: MakeGateway,
    provider: DeviceIssuer,
    give: Callable[[str], list[tuple[bytes, bytes]]],
    tmp_path: Path,
) -> None:
    pair = self_signed("127.0.0.1")
    certificate, key = tmp_path / "gateway.crt", tmp_path / "gateway.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    key.chmod(0o600)
    files = {"tls_certificate": str(certificate), "tls_private_key": str(key)}
    target = gateway(make_gateway, provider, "both", general=files | {"tls_client_required": True})
    asked = give(provider.tokens.token("alice"))
    options: dict[str, Any] = {
        "sslmode": "verify-full",
        "sslrootcert": str(certificate),
        "host": target.host,
        "port": target.port,
        "dbname": target.database,
        "user": "alice",
        "connect_timeout": 15,
        "oauth_issuer": provider.name,
        "oauth_client_id": CLIENT,
        "require_auth": "oauth",
        "options": f"{WISH} -c work_mem=123kB",
    }

    for _ in range(2):
        with psycopg.connect(**options) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT current_user, current_setting('work_mem')").fetchone() == (
                "alice",
                "123kB",
            )
    assert asked[0] == (f"{provider.name}/.well-known/openid-configuration".encode(), b"openid")
