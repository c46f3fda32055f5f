//! Two sessions in one room, driven as the server drives its connections, held against the
//! [`model`]. After every step both agree on every byte that waits, on what it waits for, and on
//! when time ends the wait.

mod model;

use mynah::internal::buffer::{LagError, Pieces};
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, READ_BUFFER_BYTES};
use mynah::internal::memory::MemoryAccount;
use mynah::internal::protocol::{
    CloseReason, CommandProtocol, Context, Flow, PrefixedProtocol, Protocol, RawProtocol,
};
use mynah::internal::session::Session;
use mynah::internal::stats::Stats;

use super::listener::Listener;
use model::{Client, Log, Model};

/// Bytes the clients may send in one run, so that a run ends soon.
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

/// A listener as the server has it, and the model of it.
struct World {
    listener: Listener,
    memory: MemoryAccount,
    conns: [Connection; 2],
    pass: Option<Pass>,
    sent_bytes: usize,
    model: Model,
}

/// A client's socket, and the session behind it.
#[derive(Default)]
struct Connection {
    /// `None` once the connection is closed.
    session: Option<Session>,
    /// Sent by the client and not read yet.
    inbox: Vec<u8>,
    /// The client has shut its side behind the inbox.
    shut: bool,
    /// The end of the input has been read.
    ended: bool,
    /// Bytes the socket takes before it is full.
    window: usize,
}

/// The fan-out on its way.
struct Pass {
    target: u64,
    cursor_min: u64,
    visited: [bool; 2],
}

fn protocol(kind: u8, max_frame: u8) -> Protocol {
    match kind % 4 {
        2 => PrefixedProtocol.into(),
        3 => RawProtocol { prefix: b"Echo: "[..usize::from(kind >> 4) % 7].to_vec() }.into(),
        _ => CommandProtocol { payload_len_max: u32::from(max_frame) * 8 }.into(),
    }
}

impl World {
    fn new(settings: [u8; 7]) -> Self {
        let [kind, max_frame, send_queue, broadcast_log, frame_timeout, idle, ghosts] = settings;
        let limits = Limits {
            send_queue_bytes_max: 64 + usize::from(send_queue) * 32,
            broadcast_log_bytes_max: 64 + usize::from(broadcast_log) * 32,
            frame_timeout_ms: 1000 * (1 + u64::from(frame_timeout % 64)),
            ..Limits::default()
        };
        let stats = Stats { accepted_total: 2, ..Stats::default() };
        let model = Model {
            protocol: protocol(kind, max_frame),
            limits,
            idle_ms: u64::from(idle) * 500,
            ghosts: usize::from(ghosts % 4),
            now: 0,
            stats,
            log: Log::default(),
            clients: Default::default(),
        };
        let protocol = protocol(kind, max_frame);
        let mut listener = Listener::new(protocol, limits, limits.broadcast_log_bytes_max);
        listener.shared.stats.server = stats;
        listener.room.members = model.ghosts;
        let conns = Default::default();
        let mut world = World {
            listener,
            memory: MemoryAccount::new(usize::MAX),
            conns,
            pass: None,
            sent_bytes: 0,
            model,
        };
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
            3 => self.serve(who, [1, 2, 5, 6, 16, 64, 1024, READ_BUFFER_BYTES][size & 7]),
            4 => {
                let more = [0, 1, 3, 10, 50, 300, 2000, OPEN_WIDE][size & 7];
                self.conns[who].window = (self.conns[who].window + more).min(OPEN_WIDE);
                self.serve(who, READ_BUFFER_BYTES);
            }
            5 => self.let_pass([0, 1, 100, 999, 1000, 5000, 31_000, 100_000][size & 7]),
            6 if size & 1 == 0 => self.visit(who),
            6 => self.end_pass(),
            _ => match size & 3 {
                0 => self.conns[who].shut = true,
                1 => self.connect(who),
                2 => self.announce(ops),
                _ => self.wake_for_nothing(who),
            },
        }
    }

    // What a client does.

    /// A new client in place of one that has gone.
    fn connect(&mut self, who: usize) {
        if self.conns[who].session.is_none() {
            let session = self.listener.session(1, Millis(self.model.now));
            let window = 64;
            self.conns[who] = Connection { session: Some(session), window, ..Default::default() };
            self.listener.room.members += 1;
            self.model.connect(who);
        }
    }

    fn send(&mut self, who: usize, bytes: &[u8]) {
        let conn = &mut self.conns[who];
        if conn.session.is_some() && !conn.shut && self.sent_bytes < SENT_BYTES_MAX {
            self.sent_bytes += bytes.len();
            conn.inbox.extend(bytes);
        }
    }

    /// A whole frame, so that the fuzzer need not count.
    fn send_frame(&mut self, who: usize, size: usize, ops: &mut Ops<'_>) {
        let code = [1, 2, 3, 4, 4, 7, 255, 9][size & 7];
        let units = usize::from(ops.next().unwrap_or(0));
        let len = units * if size & 8 == 0 { 1 } else { 16 };
        let payload = match ops.next().unwrap_or(b'x') {
            b'u' => "é".repeat(len.div_ceil(2)).into_bytes(),
            fill => vec![fill; len],
        };
        let wire = match self.model.protocol {
            Protocol::Command(_) => model::frame(code, &payload),
            _ => [&[units as u8][..], &payload].concat(),
        };
        self.send(who, &wire);
    }

    /// Something is said to the whole room that no member has sent.
    fn announce(&mut self, ops: &mut Ops<'_>) {
        let len_max = self.model.limits.broadcast_len_max();
        let len = usize::from(ops.next().unwrap_or(0)).min(len_max);
        let broadcast = model::frame(4, &vec![b'#'; len]);
        let fits = self.model.broadcast(&broadcast, None);
        assert_eq!(self.listener.room.log.append(&[&broadcast]).is_ok(), fits);
        self.start_pass_if_needed();
    }

    // What the server does with a connection: process_input, drain, flush, reschedule.

    fn serve(&mut self, who: usize, read_max: usize) {
        let mut out = Vec::new();
        if self.model.clients[who].open {
            let flow = self.process_input(who, read_max, &mut out);
            self.start_pass_if_needed();
            match flow {
                Flow::Close(_) => self.start_drain(who),
                Flow::WaitForFanout => assert!(self.pass.is_some(), "nobody will come back to it"),
                Flow::Continue if self.conns[who].ended && !self.model.clients[who].deferred => {
                    self.start_drain(who);
                }
                Flow::Continue => {}
                flow => unreachable!("there are neither plugins nor rates: {flow:?}"),
            }
        }
        self.flush(who, &out);
    }

    fn process_input(&mut self, who: usize, read_max: usize, out: &mut Vec<u8>) -> Flow {
        loop {
            let Connection { session: Some(session), inbox, shut, ended, .. } =
                &mut self.conns[who]
            else {
                return Flow::Continue;
            };
            let Client { deferred, waiting, .. } = self.model.clients[who];
            let backlogged = session.is_over_high_water(
                &self.listener.room.log,
                out.len(),
                &self.model.limits,
                false,
            );
            assert_eq!(backlogged, self.model.is_over_high_water(who));
            if backlogged || waiting {
                return Flow::Continue;
            }
            let mut bytes = Vec::new();
            if !deferred {
                bytes = inbox.drain(..inbox.len().min(read_max)).collect();
                if bytes.is_empty() {
                    *ended = *shut;
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
        let expected = self.model.receive(who, bytes);
        let flow = self.call(who, out, |session, protocol, ctx| match bytes {
            [] => session.on_resume(protocol, ctx),
            bytes => session.on_bytes(protocol, bytes, false, ctx),
        });
        assert_eq!(flow, expected);
        assert_eq!(self.listener.stats(), self.model.stats);
        match flow {
            Flow::Close(_) => self.check_unsent(who, out),
            Flow::Continue | Flow::WaitForFanout => self.check_session(who, Some(out)),
            flow => unreachable!("there are neither plugins nor rates: {flow:?}"),
        }
        flow
    }

    /// Calls a session as its handlers need it.
    fn call(
        &mut self,
        who: usize,
        out: &mut Vec<u8>,
        call: impl FnOnce(&mut Session, &mut Protocol, &mut Context<'_>) -> Flow,
    ) -> Flow {
        let Some(session) = &mut self.conns[who].session else { return Flow::Continue };
        let id = ConnId { index: who as u32, generation: 1 };
        let now = Millis(self.model.now);
        self.listener.call(id, out, usize::MAX, now, |protocol, ctx| call(session, protocol, ctx))
    }

    /// No more input is acted on; what is unsent is sent, then the connection closes.
    fn start_drain(&mut self, who: usize) {
        let Some(session) = &mut self.conns[who].session else { return };
        session.drop_input();
        session.mark_active(Millis(self.model.now));
        assert!(session.unsubscribe(&self.listener.room.log).is_ok());
        self.listener.room.members -= 1;
        self.model.drain(who);
    }

    /// One write of what waits, as much as the socket takes; the rest is queued.
    fn flush(&mut self, who: usize, out: &[u8]) {
        let has_fallen = self.model.has_fallen(who);
        let Connection { session: Some(session), window, .. } = &mut self.conns[who] else {
            return;
        };
        let client = &mut self.model.clients[who];
        if has_fallen {
            let mut pieces = Pieces::new(OPEN_WIDE);
            assert_eq!(session.gather(out, &self.listener.room.log, &mut pieces), Err(LagError));
            return self.close(who);
        }
        let was_waiting = session.has_unsent() || client.lagging;
        let total = client.unsent_len();
        let written = total.min(*window);
        let (mut left, mut from_out) = (written, 0);
        while left > 0 {
            let mut pieces = Pieces::new(left);
            session
                .gather(&out[from_out..], &self.listener.room.log, &mut pieces)
                .expect("it is there");
            let n = pieces.bytes();
            assert!(n > 0, "bytes are unsent that nobody has");
            from_out += session.advance(n, out.len() - from_out);
            left -= n;
        }
        if written > 0 && was_waiting {
            session.mark_active(Millis(self.model.now));
            client.last_active_at = self.model.now;
        }
        session.queue(&out[from_out..]).expect("memory");
        session.update_charge(&mut self.memory);
        *window -= written;
        client.take(written);
        if total > 0 {
            self.track_lag(who);
        }
        let client = &self.model.clients[who];
        if !client.open && client.unsent.is_empty() {
            return self.close(who);
        }
        self.reschedule(who);
    }

    /// Leaves the connection where something will come back to it.
    fn reschedule(&mut self, who: usize) {
        let (conn, client) = (&mut self.conns[who], &mut self.model.clients[who]);
        let Some(session) = conn.session.as_mut().filter(|_| client.open) else { return };
        let backlogged =
            session.is_over_high_water(&self.listener.room.log, 0, &self.model.limits, false);
        let stalled = session.waits_for_fanout() || backlogged;
        session.set_paused(stalled, Millis(self.model.now));
        client.paused = stalled;
        let full = conn.window == 0 && !client.unsent.is_empty();
        assert!(!stalled || full || self.pass.is_some(), "stalled, and nothing will wake it");
    }

    fn track_lag(&mut self, who: usize) {
        let client = &mut self.model.clients[who];
        let lags = client.lag() > 0;
        let lagged = std::mem::replace(&mut client.lagging, lags);
        if lagged && !client.lagging {
            self.caught_up();
        }
    }

    /// When the last laggard has caught up and no pass is on its way, nobody needs the log.
    fn caught_up(&mut self) {
        if self.pass.is_none() && self.model.nobody_lags() {
            let head = self.listener.room.log.head();
            assert_eq!(self.listener.room.log.offered(), head, "a pass was due");
            self.listener.room.log.release_below(head);
            self.model.log.release_below(head);
        }
    }

    fn close(&mut self, who: usize) {
        if self.model.clients[who].open {
            self.listener.room.members -= 1;
        }
        if let Some(session) = &mut self.conns[who].session {
            session.release_memory(&mut self.memory);
        }
        self.conns[who] = Connection::default();
        let Client { lagging, .. } = std::mem::take(&mut self.model.clients[who]);
        if lagging {
            self.caught_up();
        }
    }

    // The fan-out.

    fn start_pass_if_needed(&mut self) {
        let head = self.listener.room.log.head();
        if self.pass.is_none() && head > self.listener.room.log.offered() {
            self.pass = Some(Pass { target: head, cursor_min: head, visited: [false; 2] });
        }
    }

    fn visit(&mut self, who: usize) {
        let Some(pass) = &mut self.pass else { return };
        pass.visited[who] = true;
        if self.model.clients[who].lag() > 0 {
            self.flush(who, &[]);
        }
        let session = self.conns[who].session.as_ref();
        if let (Some(pass), Some(session)) = (&mut self.pass, session) {
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
        let needed_from = if self.model.nobody_lags() { target } else { cursor_min };
        self.listener.room.log.set_offered(target);
        self.listener.room.log.release_below(needed_from);
        self.model.log.set_offered(target);
        self.model.log.release_below(needed_from);
        self.start_pass_if_needed();
        for who in [0, 1] {
            if let Some(session) = &mut self.conns[who].session {
                session.on_log_vacancy();
                self.model.clients[who].waiting = false;
            }
        }
    }

    // Time.

    fn let_pass(&mut self, ms: u64) {
        self.model.let_pass(ms);
        for who in [0, 1] {
            // The server reads once more before it cuts anybody.
            if self.is_due(who) {
                self.serve(who, READ_BUFFER_BYTES);
            }
            if self.is_due(who) {
                self.expire(who);
            }
        }
    }

    fn is_due(&self, who: usize) -> bool {
        let deadline = self.model.deadline(who);
        self.model.clients[who].open && deadline.is_some_and(|at| at <= self.model.now)
    }

    fn expire(&mut self, who: usize) {
        let expected = self.model.expire(who);
        let mut out = Vec::new();
        let flow = self.on_deadline(who, &mut out);
        assert_eq!(flow, expected);
        let blocked = self.conns[who].window == 0 && !self.model.clients[who].unsent.is_empty();
        if flow == Flow::Close(CloseReason::IdleTimeout) && blocked {
            return self.close(who);
        }
        self.start_drain(who);
        self.flush(who, &out);
    }

    fn on_deadline(&mut self, who: usize, out: &mut Vec<u8>) -> Flow {
        let idle_ms = self.model.idle_ms;
        self.call(who, out, |session, protocol, ctx| session.on_deadline(protocol, idle_ms, ctx))
    }

    /// A timer that fires early, and an event for nothing, change nothing. Like the server, it asks
    /// for the deadline first: a client that is not read from has none, however long it was quiet.
    fn wake_for_nothing(&mut self, who: usize) {
        let client = &self.model.clients[who];
        if !client.open || client.deferred || client.paused || self.is_due(who) {
            return;
        }
        let mut out = Vec::new();
        let early = self.on_deadline(who, &mut out);
        let resumed = self.call(who, &mut out, Session::on_resume);
        assert_eq!((early, resumed, &out[..]), (Flow::Continue, Flow::Continue, &[][..]));
    }

    // The comparison.

    fn check(&self) {
        let (log, expected) = (&self.listener.room.log, &self.model.log);
        let found = Log { start: log.start(), offered: log.offered(), head: log.head() };
        assert_eq!(found, *expected);
        assert!(log.head() - log.start() <= self.model.limits.broadcast_log_bytes_max as u64);
        assert_eq!(self.listener.room.members, self.model.members());
        for who in [0, 1] {
            self.check_session(who, None);
            self.check_bounds(who);
        }
    }

    /// Everything that can be seen of a session is what the model has; `at_hand` are its replies
    /// between two calls.
    fn check_session(&self, who: usize, at_hand: Option<&[u8]>) {
        let (out, is_between_calls) = (at_hand.unwrap_or_default(), at_hand.is_some());
        let (Some(session), client) = (&self.conns[who].session, &self.model.clients[who]) else {
            return;
        };
        self.check_unsent(who, out);
        assert_eq!(session.buffered_input(), client.pending);
        assert_eq!(session.has_deferred_input(), client.deferred);
        assert_eq!(session.waits_for_fanout(), client.waiting);
        assert_eq!(session.last_active_at(), Millis(client.last_active_at));
        // Between calls the clock of a frame may wait to be stopped, and memory to be charged.
        if !is_between_calls {
            let in_use = !session.buffered_input().is_empty() || session.has_unsent();
            assert_eq!(session.allocated() > 0, in_use, "memory is owned exactly while it is used");
            assert_eq!(session.charged(), session.allocated(), "it is charged with what it owns");
            let Model { protocol, limits, idle_ms, .. } = &self.model;
            let deadline = session.deadline(protocol, *idle_ms, limits, client.paused);
            assert_eq!(deadline, self.model.deadline(who).map(Millis));
        }
    }

    /// Queue, replies at hand and log hold what the client is still to be sent, in this order.
    fn check_unsent(&self, who: usize, out: &[u8]) {
        let (Some(session), client) = (&self.conns[who].session, &self.model.clients[who]) else {
            return;
        };
        assert_eq!(session.lag(&self.listener.room.log), client.lag() as u64);
        assert_eq!(session.unsent_len() + out.len(), client.unsent_len() - client.lag());
        if let Some(queue) = session.send_queue() {
            queue.assert_invariants();
        }
        if self.model.has_fallen(who) {
            return;
        }
        let mut pieces = Pieces::new(OPEN_WIDE);
        session.gather(out, &self.listener.room.log, &mut pieces).expect("it is there");
        // Whole pieces at a time: byte by byte, this would be most of a run.
        let mut found = Vec::with_capacity(pieces.bytes());
        pieces.as_slices().iter().for_each(|piece| found.extend_from_slice(piece));
        let mut unsent = Vec::with_capacity(client.unsent_len());
        client.unsent.iter().for_each(|piece| unsent.extend_from_slice(&piece.bytes));
        // One write takes so many pieces only.
        assert!(unsent.starts_with(&found), "something else is to be sent than is unsent");
        assert!(found.len() == unsent.len() || !found.is_empty());
    }

    /// Bytes a connection may hold: one read and a frame, half a send queue and a reply.
    fn check_bounds(&self, who: usize) {
        let Some(session) = &self.conns[who].session else { return };
        let read_max = READ_BUFFER_BYTES.min(self.sent_bytes);
        let (frame_max, reply_max) = match &self.model.protocol {
            Protocol::Command(CommandProtocol { payload_len_max }) => {
                let frame_max = 5 + *payload_len_max as usize;
                (frame_max, frame_max.max(OWN_WORDS_BYTES_MAX))
            }
            Protocol::Prefixed(_) => (256, 256),
            Protocol::Raw(RawProtocol { prefix }) => (1, prefix.len() + read_max),
            _ => {
                unreachable!("these have targets of their own")
            }
        };
        let kept_max =
            if session.has_deferred_input() { read_max + frame_max } else { frame_max - 1 };
        assert!(session.buffered_input().len() <= kept_max);
        let unsent_max = self.model.limits.send_queue_bytes_max / 2 + reply_max;
        assert!(session.unsent_len() <= unsent_max);
    }

    /// The clients read all, and the sessions have nothing left but the beginnings of frames. Then
    /// the clients leave, and nothing is left at all.
    fn come_to_rest(&mut self) {
        let is_at_rest = |world: &World, who: usize| {
            let client = &world.model.clients[who];
            world.conns[who].inbox.is_empty() && client.unsent.is_empty() && !client.deferred
        };
        // A round answers a message of each at least.
        for _ in 0..=SENT_BYTES_MAX {
            for who in [0, 1] {
                self.conns[who].window = OPEN_WIDE;
                self.serve(who, READ_BUFFER_BYTES);
            }
            self.end_pass();
            self.check();
            if self.pass.is_none() && is_at_rest(self, 0) && is_at_rest(self, 1) {
                break;
            }
        }
        assert!(self.pass.is_none() && is_at_rest(self, 0) && is_at_rest(self, 1), "stuck");
        assert_eq!(
            self.listener.room.log.start(),
            self.listener.room.log.head(),
            "the log is kept for nobody"
        );
        for who in [0, 1] {
            self.conns[who].shut = true;
            self.serve(who, 1);
            assert!(self.conns[who].session.is_none());
        }
        assert_eq!(self.memory.used(), 0, "all that was charged is credited");
    }
}
