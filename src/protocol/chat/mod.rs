//! The `chat` protocol: nicknames, a room, private messages.
//!
//! The first message of a client is its nickname; from then on it is a member and subscribed to the
//! broadcast log, through which its messages go to everyone else. `messages` has all texts,
//! `members` the indexes; what a nickname may be is said in `protocol/nickname/`.

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "accounts")]
mod login;
mod members;
mod messages;
#[cfg(feature = "cluster")]
mod roster;
mod sorted_keys;

pub use super::lang::Lang;
pub use super::nickname;
pub use members::{Member, MemberKey, Members};
pub use messages::{Localized, Message};
#[cfg(feature = "cluster")]
pub use roster::{Group, Roster, Swept};

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;

use log::debug;

#[cfg(feature = "cluster")]
use super::cluster::{Event, NodeNumber, Progress, Remote, Tell, end_claim, publish};
#[cfg(feature = "accounts")]
use super::login::{Notice, Refusal};
use super::nickname::{Nickname, NicknameError};
use super::{
    ClientState, CloseReason, Context, Departure, Flow, Handler, ProtocolDefaults, Room, Shared,
    UrlProtocol,
};
use crate::buffer::{BroadcastLog, FrameClock, LogFullError};
use crate::clock::Millis;
use crate::codec::line::{Line, LineDecoder};
use crate::conn_id::ConnId;
use crate::escape::Excerpt;
use crate::limits::{CHAT_LOG_BYTES_MIN, Limits, NAME_COST_BYTES, UNTERMINATED_QUIET_MS};
use crate::setting::SettingError;

/// Cost of a line for its sender's visit besides the bytes of its answer.
const LINE_COST_BYTES: usize = 64;
/// Cost of a private message for its sender's visit besides its bytes: a recipient looked up, a
/// place in its send queue, and a write of its own.
const PRIVATE_MESSAGE_COST_BYTES: usize = 512;

/// Lines and nicknames: the members of one listener's chat room.
#[derive(Debug, Default)]
pub struct ChatProtocol {
    /// The language of the server's lines.
    pub lang: Lang,
    members: Members,
    /// Announcements that the log had no space for yet. They come before anybody joins or posts, so
    /// there are never more than there were members.
    pending: VecDeque<Pending>,
    /// The members on other nodes.
    #[cfg(feature = "cluster")]
    roster: Roster,
    /// When members joined, in seconds of the server's clock, by their keys; where the room spans
    /// nodes.
    #[cfg(feature = "cluster")]
    joined_secs: Vec<u32>,
    /// The line being formatted; empty between lines.
    line: String,
}

/// An announcement that waits for space in the log.
#[derive(Debug)]
enum Pending {
    Left(Box<str>),
    #[cfg(feature = "cluster")]
    Joined(Box<str>),
    #[cfg(feature = "cluster")]
    LeftTogether {
        count: usize,
        node: Option<Box<str>>,
    },
    #[cfg(feature = "cluster")]
    JoinedTogether {
        count: usize,
    },
}

impl Pending {
    fn message(&self) -> Message<'_> {
        match self {
            Pending::Left(nick) => Message::Left(nick),
            #[cfg(feature = "cluster")]
            Pending::Joined(nick) => Message::Joined(nick),
            #[cfg(feature = "cluster")]
            Pending::LeftTogether { count, node } => {
                Message::LeftTogether { count: *count, node: node.as_deref() }
            }
            #[cfg(feature = "cluster")]
            Pending::JoinedTogether { count } => Message::JoinedTogether { count: *count },
        }
    }
}

impl Handler for ChatProtocol {
    type Decoder = LineDecoder;
    const ALLOWS_UNTERMINATED: bool = true;

    fn decoder(&self, client: ClientState) -> LineDecoder {
        client.line_decoder()
    }

    fn save_decoder(&self, decoder: &LineDecoder, client: &mut ClientState) {
        client.save_line_decoder(*decoder);
    }

    fn on_message(
        &mut self,
        line: Line<'_>,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let Line::Text(bytes) = line else { return self.reply(Message::TooLong, ctx) };
        let Ok(text) = str::from_utf8(bytes) else { return self.reply(Message::NotUtf8, ctx) };
        let text = text.trim();
        ctx.shared.charge(LINE_COST_BYTES);
        #[cfg(feature = "cluster")]
        let is_member = client.member().is_some();
        let flow = match (text, client.member()) {
            ("", _) => return Flow::Continue,
            ("exit" | "/exit", _) => Flow::Close(CloseReason::Quit),
            #[cfg(feature = "accounts")]
            (text, _) if login::is_command(text, *client, ctx) => {
                self.run_login_command(text, client, ctx)
            }
            #[cfg(feature = "accounts")]
            (text, None) if login::is_refused(text, *client) => {
                self.refuse(Refusal::LoginRequired, ctx)
            }
            (text, None) if text.starts_with('/') => self.run_command_unregistered(text, ctx),
            (nick, None) => self.register(nick, client, ctx),
            (text, Some(key)) if text.starts_with('/') => self.run_command(text, key, ctx),
            (text, Some(key)) => self.post(text, key, ctx),
        };
        if !flow.is_deferred() {
            #[cfg(feature = "cluster")]
            if !is_member {
                end_claim(ctx);
            }
            #[cfg(feature = "accounts")]
            let text = login::without_password(text);
            debug!("{} message: {}", ctx.id, Excerpt(text.as_bytes()));
        }
        flow
    }

    /// Messages that others read count: not the commands, but private messages.
    #[cfg(feature = "admission")]
    fn broadcast_len(&self, line: &Line<'_>) -> usize {
        match line {
            Line::Text(bytes) if !bytes.starts_with(b"/") || bytes.starts_with(b"/msg") => {
                bytes.len()
            }
            _ => 0,
        }
    }

    /// A client that has sent a line end is waited for: its next line may arrive split.
    fn unfinished_due_at(
        &self,
        clock: FrameClock,
        client: ClientState,
        _: &Limits,
    ) -> Option<Millis> {
        if client.ends_lines() { None } else { clock.quiet_at(UNTERMINATED_QUIET_MS) }
    }

    fn new_client(&self) -> ClientState {
        ClientState::UNREGISTERED
    }

    fn on_leave(&mut self, departure: Departure, room: &mut Room, shared: &mut Shared) {
        let Some(key) = departure.member else { return };
        #[cfg(feature = "accounts")]
        if !self.members.is_of(key, departure.id) {
            // Another connection has logged in to its account, and the room knows.
            return;
        }
        let nick = self.members.remove(key).nick;
        let id = departure.id;
        shared.connection_log.line(shared.now, || format!("{id} {nick} left"));
        if !departure.is_quiet {
            #[cfg(feature = "cluster")]
            let is_elsewhere = self.note_left(&nick, room, shared);
            #[cfg(not(feature = "cluster"))]
            let is_elsewhere = false;
            if !is_elsewhere {
                self.pending.push_back(Pending::Left(nick));
            }
            // If the log is full, the end of the fan-out announces it.
            let _ = self.announce_departures(&mut room.log);
        }
    }

    fn write_refusal(&self, clients_max: usize, out: &mut Vec<u8>) {
        write_line(Message::Full(clients_max), self.lang, out);
    }

    #[cfg(feature = "admission")]
    fn write_over_limit(&self, address: std::net::IpAddr, out: &mut Vec<u8>) {
        write_line(Message::TooManyConnections(address), self.lang, out);
    }

    #[cfg(feature = "accounts")]
    fn write_login_required(&self, out: &mut Vec<u8>) {
        login::write_refusal(Refusal::LoginRequired, self.lang, out);
    }

    #[cfg(feature = "accounts")]
    fn account<'a>(&'a self, client: ClientState, _: &'a Shared) -> Option<&'a str> {
        let key = client.member().filter(|_| client.is_logged_in())?;
        Some(&self.members.get(key).nick)
    }

    #[cfg(feature = "admin")]
    fn client_name<'a>(&'a self, client: ClientState, _: &'a Shared) -> Option<&'a str> {
        client.member().map(|key| &*self.members.get(key).nick)
    }

    fn write_shutdown_notice(&self, out: &mut Vec<u8>) {
        write_line(Message::ShutDown, self.lang, out);
    }

    fn on_fanout_end(&mut self, room: &mut Room) {
        // If the log fills again, the next pass end retries.
        let _ = self.announce_departures(&mut room.log);
    }

    fn log_bytes_max(&self, limits: &Limits) -> usize {
        limits.broadcast_log_bytes_max.max(CHAT_LOG_BYTES_MIN)
    }

    /// A message also appends pending departures.
    fn broadcast_cost_max(&self, limits: &Limits) -> usize {
        self.log_bytes_max(limits)
    }

    /// The longest reply is the answer to `/who`: for each member a nickname of at most 16
    /// characters of 4 bytes, and `, `.
    fn frame_len_max(&self, members: usize) -> usize {
        CHAT_LOG_BYTES_MIN + 66 * members
    }

    #[cfg(feature = "cluster")]
    const HAS_MEMBERS: bool = true;

    #[cfg(feature = "cluster")]
    fn on_remote(
        &mut self,
        remote: Remote<'_>,
        room: &mut Room,
        shared: &mut Shared,
    ) -> Result<Progress, LogFullError> {
        self.act_on_remote(remote, room, shared)
    }

    #[cfg(feature = "cluster")]
    fn tell_members(
        &self,
        from: MemberKey,
        tell: Tell,
        room: &Room,
        shared: &mut Shared,
    ) -> Option<MemberKey> {
        self.tell_some_members(from, tell, room, shared)
    }

    #[cfg(feature = "cluster")]
    fn member(&self, nick: &str) -> Option<ConnId> {
        self.connection_of(nick)
    }

    #[cfg(feature = "cluster")]
    fn write_name_lost(&self, nick: &str, closes: bool, out: &mut Vec<u8>) {
        self.write_lost_name(nick, closes, out);
    }

    #[cfg(feature = "cluster")]
    fn on_name_kept(&self, nick: &str, room: &Room, shared: &mut Shared) {
        self.keep_name(nick, room, shared);
    }

    #[cfg(feature = "cluster")]
    fn members_len(&self) -> usize {
        self.members.len()
    }

    #[cfg(feature = "cluster")]
    fn roster(&self) -> Option<&Roster> {
        Some(&self.roster)
    }

    #[cfg(feature = "cluster")]
    fn leave_channel(&mut self) -> Vec<NodeNumber> {
        self.roster.hide_all()
    }

    fn assert_invariants(&self, clients: &[(ConnId, ClientState)], is_passing: bool) {
        self.members.assert_invariants();
        #[cfg(feature = "cluster")]
        self.roster.assert_invariants();
        assert!(self.line.is_empty(), "a line was left behind");
        let is_pending = !self.pending.is_empty();
        assert!(is_passing || !is_pending, "departures are pending and no fan-out is on its way");
        let mut members = 0;
        for (id, client) in clients {
            let Some(key) = client.member() else { continue };
            assert_eq!(self.members.get(key).id, *id, "two are one member");
            members += 1;
        }
        assert_eq!(self.members.len(), members, "members");
    }
}

impl UrlProtocol for ChatProtocol {
    const NAME: &'static str = "chat";
    const DEFAULT_PORT: u16 = 5000;
    const IS_DEFAULT: bool = true;
    const SUMMARY: &'static str = "lines: nicknames, one room";
    const KEYS: &'static [&'static str] = &["lang"];

    fn with_defaults(_: &ProtocolDefaults) -> Self {
        ChatProtocol::default()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match (key, value) {
            ("lang", "en") => self.lang = Lang::En,
            ("lang", "ru") => self.lang = Lang::Ru,
            ("lang", _) => {
                let choices = "en or ru";
                return Err(SettingError::NotOneOf { value: value.to_owned(), choices });
            }
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }
}

impl ChatProtocol {
    /// An empty chat room whose server lines are in `lang`.
    #[must_use]
    pub fn new(lang: Lang) -> Self {
        ChatProtocol { lang, ..ChatProtocol::default() }
    }

    /// The members present.
    #[doc(hidden)]
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    fn reply(&self, message: Message<'_>, ctx: &mut Context<'_>) -> Flow {
        write_line(message, self.lang, &mut ctx.shared.out);
        Flow::Continue
    }

    fn register(&mut self, nick: &str, client: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        ctx.shared.charge(NAME_COST_BYTES);
        let nickname = match Nickname::parse(nick) {
            Err(NicknameError::Length) => return self.reply(Message::NicknameLength, ctx),
            Err(NicknameError::Characters) => return self.reply(Message::NicknameCharacters, ctx),
            Err(NicknameError::Reserved) => return self.reply(Message::Taken(nick), ctx),
            Ok(nickname) => nickname,
        };
        #[cfg(feature = "accounts")]
        if login::is_on(ctx) && login::is_account(&nickname, ctx) {
            return self.notify(Notice::IsRegistered(nick), ctx);
        }
        if self.members.is_taken(&nickname) {
            return self.reply(Message::Taken(nick), ctx);
        }
        #[cfg(feature = "cluster")]
        if let Some(flow) = self.claim(&nickname, false, ctx) {
            return flow;
        }
        if ctx.append_with(|log| self.announce_member(nick, log)).is_err() {
            return Flow::WaitForFanout;
        }
        let key = self.members.insert(&nickname, ctx.id);
        client.join(key);
        #[cfg(feature = "cluster")]
        self.note_joined(key, nick, ctx);
        let id = ctx.id;
        ctx.shared.connection_log.line(ctx.shared.now, || format!("{id} {nick} joined"));
        self.reply(Message::Welcome(nick), ctx)
    }

    fn post(&mut self, text: &str, key: MemberKey, ctx: &mut Context<'_>) -> Flow {
        if self.members.len() > 1 {
            let append = |log: &mut BroadcastLog| {
                self.announce_departures(log)?;
                let message = Message::Post { from: &self.members.get(key).nick, text };
                append_line(message.in_lang(self.lang), &mut self.line, log)
            };
            if ctx.append_with(append).is_err() {
                return Flow::WaitForFanout;
            }
        }
        ctx.room.stats.broadcasts.add(1);
        #[cfg(feature = "cluster")]
        {
            let from = &*self.members.get(key).nick;
            publish(ctx.room, ctx.shared, &Event::Post { from, text });
        }
        Flow::Continue
    }

    /// Runs a command of a client without a nickname.
    fn run_command_unregistered(&self, text: &str, ctx: &mut Context<'_>) -> Flow {
        match split_word(text).0 {
            "/help" => self.help(ctx),
            "/exit" | "/quit" => Flow::Close(CloseReason::Quit),
            _ => self.reply(Message::NicknameFirst, ctx),
        }
    }

    fn run_command(&mut self, text: &str, key: MemberKey, ctx: &mut Context<'_>) -> Flow {
        let (command, rest) = split_word(text);
        match command {
            "/who" => {
                #[cfg(feature = "cluster")]
                let online = {
                    let changed = self.roster.take_changed();
                    let (elsewhere, count) = (self.roster.nicks(), self.roster.len());
                    self.members.online_with(elsewhere, count, changed, self.lang)
                };
                #[cfg(not(feature = "cluster"))]
                let online = self.members.online(self.lang);
                ctx.shared.out.extend_from_slice(online.as_bytes());
                ctx.shared.out.push(b'\n');
                Flow::Continue
            }
            "/msg" => match split_word(rest) {
                ("", _) | (_, "") => self.reply(Message::MsgUsage, ctx),
                (to, text) => self.send_private(to, text, key, ctx),
            },
            "/help" => self.help(ctx),
            "/exit" | "/quit" => Flow::Close(CloseReason::Quit),
            _ => self.reply(Message::UnknownCommand(command), ctx),
        }
    }

    #[inline]
    fn help(&self, ctx: &mut Context<'_>) -> Flow {
        #[cfg(feature = "accounts")]
        if login::is_on(ctx) {
            self.reply(Message::LoginHelp, ctx);
        }
        self.reply(Message::Help, ctx)
    }

    /// Sends a message to one member alone.
    fn send_private(&self, to: &str, text: &str, key: MemberKey, ctx: &mut Context<'_>) -> Flow {
        let Some(recipient) = self.members.find(to) else {
            #[cfg(feature = "cluster")]
            if let Some(flow) = self.send_private_elsewhere(to, text, key, ctx) {
                return flow;
            }
            return self.reply(Message::NoSuchUser(to), ctx);
        };
        let message = Message::Private { from: &self.members.get(key).nick, text };
        self.reply(Message::PrivateSent { to: &recipient.nick, text }, ctx);
        if recipient.id == ctx.id {
            self.reply(message, ctx);
        } else {
            let head = ctx.room.log.head();
            let write = |bytes: &mut Vec<u8>| write_line(message, self.lang, bytes);
            ctx.shared.direct.push(recipient.id, head, write);
        }
        ctx.shared.charge(PRIVATE_MESSAGE_COST_BYTES);
        Flow::Continue
    }

    /// Announces in the log that somebody joins, behind pending departures. Without members, it
    /// takes up no space.
    ///
    /// # Errors
    ///
    /// The log is full of bytes that not everyone has been offered.
    fn announce_member(&mut self, nick: &str, log: &mut BroadcastLog) -> Result<(), LogFullError> {
        self.announce_departures(log)?;
        if self.members.is_empty() {
            return Ok(());
        }
        #[cfg(feature = "cluster")]
        if self.holder_elsewhere(nick).is_some() {
            return self.append_take_over(&[], nick, log);
        }
        append_line(Message::Joined(nick).in_lang(self.lang), &mut self.line, log)
    }

    /// Appends that somebody joins in the place of others, as one broadcast: of these members, and of
    /// one elsewhere who has the nickname.
    #[cfg(any(feature = "accounts", feature = "cluster"))]
    fn append_take_over(
        &mut self,
        holders: &[MemberKey],
        nick: &str,
        log: &mut BroadcastLog,
    ) -> Result<(), LogFullError> {
        let mut lines = std::mem::take(&mut self.line);
        let left = holders.iter().map(|key| &*self.members.get(*key).nick);
        #[cfg(feature = "cluster")]
        let left = left.chain(self.holder_elsewhere(nick));
        for message in left.map(Message::Left).chain([Message::Joined(nick)]) {
            writeln!(lines, "{}", message.in_lang(self.lang))
                .expect("a String takes all that is written");
        }
        let result = log.append(&[lines.as_bytes()]);
        lines.clear();
        self.line = lines;
        result
    }

    /// Announces departures in the log, as many as it has space for.
    ///
    /// # Errors
    ///
    /// There are more: the log is full of bytes that not everyone has been offered.
    fn announce_departures(&mut self, log: &mut BroadcastLog) -> Result<(), LogFullError> {
        if self.members.is_empty() {
            self.pending.clear();
        }
        while let Some(pending) = self.pending.front() {
            append_line(pending.message().in_lang(self.lang), &mut self.line, log)?;
            self.pending.pop_front();
        }
        Ok(())
    }
}

/// Appends a line to the replies of one client.
fn write_line(message: Message<'_>, lang: Lang, out: &mut Vec<u8>) {
    writeln!(out, "{}", message.in_lang(lang)).expect("a Vec takes all that is written");
}

/// Appends a line to the log, by way of `scratch`.
fn append_line(
    message: Localized<'_>,
    scratch: &mut String,
    log: &mut BroadcastLog,
) -> Result<(), LogFullError> {
    scratch.clear();
    writeln!(scratch, "{message}").expect("a String takes all that is written");
    let result = log.append(&[scratch.as_bytes()]);
    scratch.clear();
    result
}

/// The first word, and the rest behind the blanks after it.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}
