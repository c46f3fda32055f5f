//! The layers that lie under sessions in simulated worlds, each with both of its ends: the server's
//! is a [`Layer`], the client's an [`End`].
//!
//! Most worlds with layers have a stub of TLS. It is cheap, so that thousands of worlds can have
//! it, the same bytes come of the same seed, and it can say what rustls cannot: that it was given
//! bytes behind the end, or sealed some. A few worlds have rustls on both sides, for what the stub
//! may have got wrong.

#[cfg(feature = "tls")]
pub mod real;
pub mod stub;

use std::convert::Infallible;

use mynah::internal::server::{Layer, NoLayer};

use crate::support::rng::Rng;

/// Most data of one record.
pub const RECORD_BYTES_MAX: usize = 1 << 14;

/// A layer of which a world has both ends.
pub trait SimulatedLayer: Layer + 'static {
    /// Whether the same seed gives the same bytes. Their number is the same in any case.
    const IS_REPLAYABLE: bool;

    /// State that the connections of a listener have in common.
    fn config(rng: &mut Rng) -> Self::Config;

    /// The other end of a connection, before its first byte.
    fn client(rng: &mut Rng) -> Box<dyn End>;

    /// Misuse of a layer by the server since the last call.
    fn take_violation() -> Option<String> {
        None
    }
}

/// A client's end of a layer.
pub trait End {
    /// Takes what the server sent: data goes to `plain`, what is to be answered to `wire`.
    fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), String>;

    /// Where the connection is.
    fn stage(&self) -> Stage;

    /// Appends `plain`, at most [`RECORD_BYTES_MAX`], as one record.
    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>);

    /// Goes on with new keys, and asks the server to do so too.
    fn update_keys(&mut self, wire: &mut Vec<u8>);

    /// Appends the end.
    fn seal_end(&mut self, wire: &mut Vec<u8>);

    /// Whether bytes of a record have come and others have not.
    fn is_in_record(&self) -> bool;
}

/// How far a connection has come, as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The handshake is not over.
    Opening,
    /// Data may be sealed.
    Open,
    /// The server has said that the handshake was over for it, too.
    Confirmed,
    /// The server has said that no more would come.
    Ended,
    /// The server has said that something was wrong.
    Failed,
}

impl SimulatedLayer for NoLayer {
    const IS_REPLAYABLE: bool = true;

    fn config(_: &mut Rng) -> Infallible {
        unreachable!("no listener has this layer")
    }

    fn client(_: &mut Rng) -> Box<dyn End> {
        unreachable!("no listener has this layer")
    }
}
