//! Input and output of one connection: connect, requests, replies, failure. The engine decides when.

use std::io::{self, ErrorKind, Read, Write};

use mio::Token;

use super::super::connection::{ActiveState, Connection, State};
use super::super::exchange::GREETING_BYTES_MAX;
use super::super::plan::Pattern;
use super::super::record::LoadModel;
use super::super::reply::{Parsed, ReplyError};
use super::super::route::Route;
use super::super::socket::{self, Stream};
use super::super::stats::Phase;
use super::super::workload::refusal_text;
use super::{DELIVERY_NS_MAX, Engine, PUBLISHER};
use crate::net::retry_interrupted;
use crate::server::Readiness;

/// Most reads of one connection a turn, so that the others are served in time.
const READS_PER_TURN: u32 = 8;

/// Most connects a turn, so that finished ones are measured in time.
const CONNECTS_PER_TURN: u64 = 64;

/// Most requests taken from the schedule a turn.
const DUE_PER_TURN: usize = 1024;

/// Most requests that wait for a place on their connections, over all connections.
const WAITING_MAX: u64 = 1 << 20;

/// Name of the error of a connection that the peer closed in order.
pub(super) const CLOSED_BY_PEER: &str = "EOF";

impl Engine<'_> {
    /// Ramp: starts as many connects as the token bucket allows.
    pub(super) fn start_connects(&mut self) {
        let missing = (self.wanted() - self.connections.len()) as u64;
        if missing == 0 || self.now() < self.connect_retry_at {
            return;
        }
        let count = self.pacer.take(self.now(), missing.min(CONNECTS_PER_TURN));
        for done in 0..count {
            let index = self.connections.len();
            let now = self.now();
            match self.connect(index, 0) {
                Ok(stream) => {
                    let started_at = self.backlog_wait.end(now);
                    self.connections.push(Connection::new(Some(stream), started_at));
                    self.connecting.push_back((started_at, index));
                    self.pending += 1;
                }
                Err(error) if socket::is_backlog_full(&error) => {
                    if let Some(retry_at) = self.backlog_wait.next_try_at(now) {
                        self.pacer.put_back(count - done);
                        self.connect_retry_at = retry_at;
                        return;
                    }
                    self.fail_connect("ETIMEDOUT", now);
                }
                Err(error) => self.fail_connect(&socket::errno_name(&error), now),
            }
        }
    }

    /// Starts the connect of connection `index`, and asks for its events. It has the ports of a
    /// connection that comes `ports_before` later.
    pub(super) fn connect(&mut self, index: usize, ports_before: usize) -> io::Result<Stream> {
        let mut tried = 0;
        let (target, number) = self.spread.place(self.share.number(index as u64) as usize);
        let number = number + ports_before;
        let Route { address, sources } = &self.routes[target];
        let skipped = &mut self.ports_skipped[target];
        let ports = sources.ports(number, *skipped).inspect(|_| tried += 1);
        let result = socket::connect(address, sources.address(number), ports);
        *skipped += usize::saturating_sub(tried, 1);
        let stream = result?;
        stream.register(self.poll.registry(), Token(index))?;
        Ok(stream)
    }

    /// Counts a connect that failed at once.
    fn fail_connect(&mut self, name: &str, now: u64) {
        self.connections.push(Connection::new(None, now));
        self.run.stats.counts.failed += 1;
        self.run.stats.record_error(name, now);
    }

    /// Open loop: sends the requests that are due, those of one connection in one write.
    pub(super) fn send_due_requests(&mut self) {
        let mut to_flush = Vec::new();
        let now = self.now();
        for _ in 0..DUE_PER_TURN {
            if self.has_backlog() {
                self.was_backlogged = true;
                break;
            }
            let Some(at) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) else {
                self.was_backlogged = false;
                break;
            };
            // Not the time at which it leaves: a target that stalls makes it wait for a place.
            if !self.was_backlogged {
                self.run.stats.record_left_late(now.saturating_sub(at));
            }
            let Some(index) = self.next_open() else {
                self.run.unanswered += 1;
                self.run.unsent += 1;
                break;
            };
            let connection = &mut self.connections[index];
            let active = connection.active_state();
            active.in_flight.push(at, 1);
            self.unanswered += 1;
            if active.unsent == 0 {
                to_flush.push(index);
            }
            self.release_requests(index);
        }
        for index in to_flush {
            self.flush(index);
        }
    }

    /// Whether [`WAITING_MAX`] requests wait. Further ones stay in the schedule, where they keep
    /// their times and take no memory.
    pub(super) fn has_backlog(&self) -> bool {
        let in_flight_max = self.wanted() as u64 * u64::from(self.mode.depth());
        self.unanswered >= in_flight_max.saturating_add(WAITING_MAX)
    }

    /// The open connection whose turn it is; moves the cursor on.
    fn next_open(&mut self) -> Option<usize> {
        for _ in 0..self.senders {
            let index = self.cursor;
            self.cursor = (self.cursor + self.stride) % self.senders;
            if self.connections[index].state == State::Open {
                return Some(index);
            }
        }
        None
    }

    /// Adds the waiting requests of connection `index` that its depth allows to the unsent bytes.
    fn release_requests(&mut self, index: usize) -> u32 {
        let Some(active) = &mut self.connections[index].active else { return 0 };
        let count = active.in_flight.release(self.mode.depth());
        active.unsent += u64::from(count) * self.workload.request_len() as u64;
        self.run.stats.counts.sent += u64::from(count);
        count
    }

    /// Queues `count` requests of connection `index`, due at `now`. [`flush`](Self::flush) sends them.
    pub(super) fn queue_requests(&mut self, index: usize, now: u64, count: u32) {
        self.connections[index].active_state().in_flight.push(now, count);
        self.unanswered += u64::from(count);
        self.release_requests(index);
    }

    /// Whether the next batch is due: all subscribers have the last one, and the publisher has its
    /// confirmations.
    pub(super) fn must_publish(&self) -> bool {
        self.mode.pattern() == Pattern::Fanout
            && self.run.stats.phase == Phase::Traffic
            && self.fanout.undelivered == 0
            && self.is_publisher_idle()
    }

    /// Whether the publisher has sent all it was given, and has its confirmations.
    fn is_publisher_idle(&self) -> bool {
        self.connections.get(PUBLISHER).is_some_and(|publisher| {
            let active = publisher.active.as_ref();
            active.is_none_or(|active| active.unsent == 0 && active.in_flight.unanswered() == 0)
        })
    }

    /// Several targets: gives up what is missing of the batch, if nothing has been delivered for too
    /// long. What arrives later is not counted.
    pub(super) fn expire_batch(&mut self, now: u64) {
        let is_over = now >= self.fanout.moved_at.saturating_add(DELIVERY_NS_MAX);
        let is_missing = self.fanout.undelivered > 0 && self.is_publisher_idle();
        if !is_over || !is_missing || !self.spread.is_over_several() {
            return;
        }
        for connection in self.connections.iter_mut().skip(PUBLISHER + 1) {
            if connection.state == State::Open {
                let published = self.fanout.published;
                let active = connection.active_state();
                active.lost += published - active.received;
                active.received = published;
            }
        }
        self.fanout.undelivered = 0;
        self.workload.change_payload();
    }

    /// Adds what subscriber `index` has received, and what it has missed, to the counts of its target.
    /// To be called once, when it ends.
    pub(super) fn count_deliveries(&mut self, index: usize) {
        let Some(active) = &self.connections[index].active else { return };
        if index == PUBLISHER {
            return;
        }
        let counts = &mut self.run.targets[self.spread.place(index).0];
        counts.deliveries += active.received - active.lost;
        counts.lost += active.lost;
        // What a signal has cut off is not lost.
        if self.run.interrupted.is_none() {
            counts.lost += self.fanout.published - active.received;
        }
    }

    /// Publishes the next batch, unless the phase is over; the first in any case.
    pub(super) fn publish(&mut self) {
        let now = self.now();
        let is_over = now >= self.phase_ends_at && self.fanout.published > 0;
        if is_over || self.connections[PUBLISHER].state != State::Open {
            return;
        }
        let batch = self.mode.depth();
        // The publisher does not receive its own messages.
        let subscribers = self.run.stats.connected().saturating_sub(1);
        self.fanout.published += u64::from(batch);
        self.fanout.undelivered = u64::from(batch) * subscribers;
        self.fanout.published_at = now;
        self.fanout.moved_at = now;
        if self.workload.confirms_publish() {
            self.queue_requests(PUBLISHER, now, batch);
        } else {
            let len = self.workload.request_len() as u64;
            self.connections[PUBLISHER].active_state().unsent += u64::from(batch) * len;
            self.run.stats.counts.sent += u64::from(batch);
        }
        self.flush(PUBLISHER);
    }

    /// Acts on an event of connection `index`: finishes its connect, reads, sends.
    pub(super) fn on_ready(&mut self, index: usize, readiness: Readiness) {
        let Some(connection) = self.connections.get(index) else { return };
        let is_ready = readiness.writable || readiness.readable;
        if connection.state == State::Connecting && is_ready {
            self.finish_connect(index);
        }
        if readiness.readable && self.is_connected(index) {
            self.read(index, readiness.read_closed);
        }
        let has_unsent = |active: &ActiveState| active.unsent > 0;
        let has_unsent = self.connections[index].active.as_deref().is_some_and(has_unsent);
        if has_unsent || self.has_unsent_wire(index) {
            self.flush(index);
        }
    }

    pub(super) fn is_connected(&self, index: usize) -> bool {
        !matches!(self.connections[index].state, State::Connecting | State::Closed)
    }

    /// Fetches the result of a connect.
    fn finish_connect(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(result) = connection.stream.as_ref().and_then(socket::connect_result) else {
            return;
        };
        if let Err(error) = result {
            return self.fail(index, &socket::errno_name(&error));
        }
        if self.tls.is_some() {
            return self.begin_handshake(index);
        }
        self.open_or_await_greeting(index);
    }

    /// Opens connection `index`, which can carry data now, or has it wait for the server's greeting.
    pub(super) fn open_or_await_greeting(&mut self, index: usize) {
        if self.workload.awaits_greeting() {
            self.connections[index].state = State::Greeting;
        } else {
            self.open(index);
        }
    }

    /// Takes `len` bytes of data of connection `index`, at the front of the buffer, which is part of
    /// the greeting. Opens the connection at its end.
    fn on_greeting(&mut self, index: usize, len: usize) {
        let active = self.connections[index].active_state();
        let searched = active.partial_reply.len();
        if active.partial_reply.extend(&self.buffer[..len], 0).is_err() {
            return self.fail(index, "ENOMEM");
        }
        let received = &active.partial_reply;
        match self.workload.greeting_end(received, searched) {
            Some(end) => {
                // Nothing has been asked yet.
                let rest = &received[end..];
                let has_more = !rest.is_empty() && self.workload.is_given();
                let error = has_more.then(|| self.workload.classify_unrequested(rest, false));
                self.connections[index].active = None;
                self.open(index);
                if let Some(error) = error {
                    self.on_reply_error(index, error);
                }
            }
            None if received.len() >= GREETING_BYTES_MAX => self.fail(index, "EPROTO"),
            None => {}
        }
    }

    /// Opens connection `index`: in a fan-out, sends the hello.
    fn open(&mut self, index: usize) {
        let started_at = self.connections[index].connect_started_at;
        let now = self.now();
        self.run.stats.counts.opened += 1;
        self.run.targets[self.spread.place(index).0].opened += 1;
        match &mut self.storms {
            Some(storms) if self.run.stats.phase == Phase::Storm => {
                storms.record_connect(now.saturating_sub(started_at));
            }
            _ => self.run.stats.record_connect(now.saturating_sub(started_at)),
        }
        if self.mode.pattern() == Pattern::Echo {
            if !self.must_ask_first() {
                return self.on_joined(index, now);
            }
            self.connections[index].state = State::Joining;
            self.queue_requests(index, now, 1);
            return self.flush(index);
        }
        let hello = self.workload.hello(&format!("{}{index}", self.nickname));
        let connection = &mut self.connections[index];
        connection.state = State::Joining;
        connection.active_state().in_flight.push(now, 1);
        connection.active_state().in_flight.release(1);
        self.unanswered += 1;
        if self.tls.is_some() {
            return self.send_tls(index, &hello);
        }
        let sent = connection.stream.as_mut().map_or(Ok(0), |stream| stream.write(&hello));
        match sent {
            Ok(sent) => self.run.stats.counts.bytes_sent += sent as u64,
            Err(error) => self.fail(index, &socket::errno_name(&error)),
        }
    }

    /// Whether a connection counts as open only when a request of it was answered: the server really
    /// has it then.
    fn must_ask_first(&self) -> bool {
        let has_stages = self.storms.is_some() || self.sleepers.is_some();
        has_stages && self.workload.request_len() > 0
    }

    /// Connection `index` has joined: what was awaited of it has come.
    fn on_joined(&mut self, index: usize, now: u64) {
        let connection = &mut self.connections[index];
        connection.state = State::Open;
        self.pending -= 1;
        match self.run.stats.phase {
            Phase::Storm => self.on_served(index, now),
            Phase::Asleep => self.on_sample_answer(index, now),
            _ => {}
        }
    }

    /// Reads until the socket is empty, at most [`READS_PER_TURN`] times; the resume list has the
    /// connection then.
    fn read(&mut self, index: usize, read_closed: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = &mut self.connections[index].stream else { return };
            let kept = self.tls.as_ref().map(|tls| tls.load_partial(index, &mut self.buffer));
            let space = &mut self.buffer[kept.unwrap_or(0)..];
            match retry_interrupted(|| stream.read(space)) {
                Ok(0) if kept.is_some() => return self.on_wire_end(index, None),
                Ok(0) => return self.fail(index, CLOSED_BY_PEER),
                Ok(len) => {
                    let is_short = len < space.len();
                    self.run.stats.counts.bytes_received += len as u64;
                    match kept {
                        Some(kept) => self.on_wire(index, kept + len),
                        _ if self.ignores_input => {}
                        _ => self.on_read(index, len),
                    }
                    // A short read has emptied the socket, unless the end of file is still to be read.
                    if is_short && !read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if kept.is_some() => return self.on_wire_end(index, Some(&error)),
                Err(error) => return self.fail(index, &socket::errno_name(&error)),
            }
        }
        if !std::mem::replace(&mut self.connections[index].is_resuming, true) {
            self.resume_list.push(index);
        }
    }

    /// Parses `len` bytes of data of connection `index`, at the front of the buffer, and acts on the
    /// replies in them.
    pub(super) fn on_read(&mut self, index: usize, len: usize) {
        let now = self.now();
        let connection = &mut self.connections[index];
        if connection.state == State::Greeting {
            return self.on_greeting(index, len);
        }
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
        // The beginning of an answer, right or wrong, that answers no request.
        let has_begun =
            active.partial_bytes > 0 || matches!(parsed.error, Some(ReplyError::Mismatch(_)));
        if has_begun && parsed.answers >= active.in_flight.sent() {
            return self.on_unrequested(index, len, &parsed);
        }
        if parsed.answers > 0 && !self.on_answers(index, parsed.answers, now) {
            return self.on_unrequested(index, len, &parsed);
        }
        if parsed.deliveries > 0 && !self.on_deliveries(index, parsed.deliveries, now) {
            return self.on_reply_error(index, ReplyError::Unexpected);
        }
        if let Some(error) = parsed.error {
            self.on_reply_error(index, error);
        }
    }

    /// Fails connection `index` for the `len` bytes at the front of the buffer, which are more than the
    /// answers to its requests.
    #[cold]
    fn on_unrequested(&mut self, index: usize, len: usize, parsed: &Parsed) {
        let active = self.connections[index].active_state();
        let has_sent = active.sent > 0;
        let is_more = parsed.answers > 0 && parsed.answers == active.in_flight.sent();
        // Behind the answers that were due, if there are such.
        let begun_at = match &parsed.error {
            Some(_) => parsed.consumed,
            None => len.saturating_sub(active.partial_bytes),
        };
        let from = if is_more { begun_at } else { 0 };
        let error = self.workload.classify_unrequested(&self.buffer[from..len], has_sent);
        self.on_reply_error(index, error);
    }

    /// Records `count` answers of connection `index`, and sends as many requests again in a closed
    /// loop. False if fewer requests were in flight.
    fn on_answers(&mut self, index: usize, count: u32, now: u64) -> bool {
        let connection = &mut self.connections[index];
        let is_joining = connection.state == State::Joining;
        let is_echo = self.mode.pattern() == Pattern::Echo;
        let (stats, storms) = (&mut self.run.stats, &mut self.storms);
        let were_in_flight = connection.active_state().in_flight.complete(count, |at, count| {
            // The one that the connection joins with is no measurement, or has one of its own.
            if is_echo && !is_joining {
                let ns = now.saturating_sub(at);
                stats.record(ns, count);
                if let Some(storms) = storms {
                    storms.record_bystander(at, ns, count);
                }
            }
        });
        if !were_in_flight {
            return false;
        }
        self.unanswered -= u64::from(count);
        if is_joining {
            if is_echo {
                stats.counts.answered += u64::from(count);
                // A million connections may be idle from here on.
                connection.free_if_idle();
            }
            self.on_joined(index, now);
            return true;
        }
        stats.counts.answered += u64::from(count);
        let is_closed_loop = self.mode.load_model() == LoadModel::Closed;
        if is_echo && is_closed_loop && stats.phase == Phase::Traffic && now < self.phase_ends_at {
            self.queue_requests(index, now, count);
        } else {
            self.release_requests(index);
        }
        true
    }

    /// Records `count` deliveries to connection `index`. False if fewer were expected.
    fn on_deliveries(&mut self, index: usize, count: u32, now: u64) -> bool {
        let active = self.connections[index].active_state();
        let received = active.received + u64::from(count);
        if received > self.fanout.published {
            // The connection fails, and what it has not received is no longer expected.
            return false;
        }
        active.received = received;
        self.fanout.undelivered = self.fanout.undelivered.saturating_sub(u64::from(count));
        self.fanout.moved_at = now;
        self.run.stats.counts.deliveries += u64::from(count);
        self.run.stats.record(now.saturating_sub(self.fanout.published_at), count);
        true
    }

    /// Fails connection `index` for a reply; the summary quotes the first refusal.
    fn on_reply_error(&mut self, index: usize, error: ReplyError) {
        match error {
            ReplyError::Refused(text) => {
                self.run.stats.refusal.get_or_insert(text);
                self.fail(index, "EPROTO");
            }
            ReplyError::Unexpected | ReplyError::Mismatch(_) => {
                // A TLS alert, with which a target answers what is not TLS.
                if matches!(*self.buffer, [21, 3, 0..=4, 0, 2, 1 | 2, ..]) {
                    let reason = "the target seems to speak TLS: add +tls to the URL's protocol";
                    self.run.stats.reason.get_or_insert_with(|| reason.to_owned());
                }
                if let ReplyError::Mismatch(reason) = error {
                    self.run.stats.reason.get_or_insert(reason);
                }
                self.fail(index, "EBADMSG");
            }
        }
    }

    /// Sends the unsent bytes of connection `index`, as far as its socket takes them.
    #[inline]
    pub(super) fn flush(&mut self, index: usize) {
        if self.tls.is_some() {
            return self.flush_tls(index);
        }
        let Connection { stream: Some(stream), active: Some(active), .. } =
            &mut self.connections[index]
        else {
            return;
        };
        while active.unsent > 0 {
            let bytes = self.workload.next_bytes(active.sent, active.unsent);
            match retry_interrupted(|| stream.write(bytes)) {
                Ok(sent) => {
                    active.sent += sent as u64;
                    active.unsent -= sent as u64;
                    self.run.stats.counts.bytes_sent += sent as u64;
                    if sent < bytes.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.fail(index, &socket::errno_name(&error)),
            }
        }
    }

    /// Closes connection `index` and counts it as failed or dropped, with an error called `name`.
    #[cold]
    pub(super) fn fail(&mut self, index: usize, name: &str) {
        let now = self.now();
        if self.is_coming_back(index) {
            return self.fail_attempt(index, name, now);
        }
        let is_fanout = self.mode.pattern() == Pattern::Fanout;
        if is_fanout && self.connections[index].state == State::Open {
            self.count_deliveries(index);
        }
        let connection = &mut self.connections[index];
        if connection.state.is_opened() {
            self.run.stats.counts.dropped += 1;
        } else {
            self.run.stats.counts.failed += 1;
        }
        self.pending -= usize::from(connection.state.is_pending());
        let was_open = connection.state == State::Open;
        let was_greeting = connection.state == State::Greeting;
        connection.state = State::Closed;
        connection.stream = None;
        if let Some(tls) = &mut self.tls {
            tls.close(index);
        }
        let active = connection.active.take().unwrap_or_default();
        if was_greeting && !active.partial_reply.is_empty() {
            let text = refusal_text(&active.partial_reply);
            self.run.stats.refusal.get_or_insert(text);
        }
        self.unanswered -= active.in_flight.unanswered();
        self.run.unanswered += active.in_flight.unanswered();
        self.run.unsent += u64::from(active.in_flight.waiting());
        if is_fanout && index != PUBLISHER && was_open {
            let missed = self.fanout.published - active.received;
            self.fanout.undelivered = self.fanout.undelivered.saturating_sub(missed);
        }
        self.run.stats.record_error(name, now);
        if self.run.stats.phase == Phase::Asleep {
            self.on_sample_failure(index);
        }
    }
}
