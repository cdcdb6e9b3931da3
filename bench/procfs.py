"""What the kernel knows about a process and its children: processor time and memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# To /proc/PID/clear_refs: forget the peak of the memory so far (proc_pid_clear_refs(5)).
RESET_PEAK = "5"


class Processes:
    """A pooler: the process and all that it started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        """The process first. Empty when it is gone."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            # Any thread may have started a child.
            tasks = [*Path(f"/proc/{pid}/task").glob("*/children")]
            if tasks:
                found.append(pid)
            for task in tasks:
                with contextlib.suppress(OSError):
                    waiting += [int(child) for child in task.read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """User and system time of all threads, also of those that have ended."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                # The second field is a name that may hold anything; utime and stime are the 14th and 15th.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND

    def run_seconds(self) -> float:
        """The same by the scheduler's clock: exact for short times, blind to threads that have ended."""
        nanoseconds = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    nanoseconds += int(task.read_text().split()[0])
        return nanoseconds / 1e9

    def reset_peak(self) -> None:
        """Begins a new measurement of `peak_bytes`. Another user's process keeps its old peak."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)

    def peak_bytes(self) -> int:
        """The most memory that was resident since `reset_peak`."""
        return sum(_status_kib(pid, "VmHWM") for pid in self.pids()) * 1024

    def resident_bytes(self) -> int:
        """The memory that is resident now."""
        return sum(_status_kib(pid, "VmRSS") for pid in self.pids()) * 1024


class Meter:
    """What a pooler uses between `begin` and `end`. Without a process there is nothing to see."""

    def __init__(self, pid: int | None) -> None:
        self.pooler = None if pid is None else Processes(pid)
        self.cpu_seconds: float | None = None
        self.peak_bytes: int | None = None
        self._before = 0.0

    def begin(self) -> None:
        if self.pooler:
            self.pooler.reset_peak()
            self._before = self.pooler.cpu_seconds()

    def end(self) -> None:
        if self.pooler:
            self.cpu_seconds = self.pooler.cpu_seconds() - self._before
            self.peak_bytes = self.pooler.peak_bytes()
            if not self.peak_bytes:
                raise RuntimeError("the pooler has ended")


def _status_kib(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
