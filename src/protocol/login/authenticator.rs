//! Attempts under way and their outcomes, by connection.
//!
//! An attempt is deferred while its password is hashed: [`attempt`] submits a job and returns
//! [`Flow::WaitForLogin`], the message stays where it is, and its connection is not read from. When
//! the result has come the message is looked at again, and answered with the outcome.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::attempt::Attempt;
use super::backend::Backend;
use super::job::{Job, JobResult, Outcome};
use super::logged_in::{LoggedIn, LoginKey};
use super::messages::Refusal;
use super::password::Password;
use super::throttle::Throttle;
use crate::address::{AddressKey, Peer};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::connection_log::ConnectionLog;
use crate::protocol::nickname::Nickname;
use crate::protocol::{CloseReason, Context, Flow, PeerAddr};
use crate::stats::Stats;

/// The accounts of a server, and the attempts of its connections.
#[derive(Debug)]
pub struct Authenticator {
    backend: Box<dyn Backend>,
    allows_registration: bool,
    throttle: Throttle<AddressKey>,
    /// By [`ConnId::to_bits`]. A connection has one at most: it is not read from meanwhile.
    attempts: HashMap<u64, State>,
    /// Attempts in state [`State::Pending`].
    pending: usize,
    /// Connections whose outcomes have come since the server last looked.
    finished: VecDeque<Finished>,
    logged_in: LoggedIn,
}

/// State of a connection's attempt.
#[derive(Debug)]
enum State {
    /// Submitted, and the connection waits.
    Pending { since: Millis, peer: Peer },
    /// In work when its connection went: the result will still come, and a failure be charged.
    Abandoned { peer: Peer },
    /// The outcome, until the message is answered with it.
    Done(Outcome),
}

/// A connection whose attempt has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The connection.
    pub id: ConnId,
    /// How long it was not read from, in milliseconds.
    pub waited_ms: u64,
}

impl Authenticator {
    /// An authenticator over `backend`. `allows_registration`: clients may add accounts.
    #[must_use]
    pub fn new(backend: Box<dyn Backend>, allows_registration: bool) -> Self {
        Authenticator {
            backend,
            allows_registration,
            throttle: Throttle::default(),
            attempts: HashMap::new(),
            pending: 0,
            finished: VecDeque::new(),
            logged_in: LoggedIn::default(),
        }
    }

    /// Sets whether clients may add accounts.
    pub fn set_allows_registration(&mut self, allows_registration: bool) {
        self.allows_registration = allows_registration;
    }

    /// Has other accounts take the place of those there are. Attempts under way are tried again with
    /// them.
    pub fn replace_backend(&mut self, backend: Box<dyn Backend>, now: Millis) {
        std::mem::replace(&mut self.backend, backend).retire();
        for (bits, state) in self.attempts.extract_if(|_, state| !matches!(state, State::Done(_))) {
            if let State::Pending { since, .. } = state {
                let id = ConnId::from_bits(bits);
                self.pending -= 1;
                self.finished.push_back(Finished { id, waited_ms: now.since(since) });
            }
        }
    }

    /// Whether an account's name is the same as this one: equal, or confusable.
    #[must_use]
    pub fn is_taken(&self, name: &Nickname<'_>) -> bool {
        self.backend.is_taken(name)
    }

    /// Whether there is an account whose name equals `name`.
    #[must_use]
    pub fn has_account(&self, name: &str) -> bool {
        self.backend.find(name).is_some()
    }

    /// Whether any connection waits for its outcome.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// Whether a connection waits for its outcome, or has not been told that it has come.
    #[must_use]
    pub fn is_awaited(&self, id: ConnId) -> bool {
        matches!(self.attempts.get(&id.to_bits()), Some(State::Pending { .. }))
            || self.finished.iter().any(|finished| finished.id == id)
    }

    /// Whether a connection has an attempt under way, or an outcome that it has not been told.
    #[must_use]
    pub(super) fn has_attempt(&self, id: ConnId) -> bool {
        self.attempts.contains_key(&id.to_bits())
    }

    /// Whether connections can go on: see [`next_finished`](Self::next_finished).
    #[must_use]
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// A connection whose outcome has come, each once.
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// Takes the results that have come, and charges failures to their addresses.
    pub fn take_results(&mut self, now: Millis, stats: &mut Stats, log: &mut ConnectionLog) {
        if self.attempts.is_empty() {
            return;
        }
        for JobResult { id: bits, address, outcome } in self.backend.take_results() {
            let id = ConnId::from_bits(bits);
            let (peer, since) = match self.attempts.remove(&bits) {
                Some(State::Pending { since, peer }) => (peer, Some(since)),
                Some(State::Abandoned { peer }) => (peer, None),
                Some(State::Done(_)) | None => continue,
            };
            match &outcome {
                Outcome::LoginFailed => {
                    self.throttle.record_failure(address, now);
                    stats.login_failures_total += 1;
                    log.line(now, || format!("{id} {peer} login failed"));
                }
                Outcome::Registered(name) => {
                    log.line(now, || format!("{id} {peer} registered {name}"));
                }
                Outcome::RegistrationFailed(reason) => log.registration_failed(now, id, reason),
                Outcome::LoggedIn(_) | Outcome::Taken | Outcome::Full => {}
            }
            if let Some(since) = since {
                self.pending -= 1;
                self.attempts.insert(bits, State::Done(outcome));
                self.finished.push_back(Finished { id, waited_ms: now.since(since) });
            }
        }
    }

    /// A connection has gone: what it attempted reaches nobody.
    pub fn disconnect(&mut self, id: ConnId) {
        let bits = id.to_bits();
        if let Some(State::Pending { peer, .. }) = self.attempts.remove(&bits) {
            self.pending -= 1;
            if !self.backend.cancel(bits) {
                self.attempts.insert(bits, State::Abandoned { peer });
            }
        }
        self.finished.retain(|finished| finished.id != id);
    }

    /// A connection of `command` is logged in under `name`.
    pub(in crate::protocol) fn log_in(&mut self, name: Arc<str>) -> LoginKey {
        self.logged_in.add(name)
    }

    /// One that was has gone.
    pub(in crate::protocol) fn log_out(&mut self, key: LoginKey) {
        self.logged_in.remove(key);
    }

    /// The name that belongs to a key of a connection of `command`.
    #[must_use]
    pub fn name(&self, key: LoginKey) -> Option<&Arc<str>> {
        self.logged_in.get(key)
    }

    /// The message of an attempt has been answered.
    pub(in crate::protocol) fn finish(&mut self, id: ConnId) {
        self.attempts.remove(&id.to_bits());
    }

    /// The keys of `command` logins, with the connections each is counted for.
    pub fn login_counts(&self) -> impl Iterator<Item = (LoginKey, u32)> {
        self.logged_in.counts()
    }

    /// The connections that wait for an outcome, or have one and have not been answered.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        let live =
            self.attempts.iter().filter(|(_, state)| !matches!(state, State::Abandoned { .. }));
        live.map(|(bits, _)| ConnId::from_bits(*bits))
    }
}

/// Why a message is not answered with a login.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Rejected<'a> {
    /// The answer says why.
    Refused(Refusal<'a>),
    /// There is no answer yet: what to do with the message.
    Deferred(Flow),
}

impl<'a> From<Refusal<'a>> for Rejected<'a> {
    fn from(refusal: Refusal<'a>) -> Self {
        Rejected::Refused(refusal)
    }
}

/// Attempts to log in or to register, for the message at hand. Called again for the same message
/// until it is answered; a name has to be taken into use, and
/// [`finish`](Authenticator::finish) called then.
pub(in crate::protocol) fn attempt<'a>(
    attempt: Attempt,
    credentials: Result<(Nickname<'a>, Password), Refusal<'a>>,
    ctx: &mut Context<'_>,
) -> Result<Arc<str>, Rejected<'a>> {
    let result = try_attempt(attempt, credentials, ctx);
    let (id, shared) = (ctx.id, &mut *ctx.shared);
    if let (Err(Rejected::Refused(refusal)), Some(accounts)) = (&result, &mut shared.accounts) {
        accounts.finish(id);
        if *refusal != Refusal::LoginFailed {
            shared.stats.server.logins_refused_total += 1;
        }
    }
    result
}

fn try_attempt<'a>(
    attempt: Attempt,
    credentials: Result<(Nickname<'a>, Password), Refusal<'a>>,
    ctx: &mut Context<'_>,
) -> Result<Arc<str>, Rejected<'a>> {
    let shared = &mut *ctx.shared;
    let Some(accounts) = &mut shared.accounts else { return Err(Refusal::LoginFailed.into()) };
    if attempt == Attempt::Register && !accounts.allows_registration {
        return Err(Refusal::RegistrationClosed.into());
    }
    let (name, password) = credentials?;
    match accounts.attempts.get(&ctx.id.to_bits()) {
        Some(State::Done(outcome)) => {
            return match outcome {
                // A reload may have deleted it.
                Outcome::LoggedIn(known) | Outcome::Registered(known)
                    if accounts.has_account(known) =>
                {
                    Ok(Arc::clone(known))
                }
                Outcome::LoggedIn(_) | Outcome::LoginFailed => Err(Refusal::LoginFailed.into()),
                Outcome::Taken => Err(Refusal::Taken(name.text()).into()),
                Outcome::Full => Err(Refusal::RegistrationClosed.into()),
                Outcome::Registered(_) | Outcome::RegistrationFailed(_) => {
                    Err(Refusal::RegistrationFailed.into())
                }
            };
        }
        Some(_) => return Err(Rejected::Deferred(Flow::WaitForLogin)),
        None => {}
    }
    let peer = match ctx.peer {
        PeerAddr::Known(Some(peer)) => peer,
        PeerAddr::Known(None) => {
            return Err(Rejected::Deferred(Flow::Close(CloseReason::Io)));
        }
        PeerAddr::Unknown => return Err(Rejected::Deferred(Flow::NeedPeerAddr)),
    };
    let address = AddressKey::from(peer);
    // The address's last attempt may have just failed.
    let now = shared.now;
    accounts.take_results(now, &mut shared.stats.server, &mut shared.connection_log);
    if let Err(secs) = accounts.throttle.check(address, now) {
        return Err(Refusal::TooManyAttempts { secs }.into());
    }
    if attempt == Attempt::Register && accounts.is_taken(&name) {
        return Err(Refusal::Taken(name.text()).into());
    }
    let id = ctx.id.to_bits();
    let job = Job { id, address, attempt, name: name.text().into(), password };
    if accounts.backend.submit(job).is_err() {
        return Err(Refusal::Busy.into());
    }
    accounts.attempts.insert(id, State::Pending { since: now, peer });
    accounts.pending += 1;
    Err(Rejected::Deferred(Flow::WaitForLogin))
}
