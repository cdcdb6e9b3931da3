"""The model of PostgreSQL that the protocol's state machine is tried with, compared with PostgreSQL itself.

`pgdog-jwt-protocol/tests/every_sequence.rs` tries the machine with every sequence of messages against a model
of PostgreSQL's main loop and of its reader of COPY data. Here the same letters are sent to real servers, all
messages of a sequence at once, and the replies must be those that the model says (`examples/predict.rs`).
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Cluster, Workspace, chosen_installations
from harness import wire as w
from harness.cluster import DATABASE, SERVER_PASSWORD, SERVER_USER
from harness.comparison import DEFECT
from harness.external import is_external
from harness.gateway import REPOSITORY
from harness.wire import Wire

INSTALLATIONS = [] if is_external() else chosen_installations()
BUILD_SECONDS = 600
RANDOM_SEQUENCES = 1500
SEED = 20

# As in `tests/common/mod.rs`, in the order of `Letter::ALL`.
MODEL = (
    *("Query", "QueryFails", "QueryCopy", "QueryTwoCopies", "QueryCopyFails", "FunctionCall"),
    *("FunctionCallFails", "Parse", "ParseFails", "Bind", "BindFails", "DescribeStatement", "DescribePortal"),
    *("DescribeFails", "Execute", "ExecuteFails", "ExecuteUnknown", "ExecuteUnknownFails", "ExecuteCopy"),
    *("ExecuteCopyFails", "ExecuteCopyUnforeseen", "Close", "Flush", "Sync", "SyncFails", "Data", "BadData"),
    *("Done", "DoneFails", "Fail"),
)

# Behind each sequence: whatever it has left ends here.
TAIL = ("Fail", "Sync", "Query")

TABLES = """
DROP SCHEMA IF EXISTS model CASCADE;
CREATE SCHEMA model;
CREATE TABLE model.numbers (n int PRIMARY KEY);
INSERT INTO model.numbers VALUES (0);
CREATE TABLE model.zero AS SELECT 0 AS n;
CREATE TABLE model.late (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO model.late VALUES (1);
CREATE TABLE model.closed (n int);
CREATE FUNCTION model.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'closed'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON model.closed EXECUTE FUNCTION model.refuse();
GRANT USAGE ON SCHEMA model TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA model TO PUBLIC;
"""
STATEMENTS = {
    "good": "SELECT 1",
    "fails": "SELECT 1 / n FROM model.zero",
    "copy": "COPY model.numbers FROM STDIN",
    "closed": "COPY model.closed FROM STDIN",
    "late": "INSERT INTO model.late VALUES (1)",
}

numbers = itertools.count(1)


def bind_and(message: Callable[[str], bytes], statement: str) -> bytes:
    portal = f"p{next(numbers)}"
    return w.bind(statement=statement, portal=portal) + message(portal)


# For each letter the messages, and the letters of the model that they are.
LETTERS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "Query": (lambda: w.query("SELECT 1"), ("Query",)),
    "QueryFails": (lambda: w.query("SELECT FROM nowhere_at_all"), ("QueryFails",)),
    "QueryCopy": (lambda: w.query(STATEMENTS["copy"]), ("QueryCopy",)),
    "QueryTwoCopies": (lambda: w.query(f"{STATEMENTS['copy']};{STATEMENTS['copy']}"), ("QueryTwoCopies",)),
    "QueryCopyFails": (lambda: w.query(STATEMENTS["closed"]), ("QueryCopyFails",)),
    "FunctionCall": (lambda: w.function_call(1598), ("FunctionCall",)),
    "FunctionCallFails": (lambda: w.function_call(999_999_999), ("FunctionCallFails",)),
    "Parse": (lambda: w.parse("SELECT 1"), ("Parse",)),
    "ParseFails": (lambda: w.parse("SELECT FROM nowhere_at_all"), ("ParseFails",)),
    "Bind": (lambda: w.bind(statement="good"), ("Bind",)),
    "BindFails": (lambda: w.bind(statement="missing"), ("BindFails",)),
    "DescribeStatement": (lambda: w.describe("S", "good"), ("DescribeStatement",)),
    "DescribePortal": (
        lambda: bind_and(lambda portal: w.describe("P", portal), "good"),
        ("Bind", "DescribePortal"),
    ),
    "DescribeFails": (lambda: w.describe("P", "missing"), ("DescribeFails",)),
    "Execute": (lambda: bind_and(w.execute, "good"), ("Bind", "Execute")),
    "ExecuteFails": (lambda: bind_and(w.execute, "fails"), ("Bind", "ExecuteFails")),
    "ExecuteCopy": (lambda: bind_and(w.execute, "copy"), ("Bind", "ExecuteCopy")),
    "ExecuteCopyFails": (lambda: bind_and(w.execute, "closed"), ("Bind", "ExecuteCopyFails")),
    "Close": (lambda: w.close("P", "nothing"), ("Close",)),
    "Flush": (lambda: w.FLUSH, ("Flush",)),
    "Sync": (lambda: w.SYNC, ("Sync",)),
    "SyncFails": (lambda: bind_and(w.execute, "late") + w.SYNC, ("Bind", "Execute", "SyncFails")),
    "Data": (lambda: w.copy_data(b"%d\n" % next(numbers)), ("Data",)),
    "BadData": (lambda: w.copy_data(b"no number\n"), ("BadData",)),
    "Done": (lambda: w.COPY_DONE, ("Done",)),
    "DoneFails": (lambda: w.copy_data(b"0\n") + w.COPY_DONE, ("Data", "DoneFails")),
    "Fail": (lambda: w.copy_fail("enough"), ("Fail",)),
}
MOVING = (
    *("Query", "QueryFails", "QueryTwoCopies", "Parse", "ParseFails", "Execute", "ExecuteCopy"),
    *("ExecuteCopyFails", "Sync", "SyncFails", "Data", "BadData", "Done"),
)

Sequence = tuple[str, ...]


def sequences() -> Iterator[Sequence]:
    for length in (1, 2):
        yield from itertools.product(LETTERS, repeat=length)
    yield from itertools.product(MOVING, repeat=3)
    chance = random.Random(SEED)
    for _ in range(RANDOM_SEQUENCES):
        yield tuple(chance.choices(list(LETTERS), k=chance.randint(4, 9)))


@pytest.fixture(scope="module")
def predict() -> Callable[[Iterable[Sequence]], list[str]]:
    """What the model says of sequences: the types of the replies without rows, or `closed`."""
    if not shutil.which("cargo"):
        pytest.skip("cargo is not installed: the model is not compared")
    command = ["cargo", "build", "--quiet", "--locked", "-p", "pgdog-jwt-protocol", "--example", "predict"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stderr
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))

    def predict(all_of_them: Iterable[Sequence]) -> list[str]:
        lines = []
        for sequence in all_of_them:
            letters = (model for letter in (*sequence, *TAIL) for model in LETTERS[letter][1])
            lines.append(" ".join(str(MODEL.index(letter)) for letter in letters))
        program = target / "debug" / "examples" / "predict"
        said = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True)
        return [
            "closed" if line.endswith("closed") else line.split()[0].replace("D", "")
            for line in said.stdout.splitlines()
        ]

    return predict


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=lambda one: f"PostgreSQL {one.version}")
def each(request: pytest.FixtureRequest, cluster: Any) -> Iterator[Cluster]:
    if request.param.version == cluster.installation.version:
        yield cluster
        return
    with Workspace() as workspace:
        yield Cluster(workspace, request.param, replica=False)


def connect(cluster: Cluster) -> Wire:
    wire = Wire(cluster.primary.host, cluster.primary.port)
    wire.login(SERVER_USER, DATABASE, SERVER_PASSWORD)
    wire.query("SET client_min_messages = error")
    for name, sql in STATEMENTS.items():
        wire.send(w.parse(sql, name))
    wire.send(w.SYNC)
    assert w.types_of(wire.until_ready()) == "1" * len(STATEMENTS) + "Z"
    return wire


def replies(wire: Wire, sequence: Sequence) -> str:
    """The types of PostgreSQL's replies, without rows and what it says unasked."""
    marker = f"marker {next(numbers)}"
    wire.send(*(LETTERS[letter][0]() for letter in (*sequence, *TAIL[:-1])), w.query(f"SELECT '{marker}'"))
    seen, is_last = "", False
    while not (is_last and seen.endswith("Z")):
        try:
            message = wire.receive()
        except (EOFError, ConnectionError):
            return "closed"
        except TimeoutError:
            raise AssertionError(f"no more than {seen} for {' '.join(sequence)}") from None
        if message.type == "D":
            is_last |= message.body[6:] == marker.encode()
        elif message.type not in "SN":
            seen += message.type
            if message.type == "E" and DEFECT in message.fields["M"]:
                return DEFECT
    return seen


def test_the_model_says_what_postgresql_says(
    each: Cluster, predict: Callable[[Iterable[Sequence]], list[str]], say: Callable[[str], None]
) -> None:
    with each.admin() as admin:
        admin.execute(TABLES)
    tried = list(sequences())
    differences: list[str] = []
    defects = 0
    wire = connect(each)
    try:
        for sequence, predicted in zip(tried, predict(tried), strict=True):
            seen = replies(wire, sequence)
            if seen == DEFECT:
                defects += 1
            # Before PostgreSQL 14, a request inside a COPY was an error and not the end of the connection. In
            # front of every version, the gateway ends it.
            elif seen != predicted and not (predicted == "closed" and each.installation.major < 14):
                differences.append(f"{' '.join(sequence)}: PostgreSQL {seen}, the model {predicted}")
            if seen in ("closed", DEFECT):
                wire.close()
                wire = connect(each)
    finally:
        wire.close()
        with each.admin() as admin:
            admin.execute("DROP SCHEMA model CASCADE")
    say(f"model of PostgreSQL {each.installation.version}: {len(tried)} sequences, {defects} with its defect")
    assert not differences, "\n".join([f"{len(differences)} differences", *differences[:20]])
