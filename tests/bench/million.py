#!/usr/bin/env python3
"""Holds a million real connections in a virtual machine, and measures what they cost.

    tests/bench/million.py [-n CONNECTIONS] [STEP…] [--memory GIB] [--accel tcg|kvm] [--json FILE] [--bin FOLDER]

Limits of this machine do not count there: the guest has the distribution's cloud kernel, busybox, and the
static mynah and mynah-load, which meet over loopback. Steps, each with a fresh server:

    idle    holds the connections, 100 requests a second beside them: memory of both programs and the kernel
    fanout  broadcasts to all of them: how long until the last one has it
    storm   drops all of them at once: how long until all are served again

Needs qemu-system-x86_64, apt-get and dpkg-deb (Debian, Ubuntu), cargo with the target x86_64-unknown-linux-musl and
musl-gcc (rustup target add x86_64-unknown-linux-musl, package musl-tools); no root, no network in the guest.
--bin has built programs. A million needs 11 GiB of free memory; how long it may take is said before it begins.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = "x86_64-unknown-linux-musl"
STEPS = ("idle", "fanout", "storm")
PROGRAMS = ("mynah", "mynah-load", "mynah-cli")
PACKAGES = ("linux-image-cloud-amd64", "busybox-static")
# Shares of connections that are served again, in a storm.
SERVED = {"half": "half", "p99": "99 %", "all": "all"}
# A connection is two sockets of 4.1 kB, the programs' 100 bytes, and in a fan-out a message under way.
GUEST_BYTES_EACH = 11_000
GUEST_BYTES_LEAST = 512 << 20
# An emulated processor does 1,800 to 5,000 connects a second where nothing else runs.
SECONDS_LEAST, CONNECTS_PER_SEC = 300, 700
# How often each connection is opened.
CONNECTS = {"idle": 1, "fanout": 1, "storm": 2}

# %(…)s are put in below. Results go to the second serial port, everything else to the first.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null
ip link set lo up
cd /proc/sys
echo %(files)s >fs/nr_open; echo %(files)s >fs/file-max; ulimit -n %(files)s
echo '1024 65535' >net/ipv4/ip_local_port_range
# Keepalive probes of thousands fall due together, and loopback drops what is beyond this many.
echo 1000000 >net/core/netdev_max_backlog
echo 65535 >net/core/somaxconn; echo 65535 >net/ipv4/tcp_max_syn_backlog
# Pages: the kernel's own reckoning is a tenth of the memory.
echo '%(pages)s %(pages)s %(pages)s' >net/ipv4/tcp_mem
cd /
result() { echo "== $1"; cat; } >/dev/ttyS1
serve() {
    # Linux sends the probes that fall due within 16 s at once, which takes so long here that a
    # broadcast under way is sent again.
    mynah -l command://127.0.0.1:7000 -l command://127.0.0.1:7001 -m %(most)s --tcp-keepalive 7200 --log-level warn &
    server=$!
    until mynah-cli 127.0.0.1:7001 status >/dev/null 2>&1; do sleep 0.1; done
}
finish() { kill $server; wait $server; }
# A pipe in place of a terminal has a line every few seconds.
load() { mynah-load "$@" --max-errors 1M 2>&1 | cat; }
snapshot() {
    mynah-cli 127.0.0.1:7001 status --json | result status
    cat /proc/$server/status | result server
    cat /proc/$tester/status | result tester
    cat /proc/net/sockstat | result sockstat
    cat /proc/slabinfo | result slabinfo
}
U=command://127.0.0.1:7000
%(steps)s
echo == end >/dev/ttyS1
sync; poweroff -f
"""

STEP = {
    # The kernel frees sockets of a step before the next one begins.
    "idle": """
serve
cat /proc/slabinfo | result slabinfo
load idle $U -c %(n)s --rate 50k --hold 20 --probe 100 --server-pid $server --json /idle.json &
load=$!
until tester=$(pidof mynah-load); do sleep 0.1; done
# Both ends of each.
until [ "$(awk '/^TCP:/ { print $3 }' /proc/net/sockstat)" -ge $((2 * %(n)s)) ] || ! kill -0 $load 2>/dev/null; do sleep 1; done
snapshot
wait $load
result idle </idle.json
finish
""",
    "fanout": """
serve
load fanout $U --subscribers %(n)s --size 64 -d 1s --json /fanout.json
result fanout </fanout.json
finish
""",
    "storm": """
serve
load storm $U -c %(n)s --timeout 3600 --json /storm.json
result storm </storm.json
finish
""",
}


def main():
    # So that the machine ends with this script.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    guest_bytes = GUEST_BYTES_LEAST + options.n * GUEST_BYTES_EACH
    if options.memory:
        guest_bytes = int(options.memory * 2**30)
    available = int(re.search(r"MemAvailable:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) << 10
    if guest_bytes > available:
        sys.exit(f"{options.n:,} connections need {gib(guest_bytes)}, {gib(available)} are free: take fewer with -n")
    need("qemu-system-x86_64", "qemu-system-x86")
    programs = options.bin or build()
    with tempfile.TemporaryDirectory(prefix="mynah-million-") as scratch:
        scratch = pathlib.Path(scratch)
        kernel, busybox = fetch(scratch)
        (scratch / "initrd").write_bytes(initramfs(options, guest_bytes, busybox, programs))
        results = boot(scratch, kernel, guest_bytes, options)
    figures = read(results)
    report(figures, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    missing = [step for step in options.steps if step not in figures]
    if missing:
        sys.exit(f"no result of {', '.join(missing)}: the guest's last words are above")
    missed = [f"{step}: {miss}" for step in options.steps for miss in figures[step]["verdict"]["misses"]]
    if missed:
        sys.exit("\n".join(missed))


def arguments():
    about, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=number, default=1_000_000, metavar="CONNECTIONS", help="1000000, 100k, 2M")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS) + " (all)")
    parser.add_argument("--memory", type=float, metavar="GIB", help="of the guest")
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg", help="tcg is software emulation")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures")
    parser.add_argument("--bin", type=pathlib.Path, metavar="FOLDER", help="built programs, static")
    options = parser.parse_args()
    for step in options.steps:
        if step not in STEPS:
            parser.error(f"unknown step '{step}', there are {', '.join(STEPS)}")
    options.steps = options.steps or list(STEPS)
    return options


def number(text):
    factor = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    found = int(text if factor == 1 else text[:-1]) * factor
    if not 1 <= found <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 10M")
    return found


def gib(size):
    return f"{size / 2**30:.1f} GiB"


def need(program, package):
    if not shutil.which(program):
        sys.exit(f"{program} is missing; try: apt-get install {package}")


def build():
    """The folder of the static programs, built as they ship."""
    command = ["cargo", "build", "--release", "--target", TARGET]
    for program in PROGRAMS:
        command += ["--bin", program]
    print("$", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / TARGET / "release"


def fetch(scratch):
    """The kernel and busybox, from the distribution's packages, which are unpacked and not installed."""
    need("apt-get", "apt")
    need("dpkg-deb", "dpkg")
    kernel, busybox = PACKAGES
    depends = subprocess.run(
        ["apt-cache", "depends", kernel], check=True, text=True, capture_output=True
    ).stdout
    image = re.search(r"Depends: (linux-image-\S+)", depends)
    if not image:
        sys.exit(f"apt-cache knows no kernel behind {kernel}; try: apt-get update")
    root = scratch / "root"
    for package in (image[1], busybox):
        subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True, stderr=subprocess.DEVNULL)
    for package in scratch.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    return next(root.glob("boot/vmlinuz*")), next(root.glob("*bin/busybox"), None) or root / "usr/bin/busybox"


def initramfs(options, guest_bytes, busybox, programs):
    """The guest's files, as a cpio archive (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    words = {
        "n": options.n,
        "most": options.n + 1_000,
        "files": 2 * options.n + 100_000,
        # Of 4 KiB: all of the memory may be data in buffers, of which there is nearly none.
        "pages": guest_bytes // 4096,
    }
    steps = "".join(STEP[step] % words for step in options.steps)
    init = (INIT % dict(words, steps=steps)).encode()
    files = [(name, 0o040755, b"") for name in ("bin", "dev", "proc", "sys")]
    files += [("bin/busybox", 0o100755, busybox.read_bytes()), ("init", 0o100755, init)]
    files += [(f"bin/{name}", 0o100755, (programs / name).read_bytes()) for name in PROGRAMS]
    return b"".join(entry(*file) for file in files) + entry("TRAILER!!!", 0, b"")


def entry(name, mode, content):
    """One file of a cpio archive of the format `newc`."""
    name = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return padded(header + name) + padded(content)


def padded(content):
    return content + bytes(-len(content) % 4)


def boot(scratch, kernel, guest_bytes, options):
    """Runs the guest to its end, and shows what it says. Returns what it has written to its second port."""
    results = scratch / "results"
    connects = options.n * sum(CONNECTS[step] for step in options.steps)
    patience = SECONDS_LEAST + connects // CONNECTS_PER_SEC
    command = ["qemu-system-x86_64", "-smp", "2", "-m", f"{guest_bytes >> 20}M", "-nodefaults", "-no-reboot"]
    command += ["-display", "none", "-kernel", kernel, "-initrd", scratch / "initrd"]
    # A hash table of sockets for as many as there will be: a connect looks for a free port there.
    words = f"console=ttyS0 quiet panic=-1 rdinit=/init thash_entries={2 * options.n}"
    command += ["-append", words, "-serial", "stdio", "-serial", f"file:{results}"]
    command += ["-accel", "tcg,thread=multi" if options.accel == "tcg" else "kvm", "-cpu", "max"]
    print(f"booting a guest of {gib(guest_bytes)}, for {patience // 60} minutes at most", flush=True)
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        guest.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        print(f"stopped after {patience} s", file=sys.stderr)
    finally:
        guest.kill()
        guest.wait()
    return results.read_text(encoding="utf-8", errors="replace")


def read(results):
    """What the guest has measured: the last of each name."""
    parts = re.split(r"^== (\w+)\r?\n", results, flags=re.MULTILINE)
    texts = {}
    for name, text in zip(parts[1::2], parts[2::2]):
        texts.setdefault(name, []).append(text)
    figures = {}
    for name in ("status", *STEPS):
        for text in texts.get(name, []):
            try:
                figures[name] = json.loads(text)
            except json.JSONDecodeError:
                print(f"cannot read the result of {name}", file=sys.stderr)
    for name in ("server", "tester"):
        for text in texts.get(name, []):
            figures[name] = {key: int(kib) << 10 for key, kib in re.findall(r"(\w+):\s+(\d+) kB", text)}
    for text in texts.get("sockstat", []):
        figures["sockstat"] = dict(re.findall(r"(\w+): (.*?)\r?$", text, flags=re.MULTILINE))
    slabs = [slab_bytes(text) for text in texts.get("slabinfo", [])]
    if len(slabs) == 2:
        figures["slab_bytes"] = slabs[1] - slabs[0]
    return figures


def slab_bytes(text):
    """Bytes of all slabs (slabinfo(5)): pages of four kilobytes."""
    row = re.compile(r"^\S+ +\d+ +\d+ +\d+ +\d+ +(\d+) : tunables.*: slabdata +\d+ +(\d+)", re.MULTILINE)
    return sum(int(pages) * int(slabs) * 4096 for pages, slabs in row.findall(text))


def report(figures, options):
    """What people want to know."""
    print(f"\n{options.n:,} connections, {os.uname().machine}, accel {options.accel}")
    if "idle" in figures:
        idle = figures["idle"]
        held = max(idle["connections"]["held"], 1)
        print(f"  held               {held:,}, opened in {idle['ramp_secs']:.0f} s ({idle['rate_per_sec']:,.0f}/s)")
        if "status" in figures:
            print(f"  the server says    {figures['status']['connections']:,} connections")
            print(f"  sockstat says      TCP: {figures['sockstat'].get('TCP')}")
        if "server" in figures:
            server, tester = figures["server"], figures["tester"]
            grown = idle["server"]["bytes_per_connection"]
            print(f"  server             {grown} bytes a connection, {mib(server['VmRSS'])} resident")
            print(f"  load tester        {tester['RssAnon'] / held:.0f} bytes a connection, {mib(tester['VmRSS'])} resident")
        if "slab_bytes" in figures:
            print(f"  kernel             {figures['slab_bytes'] / held:,.0f} bytes of slabs a connection, both ends")
        latency = idle["latency_us"]
        print(f"  beside them        {idle['requests']['answered']:,} requests, p50 {ms(latency['p50'])}, p99 {ms(latency['p99'])}")
    if "fanout" in figures:
        fanout = figures["fanout"]
        deliveries, published = fanout["deliveries"], max(fanout["requests"]["sent"], 1)
        print(f"  one broadcast      {deliveries // published:,} deliveries, the last after {ms(fanout['latency_us']['max'])}")
    for storm in figures.get("storm", {}).get("storm") or []:
        served = storm["served_secs"]
        shares = ", ".join(f"{name} after {secs(served[key])}" for key, name in SERVED.items())
        failed = sum(storm["failed_attempts"].values())
        print(f"  storm              {storm['dropped']:,} dropped; served again: {shares}; {failed:,} connects failed")
        before, during = storm["bystanders_before_us"], storm["bystanders_during_us"]
        print(f"  bystanders         p99 {ms(before['p99'])} before, {ms(during['p99'])} in the storm")

def secs(value):
    return "never" if value is None else f"{value:.1f} s"


def mib(size):
    return f"{size / 2**20:.1f} MiB"


def ms(us):
    return "-" if us is None else f"{us / 1e3:,.1f} ms" if us < 1e6 else f"{us / 1e6:,.1f} s"


if __name__ == "__main__":
    main()
