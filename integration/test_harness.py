"""The tests' own tools: nothing that they start outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from harness import eventually, watchdog
from harness.external import is_external

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers of its own")

PROGRAM = textwrap.dedent("""
    import signal, sys
    from harness import Cluster, Workspace, exit_on_signals
    exit_on_signals()
    with Workspace() as workspace:
        cluster = Cluster(workspace)
        print(workspace.folder, cluster.primary.pid, cluster.replica.pid, flush=True)
        signal.pause()
""")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_behind(number: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout
    folder, *pids = program.stdout.readline().split()
    assert all(watchdog.start_time(int(pid)) for pid in pids)

    program.send_signal(number)
    program.wait(timeout=30)

    eventually(lambda: not Path(folder).exists(), "the end of the folder")
    eventually(lambda: not any(watchdog.start_time(int(pid)) for pid in pids), "the end of the servers")
