"""Measures what verified claims cost: for each statement, and for each million rows under a policy.

PYTHONPATH=integration .venv/bin/python bench/claims.py              the oldest and the newest PostgreSQL here
PYTHONPATH=integration .venv/bin/python bench/claims.py --quick      does everything work?

What is measured is the processor time of the server process, which says the same on a busy machine (Linux).
The contestants take turns, round after round, and the table shows the best round of each, which other work
has disturbed least.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from harness import Installation, Workspace, exit_on_signals, oldest_and_newest
from harness.proof import ClaimsServer, Session

CLAIMS = {
    "iss": "https://login.example.com/",
    "sub": "248289761001",
    "aud": "postgres",
    "exp": 1_900_000_000,
    "iat": 1_899_996_400,
    "jti": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "tenant_id": "acme",
    "email": "someone@example.com",
    "roles": ["reader", "writer"],
}
# One row for each statement, found by the primary key.
STATEMENTS = {
    "no policy": "SELECT n FROM plain WHERE n = 1",
    "policy by current_setting": "SELECT n FROM by_variable WHERE n = 1",
    "policy by (SELECT jwt.tenant())": "SELECT n FROM by_claim WHERE n = 1",
}
# Every row is looked at, and half of them belong to the tenant.
SCANS = {
    "WHERE tenant_id = 'acme', no policy": "SELECT count(*) FROM plain WHERE tenant_id = 'acme'",
    "policy by current_setting, in a sub-select": "SELECT count(*) FROM by_variable",
    "policy by current_setting, for each row": "SELECT count(*) FROM by_variable_each",
    "policy by (SELECT jwt.tenant())": "SELECT count(*) FROM by_claim",
}
TABLES = """
CREATE TABLE {name} (n int PRIMARY KEY, tenant_id text, body text);
INSERT INTO {name} SELECT n, CASE n % 2 WHEN 0 THEN 'acme' ELSE 'other' END, repeat('x', 50)
    FROM generate_series(1, {rows}) AS n;
VACUUM ANALYZE {name};
GRANT SELECT ON {name} TO PUBLIC;
"""
POLICIES = """
SELECT jwt.protect('by_claim');
SELECT jwt.protect('by_variable', variable => 'app.tenant');
ALTER TABLE by_variable_each ENABLE ROW LEVEL SECURITY;
CREATE POLICY each ON by_variable_each USING (tenant_id = current_setting('app.tenant', true));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    exit_on_signals()
    for installation in oldest_and_newest():
        with Workspace() as workspace:
            print(report(workspace, installation, options.quick))


def report(workspace: Workspace, installation: Installation, quick: bool) -> str:
    rows, count = (10_000, 50) if quick else (1_000_000, 1_000)
    database = ClaimsServer(workspace, installation)
    with database.admin() as admin:
        for name in ("plain", "by_claim", "by_variable", "by_variable_each"):
            for statement in TABLES.format(name=name, rows=rows).strip().split(";\n"):
                admin.execute(statement.rstrip(";").encode())
        admin.execute(POLICIES.encode())
    session = database.subject("alice", CLAIMS)
    session.run("SET app.tenant = 'acme'; SET max_parallel_workers_per_gather = 0; SET jit = off")
    lines = [
        f"\nPostgreSQL {installation.version}",
        "",
        "| each statement | CPU µs | more than without |",
        "|---|---:|---:|",
    ]
    times = alternate(
        {name: repeated(session, sql, count) for name, sql in STATEMENTS.items()}, 3 if quick else 15
    )
    base = next(iter(times.values()))
    lines += [
        f"| {name} | {seconds * 1e6:.0f} | {(seconds - base) * 1e6:+.0f} |" for name, seconds in times.items()
    ]
    lines += ["", f"| {rows:,} rows | CPU ms | of the plain comparison |", "|---|---:|---:|"]
    times = alternate({name: repeated(session, sql, 1) for name, sql in SCANS.items()}, 3 if quick else 15)
    base = next(iter(times.values()))
    lines += [f"| {name} | {seconds * 1e3:.0f} | {seconds / base:.2f} |" for name, seconds in times.items()]
    database.close_sessions()
    return "\n".join(lines)


def repeated(session: Session, sql: str, count: int) -> Callable[[], float]:
    """Seconds of the server for each of `count` statements, planned and sent one by one."""
    pid = session.value("SELECT pg_backend_pid()")

    def run() -> float:
        before = processor_time(pid)
        for _ in range(count):
            session.connection.execute(sql.encode(), prepare=False)
        return (processor_time(pid) - before) / count

    return run


def processor_time(pid: int) -> float:
    """Seconds that a process has run so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def alternate(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The best of each; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            seconds = run()
            if number > 0:
                taken[name].append(seconds)
    return {name: min(times) for name, times in taken.items()}


if __name__ == "__main__":
    main()
