//! Moves the bytes of an [`Engine`] over Unix sockets, for tests of it against a real server.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use mynah::internal::clock::Millis;
use mynah::internal::cluster::scripts::ScriptCall;
use mynah::internal::cluster::{Engine, EngineConfig, EngineEvent, Link, Want};

use crate::support::PATIENCE;

/// An event, kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    CommandsReady,
    SubscriberReady,
    Lost(Link),
    Message(Vec<u8>, Vec<u8>),
    Answer(u64, Result<Vec<i64>, String>),
}

/// Keeps an event.
pub(crate) fn keep(event: EngineEvent<'_>) -> Event {
    match event {
        EngineEvent::CommandsReady => Event::CommandsReady,
        EngineEvent::SubscriberReady => Event::SubscriberReady,
        EngineEvent::Lost(link) => Event::Lost(link),
        EngineEvent::Message { channel, payload } => {
            Event::Message(channel.to_vec(), payload.to_vec())
        }
        EngineEvent::Answer { tag, result } => Event::Answer(tag, result),
    }
}

/// An engine's client with its sockets.
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    path: String,
    streams: [Option<UnixStream>; 2],
    started_at: Instant,
    /// What has happened and was not taken.
    pub(crate) events: Vec<Event>,
    /// Whether the subscriber's socket is read.
    pub(crate) reads_subscriber: bool,
}

/// A configuration of nobody in particular.
pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        url: "redis://engine".to_owned(),
        username: String::new(),
        password: Vec::new(),
        database: 0,
        client_name: "a node".to_owned(),
        unsent_bytes_max: 128 * 1024 * 1024,
        message_bytes_max: 1024 * 1024,
    }
}

impl Driver {
    pub(crate) fn new(path: &str, config: EngineConfig, channels: &[&str]) -> Driver {
        let mut engine = Engine::new(config, 7);
        engine.set_channels(channels.iter().map(|name| name.as_bytes().to_vec()).collect());
        let (path, started_at) = (path.to_owned(), Instant::now());
        let streams = [None, None];
        Driver { engine, path, streams, started_at, events: Vec::new(), reads_subscriber: true }
    }

    /// Connects elsewhere from now on.
    pub(crate) fn set_path(&mut self, path: &str) {
        path.clone_into(&mut self.path);
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(u64::try_from(self.started_at.elapsed().as_millis()).unwrap())
    }

    /// Does once what there is to do.
    pub(crate) fn turn(&mut self) {
        for link in Link::ALL {
            self.connect(link);
            self.read(link);
            self.take_events();
            self.write(link);
        }
    }

    fn connect(&mut self, link: Link) {
        let now = self.now();
        match self.engine.want(link, now) {
            Want::Nothing => {}
            Want::Close => self.streams[link as usize] = None,
            Want::Connect => {
                self.engine.on_connecting(link, now);
                match UnixStream::connect(&self.path) {
                    Ok(stream) => {
                        stream.set_nonblocking(true).unwrap();
                        self.streams[link as usize] = Some(stream);
                        self.engine.on_connected(link, now);
                    }
                    Err(error) => self.engine.on_failed(link, error, now),
                }
            }
        }
    }

    fn read(&mut self, link: Link) {
        let now = self.now();
        let is_read = link == Link::Commands || self.reads_subscriber;
        let Some(stream) = self.streams[link as usize].as_mut().filter(|_| is_read) else { return };
        if !self.engine.may_read(link) {
            return;
        }
        let mut chunk = [0; 64 * 1024];
        match stream.read(&mut chunk) {
            Ok(n @ 1..) => self.engine.on_bytes(link, &chunk[..n], now),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            ended => {
                self.streams[link as usize] = None;
                let reason = ended.map_or_else(|e| e.to_string(), |_| "connection closed".into());
                self.engine.on_failed(link, reason, now);
            }
        }
    }

    fn write(&mut self, link: Link) {
        let now = self.now();
        let Some(stream) = &mut self.streams[link as usize] else { return };
        while !self.engine.unsent(link).is_empty() {
            match stream.write(self.engine.unsent(link)) {
                Ok(n) => self.engine.on_sent(link, n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.streams[link as usize] = None;
                    return self.engine.on_failed(link, error, now);
                }
            }
        }
    }

    fn take_events(&mut self) {
        let now = self.now();
        while let Some(event) = self.engine.next_event(now) {
            self.events.push(keep(event));
        }
    }

    /// Goes on until a condition holds.
    #[track_caller]
    pub(crate) fn run_until(&mut self, what: &str, condition: impl FnMut(&mut Driver) -> bool) {
        self.run_within(PATIENCE, what, condition);
    }

    /// Goes on until a condition holds, for so long at most.
    #[track_caller]
    pub(crate) fn run_within(
        &mut self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&mut Driver) -> bool,
    ) {
        let started_at = Instant::now();
        loop {
            self.turn();
            if condition(self) {
                return;
            }
            assert!(started_at.elapsed() < limit, "waited in vain: {what}; {}", self.last_events());
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// The last few events, shortened.
    fn last_events(&self) -> String {
        let first = self.events.len().saturating_sub(8);
        let shorten = |event: &Event| match event {
            Event::Message(channel, payload) => {
                let payload = payload.get(..32).unwrap_or(payload);
                format!("{}: {}", channel.escape_ascii(), payload.escape_ascii())
            }
            other => format!("{other:?}"),
        };
        self.events[first..].iter().map(shorten).collect::<Vec<_>>().join(", ")
    }

    /// Goes on until an event comes, and removes it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, event: &Event) {
        self.run_until(&format!("{event:?}"), |driver| {
            let found = driver.events.iter().position(|seen| seen == event);
            found.map(|at| driver.events.remove(at)).is_some()
        });
    }

    /// Goes on until both connections are ready, and forgets all events.
    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self) {
        self.run_until("both connections are ready", |driver| driver.is_ready());
        self.events.clear();
    }

    pub(crate) fn is_ready(&self) -> bool {
        Link::ALL.iter().all(|link| self.engine.is_ready(*link))
    }

    /// Calls a script, and waits for the answer.
    #[track_caller]
    pub(crate) fn call(&mut self, call: &ScriptCall) -> Result<Vec<i64>, String> {
        assert!(self.start_call(call, u64::MAX), "the call is taken");
        let mut answer = None;
        self.run_until("an answer", |driver| {
            driver.events.retain_mut(|event| match event {
                Event::Answer(u64::MAX, result) => {
                    answer = Some(result.clone());
                    false
                }
                _ => true,
            });
            answer.is_some()
        });
        answer.unwrap()
    }

    /// Calls a script.
    pub(crate) fn start_call(&mut self, call: &ScriptCall, tag: u64) -> bool {
        let keys: Vec<&[u8]> = call.keys.iter().map(Vec::as_slice).collect();
        let args: Vec<&[u8]> = call.args.iter().map(Vec::as_slice).collect();
        self.engine.call(call.script, &keys, &args, tag)
    }

    /// Publishes, and waits until it is heard.
    #[track_caller]
    pub(crate) fn hears_itself(&mut self, channel: &str, payload: &str) {
        assert!(self.engine.publish(channel.as_bytes(), &[payload.as_bytes()]));
        self.wait_for(&Event::Message(channel.into(), payload.into()));
    }
}
