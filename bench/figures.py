"""Which figures there are, and how a table shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

DIRECT = "direct"
RELAY = "TCP relay"
PGBOUNCER = "PgBouncer"

QUERIES, TRANSFER, IDLE, STARTUP, SUBJECTS = "queries", "transfer", "idle", "start-up", "subjects"
PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "p99_9_ms": 0.999}
PER = 100_000
MIB = 1024 * 1024


@dataclass(frozen=True)
class Column:
    """A figure by its name in a sample, or its ratio to that of another contestant."""

    title: str
    figure: str
    digits: int = 2
    of: str | None = None

    @property
    def width(self) -> int:
        return max(len(self.title), 18 if self.of else 10)


def ratio(figure: str, of: str) -> Column:
    return Column(f"of {of}", figure, of=of)


# The first column of a kind is what its plot shows first.
COLUMNS: dict[str, list[Column]] = {
    QUERIES: [
        Column("per second", "per_second", 0),
        ratio("per_second", DIRECT),
        ratio("per_second", PGBOUNCER),
        Column("p50 ms", "p50_ms", 3),
        Column("p95 ms", "p95_ms", 3),
        Column("p99 ms", "p99_ms", 3),
        Column("p99.9 ms", "p99_9_ms", 3),
        Column("CPU-s/100k", "cpu_per_100k"),
        ratio("cpu_per_100k", PGBOUNCER),
        Column("peak MiB", "peak_mib", 1),
    ],
    TRANSFER: [
        Column("MiB/s", "mib_per_second", 0),
        ratio("mib_per_second", DIRECT),
        ratio("mib_per_second", RELAY),
        ratio("mib_per_second", PGBOUNCER),
        Column("CPU-s/GiB", "cpu_per_gib"),
        ratio("cpu_per_gib", PGBOUNCER),
        Column("peak MiB", "peak_mib", 1),
    ],
    IDLE: [
        Column("KiB/client", "kib_per_client", 1),
        ratio("kib_per_client", PGBOUNCER),
        Column("idle CPU %", "idle_cpu_percent", 2),
        Column("MiB in all", "resident_mib", 1),
    ],
    SUBJECTS: [
        Column("CPU-s/100k", "cpu_per_100k"),
        Column("one subject", "one_cpu_per_100k"),
        Column("ratio", "of_one"),
        Column("MiB in all", "resident_mib", 1),
    ],
    STARTUP: [Column("ms", "start_ms", 1), ratio("start_ms", PGBOUNCER)],
}


@dataclass(frozen=True)
class Spread:
    """The rounds of one figure: the middle one, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """By nearest rank; nothing without latencies."""
    ordered = sorted(milliseconds)
    if not ordered:
        return {}
    return {name: ordered[ceil(part * len(ordered)) - 1] for name, part in PERCENTILES.items()}
