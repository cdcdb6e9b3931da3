"""The product in one command: PostgreSQL with a replica, an issuer, the gateway, and a show of what it does.

make demo            shows, then stays up until Ctrl-C
make demo ONCE=1     shows, then exits; not 0 if a step did not do what it says
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from harness import DATABASE, Cluster, Gateway, Issuer, Workspace, default_config, exit_on_signals, merged
from harness.cluster import SERVER_PASSWORD, SERVER_USER
from harness.issuer import tampered
from harness.show import Show
from harness.wire import ServerError, Wire

HOUR = 3600
REFUSED_LOGIN = "28000"
REFUSED_STATEMENT = "42501"
READ_ONLY_TRANSACTION = "25006"
WRITE = "INSERT INTO notes (body) VALUES ('hi')"

# Made anew for each run, for it opens every row.
PROOF_KEY = secrets.token_hex(32)
CLAIMS = {
    "session": {"variables": {"app.tenant_id": "{tenant_id}"}},
    "proof": {"key": PROOF_KEY, "claims": ["iss", "sub", "tenant_id"]},
}
ORDERS = """
    CREATE TABLE orders (tenant_id text NOT NULL, item text NOT NULL);
    GRANT SELECT ON orders TO subjects;
    INSERT INTO orders VALUES ('acme', 'anvil'), ('acme', 'rocket'), ('initech', 'stapler');
    SELECT jwt.protect('orders');
"""

# `reader` is named here to be read-only. Other subjects need no entry: their first login makes their pool.
USERS = {
    "users": [
        {
            "name": "reader",
            "database": DATABASE,
            "read_only": True,
            "server_user": SERVER_USER,
            "server_password": SERVER_PASSWORD,
        }
    ]
}


@dataclass(frozen=True)
class Answer:
    """What came back: rows, or an error's SQLSTATE and text."""

    text: str
    sqlstate: str | None = None


class Demo:
    def __init__(self, show: Show, cluster: Cluster, issuer: Issuer, gateway: Gateway) -> None:
        self.show, self.cluster, self.issuer, self.gateway = show, cluster, issuer, gateway

    def run(self) -> None:
        self.a_token_is_a_login()
        self.claims_decide_about_rows()
        self.the_read_only_subject()
        self.what_is_refused()

    def a_token_is_a_login(self) -> None:
        self.show.title("A token is a login: it takes the place of the password")
        with self.session("alice", self.issuer.token("alice")) as ask:
            self.expect("alice logs in; PostgreSQL says who she is", ask, "SELECT current_user", "alice")
            self.expect(
                "row-level security shows her own rows", ask, "SELECT DISTINCT owner FROM notes", "alice"
            )
            self.expect("she writes", ask, WRITE, "INSERT 0 1")
            self.expect_error("she cannot become somebody else", ask, "SET ROLE bob", REFUSED_STATEMENT)
            self.expect("the session goes on as before", ask, "SELECT current_user", "alice")
        with self.session("bob", self.issuer.token("bob")) as ask:
            self.expect("bob, at the same gateway, is bob", ask, "SELECT current_user", "bob")
            self.expect("and sees his rows, not hers", ask, "SELECT DISTINCT owner FROM notes", "bob")

    def claims_decide_about_rows(self) -> None:
        self.show.title("Claims decide about rows, and the database itself verifies them")
        rows = "SELECT item FROM orders ORDER BY 1"
        for tenant, items in (("acme", "anvil, rocket"), ("initech", "stapler")):
            with self.session("alice", self.issuer.token("alice", tenant_id=tenant)) as ask:
                self.expect(f"a token for {tenant} shows its rows", ask, rows, items)
                self.expect("the tenant, proven by the gateway", ask, "SELECT jwt.tenant()", tenant)
                forged = "SET jwt.proof = 'v1.1.e30.forged'"
                self.expect_error("no statement changes the proof", ask, forged, REFUSED_STATEMENT)
                setting = "SET app.tenant_id = 'acme'"
                self.expect_error("nor a setting that a claim makes", ask, setting, REFUSED_STATEMENT)
        with self.session("alice", self.issuer.token("alice")) as ask:
            self.expect("a token without a tenant shows none", ask, "SELECT count(*) FROM orders", "0")

    def the_read_only_subject(self) -> None:
        self.show.title("A read-only subject reads from the replica and writes nowhere")
        with self.session("reader", self.issuer.token("reader")) as ask:
            self.expect("reader logs in", ask, "SELECT current_user", "reader")
            self.expect("the replica answers", ask, "SELECT served_by()", "replica")
            self.expect_error("writing is refused", ask, WRITE, READ_ONLY_TRANSACTION)

    def what_is_refused(self) -> None:
        self.show.title("What is refused; the client hears the same each time, the log says why")
        good = self.issuer.token
        yesterday = {"iat": 1_700_000_000, "exp": 1_700_000_300}
        self.expect_refusal("an expired token", "alice", good("alice", **yesterday))
        self.expect_refusal("a tampered token, bob's name put in", "bob", tampered(good("alice"), sub="bob"))
        self.expect_refusal("a token for another audience", "alice", good("alice", aud="billing"))
        self.expect_refusal("alice's good token for another user", "bob", good("alice"))
        self.expect_refusal("a subject without a role in PostgreSQL", "mallory", good("mallory"))
        self.expect_refusal("a plain password", "alice", "correct horse")

    def expect(self, what: str, ask: Callable[[str], Answer], sql: str, wanted: str) -> None:
        answer = ask(sql)
        self.show.step(what, sql, answer.text, answer == Answer(wanted))

    def expect_error(self, what: str, ask: Callable[[str], Answer], sql: str, sqlstate: str) -> None:
        answer = ask(sql)
        self.show.step(what, sql, answer.text, answer.sqlstate == sqlstate)

    def expect_refusal(self, what: str, user: str, credential: str) -> None:
        self.gateway.mark()
        answer = self.login(user, credential)
        reason = self.gateway.last_login().get("reason") if answer.sqlstate else "no refusal"
        sent = f"user={user} password={credential[:13]}…"
        self.show.step(what, sent, f"{answer.text}  [log: {reason}]", answer.sqlstate == REFUSED_LOGIN)

    def connect(self, user: str, credential: str) -> psycopg.Connection:
        return psycopg.connect(
            host=self.gateway.host,
            port=self.gateway.port,
            dbname=DATABASE,
            user=user,
            password=credential,
            connect_timeout=10,
            autocommit=True,
        )

    def login(self, user: str, credential: str) -> Answer:
        """By hand, because libpq hides the SQLSTATE of a refused login."""
        with Wire(self.gateway.host, self.gateway.port) as wire:
            try:
                wire.login(user, DATABASE, credential)
            except ServerError as error:
                return Answer(str(error), error.sqlstate)
            except (OSError, EOFError) as error:
                return Answer(f"no proper answer: {error}")
        return Answer("logged in")

    @contextlib.contextmanager
    def session(self, user: str, credential: str) -> Iterator[Callable[[str], Answer]]:
        """A session that answers statements; one that cannot be had answers each with the reason."""
        try:
            connection = self.connect(user, credential)
        except psycopg.Error as error:
            failure = refusal(error)
            yield lambda _sql: failure
            return
        with connection:

            def ask(sql: str) -> Answer:
                try:
                    cursor = connection.execute(sql)
                    rows = cursor.fetchall() if cursor.description else [(cursor.statusmessage,)]
                except psycopg.Error as error:
                    return refusal(error)
                return Answer(", ".join(str(column) for row in rows for column in row))

            yield ask

    def print_psql_lines(self) -> None:
        psql = shutil.which("psql") or str(self.cluster.installation.program("psql"))
        for user, can in (("alice", "reads and writes"), ("reader", "reads, from the replica")):
            token = self.issuer.token(user, expires_in=12 * HOUR)
            target = f"host={self.gateway.host} port={self.gateway.port} user={user} dbname={DATABASE}"
            self.show.title(f"{user} ({can}):")
            print(f"PGPASSWORD='{token}' {shlex.quote(psql)} \"{target}\"")


def refusal(error: psycopg.Error) -> Answer:
    said = error.diag.message_primary or " ".join(str(error).split()) or "no answer"
    return Answer(f"{error.diag.severity or 'ERROR'} {error.sqlstate or ''}: {said}", error.sqlstate)


def install_claims(cluster: Cluster, gateway: Gateway) -> None:
    """The functions that verify claims, the key, and a table that is protected by them."""
    script = subprocess.run([gateway.program, "setup", "sql"], check=True, capture_output=True, text=True)
    with cluster.admin() as admin:
        admin.execute(script.stdout)
        admin.execute("SELECT jwt.add_key('1', %s)", [PROOF_KEY])
        admin.execute(ORDERS)
    cluster.wait_for_replay()


def prepare(show: Show, work: Workspace) -> Demo:
    show.title("pgdog-jwt: log in to PostgreSQL with the token that you already have")
    cluster = Cluster(work)
    assert cluster.replica
    servers = f"primary on port {cluster.primary.port}, streaming replica on port {cluster.replica.port}"
    show.fact("PostgreSQL", f"{cluster.installation.version}: {servers}")
    issuer = Issuer()
    show.fact("issuer", f"a new {issuer.key.algorithm} key, published at {issuer.jwks_url}")
    gateway = Gateway(work, merged(default_config(cluster, issuer), {"jwt": CLAIMS}), USERS)
    install_claims(cluster, gateway)
    show.fact("claims", "jwt.tenant() and its relatives installed; the table orders is protected by them")
    gateway.start()
    show.fact("gateway", f"{gateway.host}:{gateway.port}, with {gateway.config_file}")
    return Demo(show, cluster, issuer, gateway)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--once", action="store_true", help="exit after the show")
    once = options.parse_args().once
    exit_on_signals()
    show = Show()
    try:
        with Workspace() as work:
            demo = prepare(show, work)
            demo.run()
            if show.failures:
                show.title(f"{show.failures} of these did not do what they say. The gateway's last words:")
                print("\n".join(demo.gateway.log_text().splitlines()[-10:]))
            if not once:
                demo.print_psql_lines()
                show.title("Press Ctrl-C to stop; nothing is left behind.")
                signal.pause()
    except KeyboardInterrupt:
        print()
        return 130 if once else bool(show.failures)
    except (RuntimeError, TimeoutError) as error:
        print(f"\nThe demo cannot go on: {error}", file=sys.stderr)
        return 1
    return bool(show.failures)


if __name__ == "__main__":
    raise SystemExit(main())
