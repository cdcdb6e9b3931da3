"""Ends what a program has started when that program is gone, whatever ended it.

A program starts this file as a child and keeps the write end of its standard input. One JSON object per line:
`{"pid": …, "started": …, "signal": …}` to watch a process, `{"forget": pid}`, `{"folder": path}` to remove a
folder. End of file means that the program is gone: by its own exit, by Ctrl-C, or by `kill -9`.
"""

import json
import os
import shutil
import signal
import sys
import time

GRACE_SECONDS = 5.0


def start_time(pid):
    """When the process started, in clock ticks: tells it from a later one with the same id."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def send(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        return


def end_all(watched):
    def living():
        return [pid for pid, entry in watched.items() if start_time(pid) == entry["started"]]

    for pid in living():
        send(pid, watched[pid]["signal"])
    deadline = time.monotonic() + GRACE_SECONDS
    while living() and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in living():
        send(pid, signal.SIGKILL)
    while living() and time.monotonic() < deadline + GRACE_SECONDS:
        time.sleep(0.02)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched, folders = {}, []
    for line in sys.stdin:
        entry = json.loads(line)
        if "pid" in entry:
            watched[entry["pid"]] = entry
        elif "forget" in entry:
            watched.pop(entry["forget"], None)
        else:
            folders.append(entry["folder"])
    end_all(watched)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
