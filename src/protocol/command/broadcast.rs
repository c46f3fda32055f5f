//! BROADCAST: one payload to everyone else, through the listener's shared log.

use super::{reply, reply_error};
#[cfg(feature = "cluster")]
use crate::buffer::LogFullError;
use crate::codec::command::{Command, Header};
#[cfg(feature = "cluster")]
use crate::protocol::Room;
#[cfg(feature = "cluster")]
use crate::protocol::cluster::{Event, Payload, Progress, Remote};
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
    #[cfg(feature = "cluster")]
    let receivers = receivers + publish_payload(payload, ctx);
    let mut digits = [0; COUNT_DIGITS_MAX];
    reply(decimal(receivers, &mut digits), ctx)
}

/// Has the broadcast reach the clients of other nodes. Returns how many those last said they have.
#[cfg(feature = "cluster")]
fn publish_payload(payload: &[u8], ctx: &mut Context<'_>) -> usize {
    let Some((channel, cluster)) = ctx.room.channel.zip(ctx.shared.cluster.as_mut()) else {
        return 0;
    };
    cluster.publish(channel, &Event::Broadcast(Payload(payload)));
    cluster.receivers_elsewhere(channel)
}

/// A broadcast of another node, whose limits may be others.
#[cfg(feature = "cluster")]
pub(super) fn on_remote(
    remote: Remote<'_>,
    payload_len_max: u32,
    room: &mut Room,
) -> Result<Progress, LogFullError> {
    let Remote::Event { event: Event::Broadcast(Payload(payload)), .. } = remote else {
        return Ok(Progress::Done);
    };
    if room.members == 0 {
        return Ok(Progress::Done);
    }
    let header = Header::for_payload(Command::Broadcast, payload).encode();
    let fits = header.len() + payload.len() <= room.log.capacity();
    if payload.len() > payload_len_max as usize || !fits {
        return Ok(Progress::Refused);
    }
    room.log.append(&[&header, payload])?;
    Ok(Progress::Done)
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
