#!/usr/bin/env python3
"""Drives the status page in headless Chromium: figures, filter, kick, token, both colour schemes, a phone.

    tests/admin_page.py [--screenshots DIR] [--soak MINUTES] [-k NAME] [-j JOBS] [URL [TOKEN]]

Without URL it starts servers of its own, $MYNAH or target/release/mynah; with one it does what a running
server allows, which must listen for `command` and `chat` as well. Screenshots go to a temporary folder, or
to DIR. Needs Linux, and Chromium or Chrome ($CHROMIUM, or of a usual name); says `skipped: …` where there is none.
"""

import argparse
import base64
import concurrent.futures
import contextlib
import functools
import gzip
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import urllib.request

import chromium
from chromium import PATIENCE, Tab

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE_MAX = 30 * 1024
TOKEN = "correct-horse-battery-staple"
WIDE, PHONE, NARROW = (1280, 900), (400, 800), (320, 640)
SCHEMES = ("light", "dark")
# Names as a chat takes them: at most 16 characters, no blanks, no brackets, no colon.
MARKUP = ["<b>bold</b>", "<img/src=x>", "&lt;i&gt;", "<svg/onload=a()>"]
# Bytes that a page may hold more of after hours: by its script, and by the browser for its document, which is
# collected now and then.
HEAP_SLACK, DOCUMENT_SLACK = 128 * 1024, 512 * 1024


class Server:
    """A server of the test's own, or one that runs already."""

    def __init__(self, token=TOKEN, ports=None):
        self.token, self.folder = token, tempfile.TemporaryDirectory(prefix="mynah-page-")
        arguments = [
            f"--listen={name}://127.0.0.1:{(ports or {}).get(name, 0)}" for name in ("admin", "command", "chat")
        ]
        if token:
            file = pathlib.Path(self.folder.name) / "token"
            file.touch(0o600)
            file.write_text(token + "\n", encoding="utf-8")
            arguments.append(f"--admin-token={file}")
        self.process = subprocess.Popen([PROGRAM, *arguments], cwd=self.folder.name, stderr=subprocess.PIPE)
        self.ports, log = {}, b""
        while len(self.ports) < 3:
            line = self.process.stderr.readline()
            log += line
            if not line:
                raise AssertionError(f"{PROGRAM} does not start: {log.decode()}")
            if found := re.search(rb"listening on (\w+)://127\.0\.0\.1:(\d+)", line):
                self.ports[found[1].decode()] = int(found[2])
        self.url = f"http://127.0.0.1:{self.ports['admin']}/"
        # Its pipe must not fill up.
        self.log = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def client(self, protocol):
        return socket.create_connection(("127.0.0.1", self.ports[protocol]), PATIENCE)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.wait(PATIENCE)
        self.process.stderr.close()
        self.folder.cleanup()


class RunningServer:
    """The server that the command line names."""

    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/") + "/", token
        self.listeners = {}
        for listener in fetch(self.url + "status", token=token)["listeners"]:
            self.listeners.setdefault(listener["protocol"], urllib.parse.urlsplit(listener["url"]))

    def client(self, protocol):
        address = self.listeners[protocol]
        return socket.create_connection((address.hostname, address.port), PATIENCE)

    def stop(self):
        pass


def fetch(url, method="GET", token=None):
    """The JSON at a URL."""
    request = urllib.request.Request(
        url, method=method, headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


def chat(server, name):
    """A client that has the nickname."""
    client = server.client("chat")
    client.sendall(name.encode() + b"\n")
    welcome = client.recv(4096)
    assert b"Welcome" in welcome, f"{name}: {welcome}"
    return client


def echo(client, payload):
    client.sendall(b"\x01" + len(payload).to_bytes(4, "big") + payload)
    reply = b""
    while len(reply) < 5 + len(payload):
        piece = client.recv(1 << 16)
        assert piece, "the connection has ended"
        reply += piece


def has_ended(client):
    """The server has closed the connection."""
    with contextlib.suppress(ConnectionResetError):
        while client.recv(4096):
            pass
    return True


class PageTest(unittest.TestCase):
    """A tab of its own for each test, in which nothing may go wrong and which may ask nobody else."""

    # Of the log, what the test brings about itself.
    expected_errors = r"^$"

    def setUp(self):
        self.servers = []

    def start(self, size=WIDE, scheme="light", with_token=True, **options):
        """A server, and a tab that shows its figures."""
        server = RunningServer(ARGUMENTS.url, ARGUMENTS.token) if ARGUMENTS.url else Server(**options)
        self.addCleanup(server.stop)
        tab = Tab(BROWSER, size, scheme)
        self.addCleanup(self.check, tab, server)
        if server.token and with_token:
            tab.call(
                "Page.addScriptToEvaluateOnNewDocument",
                source=f"try {{ sessionStorage.setItem('mynah-admin-token', {json.dumps(server.token)}) }} catch {{}}",
            )
        tab.open(server.url)
        if with_token or not server.token:
            tab.wait("$('state').textContent == 'Live'")
            tab.wait("$('as-of').textContent.startsWith('at ')")
        return server, tab

    def check(self, tab, server):
        tab.run("0")
        errors = [error for error in tab.errors if not re.search(self.expected_errors, error)]
        self.assertEqual(errors, [], "errors in the console")
        self.assertEqual(tab.dialogs, [], "dialogs of scripts")
        foreign = [url for url in tab.requests if not url.startswith(server.url) and url != "about:blank"]
        self.assertEqual(foreign, [], "requests to others")
        tab.close()

    def needs_token(self, server):
        if not server.token:
            self.skipTest("needs the token")

    def rows(self, tab):
        return tab.run("Array.from($('rows').rows, row => Array.from(row.cells, cell => cell.textContent))")


def own_server_only(test):
    @functools.wraps(test)
    def run(self):
        if ARGUMENTS.url:
            self.skipTest("needs a server of its own")
        test(self)

    return run


class Document(PageTest):
    @own_server_only
    def test_document_is_small_and_allowed_by_hash(self):
        server = Server()
        self.addCleanup(server.stop)
        request = urllib.request.Request(server.url, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            body, headers = response.read(), response.headers
        self.assertLessEqual(
            len(body if headers.get("Content-Encoding") == "gzip" else gzip.compress(body, 9)), PAGE_MAX
        )
        text = (gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body).decode()
        self.assertTrue(headers["Content-Type"].startswith("text/html"))
        policy = {
            name: values
            for name, *values in (
                part.split() for part in headers["Content-Security-Policy"].split(";") if part.strip()
            )
        }
        for tag in ("script", "style"):
            found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", text, re.DOTALL)
            self.assertEqual(len(found), 1, f"one <{tag}>")
            digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
            self.assertEqual(policy.pop(f"{tag}-src"), [f"'sha256-{digest}'"])
        self.assertEqual(policy.pop("connect-src"), ["'self'"])
        # Its icon.
        self.assertEqual(policy.pop("img-src"), ["data:"])
        self.assertEqual(set(policy), {"default-src", "base-uri", "form-action", "frame-ancestors"})
        self.assertTrue(all(values == ["'none'"] for values in policy.values()), policy)
        self.assertNotRegex(text, r"https?://(?!www\.w3\.org/2000/svg')", "a foreign address")
        self.assertNotRegex(text, r"\s(?:on\w+|style)=|innerHTML|insertAdjacentHTML|document\.write|eval\(")

    def test_page_without_javascript_says_so(self):
        server = RunningServer(ARGUMENTS.url, ARGUMENTS.token) if ARGUMENTS.url else Server()
        self.addCleanup(server.stop)
        tab = Tab(BROWSER, WIDE, "light")
        self.addCleanup(self.check, tab, server)
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.open(server.url)
        tab.screenshot(SCREENSHOTS / "noscript.png")
        self.assertIn("needs JavaScript", tab.text())
        self.assertNotIn("Buffered memory", tab.text())


class Looks(PageTest):
    def test_page_fits_every_width_in_both_schemes(self):
        server, tab = self.start()
        clients = [chat(server, name) for name in MARKUP + ["alice", "bob"]] + [
            server.client("command") for _ in range(3)
        ]
        for client in clients:
            self.addCleanup(client.close)
        echo(clients[-1], b"x" * 4096)
        tab.run("void refresh()")
        tab.wait("$('rows').rows.length >= 9 && latest(rings.messages) >= 0")
        for scheme in SCHEMES:
            for size in (WIDE, PHONE, NARROW):
                tab.look(size, scheme)
                with self.subTest(scheme=scheme, width=size[0]):
                    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                    tab.screenshot(SCREENSHOTS / f"{size[0]}-{scheme}.png")
                    self.assertLessEqual(tab.run("document.documentElement.scrollWidth"), size[0], "scrolls sideways")
                    self.assertEqual(tab.run(FAINT_TEXT), [], "text of too little contrast")

    def test_controls_have_names_for_screen_readers(self):
        server, tab = self.start()
        self.addCleanup(chat(server, "alice").close)
        tab.run("void refresh()")
        tab.wait("$('rows').textContent.includes('alice')")
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "textbox", "combobox", "img", "table", "link", "dialog", "region")
        nameless = [
            node
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
        ]
        self.assertEqual(nameless, [])
        names = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "button"]
        self.assertTrue(any(re.fullmatch(r"Kick #\d+ \u2068alice\u2069", name) for name in names), names)
        tab.look(PHONE, "light")
        rows = [
            node
            for node in tab.call("Accessibility.getFullAXTree")["nodes"]
            if node.get("role", {}).get("value") == "row"
        ]
        self.assertTrue(rows, "rows stay rows where they are laid out as lines")


# Texts whose contrast to what is behind them is under WCAG's 4.5 to 1.
FAINT_TEXT = """(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length == 3 || c[3] == 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const faint = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walk.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest('button:disabled, script, style')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(behind(e))].sort((a, b) => b - a);
    if ((a + .05) / (b + .05) < 4.5) faint.push(node.data.trim() + ' ' + ((a + .05) / (b + .05)).toFixed(2));
  }
  return faint;
})()"""


class Figures(PageTest):
    def test_figures_change_after_traffic(self):
        server, tab = self.start()
        before = tab.run("last.status.frames_in_total")
        open_before = tab.run("last.status.connections")
        clients = [server.client("command") for _ in range(5)]
        for client in clients:
            self.addCleanup(client.close)
        peak = "Math.max(...rings.{0}.filter(v => v >= 0))"
        for client in clients:
            for _ in range(20):
                echo(client, b"x" * 1000)
        tab.wait(f"last.status.frames_in_total >= {before + 100}")
        tab.wait(
            f"last.status.connections >= {open_before + 5}"
            " && document.querySelector('#cards b').textContent == count(last.status.connections)"
        )
        tab.wait(f"{peak.format('messages')} > 0 && {peak.format('received')} > 0 && {peak.format('sent')} > 0")
        tab.wait(
            "document.querySelectorAll('#cards .line').length == 5"
            " && [...document.querySelectorAll('#cards .line')].every(line => line.getAttribute('d').includes('L'))"
        )
        self.assertRegex(tab.text("#listeners"), r"command\s")
        self.assertIn("up ", tab.text("#about"))

    def test_figures_have_units(self):
        _, tab = self.start()
        for call, text in [
            ("bytes(0)", "0 B"),
            ("bytes(1023)", "1023 B"),
            ("bytes(1024)", "1.00 KiB"),
            ("bytes(1048575)", "1.00 MiB"),
            ("bytes(123456789)", "118 MiB"),
            ("bytes(10230)", "9.99 KiB"),
            ("bytes(NaN)", "–"),
            ("count(1234567)", "1,234,567"),
            ("rate(0)", "0/s"),
            ("rate(0.25)", "0.3/s"),
            ("rate(1234)", "1,234/s"),
            ("duration(0)", "0 s"),
            ("duration(59)", "59 s"),
            ("duration(3600)", "1 h"),
            ("duration(90061)", "1 d 1 h"),
            ("duration(86460)", "1 d"),
            ("readSecs('90')", 90),
            ("readSecs('5 min')", 300),
            ("readSecs('x')", None),
            ("readBytes('64 KiB')", 65536),
            ("readBytes('1.5m')", 1572864),
            ("readAddress('10.0.0.1')", "10.0.0.1"),
            ("readAddress('10.0.0.1:5123')", "10.0.0.1"),
            ("readAddress('[2001:db8::1]:80')", "2001:db8::1"),
            ("readAddress('::1')", "::1"),
            ("readAddress('10.0.0.256')", None),
            ("readAddress('10.0.0')", None),
            ("readAddress('::g')", None),
            ("readAddress('')", ""),
            ("readBytes('-1')", None),
            ("readBytes('')", ""),
            ("roundCount(11)", 20),
            ("roundCount(9.1)", 10),
            ("roundBytes(600)", 768),
            ("roundBytes(70000)", 98304),
            ("roundBytes(1000000)", 1048576),
        ]:
            with self.subTest(call):
                value = tab.run(call)
                self.assertEqual(value.replace("\u00a0", " ") if isinstance(value, str) else value, text)

    @own_server_only
    def test_figures_come_back_with_the_server(self):
        self.expected_errors = r"^network: Failed to load resource"
        server, tab = self.start()
        ports = server.ports
        server.stop()
        tab.wait("$('state').textContent == 'No figures' && !$('away').hidden")
        self.assertIn("next try in", tab.text("#away"))
        tab.screenshot(SCREENSHOTS / "away.png")
        tab.wait("failures >= 2")
        again = Server(ports=ports)
        self.addCleanup(again.stop)
        tab.click("#retry")
        tab.wait("$('state').textContent == 'Live' && $('away').hidden")
        self.assertTrue(
            tab.run("rings.connections.some((value, at) => Number.isNaN(value) && times[at] > 0)"),
            "a gap in the chart",
        )
        self.assertFalse(tab.run("rings.messages.some(value => value < 0)"), "a rate across a restart")

    def test_rates_end_at_a_restart_and_a_sleep(self):
        """A restart that refused nobody, and a machine that slept: neither has a rate."""
        _, tab = self.start()
        for change in ("last.status.uptime_secs = 1e9", "last.wall -= 1e6"):
            with self.subTest(change):
                tab.wait("latest(rings.messages) >= 0")
                tab.run(f"(() => {{ {change}; window.before = head }})()")
                tab.wait("head != window.before")
                self.assertTrue(
                    tab.run("Number.isNaN(rings.messages[window.before]) && rings.connections[window.before] >= 0")
                )

    def test_page_is_loaded_anew_for_another_version(self):
        _, tab = self.start()
        tab.run("(() => { window.isOld = true; version = '0.0.0' })()")
        tab.wait("!window.isOld && $('state').textContent == 'Live'")
        tab.run("(() => { window.isOld = true; version = '0.0.0' })()")
        tab.wait("version != '0.0.0'")
        self.assertTrue(tab.run("window.isOld"), "not twice in ten minutes")

    def test_answers_of_others_are_no_figures(self):
        _, tab = self.start()
        version = tab.run("version")
        tab.run("window.realFetch = fetch")
        sparse = json.dumps({"version": version, "listeners": [{}], "connections": "many", "cluster": {}})
        for body, is_status in (
            ("null", False),
            ("[]", False),
            ("{", False),
            ("<html>", False),
            ("7", False),
            ('{"version":1}', False),
            (sparse, True),
        ):
            with self.subTest(body):
                tab.run(f"window.fetch = async () => new Response({json.dumps(body)})")
                tab.wait(f"$('state').textContent == '{'Live' if is_status else 'No figures'}' || poll() && 0")
                tab.run("refresh()")
                self.assertNotRegex(
                    tab.text("#cards") + tab.text("#listeners") + tab.text("#cluster"), "NaN|undefined|null"
                )
        tab.run("window.fetch = window.realFetch")
        tab.wait("$('cards').textContent.includes('accepted') && last.status.memory_limit_bytes > 0")

    def test_server_may_ask_for_patience(self):
        _, tab = self.start()
        tab.run(
            "window.fetch = async () => new Response('busy', { status: 503, headers: { 'Retry-After': '60' } }), 0"
        )
        tab.wait("$('why').textContent.includes('The server answered 503: busy')")
        self.assertGreater(tab.run("nextTry - performance.now()"), 50_000)

    def test_pause_stops_the_requests(self):
        _, tab = self.start()
        tab.click("#pause")
        tab.wait("$('state').textContent == 'Paused' && !isPolling")
        count = len(tab.requests)
        # Nothing to wait for: longer than a poll takes to be due.
        tab.run("new Promise(done => setTimeout(done, 1500))")
        self.assertEqual(len(tab.requests), count)
        tab.click("#pause")
        tab.wait("$('state').textContent == 'Live'")


# Timers and clocks that stand still but for advance(secs), which waits for each second's requests.
FAKE_TIMERS = """(() => {
  const real = { set: setTimeout.bind(window), fetch: fetch.bind(window) };
  let now = 1e12, last = 0, pending = 0;
  const due = new Map();
  window.setTimeout = (run, wait = 0) => { due.set(++last, { run, at: now + wait }); return last };
  window.setInterval = (run, wait) => { due.set(++last, { run, at: now + wait, every: wait }); return last };
  window.clearTimeout = window.clearInterval = id => { due.delete(id) };
  Date.now = () => now;
  performance.now = () => now - 1e12;
  window.fetch = (...asked) => { pending++; return real.fetch(...asked).finally(() => { pending-- }) };
  const pause = () => new Promise(done => real.set(done, 1));
  const rest = async () => { do await pause(); while (pending); await pause() };
  window.advance = async secs => {
    for (let second = 0; second < secs; second++) {
      now += 1000;
      for (const [id, timer] of [...due]) if (timer.at <= now) {
        if (timer.every) timer.at += timer.every; else due.delete(id);
        timer.run();
      }
      await rest();
    }
  };
  real.set(async () => { await rest(); await advance(2) }, 50);
})()"""


class Growth(PageTest):
    def test_page_does_not_grow(self):
        """Polling with a clock that this test turns; the requests are real."""
        server, tab = self.start()
        for name in MARKUP:
            self.addCleanup(chat(server, name).close)
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=FAKE_TIMERS)
        tab.call("Page.reload")
        tab.wait("window.advance && typeof last != 'undefined' && last != null")
        # The tools of developers keep what they have seen.
        tab.call("Network.disable")
        # Until the rings are full, and the engine has compiled most of what it will.
        tab.run("advance(660)")
        before = self.memory(tab)
        for _ in range(ARGUMENTS.soak):
            tab.run("advance(60)")
        after = self.memory(tab)
        print(
            f"\n    {ARGUMENTS.soak} minutes of polling: heap {before[0]} -> {after[0]} B,"
            f" of the document {before[1]} -> {after[1]} B,"
            f" nodes {before[2]} -> {after[2]}, listeners {before[3]} -> {after[3]}"
        )
        self.assertEqual(tab.text("#state"), "Live")
        self.assertLessEqual(after[0], before[0] + HEAP_SLACK)
        self.assertLessEqual(after[1], before[1] + DOCUMENT_SLACK)
        self.assertLessEqual(after[2], before[2] + 10)
        self.assertLessEqual(after[3], before[3])

    def memory(self, tab):
        for _ in range(3):
            tab.call("HeapProfiler.collectGarbage")
        counters = tab.call("Memory.getDOMCounters")
        heap = tab.call("Runtime.getHeapUsage")
        return heap["usedSize"], heap["embedderHeapUsedSize"], counters["nodes"], counters["jsEventListeners"]


class Connections(PageTest):
    @own_server_only
    def test_filter_shows_what_matches(self):
        server, tab = self.start()
        for name in ("alice", "bob", "carol"):
            self.addCleanup(chat(server, name).close)
        self.addCleanup(server.client("command").close)
        tab.fill("#filter [name=name]", "bob")
        tab.wait("$('rows').rows.length == 1 && $('rows').rows[0].cells[1].textContent == 'bob'")
        self.assertIn("1 matching", tab.text("#range"))
        tab.click("#clear")
        tab.wait("$('rows').rows.length >= 4")
        tab.choose("#filter [name=listener]", "chat")
        tab.wait("$('rows').rows.length == 3 && [...$('rows').rows].every(row => row.cells[3].textContent == 'chat')")
        tab.fill("#filter [name=min_queue]", "1 GiB")
        tab.wait("$('rows').textContent == 'No connection matches.'")
        tab.fill("#filter [name=min_queue]", "")
        tab.fill("#filter [name=ip]", "127.0.0.1")
        tab.wait("$('rows').rows.length == 3")
        count = len(tab.requests)
        tab.fill("#filter [name=ip]", "127.0")
        tab.wait("document.querySelector('#filter [name=ip]').getAttribute('aria-invalid') == 'true'")
        self.assertFalse(
            any("connections?" in url and "127.0&" in url for url in tab.requests[count:]),
            "asks for an invalid address",
        )
        self.assertTrue(tab.run("$('kick-all').disabled"))

    def test_order_is_shown_and_sent(self):
        server, tab = self.start()
        self.addCleanup(chat(server, "alice").close)
        tab.click("[data-sort=idle]")
        tab.wait("$('by-idle').getAttribute('aria-sort') == 'descending'")
        self.assertTrue(any("sort=idle" in url for url in tab.requests))
        self.assertTrue(tab.run("$('pager').hidden"))

    def test_pages_follow_the_cursor(self):
        server, tab = self.start()
        size = tab.run("LIMIT")
        for _ in range(5 * size // 2):
            self.addCleanup(server.client("command").close)
        tab.run("void refresh()")
        tab.wait(f"!$('next').disabled && total >= {5 * size // 2}")
        self.assertEqual(len(self.rows(tab)), size)
        first = self.rows(tab)[0][0]
        tab.click("#next")
        tab.wait(f"$('range').textContent.startsWith('{size + 1}–')")
        self.assertNotEqual(self.rows(tab)[0][0], first)
        tab.click("#next")
        tab.wait(f"$('range').textContent.startsWith('{2 * size + 1}–') && $('next').disabled")
        tab.click("#previous")
        tab.wait(f"$('range').textContent.startsWith('{size + 1}–')")
        tab.click("#first")
        tab.wait(f"$('rows').rows[0].cells[0].textContent == '{first}'")

    def test_kick_removes_a_connection(self):
        server, tab = self.start()
        self.needs_token(server)
        alice, bob = chat(server, "alice"), chat(server, "bob")
        self.addCleanup(alice.close)
        self.addCleanup(bob.close)
        tab.fill("#filter [name=name]", "alice")
        tab.wait("document.querySelectorAll('#rows button').length == 1 && $('range').textContent == '1 matching'")
        tab.click("#rows button")
        tab.wait("$('confirm').open")
        self.assertIn("alice", tab.text("#confirm-text"))
        tab.screenshot(SCREENSHOTS / "kick.png")
        # Asked first, and not by accident: Escape and Enter on the first button change nothing.
        tab.key("Enter", 13)
        tab.wait("!$('confirm').open")
        self.assertEqual(len(self.rows(tab)), 1)
        tab.click("#rows button")
        tab.wait("$('confirm').open")
        tab.click("#sure")
        tab.wait("$('notice').textContent.includes('kicked')")
        tab.wait("$('rows').textContent == 'No connection matches.'")
        self.assertTrue(has_ended(alice))
        tab.click("#clear")
        tab.wait("$('rows').textContent.includes('bob')")

    def test_kick_takes_only_keys(self):
        server, tab = self.start()
        self.needs_token(server)
        alice = chat(server, "alice")
        self.addCleanup(alice.close)
        tab.fill("#filter [name=name]", "alice")
        tab.wait("$('range').textContent == '1 matching'")
        for _ in range(12):
            if tab.run("document.activeElement.closest('#rows') != null"):
                break
            tab.key("Tab", 9)
        self.assertEqual(
            tab.run("getComputedStyle(document.activeElement).outlineStyle"), "solid", "the focus can be seen"
        )
        tab.key("Enter", 13)
        tab.wait("$('confirm').open")
        tab.key("Escape", 27)
        tab.wait("!$('confirm').open && document.activeElement.closest('#rows') != null")
        tab.key("Enter", 13)
        tab.wait("$('confirm').open")
        tab.key("Tab", 9)
        self.assertEqual(tab.run("document.activeElement.id"), "sure")
        tab.key("Enter", 13)
        tab.wait("$('rows').textContent == 'No connection matches.'")
        self.assertEqual(tab.run("document.activeElement.id"), "connections", "the focus is not lost with the row")
        self.assertTrue(has_ended(alice))

    @own_server_only
    def test_kick_by_filter_removes_all_that_match(self):
        server, tab = self.start()
        clients = [chat(server, f"guest{n}") for n in range(3)]
        bystander = server.client("command")
        for client in (*clients, bystander):
            self.addCleanup(client.close)
        tab.wait("$('kick-all').disabled")
        tab.wait(
            "[...document.querySelector('#filter [name=listener]').options].some(option => option.value == 'chat')"
        )
        tab.choose("#filter [name=listener]", "chat")
        tab.wait("$('range').textContent == '3 matching' && !$('kick-all').disabled")
        tab.click("#kick-all")
        tab.wait("$('confirm').open")
        self.assertIn("listener chat", tab.text("#confirm-text"))
        tab.screenshot(SCREENSHOTS / "kick-all.png")
        tab.click("#sure")
        tab.wait("$('notice').textContent == '3 connections kicked.'")
        self.assertTrue(all(has_ended(client) for client in clients))
        echo(bystander, b"still here")

    def test_names_are_text(self):
        server, tab = self.start()
        for name in MARKUP:
            self.addCleanup(chat(server, name).close)
        tab.run("void refresh()")
        tab.wait(f"$('rows').rows.length >= {len(MARKUP)}")
        shown = [row[1] for row in self.rows(tab)]
        for name in MARKUP:
            self.assertIn(name, shown)
        self.assertEqual(tab.run("document.querySelectorAll('#rows td *:not(button)').length"), 0)
        tab.run("kickOne({ id: 1, name: '<img src=x onerror=alert(1)>', address: '<b>', listener: '<i>' })")
        tab.wait("$('confirm').open")
        self.assertIn("<img src=x onerror=alert(1)>", tab.text("#confirm-text"))
        self.assertEqual(tab.run("document.querySelectorAll('#confirm-text *:not(bdi)').length"), 0)

    def test_ban_is_offered_for_an_address(self):
        server, tab = self.start()
        self.addCleanup(server.client("command").close)
        tab.run("""(() => { const real = call; call = async (method, path) => {
                if (method != 'DELETE') return real(method, path);
                window.sent = [method, path];
                return { kicked: 1 };
            } })()""")
        tab.run("(() => { $('filter').elements.ip.value = '127.0.0.1'; kickAll() })()")
        self.assertFalse(tab.run("$('ban').hidden"))
        self.assertIn("Afterwards refuse 127.0.0.1", tab.text("#ban"))
        tab.run("$('ban').querySelector('select').value = '600'")
        tab.click("#sure")
        tab.wait("window.sent && !$('confirm').open")
        self.assertEqual(tab.run("window.sent"), ["DELETE", "connections?ip=127.0.0.1&ban=600"])


class Access(PageTest):
    expected_errors = r"^network: Failed to load resource: the server responded with a status of 40[13]"

    @own_server_only
    def test_token_is_asked_for_checked_and_kept(self):
        server, tab = self.start(with_token=False)
        tab.wait("$('ask').open")
        tab.screenshot(SCREENSHOTS / "token.png")
        tab.fill("#token", "wrong")
        tab.click("#use")
        tab.wait("document.querySelector('#ask .error').textContent.startsWith('Wrong token')")
        tab.screenshot(SCREENSHOTS / "token-wrong.png")
        self.assertTrue(tab.run("$('ask').open"))
        tab.fill("#token", server.token)
        tab.key("Enter", 13)
        tab.wait("$('state').textContent == 'Live' && !$('ask').open")
        self.assertEqual(tab.run("sessionStorage.getItem('mynah-admin-token')"), server.token)
        self.assertEqual(tab.run("$('token').value"), "")
        tab.call("Page.reload")
        tab.wait("$('state').textContent == 'Live'")
        tab.click("#forget")
        tab.wait("!$('away').hidden && $('forget').hidden")
        self.assertIsNone(tab.run("sessionStorage.getItem('mynah-admin-token')"))
        tab.screenshot(SCREENSHOTS / "forgotten.png")

    @own_server_only
    def test_token_dialogue_can_be_left_and_reopened(self):
        server, tab = self.start(with_token=False)
        tab.wait("$('ask').open")
        tab.click("#ask .cancel")
        tab.wait("$('state').textContent == 'Token needed' && !$('away').hidden")
        count = len(tab.requests)
        tab.run("new Promise(done => setTimeout(done, 1500))")
        self.assertEqual(len(tab.requests), count, "asks in vain")
        tab.click("#retry")
        tab.wait("$('ask').open")
        tab.fill("#token", server.token)
        tab.click("#use")
        tab.wait("$('state').textContent == 'Live'")

    @own_server_only
    def test_what_cannot_be_a_token_is_not_sent(self):
        _, tab = self.start(with_token=False)
        tab.wait("$('ask').open && !isPolling || asking")
        count = len(tab.requests)
        for text in ("two words", "пароль"):
            tab.fill("#token", text)
            tab.click("#use")
            tab.wait("document.querySelector('#ask .error').textContent.startsWith('Not a token')")
        self.assertEqual(len(tab.requests), count)

    @own_server_only
    def test_what_is_forbidden_says_why(self):
        server, tab = self.start(token=None)
        alice = chat(server, "alice")
        self.addCleanup(alice.close)
        tab.run("void refresh()")
        tab.wait("document.querySelector('#rows button')")
        tab.click("#rows button")
        tab.wait("$('confirm').open")
        tab.click("#sure")
        tab.wait("document.querySelector('#confirm .error').textContent.startsWith('The server forbids it: ')")
        tab.screenshot(SCREENSHOTS / "forbidden.png")
        tab.click("#confirm .cancel")
        tab.wait("!$('confirm').open")
        listeners = fetch(server.url + "status")["listeners"]
        self.assertEqual([listener["connections"] for listener in listeners if listener["name"] == "chat"], [1])

    @own_server_only
    def test_drain_and_undrain(self):
        server, tab = self.start()
        alice = chat(server, "alice")
        self.addCleanup(alice.close)
        tab.click("#drain")
        tab.wait("$('confirm').open")
        tab.click("#sure")
        tab.wait("$('state').textContent == 'Draining' && !$('draining').hidden")
        self.assertTrue(fetch(server.url + "status", token=server.token)["draining"])
        tab.screenshot(SCREENSHOTS / "draining.png")
        tab.click("#undrain")
        tab.wait("$('state').textContent == 'Live' && $('draining').hidden")
        self.addCleanup(chat(server, "bob").close)


def run_classes(jobs):
    """Runs the classes of tests, so many at a time: they wait most of the time. Returns whether all have passed."""

    def run(case):
        options = [f"-k{case.__name__}.", f"--soak={ARGUMENTS.soak}", f"--screenshots={SCREENSHOTS}"]
        command = [sys.executable, __file__, *options]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    # The longest first, by far.
    cases = sorted(PageTest.__subclasses__(), key=lambda case: case is not Growth)
    has_passed = True
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in pool.map(run, cases):
            sys.stdout.buffer.write(done.stdout)
            sys.stdout.flush()
            has_passed = has_passed and done.returncode == 0
    return has_passed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Drives the status page in headless Chromium.")
    parser.add_argument("url", nargs="?", help="the admin listener of a running server: http://127.0.0.1:6580/")
    parser.add_argument("token", nargs="?", help="its token")
    parser.add_argument("-k", action="append", default=[], metavar="NAME", help="only tests with NAME in theirs")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="classes at a time, if all are run (default 1)")
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="DIR")
    parser.add_argument(
        "--soak", type=int, default=30, metavar="MINUTES", help="simulated minutes of polling (default 30)"
    )
    ARGUMENTS = parser.parse_args()
    PROGRAM = pathlib.Path(os.environ.get("MYNAH", ROOT / "target/release/mynah")).absolute()
    if not (found := chromium.find()):
        print("skipped: the status page in a browser, which needs Chromium")
        sys.exit(0)
    if not ARGUMENTS.url and not PROGRAM.exists():
        sys.exit(f"{PROGRAM}: not there; cargo build --release")
    SCREENSHOTS = ARGUMENTS.screenshots or pathlib.Path(tempfile.mkdtemp(prefix="mynah-page-screenshots-"))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    if ARGUMENTS.jobs > 1 and not ARGUMENTS.url and not ARGUMENTS.k:
        sys.exit(not run_classes(ARGUMENTS.jobs))
    BROWSER = chromium.Chromium(found)
    try:
        result = unittest.main(
            argv=[sys.argv[0], *(f"-k{name}" for name in ARGUMENTS.k)], exit=False, verbosity=2
        ).result
    finally:
        BROWSER.close()
    print(f"screenshots: {SCREENSHOTS}")
    sys.exit(not result.wasSuccessful())
