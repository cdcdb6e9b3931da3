"""Who takes the figures of a scenario, by the name that the scenario gives."""

from __future__ import annotations

from collections.abc import Callable

import reconnect
import standing
import switching
import transfer
from contestants import Endpoint
from load import Client
from scenarios import Scenario

# One turn of so many seconds: figures by name.
Driver = Callable[[Client, Scenario, Endpoint, int], dict[str, float]]

DRIVERS: dict[str, Driver] = {
    "pgbench": Client.run,
    "logins": reconnect.run,
    "result": transfer.run,
    "copy_out": transfer.run,
    "copy_in": transfer.run,
    "idle": standing.idle,
    "subjects": switching.run,
    "startup": standing.start_up,
}
