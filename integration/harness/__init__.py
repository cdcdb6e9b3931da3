"""What the demo, the integration tests and the benchmark share.

Real PostgreSQL servers, a real issuer of tokens, the gateway as a process, and a client that speaks the
protocol by hand. Everything that is started here ends with the program that started it, however it ends.
"""

from .cluster import DATABASE, Cluster
from .gateway import Gateway, default_config, find_gateway, merged, primary_alone
from .installation import (
    Installation,
    chosen_installations,
    find_installations,
    find_postgres,
    oldest_and_newest,
)
from .issuer import Issuer
from .poll import eventually
from .workspace import Workspace, exit_on_signals

__all__ = [
    "DATABASE",
    "Cluster",
    "Gateway",
    "Installation",
    "Issuer",
    "Workspace",
    "chosen_installations",
    "default_config",
    "eventually",
    "exit_on_signals",
    "find_gateway",
    "find_installations",
    "find_postgres",
    "merged",
    "oldest_and_newest",
    "primary_alone",
]
