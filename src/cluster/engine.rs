//! The engine, Redis or Valkey, as a node speaks with it over two connections: what their owner and
//! the node call. A session's handshake is in `session`, what is asked on each connection in
//! `session_commands` and `session_subscriber`.

use std::collections::VecDeque;
use std::fmt;

use super::engine_log::{EngineLog, Phase};
use super::engine_types::{EngineConfig, EngineEvent, Link, Script, Want};
use super::resp::{Message, RespError};
use super::session::{Failure, Frame, Session, Xorshift};
use super::session_commands::{Answer, CALL_BYTES_MAX, Commands};
use super::session_subscriber::Subscriber;
use crate::clock::Millis;

/// A connection is lost if so long it has waited for an answer, or heard nothing, and the other is lost.
const STUCK_MS: u64 = 3_000;

/// An event that waits to be taken.
enum Queued {
    CommandsReady,
    SubscriberReady,
    Lost(Link),
    Answer(Answer),
}

/// The two connections to the engine, sans I/O.
///
/// The owner of the sockets asks [`want`](Self::want) for each connection, reports what it does, and
/// moves bytes. Whoever acts on events calls [`next_event`](Self::next_event) until there is none
/// after each of these; nothing is answered, and no handshake goes on, otherwise.
pub struct Engine {
    config: EngineConfig,
    /// In the order of [`Link::ALL`].
    sessions: [Session; 2],
    commands: Commands,
    subscriber: Subscriber,
    queued: VecDeque<Queued>,
    /// The message that was returned last; it is consumed by the next call of `next_event`.
    current: Option<Message>,
    /// [`EngineEvent::SubscriberReady`] has been returned for the channels there are.
    is_subscriber_announced: bool,
    log: EngineLog,
    random: Xorshift,
    /// Something has happened since [`next_event`](Self::next_event) had nothing to return.
    has_news: bool,
    /// Most bytes of publications that may have been let wait: calls go behind them.
    backlog_bytes_max: usize,
    /// The latest time that was passed in.
    now: Millis,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes of a handshake have the password in them.
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Neither connected yet. `seed` is for the jitter of the pauses between attempts.
    #[must_use]
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        Engine {
            backlog_bytes_max: config.unsent_bytes_max,
            config,
            sessions: Default::default(),
            commands: Commands::default(),
            subscriber: Subscriber::default(),
            queued: VecDeque::new(),
            current: None,
            is_subscriber_announced: false,
            log: EngineLog::default(),
            random: Xorshift::new(seed),
            has_news: false,
            now: Millis(0),
        }
    }

    /// Sets the channels that the subscriber is to hear, of all connections from now on and of the
    /// one there is.
    pub fn set_channels(&mut self, channels: Vec<Vec<u8>>) {
        self.subscriber.set_wanted(channels);
        let session = &mut self.sessions[Link::Subscriber as usize];
        if session.is_connected() && !session.is_in_handshake() {
            self.subscriber.synchronize(session);
        }
        if !self.subscriber.is_complete() {
            self.is_subscriber_announced = false;
        }
    }

    /// Sets the login of connections from now on. Returns whether it is another.
    pub fn set_login(&mut self, username: String, password: Vec<u8>) -> bool {
        let is_other = (&self.config.username, &self.config.password) != (&username, &password);
        (self.config.username, self.config.password) = (username, password);
        is_other
    }

    /// Sets the bounds of what waits to be published and of messages that are heard, from now on.
    pub fn set_bounds(&mut self, unsent_bytes_max: usize, message_bytes_max: usize) {
        self.config.unsent_bytes_max = unsent_bytes_max;
        self.config.message_bytes_max = message_bytes_max;
        self.backlog_bytes_max = self.backlog_bytes_max.max(unsent_bytes_max);
    }

    /// The next action of a connection's owner.
    pub fn want(&mut self, link: Link, now: Millis) -> Want {
        self.set_now(now);
        if self.sessions[link as usize].is_overdue(now) {
            self.end(link, &Failure::TimedOut, false);
            self.doubt(link.other(), now);
        }
        self.sessions[link as usize].want(&mut self.random, now)
    }

    /// The owner has begun to connect.
    pub fn on_connecting(&mut self, link: Link, now: Millis) {
        self.set_now(now);
        self.forget(link);
        self.sessions[link as usize].on_connecting(now);
    }

    /// There is a connection, with TLS where that is asked for: the handshake begins.
    pub fn on_connected(&mut self, link: Link, now: Millis) {
        self.set_now(now);
        self.has_news = true;
        self.forget(link);
        self.sessions[link as usize].on_connected(&self.config, now);
    }

    /// The attempt to connect has failed, or the connection has ended.
    pub fn on_failed(&mut self, link: Link, reason: impl fmt::Display, now: Millis) {
        self.set_now(now);
        self.end(link, &Failure::Socket(reason.to_string()), true);
    }

    /// Bytes have come.
    pub fn on_bytes(&mut self, link: Link, bytes: &[u8], now: Millis) {
        self.set_now(now);
        self.has_news = true;
        self.sessions[link as usize].on_bytes(bytes, now);
    }

    /// Whether [`next_event`](Self::next_event) may have something to return: it is to be called
    /// until it has not.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// Whether bytes are to be read: not while there are some that no event was made of.
    #[must_use]
    pub fn may_read(&self, link: Link) -> bool {
        self.sessions[link as usize].may_read()
    }

    /// Bytes to write.
    #[must_use]
    pub fn unsent(&self, link: Link) -> &[u8] {
        let session = &self.sessions[link as usize];
        if session.is_connected() { session.output.as_slice() } else { &[] }
    }

    /// `n` bytes of [`unsent`](Self::unsent) were written.
    pub fn on_sent(&mut self, link: Link, n: usize) {
        self.sessions[link as usize].output.consume(n);
    }

    /// When [`want`](Self::want) is to be asked at the latest; perhaps in the past.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        Millis::earliest([self.sessions[0].next_due(), self.sessions[1].next_due()])
    }

    /// Bytes that wait to be sent on the connection for commands, or for that connection.
    #[must_use]
    pub fn unpublished_bytes(&self) -> usize {
        self.unsent(Link::Commands).len() + self.commands.backlog_bytes()
    }

    /// Bytes allocated for what waits on both connections, or for one.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.sessions.iter().map(Session::allocated).sum::<usize>() + self.commands.allocated()
    }

    /// Whether a connection does what it is for.
    #[must_use]
    pub fn is_ready(&self, link: Link) -> bool {
        let is_complete = link == Link::Commands || self.subscriber.is_complete();
        self.sessions[link as usize].is_ready() && is_complete
    }

    /// Publishes a message, whose payload is in parts. While there is no connection it waits for
    /// one. Returns whether it fits beside what waits; if not, it is dropped.
    pub fn publish(&mut self, channel: &[u8], parts: &[&[u8]]) -> bool {
        self.publish_within(self.config.unsent_bytes_max, channel, parts)
    }

    /// The same of a heartbeat, which has space of its own.
    pub fn publish_heartbeat(&mut self, channel: &[u8], payload: &[u8]) -> bool {
        let unsent_bytes_max = self.config.unsent_bytes_max.saturating_add(CALL_BYTES_MAX);
        self.publish_within(unsent_bytes_max, channel, &[payload])
    }

    fn publish_within(&mut self, unsent_bytes_max: usize, channel: &[u8], parts: &[&[u8]]) -> bool {
        let session = &mut self.sessions[Link::Commands as usize];
        self.commands.publish(session, channel, parts, unsent_bytes_max, self.now)
    }

    /// Calls a script; its answer has the `tag`. Returns false if the connection for commands is not
    /// ready, or has many calls without an answer: then it is to be called again when one comes.
    pub fn call(&mut self, script: Script, keys: &[&[u8]], args: &[&[u8]], tag: u64) -> bool {
        let session = &mut self.sessions[Link::Commands as usize];
        self.commands.call(session, script, keys, args, tag, self.backlog_bytes_max, self.now)
    }

    /// The next event, in the order in which they came. The message returned before is gone with
    /// this call.
    pub fn next_event(&mut self, now: Millis) -> Option<EngineEvent<'_>> {
        self.set_now(now);
        if let Some(message) = self.current.take() {
            self.sessions[Link::Subscriber as usize].consume(message.frame_len);
        }
        if let Some(event) = self.advance() {
            return Some(event.into());
        }
        let Some(message) = &self.current else {
            self.has_news = false;
            return None;
        };
        let input = self.sessions[Link::Subscriber as usize].input();
        let (channel, payload) = (&input[message.channel.clone()], &input[message.payload.clone()]);
        Some(EngineEvent::Message { channel, payload })
    }

    /// The node has not heard its own heartbeat for 3 s. The subscriber is closed, and the
    /// connection for commands as well if no answer has come for that long although one is due.
    /// While nothing can be published there is nothing to hear, and all stays as it is; so it does while
    /// the heartbeat may be behind what is yet to be sent, as long as others are heard.
    pub fn on_deaf(&mut self, now: Millis) {
        self.set_now(now);
        if !self.sessions[Link::Commands as usize].is_ready() {
            return;
        }
        if self.commands.is_stuck(STUCK_MS, now) {
            self.end(Link::Commands, &Failure::Deaf, false);
        }
        let is_behind = !self.sessions[Link::Commands as usize].output.is_empty();
        let subscriber = &self.sessions[Link::Subscriber as usize];
        let hears_others = subscriber.silent_ms(now) < STUCK_MS;
        if subscriber.is_ready() && !(is_behind && hears_others) {
            self.end(Link::Subscriber, &Failure::Deaf, false);
        }
    }

    /// Nobody has answered on the other connection, as where a firewall has forgotten both. This one is
    /// closed as well if it is silent. (A subscriber that is there hears at least the other nodes.)
    fn doubt(&mut self, link: Link, now: Millis) {
        let session = &self.sessions[link as usize];
        let is_silent = match link {
            Link::Commands => self.commands.is_stuck(STUCK_MS, now),
            Link::Subscriber => session.silent_ms(now) >= STUCK_MS,
        };
        if session.is_ready() && is_silent {
            self.end(link, &Failure::TimedOut, false);
        }
    }

    /// Goes on with what has come, up to an event, which it returns, or a message, which is then
    /// the current one.
    fn advance(&mut self) -> Option<Queued> {
        loop {
            if let Some(event) = self.queued.pop_front() {
                return Some(event);
            }
            if !self.advance_link(Link::Commands)
                && (!self.advance_link(Link::Subscriber) || self.current.is_some())
            {
                return None;
            }
        }
    }

    /// Takes a frame; says whether there was one, or the end of what came on an ended connection.
    fn advance_link(&mut self, link: Link) -> bool {
        let session = &mut self.sessions[link as usize];
        if link == Link::Subscriber
            && let Some(message) = session.next_message(self.config.message_bytes_max)
        {
            if self.subscriber.is_wanted(session, &message) {
                self.current = Some(message);
            } else {
                session.consume(message.frame_len);
            }
            self.announce_subscriber();
            return true;
        }
        match session.next_frame(self.config.message_bytes_max) {
            Ok(Some(frame)) => {
                let result = match link {
                    _ if session.is_in_handshake() => self.on_handshake(link, &frame),
                    Link::Commands => self.on_command_reply(&frame),
                    Link::Subscriber => self.on_subscriber_frame(&frame),
                };
                match result {
                    Ok(()) if self.current.is_some() => {}
                    Ok(()) => self.sessions[link as usize].consume(frame.len),
                    Err(failure) => self.fail(link, &failure),
                }
                true
            }
            Ok(None) if session.is_draining() => {
                self.forget(link);
                true
            }
            Ok(None) => false,
            // The next number of its stream says what was missed.
            Err(RespError::Size) if link == Link::Subscriber && session.skip_message() => true,
            Err(error) => {
                self.fail(link, &Failure::Malformed(error));
                true
            }
        }
    }

    fn on_handshake(&mut self, link: Link, frame: &Frame) -> Result<(), Failure> {
        let session = &mut self.sessions[link as usize];
        if session.on_step(link, frame, &self.config)? {
            match link {
                Link::Commands => self.commands.load_scripts(session, self.now),
                Link::Subscriber => {
                    self.subscriber.synchronize(session);
                    self.announce_subscriber();
                }
            }
        }
        Ok(())
    }

    fn on_command_reply(&mut self, frame: &Frame) -> Result<(), Failure> {
        let (session, now) = (&mut self.sessions[Link::Commands as usize], self.now);
        let answer = self.commands.on_reply(session, frame, &self.config, &mut self.log, now)?;
        self.queued.extend(answer.map(Queued::Answer));
        if session.is_connected() && !session.is_ready() && self.commands.is_set_up() {
            session.on_ready(now);
            self.commands.send_backlog(session, now);
            self.sessions[Link::Subscriber as usize].end_pause(now);
            self.queued.push_back(Queued::CommandsReady);
            self.log_if_well();
        }
        Ok(())
    }

    fn on_subscriber_frame(&mut self, frame: &Frame) -> Result<(), Failure> {
        let session = &self.sessions[Link::Subscriber as usize];
        self.current = self.subscriber.on_frame(session, frame, &self.config)?;
        self.announce_subscriber();
        Ok(())
    }

    fn announce_subscriber(&mut self) {
        let session = &mut self.sessions[Link::Subscriber as usize];
        let is_due = !self.is_subscriber_announced && session.is_connected();
        if is_due && self.subscriber.is_complete() {
            if !session.is_ready() {
                session.on_ready(self.now);
            }
            self.is_subscriber_announced = true;
            self.sessions[Link::Commands as usize].end_pause(self.now);
            self.queued.push_back(Queued::SubscriberReady);
            self.log_if_well();
        }
    }

    fn log_if_well(&mut self) {
        if Link::ALL.iter().all(|link| self.is_ready(*link)) {
            self.log.well(self.now);
        }
    }

    /// Something is wrong with what came on a connection, which may have ended already.
    fn fail(&mut self, link: Link, failure: &Failure) {
        if self.sessions[link as usize].is_draining() {
            self.forget(link);
        } else {
            self.end(link, failure, false);
        }
    }

    /// Ends a connection or an attempt; its owner knows where `is_closed`.
    fn end(&mut self, link: Link, failure: &Failure, is_closed: bool) {
        self.has_news = true;
        let session = &mut self.sessions[link as usize];
        if !session.is_begun() {
            return;
        }
        let was_ready = session.is_ready();
        if !session.is_closing() {
            let phase = match () {
                () if was_ready => Phase::Ready,
                () if session.is_connecting() => Phase::Connecting,
                () => Phase::Handshake,
            };
            self.log.lost(&self.config.url, phase, failure, self.now);
        }
        session.end(is_closed, &mut self.random, self.now);
        if !session.is_draining() {
            self.on_ended(link, was_ready);
        }
    }

    /// Drops what a connection has left, if there was one that its owner or the engine has ended.
    fn forget(&mut self, link: Link) {
        let session = &mut self.sessions[link as usize];
        let was_ready = session.is_ready() || session.is_draining();
        if session.is_draining() {
            session.on_drained();
        }
        self.on_ended(link, was_ready);
    }

    fn on_ended(&mut self, link: Link, was_ready: bool) {
        match link {
            Link::Commands => self.commands.on_lost(),
            Link::Subscriber => {
                self.subscriber.on_lost();
                self.current = None;
                self.is_subscriber_announced = false;
            }
        }
        if was_ready {
            self.queued.push_back(Queued::Lost(link));
        }
    }

    fn set_now(&mut self, now: Millis) {
        self.now = self.now.max(now);
    }
}

impl From<Queued> for EngineEvent<'_> {
    fn from(event: Queued) -> Self {
        match event {
            Queued::CommandsReady => EngineEvent::CommandsReady,
            Queued::SubscriberReady => EngineEvent::SubscriberReady,
            Queued::Lost(link) => EngineEvent::Lost(link),
            Queued::Answer(Answer { tag, result }) => EngineEvent::Answer { tag, result },
        }
    }
}
