#!/usr/bin/env python3
"""The dissectors of docs/wireshark/mynah.lua in tshark: what they make of captures that this script
writes, with whole, split, merged and malformed frames.

    tests/wireshark/check.py [-v] [Dissector.test_NAME]

Says `skipped: …` where there is no tshark with Lua.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

from pcap import TO_CLIENT, TO_SERVER, Capture

# A real server's TLS 1.3, with its keys: three records in one segment, four requests.
TLS_CAPTURE = pathlib.Path(__file__).resolve().with_name("tls.pcapng")
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "docs/wireshark/mynah.lua"
COMMAND, PREFIXED = 65432, 8080
ECHO, REVERSE, QUIT, BROADCAST, LOGIN, REGISTER, STATUS, ERROR = 1, 2, 3, 4, 5, 6, 7, 255
STATUS_JSON = b'{"version":"0.1.0","uptime_secs":4,"connections":1,"slow_consumers_total":0}'
PATIENCE = 120


def frame(code, payload=b""):
    return struct.pack(">BI", code, len(payload)) + payload


def prefixed(payload=b""):
    return bytes([len(payload)]) + payload


def cut(data, *places):
    return [data[begin:end] for begin, end in zip((0, *places), (*places, len(data)))]


class Message:
    """A frame or message as tshark shows it: its fields by their last word, and its expert infos."""

    def __init__(self, packet, proto):
        self.packet = packet
        self.title = proto.get("showname")
        self.fields, self.experts = {}, []
        prefix = proto.get("name") + "."
        for field in proto.iter("field"):
            name = field.get("name")
            if name == "_ws.expert":
                self.experts += [
                    inner.get("name")[len(prefix) :]
                    for inner in field
                    if inner.get("name").startswith(prefix)
                ]
                self.expert_text = [
                    inner.get("show") for inner in field if inner.get("name").endswith(".message")
                ][0]
            elif name.startswith(prefix):
                self.fields.setdefault(name[len(prefix) :], field)

    def __getattr__(self, name):
        """The value of a field as it is shown, None where there is no such field."""
        field = self.fields.get(name)
        return None if field is None else field.get("show")

    @property
    def bytes(self):
        """What the frame carries."""
        field = self.fields.get("payload")
        return b"" if field is None else bytes.fromhex(field.get("value"))

    @property
    def is_request(self):
        return self.request in ("1", "True")


class Packet:
    def __init__(self, element):
        values = {
            field.get("name"): field.get("show") for field in element.iter("field") if field.get("name")
        }
        self.number = int(values["frame.number"])
        self.stream = int(values["tcp.stream"])
        self.protocols = values["frame.protocols"].split(":")
        self.messages = [
            Message(self.number, proto)
            for proto in element.iter("proto")
            if proto.get("name") in ("mynah.command", "mynah.prefixed")
        ]


@contextlib.contextmanager
def written(capture):
    """The capture as a file (or one that there is), and an environment with nobody's settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = capture
        if isinstance(capture, Capture):
            path = os.path.join(folder, "capture.pcap")
            capture.write(path)
        yield path, dict(
            os.environ, HOME=folder, XDG_CONFIG_HOME=folder, WIRESHARK_CONFIG_DIR=folder, LC_ALL="C.UTF-8"
        )


def tshark(capture, *args):
    """What tshark prints of a capture, with the dissectors."""
    with written(capture) as (path, environment):
        done = subprocess.run(
            ["tshark", "-n", "-X", f"lua_script:{SCRIPT}", "-r", path, *args],
            capture_output=True, env=environment, timeout=PATIENCE,
        )
    errors = done.stderr.decode()
    assert done.returncode == 0 and "Lua" not in errors, errors
    return done.stdout.decode()


def sharkd(capture, *requests):
    """What Wireshark's daemon, which reads packets in any order, answers to requests about a capture."""
    with written(capture) as (path, environment):
        plugins = os.path.join(environment["WIRESHARK_CONFIG_DIR"], "plugins")
        os.mkdir(plugins)
        shutil.copy(SCRIPT, plugins)
        lines = [
            json.dumps({
                "jsonrpc": "2.0", "id": number, "method": method,
                "params": {"file": path} if method == "load" else params,
            })
            for number, (method, params) in enumerate(requests, 1)
        ]
        done = subprocess.run(
            ["sharkd", "-"], input="\n".join(lines).encode(),
            capture_output=True, env=environment, timeout=PATIENCE,
        )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert len(answers) == len(requests), done.stdout + done.stderr
    assert all("result" in answer for answer in answers), done.stdout
    return [answer["result"] for answer in answers]


def packets(capture, *args, passes=2):
    """With one pass, requests do not know their replies yet."""
    root = ElementTree.fromstring(tshark(capture, *["-2"] * (passes == 2), "-T", "pdml", *args))
    found = [Packet(element) for element in root.iter("packet")]
    assert "Lua Error" not in ElementTree.tostring(root, encoding="unicode")
    return found


def messages(capture, *args):
    """All messages of a capture, in the order in which they were complete."""
    return [message for packet in packets(capture, *args) for message in packet.messages]


def by_connection(capture, passes=2):
    found = [[] for _ in range(capture.connections)]
    for packet in packets(capture, passes=passes):
        found[packet.stream] += packet.messages
    return found


class Dissector(unittest.TestCase):
    def test_requests_of_every_kind(self):
        capture = Capture()
        requests = [
            (ECHO, b"hello", "ECHO"), (REVERSE, "Hé!".encode(), "REVERSE"), (BROADCAST, b"to all", "BROADCAST"),
            (LOGIN, b"ann\0password", "LOGIN"), (REGISTER, b"bob\0password1", "REGISTER"), (STATUS, b"", "STATUS"),
            (128, b"first", "PLUGIN 128"), (254, b"last", "PLUGIN 254"), (QUIT, b"", "QUIT"),
        ]
        capture.connect(COMMAND).send(*(frame(code, payload) for code, payload, _ in requests))
        found = messages(capture)
        self.assertEqual(len(found), len(requests))
        for message, (code, payload, name) in zip(found, requests):
            self.assertTrue(message.is_request)
            self.assertEqual((message.code, message.length), (str(code), str(len(payload))))
            self.assertEqual(message.title, f"mynah command, {name}, {len(payload)} bytes")
            self.assertEqual(message.experts, [])
            if code not in (LOGIN, REGISTER):
                self.assertEqual(message.bytes, payload)
                self.assertEqual(message.text, payload.decode() or None)

    def test_password_is_not_shown(self):
        capture = Capture()
        capture.connect(COMMAND).send(frame(LOGIN, b"ann\0secret!!"), frame(REGISTER, b"\0"))
        login, register = messages(capture)
        self.assertEqual((login.account, login.password_length), ("ann", "8"))
        self.assertEqual((register.account, register.password_length), (None, "0"))
        self.assertIsNone(login.text)
        self.assertNotIn("secret", tshark(capture))

    def test_replies_belong_to_requests(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(ECHO, b"hi") + frame(REVERSE, b"ab") + frame(BROADCAST, b"x") + frame(STATUS))
        connection.send(frame(ECHO))
        connection.reply(frame(ECHO, b"hi") + frame(ECHO, b"ba") + frame(BROADCAST, b"from another"))
        connection.reply(frame(ECHO, b"12") + frame(ECHO, STATUS_JSON) + frame(ECHO))
        found = messages(capture)
        requests = [message for message in found if message.is_request]
        replies = [message for message in found if not message.is_request]
        self.assertEqual([message.response_in for message in requests], ["6", "6", "7", "7", "7"])
        self.assertEqual([message.response_to for message in replies], ["4", "4", None, "4", "4", "5"])
        self.assertEqual(float(replies[0].time), 0.002)
        names = ["ECHO reply", "REVERSE reply", "BROADCAST", "BROADCAST reply", "STATUS reply", "ECHO reply"]
        self.assertEqual([message.title.split(", ")[1] for message in replies], names)
        self.assertEqual((replies[2].text, replies[2].receivers), ("from another", None))
        self.assertEqual(replies[3].receivers, "12")
        self.assertEqual(replies[4].status, STATUS_JSON.decode())
        self.assertEqual([message.experts for message in found], [[]] * 11)

    def test_quit_has_no_reply(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(QUIT), frame(ECHO, b"in vain"))
        connection.reply(frame(ERROR, b"server is full: 2 clients"))
        quit_frame, echo, error = messages(capture)
        self.assertIsNone(quit_frame.response_in)
        self.assertEqual((echo.response_in, error.response_to), ("6", "5"))

    def test_plugin_replies_carry_their_code(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(200, b"2+2"))
        connection.reply(frame(200, b"4"))
        reply = messages(capture)[1]
        self.assertEqual((reply.code, reply.text, reply.response_to), ("200", "4", "4"))
        self.assertEqual(reply.experts, [])

    def test_errors_and_their_numbers(self):
        errors = [
            (b"unknown command 99", {"error.code": "99"}),
            (b"REVERSE needs UTF-8: invalid byte at offset 7", {"error.offset": "7"}),
            (b"frame of 9 bytes exceeds the limit of 8", {"error.length": "9", "error.limit": "8"}),
            (b"broadcast of 9 bytes exceeds the limit of 8", {"error.length": "9", "error.limit": "8"}),
            (b"frame incomplete after 30 s", {}),
            (b"server is full: 100 clients", {}),
        ]
        capture = Capture()
        capture.connect(COMMAND).reply(*(frame(ERROR, text) for text, _ in errors))
        found = messages(capture)
        for message, (text, numbers) in zip(found, errors, strict=True):
            self.assertEqual(message.error, text.decode())
            self.assertEqual(message.experts, ["failed"])
            shown = {name: field.get("show") for name, field in message.fields.items() if "error." in name}
            self.assertEqual(shown, numbers)

    def test_numbers_that_are_too_large_are_not_shown(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(BROADCAST) * 2)
        connection.reply(frame(ECHO, b"4294967296"), frame(ECHO, b"9" * 400))
        for number in (b"256", b"4294967296", b"9" * 400):
            connection.reply(frame(ERROR, b"unknown command " + number))
            connection.reply(frame(ERROR, b"invalid byte at offset 4294967295"))
            connection.reply(frame(ERROR, b"frame of %b bytes exceeds the limit of %b" % (number, number)))
        found = messages(capture)
        self.assertEqual([message.receivers for message in found[2:4]], [None, None])
        shown = [{name for name in message.fields if "error." in name} for message in found[4:]]
        in_range = {"error.length", "error.limit"}
        self.assertEqual(shown, [set(), {"error.offset"}, in_range] + [set(), {"error.offset"}, set()] * 2)

    def test_unknown_codes_are_flagged(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(*(frame(code) for code in range(256)))
        connection.reply(*(frame(code) for code in range(256)))
        found = messages(capture)
        flagged = {
            way: [int(m.code) for m in found if m.is_request == way and "unknown" in m.experts]
            for way in (TO_SERVER, TO_CLIENT)
        }
        self.assertEqual(flagged[TO_SERVER], [0, *range(8, 128), 255])
        self.assertEqual(flagged[TO_CLIENT], [0, 2, 3, *range(5, 128)])

    def test_reverse_of_bytes_that_are_not_utf8(self):
        # The offset is where the first invalid or unfinished sequence begins.
        texts = [
            b"\xff", b"ab\xff", b"ab\xc3", b"a\xe2\x82", b"\xe2\x28\xa1", b"\xc0\xaf", b"\xe0\x80\xaf",
            b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", "Hé€😀".encode() + b"\x80", b"\xf5abc",
            "é".encode() * 40 + b"\xc3(", b"\xc1\x80", b"\xf0\x80\x80\x80",
        ]
        good = ["Hé€😀\ufffd\ud7ff\ue000\U0010ffff".encode(), b"\x7f"]
        capture = Capture()
        capture.connect(COMMAND).send(*(frame(REVERSE, text) for text in texts + good))
        found = messages(capture)
        for message, text in zip(found, texts):
            with self.assertRaises(UnicodeDecodeError) as raised:
                text.decode()
            self.assertEqual(message.experts, ["not_utf8"], text)
            self.assertTrue(message.expert_text.endswith(f" offset {raised.exception.start}"), text)
        self.assertEqual([message.experts for message in found[len(texts) :]], [[], []])

    def test_login_without_nul_is_flagged(self):
        capture = Capture()
        capture.connect(COMMAND).send(frame(LOGIN, b"ann"), frame(LOGIN, b"ann\0password"))
        self.assertEqual([message.experts for message in messages(capture)], [["no_password"], []])

    def test_frames_cut_anywhere(self):
        frames = [frame(ECHO, b"hello"), frame(REVERSE, b""), frame(BROADCAST, bytes(range(20))), frame(STATUS)]
        data = b"".join(frames)
        capture = Capture()
        for place in range(1, len(data)):
            capture.connect(COMMAND).send(*cut(data, place))
        capture.connect(COMMAND).send(*cut(data, *range(1, len(data))))
        capture.connect(COMMAND).reply(*cut(data, *range(1, len(data))))
        self.check_cuts(capture, frames, lambda message: frame(int(message.code), message.bytes))

    def test_prefixed_messages_cut_anywhere(self):
        whole = [prefixed(b"Hello, world"), prefixed(), prefixed(bytes(5)), prefixed(b"abc")]
        data = b"".join(whole)
        capture = Capture()
        for place in range(1, len(data)):
            capture.connect(PREFIXED).send(*cut(data, place))
        capture.connect(PREFIXED).send(*cut(data, *range(1, len(data))))
        capture.connect(PREFIXED).reply(*cut(data, *range(1, len(data))))
        self.check_cuts(capture, whole, lambda message: prefixed(message.bytes))

    def check_cuts(self, capture, frames, encode):
        for passes in (1, 2):
            for number, found in enumerate(by_connection(capture, passes)):
                self.assertEqual([encode(message) for message in found], frames, f"connection {number}")

    def test_random_frames_in_random_segments(self):
        seed = random.randrange(1 << 32)
        rng = random.Random(seed)
        capture, sent = Capture(), []
        for _ in range(30):
            codes = [ECHO, BROADCAST, STATUS, 200]
            frames = [frame(rng.choice(codes), rng.randbytes(rng.choice([0, 1, 3, 80, 3000]))) for _ in range(12)]
            data = b"".join(frames)
            places = sorted(rng.sample(range(1, len(data)), min(rng.choice([0, 1, 4, 25]), len(data) - 1)))
            capture.connect(COMMAND).send(*cut(data, *places))
            sent.append(frames)
        found = by_connection(capture)
        shown = [[frame(int(message.code), message.bytes) for message in found_in] for found_in in found]
        self.assertEqual(shown, sent, f"seed {seed}")

    def test_a_retransmission_is_no_second_frame(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(ECHO, b"once"))
        connection.resend(TO_SERVER, frame(ECHO, b"once"))
        connection.reply(frame(ECHO, b"once"))
        self.assertEqual([message.response_to for message in messages(capture)], [None, "4"])

    def test_a_megabyte_is_reassembled(self):
        payload = bytes(range(256)) * 4096
        data = frame(ECHO, payload)
        capture = Capture()
        capture.connect(COMMAND).send(*cut(data, *range(60_000, len(data), 60_000)))
        message, = messages(capture)
        self.assertEqual(message.bytes, payload)

    def test_a_length_over_the_limit_is_not_waited_for(self):
        for declared in (1_048_577, 1 << 30, (1 << 30) + 1, 0xFFFF_FFFF):
            capture = Capture()
            connection = capture.connect(COMMAND)
            head = struct.pack(">BI", ECHO, declared)
            connection.send(frame(ECHO, b"good") + head[:3], head[3:] + b"abc", frame(ECHO, b"unread"))
            connection.reply(frame(ECHO, b"good") + frame(ERROR, b"frame of 9 bytes exceeds the limit of 8"))
            good, bad, rest, reply, error = messages(capture)
            self.assertEqual((good.text, good.experts), ("good", []))
            self.assertEqual((bad.length, bad.experts), (str(declared), ["too_long"]))
            self.assertIn("1 GiB at most" if declared > 1 << 30 else "the limit is 1048576", bad.expert_text)
            self.assertNotIn("capture began", bad.expert_text)
            self.assertEqual((rest.code, rest.experts), (None, []))
            self.assertEqual(rest.title, "mynah command, undissected")
            # The other direction goes on.
            self.assertEqual((reply.response_to, error.response_to), ("4", "5"))

    def test_a_length_at_the_limit_is_waited_for(self):
        capture = Capture()
        capture.connect(COMMAND).send(struct.pack(">BI", ECHO, 1_048_576) + b"begun")
        self.assertEqual(messages(capture), [])

    def test_replies_of_plugins_may_be_longer(self):
        capture = Capture()
        for code, declared in ((200, 8 << 20), (200, (8 << 20) + 1), (ECHO, 2 << 20)):
            capture.connect(COMMAND).reply(struct.pack(">BI", code, declared) + b"begun")
        experts = [[message.experts for message in found] for found in by_connection(capture)]
        self.assertEqual(experts, [[], [["too_long"]], [["too_long"]]])

    def test_the_limit_is_a_preference(self):
        capture = Capture()
        capture.connect(COMMAND).send(frame(ECHO, b"123456") + frame(ECHO))
        experts = [message.experts for message in messages(capture, "-o", "mynah.command.max_frame:6")]
        self.assertEqual(experts, [[], []])
        # Nothing behind it is a frame: the server does not read on.
        experts = [message.experts for message in messages(capture, "-o", "mynah.command.max_frame:5")]
        self.assertEqual(experts, [["too_long"]])

    def test_what_is_not_utf8_is_shown_as_bytes(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(ECHO, b"\xff\xfe"), frame(LOGIN, b"\xff\0password"), frame(200, b"\xc3"))
        connection.reply(frame(ECHO, b"\x1b[2J"), frame(ERROR, b"\xfe"), frame(200, b"a\0b"))
        found = messages(capture)
        self.assertEqual([message.text for message in found], [None] * 6)
        self.assertEqual(found[4].expert_text, "An error that is not text")

    def test_garbage_is_survived(self):
        seed = random.randrange(1 << 32)
        rng = random.Random(seed)
        capture = Capture()
        for number in range(200):
            connection = capture.connect(PREFIXED if number % 4 == 0 else COMMAND)
            for _ in range(6):
                # Random bytes, or headers with random codes and short lengths.
                garbage = b"".join(
                    rng.choice([rng.randbytes(rng.randrange(40)), frame(rng.randrange(256), rng.randbytes(rng.randrange(30)))])
                    for _ in range(4)
                ) + b"."
                connection.segments(rng.choice([TO_SERVER, TO_CLIENT]), [garbage])
        try:
            self.assertGreater(len(messages(capture)), 1000)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error

    def test_a_capture_that_begins_inside_a_frame(self):
        capture = Capture()
        connection = capture.connect(COMMAND, with_handshake=False)
        connection.send(b"in the midst of something", frame(ECHO, b"hidden"))
        first, second = messages(capture)
        self.assertEqual(first.experts, ["unknown", "too_long"])
        self.assertIn("the capture began inside of a frame", first.expert_text)
        self.assertEqual(second.title, "mynah command, undissected")

    def test_packets_that_were_not_captured_whole(self):
        capture = Capture(snap_len=54 + 8)
        capture.connect(COMMAND).send(frame(ECHO, b"abcdef"), b"\x01\x00\x00")
        capture.connect(PREFIXED).send(prefixed(b"abcdefghi"))
        in_command, in_prefixed = by_connection(capture)
        self.assertEqual([message.experts for message in in_command], [["cut_short"]])
        self.assertEqual([message.experts for message in in_prefixed], [["cut_short"]])

    def test_frames_without_reassembly(self):
        capture = Capture()
        capture.connect(COMMAND).send(*cut(frame(ECHO, b"abcdef"), 7), b"\x01\x00\x00")
        found = messages(capture, "-o", "tcp.desegment_tcp_streams:FALSE")
        self.assertEqual(found[0].experts, ["cut_short"])
        self.assertEqual(found[-1].experts, ["cut_short"])

    def test_prefixed_replies(self):
        capture = Capture()
        connection = capture.connect(PREFIXED)
        connection.send(prefixed(b"Hello, world") + prefixed(), prefixed(b"abc") + prefixed(b"\xff"))
        connection.reply(prefixed(b"dlrow ,olleH") + prefixed() + prefixed(b"abc") + prefixed(b"\xff"))
        found = messages(capture)
        self.assertEqual([message.text for message in found[:4]], ["Hello, world", None, "abc", None])
        self.assertEqual([message.length for message in found[:4]], ["12", "0", "3", "1"])
        self.assertEqual([message.response_in for message in found[:4]], ["6"] * 4)
        self.assertEqual([message.response_to for message in found[4:]], ["4", "4", "5", "5"])
        self.assertEqual([message.experts for message in found], [[]] * 6 + [["not_reversed"], []])

    def test_http_on_the_port_of_prefixed_stays_http(self):
        lines = ["GET /", "PROPFIND /a", "OPTIONS *", "GET http://x/", "CONNECT x:443", "M-SEARCH *", "PRI *"]
        for line in lines:
            capture = Capture()
            capture.connect(PREFIXED).send(f"{line} HTTP/1.1\r\n\r\n".encode())
            self.assertEqual(messages(capture), [], line)
        # Text of a user that only begins alike.
        capture = Capture()
        capture.connect(PREFIXED).send(prefixed(b"ET " + b"x" * 68), prefixed(b"E/T " + b"x" * 67))
        self.assertEqual(len(messages(capture)), 2)

        capture = Capture()
        connection = capture.connect(PREFIXED)
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n", bytes(range(40)))
        found = packets(capture)
        self.assertEqual([packet.messages for packet in found], [[]] * len(found))
        self.assertLessEqual({4, 6}, {packet.number for packet in found if "http" in packet.protocols})

    def test_tls_is_handed_over(self):
        hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + bytes(32) + b"\x00\x00\x04\x13\x01\x13\x02\x01\x00"
        capture = Capture()
        for port in (COMMAND, PREFIXED):
            capture.connect(port).send(hello)
        found = packets(capture)
        self.assertEqual([packet.messages for packet in found], [[]] * len(found))
        self.assertEqual([packet.number for packet in found if "tls" in packet.protocols], [4, 8])

    def test_tls_with_its_keys_is_read(self):
        lines = tshark(TLS_CAPTURE, "-Y", "mynah.command", "-T", "fields", "-e", "_ws.col.Info").splitlines()
        self.assertEqual(lines[0], '→ ECHO "one", ECHO "two", STATUS, REVERSE "three"')
        replies = '← ECHO reply "one", ECHO reply "two", STATUS reply 197 bytes, REVERSE reply "eerht"'
        self.assertEqual(lines[1:], [replies])
        self.assertEqual([message.experts for message in messages(TLS_CAPTURE)], [[]] * 8)

    def test_ports_are_preferences(self):
        capture = Capture()
        capture.connect(COMMAND).send(frame(ECHO))
        capture.connect(7001).send(frame(ECHO))
        capture.connect(7005).send(frame(ECHO))
        capture.connect(9001).send(prefixed(b"hi"))
        capture.connect(PREFIXED).send(b"GET / HTTP/1.1\r\n\r\n")
        found = packets(
            capture, "-o", "mynah.command.ports:7001,7003-7009", "-o", "mynah.prefixed.ports:9001"
        )
        self.assertEqual([p.number for p in found if "mynah.command" in p.protocols], [8, 12])
        self.assertEqual([p.number for p in found if "mynah.prefixed" in p.protocols], [16])
        self.assertEqual([p.number for p in found if "http" in p.protocols], [20])

    def test_decode_as(self):
        capture = Capture()
        connection = capture.connect(7001)
        connection.send(frame(ECHO, b"hi"))
        connection.reply(frame(ECHO, b"hi"))
        # A client whose port is lower than the server's.
        connection = capture.connect(41783, client_port=39000)
        connection.send(prefixed(b"hi"))
        connection.reply(prefixed(b"ih"))
        found = messages(
            capture, "-d", "tcp.port==7001,mynah.command", "-d", "tcp.port==41783,mynah.prefixed"
        )
        self.assertEqual([message.is_request for message in found], [True, False, True, False])
        self.assertEqual([message.experts for message in found], [[]] * 4)

    @unittest.skipUnless(shutil.which("sharkd"), "sharkd is not installed")
    def test_packets_are_read_alike_in_any_order(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(*cut(frame(ECHO, b"first") + frame(STATUS), 3, 12))
        connection.reply(frame(ECHO, b"first") + frame(ECHO, STATUS_JSON))
        connection.send(struct.pack(">BI", ECHO, 1 << 30), frame(ECHO, b"unread"))
        capture.connect(PREFIXED).send(b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"\x02hi")
        numbers = [packet.number for packet in packets(capture)]
        expected = {packet.number: [m.title for m in packet.messages] for packet in packets(capture)}
        # From behind, and the last twice.
        numbers = numbers[::-1] + [numbers[-1]]
        requests = [("frame", {"frame": number, "proto": True}) for number in numbers]
        for number, found in zip(numbers, sharkd(capture, ("load", None), *requests)[1:]):
            titles = [entry["l"] for entry in found["tree"] if entry["l"].startswith("mynah ")]
            self.assertEqual(titles, expected[number], f"packet {number}")

    @unittest.skipUnless(shutil.which("sharkd"), "sharkd is not installed")
    def test_port_that_leaves_the_preferences_is_given_back(self):
        capture = Capture()
        # 70 is Gopher's, 7777 nobody's.
        capture.connect(70).send(prefixed(b"hi"))
        capture.connect(7777).send(prefixed(b"hi"))
        set_ports = lambda ports: ("setconf", {"name": "mynah.prefixed.ports", "value": ports})
        look = [("load", None)] + [("frame", {"frame": number, "proto": True}) for number in (4, 8)]
        answers = sharkd(capture, *look, set_ports("60-80,7777"), *look, set_ports("8080"), *look)
        labels = [[entry["l"] for entry in answer["tree"]][4] for answer in answers if "tree" in answer]
        owners = [label.split()[0] for label in labels]
        self.assertEqual(owners, ["Gopher", "Data", "mynah", "mynah", "Gopher", "Data"])

    def test_info_column(self):
        capture = Capture()
        connection = capture.connect(COMMAND)
        connection.send(frame(ECHO, "größer\n".encode()) + frame(ECHO, b"\0\1"), frame(STATUS) * 10)
        connection.reply(frame(ECHO, b"x" * 100))
        connection = capture.connect(PREFIXED)
        connection.send(prefixed(b"Hello") + prefixed())
        lines = [line.strip() for line in tshark(capture, "-T", "fields", "-e", "_ws.col.Info").splitlines()]
        self.assertEqual(lines[3], '→ ECHO "größer ", ECHO 2 bytes')
        self.assertEqual(lines[4], "→ " + ", ".join(["STATUS"] * 8) + " and 2 more")
        self.assertEqual(lines[5], '← ECHO reply "' + "x" * 60 + '…"')
        self.assertEqual(lines[9], '→ request "Hello", request of 0 bytes')

    def test_info_of_a_frame_and_the_rest_of_its_segment(self):
        capture = Capture()
        data = frame(ECHO, b"first") + frame(ECHO, b"second")
        capture.connect(COMMAND).send(*cut(data, 7))
        lines = tshark(capture, "-T", "fields", "-e", "_ws.col.Info").splitlines()
        self.assertEqual(lines[4], '→ ECHO "first", ECHO "second"')


def has_tshark_with_lua():
    if shutil.which("tshark") is None:
        return False
    version = subprocess.run(["tshark", "--version"], capture_output=True, timeout=PATIENCE)
    return b"with Lua" in version.stdout


if __name__ == "__main__":
    if not has_tshark_with_lua():
        print("skipped: the Wireshark dissectors, which need tshark with Lua")
        sys.exit()
    unittest.main()
