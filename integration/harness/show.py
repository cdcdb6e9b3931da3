"""Readable lines on a terminal: what was sent, what came back, and whether that was right."""

from __future__ import annotations

import os
import sys

GREEN, RED, DIM, BOLD = "32", "31", "2", "1"
WHAT_WIDTH, SENT_WIDTH = 40, 46


class Show:
    """Prints steps and counts those that did not do what they say."""

    def __init__(self) -> None:
        self.failures = 0
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        self._print(f"\n{self._paint(BOLD, text)}")

    def fact(self, what: str, value: str) -> None:
        """Something that was prepared."""
        self._print(f"  {self._paint(GREEN, '✓')} {what:<12} {value}")

    def step(self, what: str, sent: str, came_back: str, right: bool) -> None:
        """Something that was tried: one line."""
        if not right:
            self.failures += 1
        mark = self._paint(GREEN, "✓") if right else self._paint(RED, "✗")
        shown = came_back if right else self._paint(RED, came_back)
        self._print(f"  {mark} {what:<{WHAT_WIDTH}} {self._paint(DIM, f'{sent:<{SENT_WIDTH}}')} → {shown}")

    def note(self, text: str = "") -> None:
        self._print(f"  {text}" if text else "")

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    @staticmethod
    def _print(text: str) -> None:
        print(text, flush=True)
