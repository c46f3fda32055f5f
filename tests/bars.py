#!/usr/bin/env python3
"""Holds the server to the figures that bind: size, memory, and instructions, which have next to no noise.

    tests/bars.py BARE FULL

BARE and FULL are folders with the programs of a release without features and with all. Prints each
figure beside its bar and fails where one is above it. A bar of instructions is 1 % above what was counted
(docs/benchmarks.md), since compilers differ. Whoever makes something cheaper lowers it. Needs valgrind.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "bench"))
from cluster import ECHO, Mynah, echoes, frame, instructions, mynah_pair  # noqa: E402

CONNECTIONS = 15_000


def broadcasts(server, count, depth=1):
    """Broadcasts of 1 KiB to one subscriber, `depth` of them on their way at a time."""
    publisher, subscriber, message, delivered_len = mynah_pair(server, server)
    answers = frame(ECHO, b"1") * depth
    for _ in range(count // depth):
        publisher.sendall(message * depth)
        assert publisher.recv(len(answers), socket.MSG_WAITALL) == answers
        assert len(subscriber.recv(delivered_len * depth, socket.MSG_WAITALL)) == delivered_len * depth


def cost(program, work, depth=1):
    """The server's instructions for each."""
    with tempfile.TemporaryDirectory() as folder:
        bench = argparse.Namespace(folder=folder)
        return instructions(bench, program, False, lambda server, count: work(server, count, depth), 2_048, 10_240)


def resident_kib(server):
    with open(f"/proc/{server.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def idle_bytes(program, tester):
    """Bytes of the server's own memory for each idle connection."""
    server = Mynah(program)
    with tempfile.NamedTemporaryFile() as report:
        subprocess.run(
            [tester, "idle", f"command://127.0.0.1:{server.port}", "-c", str(CONNECTIONS), "--hold", "1",
             "--server-pid", str(server.pid), "--json", report.name],
            check=True, stdout=subprocess.DEVNULL)
        figures = json.load(report)
    server.stop()
    return figures["server"]["bytes_per_connection"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bare", metavar="BARE")
    parser.add_argument("full", metavar="FULL")
    folders = parser.parse_args()
    bare, full = (os.path.join(folder, "mynah") for folder in (folders.bare, folders.full))
    tester = os.path.join(folders.full, "mynah-load")
    server = Mynah(bare)
    resident = resident_kib(server)
    server.stop()
    figures = [
        ("the bare program, bytes", os.path.getsize(bare), 900 * 1024),
        ("its resident memory, KiB", resident, 3 * 1024),
        (f"each of {CONNECTIONS:,} idle connections, bytes", idle_bytes(bare, tester), 64),
        ("instructions of an echo, bare", cost(bare, echoes), 1_030),
        ("the same, 32 on their way", cost(bare, echoes, 32), 106),
        ("instructions of an echo, all features", cost(full, echoes), 1_598),
        ("instructions of a broadcast, all features", cost(full, broadcasts), 2_680),
        ("the same, 32 on their way", cost(full, broadcasts, 32), 582),
    ]
    for what, measured, bar in figures:
        print(f"{what}: {measured:,.1f} of {bar:,}{'' if measured <= bar else ', TOO MUCH'}")
    if any(measured > bar for _, measured, bar in figures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
