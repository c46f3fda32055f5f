//! Per-client protocol state in four bytes: subscription, member key, line state.

use super::chat::MemberKey;
#[cfg(feature = "accounts")]
use crate::clock::Millis;
use crate::codec::line::LineDecoder;

/// Four bytes of every session: whether broadcasts reach the client; for a chat its member key and
/// how it ends its messages, for `command` the key of its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientState(u32);

impl ClientState {
    const SUBSCRIBED: u32 = 1 << 31;
    const ENDS_LINES: u32 = 1 << 30;
    const DISCARDING: u32 = 1 << 29;
    /// While subscribed: logged in to an account. While not: has to log in, and the key is when it
    /// was accepted.
    #[cfg(feature = "accounts")]
    const ACCOUNT: u32 = 1 << 28;
    const KEY: u32 = (1 << 28) - 1;
    /// Unit of the time at which a client was accepted: its 28 bits are 397 days, more than the
    /// longest time to log in.
    #[cfg(feature = "accounts")]
    const TICK_MS: u64 = 128;

    /// Subscribed from connect.
    pub const SUBSCRIBER: ClientState = ClientState(Self::SUBSCRIBED);

    /// Not subscribed: the client has to join first.
    pub const UNREGISTERED: ClientState = ClientState(0);

    /// Whether broadcasts reach it.
    #[must_use]
    pub fn is_subscribed(self) -> bool {
        self.0 & Self::SUBSCRIBED != 0
    }

    /// Its member key while subscribed; meaningful in a chat only.
    #[must_use]
    pub fn member(self) -> Option<MemberKey> {
        self.is_subscribed().then_some(self.0 & Self::KEY)
    }

    /// Subscribes with `key`.
    ///
    /// # Panics
    ///
    /// If `key` exceeds 2²⁸ − 1.
    pub fn join(&mut self, key: MemberKey) {
        assert!(key <= Self::KEY, "too many members");
        self.0 = self.0 & !Self::KEY | Self::SUBSCRIBED | key;
        #[cfg(feature = "accounts")]
        self.set(Self::ACCOUNT, false);
    }

    /// Unsubscribes; returns the key.
    pub fn leave(&mut self) -> Option<MemberKey> {
        let key = self.member();
        self.0 &= !Self::SUBSCRIBED;
        #[cfg(feature = "accounts")]
        self.set(Self::ACCOUNT, false);
        key
    }

    /// Unsubscribes a client that was accepted at `accepted_at` and has to log in before all else.
    #[cfg(feature = "accounts")]
    pub fn require_login(&mut self, accepted_at: Millis) {
        let tick = (accepted_at.0 / Self::TICK_MS) as u32 & Self::KEY;
        self.0 = self.0 & !(Self::KEY | Self::SUBSCRIBED) | Self::ACCOUNT | tick;
    }

    /// Whether it has to log in before all else.
    #[cfg(feature = "accounts")]
    #[inline]
    #[must_use]
    pub fn must_log_in(self) -> bool {
        self.0 & (Self::SUBSCRIBED | Self::ACCOUNT) == Self::ACCOUNT
    }

    /// When the time to log in is over for a client that [`must`](Self::must_log_in), to a tick.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn login_due_at(self, now: Millis, timeout_ms: u64) -> Option<Millis> {
        if !self.must_log_in() {
            return None;
        }
        let now_tick = now.0 / Self::TICK_MS;
        // Ticks wrap, so they count backwards from now.
        let age = (now_tick as u32).wrapping_sub(self.0) & Self::KEY;
        let accepted_at = now_tick.saturating_sub(age.into()) * Self::TICK_MS;
        // The tick may have begun before the client came.
        Some(Millis(accepted_at).after(timeout_ms.saturating_add(Self::TICK_MS)))
    }

    /// Gives a client that must log in so much more time, less a tick: its own tick must not be one
    /// that is yet to come.
    #[cfg(feature = "accounts")]
    pub fn extend_login(&mut self, ms: u64) {
        if self.must_log_in() {
            let tick = (self.0 & Self::KEY).wrapping_add((ms / Self::TICK_MS) as u32);
            self.0 = self.0 & !Self::KEY | tick & Self::KEY;
        }
    }

    /// Subscribes with `key`, logged in to an account.
    ///
    /// # Panics
    ///
    /// As [`join`](Self::join).
    #[cfg(feature = "accounts")]
    pub fn log_in(&mut self, key: MemberKey) {
        self.join(key);
        self.set(Self::ACCOUNT, true);
    }

    /// Whether it is logged in to an account.
    #[cfg(feature = "accounts")]
    #[must_use]
    pub fn is_logged_in(self) -> bool {
        self.is_subscribed() && self.0 & Self::ACCOUNT != 0
    }

    /// Whether it has ended a message.
    #[must_use]
    pub fn ends_lines(self) -> bool {
        self.0 & Self::ENDS_LINES != 0
    }

    /// Whether the rest of a message is thrown away as it comes.
    #[must_use]
    pub fn is_discarding(self) -> bool {
        self.0 & Self::DISCARDING != 0
    }

    /// Remembers whether the rest of a message is thrown away.
    pub fn set_discarding(&mut self, discarding: bool) {
        self.set(Self::DISCARDING, discarding);
    }

    /// A decoder that goes on where the last one stopped.
    #[must_use]
    pub fn line_decoder(self) -> LineDecoder {
        LineDecoder { ends_lines: self.ends_lines(), discarding: self.is_discarding() }
    }

    /// Remembers where a decoder stopped.
    pub fn save_line_decoder(&mut self, decoder: LineDecoder) {
        self.set(Self::ENDS_LINES, decoder.ends_lines);
        self.set(Self::DISCARDING, decoder.discarding);
    }

    /// Bytes of an unfinished request that its decoder has looked at.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn scanned(self) -> usize {
        (self.0 & Self::KEY) as usize
    }

    /// Remembers how many bytes of an unfinished request its decoder has looked at. For clients
    /// that have no key.
    #[cfg(feature = "admin")]
    pub fn set_scanned(&mut self, scanned: usize) {
        debug_assert!(!self.is_subscribed() && scanned <= Self::KEY as usize);
        self.0 = self.0 & !Self::KEY | scanned as u32 & Self::KEY;
    }

    fn set(&mut self, bit: u32, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_and_line_ends_do_not_touch_each_other() {
        let mut tag = ClientState::UNREGISTERED;
        assert_eq!((tag.is_subscribed(), tag.member()), (false, None));
        let decoder = LineDecoder { ends_lines: true, discarding: true };
        tag.save_line_decoder(decoder);
        tag.join(ClientState::KEY);
        assert_eq!((tag.member(), tag.line_decoder()), (Some(ClientState::KEY), decoder));
        tag.save_line_decoder(LineDecoder { ends_lines: true, discarding: false });
        assert_eq!((tag.member(), tag.ends_lines()), (Some(ClientState::KEY), true));
        assert_eq!(tag.leave(), Some(ClientState::KEY));
        assert_eq!((tag.leave(), tag.is_subscribed(), tag.ends_lines()), (None, false, true));
        tag.join(3);
        assert_eq!(tag.member(), Some(3));
    }

    #[cfg(feature = "accounts")]
    #[test]
    fn login_is_due_once_however_long_the_server_runs() {
        for start in [0, 1_000, (1 << 35) - 5_000, (1 << 35) + 7, 1 << 40] {
            let mut client = ClientState::SUBSCRIBER;
            client.set_discarding(true);
            client.require_login(Millis(start));
            assert!(client.must_log_in() && client.is_discarding() && !client.is_logged_in());
            for later in [0, 9_000, 10_000, 86_400_000] {
                let due_at = client.login_due_at(Millis(start + later), 10_000).unwrap();
                assert!(
                    (start + 10_000..=start + 10_128).contains(&due_at.0),
                    "{start} {due_at:?}"
                );
            }
            client.extend_login(500);
            let due_at = client.login_due_at(Millis(start + 600), 10_000).unwrap();
            assert!((start + 10_384..=start + 10_628).contains(&due_at.0), "{start} {due_at:?}");
            client.log_in(7);
            assert!(client.is_logged_in() && !client.must_log_in());
            assert_eq!(client.login_due_at(Millis(start), 10_000), None);
            assert_eq!((client.leave(), client.must_log_in()), (Some(7), false));
        }
    }
}
