"""`shared_pool`: subjects share server connections, and nothing of one is ever there for the next."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.rows import dict_row

from harness import Cluster, eventually
from harness import wire as w
from harness.activity import end_backends
from harness.cluster import DATABASE
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
PID = "SELECT pg_backend_pid()"
ACCOUNT, ACCOUNT_PASSWORD = "common", "common-secret"
SUBJECTS = [f"tenant{number}" for number in range(8)]
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}

# The owner of the database wrote these: what they do cannot be seen in the text of a call.
SCHEMA = """
    CREATE TABLE ledger (owner name NOT NULL DEFAULT current_user, tenant text, body text);
    ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON ledger USING (owner = current_user AND tenant = current_setting('app.tenant', true));
    GRANT SELECT, INSERT, DELETE ON ledger TO subjects;
    CREATE SEQUENCE ticket;
    GRANT USAGE ON ticket TO subjects;
    CREATE FUNCTION leave_things(mark int) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('app.left', current_user, false), set_config('work_mem', '123kB', false);
        PERFORM set_config('search_path', 'pg_temp, public', false);
        PERFORM pg_advisory_lock_shared(mark), nextval('ticket');
        EXECUTE 'CREATE TEMPORARY TABLE IF NOT EXISTS ledger AS SELECT current_user::text AS owner';
        EXECUTE 'LISTEN ' || quote_ident(current_user);
        IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'trap') THEN
            EXECUTE 'PREPARE trap AS SELECT ''set by ' || current_user || '''';
        END IF;
    END $$;
    GRANT EXECUTE ON FUNCTION leave_things TO subjects;
"""


@pytest.fixture(scope="module")
def tenants(cluster: Any) -> Iterator[Cluster]:
    names = ", ".join(SUBJECTS)
    with cluster.admin() as admin:
        admin.execute(f"CREATE ROLE {ACCOUNT} LOGIN NOINHERIT PASSWORD '{ACCOUNT_PASSWORD}'")
        admin.execute(f"GRANT alice, bob, carol, reader, boss, snoop TO {ACCOUNT}")
        admin.execute(SCHEMA)
        for name in SUBJECTS:
            admin.execute(f"CREATE ROLE {name} NOLOGIN")
            rows = [(name, f"org of {name}", "mine"), (name, "another org", "mine as well, but not here")]
            admin.cursor().executemany("INSERT INTO ledger VALUES (%s, %s, %s)", rows)
        admin.execute(f"GRANT subjects TO {names}")
        admin.execute(f"GRANT {names} TO {ACCOUNT}")
    cluster.wait_for_replay()
    yield cluster
    with cluster.admin() as admin:
        end_backends(admin, f"usename = '{ACCOUNT}'")
        admin.execute("DROP TABLE ledger; DROP FUNCTION leave_things; DROP SEQUENCE ticket")
        admin.execute(f"DROP ROLE {names}, {ACCOUNT}")


@pytest.fixture
def make_shared(make_gateway: MakeGateway, tenants: Cluster) -> Callable[..., Target]:
    def make(size: int = 2, *, general: dict[str, Any] | None = None, **tables: Any) -> Target:
        primary = tenants.primary
        account = {"jwt_server_user": ACCOUNT, "jwt_server_password": ACCOUNT_PASSWORD}
        return make_gateway(
            general={"default_pool_size": size, "checkout_timeout": 15_000, **account, **(general or {})},
            **{
                "databases": [{"name": DATABASE, "host": primary.host, "port": primary.port}],
                "jwt": {"shared_pool": True},
                "admin": ADMIN,
            }
            | tables,
        )

    return make


def server_connections(cluster: Any) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND application_name NOT LIKE '%% monitor'"
    )
    with cluster.admin() as admin:
        return int(admin.execute(query, [ACCOUNT]).fetchone()[0])


def show(target: Target, command: str) -> list[dict[str, Any]]:
    options = {"dbname": "admin", "row_factory": dict_row}
    with target.connect("admin", "admin-secret", **options) as connection:  # type: ignore[arg-type]
        return connection.execute(f"SHOW {command}").fetchall()  # type: ignore[return-value]


@contextlib.contextmanager
def unless_crowded() -> Iterator[None]:
    """Of two connections one may be held by what cannot follow its session: a second is refused."""
    try:
        yield
    except ServerError as error:
        if error.sqlstate != "53400":
            raise


class Tenant:
    """A client that knows what it should find, does something, and looks."""

    def __init__(self, target: Target, number: int, seed: int) -> None:
        self.target, self.number, self.name = target, number, SUBJECTS[number]
        self.chance = random.Random(seed)
        self.done: dict[str, int] = {}
        self.enter()

    def enter(self) -> None:
        self.wire = self.target.wire(self.name, **{"app.tenant": f"org of {self.name}"})
        self.work_mem = self.note = None
        self.named = self.unnamed = False

    def step(self) -> None:
        does = self.chance.choice(STEPS)
        self.done[does.__name__] = self.done.get(does.__name__, 0) + 1
        does(self)
        self.look()

    def look(self) -> None:
        """Nothing but its own, and all of that."""
        mine = "org of " + self.name
        row = self.wire.rows(
            "SELECT current_user, session_user, current_setting('app.tenant'),"
            " (SELECT string_agg(owner || ':' || tenant, ',') FROM public.ledger),"
            " (SELECT string_agg(pid::text || objid, ',') FROM pg_locks WHERE locktype = 'advisory'"
            f"   AND pid = pg_backend_pid() AND objid <> {100 + self.number}),"
            " (SELECT string_agg(channel, ',') FROM pg_listening_channels() channel"
            f"   WHERE channel <> '{self.name}'),"
            " coalesce(nullif(current_setting('app.left', true), ''), current_user),"
            " (SELECT string_agg(statement, ';') FROM pg_prepared_statements"
            "   WHERE statement ~ 'tenant[0-9]' AND statement !~ current_user),"
            " (SELECT string_agg(table_name, ',') FROM information_schema.tables"
            "   WHERE table_type = 'LOCAL TEMPORARY' AND table_name <> 'ledger')"
        )[0]
        expected = (self.name, ACCOUNT, mine, f"{self.name}:{mine}", None, None, self.name, None, None)
        assert row == expected
        if self.work_mem:
            assert self.wire.value("SHOW work_mem") == self.work_mem
        if self.note:
            assert self.wire.value("SELECT current_setting('app.note')") == self.note
        elif note := self.wire.value("SELECT current_setting('app.note', true)"):
            raise AssertionError(f"{self.name} found {note}")

    def sets(self) -> None:
        self.work_mem = f"{self.chance.randrange(1000, 9000) + 1}kB"
        self.note = f"note of {self.name}, {self.chance.random()}"
        self.wire.rows(f"SET work_mem = '{self.work_mem}'")
        self.wire.rows(f"SET app.note = '{self.note}'")

    def sets_in_vain(self) -> None:
        self.wire.query("BEGIN")
        self.wire.query("SET work_mem = '77MB'; SET app.note = 'rolled back'")
        self.wire.query("ROLLBACK")

    def fails_in_a_transaction(self) -> None:
        self.wire.query("BEGIN")
        self.wire.query(
            "INSERT INTO public.ledger (tenant, body) VALUES (current_setting('app.tenant'), 'gone')"
        )
        assert w.error_of(self.wire.query("SELECT 1/0"))["C"] == "22012"
        self.wire.query("ROLLBACK")

    def prepares(self) -> None:
        sql = f"SELECT current_user || $1 /* {self.name} */"
        if not self.named:
            self.wire.send(w.parse(sql, "mine"), w.SYNC)
            assert self.rows() == []
            self.named = True
        self.wire.send(w.bind(["!"], "mine"), w.execute(), w.SYNC)
        assert self.rows() == [(f"{self.name}!",)]

    def prepares_without_a_name(self) -> None:
        self.wire.send(w.parse(f"SELECT '{self.name}', current_user, $1"), w.SYNC)
        assert self.rows() == []
        # Others may have had the connection in between.
        self.wire.send(w.bind(["x"]), w.execute(), w.SYNC)
        assert self.rows() == [(self.name, self.name, "x")]

    def rows(self) -> list[tuple[str | None, ...]]:
        messages = self.wire.until_ready()
        assert "E" not in w.types_of(messages), messages
        return [message.row for message in messages if message.type == "D"]

    def makes_a_temporary_table(self) -> None:
        with unless_crowded():
            self.wire.rows("CREATE TEMPORARY TABLE own AS SELECT current_user AS who")
            assert self.wire.rows("SELECT who FROM own") == [(self.name,)]
            self.wire.rows("DROP TABLE own")

    def listens(self) -> None:
        with unless_crowded():
            self.wire.rows(f"LISTEN {self.name}")
            self.wire.rows("UNLISTEN *")

    def locks(self) -> None:
        key = 100 + self.number
        with unless_crowded():
            self.wire.rows(f"SELECT pg_advisory_lock_shared({key})")
            self.wire.rows("SELECT pg_advisory_unlock_all()")

    def discards(self) -> None:
        self.wire.rows("DISCARD ALL")
        self.work_mem = self.note = None
        self.named = False

    def is_cancelled(self) -> None:
        self.wire.send(w.query("SELECT pg_sleep(20)"))
        cancelled = threading.Event()

        def cancel() -> None:
            # Until it runs there is nothing to cancel.
            while not cancelled.wait(0.02):
                with socket.create_connection(self.wire.address, 10) as request:
                    request.sendall(w.cancel_request(self.wire.cancel_key))
                    request.recv(1)

        thread = threading.Thread(target=cancel)
        thread.start()
        error = w.error_of(self.wire.until_ready())
        cancelled.set()
        thread.join()
        assert error["C"] == "57014"

    def vanishes(self) -> None:
        self.wire.query("BEGIN")
        self.wire.query("SET work_mem = '66MB'")
        self.wire.query(
            "INSERT INTO public.ledger (tenant, body) VALUES (current_setting('app.tenant'), 'gone')"
        )
        self.wire.close()
        self.enter()

    def calls_what_leaves_things(self) -> None:
        self.wire.rows(f"SELECT leave_things({100 + self.number})")
        self.work_mem = None


STEPS = [
    Tenant.sets,
    Tenant.sets_in_vain,
    Tenant.fails_in_a_transaction,
    Tenant.prepares,
    Tenant.prepares_without_a_name,
    Tenant.makes_a_temporary_table,
    Tenant.listens,
    Tenant.locks,
    Tenant.discards,
    Tenant.is_cancelled,
    Tenant.vanishes,
    Tenant.calls_what_leaves_things,
]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_subjects_take_turns_and_find_only_their_own(make_shared: Any, tenants: Cluster, seed: int) -> None:
    target = make_shared()
    everyone = [Tenant(target, number, seed * 100 + number) for number in range(len(SUBJECTS))]
    chance = random.Random(seed)
    for _ in range(120):
        chance.choice(everyone).step()

    assert server_connections(tenants) <= 2
    done = {name for tenant in everyone for name in tenant.done}
    assert len(done) == len(STEPS), "every step was taken"
    for tenant in everyone:
        tenant.wire.close()


def test_subjects_find_only_their_own_at_the_same_time(make_shared: Any, tenants: Cluster) -> None:
    target = make_shared()

    def live(number: int) -> int:
        tenant = Tenant(target, number, number)
        for _ in range(25):
            tenant.step()
        tenant.wire.close()
        return sum(tenant.done.values())

    with ThreadPoolExecutor(len(SUBJECTS)) as threads:
        assert sum(threads.map(live, range(len(SUBJECTS)))) == 25 * len(SUBJECTS)

    assert server_connections(tenants) <= 2


class Relay:
    """A line to PostgreSQL on which the gateway's queries are counted."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.queries = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                # Nothing is sent before the last query was answered, so a query begins what is read, or a
                # change of identity that comes with one.
                self.queries += counts and data[:1] in (b"Q", b"P")
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def relay(tenants: Cluster) -> Iterator[Relay]:
    relay = Relay(tenants.primary.port)
    yield relay
    relay.close()


def relayed(make_shared: Any, relay: Relay, size: int) -> Target:
    databases = [{"name": DATABASE, "host": "127.0.0.1", "port": relay.port}]
    # Monitors and looks at the database would be counted.
    general = {"tls_verify": "disabled", "idle_healthcheck_delay": 3_600_000, "server_cleaning": "never"}
    return make_shared(size, databases=databases, general=general)


def test_a_change_of_identity_costs_no_round_trip(make_shared: Any, relay: Relay) -> None:
    target = relayed(make_shared, relay, 1)
    with (
        target.wire("tenant0", **{"app.tenant": "org of tenant0"}) as one,
        target.wire("tenant1", **{"app.tenant": "org of tenant1", "timezone": "Asia/Tokyo"}) as other,
    ):
        one.value("SELECT 1")
        before = relay.queries
        for _ in range(10):
            assert other.rows("SELECT current_user, current_setting('timezone')") == [
                ("tenant1", "Asia/Tokyo")
            ]
            assert one.rows("SELECT current_user, count(*) FROM ledger") == [("tenant0", "1")]
        assert relay.queries - before == 20

        before = relay.queries
        for _ in range(10):
            one.value("SELECT 1")
        assert relay.queries - before == 10


def test_who_comes_back_gets_the_connection_it_had(make_shared: Any, relay: Relay) -> None:
    target = relayed(make_shared, relay, 3)
    wires = [target.wire(name) for name in SUBJECTS[:3]]
    for wire in wires:
        wire.query("BEGIN")
    pids = [wire.value(PID) for wire in wires]
    for wire in wires:
        wire.query("COMMIT")
    before = relay.queries

    for _ in range(5):
        assert [wire.value(PID) for wire in wires] == pids
    assert relay.queries - before == 15

    # Of the others, a newcomer takes the one that was not used for longest.
    wires[0].value("SELECT 1")
    with target.wire("tenant5") as newcomer:
        assert newcomer.value(PID) == pids[1]
    for wire in wires:
        wire.close()


def test_a_variable_of_one_is_not_there_for_the_next(make_shared: Any) -> None:
    target = make_shared(1)
    with target.wire("tenant0", **{"app.tenant": "org of tenant0"}) as one, target.wire("tenant1") as other:
        assert one.value("SELECT count(*) FROM ledger") == "1"
        assert other.value("SELECT coalesce(current_setting('app.tenant', true), '')") == ""
        assert other.value("SELECT count(*) FROM ledger") == "0"
        assert other.value("SELECT current_user") == "tenant1"


@pytest.mark.parametrize("guard", ["strict", "standard"])
def test_nothing_that_a_function_left_is_there_for_the_next(make_shared: Any, guard: str) -> None:
    target = make_shared(1, jwt={"shared_pool": True, "guard": guard})
    with target.wire("tenant0") as one, target.wire("tenant1") as other:
        one.rows("SELECT leave_things(4711)")
        one.send(w.extended("SELECT 'a text of tenant0'", name="named"))
        one.until_ready()

        assert other.value("SELECT coalesce(current_setting('app.left', true), '')") == ""
        assert other.value("SHOW search_path") == '"$user", public'
        assert other.value("SHOW work_mem") == "4MB"
        assert other.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
        assert other.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert other.value("SELECT count(*) FROM pg_prepared_statements") == "0"
        assert other.value("SELECT to_regclass('pg_temp.ledger') IS NULL") == "t"
        assert w.error_of(other.query("SELECT currval('ticket')"))["C"] == "55000"
        assert w.error_of(other.query("EXECUTE trap"))["C"] == "26000"


def test_a_notification_for_one_does_not_reach_the_next(make_shared: Any, tenants: Cluster) -> None:
    target = make_shared(2)
    with target.wire("tenant0") as one, target.wire("tenant1") as other:
        one.rows("SELECT leave_things(1)")
        with tenants.admin() as admin:
            admin.execute("NOTIFY tenant0, 'not for others'")
        for _ in range(5):
            assert "A" not in w.types_of(other.query("SELECT 1"))


def test_a_role_that_does_not_exist_or_may_not_be_assumed_ends_the_login(make_shared: Any) -> None:
    target = make_shared(1)
    with target.wire("tenant0") as wire:
        wire.value("SELECT 1")
        for name in ("nobody at all", "stranger", "boss", "snoop"):
            for _ in range(2):
                assert target.refusal(name)["C"] == "28000", name
        assert wire.value("SELECT current_user") == "tenant0"


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("ALTER ROLE passing RENAME TO passed", "ALTER ROLE passed RENAME TO passing"),
        ("REVOKE passing FROM common", "GRANT passing TO common"),
        ("ALTER ROLE passing BYPASSRLS", "ALTER ROLE passing NOBYPASSRLS"),
        ("ALTER ROLE passing SUPERUSER", "ALTER ROLE passing NOSUPERUSER"),
    ],
)
def test_a_role_that_was_taken_away_runs_nothing_more(
    make_shared: Any, tenants: Cluster, change: str, undo: str
) -> None:
    with tenants.admin() as admin:
        admin.execute("CREATE ROLE passing NOLOGIN; GRANT subjects TO passing; GRANT passing TO common")
        try:
            target = make_shared(1)
            with target.wire("passing") as wire, target.wire("tenant1") as other:
                assert wire.value("SELECT current_user") == "passing"
                assert other.value("SELECT current_user") == "tenant1"

                admin.execute(change)
                for _ in range(3):
                    messages = wire.query("INSERT INTO ledger VALUES (current_user, '', 'too late')")
                    assert w.error_of(messages)["C"] == "42501"
                    assert other.value("SELECT current_user") == "tenant1"
                row = admin.execute("SELECT count(*) FROM ledger WHERE body = 'too late'").fetchone()
                assert row == (0,)

                admin.execute(undo)
                assert wire.value("SELECT current_user") == "passing"
        finally:
            admin.execute("DROP ROLE IF EXISTS passing, passed")


def test_a_setting_that_is_refused_is_said_to_be_and_the_connection_serves_on(make_shared: Any) -> None:
    target = make_shared(1)
    with target.wire("tenant0") as wire:
        wire.value("SELECT 1")
        refused = target.refusal("tenant1", work_mem="a lot")
        assert refused["C"] == "22023"
        assert "work_mem" in refused["M"]
        assert wire.value("SELECT current_user") == "tenant0"


def two_servers(tenants: Cluster) -> list[dict[str, Any]]:
    servers = [("primary", tenants.primary), ("replica", tenants.replica)]
    return [
        {"name": DATABASE, "host": server.host, "port": server.port, "role": role}
        for role, server in servers
        if server
    ]


def test_those_that_only_read_share_with_nobody_that_writes(make_shared: Any, tenants: Cluster) -> None:
    users = [{"name": "reader", "database": DATABASE, "read_only": True}]
    target = make_shared(1, databases=two_servers(tenants), users=users)
    with target.wire("reader") as reader, target.wire("tenant1") as writer:
        for _ in range(5):
            assert reader.rows("SELECT current_user, pg_is_in_recovery()") == [("reader", "t")]
            assert writer.value("SELECT current_user") == "tenant1"
            writer.query("BEGIN")
            assert writer.rows("SELECT current_user, pg_is_in_recovery()") == [("tenant1", "f")]
            writer.query("COMMIT")
        pools = [row for row in show(target, "POOLS") if row["user"] == ACCOUNT]
        assert sorted(row["role"] for row in pools) == ["primary", "replica", "replica"]


def test_readers_take_turns_on_a_replica(make_shared: Any, tenants: Cluster) -> None:
    general = {"jwt_user_auto_provision_read_only": True}
    target = make_shared(1, databases=two_servers(tenants), general=general)
    wires = {name: target.wire(name, **{"app.tenant": f"org of {name}"}) for name in SUBJECTS[:4]}
    for _ in range(3):
        for name, wire in wires.items():
            query = "SELECT current_user, pg_is_in_recovery(), owner FROM ledger"
            assert wire.rows(query) == [(name, "t", name)]
    for wire in wires.values():
        wire.close()


def test_the_admin_database_says_who_the_clients_are(make_shared: Any) -> None:
    target = make_shared(2)
    with target.wire("tenant0") as one, target.wire("tenant1") as other:
        one.query("BEGIN")
        assert one.value("SELECT current_user") == "tenant0"
        other.value("SELECT 1")

        clients = {row["user"]: row for row in show(target, "CLIENTS") if row["database"] == DATABASE}
        assert set(clients) == {"tenant0", "tenant1"}
        (pool,) = [row for row in show(target, "POOLS") if row["user"] == ACCOUNT]
        assert (pool["sv_total"], pool["sv_active"], pool["pool_size"]) == (2, 1, 2)
        holders = [row["client_id"] for row in show(target, "SERVERS") if row["client_id"] is not None]
        assert holders == [clients["tenant0"]["id"]]
        subjects = {row["subject"]: row["servers"] for row in show(target, "SUBJECTS")}
        assert subjects == {"tenant0": 1, "tenant1": 0}


def test_a_user_whose_entry_speaks_of_its_pool_has_one_of_its_own(make_shared: Any) -> None:
    users = [
        {"name": "alice", "database": DATABASE, "pool_size": 3},
        {"name": "bob", "database": DATABASE},
        {"name": ACCOUNT, "database": DATABASE, "pool_size": 7},
    ]
    target = make_shared(2, users=users)
    for name in ("alice", "bob", "carol"):
        with target.wire(name) as wire:
            assert wire.value("SELECT current_user") == name
    sizes = {row["user"]: row["pool_size"] for row in show(target, "POOLS")}
    assert sizes == {"alice": 3, ACCOUNT: 7}


def test_sessions_follow_a_reload_to_the_new_shared_pool(make_shared: Any) -> None:
    target = make_shared(2)
    with target.wire("tenant0", **{"app.tenant": "org of tenant0"}) as wire:
        assert wire.value("SELECT count(*) FROM ledger") == "1"
        general = {**target.gateway.config["general"], "default_pool_size": 4}
        target.gateway.write({**target.gateway.config, "general": general})
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: {row["pool_size"] for row in show(target, "POOLS")} <= {4}, "the reload")

        assert wire.value("SELECT current_user") == "tenant0"
        assert wire.value("SELECT count(*) FROM ledger") == "1"


def test_in_session_mode_a_connection_is_another_subjects_afterwards(make_shared: Any) -> None:
    target = make_shared(1, general={"pooler_mode": "session"})
    with target.wire("tenant0") as wire:
        wire.rows("SET app.note = 'of tenant0'")
        wire.rows("CREATE TEMPORARY TABLE own ()")
        pid = wire.value(PID)
    with target.wire("tenant1") as wire:
        assert wire.rows("SELECT current_user, session_user") == [("tenant1", ACCOUNT)]
        assert wire.value("SELECT coalesce(current_setting('app.note', true), '')") == ""
        assert wire.value("SELECT to_regclass('pg_temp.own') IS NULL") == "t"
        assert wire.value(PID) == pid


def test_a_file_without_the_account_is_refused(make_gateway: MakeGateway) -> None:
    general = {"jwt_server_user": None, "jwt_user_auto_provision": False}
    target = make_gateway(jwt={"shared_pool": True}, general=general, start=False)
    with pytest.raises(RuntimeError, match="shared_pool"):
        target.gateway.start()
