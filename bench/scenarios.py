"""What is measured: one way of asking, at one number of clients. A new scenario is a new line here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """`protocol` is pgbench's; `reconnect` means a login for every transaction."""

    name: str
    protocol: str
    clients: int
    reconnect: bool = False
    script: tuple[str, ...] = ("--select-only",)

    @property
    def needs_prepared_statements(self) -> bool:
        return self.protocol == "prepared"


def select_only(protocol: str, clients: int) -> Scenario:
    plural = "" if clients == 1 else "s"
    return Scenario(f"select-only, {protocol}, {clients} client{plural}", protocol, clients)


SCENARIOS = [
    *(select_only(protocol, clients) for protocol in ("simple", "prepared") for clients in (1, 16, 64)),
    Scenario("login and one query (-C), 8 clients", "simple", 8, reconnect=True),
]


def matching(words: list[str]) -> list[Scenario]:
    """The scenarios whose name holds one of the texts; all without any."""
    return [each for each in SCENARIOS if not words or any(word in each.name for word in words)]
