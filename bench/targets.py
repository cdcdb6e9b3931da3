"""What the gateway may cost, and what it does: a line for each target and scenario that was measured.

Each is about the gateway with one worker, the fair comparison with PgBouncer's one thread, unless it says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from figures import PGBOUNCER, RELAY, Spread
from measure import Outcome, Result
from scenarios import SERVERS

ONE, ALL = "pgdog-jwt, 1 worker", "pgdog-jwt, 2 workers"
WIDTHS = 30, 43, 10


@dataclass(frozen=True)
class Target:
    """A bound, and how the figure comes out of a scenario; `None` where it was not measured."""

    title: str
    scenario: str
    bound: float
    take: Callable[[Outcome], Spread | None]
    at_least: bool = False
    unit: str = "×"
    digits: int = 2

    def line(self, outcome: Outcome) -> str | None:
        found = self.take(outcome)
        if found is None:
            return None
        met = found.median >= self.bound if self.at_least else found.median <= self.bound
        sign = "≥" if self.at_least else "≤"
        number = f"{{:.{self.digits}f}}".format
        text = f"{number(found.median)} {self.unit}"
        if found.least != found.greatest:
            text += f" ({number(found.least)}–{number(found.greatest)})"
        limit = f"{sign} {self.bound:g} {self.unit}"
        return _aligned(self.title, self.scenario, limit, f"{text:<24}", "met" if met else "MISSED").rstrip()


def ratio(figure: str, of: str = PGBOUNCER, by: str = ONE) -> Callable[[Outcome], Spread | None]:
    """To another contestant in the same scenario."""

    def take(outcome: Outcome) -> Spread | None:
        own = outcome.of(by)
        return own.ratio(figure, outcome.of(of)) if own else None

    return take


def value(figure: str, by: str = ONE) -> Callable[[Outcome], Spread | None]:
    def take(outcome: Outcome) -> Spread | None:
        own = outcome.of(by)
        return own.spread(figure) if own else None

    return take


def beyond_relay(outcome: Outcome) -> Spread | None:
    """Microseconds that a query takes longer than through the relay, in the middle of the latencies."""
    own, relay = outcome.of(ONE), outcome.of(RELAY)
    if not (own and relay and own.is_good and relay.is_good):
        return None
    return Spread.of(
        [(a["p50_ms"] - b["p50_ms"]) * 1000 for a, b in zip(own.samples, relay.samples, strict=True)]
    )


def busy(protocol: str, clients: int) -> str:
    return f"select-only, {protocol}, {clients} clients"


BUSY = [busy(protocol, clients) for protocol in ("simple", "prepared") for clients in (16, 64)]
LOGIN = "login and one query, token {}, 8 clients"
TRANSFERS = ("a result of 1 M rows", "COPY out", "COPY in")

TARGETS = [
    *(Target("CPU per query, of PgBouncer", name, 0.9, ratio("cpu_per_100k")) for name in BUSY),
    *(Target("throughput, of PgBouncer", name, 1.0, ratio("per_second"), True) for name in BUSY),
    *(Target("throughput with all cores", name, 1.0, ratio("per_second", by=ALL), True) for name in BUSY),
    *(
        Target("latency p99, of PgBouncer's", busy(protocol, 16), 1.0, ratio("p99_ms"))
        for protocol in ("simple", "prepared")
    ),
    *(
        Target(
            "added to a TCP relay, p50",
            f"select-only, {protocol}, 1 client",
            25,
            beyond_relay,
            unit="µs",
            digits=0,
        )
        for protocol in ("simple", "prepared")
    ),
    Target("CPU of a login, of PgBouncer", LOGIN.format("known"), 1.0, ratio("cpu_per_100k")),
    Target("CPU of a login, of PgBouncer", LOGIN.format("new"), 1.4, ratio("cpu_per_100k")),
    Target("CPU of a login, of PgBouncer", "login and one query (-C), 8 clients", 1.0, ratio("cpu_per_100k")),
    Target("logins, of PgBouncer's", LOGIN.format("known"), 1.0, ratio("per_second"), True),
    Target("logins, of PgBouncer's", LOGIN.format("new"), 0.8, ratio("per_second"), True),
    Target("logins, of PgBouncer's", "login and one query (-C), 8 clients", 1.0, ratio("per_second"), True),
    *(
        Target(
            "another subject each query", f"{count} subjects over {SERVERS} servers", 1.35, value("of_one")
        )
        for count in (1_000, 10_000)
    ),
    Target(
        "memory of an idle client", "idle, 10000 clients", 2, value("kib_per_client"), unit="KiB", digits=1
    ),
    Target(
        "memory of an idle client",
        "idle, 10000 clients, TLS",
        20,
        value("kib_per_client"),
        unit="KiB",
        digits=1,
    ),
    Target("CPU while all are idle", "idle, 10000 clients", 0.5, value("idle_cpu_percent"), unit="%"),
    *(
        Target("throughput, of a TCP relay", name, 0.9, ratio("mib_per_second", RELAY), True)
        for name in TRANSFERS
    ),
    *(Target("memory at its peak", name, 48, value("peak_mib"), unit="MiB", digits=1) for name in TRANSFERS),
    Target(
        "cold start to first query", "cold start to first query", 50, value("start_ms"), unit="ms", digits=0
    ),
]


def table(outcomes: Sequence[Outcome]) -> str:
    """The targets of the scenarios that were measured; nothing without any."""
    known = {each.scenario.name: each for each in outcomes}
    lines = [
        line for each in TARGETS if (outcome := known.get(each.scenario)) if (line := each.line(outcome))
    ]
    lines += [line for line in (_growth(known),) if line]
    heading = _aligned("target", "scenario", "bound", f"{'measured':<24}", "").rstrip()
    return "\n".join([heading, *lines]) if lines else ""


def _growth(known: dict[str, Outcome]) -> str | None:
    """What many subjects add to the cost of a query. Each is a scenario of its own: no range."""
    costs = [_cost(known.get(f"{count} subjects over {SERVERS} servers")) for count in (10, 10_000)]
    few, many = costs
    if few is None or many is None:
        return None
    grown = Spread(many / few, many / few, many / few)
    target = Target("10 000 subjects, of 10", "subjects over 50 servers", 1.1, lambda _: grown)
    return target.line(Outcome(next(iter(known.values())).scenario, []))


def _cost(outcome: Outcome | None) -> float | None:
    result: Result | None = outcome.of(ONE) if outcome else None
    if not (result and result.is_good):
        return None
    return median(sample["cpu_per_100k"] for sample in result.samples)


def _aligned(title: str, scenario: str, bound: str, *rest: str) -> str:
    cells = [f"{cell:<{width}}" for cell, width in zip((title, scenario, bound), WIDTHS, strict=True)]
    return "  ".join([*cells, *rest])
