//! A layer between sessions and their streams that changes what the bytes look like: TLS. The core
//! knows of it what is here, and where its bytes wait ([`layered`](super::layered)).

use std::convert::Infallible;
use std::fmt;

use crate::buffer::WireBuffer;

/// The state of one connection's layer. Owns no buffers: what has not been taken, and what has been
/// sealed and not been sent, waits with the server.
///
/// A connection begins with a handshake. It is *open* once its session may speak.
pub trait Layer: Sized {
    /// Whether there are any. Without, the server has no code for them.
    const EXISTS: bool = true;
    /// Where the server keeps what it has of layers: in an `Option`, or nowhere.
    type Place<S>: Place<S>;
    /// Its name in the log.
    const NAME: &'static str;
    /// Configuration shared by the connections of one listener.
    type Config;
    /// The reason for which it cannot go on.
    type Error: fmt::Display;

    /// The layer of a new connection.
    ///
    /// # Errors
    ///
    /// The layer cannot be set up; the connection is closed.
    fn begin(config: &Self::Config) -> Result<Self, Self::Error>;

    /// Takes the whole records at the start of `wire`: data goes to `plain`, what the layer itself
    /// answers to `answer`, also with an error.
    ///
    /// # Errors
    ///
    /// The peer breaks the protocol; the connection is to be closed once `answer` is sent.
    fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answer: &mut WireBuffer,
    ) -> Result<Received, Self::Error>;

    /// Appends `plain` to `wire`, sealed.
    ///
    /// # Errors
    ///
    /// It can seal no more; the connection is to be closed.
    fn seal(&mut self, plain: &[u8], wire: &mut WireBuffer) -> Result<(), Self::Error>;

    /// Tells the peer that no more will come, where it can be told.
    fn seal_end(&mut self, wire: &mut WireBuffer);

    /// Bytes of the record that `wire` begins with, header included; `None` where that cannot be
    /// told yet.
    fn record_len(wire: &[u8]) -> Option<usize>;

    /// Whether an open connection goes on with what an earlier one had agreed on.
    fn is_resumed(&self) -> bool;

    /// The name of the server that the last handshake asked for, where it is to be logged.
    fn take_asked_name(config: &Self::Config) -> Option<String>;
}

/// Outcome of [`Layer::receive`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// How many of them were taken; the rest is the beginning of a record, and is to be given
    /// again, with what follows it.
    pub taken: usize,
    /// Records among them: those with data, and what the work for the others compares to.
    pub records: usize,
    /// The session may speak.
    pub is_open: bool,
    /// The peer will send no more.
    pub has_ended: bool,
}

/// A place for one value that may be there.
pub trait Place<S>: Default {
    /// The value, where it is there.
    fn get(&self) -> Option<&S>;

    /// The value, where it is there.
    fn get_mut(&mut self) -> Option<&mut S>;

    /// Makes the value, unless it is there.
    fn fill(&mut self, make: impl FnOnce() -> S);
}

impl<S> Place<S> for Option<S> {
    fn get(&self) -> Option<&S> {
        self.as_ref()
    }

    fn get_mut(&mut self) -> Option<&mut S> {
        self.as_mut()
    }

    fn fill(&mut self, make: impl FnOnce() -> S) {
        self.get_or_insert_with(make);
    }
}

/// A place where nothing ever is.
#[derive(Debug, Default)]
pub struct Nowhere;

impl<S> Place<S> for Nowhere {
    fn get(&self) -> Option<&S> {
        None
    }

    fn get_mut(&mut self) -> Option<&mut S> {
        None
    }

    fn fill(&mut self, _: impl FnOnce() -> S) {}
}

/// No layer: what streams have where there is none.
#[derive(Debug)]
pub enum NoLayer {}

impl Layer for NoLayer {
    const EXISTS: bool = false;
    type Place<S> = Nowhere;
    const NAME: &'static str = "";
    type Config = Infallible;
    type Error = Infallible;

    fn begin(config: &Infallible) -> Result<Self, Infallible> {
        match *config {}
    }

    fn receive(
        &mut self,
        _: &mut [u8],
        _: &mut Vec<u8>,
        _: &mut WireBuffer,
    ) -> Result<Received, Infallible> {
        match *self {}
    }

    fn seal(&mut self, _: &[u8], _: &mut WireBuffer) -> Result<(), Infallible> {
        match *self {}
    }

    fn seal_end(&mut self, _: &mut WireBuffer) {
        match *self {}
    }

    fn record_len(_: &[u8]) -> Option<usize> {
        None
    }

    fn is_resumed(&self) -> bool {
        match *self {}
    }

    fn take_asked_name(config: &Infallible) -> Option<String> {
        match *config {}
    }
}
