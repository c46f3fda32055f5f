#!/usr/bin/env python3
"""What a cluster costs, beside a bare Redis and beside a server that is no node.

    cargo build --release && python3 tests/bench/cluster.py [PART…] [--bin FOLDER] [--rounds N]

Parts: between, local, publish, gone, echo; none is all. Runs alternate, so that what else the machine
does meets both sides; each figure is the median, each ratio the median of the rounds' ratios. Needs
redis-server, for instructions valgrind, for `local` and `gone` mynah-load. It is not a test: it
prints, and has no thresholds.
"""

import argparse
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time

PAYLOAD = bytes(range(97, 123)) * 40
PAYLOAD = PAYLOAD[:1024]
ECHO, BROADCAST = 1, 4
PATIENCE = 30


class Process:
    """A server, ended with the script."""

    def __init__(self, args):
        self.child = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.set_blocking(self.child.stderr.fileno(), False)

    @property
    def pid(self):
        return self.child.pid

    def cpu(self):
        """User and system seconds of all its threads (proc_pid_stat(5))."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        tick = os.sysconf("SC_CLK_TCK")
        return int(fields[11]) / tick, int(fields[12]) / tick

    def stop(self, by=signal.SIGTERM):
        self.child.send_signal(by)
        os.set_blocking(self.child.stderr.fileno(), True)
        text = self.child.stderr.read().decode(errors="replace")
        self.child.wait(PATIENCE)
        return text


class Redis(Process):
    def __init__(self, folder):
        self.path = os.path.join(folder, "redis.sock")
        if os.path.exists(self.path):
            os.unlink(self.path)
        super().__init__(["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "",
                          "--appendonly", "no", "--logfile", "/dev/null", "--dir", folder])
        wait("redis-server", lambda: try_connect(self.path))

    def nodes(self):
        """How many nodes hear both channels."""
        stream = connect(self.path)
        stream.sendall(b"CLIENT LIST\r\n")
        header = stream.recv(1 << 20)
        size, rest = header.split(b"\r\n", 1)
        while len(rest) < int(size[1:]):
            rest += stream.recv(1 << 20)
        return rest.count(b" sub=2 ")


class Mynah(Process):
    def __init__(self, program, redis=None, wrap=()):
        before = redis.nodes() if redis else 0
        # The port may be taken before the server has it; then the server ends at once.
        for _ in range(10):
            self.port = free_port()
            args = [*wrap, program, "-l", f"command://127.0.0.1:{self.port}", "--log-level", "warn"]
            if redis:
                args += ["--cluster", f"redis+unix://{redis.path}?node=n{self.port}"]
            super().__init__(args)
            wait("mynah", lambda: self.child.poll() is not None or self.listens())
            if self.child.poll() is None:
                break
        else:
            raise SystemExit(f"{program} does not start: {self.child.stderr.read()}")
        if redis:
            wait("the node hears", lambda: redis.nodes() == before + 1)
            time.sleep(1.2)  # Both have heard each other's heartbeats.

    def listens(self):
        """Whether it is this process that listens: /proc/net/tcp has the socket, its files the number."""
        with open("/proc/net/tcp") as file:
            rows = (line.split() for line in file)
            inodes = {row[9] for row in rows if row[1] == f"0100007F:{self.port:04X}" and row[3] == "0A"}
        folder = f"/proc/{self.pid}/fd"
        try:
            links = {os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)}
        except OSError:
            return False  # One was closed meanwhile.
        return any(f"socket:[{inode}]" in links for inode in inodes)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def connect(to):
    if isinstance(to, str):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(to)
        return stream
    stream = socket.create_connection(("127.0.0.1", to))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def try_connect(to):
    try:
        connect(to).close()
        return True
    except OSError:
        return False


def wait(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not in time: {what}")
        time.sleep(0.01)


def frame(command, payload=b""):
    return struct.pack(">BI", command, len(payload)) + payload


def mynah_pair(publish_at, subscribe_at):
    """Both connections, known to their servers, a message, and its length when it is delivered."""
    streams = [connect(publish_at.port), connect(subscribe_at.port)]
    for stream in streams:
        stream.sendall(frame(ECHO))
        assert stream.recv(5, socket.MSG_WAITALL) == frame(ECHO)
    return *streams, frame(BROADCAST, PAYLOAD), 5 + len(PAYLOAD)


def redis_pair(redis):
    streams = [connect(redis.path), connect(redis.path)]
    streams[1].sendall(b"SUBSCRIBE c\r\n")
    streams[1].recv(1 << 10)
    bulk = b"$%d\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD)
    delivered = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n" + bulk
    return *streams, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n" + bulk, len(delivered)


def pump(pair, count, window):
    """Publishes `count` messages, at most `window` of them on their way. Returns the seconds."""
    publisher, subscriber, message, delivered_len = pair
    for stream in (publisher, subscriber):
        stream.setblocking(False)
    chunk = min(window, 64)
    many, buffer = memoryview(message * chunk), bytearray(1 << 20)
    sent = received = 0
    total, due = count * len(message), count * delivered_len
    poll = select.poll()
    poll.register(publisher, select.POLLIN)
    poll.register(subscriber, select.POLLIN)
    begun, heard = time.perf_counter(), time.perf_counter()
    waits_to_write = False
    while received < due:
        allowed = min(total, (received // delivered_len + window) * len(message))
        if sent < allowed:
            at = sent % len(message)
            try:
                sent += publisher.send(many[at:at + min(len(many) - at, allowed - sent)])
                is_half_empty = received // delivered_len + window // 2 > sent // len(message)
                if sent < allowed and is_half_empty:
                    continue
                waits_to_write = False
            except BlockingIOError:
                waits_to_write = True
            poll.modify(publisher, select.POLLIN | (select.POLLOUT if waits_to_write else 0))
        events = poll.poll(1000)
        for number, event in events:
            if not event & (select.POLLIN | select.POLLHUP):
                continue
            is_subscriber = number == subscriber.fileno()
            length = (subscriber if is_subscriber else publisher).recv_into(buffer)
            if length == 0:
                raise SystemExit("a connection was closed")
            if is_subscriber:
                received += length
                heard = time.perf_counter()
        if time.perf_counter() > heard + PATIENCE:
            raise SystemExit(f"lost: {received // delivered_len} of {sent // len(message)} delivered")
    took = time.perf_counter() - begun
    publisher.close()
    subscriber.close()
    return took


def median(values):
    return statistics.median(values)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def spread(values, digits=2):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}, median {median(values):.{digits}f}"


def between(bench):
    """1 KiB broadcasts from node to node, beside PUBLISH and SUBSCRIBE."""
    count, window = 200_000, 512
    redis = Redis(bench.folder)
    nodes = [Mynah(bench.mynah, redis), Mynah(bench.mynah, redis)]
    bare = Redis(tempfile.mkdtemp(dir=bench.folder))
    rates, ratios, cpu = ([], []), [], []
    for number in range(bench.rounds + 1):
        before = [process.cpu() for process in (*nodes, redis, bare)]
        ours = count / pump(mynah_pair(*nodes), count, window)
        theirs = count / pump(redis_pair(bare), count, window)
        after = [process.cpu() for process in (*nodes, redis, bare)]
        if number == 0:
            continue
        rates[0].append(ours)
        rates[1].append(theirs)
        ratios.append(ours / theirs)
        cpu.append([sum(b) - sum(a) for a, b in zip(before, after)])
    for process in (*nodes, redis, bare):
        process.stop()
    row("1 KiB broadcasts a second, node to node", f"{median(rates[0]):,.0f}")
    row("PUBLISH and SUBSCRIBE of the same, bare Redis", f"{median(rates[1]):,.0f}")
    row("ratio", spread(ratios))
    each = [median(column) / count * 1e6 for column in zip(*cpu)]
    names = ("publishing node", "other node", "its Redis", "bare Redis")
    row("CPU µs a message", ", ".join(f"{name} {us:.2f}" for name, us in zip(names, each)))


def load(bench, args):
    out = subprocess.run([bench.load, *args, "--json", "-", "--quiet"], stdout=subprocess.PIPE)
    return json.loads(out.stdout)


def local(bench):
    """Deliveries to local subscribers, with and without --cluster."""
    for batch in (1, 32):
        def fanout(server, seconds):
            return load(bench, ["fanout", f"command://127.0.0.1:{server.port}", "--size", "1k",
                                "--batch", str(batch), "-d", str(seconds)])

        redis = Redis(bench.folder)
        servers = [Mynah(bench.mynah, redis), Mynah(bench.mynah)]
        found = ([], [])
        for number in range(2 * bench.rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                found[side].append(fanout(servers[side], 1)["rate_per_sec"])
        for process in (*servers, redis):
            process.stop()
        row(f"deliveries a second, 100 subscribers, {batch} a batch: node, alone",
            f"{median(found[0]):,.0f}, {median(found[1]):,.0f}")
        row("ratio", spread([a / b for a, b in zip(*found)], 3))
        if shutil.which("valgrind"):
            each = []
            for cluster in (True, False):
                counts = []
                for seconds in (1, 4):
                    instructions, report = counted(bench, bench.mynah, cluster, lambda s: fanout(s, seconds))
                    counts.append((instructions, report["deliveries"]))
                (few, less), (many, more) = counts
                each.append((many - few) / (more - less))
            row(f"instructions a delivery, {batch} a batch: node, alone, ratio",
                f"{each[0]:,.1f}, {each[1]:,.1f}, {each[1] / each[0]:.3f}")


def counted(bench, program, cluster, work):
    """The instructions of a server's whole life, and what `work` on it returns."""
    redis = Redis(bench.folder) if cluster else None
    out = os.path.join(bench.folder, "callgrind.out")
    server = Mynah(program, redis, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
    result = work(server)
    text = server.stop()
    if redis:
        redis.stop()
    return int(re.search(r"Collected : (\d+)", text).group(1)), result


def instructions(bench, program, cluster, work, few, many):
    """What `work` costs its server each time: the difference of two lives."""
    totals = [counted(bench, program, cluster, lambda server: work(server, count))[0] for count in (few, many)]
    return (totals[1] - totals[0]) / (many - few)


def echoes(server, count, depth=1):
    """Echoes of 64 bytes, `depth` of them on their way at a time."""
    stream, request = connect(server.port), frame(ECHO, PAYLOAD[:64]) * depth
    for _ in range(count // depth):
        stream.sendall(request)
        assert len(stream.recv(len(request), socket.MSG_WAITALL)) == len(request)


def publish(bench):
    """What a publish costs its node beyond a local broadcast."""
    for window, count in ((1, 40_000), (512, 200_000)):
        what = "one at a time" if window == 1 else f"{window} on their way"
        redis = Redis(bench.folder)
        servers = [Mynah(bench.mynah, redis), Mynah(bench.mynah)]
        used = ([], [])
        for number in range(bench.rounds + 1):
            for side, server in enumerate(servers):
                before = server.cpu()
                pump(mynah_pair(server, server), count, window)
                after = server.cpu()
                if number:
                    used[side].append([(b - a) / count * 1e6 for a, b in zip(before, after)])
        for process in (*servers, redis):
            process.stop()
        for part, name in enumerate(("user", "system")):
            ours, alone = ([sample[part] for sample in side] for side in used)
            more = [a - b for a, b in zip(ours, alone)]
            row(f"{name} CPU µs a broadcast, {what}: node, alone, difference",
                f"{median(ours):.2f}, {median(alone):.2f}, {spread(more)}")
        if shutil.which("valgrind"):
            few, many = (500, 2_500) if window == 1 else (2_000, 10_000)
            each = [instructions(bench, bench.mynah, cluster,
                                 lambda server, count: pump(mynah_pair(server, server), count, window), few, many)
                    for cluster in (True, False)]
            row(f"instructions a broadcast, {what}: node, alone, difference",
                f"{each[0]:,.0f}, {each[1]:,.0f}, {each[0] - each[1]:,.0f}")


def gone(bench):
    """Local echoes while the engine is there, gone, or stopped."""
    redis = Redis(bench.folder)
    server = Mynah(bench.mynah, redis)
    found = {"with the engine": [], "the engine gone": [], "the engine stopped": []}

    def measure(what):
        report = load(bench, ["echo", f"command://127.0.0.1:{server.port}", "-c", "50", "--rate", "2k", "-d", "2"])
        assert report["requests"]["answered"] == 4_000, report["errors"]
        found[what].append([report["latency_us"][name] for name in ("p50", "p90", "p99")])

    for _ in range(bench.rounds):
        measure("with the engine")
        os.kill(redis.pid, signal.SIGSTOP)
        time.sleep(3.5)
        measure("the engine stopped")
        os.kill(redis.pid, signal.SIGCONT)
        redis.stop(signal.SIGKILL)
        measure("the engine gone")
        redis = Redis(bench.folder)
        wait("the node hears again", lambda: redis.nodes() == 1)
    server.stop()
    redis.stop()
    for what, samples in found.items():
        p50, p90, p99 = (median(column) / 1000 for column in zip(*samples))
        row(f"echo on the node, {what}: p50, p90, p99", f"{p50:.2f} ms, {p90:.2f} ms, {p99:.2f} ms")
    ratios = [a[2] / b[2] for a, b in zip(found["the engine gone"], found["with the engine"])]
    row("p99 with it gone, over that with it", spread(ratios))


def echo(bench):
    """Instructions of an echo: of the programs given by --echo, and of this one."""
    for name, program in [("this program", bench.mynah), *(item.split("=", 1) for item in bench.echo)]:
        each = instructions(bench, program, False, echoes, 2_000, 10_000)
        row(f"instructions an echo of 64 bytes, {name}", f"{each:,.1f}")


PARTS = {part.__name__: part for part in (between, local, publish, gone, echo)}


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--bin", default=os.path.join(root, "target", "release"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--echo", action="append", default=[], metavar="NAME=FILE")
    bench = parser.parse_args()
    bench.mynah, bench.load = (os.path.join(bench.bin, name) for name in ("mynah", "mynah-load"))
    with tempfile.TemporaryDirectory() as folder:
        bench.folder = folder
        row("figure", "measured")
        row("---", "---")
        for name in bench.parts or PARTS:
            PARTS[name](bench)


if __name__ == "__main__":
    main()
