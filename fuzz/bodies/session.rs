//! Two sessions in one room, driven as the server drives them, against a model that knows nothing
//! but whole buffers. After every step both must agree on every byte that waits, what it waits for,
//! and when time ends the wait.
//!
//! The model of a peer is the bytes it is still owed, in the order in which things happened: its
//! replies when they were made, broadcasts when they were sent. That each arrives whole, once and
//! in order follows from the session's queue, the replies at hand and the log behind the cursor
//! being those bytes, always.

use std::mem;

use mynah::clock::Millis;
use mynah::conn_id::ConnId;
use mynah::handler::{CloseReason, Context, Flow, Room, write_status};
use mynah::limits::{FRAME_BYTES_PER_SEC_MIN, Limits};
use mynah::session::{Protocol, Session};
use mynah::stats::Stats;

/// Bytes the peers may send in one run, so that a run ends soon.
const SENT_BYTES_MAX: usize = 32 * 1024;
/// No reply that is not an echo is longer: STATUS and ERROR frames.
const OWN_WORDS_BYTES_MAX: usize = 512;
/// A window that nothing fills.
const OPEN_WIDE: usize = 1 << 40;

/// Takes fuzzer input apart and runs it: seven bytes of settings, then operations.
///
/// # Panics
///
/// When the sessions and the model disagree, or a bound is broken.
pub fn run(data: &[u8]) {
    let Some((settings, ops)) = data.split_first_chunk() else { return };
    let mut world = World::new(*settings);
    let mut ops = Ops(ops);
    while let Some(op) = ops.next() {
        world.step(op, &mut ops);
        world.check();
    }
    world.come_to_rest();
}

/// The operations still to come.
struct Ops<'a>(&'a [u8]);

impl<'a> Ops<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// What a listener is to the server, with the model of its log.
struct World {
    protocol: Protocol,
    limits: Limits,
    idle_ms: u64,
    /// Members of the room that are only counted.
    ghosts: usize,
    now: Millis,
    room: Room,
    stats: Stats,
    peers: [Peer; 2],
    pass: Option<Pass>,
    log: LogModel,
    expected_stats: Stats,
    sent_bytes: usize,
}

/// The fan-out on its way.
struct Pass {
    target: u64,
    cursor_min: u64,
    visited: [bool; 2],
}

/// The broadcast log as three numbers.
#[derive(Default)]
struct LogModel {
    tail: u64,
    head: u64,
    offered: u64,
}

/// A client, its connection and the model of it.
struct Peer {
    /// `None` once the connection is closed.
    session: Option<Session>,
    /// Its input has ended and it has left the room; the rest is being sent.
    draining: bool,
    /// Sent by the client and not read yet.
    inbox: Vec<u8>,
    /// The client has shut its side behind the inbox, and whether that has been seen.
    shut: bool,
    ended: bool,
    /// Bytes the socket takes before it is full.
    window: usize,
    /// The last flush left broadcasts behind.
    lagging: bool,

    /// What the client is to be sent, oldest first; the last `lag` bytes stand in the log.
    owed: Vec<u8>,
    lag: usize,
    /// Input that has been read and not acted on.
    pending: Vec<u8>,
    held: bool,
    waiting: bool,
    frame: Option<FrameModel>,
    paused: bool,
    /// Milliseconds in which the server would have read.
    running_ms: u64,
    last_active_at: Millis,
}

/// An unfinished frame, in the time of [`Peer::running_ms`].
#[derive(Clone, Copy)]
struct FrameModel {
    started_ms: u64,
    last_byte_ms: u64,
    bytes: u64,
}

impl World {
    fn new(settings: [u8; 7]) -> Self {
        let [kind, max_frame, send_queue, broadcast_log, frame_timeout, idle, ghosts] = settings;
        let protocol = match kind % 4 {
            2 => Protocol::Prefixed,
            3 => Protocol::Raw { prefix: b"Echo: "[..usize::from(kind >> 4) % 7].to_vec() },
            _ => Protocol::Command { frame_len_max: u32::from(max_frame) * 8 },
        };
        let limits = Limits {
            send_queue_bytes_max: 64 + usize::from(send_queue) * 32,
            broadcast_log_bytes_max: 64 + usize::from(broadcast_log) * 32,
            frame_timeout_ms: 1000 * (1 + u64::from(frame_timeout % 64)),
            ..Limits::default()
        };
        let mut world = World {
            protocol,
            limits,
            idle_ms: u64::from(idle) * 500,
            ghosts: usize::from(ghosts % 4),
            now: Millis(0),
            room: Room::new(&limits),
            stats: Stats { accepted_total: 2, ..Stats::default() },
            peers: [Peer::absent(), Peer::absent()],
            pass: None,
            log: LogModel::default(),
            expected_stats: Stats { accepted_total: 2, ..Stats::default() },
            sent_bytes: 0,
        };
        world.room.members = world.ghosts;
        world.connect(0);
        world.connect(1);
        world
    }

    /// One operation: three bits say which, one who, four how much.
    fn step(&mut self, op: u8, ops: &mut Ops<'_>) {
        let who = usize::from(op >> 7);
        let size = usize::from(op >> 3 & 15);
        match op & 7 {
            0 => self.send(who, ops.take(size + 1)),
            1 => {
                let n = usize::from(ops.next().unwrap_or(0));
                self.send(who, ops.take(n));
            }
            2 => self.send_frame(who, size, ops),
            3 => {
                let read_max = [1, 2, 5, 6, 16, 64, 1024, 65_536][size & 7];
                self.serve(who, read_max);
            }
            4 => {
                let more = [0, 1, 3, 10, 50, 300, 2000, OPEN_WIDE][size & 7];
                self.peers[who].window = (self.peers[who].window + more).min(OPEN_WIDE);
                self.serve(who, 65_536);
            }
            5 => self.let_pass([0, 1, 100, 999, 1000, 5000, 31_000, 100_000][size & 7]),
            6 if size & 1 == 0 => self.visit(who),
            6 => self.end_pass(),
            _ => match size & 3 {
                0 => self.peers[who].shut = true,
                1 => self.connect(who),
                2 => self.announce(ops),
                _ => self.spurious_wake_ups(who),
            },
        }
    }

    fn send(&mut self, who: usize, bytes: &[u8]) {
        let peer = &mut self.peers[who];
        if peer.session.is_some() && !peer.shut && self.sent_bytes < SENT_BYTES_MAX {
            self.sent_bytes += bytes.len();
            peer.inbox.extend(bytes);
        }
    }

    /// A whole frame, so that the fuzzer need not count.
    fn send_frame(&mut self, who: usize, size: usize, ops: &mut Ops<'_>) {
        let code = [1, 2, 3, 4, 4, 7, 255, 9][size & 7];
        let units = usize::from(ops.next().unwrap_or(0));
        let len = units * if size & 8 == 0 { 1 } else { 16 };
        let fill = ops.next().unwrap_or(b'x');
        let payload = match fill {
            b'u' => "é".repeat(len.div_ceil(2)).into_bytes(),
            fill => vec![fill; len],
        };
        let wire = match self.protocol {
            Protocol::Command { .. } => frame(code, &payload),
            _ => [&[units as u8][..], &payload].concat(),
        };
        self.send(who, &wire);
    }

    /// A new client in place of one that has gone.
    fn connect(&mut self, who: usize) {
        if self.peers[who].session.is_none() {
            let session = Session::new(self.now, &self.room.log);
            self.peers[who] = Peer::connected(session, self.now);
            self.room.members += 1;
        }
    }

    /// Something is said to the whole room that no member has sent.
    fn announce(&mut self, ops: &mut Ops<'_>) {
        let len = usize::from(ops.next().unwrap_or(0)).min(self.limits.broadcast_len_max());
        let broadcast = frame(4, &vec![b'#'; len]);
        let fits = self.log.append(broadcast.len(), self.limits.broadcast_log_bytes_max);
        assert_eq!(self.room.log.append(&[&broadcast]).is_ok(), fits);
        if fits {
            self.owe_all_but(None, &broadcast);
        }
        self.start_pass_if_needed();
    }

    /// A broadcast is owed to every member but its sender from the moment it is in the log.
    fn owe_all_but(&mut self, sender: Option<usize>, broadcast: &[u8]) {
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if peer.is_open() && Some(number) != sender {
                peer.owed.extend(broadcast);
                peer.lag += broadcast.len();
                // Nobody falls off the log who has not been offered what was dropped.
                let has_fallen = peer.lag as u64 > self.log.head - self.log.tail;
                assert!(!has_fallen || peer.lagging, "cut for the server's own slowness");
            }
        }
    }

    // What the server does with a connection: converse, start to drain, flush, reschedule.

    fn serve(&mut self, who: usize, read_max: usize) {
        let mut out = Vec::new();
        if self.peers[who].is_open() {
            let flow = self.converse(who, read_max, &mut out);
            self.start_pass_if_needed();
            match flow {
                Flow::Close(reason) => self.start_drain(who, reason, &mut out),
                Flow::Wait => assert!(self.pass.is_some(), "nobody will come back to it"),
                Flow::Continue => {
                    let peer = &self.peers[who];
                    if peer.ended && !peer.held {
                        self.start_drain(who, CloseReason::PeerClosed, &mut out);
                    }
                }
            }
        }
        self.flush(who, out);
    }

    fn converse(&mut self, who: usize, read_max: usize, out: &mut Vec<u8>) -> Flow {
        loop {
            let peer = &mut self.peers[who];
            let Some(session) = &peer.session else { return Flow::Continue };
            let backlogged = session.is_backlogged(&self.room.log, out.len(), &self.limits);
            assert_eq!(backlogged, peer.owed.len() >= self.limits.send_queue_high_water());
            if backlogged || peer.waiting {
                return Flow::Continue;
            }
            let mut bytes = Vec::new();
            if !peer.held {
                bytes = peer.inbox.drain(..peer.inbox.len().min(read_max)).collect();
                if bytes.is_empty() {
                    peer.ended = peer.shut;
                    return Flow::Continue;
                }
            }
            let flow = self.receive(who, &bytes, out);
            if flow != Flow::Continue {
                return flow;
            }
        }
    }

    /// One call of the session, and the same of the model.
    fn receive(&mut self, who: usize, bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        let expected = self.expect_receive(who, bytes);
        let now = self.now;
        let Some((session, protocol, mut ctx)) = self.parts(who, out) else {
            return Flow::Continue;
        };
        let flow = match bytes {
            [] => session.on_resume(protocol, now, &mut ctx),
            bytes => session.on_bytes(protocol, bytes, now, &mut ctx),
        };
        assert_eq!(flow, expected);
        assert_eq!(self.stats, self.expected_stats);
        if !matches!(flow, Flow::Close(_)) {
            self.check_peer(who, out);
        } else if flow != Flow::Close(CloseReason::SlowConsumer) {
            self.check_owed(who, out);
        }
        flow
    }

    /// What a call of a session takes.
    fn parts<'a>(
        &'a mut self,
        who: usize,
        out: &'a mut Vec<u8>,
    ) -> Option<(&'a mut Session, &'a Protocol, Context<'a>)> {
        let ctx = Context {
            id: ConnId { index: who as u32, generation: 1 },
            limits: &self.limits,
            room: &mut self.room,
            stats: &mut self.stats,
            out,
            uptime_secs: self.now.0 / 1000,
        };
        Some((self.peers[who].session.as_mut()?, &self.protocol, ctx))
    }

    fn start_drain(&mut self, who: usize, _reason: CloseReason, out: &mut Vec<u8>) {
        let has_fallen = self.has_fallen(who);
        let peer = &mut self.peers[who];
        let Some(session) = &mut peer.session else { return };
        let settled = session.settle(&self.room.log, out);
        assert_eq!(settled.is_err(), has_fallen);
        if has_fallen {
            return self.close(who);
        }
        session.drop_input();
        session.touch(self.now);
        peer.lag = 0;
        peer.draining = true;
        peer.forget_input();
        peer.last_active_at = self.now;
        self.leave_room(who);
        assert_eq!(self.peers[who].session.as_ref().map(|s| s.kept_input()), Some(&[][..]));
    }

    /// One write of what waits, as much as the socket takes; the rest is queued.
    fn flush(&mut self, who: usize, out: Vec<u8>) {
        if self.peers[who].is_open() && self.has_fallen(who) {
            let cursor = self.peers[who].session.as_ref().map_or(0, Session::cursor);
            assert_eq!(self.room.log.since(cursor), None);
            return self.close(who);
        }
        let peer = &mut self.peers[who];
        let Some(session) = &mut peer.session else { return };
        let queued = session.unsent().len();
        let total = peer.owed.len();
        assert!(out.is_empty() || peer.lag == 0, "replies would overtake the lag");
        let written = peer.window.min(total);
        peer.window -= written;
        if written > 0 && (queued > 0 || peer.lagging) {
            session.touch(self.now);
            peer.last_active_at = self.now;
        }
        let from_queue = written.min(queued);
        let from_out = (written - from_queue).min(out.len());
        let from_log = written - from_queue - from_out;
        if queued > 0 {
            session.on_sent(from_queue);
        }
        session.advance_cursor(from_log);
        session.queue(&out[from_out..]);
        peer.owed.drain(..written);
        peer.lag -= from_log;
        if peer.draining && peer.owed.is_empty() {
            assert!(!session.owns_memory());
            return self.close(who);
        }
        if peer.is_open() && total > 0 {
            self.track_lag(who);
        }
        self.reschedule(who);
    }

    fn reschedule(&mut self, who: usize) {
        let peer = &mut self.peers[who];
        let Some(session) = peer.session.as_mut().filter(|_| !peer.draining) else { return };
        let backlogged = session.is_backlogged(&self.room.log, 0, &self.limits);
        let stalled = session.waits_for_fanout() || backlogged;
        session.set_paused(stalled, self.now);
        peer.paused = stalled;
        let full = peer.window == 0 && !peer.owed.is_empty();
        assert!(!stalled || full || self.pass.is_some(), "stalled, and nothing will wake it");
    }

    fn track_lag(&mut self, who: usize) {
        let was_lagging = mem::replace(&mut self.peers[who].lagging, self.peers[who].lag > 0);
        if was_lagging && !self.peers[who].lagging {
            self.caught_up();
        }
    }

    fn leave_room(&mut self, who: usize) {
        self.room.members -= 1;
        if mem::take(&mut self.peers[who].lagging) {
            self.caught_up();
        }
    }

    /// When the last laggard has caught up and no pass is on its way, nobody needs the log.
    fn caught_up(&mut self) {
        if self.pass.is_none() && self.peers.iter().all(|peer| !peer.lagging) {
            let head = self.room.log.head();
            assert_eq!(self.room.log.offered(), head, "a pass was due");
            self.room.log.release_below(head);
            self.log.release_below(head);
        }
    }

    fn close(&mut self, who: usize) {
        if self.peers[who].is_open() {
            self.leave_room(who);
        }
        self.peers[who] = Peer::absent();
    }

    // The fan-out.

    fn start_pass_if_needed(&mut self) {
        let head = self.room.log.head();
        if self.pass.is_none() && head > self.room.log.offered() {
            self.pass = Some(Pass { target: head, cursor_min: head, visited: [false; 2] });
        }
    }

    fn visit(&mut self, who: usize) {
        let Some(pass) = &mut self.pass else { return };
        pass.visited[who] = true;
        if !self.peers[who].is_open() {
            return;
        }
        if self.peers[who].lag > 0 {
            self.flush(who, Vec::new());
        }
        if let (Some(pass), Some(session)) = (&mut self.pass, &self.peers[who].session) {
            pass.cursor_min = pass.cursor_min.min(session.cursor());
        }
    }

    fn end_pass(&mut self) {
        for who in [0, 1] {
            if self.pass.as_ref().is_some_and(|pass| !pass.visited[who]) {
                self.visit(who);
            }
        }
        let Some(Pass { target, cursor_min, .. }) = self.pass.take() else { return };
        // Who lagged when it was visited may have caught up since.
        let nobody_lags = self.peers.iter().all(|peer| !peer.lagging);
        let cursor_min = if nobody_lags { target } else { cursor_min };
        self.room.log.set_offered(target);
        self.room.log.release_below(cursor_min);
        self.log.offered = self.log.offered.max(target);
        self.log.release_below(cursor_min);
        self.start_pass_if_needed();
        for peer in &mut self.peers {
            if let Some(session) = &mut peer.session {
                session.on_fanout_done();
                peer.waiting = false;
            }
        }
    }

    // Time.

    fn let_pass(&mut self, ms: u64) {
        self.now = self.now.after(ms);
        for peer in &mut self.peers {
            peer.running_ms += if peer.paused { 0 } else { ms };
        }
        for who in [0, 1] {
            // The server reads once more before it cuts anybody.
            if self.is_due(who) {
                self.serve(who, 65_536);
            }
            if self.is_due(who) {
                self.expire(who);
            }
        }
    }

    fn is_due(&self, who: usize) -> bool {
        let peer = &self.peers[who];
        let deadline = peer.deadline(self.idle_ms, &self.limits, self.now);
        peer.is_open() && deadline.is_some_and(|at| at <= self.now.0)
    }

    fn expire(&mut self, who: usize) {
        let has_fallen = self.has_fallen(who);
        let peer = &mut self.peers[who];
        let late = peer.late_at(&self.limits, self.now).is_some_and(|at| at <= self.now.0);
        assert!(!late || !peer.paused, "late while the server did not read");
        let mut expected = Flow::Close(CloseReason::IdleTimeout);
        if late {
            expected = Flow::Close(CloseReason::FrameTimeout);
            if let (Protocol::Command { .. }, Some(frame_model)) = (&self.protocol, peer.frame) {
                if has_fallen {
                    expected = Flow::Close(CloseReason::SlowConsumer);
                } else {
                    let age = (peer.running_ms - frame_model.started_ms) / 1000;
                    peer.lag = 0;
                    peer.owed.extend(error(&format!("frame incomplete after {age} s")));
                }
            }
        }
        let mut out = Vec::new();
        let flow = self.on_deadline(who, &mut out);
        assert_eq!(flow, expected);
        let peer = &self.peers[who];
        let blocked = peer.window == 0 && !peer.owed.is_empty();
        if flow == Flow::Close(CloseReason::IdleTimeout) && blocked {
            return self.close(who);
        }
        self.start_drain(who, CloseReason::IdleTimeout, &mut out);
        self.flush(who, out);
    }

    fn on_deadline(&mut self, who: usize, out: &mut Vec<u8>) -> Flow {
        let (idle_ms, now) = (self.idle_ms, self.now);
        let Some((session, protocol, mut ctx)) = self.parts(who, out) else {
            return Flow::Continue;
        };
        session.on_deadline(protocol, idle_ms, now, &mut ctx)
    }

    /// A timer that fires early and an event for nothing change nothing.
    fn spurious_wake_ups(&mut self, who: usize) {
        if !self.peers[who].is_open() || self.is_due(who) {
            return;
        }
        let mut out = Vec::new();
        assert_eq!(self.on_deadline(who, &mut out), Flow::Continue);
        if self.peers[who].held {
            return;
        }
        let now = self.now;
        let Some((session, protocol, mut ctx)) = self.parts(who, &mut out) else { return };
        assert_eq!(session.on_resume(protocol, now, &mut ctx), Flow::Continue);
        assert_eq!(out, []);
    }

    // The model of a session.

    /// What `bytes` come to, or nothing but the wish to go on.
    fn expect_receive(&mut self, who: usize, bytes: &[u8]) -> Flow {
        if !bytes.is_empty() {
            self.peers[who].last_active_at = self.now;
        }
        if self.has_fallen(who) {
            return Flow::Close(CloseReason::SlowConsumer);
        }
        let peer = &mut self.peers[who];
        peer.lag = 0;
        peer.held = false;
        if let Protocol::Raw { prefix } = &self.protocol {
            peer.owed.extend(prefix.iter().chain(bytes));
            return Flow::Continue;
        }
        peer.pending.extend(bytes);
        let mut answered = false;
        let flow = loop {
            if self.peers[who].owed.len() >= self.limits.send_queue_high_water() {
                self.peers[who].held = !self.peers[who].pending.is_empty();
                break Flow::Continue;
            }
            match self.expect_frame(who) {
                Some(Flow::Continue) => answered = true,
                Some(Flow::Wait) => {
                    self.peers[who].held = true;
                    self.peers[who].waiting = true;
                    break Flow::Wait;
                }
                Some(close) => return close,
                None => break Flow::Continue,
            }
        };
        self.peers[who].wind(answered, !bytes.is_empty());
        flow
    }

    /// Answers the first frame that is pending, if it is whole.
    fn expect_frame(&mut self, who: usize) -> Option<Flow> {
        let peer = &mut self.peers[who];
        let pending = &peer.pending;
        let Protocol::Command { frame_len_max } = self.protocol else {
            let end = 1 + usize::from(*pending.first()?);
            let message: Vec<u8> = pending.get(..end)?.to_vec();
            peer.pending.drain(..end);
            self.expected_stats.frames_in_total += 1;
            peer.owed.push(message[0]);
            peer.owed.extend(message[1..].iter().rev());
            return Some(Flow::Continue);
        };
        let len = pending.get(1..5)?.iter().fold(0, |len, byte| len * 256 + u32::from(*byte));
        if len > frame_len_max {
            let why = format!("frame of {len} bytes exceeds the limit of {frame_len_max}");
            peer.owed.extend(error(&why));
            return Some(Flow::Close(CloseReason::Protocol));
        }
        let end = 5 + len as usize;
        let wire = pending.get(..end)?.to_vec();
        self.expected_stats.frames_in_total += 1;
        let flow = self.expect_answer(who, wire[0], &wire[5..]);
        match flow {
            Flow::Continue => drop(self.peers[who].pending.drain(..end)),
            // It comes again.
            Flow::Wait => self.expected_stats.frames_in_total -= 1,
            Flow::Close(_) => {}
        }
        Some(flow)
    }

    fn expect_answer(&mut self, who: usize, code: u8, payload: &[u8]) -> Flow {
        let reply = match code {
            1 => frame(1, payload),
            2 => match std::str::from_utf8(payload) {
                Ok(text) => frame(1, text.chars().rev().collect::<String>().as_bytes()),
                Err(why) => error(&format!(
                    "REVERSE needs UTF-8: invalid byte at offset {}",
                    why.valid_up_to()
                )),
            },
            3 => return Flow::Close(CloseReason::Quit),
            4 => {
                let (len, max) = (payload.len(), self.limits.broadcast_log_bytes_max / 4);
                if len > max {
                    error(&format!("broadcast of {len} bytes exceeds the limit of {max}"))
                } else {
                    let open = self.peers.iter().filter(|peer| peer.is_open()).count();
                    let receivers = open + self.ghosts - 1;
                    let broadcast = frame(4, payload);
                    let room = self.limits.broadcast_log_bytes_max;
                    if receivers > 0 {
                        if !self.log.append(broadcast.len(), room) {
                            return Flow::Wait;
                        }
                        self.owe_all_but(Some(who), &broadcast);
                    }
                    self.expected_stats.broadcasts_total += 1;
                    frame(1, receivers.to_string().as_bytes())
                }
            }
            7 => {
                let mut json = String::new();
                let written = write_status(&mut json, &self.expected_stats, self.now.0 / 1000);
                assert!(written.is_ok());
                frame(1, json.as_bytes())
            }
            code => error(&format!("unknown command {code}")),
        };
        self.peers[who].owed.extend(reply);
        Flow::Continue
    }

    fn has_fallen(&self, who: usize) -> bool {
        self.peers[who].lag as u64 > self.log.head - self.log.tail
    }

    // The comparison.

    fn check(&self) {
        let log = &self.room.log;
        assert_eq!(
            (log.tail(), log.offered(), log.head()),
            (self.log.tail, self.log.offered, self.log.head)
        );
        let log_bytes = self.log.head - self.log.tail;
        assert!(log_bytes <= self.limits.broadcast_log_bytes_max as u64);
        let open = self.peers.iter().filter(|peer| peer.is_open()).count();
        assert_eq!(self.room.members, open + self.ghosts);
        for who in [0, 1] {
            self.check_peer(who, &[]);
            self.check_bounds(who);
        }
    }

    /// Everything that can be seen of a session is what the model has, `out` being its replies at
    /// hand.
    fn check_peer(&self, who: usize, out: &[u8]) {
        let peer = &self.peers[who];
        let Some(session) = &peer.session else { return };
        self.check_owed(who, out);
        assert_eq!(session.kept_input(), peer.pending);
        assert_eq!(session.holds_input(), peer.held);
        assert_eq!(session.waits_for_fanout(), peer.waiting);
        assert_eq!(session.last_active_at(), peer.last_active_at);
        let in_use = !session.kept_input().is_empty() || !session.unsent().is_empty();
        assert_eq!(session.owns_memory(), in_use, "memory is owned exactly while it is used");
        if out.is_empty() && !peer.draining {
            let deadline = session.deadline(self.idle_ms, &self.limits).map(|at| at.0);
            assert_eq!(deadline, peer.deadline(self.idle_ms, &self.limits, self.now));
        }
    }

    fn check_owed(&self, who: usize, out: &[u8]) {
        let peer = &self.peers[who];
        let Some(session) = &peer.session else { return };
        let log = &self.room.log;
        let own = [session.unsent(), out].concat();
        let (queued, logged) = peer.owed.split_at(peer.owed.len() - peer.lag);
        assert_eq!(own, queued);
        if peer.draining {
            return;
        }
        assert_eq!(session.lag(log), peer.lag as u64);
        match log.since(session.cursor()) {
            Some(parts) => assert_eq!(parts.concat(), logged),
            None => assert!(self.has_fallen(who)),
        }
    }

    /// What a connection may hold: half a send queue and a reply, one read and a frame.
    fn check_bounds(&self, who: usize) {
        let peer = &self.peers[who];
        let Some(session) = &peer.session else { return };
        // No client of a run can have more in flight.
        let read_max = 65_536.min(self.sent_bytes);
        let (frame_max, reply_max) = match &self.protocol {
            Protocol::Command { frame_len_max } => {
                let frame_max = 5 + *frame_len_max as usize;
                (frame_max, frame_max.max(OWN_WORDS_BYTES_MAX))
            }
            Protocol::Prefixed => (256, 256),
            Protocol::Raw { prefix } => (0, prefix.len() + read_max),
        };
        assert!(session.kept_input().len() <= read_max + frame_max);
        assert!(session.unsent().len() <= self.limits.send_queue_high_water() + reply_max);
        if !session.holds_input() {
            assert!(session.kept_input().len() <= frame_max.saturating_sub(1));
        }
    }

    /// The clients read all, and the sessions have nothing left but the beginnings of frames. Then
    /// the clients leave, and nothing is left at all.
    fn come_to_rest(&mut self) {
        for _ in 0..=SENT_BYTES_MAX {
            for who in [0, 1] {
                self.peers[who].window = OPEN_WIDE;
                self.serve(who, 65_536);
            }
            self.end_pass();
            self.check();
            let at_rest = |peer: &Peer| peer.inbox.is_empty() && peer.owed.is_empty() && !peer.held;
            if self.pass.is_none() && self.peers.iter().all(at_rest) {
                break;
            }
        }
        assert!(self.pass.is_none());
        for peer in &self.peers {
            assert!(peer.inbox.is_empty() && peer.owed.is_empty() && !peer.held, "stuck");
        }
        assert_eq!(self.room.log.tail(), self.room.log.head(), "the log is kept for nobody");
        for who in [0, 1] {
            self.peers[who].shut = true;
            self.serve(who, 1);
            assert!(self.peers[who].session.is_none());
        }
    }
}

impl LogModel {
    /// Room is made at the expense of what everyone has been offered, and of nothing else.
    fn append(&mut self, len: usize, capacity: usize) -> bool {
        let tail = self.tail.max((self.head + len as u64).saturating_sub(capacity as u64));
        if tail > self.offered {
            return false;
        }
        self.tail = tail;
        self.head += len as u64;
        true
    }

    fn release_below(&mut self, offset: u64) {
        let offset = offset.min(self.head);
        self.offered = self.offered.max(offset);
        self.tail = self.tail.max(offset);
    }
}

impl Peer {
    fn absent() -> Self {
        Peer {
            session: None,
            draining: false,
            inbox: Vec::new(),
            shut: false,
            ended: false,
            window: 64,
            lagging: false,
            owed: Vec::new(),
            lag: 0,
            pending: Vec::new(),
            held: false,
            waiting: false,
            frame: None,
            paused: false,
            running_ms: 0,
            last_active_at: Millis(0),
        }
    }

    fn connected(session: Session, now: Millis) -> Self {
        Peer { session: Some(session), last_active_at: now, ..Peer::absent() }
    }

    fn is_open(&self) -> bool {
        self.session.is_some() && !self.draining
    }

    fn forget_input(&mut self) {
        self.pending.clear();
        self.held = false;
        self.waiting = false;
        self.frame = None;
    }

    /// An unfinished frame has a clock, unless frames before it are held.
    fn wind(&mut self, answered: bool, came: bool) {
        let now = self.running_ms;
        if answered || self.held || self.pending.is_empty() {
            self.frame = None;
        }
        if self.held || self.pending.is_empty() {
            return;
        }
        let bytes = self.pending.len() as u64;
        let frame =
            self.frame.get_or_insert(FrameModel { started_ms: now, last_byte_ms: now, bytes });
        if came {
            (frame.last_byte_ms, frame.bytes) = (now, bytes);
        }
    }

    /// When the unfinished frame is late: stalled for the timeout, or older than it and too slow.
    /// Never while the server does not read.
    fn late_at(&self, limits: &Limits, now: Millis) -> Option<u64> {
        let frame = self.frame.filter(|_| !self.paused)?;
        let earned_ms = frame.bytes * 1000 / FRAME_BYTES_PER_SEC_MIN;
        let stalled = frame.last_byte_ms + limits.frame_timeout_ms;
        let too_slow = frame.started_ms + limits.frame_timeout_ms.max(earned_ms);
        Some(stalled.min(too_slow) + now.0 - self.running_ms)
    }

    fn deadline(&self, idle_ms: u64, limits: &Limits, now: Millis) -> Option<u64> {
        let idle = (idle_ms > 0).then(|| self.last_active_at.0 + idle_ms);
        [self.late_at(limits, now), idle].into_iter().flatten().min()
    }
}

fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[code][..], &len, payload].concat()
}

fn error(why: &str) -> Vec<u8> {
    frame(255, why.as_bytes())
}
