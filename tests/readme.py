#!/usr/bin/env python3
"""Pastes README.md into terminals, from top to bottom, and compares what comes back line by line.

    tests/readme.py [--built] [FILE]

A ```console block is a terminal: lines behind `$ ` are commands, the others what they print. A command
that serves runs in a terminal of its own until the next one does. In a conversation, which is a block
whose only command waits for input, a line is either typed or what the program answers; what other
people do there is done by this script. Figures that are measured may differ, and `…` stands for anything.
With --built the programs are those that `cargo test` has left in target/debug: a release takes minutes.

Ports are those of the README, so run it where they are free: `.ci/run` does so in a network namespace.
Needs Linux, bash, OpenBSD netcat, and what the commands name.
"""

import argparse
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 30
# States of /proc/net/tcp.
TCP_ESTABLISHED, TCP_LISTEN = "01", "0A"
# Builds take as long as they take.
BUILD_PATIENCE = 900
# Not pasted, with the reason.
SKIPPED = {"cargo test": "is a step of its own"}
# What --built types in place of it.
BUILT = {
    "cargo run --release -- ": "target/debug/mynah ",
    "cargo run --release": "target/debug/mynah",
    "cargo install --path . --locked": "install -D -t $CARGO_INSTALL_ROOT/bin target/debug/{mynah,mynah-cli,mynah-load}",
}
# Commands that print something else into a pipe.
ON_A_TERMINAL = ["mynah-cli status"]
# Commands whose figures are measured: only their words are compared.
MEASURED = re.compile(r"mynah-load|\\007|mynah-cli status")
FIGURE = re.compile(r"\d(?:[\d,.]*\d)?( ?(?:ns|µs|ms|s|m|KiB|MiB|GiB|B)\b)?")
# What the load tester says on some machines only, and of the machine.
OPTIONAL = re.compile(r"(?<=  host ).*|, pages of TCP memory .*|, [\d.]+ \wiB once all were open")
# Lines that it has on some machines only: what others do there, what of the kernel can be read.
OPTIONAL_LINES = re.compile(
    r"  (?:warning|machine|kernel|left late by) .*| {15}[\d,]+ sockets more .*| {15}.* of CPU .*| {15}CPU a request .*"
)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--built", action="store_true")
    parser.add_argument("file", nargs="?", type=pathlib.Path, default=ROOT / "README.md")
    options = parser.parse_args()
    readme = options.file
    # What pasting before has left, ignored by git.
    shutil.rmtree(ROOT / "docs/plugins/file_transfer", ignore_errors=True)
    terminal, server, failures = Terminal(), Server(), 0
    for number, block in blocks(readme.read_text(encoding="utf-8")):
        where = f"{readme.name}:{number}"
        commands = list(split_commands(block))
        for command, expected in commands:
            command = command.split("  #")[0].strip()
            for written, typed in BUILT.items() if options.built else ():
                command = command.replace(written, typed)
            print(f"{where}: {command}", flush=True)
            if command in SKIPPED:
                print(f"    not pasted: it {SKIPPED[command]}")
                continue
            try:
                paste(command, expected, terminal, server, is_alone=len(commands) == 1)
            except Failure as failure:
                failures += 1
                print(f"    FAILED: {failure}", flush=True)
        terminal.end_jobs()
    terminal.close()
    server.stop()
    if failures:
        sys.exit(f"{failures} of the README's examples do not do what it says")
    print("the README does what it says")


def paste(command, expected, terminal, server, is_alone):
    if command.startswith(("cargo run", "target/debug/mynah")):
        server.start(command)
    elif is_alone and re.match(r"nc 127\S+ \d+$|mynah-cli( chat)?$", command):
        Conversation(command, server).hold(expected)
    elif command.endswith("&"):
        if "mynah -q" in command:
            server.stop()
        terminal.start_job(command)
    else:
        compare(command, expected, terminal.run(command, len(expected)))


def blocks(text):
    """The ```console blocks, each with the number of its first line."""
    block = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "```console":
            block, first = [], number + 1
        elif line == "```" and block is not None:
            yield first, block
            block = None
        elif block is not None:
            block.append(line)


def split_commands(block):
    """Commands with the lines that they print."""
    command = None
    for line in block:
        if line.startswith("$ "):
            if command is not None:
                yield command, printed
            command, printed = line[2:], []
        elif command is not None and command.endswith("\\"):
            command = command[:-1] + line.lstrip()
        elif command is not None:
            printed.append(line)
    if command is not None:
        yield command, printed


def compare(command, expected, got):
    is_measured = MEASURED.search(command) is not None
    # A program and a job in the background print in any order.
    order = sorted if "broadcast" in command or "\\004" in command else list
    want, have = order(line for line in expected if line), order(got)
    if is_measured:
        want, have = ([line for line in lines if not OPTIONAL_LINES.fullmatch(line)] for lines in (want, have))
    for at in range(max(len(want), len(have))):
        a = want[at] if at < len(want) else None
        b = have[at] if at < len(have) else None
        if a is None or b is None or not is_same(a, b, is_measured):
            raise Failure(f"line {at + 1}\n      README: {a!r}\n      now:    {b!r}")


def is_same(expected, got, is_measured):
    if is_measured:
        expected, got = (OPTIONAL.sub("", text) for text in (expected, got))
        expected, got = (FIGURE.sub("0", text) for text in (expected, got))
        expected, got = (" ".join(text.split()) for text in (expected, got))
    pattern = ".*".join(re.escape(part) for part in expected.split("…"))
    return re.fullmatch(pattern, got.rstrip()) is not None


class Failure(Exception):
    pass


class Terminal:
    """A shell that is fed commands."""

    def __init__(self):
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pending = b""
        self.has_jobs = False

    def type(self, text):
        self.shell.stdin.write(text.encode() + b"\n")
        self.shell.stdin.flush()

    def run(self, command, lines_wanted=0):
        """The lines that `command` prints, and what jobs in the background print meanwhile."""
        mark = f"end-of-{time.monotonic_ns()}"
        if command in ON_A_TERMINAL:
            command = f"script -qec '{command}' /dev/null </dev/null"
        self.type(f"{command}\necho; echo {mark}")
        patience = BUILD_PATIENCE if "cargo " in command else PATIENCE
        text = self.read_until(f"\n{mark}\n".encode(), patience)
        deadline = time.monotonic() + PATIENCE
        while self.has_jobs and (text + self.pending).count(b"\n") < lines_wanted:
            self.read_more(deadline)
        text, self.pending = text + b"\n" + self.pending, b""
        lines = text.decode(errors="replace").splitlines()
        return [line for line in lines if line and not is_passing(line)]

    def start_job(self, command):
        """Starts `command` in the background and waits until it listens or is connected."""
        self.type(command)
        self.has_jobs = True
        state = TCP_LISTEN if "mynah -q" in command else TCP_ESTABLISHED
        deadline = time.monotonic() + PATIENCE
        while not has_socket(65432, state):
            if time.monotonic() > deadline:
                raise Failure("it neither listens nor connects")
            time.sleep(0.05)

    def end_jobs(self):
        if self.has_jobs:
            self.run("kill $(jobs -p) 2>/dev/null; wait 2>/dev/null")
            self.has_jobs = False

    def read_until(self, mark, patience):
        deadline = time.monotonic() + patience
        while mark not in self.pending:
            self.read_more(deadline)
        text, self.pending = self.pending.split(mark, 1)
        return text

    def read_more(self, deadline):
        if not select.select([self.shell.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            raise Failure(f"nothing more after {self.pending[-500:]!r}")
        chunk = os.read(self.shell.stdout.fileno(), 65536)
        if not chunk:
            raise Failure("the shell ended")
        self.pending += chunk

    def close(self):
        os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait()


def is_passing(line):
    # The load tester's live line, which a terminal shows in place, is not of the example either.
    return re.match(r" *(Compiling|Finished|Running|Install|Replac|Downloa|Lock|Updat|Adding|warning: be sure)|[a-z]+ +[\d/]+ s  [\d,]+ open", line)


class Server:
    """The server, in a terminal of its own."""

    def __init__(self):
        self.process = None

    def start(self, command):
        self.stop()
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        signs = {"+tls": "+tls://", "+unix": "+unix://", "plugin-dir": "plugin://"}
        last = next((last for sign, last in signs.items() if sign in command), "chat://")
        for line in self.process.stdout:
            if b"listening on " in line and last.encode() in line:
                return
        raise Failure("the server did not start")

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.stdout.read()
            self.process.wait()
            self.process = None


class Conversation:
    """A program that is typed to, and the people it speaks with."""

    def __init__(self, command, server):
        self.server = server
        self.people = {}
        self.seen = ""
        self.is_window = command.startswith("mynah-cli")
        self.typed = re.compile(
            r"(?:mynah> |\[YOU\]: |Nickname: )(.*)" if self.is_window else r"(?!\[|Online: )(.*)"
        )
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.environ["TERM"] = "xterm"
            os.environ["HOME"] = os.environ.get("TMPDIR", "/tmp")
            os.execvp("bash", ["bash", "-c", f"exec {command}"])

    def hold(self, lines):
        if any("bob is taken" in line for line in lines):
            self.join("bob")
        try:
            for at, line in enumerate(lines):
                self.act(line, is_last=at + 1 == len(lines))
            self.wait_for_end()
        finally:
            os.close(self.terminal)
            for person in self.people.values():
                person.close()

    def act(self, line, is_last):
        if match := self.typed.fullmatch(line):
            if self.is_window:
                self.expect(line[: match.start(1)].rstrip())
            # A line that was being typed when the server stopped is not ended.
            is_ended = "half a sent" not in line
            os.write(self.terminal, match[1].encode() + (b"\n" if is_ended else b""))
            return
        if match := re.fullmatch(r"\[SERVER\] (\S+) joined", line):
            self.join(match[1])
        elif match := re.fullmatch(r"\[(\w+)\]: (.*)", line):
            self.join(match[1])
            self.people[match[1]].sendall(match[2].encode() + b"\n")
        elif "server has shut down" in line:
            self.server.stop()
        self.expect(line)

    def join(self, name):
        if name not in self.people:
            person = socket.create_connection(("127.0.0.1", 5000), PATIENCE)
            person.sendall(name.encode() + b"\n")
            person.recv(100)
            self.people[name] = person

    def expect(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            if not select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failure(f"waited for {text!r}, got {self.seen[-500:]!r}")
            try:
                chunk = os.read(self.terminal, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                raise Failure(f"ended before {text!r}, after {self.seen[-500:]!r}")
            self.seen += ANSI.sub("", chunk.decode(errors="replace"))
        self.seen = self.seen.split(text, 1)[1]

    def wait_for_end(self):
        deadline = time.monotonic() + PATIENCE
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise Failure("it does not end after its last line")
            if not self.is_window:
                os.write(self.terminal, b"\n")
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    pass


def has_socket(port, state):
    rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = [row.split() for row in rows]
    return any(int(row[1].split(":")[1], 16) == port and row[3] == state for row in sockets)


if __name__ == "__main__":
    main()
