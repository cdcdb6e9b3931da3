"""What is measured. A new scenario is a new entry here: what it does, and what it needs to be done."""

from __future__ import annotations

from dataclasses import dataclass

from figures import IDLE, QUERIES, STARTUP, SUBJECTS, TRANSFER

# How a client proves itself at the gateway. Elsewhere it is trusted, or has the one password of the role.
KNOWN_TOKEN, NEW_TOKENS, SCRAM = "known token", "new tokens", "SCRAM"

LOOKUP = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;"
BATCH = 10
SERVERS = 50
PIPELINE = "\n".join(
    [r"\set aid random(1, :accounts)", r"\startpipeline", *[LOOKUP] * BATCH, r"\endpipeline"]
)


@dataclass(frozen=True)
class Scenario:
    """One way of asking, at one number of clients."""

    name: str
    clients: int
    # Part of the short run too.
    main: bool = False
    # Which figures come out, by its name in figures.py, and who takes them, by its name in drivers.py.
    kind: str = QUERIES
    driver: str = "pgbench"
    # pgbench's: its protocol, which script, a script's text, and how many queries that makes.
    protocol: str = "simple"
    script: tuple[str, ...] = ("--select-only",)
    text: str = ""
    queries: int = 1
    # A login for every transaction.
    reconnect: bool = False
    credential: str = KNOWN_TOKEN
    # Needs: TLS on both legs, a replica beside the primary, a clean table before each turn.
    tls: bool = False
    replica: bool = False
    writes: bool = False
    # Every client in a time zone of its own.
    own_settings: bool = False
    # Clients that ask for much and hardly read it.
    slow_clients: int = 0
    # Every client with an identity of its own, over one pool of so many servers.
    shared_servers: int = 0
    # Who else enters: PostgreSQL itself, and a relay that copies bytes and knows nothing.
    direct: bool = True
    relay: bool = False

    @property
    def needs_prepared_statements(self) -> bool:
        return self.protocol == "prepared"

    @property
    def starts_afresh(self) -> bool:
        """Whether what a turn leaves behind in a pooler would spoil the next turn."""
        return self.kind in (IDLE, STARTUP, SUBJECTS)


def select_only(protocol: str, clients: int) -> Scenario:
    plural = "" if clients == 1 else "s"
    return Scenario(
        f"select-only, {protocol}, {clients} client{plural}",
        clients,
        main=protocol != "extended" and clients <= 64,
        protocol=protocol,
        relay=clients == 1,
    )


def login(name: str, credential: str) -> Scenario:
    return Scenario(
        f"login and one query, {name}, 8 clients",
        8,
        driver="logins",
        reconnect=True,
        credential=credential,
        direct=credential != SCRAM,
    )


def transfer(name: str, driver: str) -> Scenario:
    return Scenario(name, 1, kind=TRANSFER, driver=driver, relay=True)


def idle(clients: int, *, tls: bool = False) -> Scenario:
    return Scenario(
        f"idle, {clients} clients{', TLS' if tls else ''}",
        clients,
        main=clients <= 1_000 and not tls,
        kind=IDLE,
        driver="idle",
        tls=tls,
        direct=False,
    )


def subjects(count: int) -> Scenario:
    return Scenario(
        f"{count} subjects over {SERVERS} servers",
        count,
        kind=SUBJECTS,
        driver="subjects",
        direct=False,
        shared_servers=SERVERS,
    )


SCENARIOS = [
    *(
        select_only(way, clients)
        for way in ("simple", "extended", "prepared")
        for clients in (1, 16, 64, 256)
    ),
    Scenario(
        f"pipelines of {BATCH} queries, 16 clients",
        16,
        main=True,
        protocol="extended",
        script=(),
        text=PIPELINE,
        queries=BATCH,
    ),
    Scenario("settings that differ, 16 clients", 16, own_settings=True),
    Scenario("4 slow clients beside 16 fast ones", 16, slow_clients=4),
    Scenario("TLS on both legs, 16 clients", 16, tls=True),
    Scenario("reads with a replica, 16 clients", 16, replica=True),
    Scenario("TPC-B-like, 16 clients", 16, script=("--builtin", "tpcb-like"), writes=True),
    Scenario("login and one query (-C), 8 clients", 8, main=True, reconnect=True),
    login("token known", KNOWN_TOKEN),
    login("token new", NEW_TOKENS),
    login("SCRAM", SCRAM),
    transfer("a result of 1 M rows", "result"),
    transfer("COPY out", "copy_out"),
    transfer("COPY in", "copy_in"),
    *(idle(clients, tls=tls) for tls in (False, True) for clients in (1_000, 10_000)),
    Scenario("cold start to first query", 1, main=True, kind=STARTUP, driver="startup", direct=False),
    # Last: these make roles.
    *(subjects(count) for count in (10, 1_000, 10_000)),
]


def matching(words: list[str], *, full: bool) -> list[Scenario]:
    """The scenarios whose name holds one of the texts. Without any: the main ones, or all."""
    if words:
        return [each for each in SCENARIOS if any(word in each.name for word in words)]
    return [each for each in SCENARIOS if full or each.main]
