"""A temporary folder and the processes that work in it; both are gone when the workspace is."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from . import watchdog

STOP_SECONDS = 15.0


class Workspace:
    """Use as a context manager, or call `close`. A watchdog process does the same when this program dies."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgdog-jwt-"))
        # Servers that run as another user must be able to reach their own folder inside.
        self.folder.chmod(0o711)
        # With the signal that ends each.
        self._children: dict[subprocess.Popen[Any], int] = {}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            text=True,
        )
        self._tell({"folder": str(self.folder)})
        atexit.register(self.close)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subfolder(self, name: str) -> Path:
        """A new folder inside; the name is made unique."""
        for number in range(10_000):
            path = self.folder / (name if number == 0 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o711)
                return path
        raise RuntimeError(f"cannot make a folder named {name} in {self.folder}")

    def spawn(
        self,
        command: list[str | Path],
        *,
        output: IO[bytes] | int = subprocess.DEVNULL,
        stop_signal: int = signal.SIGTERM,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Starts a process that ends with this workspace.

        `stop_signal` is what ends it then. The process gets a session of its own, so that Ctrl-C at the
        terminal reaches this program alone, which then ends the others in order.
        """
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        self._children[child] = stop_signal
        self._tell({"pid": child.pid, "started": watchdog.start_time(child.pid), "signal": int(stop_signal)})
        return child

    def stop(
        self, child: subprocess.Popen[Any], number: int = signal.SIGTERM, timeout: float = STOP_SECONDS
    ) -> int:
        """Ends one process, by force after `timeout`, and gives its exit status."""
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._children.pop(child, None):
            self._tell({"forget": child.pid})
        return child.returncode

    def close(self) -> None:
        """Ends every process, last started first, and removes the folder. May be called again."""
        atexit.unregister(self.close)
        while self._children:
            self.stop(*next(reversed(self._children.items())))
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._watchdog.stdin and not self._watchdog.stdin.closed:
            self._watchdog.stdin.close()
            self._watchdog.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        if self._watchdog.stdin and self._watchdog.poll() is None:
            self._watchdog.stdin.write(json.dumps(message) + "\n")
            self._watchdog.stdin.flush()


def exit_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end the program the way Ctrl-C does: through its `finally` blocks.

    Ctrl-C counts also where a shell has started the program in the background, which ignores it.
    """

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
