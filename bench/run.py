"""Measures the gateway beside PostgreSQL alone and PgBouncer, in one run. See README.md.

make bench                            the main scenarios, 3 rounds of 3 s
make bench-full                       every scenario, 5 rounds of 5 s
make bench ARGS="--quick"             does everything work? 1 round of 1 s, little data
make bench ARGS="--save"              keeps the figures in results/ and RESULTS.md, with plots
make bench ARGS="--only '16 clients'" scenarios with this in their name
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import database
import machine
import pgbouncer
import targets
from contestants import Contestant, Direct, Other, Relay, Setting
from gateways import OurGateway, PgBouncer
from load import Client
from measure import Outcome, measure
from report import LEGEND, Progress, Report, columns, rows
from scenarios import Scenario, matching
from standing import allow_open_files

from harness import Issuer, Workspace, exit_on_signals

SCALE = 10
POOL_SIZE = 20


def main() -> int:
    options = arguments()
    exit_on_signals()
    scenarios = matching(options.only, full=options.full)
    if not scenarios:
        raise SystemExit(f"no scenario is named like {options.only}")
    # Poolers inherit it, and need some for each client.
    allow_open_files(max(each.clients for each in scenarios))
    issuer = Issuer()
    try:
        with Workspace() as workspace:
            return run(options, scenarios, workspace, issuer)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    finally:
        issuer.close()


def run(options: argparse.Namespace, scenarios: list[Scenario], workspace: Workspace, issuer: Issuer) -> int:
    """The exit status: 0 when no contestant failed."""
    progress = Progress(sys.stderr)
    progress("starting PostgreSQL")
    data = database.start(workspace, SCALE, options.postgres_port)
    setting = Setting(workspace, data, issuer, POOL_SIZE)
    contestants = field(setting, options)
    facts = machine.describe(data, contestants)
    conditions = {
        "rounds": f"{options.rounds} of {options.seconds} s",
        "data": f"pgbench scale {SCALE}",
        "pools": f"{POOL_SIZE} server connections each",
        "COPY": f"{options.megabytes} MiB at a time",
    }
    client = Client(workspace, data, options.megabytes)
    outcomes: list[Outcome] = []
    print(Report(facts, conditions, []).heading(), flush=True)
    for scenario in scenarios:
        if not outcomes or outcomes[-1].scenario.kind != scenario.kind:
            print(columns(scenario.kind), flush=True)
        outcome = measure(scenario, contestants, client, options.rounds, options.seconds, progress)
        outcomes.append(outcome)
        progress()
        print(rows(outcome), flush=True)
    print(f"\n{LEGEND}")
    if aims := targets.table(outcomes):
        print(f"\n{aims}")
    if options.save:
        for path in Report(facts, conditions, outcomes).save():
            print(f"written: {path}")
    return 0 if all(result.is_good for outcome in outcomes for result in outcome.results) else 1


def field(setting: Setting, options: argparse.Namespace) -> list[Contestant]:
    """Everyone, in the order of their turns."""
    contestants: list[Contestant] = [] if options.alone else yardsticks(setting)
    contestants += [OurGateway(setting, gateway_name(count), count) for count in options.workers]
    for name, path in options.gateway:
        if not path.is_file():
            raise SystemExit(f"--gateway {name}: no such program: {path}")
        contestants += [OurGateway(setting, f"{name}, {gateway_name(n)}", n, path) for n in options.workers]
    for token, others in ((False, options.also), (True, options.also_token)):
        contestants += [Other(setting, *other, token=token) for other in others]
    names = [each.name for each in contestants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"two contestants have the same name: {', '.join(sorted(twice))}")
    return contestants


def yardsticks(setting: Setting) -> list[Contestant]:
    """What the gateway is compared with."""
    contestants: list[Contestant] = [Direct(setting), Relay(setting)]
    if program := pgbouncer.find():
        contestants += [PgBouncer(setting, program), PgBouncer(setting, program, "scram-sha-256")]
    else:
        print(
            "PgBouncer is not installed, and only root could install it: the table goes without", flush=True
        )
    return contestants


def gateway_name(workers: int) -> str:
    return f"pgdog-jwt, {workers} worker{'' if workers == 1 else 's'}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--rounds", type=positive, help="turns of each contestant in each scenario (default 3; with --full 5)"
    )
    add("--seconds", type=positive, help="length of a turn (default 3; with --full 5)")
    add("--full", action="store_true", help="all scenarios")
    add("--quick", action="store_true", help="1 round of 1 s, to see whether everything works")
    add(
        "--megabytes",
        type=positive,
        metavar="N",
        help="how much a COPY moves (default 1024; with --quick 32)",
    )
    add("--only", action="append", default=[], metavar="TEXT", help="scenarios with this in their name")
    add(
        "--workers",
        type=lambda text: [positive(number) for number in text.split(",")],
        default=[1, 2],
        metavar="N[,N…]",
        help="worker threads of the gateway; one contestant for each (default 1,2)",
    )
    add(
        "--gateway",
        action="append",
        default=[],
        type=gateway,
        metavar="NAME=PATH",
        help="another build of the gateway",
    )
    help_also = "another pooler that listens on PORT: a running one's process, or a command that runs one"
    form = "NAME=PORT:PID|COMMAND"
    add("--also", action="append", default=[], type=other, metavar=form, help=help_also)
    add("--also-token", action="append", default=[], type=other, metavar=form, help="the same, with a token")
    add("--alone", action="store_true", help="the gateway and nobody beside it, for those who profile it")
    add("--postgres-port", type=positive, metavar="PORT", help="for poolers that run already")
    add("--save", action="store_true", help="keep the figures in results/ and RESULTS.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5 if options.full else 3)
    options.seconds = options.seconds or (1 if options.quick else 5 if options.full else 3)
    options.megabytes = options.megabytes or (32 if options.quick else 1024)
    return options


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def gateway(text: str) -> tuple[str, Path]:
    name, mark, path = text.partition("=")
    if not (name and mark and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def other(text: str) -> tuple[str, int, str]:
    name, _, rest = text.partition("=")
    port, _, run_or_pid = rest.partition(":")
    if not (name and port.isdigit() and run_or_pid):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PORT:PID or NAME=PORT:COMMAND")
    return name, int(port), run_or_pid.strip()


if __name__ == "__main__":
    sys.exit(main())
