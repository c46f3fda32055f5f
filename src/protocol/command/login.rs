//! LOGIN and REGISTER, and the key of a login in a client's state.

use super::{ERROR_COST_BYTES, reply, reply_error};
use crate::limits::NAME_COST_BYTES;
use crate::protocol::login::{
    Attempt, LoginKey, Notice, Refusal, Rejected, attempt, parse_credentials,
};
use crate::protocol::{ClientState, Context, Departure, Flow, Shared};

/// Longest payload before a client has logged in where it must, in bytes: a name of 64 and a
/// password of 128 fit.
pub(super) const PAYLOAD_LEN_MAX: u32 = 512;

/// Whether LOGIN and REGISTER are commands for a client.
pub(super) fn is_known(client: ClientState, ctx: &Context<'_>) -> bool {
    ctx.room.access.knows_logins(client, ctx.id, ctx.shared.accounts.as_deref())
}

/// Answers LOGIN or REGISTER, or defers it while its password is hashed.
pub(super) fn answer(
    kind: Attempt,
    payload: &[u8],
    client: &mut ClientState,
    ctx: &mut Context<'_>,
) -> Flow {
    if let Some(name) = account(*client, ctx.shared) {
        let error = Refusal::AlreadyLoggedIn(name).to_string();
        ctx.shared.stats.server.logins_refused_total += 1;
        ctx.shared.charge(ERROR_COST_BYTES);
        return reply_error(error, ctx);
    }
    ctx.shared.charge(NAME_COST_BYTES);
    match attempt(kind, parse_credentials(kind, payload), ctx) {
        Ok(name) => {
            let welcome = Notice::Welcome(&name).to_string();
            let Some(accounts) = &mut ctx.shared.accounts else { return Flow::Continue };
            accounts.finish(ctx.id);
            ctx.room.log_in(client, accounts.log_in(name));
            ctx.shared.stats.server.logins_total += 1;
            reply(welcome.as_bytes(), ctx)
        }
        Err(Rejected::Deferred(flow)) => flow,
        Err(Rejected::Refused(refusal)) => reply_error(refusal, ctx),
    }
}

/// The name that a client is logged in under.
pub(super) fn account(client: ClientState, shared: &Shared) -> Option<&str> {
    let key: LoginKey = client.member().filter(|_| client.is_logged_in())?;
    Some(shared.accounts.as_ref()?.name(key)?)
}

/// The key of a client that is not logged in is 0.
pub(super) fn on_leave(departure: Departure, shared: &mut Shared) {
    if let (Some(key @ 1..), Some(accounts)) = (departure.member, &mut shared.accounts) {
        accounts.log_out(key);
    }
}
