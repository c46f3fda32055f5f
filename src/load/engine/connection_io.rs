//! What is done with one connection: it is begun, asked, read from, and lost. When, is for the loop
//! to say.

use std::io::{ErrorKind, Read, Write};

use mio::{Interest, Token};

use super::super::connection::{ActiveState, Connection, State};
use super::super::options::LoadModel;
use super::super::socket;
use super::super::stats::Phase;
use super::super::workload::{Pattern, ReplyError};
use super::{Engine, PUBLISHER};

/// Reads from one connection in one turn before the others have theirs.
const READS_PER_TURN: u32 = 8;

/// Connections begun in one turn, so that those begun before are noticed in time.
const CONNECTS_PER_TURN: u64 = 64;

/// Requests taken from the schedule in one turn.
const DUE_PER_TURN: usize = 1024;

/// Requests that wait on all connections together until their turn has come.
const WAITING_MAX: u64 = 1 << 20;

/// A connection that was lost without an error number: the peer closed it.
const CLOSED_BY_PEER: &str = "EOF";

impl Engine<'_> {
    pub(super) fn start_connects(&mut self) {
        let missing = (self.wanted() - self.connections.len()) as u64;
        if missing == 0 {
            return;
        }
        for _ in 0..self.bucket.take(self.now(), missing.min(CONNECTS_PER_TURN)) {
            let index = self.connections.len();
            let now = self.now();
            let mut tried = 0;
            let ports = self.sources.ports(index, self.ports_skipped).inspect(|_| tried += 1);
            let source = self.sources.address(index);
            let result = socket::connect(self.target, source, ports).and_then(|mut stream| {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index), both)?;
                Ok(stream)
            });
            self.ports_skipped += usize::saturating_sub(tried, 1);
            match result {
                Ok(stream) => {
                    self.connections.push(Connection::new(Some(stream), now));
                    self.connecting.push_back(index);
                    self.pending += 1;
                }
                Err(error) => {
                    self.connections.push(Connection::new(None, now));
                    self.run.stats.counts.failed += 1;
                    self.run.stats.record_error(&socket::errno_name(&error), now);
                }
            }
        }
    }

    /// Open loop: what should have left by now leaves, each connection's share in one write.
    pub(super) fn send_due_requests(&mut self) {
        let mut to_flush = Vec::new();
        let now = self.now();
        for _ in 0..DUE_PER_TURN {
            if self.has_backlog() {
                break;
            }
            let Some(at) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) else {
                break;
            };
            let Some(index) = self.next_open() else {
                self.run.unanswered += 1;
                break;
            };
            let connection = &mut self.connections[index];
            let active = connection.active_state();
            active.in_flight.push(at, 1);
            self.unanswered += 1;
            if active.unsent == 0 {
                to_flush.push(index);
            }
            if self.release_requests(index) > 0 {
                self.run.stats.record_lag(now.saturating_sub(at));
            }
        }
        for index in to_flush {
            self.flush(index);
        }
    }

    /// Whether so many requests wait for a place on their connections that more need not be taken
    /// from the schedule: there they keep their times, and take no memory.
    pub(super) fn has_backlog(&self) -> bool {
        let on_their_way = self.wanted() as u64 * u64::from(self.mode.depth());
        self.unanswered >= on_their_way.saturating_add(WAITING_MAX)
    }

    /// Whose turn it is, among those that are open.
    fn next_open(&mut self) -> Option<usize> {
        for _ in 0..self.connections.len() {
            let index = self.cursor;
            self.cursor = (self.cursor + self.stride) % self.connections.len();
            if self.connections[index].state == State::Open {
                return Some(index);
            }
        }
        None
    }

    /// Requests of connection `index` that wait and may leave join its unsent bytes.
    fn release_requests(&mut self, index: usize) -> u32 {
        let Some(active) = &mut self.connections[index].active else { return 0 };
        let count = active.in_flight.release(self.mode.depth());
        active.unsent += u64::from(count) * self.workload.request_len() as u64;
        self.run.stats.counts.sent += u64::from(count);
        count
    }

    /// `count` more requests of connection `index` are meant to leave at `now`.
    pub(super) fn queue_requests(&mut self, index: usize, now: u64, count: u32) {
        self.connections[index].active_state().in_flight.push(now, count);
        self.unanswered += u64::from(count);
        self.release_requests(index);
    }

    /// Everyone has the last batch, and there is time for another.
    pub(super) fn must_publish(&self) -> bool {
        let idle = |publisher: &Connection| {
            let active = publisher.active.as_ref();
            active.is_none_or(|active| active.unsent == 0 && active.in_flight.unanswered() == 0)
        };
        self.mode.pattern() == Pattern::Fanout
            && self.run.stats.phase == Phase::Traffic
            && self.fanout.undelivered == 0
            && self.connections.get(PUBLISHER).is_some_and(idle)
    }

    pub(super) fn publish(&mut self) {
        let now = self.now();
        if now >= self.phase_ends_at || self.connections[PUBLISHER].state != State::Open {
            return;
        }
        let batch = self.mode.depth();
        // The publisher is no subscriber of its own.
        let subscribers = self.run.stats.connected().saturating_sub(1);
        self.fanout.published += u64::from(batch);
        self.fanout.undelivered = u64::from(batch) * subscribers;
        self.fanout.published_at = now;
        if self.workload.confirms_publish() {
            self.queue_requests(PUBLISHER, now, batch);
        } else {
            let len = self.workload.request_len() as u64;
            self.connections[PUBLISHER].active_state().unsent += u64::from(batch) * len;
            self.run.stats.counts.sent += u64::from(batch);
        }
        self.flush(PUBLISHER);
    }

    pub(super) fn on_ready(
        &mut self,
        index: usize,
        readable: bool,
        writable: bool,
        read_closed: bool,
    ) {
        let Some(connection) = self.connections.get(index) else { return };
        if connection.state == State::Connecting && (writable || readable) {
            self.finish_connect(index);
        }
        if readable && self.is_connected(index) {
            self.read(index, read_closed);
        }
        let unsent = |active: &ActiveState| active.unsent > 0;
        if self.connections[index].active.as_deref().is_some_and(unsent) {
            self.flush(index);
        }
    }

    fn is_connected(&self, index: usize) -> bool {
        matches!(self.connections[index].state, State::Open | State::Joining)
    }

    fn finish_connect(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(result) = connection.stream.as_ref().and_then(socket::connect_result) else {
            return;
        };
        if let Err(error) = result {
            return self.fail(index, &socket::errno_name(&error));
        }
        let connect_started_at = connection.connect_started_at;
        let now = self.now();
        self.run.stats.counts.opened += 1;
        self.run.stats.record_connect(now.saturating_sub(connect_started_at));
        if self.mode.pattern() == Pattern::Echo {
            self.connections[index].state = State::Open;
            self.pending -= 1;
            return;
        }
        let hello = self.workload.hello(&format!("{}{index}", self.nickname));
        let connection = &mut self.connections[index];
        connection.state = State::Joining;
        connection.active_state().in_flight.push(now, 1);
        connection.active_state().in_flight.release(1);
        self.unanswered += 1;
        let sent = connection.stream.as_mut().map_or(Ok(0), |stream| stream.write(&hello));
        match sent {
            Ok(sent) => self.run.stats.counts.bytes_sent += sent as u64,
            Err(error) => self.fail(index, &socket::errno_name(&error)),
        }
    }

    /// Reads until the socket is empty, or has had its turn.
    fn read(&mut self, index: usize, read_closed: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = &mut self.connections[index].stream else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => return self.fail(index, CLOSED_BY_PEER),
                Ok(len) => {
                    self.run.stats.counts.bytes_received += len as u64;
                    if !self.ignores_input {
                        self.on_read(index, len);
                    }
                    // A short read has emptied the socket, unless its end is still to be read.
                    if len < self.buffer.len() && !read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.fail(index, &socket::errno_name(&error)),
            }
        }
        if !std::mem::replace(&mut self.connections[index].is_resuming, true) {
            self.resume_list.push(index);
        }
    }

    /// Takes in what was read from connection `index`.
    fn on_read(&mut self, index: usize, len: usize) {
        let now = self.now();
        let connection = &mut self.connections[index];
        let is_joining = connection.state == State::Joining;
        let active = connection.active.get_or_insert_default();
        let input = &self.buffer[..len];
        let parsed = if active.partial_reply.is_empty() {
            let parsed = self.workload.parse(input, is_joining, &mut active.partial_bytes);
            if parsed.consumed < len
                && active.partial_reply.extend(&input[parsed.consumed..], 0).is_err()
            {
                return self.fail(index, "ENOMEM");
            }
            parsed
        } else {
            if active.partial_reply.extend(input, 0).is_err() {
                return self.fail(index, "ENOMEM");
            }
            let parsed =
                self.workload.parse(&active.partial_reply, is_joining, &mut active.partial_bytes);
            active.partial_reply.consume(parsed.consumed);
            parsed
        };
        if parsed.answers > 0 && !self.on_answers(index, parsed.answers, now) {
            let error = self.workload.classify_unrequested(&self.buffer[..len]);
            return self.on_reply_error(index, error);
        }
        if parsed.deliveries > 0 && !self.on_deliveries(index, parsed.deliveries, now) {
            return self.on_reply_error(index, ReplyError::Unexpected);
        }
        if let Some(error) = parsed.error {
            self.on_reply_error(index, error);
        }
    }

    /// False if nobody had asked.
    fn on_answers(&mut self, index: usize, count: u32, now: u64) -> bool {
        let connection = &mut self.connections[index];
        let is_joining = connection.state == State::Joining;
        let echo = self.mode.pattern() == Pattern::Echo;
        let stats = &mut self.run.stats;
        let known = connection.active_state().in_flight.complete(count, |at, count| {
            if echo {
                stats.record(now.saturating_sub(at), count);
            }
        });
        if !known {
            return false;
        }
        self.unanswered -= u64::from(count);
        if is_joining {
            connection.state = State::Open;
            self.pending -= 1;
            return true;
        }
        stats.counts.answered += u64::from(count);
        let closed = self.mode.load_model() == LoadModel::Closed;
        if echo && closed && stats.phase == Phase::Traffic && now < self.phase_ends_at {
            self.queue_requests(index, now, count);
        } else {
            self.release_requests(index);
        }
        true
    }

    /// False if there were not so many on their way.
    fn on_deliveries(&mut self, index: usize, count: u32, now: u64) -> bool {
        let active = self.connections[index].active_state();
        active.received += u64::from(count);
        if active.received > self.fanout.published {
            active.received = self.fanout.published;
            return false;
        }
        self.fanout.undelivered = self.fanout.undelivered.saturating_sub(u64::from(count));
        self.run.stats.counts.deliveries += u64::from(count);
        self.run.stats.record(now.saturating_sub(self.fanout.published_at), count);
        true
    }

    fn on_reply_error(&mut self, index: usize, error: ReplyError) {
        match error {
            ReplyError::Refused(text) => {
                self.run.stats.refusal.get_or_insert(text);
                self.fail(index, "EPROTO");
            }
            ReplyError::Unexpected => self.fail(index, "EBADMSG"),
        }
    }

    /// Sends what connection `index` has to send, as far as its socket takes it.
    #[inline]
    pub(super) fn flush(&mut self, index: usize) {
        let Connection { stream: Some(stream), active: Some(active), .. } =
            &mut self.connections[index]
        else {
            return;
        };
        while active.unsent > 0 {
            let bytes = self.workload.next_bytes(active.sent, active.unsent);
            match stream.write(bytes) {
                Ok(sent) => {
                    active.sent += sent as u64;
                    active.unsent -= sent as u64;
                    self.run.stats.counts.bytes_sent += sent as u64;
                    if sent < bytes.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.fail(index, &socket::errno_name(&error)),
            }
        }
    }

    /// Connection `index` failed, or is no more.
    #[cold]
    pub(super) fn fail(&mut self, index: usize, name: &str) {
        let now = self.now();
        let connection = &mut self.connections[index];
        if connection.state == State::Connecting {
            self.run.stats.counts.failed += 1;
        } else {
            self.run.stats.counts.dropped += 1;
        }
        self.pending -= usize::from(connection.state.is_pending());
        let was_open = connection.state == State::Open;
        connection.state = State::Gone;
        connection.stream = None;
        let active = connection.active.take().unwrap_or_default();
        self.unanswered -= active.in_flight.unanswered();
        self.run.unanswered += active.in_flight.unanswered();
        if self.mode.pattern() == Pattern::Fanout && index != PUBLISHER && was_open {
            let missed = self.fanout.published - active.received;
            self.fanout.undelivered = self.fanout.undelivered.saturating_sub(missed);
        }
        self.run.stats.record_error(name, now);
    }
}
