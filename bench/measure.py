"""One scenario: every contestant in turn, round after round, so that all of them meet the same weather."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
from contestants import Contestant, Endpoint
from drivers import DRIVERS
from figures import STARTUP, Spread
from load import Client, LoadError
from scenarios import Scenario

from harness.wire import ServerError

# The figures of one turn, by name. What is about the pooler is missing where there is none.
Sample = dict[str, float]


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

    def spread(self, figure: str) -> Spread | None:
        values = [sample[figure] for sample in self.samples if figure in sample] if self.is_good else []
        return Spread.of(values) if values else None

    def ratio(self, figure: str, other: Result | None) -> Spread | None:
        """Of the ratios to the other's turn in the same round."""
        if not (other and self.is_good and other.is_good):
            return None
        pairs = [(a.get(figure), b.get(figure)) for a, b in zip(self.samples, other.samples, strict=True)]
        ratios = [a / b for a, b in pairs if a is not None and b]
        return Spread.of(ratios) if len(ratios) == len(pairs) else None


@dataclass
class Outcome:
    scenario: Scenario
    results: list[Result]

    def of(self, contestant: str) -> Result | None:
        return next((result for result in self.results if result.contestant == contestant), None)


# What can go wrong with a contestant. Anything else is a mistake of this program.
FAILURES = (LoadError, psycopg.Error, ServerError, EOFError, OSError, RuntimeError)


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

    def attempt(each: Contestant, step: Callable[[], None]) -> None:
        if results[each.name].failure is None:
            try:
                step()
            except FAILURES as error:
                results[each.name].failure = _one_line(error)

    def begin(each: Contestant) -> None:
        endpoints[each.name] = each.start(scenario)
        results[each.name].note = endpoints[each.name].note
        client.check(scenario, endpoints[each.name])
        client.warm_up(scenario, endpoints[each.name])

    def turn(each: Contestant) -> None:
        results[each.name].samples.append(
            DRIVERS[scenario.driver](client, scenario, endpoints[each.name], seconds)
        )

    def turn_afresh(each: Contestant) -> None:
        # Who measures the start cannot wait for it.
        start = each.launch if scenario.kind == STARTUP else each.start
        try:
            endpoints[each.name] = start(scenario)
            turn(each)
        finally:
            each.stop()

    try:
        for each in field_of:
            if not scenario.starts_afresh:
                attempt(each, lambda each=each: begin(each))
        for number in range(rounds):
            for each in field_of:
                tell(f"{scenario.name}: round {number + 1} of {rounds}, {each.name}")
                step = turn_afresh if scenario.starts_afresh else turn
                attempt(each, lambda each=each, step=step: step(each))
    finally:
        for each in field_of:
            each.stop()
        client.database.drop_replicas()
    return Outcome(scenario, list(results.values()))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
