"""One scenario: every contestant in turn, round after round, so that all of them meet the same weather."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import psycopg
from contestants import Contestant, Endpoint
from load import Client, LoadError
from procfs import Processes
from scenarios import Scenario

PER = 100_000


@dataclass(frozen=True)
class Sample:
    """One run. What is about the pooler is `None` where there is none, or where it may not be seen."""

    transactions: int
    tps: float
    latency_ms: float
    cpu_per_100k: float | None
    peak_bytes: int | None


@dataclass
class Result:
    """One contestant in one scenario: a sample for each round, or the reason why there are none."""

    contestant: str
    note: str = ""
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    @property
    def is_good(self) -> bool:
        return self.failure is None and bool(self.samples)

    def median(self, name: str) -> float | None:
        values = [getattr(sample, name) for sample in self.samples] if self.is_good else []
        return None if not values or None in values else median(values)

    def ratio(self, name: str, other: Result | None) -> float | None:
        """The median of the ratios to the other's run in the same round."""
        if not (other and self.is_good and other.is_good):
            return None
        pairs = [
            (getattr(a, name), getattr(b, name)) for a, b in zip(self.samples, other.samples, strict=True)
        ]
        return None if any(a is None or not b for a, b in pairs) else median(a / b for a, b in pairs)


@dataclass
class Outcome:
    scenario: Scenario
    results: list[Result]

    def of(self, contestant: str) -> Result | None:
        return next((result for result in self.results if result.contestant == contestant), None)


# What can go wrong with a contestant. Anything else is a mistake of this program.
FAILURES = (LoadError, psycopg.Error, OSError, RuntimeError)


def measure(
    scenario: Scenario,
    contestants: Sequence[Contestant],
    client: Client,
    rounds: int,
    seconds: int,
    tell: Callable[[str], None],
) -> Outcome:
    """Starts the contestants, lets them take turns, and ends them."""
    field_of = [each for each in contestants if each.enters(scenario)]
    results = {each.name: Result(each.name) for each in field_of}
    endpoints: dict[str, Endpoint] = {}
    try:
        for each in field_of:
            result = results[each.name]
            try:
                endpoint = each.start(scenario)
                result.note = endpoint.note
                client.check(endpoint)
                client.warm_up(scenario, endpoint)
                endpoints[each.name] = endpoint
            except FAILURES as error:
                result.failure = _one_line(error)
        for number in range(rounds):
            for name, endpoint in endpoints.items():
                if results[name].failure is None:
                    tell(f"{scenario.name}: round {number + 1} of {rounds}, {name}")
                    try:
                        results[name].samples.append(one_run(scenario, endpoint, client, seconds))
                    except FAILURES as error:
                        results[name].failure = _one_line(error)
    finally:
        for each in field_of:
            each.stop()
    return Outcome(scenario, list(results.values()))


def one_run(scenario: Scenario, endpoint: Endpoint, client: Client, seconds: int) -> Sample:
    if endpoint.pid is None:
        load = client.run(scenario, endpoint, seconds)
        return Sample(load.transactions, load.tps, load.latency_ms, None, None)
    pooler = Processes(endpoint.pid)
    pooler.reset_peak()
    before = pooler.cpu_seconds()
    load = client.run(scenario, endpoint, seconds)
    used, peak = pooler.cpu_seconds() - before, pooler.peak_bytes()
    if not peak:
        raise LoadError("the pooler has ended")
    return Sample(load.transactions, load.tps, load.latency_ms, used / load.transactions * PER, peak)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
