"""Waiting for something to become true, with a deadline and a useful message when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], what: str, timeout: float = 20.0, interval: float = 0.02) -> T:
    """The first true value of `check`. Errors that it raises count as "not yet" until the deadline."""
    deadline = time.monotonic() + timeout
    failure: Exception | None = None
    while True:
        try:
            if value := check():
                return value
            failure = None
        except Exception as error:
            failure = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {timeout:g} s") from failure
        time.sleep(interval)
