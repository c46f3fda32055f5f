#!/usr/bin/env python3
"""Types the walk of docs/operations.md, "The first ten minutes", in a virtual machine, and compares.

    tests/walk.py [--record]

Debian with systemd as the first process, made by debootstrap and run by qemu without hardware support; the
package is the one of this source, or MYNAH_DEB, and again with a higher version for the upgrade. Lines
behind `# ` are typed by root, those behind `$ ` by a user, in one shell each. Figures and dates may
differ, `…` stands for anything, alone on a line for any lines. --record puts the figures and dates of
this run into the page.

Needs root, debootstrap with a mirror, qemu-system-x86_64, ssh, cargo-deb, and Chromium for the status
page (left out without). `.ci/nightly walk` runs it. MYNAH_ROOT keeps the root in a folder for the next run.
"""

import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import chromium

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/operations.md"
TITLE = "## The first ten minutes"
# Emulation is slow, and apt reads lists.
PATIENCE = 600
PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,curl,ca-certificates,logrotate,openssh-server,"
    "linux-image-cloud-amd64,initramfs-tools,zstd"
)
# What may have to be asked again, because it tells of what others do meanwhile.
AWAITED = re.compile(r"promtool query|journalctl|systemctl status|cat |ls |mynah-cli --admin \$A clients")
# Commands that print tables for people, so only on a terminal.
ON_A_TERMINAL = re.compile(r"mynah-cli --admin \$A (?:status|clients)$")
# apt's own, of the machine's other packages.
NOISE = re.compile(r"(?:\(Reading database .*|WARNING: apt does not .*|debconf: delaying .*|)\r?\n")
DAY = r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
FIGURE = re.compile(rf"(?:(?:{DAY}|\d[\d.,]*) ?(?:(?:ms|min|s|h|days?|[KM]i?B|[kKMG]|B)\b)? ?)+")
# Lines of the server and of the service manager come in any order.
UNORDERED = re.compile(r"journalctl|systemctl status|mynah\.log$")


def main():
    # So that the machine ends with this script.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    is_recording = "--record" in sys.argv[1:]
    failures, recorded = 0, {}
    with tempfile.TemporaryDirectory(prefix="mynah-walk-") as scratch:
        machine = Machine(pathlib.Path(scratch))
        try:
            machine.boot()
            for number, command, expected in commands(PAGE.read_text(encoding="utf-8").splitlines()):
                print(f"{PAGE.name}:{number}: {command}", flush=True)
                if command.startswith("$ ssh -N -L"):
                    look_at_page(machine)
                    continue
                got = type_until_same(machine, command, expected)
                if is_same(command, expected, got):
                    recorded.update(with_figures(number + command.count("\n") + 1, expected, got))
                else:
                    failures += 1
                    print("\n      ".join(["    FAILED", "page:", *expected, "now:", *got]), flush=True)
        finally:
            machine.stop()
    if is_recording:
        lines = PAGE.read_text(encoding="utf-8").splitlines()
        PAGE.write_text("".join(recorded.get(at, line) + "\n" for at, line in enumerate(lines, 1)), encoding="utf-8")
    if failures:
        sys.exit(f"{failures} commands of the walk do not do what it says")
    print("the walk does what it says")


def type_until_same(machine, command, expected):
    """What a command prints, again and again where it tells of what others do meanwhile."""
    deadline = time.monotonic() + 40
    while True:
        got = machine.type(command).strip("\n").splitlines()
        if is_same(command, expected, got) or not AWAITED.search(command) or time.monotonic() > deadline:
            return got


def commands(lines):
    """The walk's commands, each with the number of its first line, and the lines that it prints."""
    at = lines.index(TITLE) + 1
    is_console, first, command, end = False, None, None, None
    while not lines[at].startswith("## "):
        line = lines[at]
        if command is not None and (line == "```" or re.match(r"[#$] ", line)):
            yield first, command, lines[end:at]
            command = None
        if line == "```console" or line == "```":
            is_console = line == "```console"
        elif is_console and re.match(r"[#$] ", line):
            first, command = at + 1, line
            if line.endswith("<<END"):
                at = lines.index("END", at)
                command = "\n".join(lines[first - 1 : at + 1])
            end = at + 1
        at += 1


def plain(line):
    """A line without what differs each time."""
    return " ".join(FIGURE.sub("0 ", line).split())


def with_figures(number, expected, got):
    """The expected lines, from line `number` on, with the figures of those that were got."""
    rest = list(got)
    for at, line in enumerate(expected, number):
        same = next((have for have in rest if plain(have) == plain(line)), None)
        if same is not None and "…" not in line:
            rest = rest[rest.index(same) + 1 :] if rest else rest
            yield at, same


def is_same(command, expected, got):
    # Emulated turns are slow.
    want, have = ([plain(line) for line in lines if "slow turn: " not in line] for lines in (expected, got))
    if UNORDERED.search(command):
        return set(want) - {"…"} <= set(have)
    pattern = "".join(re.escape(line) + "\n" for line in want)
    pattern = pattern.replace("…\n", "(?:.*\n)*").replace("…", ".*")
    return re.fullmatch(pattern, "".join(line + "\n" for line in have)) is not None


def look_at_page(machine):
    """The status page, over SSH as the walk has it, in a browser of this machine."""
    program = chromium.find()
    if program is None:
        print("    skipped: Chromium is not installed")
        return
    port = free_port()
    tunnel = machine.ssh("you", "-N", "-L", f"{port}:127.0.0.1:6580")
    browser = chromium.Chromium(program)
    try:
        wait_for_port(port)
        tab = chromium.Tab(browser, (1280, 900), "light")
        tab.open(f"http://localhost:{port}/")
        tab.wait("document.body.innerText.includes('command://127.0.0.1:65432')")
        text = tab.text()
        print("    " + " | ".join(line for line in text.splitlines() if line.strip())[:600])
        if tab.errors:
            raise AssertionError(f"the status page: {tab.errors}")
    finally:
        browser.close()
        tunnel.kill()
        tunnel.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Machine:
    """Debian, booted by qemu, and a shell of each of its two users."""

    def __init__(self, scratch):
        self.scratch, self.port = scratch, free_port()
        self.process, self.shells = None, {}

    def boot(self):
        packages = self.packages()
        folder = pathlib.Path(os.environ.get("MYNAH_ROOT", self.scratch / "root"))
        if not (folder / "etc").exists():
            make_root(folder)
        key = self.scratch / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        for home, owner in ((folder / "root", 0), (folder / "home/you", 1000)):
            (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
            shutil.copy(f"{key}.pub", home / ".ssh/authorized_keys")
            for path in (home / ".ssh", home / ".ssh/authorized_keys"):
                os.chown(path, owner, owner)
        for package in packages:
            shutil.copy(package, folder / "root")
        disk = self.scratch / "disk"
        run("mkfs.ext4", "-q", "-d", folder, disk, "3G")
        kernel, initrd = (next(folder.glob(f"boot/{name}-*")) for name in ("vmlinuz", "initrd.img"))
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"),
                *("-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw console=ttyS0 quiet"),
                *("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe", "-display", "none"),
                *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
                *("-device", "virtio-net-pci,netdev=net", "-serial", f"file:{self.scratch / 'console'}"),
            ],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        # Until the machine is up, its port is open and nobody answers.
        while self.ssh("root", "systemctl is-system-running --wait").wait() == 255:
            if time.monotonic() > deadline:
                raise AssertionError(f"the machine does not start: {(self.scratch / 'console').read_text()}")
            time.sleep(1)
        for user in ("root", "you"):
            self.shells[user] = Shell(self.ssh(user, "bash", piped=True))
        self.shells["root"].run("apt-get update")

    def packages(self):
        """The package, and the same with a higher version."""
        first = self.scratch / "mynah_0.1.0-1_amd64.deb"
        if "MYNAH_DEB" in os.environ:
            shutil.copy(os.environ["MYNAH_DEB"], first)
        else:
            run("cargo", "build", "--locked", "--release", "--bins", cwd=ROOT)
            run("cargo", "deb", "--locked", "--no-build", "--output", first, cwd=ROOT)
        unpacked, second = self.scratch / "deb", self.scratch / "mynah_0.1.0-2_amd64.deb"
        run("dpkg-deb", "-R", first, unpacked)
        control = unpacked / "DEBIAN/control"
        control.write_text(control.read_text().replace("Version: 0.1.0-1\n", "Version: 0.1.0-2\n"))
        run("dpkg-deb", "-b", "-Zgzip", unpacked, second)
        return first, second

    def ssh(self, user, *arguments, piped=False):
        """ssh with `arguments`, which are a command, or options that begin with -N."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5", "LogLevel=ERROR")
        return subprocess.Popen(
            [
                *("ssh", "-i", self.scratch / "key", "-p", str(self.port), "-l", user),
                *(word for option in options for word in ("-o", option)),
                *((*arguments, "127.0.0.1") if arguments[0] == "-N" else ("127.0.0.1", *arguments)),
            ],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if piped else subprocess.DEVNULL,
        )

    def type(self, line):
        """What a line of the walk prints, behind its prompt."""
        user, command = {"#": "root", "$": "you"}[line[0]], line[2:]
        if ON_A_TERMINAL.match(command):
            command = f"export A; script -qec 'stty cols 100; {command}' /dev/null </dev/null"
        return NOISE.sub(lambda match: "" if match[0].strip() else match[0], self.shells[user].run(command))

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Shell:
    """A shell that is fed commands."""

    def __init__(self, process):
        self.process, self.pending = process, b""
        self.run("exec 2>&1; export DEBIAN_FRONTEND=noninteractive SYSTEMD_PAGER=cat")

    def run(self, command):
        mark = f"end-of-{time.monotonic_ns()}"
        self.process.stdin.write(f"{command}\necho {mark}\n".encode())
        self.process.stdin.flush()
        text = self.read_until(mark.encode() + b"\n", time.monotonic() + PATIENCE)
        # apt runs dpkg in a terminal.
        text = re.sub(r"\r+\n", "\n", text.decode(errors="replace"))
        # What a terminal would have overwritten.
        return re.sub(r"[^\n]*\r", "", text)

    def read_until(self, mark, deadline):
        while mark not in self.pending:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"nothing more after {self.pending[-500:]!r}")
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise AssertionError(f"the shell ended after {self.pending[-500:]!r}")
            self.pending += piece
        text, self.pending = self.pending.split(mark, 1)
        return text


def make_root(folder):
    """Debian with a kernel, a network and a user."""
    # With mounts of its own, so that none is left where it is ended.
    debootstrap = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder)
    run("unshare", "--mount", *debootstrap, stdout=subprocess.DEVNULL)
    files = {
        "etc/hostname": "server\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 server\n",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        # Those of qemu's user network.
        "etc/resolv.conf": "nameserver 10.0.2.3\n",
        "etc/systemd/network/walk.network": "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    run("chroot", folder, "systemctl", "enable", "systemd-networkd", "ssh")
    run("chroot", folder, "useradd", "--create-home", "--shell", "/bin/bash", "--uid", "1000", "you")


def run(*command, **options):
    subprocess.run(command, check=True, **options)


if __name__ == "__main__":
    main()
