//! BROADCAST: one payload to everyone else, through the listener's shared log.

use super::{reply, reply_error};
use crate::codec::command::{Command, Header};
use crate::protocol::{Context, Flow};

/// Digits of the largest number.
const COUNT_DIGITS_MAX: usize = 20;

/// Cost of a broadcast for its sender's visit besides its bytes: an append and a number.
const BROADCAST_COST_BYTES: usize = 64;

/// Takes a broadcast into the log and tells the sender how many it will reach.
///
/// The session moves the sender's cursor past it. Without receivers it is counted, not logged.
pub(super) fn send(payload: &[u8], ctx: &mut Context<'_>) -> Flow {
    let max = ctx.shared.limits.broadcast_len_max();
    if payload.len() > max {
        let len = payload.len();
        let reason = format_args!("broadcast of {len} bytes exceeds the limit of {max}");
        return reply_error(reason, ctx);
    }
    let receivers = ctx.room.receivers();
    if receivers > 0 {
        let header = Header::for_payload(Command::Broadcast, payload).encode();
        if ctx.append(&[&header, payload]).is_err() {
            return Flow::WaitForFanout;
        }
    }
    ctx.shared.charge(BROADCAST_COST_BYTES + payload.len());
    ctx.room.stats.broadcasts.add(1);
    let mut digits = [0; COUNT_DIGITS_MAX];
    reply(decimal(receivers, &mut digits), ctx)
}

/// The digits of a number, without a String for them.
fn decimal(mut number: usize, digits: &mut [u8; COUNT_DIGITS_MAX]) -> &[u8] {
    let mut at = COUNT_DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_has_the_digits_of_every_length_of_number() {
        for number in [0, 1, 9, 10, 99, 100, 19_968, usize::MAX - 1, usize::MAX] {
            let mut digits = [0; COUNT_DIGITS_MAX];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }
}
