"""PostgreSQL's own tools, used by a token's subject."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Cluster, Gateway, Installation, Issuer, Workspace, default_config, merged
from harness.external import is_external
from harness.hosts import is_pgdog
from harness.installation import installations_with_tools
from harness.target import Target

pytestmark = pytest.mark.skipif(is_pgdog(), reason="PgDog sends texts as they are")

TOOLS = [] if is_external() else installations_with_tools()

# What alice owns and works with.
SHOP = """
CREATE TYPE shop.state AS ENUM ('new', 'sent');
CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state shop.state NOT NULL, note text
);
INSERT INTO shop.orders (state, note) SELECT 'new', 'order ' || n FROM generate_series(1, 50) n;
CREATE TABLE shop.items (order_id bigint REFERENCES shop.orders, name text);
INSERT INTO shop.items SELECT id, 'item of ' || id FROM shop.orders;
CREATE INDEX items_of ON shop.items (order_id);
CREATE VIEW shop.open_orders AS SELECT id FROM shop.orders WHERE state = 'new';
CREATE SEQUENCE shop.numbers START 7;
COMMENT ON TABLE shop.orders IS 'what was ordered';
"""


class Tools:
    """A PostgreSQL, its tools, and a gateway in front of it."""

    def __init__(
        self, workspace: Workspace, installation: Installation, issuer: Issuer, **tables: Any
    ) -> None:
        self.workspace = workspace
        self.installation = installation
        self.cluster = Cluster(workspace, installation, replica=False)
        config = merged(default_config(self.cluster, issuer), tables)
        self.target = Target.of(Gateway(workspace, config, {}).start(), issuer)
        with self.cluster.admin() as admin:
            admin.execute("CREATE SCHEMA shop AUTHORIZATION alice; CREATE SCHEMA copy AUTHORIZATION alice")
            admin.execute("GRANT CREATE ON DATABASE demo TO alice")
        with self.target.connect("alice") as alice:
            alice.execute(SHOP)

    def run(self, program: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """One of the tools, as alice, to its end."""
        target = self.target
        place = {
            "PGHOST": target.host,
            "PGPORT": str(target.port),
            "PGUSER": "alice",
            "PGDATABASE": target.database,
        }
        environment = target.psql_environment("alice") | place | {"PGCLIENTENCODING": "UTF8", "LC_ALL": "C"}
        command = [self.installation.program(program), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=240, **options
        )

    def good(self, program: str, *arguments: str | Path, **options: Any) -> str:
        """The same; its output, when it has succeeded and complained of nothing."""
        done = self.run(program, *arguments, **options)
        output = f"{done.stdout[-2000:]}\n{done.stderr}"
        assert done.returncode == 0, output
        assert "ERROR" not in done.stderr, output
        return done.stdout

    def psql(self, script: str, *arguments: str) -> str:
        """A script by psql, on its standard input."""
        options = ("--no-psqlrc", "-v", "ON_ERROR_STOP=1", *arguments)
        return self.good("psql", *options, input=script)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """As alice."""
        with self.target.connect("alice") as alice:
            return alice.execute(sql).fetchall()


@pytest.fixture(scope="module", params=TOOLS, ids=lambda one: f"PostgreSQL {one.version}")
def tools(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Tools]:
    with Workspace() as workspace:
        yield Tools(workspace, request.param, issuer)


@pytest.fixture(scope="module", params=["strict", "standard"])
def pg_18(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Tools]:
    """The newest, in session mode, with either guard."""
    if not TOOLS:
        pytest.skip("no PostgreSQL with tools of its own version")
    newest = max(TOOLS, key=lambda one: one.major)
    with Workspace() as workspace:
        yield Tools(
            workspace, newest, issuer, general={"pooler_mode": "session"}, jwt={"guard": request.param}
        )


def test_pg_dump_plain(tools: Tools) -> None:
    dump = tools.good("pg_dump", "-n", "shop")

    assert "CREATE TABLE shop.orders" in dump
    assert "order 50" in dump
    assert "CREATE VIEW shop.open_orders" in dump


@pytest.mark.parametrize("what", ["-s", "-a"])
def test_pg_dump_of_a_part(tools: Tools, what: str) -> None:
    dump = tools.good("pg_dump", "-n", "shop", what)

    assert ("CREATE TABLE" in dump) == (what == "-s")
    assert ("order 50" in dump) == (what == "-a")


@pytest.mark.parametrize("by", ["custom", "directory in two processes"])
def test_a_dump_can_be_restored(tools: Tools, tmp_path: Path, by: str) -> None:
    dump = tmp_path / "dump"
    options = ["-Fc"] if by == "custom" else ["-Fd", "-j", "2"]
    tools.good("pg_dump", "-n", "shop", *options, "-f", dump)
    before = tools.rows("SELECT * FROM shop.orders JOIN shop.items ON order_id = id ORDER BY id")
    tools.psql("DROP SCHEMA shop CASCADE")

    tools.good("pg_restore", "--exit-on-error", "-d", "demo", *(["-j", "2"] if by != "custom" else []), dump)

    assert tools.rows("SELECT * FROM shop.orders JOIN shop.items ON order_id = id ORDER BY id") == before
    assert len(before) == 50


def test_a_restore_in_one_transaction_that_cleans_first(tools: Tools, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    tools.good("pg_dump", "-n", "shop", "-Fc", "-f", dump)

    tools.good("pg_restore", "-1", "--clean", "--if-exists", "-d", "demo", dump)

    assert tools.rows("SELECT count(*) FROM shop.items") == [(50,)]


def test_a_plain_dump_runs_in_psql(tools: Tools) -> None:
    dump = tools.good("pg_dump", "-n", "shop", "--clean", "--if-exists", "--inserts")

    tools.psql(dump)

    assert tools.rows("SELECT count(*), max(note) FROM shop.orders") == [(50, "order 9")]


def test_pg_dumpall_as_far_as_the_subject_may_read(tools: Tools) -> None:
    globals_alone = tools.good("pg_dumpall", "--globals-only", "--no-role-passwords", "-l", "demo")

    assert "CREATE ROLE alice;" in globals_alone

    # The subject may not read tables of others: that is PostgreSQL's error, and comes behind all that is set.
    done = tools.run("pg_dumpall", "--no-role-passwords", "-l", "demo", "--exclude-database=postgres")
    assert "permission denied to" not in done.stderr
    assert "set_config" not in done.stderr


def test_vacuumdb_and_reindexdb(tools: Tools) -> None:
    tools.good("vacuumdb", "-t", "shop.orders", "-t", "shop.items", "--analyze")
    tools.good("vacuumdb", "-t", "shop.orders", "-t", "shop.items", "-j", "2", "--full")
    tools.good("reindexdb", "-t", "shop.orders", "-i", "shop.items_of")
    tools.good("reindexdb", "-t", "shop.orders", "-t", "shop.items", "-j", "2", "--concurrently")


def test_pgbench(tools: Tools) -> None:
    tools.psql("CREATE SCHEMA IF NOT EXISTS alice")
    tools.good("pgbench", "-i", "-s", "1", "-q", "-I", "dtGvp", "--foreign-keys")
    for mode in ("simple", "extended", "prepared"):
        output = tools.good("pgbench", "-n", "-c", "2", "-t", "20", "-M", mode)
        assert "number of transactions actually processed: 40/40" in output
    tools.good("pgbench", "-i", "-I", "d")


def test_psql_describes_everything(tools: Tools) -> None:
    """Each command of this kind that its help names."""
    lines = [line.strip() for line in tools.good("psql", "--no-psqlrc", "-c", "\\?").splitlines()]
    commands = sorted(
        {re.split(r"[\[ ]", line)[0] for line in lines if line.startswith("\\d")} | {"\\l", "\\z"}
    )
    assert len(commands) > 40, commands
    forms = [f"{command}{more}" for command in commands for more in ("", "S+", " shop*", "+ shop.*")]

    done = tools.run("psql", "--no-psqlrc", input="\n".join(forms))

    assert done.returncode == 0
    assert "what was ordered" in done.stdout
    complaints = {line for line in done.stderr.splitlines() if "ERROR" in line or "gateway" in line}
    # What a user without rights of administration hears of PostgreSQL itself.
    own = ("table pg_subscription", "tablespace pg_global")
    assert complaints <= {f"ERROR:  permission denied for {what}" for what in own}


def test_psql_copies(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("901,sent,one\n902,new,two\n")
    script = f"""
CREATE TABLE shop.copied (id bigint, state shop.state, note text);
\\copy shop.copied FROM '{tmp_path}/rows' WITH (FORMAT csv)
\\copy shop.copied FROM STDIN
903\tnew\tthree
\\.
\\copy (SELECT id FROM shop.copied ORDER BY id) TO '{tmp_path}/out'
DROP TABLE shop.copied;
"""
    tools.psql(script)

    assert (tmp_path / "out").read_text() == "901\n902\n903\n"


def test_psql_keeps_large_objects(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 1024)
    output = tools.psql(f"""
\\lo_import '{tmp_path}/large' 'a large one'
\\lo_list
\\lo_export :LASTOID '{tmp_path}/back'
\\lo_unlink :LASTOID
\\lo_list
""")

    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    assert output.count("a large one") == 1


def test_psql_runs_in_other_ways(tools: Tools) -> None:
    bound = "SELECT $1::int AS bound \\bind 8 \\g\n" if tools.installation.major >= 16 else ""
    output = tools.psql(f"SELECT 1 AS one \\gdesc\nSELECT 'SELECT 7 AS seven' \\gexec\n{bound}", "-At")

    assert output.split() == ["one|integer", "7"] + (["8"] if bound else [])


def test_psql_watches(tools: Tools) -> None:
    target = tools.target
    command = [
        tools.installation.program("psql"),
        "--no-psqlrc",
        "-At",
        f"host={target.host} port={target.port} dbname=demo user=alice",
    ]
    with subprocess.Popen(
        command,
        env=target.psql_environment("alice"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as psql:
        assert psql.stdin
        assert psql.stdout
        psql.stdin.write("SELECT current_user AS who \\watch 0.05\n")
        psql.stdin.flush()
        seen = 0
        for line in psql.stdout:
            seen += line.strip() == "alice"
            if seen == 3:
                break
        psql.terminate()
        psql.stdin.close()
    assert seen == 3


def test_tools_in_session_mode_with_either_guard(pg_18: Tools, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    pg_18.good("pg_dump", "-n", "shop", "-Fd", "-j", "2", "-f", dump)
    pg_18.good("pg_restore", "--clean", "--if-exists", "-j", "2", "-d", "demo", dump)

    assert pg_18.rows("SELECT count(*) FROM shop.items") == [(50,)]
