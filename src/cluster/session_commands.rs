//! The connection for commands, and the answers on it: scripts are loaded, called by their SHA, and
//! loaded again where the engine has forgotten them; what is published is counted. No call is made
//! twice: one that is repeated would come behind those that were sent meanwhile.

use std::collections::VecDeque;

use super::engine_log::EngineLog;
use super::engine_types::{EngineConfig, Script};
use super::resp::{Reply, push_command, push_head, push_part, push_publish};
use super::session::{Failure, Frame, Session, words_of};
use crate::clock::Millis;

/// Most calls that are not answered; renewals have a few more, so that claims do not keep the lease
/// from being renewed.
const CALLS_MAX: usize = 64;
const RENEWALS_MAX: usize = 8;
/// Calls and heartbeats are refused while more bytes than this, beside those of publications, wait to be sent.
pub(super) const CALL_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a command beside its parts, at most.
const FRAMING_BYTES: usize = 64;
/// Longest name of a script that the engine gives.
const SHA_BYTES_MAX: usize = 64;

/// An answer to a call.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) tag: u64,
    pub(super) result: Result<Vec<i64>, String>,
}

/// Requests that are not answered, in order.
enum Pending {
    Publishes(u64),
    Load(Script),
    Call { script: Script, tag: u64 },
}

/// Requests of the connection, and what waits for one.
#[derive(Default)]
pub(super) struct Commands {
    /// Names of the scripts, in the order of [`Script::ALL`], once the engine gave them.
    shas: [Vec<u8>; Script::ALL.len()],
    pending: VecDeque<Pending>,
    calls: usize,
    /// Publish commands that wait for a connection.
    backlog: Vec<u8>,
    backlog_count: u64,
    /// The last answer, or the first request after all were answered.
    progress_at: Millis,
}

impl Commands {
    /// Bytes allocated for what waits for a connection.
    pub(super) fn allocated(&self) -> usize {
        self.backlog.capacity()
    }

    /// Bytes that wait for a connection.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.len()
    }

    /// Asks for all scripts to be loaded.
    pub(super) fn load_scripts(&mut self, session: &mut Session, now: Millis) {
        for script in Script::ALL {
            push_command(session.output.writer(), &[b"SCRIPT", b"LOAD", script.source()]);
            self.push_pending(Pending::Load(script), now);
        }
    }

    /// The connection has ended, and with it what was asked on it.
    pub(super) fn on_lost(&mut self) {
        let (backlog, backlog_count) = (std::mem::take(&mut self.backlog), self.backlog_count);
        *self = Commands { backlog, backlog_count, ..Commands::default() };
    }

    /// Sends what has waited for the connection.
    pub(super) fn send_backlog(&mut self, session: &mut Session, now: Millis) {
        if self.backlog_count > 0 {
            session.output.writer().extend_from_slice(&self.backlog);
            self.backlog = Vec::new();
            let count = std::mem::take(&mut self.backlog_count);
            self.push_publishes(count, now);
        }
    }

    pub(super) fn publish(
        &mut self,
        session: &mut Session,
        channel: &[u8],
        parts: &[&[u8]],
        unsent_bytes_max: usize,
        now: Millis,
    ) -> bool {
        let len = parts.iter().map(|part| part.len()).sum::<usize>() + channel.len();
        let unsent = session.output.len() + self.backlog.len();
        if unsent.saturating_add(len).saturating_add(FRAMING_BYTES) > unsent_bytes_max {
            return false;
        }
        let is_ready = session.is_ready();
        let output = if is_ready { session.output.writer() } else { &mut self.backlog };
        push_publish(output, channel, parts);
        if is_ready {
            self.push_publishes(1, now);
        } else {
            self.backlog_count += 1;
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "a call, and what bounds it")]
    pub(super) fn call(
        &mut self,
        session: &mut Session,
        script: Script,
        keys: &[&[u8]],
        args: &[&[u8]],
        tag: u64,
        unsent_bytes_max: usize,
        now: Millis,
    ) -> bool {
        let most = CALLS_MAX + if script == Script::Renew { RENEWALS_MAX } else { 0 };
        let bytes_max = unsent_bytes_max.saturating_add(CALL_BYTES_MAX);
        if !session.is_ready() || self.calls >= most || session.output.len() > bytes_max {
            return false;
        }
        let output = session.output.writer();
        push_head(output, 3 + keys.len() + args.len());
        push_part(output, b"EVALSHA");
        push_part(output, &self.shas[script as usize]);
        push_part(output, keys.len().to_string().as_bytes());
        keys.iter().chain(args).for_each(|part| push_part(output, part));
        self.calls += 1;
        self.push_pending(Pending::Call { script, tag }, now);
        true
    }

    fn push_publishes(&mut self, count: u64, now: Millis) {
        if let Some(Pending::Publishes(n)) = self.pending.back_mut() {
            *n += count;
        } else {
            self.push_pending(Pending::Publishes(count), now);
        }
    }

    fn push_pending(&mut self, pending: Pending, now: Millis) {
        if self.pending.is_empty() {
            self.progress_at = now;
        }
        self.pending.push_back(pending);
    }

    /// Whether no answer has come for `ms` although one is due.
    pub(super) fn is_stuck(&self, ms: u64, now: Millis) -> bool {
        !self.pending.is_empty() && now.since(self.progress_at) >= ms
    }

    /// Whether all scripts have been loaded.
    pub(super) fn is_set_up(&self) -> bool {
        self.shas.iter().all(|sha| !sha.is_empty())
    }

    /// Takes the answer to the first request that has none.
    pub(super) fn on_reply(
        &mut self,
        session: &mut Session,
        frame: &Frame,
        config: &EngineConfig,
        log: &mut EngineLog,
        now: Millis,
    ) -> Result<Option<Answer>, Failure> {
        if matches!(frame.reply, Reply::Push(_)) {
            return Ok(None);
        }
        self.progress_at = now;
        let error = match &frame.reply {
            Reply::Error(words) => Some(session.input()[words.clone()].to_vec()),
            _ => None,
        };
        if let Some(words) = error.as_deref().and_then(closing_words) {
            return Err(Failure::Refused(words_of(words, config)));
        }
        match self.pending.front_mut() {
            None => Err(Failure::Unexpected("an answer to nothing")),
            Some(Pending::Publishes(n)) => {
                *n -= 1;
                if *n == 0 {
                    self.pending.pop_front();
                }
                match error {
                    Some(words) => log.command_failed("PUBLISH", &words_of(&words, config), now),
                    None => log.command_succeeded(now),
                }
                Ok(None)
            }
            Some(_) => match (self.pending.pop_front(), error) {
                (Some(Pending::Load(_)), Some(words)) => {
                    Err(Failure::Refused(words_of(&words, config)))
                }
                (Some(Pending::Load(script)), None) => {
                    self.on_loaded(session, script, &frame.reply)?;
                    Ok(None)
                }
                (Some(Pending::Call { script, tag }), error) => {
                    self.calls -= 1;
                    if error.as_deref().is_some_and(|words| words.starts_with(b"NOSCRIPT")) {
                        self.load_forgotten(session, now);
                    }
                    let result = match error {
                        Some(words) => {
                            let words = words_of(&words, config);
                            log.command_failed(script.name(), &words, now);
                            Err(words)
                        }
                        None => {
                            log.command_succeeded(now);
                            integers(&frame.reply)
                                .ok_or_else(|| "an answer that is not integers".to_owned())
                        }
                    };
                    Ok(Some(Answer { tag, result }))
                }
                _ => Ok(None),
            },
        }
    }

    fn on_loaded(
        &mut self,
        session: &Session,
        script: Script,
        reply: &Reply,
    ) -> Result<(), Failure> {
        let Reply::Text(sha) = reply else {
            return Err(Failure::Unexpected("no name for a script"));
        };
        let sha = &session.input()[sha.clone()];
        if sha.is_empty() || sha.len() > SHA_BYTES_MAX || !sha.iter().all(u8::is_ascii_graphic) {
            return Err(Failure::Unexpected("an invalid name for a script"));
        }
        self.shas[script as usize] = sha.to_vec();
        Ok(())
    }

    /// The engine does not know a script: it is asked to load them all, once for all calls that were
    /// under way.
    fn load_forgotten(&mut self, session: &mut Session, now: Millis) {
        let is_load = |pending: &Pending| matches!(pending, Pending::Load(_));
        if !session.is_draining() && !self.pending.iter().any(is_load) {
            self.load_scripts(session, now);
        }
    }
}

/// The integers of an answer: one, or a list of them.
fn integers(reply: &Reply) -> Option<Vec<i64>> {
    let integer = |reply: &Reply| match reply {
        Reply::Integer(n) => Some(*n),
        _ => None,
    };
    match reply {
        Reply::List(list) => list.iter().map(integer).collect(),
        one => integer(one).map(|n| vec![n]),
    }
}

/// The words of an error that says that this server is of no use now, whatever is asked. A script's
/// error has that of its command in it.
fn closing_words(words: &[u8]) -> Option<&[u8]> {
    const CODES: [&[u8]; 5] = [b"LOADING", b"READONLY", b"NOAUTH", b"WRONGPASS", b"MASTERDOWN"];
    let is_script = words.starts_with(b"ERR Error running script");
    let mut at = 0;
    for word in words.split(|byte| *byte == b' ') {
        let code = word.strip_prefix(b"-").unwrap_or(word);
        if CODES.contains(&code) {
            return words.get(at + word.len() - code.len()..);
        }
        if !is_script {
            return None;
        }
        at += word.len() + 1;
    }
    None
}
