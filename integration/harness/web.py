"""A gateway with its metrics and health checks."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from .ports import free_port
from .target import Target

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)$')


class Web:
    """A gateway with its two ports."""

    def __init__(self, make_gateway: Callable[..., Target], **tables: Any) -> None:
        self.metrics_port, self.health_port = free_port(), free_port()
        general = {
            "openmetrics_host": "127.0.0.1",
            "openmetrics_port": self.metrics_port,
            "healthcheck_port": self.health_port,
            **tables.pop("general", {}),
        }
        self.target = make_gateway(general=general, **tables)

    def get(self, path: str, port: int | None = None) -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{port or self.health_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read().decode()

    def samples(self) -> dict[str, float]:
        """Every sample by its name with labels, as they are written."""
        status, _, text = self.get("/metrics", self.metrics_port)
        assert status == 200
        found = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                match = SAMPLE.match(line)
                assert match, line
                found[line.rsplit(" ", 1)[0]] = float(match[3])
        return found

    def ready(self) -> tuple[int, dict[str, Any]]:
        status, kind, body = self.get("/ready")
        assert kind == "application/json"
        return status, json.loads(body)
