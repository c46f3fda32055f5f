//! A room in which anything is said in any order: its books agree, nicknames are those the slow
//! rules allow, everyone hears whole lines that only the server could have begun so, and when all
//! have left nothing is left.

use std::collections::BTreeSet;

use mynah::internal::buffer::Pieces;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{CHAT_LOG_BYTES_MIN, Limits, VISIT_BYTES_MAX};
use mynah::internal::memory::MemoryAccount;
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{
    ChatProtocol, CloseReason, Context, Departure, DirectMessages, Flow, Handler, Protocol,
};
use mynah::internal::session::Session;

use super::listener::Listener;
use super::nicknames;

const CLIENTS: usize = 6;

/// Other beginnings of the server's lines. Anything may follow.
const OWN_STARTS: [&str; 6] = ["[ERROR] ", "[PM] ", "[ЛС] ", "Online: ", "В сети: ", "/"];

/// Takes fuzzer input for a language and operations, and runs them.
///
/// # Panics
///
/// When a book does not agree, or a line is forged.
pub fn run(data: &[u8]) {
    let Some((&lang, ops)) = data.split_first() else { return };
    let mut world = World::new(if lang & 1 == 0 { Lang::En } else { Lang::Ru });
    let mut rest = ops;
    while let Some((&op, after)) = rest.split_first() {
        rest = world.step(op, after);
        world.check();
    }
    world.everyone_leaves();
}

struct World {
    listener: Listener,
    memory: MemoryAccount,
    sessions: [Option<Session>; CLIENTS],
    generation: u32,
    /// Every nickname somebody has been welcomed under.
    nicks: BTreeSet<String>,
}

impl World {
    fn new(lang: Lang) -> Self {
        World {
            listener: Listener::new(
                ChatProtocol::new(lang).into(),
                Limits::default(),
                CHAT_LOG_BYTES_MIN,
            ),
            memory: MemoryAccount::new(usize::MAX),
            sessions: [const { None }; CLIENTS],
            generation: 0,
            nicks: BTreeSet::new(),
        }
    }

    /// One operation: three bits say which, five who. Returns what is left of the input.
    fn step<'a>(&mut self, op: u8, rest: &'a [u8]) -> &'a [u8] {
        let who = usize::from(op >> 3) % CLIENTS;
        let (len, rest) = rest.split_first().map_or((0, rest), |(len, rest)| (*len, rest));
        let (bytes, after) = rest.split_at(rest.len().min(usize::from(len)));
        match op & 7 {
            0 => self.connect(who),
            1 | 2 => self.say(who, bytes),
            // A line, so that the fuzzer need not end it.
            3 => self.say(who, &[bytes, b"\n"].concat()),
            // A long one.
            4 => {
                self.say(who, &[bytes.repeat(1 + 3_000 / bytes.len().max(1)), vec![b'\n']].concat())
            }
            5 => self.fan_out(),
            6 => self.fall_silent(who),
            _ => self.leave(who, len & 1 == 0),
        }
        after
    }

    fn connect(&mut self, who: usize) {
        if self.sessions[who].is_none() {
            self.generation += 1;
            let session = self.listener.session(self.generation, Millis(0));
            self.sessions[who] = Some(session);
            self.listener.room.members += 1;
        }
    }

    fn say(&mut self, who: usize, bytes: &[u8]) {
        let ready = |session: &Session| !session.has_deferred_input();
        if !bytes.is_empty() && self.sessions[who].as_ref().is_some_and(ready) {
            self.call(who, |session, protocol, ctx| session.on_bytes(protocol, bytes, false, ctx));
        }
    }

    fn fall_silent(&mut self, who: usize) {
        let has_unterminated = |s: &Session| s.has_unterminated(&self.listener.protocol, false);
        if self.sessions[who].as_ref().is_some_and(has_unterminated) {
            self.call(who, |session, protocol, ctx| session.end_message(protocol, ctx));
        }
    }

    /// Calls a session as the server does, and does what comes of it.
    fn call(
        &mut self,
        who: usize,
        call: impl FnOnce(&mut Session, &mut Protocol, &mut Context<'_>) -> Flow,
    ) {
        let Some(session) = &mut self.sessions[who] else { return };
        let (mut out, id) = (Vec::new(), id(who, session));
        let flow = self.listener.call(id, &mut out, VISIT_BYTES_MAX, Millis(0), |protocol, ctx| {
            call(session, protocol, ctx)
        });
        let direct = std::mem::take(&mut self.listener.shared.direct);
        self.flush(who, &out);
        self.deliver(&direct);
        match flow {
            Flow::Continue => self.resume(who),
            Flow::WaitForFanout => assert!(
                self.listener.room.log.head() > self.listener.room.log.offered(),
                "waits in vain"
            ),
            Flow::Close(_) => self.leave(who, false),
            flow => unreachable!("nobody asks plugins, there are no rates: {flow:?}"),
        }
    }

    /// Input the visit had no time for.
    fn resume(&mut self, who: usize) {
        if self.sessions[who].as_ref().is_some_and(Session::has_deferred_input) {
            self.call(who, |session, protocol, ctx| session.on_resume(protocol, ctx));
        }
    }

    /// The client takes all it is to be sent.
    fn flush(&mut self, who: usize, out: &[u8]) {
        let Some(session) = &mut self.sessions[who] else { return };
        assert!(
            session.lag(&self.listener.room.log) == 0 || session.client().member().is_some(),
            "no member"
        );
        let (mut heard, mut sent) = (Vec::new(), 0);
        loop {
            let mut pieces = Pieces::new(1 << 20);
            let gathered = session.gather(&out[sent..], &self.listener.room.log, &mut pieces);
            gathered.expect("nobody falls behind");
            let n = pieces.bytes();
            if n == 0 {
                break;
            }
            pieces.as_slices().iter().for_each(|piece| heard.extend_from_slice(piece));
            sent += session.advance(n, out.len() - sent);
        }
        session.update_charge(&mut self.memory);
        self.hear(&heard);
    }

    fn deliver(&mut self, direct: &DirectMessages) {
        for message in direct.iter() {
            let who = message.to.index as usize;
            let session = self.sessions[who].as_mut().expect("it is there");
            assert_eq!(session.generation(), message.to.generation, "for one that has gone");
            session.push_message(message.log_head, message.bytes).expect("memory");
            self.flush(who, &[]);
        }
    }

    /// Everyone is sent what the log holds, and whoever waited goes on.
    fn fan_out(&mut self) {
        (0..CLIENTS).for_each(|who| self.flush(who, &[]));
        let head = self.listener.room.log.head();
        self.listener.room.log.release_below(head);
        let Listener { protocol: Protocol::Chat(chat), room, .. } = &mut self.listener else {
            unreachable!()
        };
        chat.on_fanout_end(room);
        for who in 0..CLIENTS {
            if self.sessions[who].as_ref().is_some_and(Session::waits_for_fanout) {
                self.call(who, |session, protocol, ctx| {
                    session.on_log_vacancy();
                    session.on_resume(protocol, ctx)
                });
            }
        }
    }

    fn leave(&mut self, who: usize, quietly: bool) {
        let Some(mut session) = self.sessions[who].take() else { return };
        self.listener.room.members -= 1;
        let member = session.unsubscribe(&self.listener.room.log).expect("memory");
        session.release_memory(&mut self.memory);
        let Listener { protocol: Protocol::Chat(chat), room, shared } = &mut self.listener else {
            unreachable!()
        };
        let (id, reason) = (id(who, &session), CloseReason::Quit);
        chat.on_leave(Departure { id, member, reason, is_quiet: quietly }, room, shared);
    }

    /// Whole lines, each begun as only the server begins them.
    fn hear(&mut self, bytes: &[u8]) {
        let text = str::from_utf8(bytes).expect("the server speaks UTF-8");
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
        for line in text.lines() {
            let tame = |c: char| c == '\t' || !(c.is_control() || "\u{2028}\u{2029}".contains(c));
            assert!(line.chars().all(tame), "{line:?} moves the cursor");
            self.hear_line(line);
        }
    }

    fn hear_line(&mut self, line: &str) {
        let welcome = ["[INFO] Welcome, ", "[INFO] Добро пожаловать, "];
        if let Some(nick) = welcome.iter().find_map(|start| line.strip_prefix(start)) {
            let nick = nick.strip_suffix('!').expect("a whole welcome");
            assert!(nicknames::is_allowed(nick), "{nick:?} is welcome");
            let others = self.chat().members().iter().filter(|member| *member.nick != *nick);
            let same: Vec<_> =
                others.filter(|other| nicknames::is_same(&other.nick, nick)).collect();
            assert!(same.is_empty(), "{nick:?} is the same as {same:?}");
            self.nicks.insert(nick.to_owned());
        } else if let Some(nick) = refused_nick(line) {
            let mut members = self.chat().members().iter();
            let is_taken = members.any(|member| nicknames::is_same(&member.nick, nick));
            assert!(is_taken || !nicknames::is_allowed(nick), "{nick:?} is nobody's");
        } else if let Some(notice) = line.strip_prefix("[SERVER] ") {
            let (nick, what) = notice.split_once(' ').expect("a whole notice");
            let whats = ["joined", "left", "теперь с нами", "ушёл"];
            assert!(whats.contains(&what), "{line:?}");
            // The room hears of a newcomer before the newcomer does.
            let known = self.chat().members().find(nick).is_some() || self.nicks.contains(nick);
            assert!(known, "{line:?} is of nobody");
        } else if !OWN_STARTS.iter().any(|start| line.starts_with(start)) {
            let said = line.strip_prefix('[').and_then(|line| line.split_once("]: "));
            let (nick, _) = said.unwrap_or_else(|| panic!("{line:?}"));
            let to = nick.strip_prefix("PM to ").or(nick.strip_prefix("ЛС для ")).unwrap_or(nick);
            assert!(self.nicks.contains(to), "{line:?} is of nobody");
        }
    }

    fn check(&self) {
        let clients: Vec<_> = (self.sessions.iter().enumerate())
            .filter_map(|(who, session)| {
                session.as_ref().map(|session| (id(who, session), session.client()))
            })
            .collect();
        let is_passing = self.listener.log().head() > self.listener.log().offered();
        self.chat().assert_invariants(&clients, is_passing);
    }

    fn chat(&self) -> &ChatProtocol {
        let Protocol::Chat(chat) = &self.listener.protocol else { unreachable!() };
        chat
    }

    fn everyone_leaves(&mut self) {
        for who in 0..CLIENTS {
            self.fan_out();
            self.leave(who, false);
            self.check();
        }
        self.fan_out();
        assert!(self.chat().members().is_empty());
        self.chat().assert_invariants(&[], false);
        assert_eq!(self.listener.room.members, 0);
    }
}

/// The nickname in a line that says it is taken. It has no blanks, so others' lines are no such.
fn refused_nick(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("[ERROR] ")?;
    let russian = || rest.strip_prefix("ник ")?.strip_suffix(" занят, выберите другой");
    rest.strip_suffix(" is taken, choose another").or_else(russian)
}

fn id(who: usize, session: &Session) -> ConnId {
    ConnId { index: who as u32, generation: session.generation() }
}
