//! `/login` and `/register`: nicknames that are accounts', and the take-over of a member whose
//! account another connection logs in to.

use std::io::Write as _;
use std::sync::Arc;

use super::{ChatProtocol, Lang, MemberKey, Message, split_word};
use crate::limits::NAME_COST_BYTES;
#[cfg(feature = "cluster")]
use crate::protocol::cluster::{Event, publish};
use crate::protocol::login::{
    Attempt, Auth, Notice, Refusal, Rejected, attempt, parse_name_and_password,
};
use crate::protocol::nickname::Nickname;
use crate::protocol::{ClientState, Context, Flow};

const LOGIN: &str = "/login";
const REGISTER: &str = "/register";

/// The commands whose arguments are logged: no password can be among them.
const LOGGED: [&str; 2] = ["/who", "/msg"];

/// Whether the room has accounts.
pub(super) fn is_on(ctx: &Context<'_>) -> bool {
    ctx.shared.accounts.is_some() && ctx.room.access.auth != Auth::Off
}

/// Whether a nickname is an account's: equal, or confusable.
pub(super) fn is_account(nickname: &Nickname<'_>, ctx: &Context<'_>) -> bool {
    ctx.shared.accounts.as_ref().is_some_and(|accounts| accounts.is_taken(nickname))
}

/// Whether a client's line is one of the commands about accounts.
pub(super) fn is_command(text: &str, client: ClientState, ctx: &Context<'_>) -> bool {
    let accounts = ctx.shared.accounts.as_deref();
    text.starts_with('/')
        && ctx.room.access.knows_logins(client, ctx.id, accounts)
        && matches!(split_word(text).0, LOGIN | REGISTER)
}

/// Whether a client must log in first for a line that is none of the commands about accounts.
pub(super) fn is_refused(text: &str, client: ClientState) -> bool {
    client.must_log_in() && !matches!(split_word(text).0, "/help" | "/quit")
}

/// The part of a line that may be logged. Of a command that is not known no more than its name is:
/// it may be a `/login` with a slip in it.
pub(super) fn without_password(text: &str) -> &str {
    let (command, _) = split_word(text);
    if text.starts_with('/') && !LOGGED.contains(&command) { command } else { text }
}

/// Appends a refusal to the replies of one client.
pub(super) fn write_refusal(refusal: Refusal<'_>, lang: Lang, out: &mut Vec<u8>) {
    writeln!(out, "{}", refusal.chat(lang)).expect("a Vec takes all that is written");
}

impl ChatProtocol {
    pub(super) fn refuse(&self, refusal: Refusal<'_>, ctx: &mut Context<'_>) -> Flow {
        write_refusal(refusal, self.lang, &mut ctx.shared.out);
        Flow::Continue
    }

    pub(super) fn notify(&self, notice: Notice<'_>, ctx: &mut Context<'_>) -> Flow {
        let out = &mut ctx.shared.out;
        writeln!(out, "{}", notice.chat(self.lang)).expect("a Vec takes all that is written");
        Flow::Continue
    }

    /// Runs `/login` or `/register`.
    pub(super) fn run_login_command(
        &mut self,
        text: &str,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let (command, rest) = split_word(text);
        match client.member() {
            Some(key) if client.is_logged_in() => {
                ctx.shared.stats.server.logins_refused_total += 1;
                self.refuse(Refusal::AlreadyLoggedIn(&self.members.get(key).nick), ctx)
            }
            Some(key) if command == REGISTER => self.register_account(rest, key, client, ctx),
            Some(_) => self.reply(Message::LoginTooLate, ctx),
            None if command == LOGIN => self.log_in(rest, client, ctx),
            None if client.must_log_in() => self.refuse(Refusal::LoginRequired, ctx),
            None => self.reply(Message::NicknameFirst, ctx),
        }
    }

    fn log_in(&mut self, rest: &str, client: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        ctx.shared.charge(NAME_COST_BYTES);
        let credentials = match split_word(rest) {
            ("", _) | (_, "") => Err(Refusal::NeedsNameAndPassword(Attempt::Login)),
            (nick, password) => parse_name_and_password(Attempt::Login, nick, password.as_bytes()),
        };
        match attempt(Attempt::Login, credentials, ctx) {
            Ok(name) => self.join_logged_in(&name, client, ctx),
            Err(Rejected::Deferred(flow)) => flow,
            Err(Rejected::Refused(refusal)) => self.refuse(refusal, ctx),
        }
    }

    /// Registers the nickname that a member has.
    fn register_account(
        &mut self,
        password: &str,
        key: MemberKey,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        ctx.shared.charge(NAME_COST_BYTES);
        let nick = &self.members.get(key).nick;
        let credentials = match password {
            "" => Err(Refusal::NeedsNameAndPassword(Attempt::Register)),
            password => parse_name_and_password(Attempt::Register, nick, password.as_bytes()),
        };
        match attempt(Attempt::Register, credentials, ctx) {
            Ok(name) => {
                end_attempt(ctx);
                client.log_in(key);
                self.notify(Notice::Registered(&name), ctx)
            }
            Err(Rejected::Deferred(flow)) => flow,
            Err(Rejected::Refused(refusal)) => self.refuse(refusal, ctx),
        }
    }

    /// Makes a client a member under the name of its account. Whoever has the nickname, or one that
    /// looks like it, goes in the same step, so that the others never see two of one name.
    fn join_logged_in(
        &mut self,
        name: &Arc<str>,
        client: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let nickname = Nickname::parse(name).expect("accounts have valid nicknames");
        let Some(holders) = self.members.same_as(&nickname) else {
            end_attempt(ctx);
            return self.reply(Message::Taken(name), ctx);
        };
        #[cfg(feature = "cluster")]
        if let Some(flow) = self.claim(&nickname, true, ctx) {
            return flow;
        }
        if ctx.append_with(|log| self.announce_departures(log)).is_err() {
            return Flow::WaitForFanout;
        }
        let log_head = ctx.room.log.head();
        if self.members.len() > holders.len() {
            let appended = ctx.append_with(|log| self.append_take_over(&holders, name, log));
            if appended.is_err() {
                return Flow::WaitForFanout;
            }
        }
        holders.into_iter().for_each(|key| self.replace(key, log_head, ctx));
        end_attempt(ctx);
        let key = self.members.insert(&nickname, ctx.id);
        ctx.room.log_in(client, key);
        #[cfg(feature = "cluster")]
        self.note_joined(key, name, ctx);
        let id = ctx.id;
        ctx.shared.connection_log.line(ctx.shared.now, || format!("{id} {name} joined"));
        self.reply(Message::Welcome(name), ctx)
    }

    /// Removes a member whose connection closes, after its part of the log, with a line that says
    /// why.
    fn replace(&mut self, key: MemberKey, log_head: u64, ctx: &mut Context<'_>) {
        let member = self.members.remove(key);
        #[cfg(feature = "cluster")]
        publish(ctx.room, ctx.shared, &Event::Left(&member.nick));
        let notice = Notice::LoggedInElsewhere(&member.nick).chat(self.lang);
        ctx.shared.direct.push_last(member.id, log_head, |bytes| {
            writeln!(bytes, "{notice}").expect("a Vec takes all that is written");
        });
        let (id, nick) = (member.id, &member.nick);
        ctx.shared.connection_log.line(ctx.shared.now, || format!("{id} {nick} left"));
    }
}

/// The message of a good attempt is answered.
fn end_attempt(ctx: &mut Context<'_>) {
    ctx.shared.stats.server.logins_total += 1;
    if let Some(accounts) = &mut ctx.shared.accounts {
        accounts.finish(ctx.id);
    }
}
