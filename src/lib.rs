//! mynah: a tiny TCP server that holds an absurd number of connections, on one thread.
//!
//! The crate is three programs (`mynah`, `mynah-cli`, `mynah-load`) and the loop they are built on.
//! As a library it runs that loop for a program of yours: its own protocols, or a [`Service`] that
//! you write, over frames and replies. An idle connection costs 56 bytes, and none of them a
//! thread.
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::net::TcpStream;
//! use std::thread;
//!
//! use mynah::{ConnId, EventLoop, Framing, Limits, Next, Replies, Service};
//!
//! /// Sends every line back.
//! struct Echo;
//!
//! impl Service for Echo {
//!     fn find_frame(&self, input: &[u8]) -> Framing {
//!         match input.iter().position(|&byte| byte == b'\n') {
//!             Some(at) => Framing::Frame { len: at + 1 },
//!             None => Framing::Incomplete { needed: 1 },
//!         }
//!     }
//!
//!     fn on_frame(&mut self, _: ConnId, line: &[u8], replies: &mut Replies<'_>) -> Next {
//!         replies.push(line);
//!         Next::Continue
//!     }
//! }
//!
//! let mut event_loop = EventLoop::new(Limits::default())?;
//! let addr = event_loop.bind("127.0.0.1:0".parse().unwrap(), Echo)?;
//! # let handle = event_loop.handle();
//! # let client = thread::spawn(move || {
//! #     let mut stream = TcpStream::connect(addr)?;
//! #     stream.write_all(b"hello\n")?;
//! #     let mut line = [0; 6];
//! #     stream.read_exact(&mut line)?;
//! #     handle.stop();
//! #     io::Result::Ok(line)
//! # });
//! event_loop.run()?;
//! # assert_eq!(&client.join().unwrap()?, b"hello\n");
//! # io::Result::Ok(())
//! ```
//!
//! | for | there is |
//! |---|---|
//! | running a loop | [`EventLoop`], [`Limits`], [`Exit`] |
//! | steering it from other threads | [`Handle`], [`Snapshot`], [`Stats`] |
//! | signals, reloads, timers of the program around it | [`Signals`], [`Program`], [`Running`] |
//! | a protocol of your own | [`Service`], [`Framing`], [`Replies`], [`Next`] |
//! | mynah's protocols | [`Protocol`], [`CommandProtocol`], [`PrefixedProtocol`], [`RawProtocol`], [`ChatProtocol`], [`Lang`] |
//! | listeners with options | [`TcpAcceptor`], `UnixAcceptor`, [`SocketOptions`], [`ListenerConfig`] |
//! | a loop or a network of your own (simulators) | [`Server`], [`Transport`], [`Acceptor`], [`Clock`] |
//!
//! `docs/examples/` has an echo server and a key-value server, `docs/extending.md` how mynah itself
//! gets another command or protocol.
//!
//! # Layers
//!
//! Imports point downward only (`tests/core/layers.rs` holds that); `docs/architecture.md` follows
//! a byte through them.
//!
//! ```text
//! L5  manual                     for tests alone: man pages and completions, of the tables of options
//! L4  app · client · load        the three programs; cli: what their command lines share
//! L3  net                        mio, sockets, signals, the loop's clock
//!     tls                        the layer under a session, and the clients' side of it
//!     accounts                   names and passwords: a file, and a thread that hashes
//! L2  server                     all connections, over any Transport; no mio
//!     cluster                    the other nodes, and the engine between them, sans I/O
//! L1  session                    one session: bytes in, frames to a protocol, bytes out
//!     protocol                   the meaning of messages, one file or folder each
//! L0  codec · buffer             bytes to frames; bytes that wait, all in one memory account
//!     memory · limits · defaults · stats · clock · conn_id · address · connection_log · line_limit ·
//!     escape · os_text · setting · strerror
//! ```

#[cfg(feature = "accounts")]
mod accounts;
mod address;
mod app;
mod buffer;
mod cli;
#[cfg(feature = "client")]
mod client;
mod clock;
mod close_reason;
#[cfg(feature = "cluster")]
mod cluster;
mod codec;
mod conn_id;
mod connection_log;
mod defaults;
mod escape;
mod limits;
mod line_limit;
#[cfg(feature = "load")]
mod load;
#[cfg(all(
    test,
    feature = "accounts",
    feature = "admission",
    feature = "client",
    feature = "cluster",
    feature = "load",
    feature = "plugins",
    feature = "tls",
    feature = "unix"
))]
mod manual;
mod memory;
mod net;
#[cfg(feature = "admission")]
mod networks;
mod os_text;
mod protocol;
#[cfg(feature = "admission")]
mod rates;
mod server;
mod session;
mod setting;
mod stats;
mod strerror;
#[cfg(any(feature = "client", feature = "plugins"))]
mod thousands;
#[cfg(feature = "tls")]
mod tls;

pub use address::Peer;
pub use buffer::WireBuffer;
pub use clock::Millis;
pub use conn_id::ConnId;
pub use limits::Limits;
#[cfg(feature = "systemd")]
pub use net::PassedSocketError;
#[cfg(feature = "unix")]
pub use net::UnixAcceptor;
pub use net::{
    EventLoop, Exit, Handle, Program, Running, SignalRequests, Signals, Snapshot, SocketAcceptor,
    SocketOptions, SocketTransport, TcpAcceptor, available_memory, raise_file_limit,
};
#[cfg(feature = "admission")]
pub use networks::Networks;
#[cfg(feature = "plugins")]
pub use protocol::PluginProtocol;
pub use protocol::chat::Lang;
pub use protocol::{ChatProtocol, CommandProtocol, PrefixedProtocol, Protocol, RawProtocol};
#[cfg(feature = "service")]
pub use protocol::{CustomProtocol, Framing, Next, Replies, Service};
pub use server::{
    AcceptError, Acceptor, Clock, Layer, ListenerConfig, NextTurn, NoLayer, Nowhere, Place,
    Readiness, Received, Server, Transport,
};
#[cfg(feature = "admission")]
pub use server::{AddressLimits, TrustedProxies};
pub use stats::Stats;
#[cfg(feature = "tls")]
pub use tls::{FileError, Problem, ServerFiles, ServerTls};

/// The modules, for the crate's own programs, tests, benchmarks and fuzz targets. They may change
/// with any version.
#[doc(hidden)]
pub mod internal {
    macro_rules! modules {
        ($($(#[$cfg:meta])? $module:ident,)*) => {
            $($(#[$cfg])? pub mod $module {
                pub use crate::$module::*;
            })*
        };
    }

    modules! {
        address,
        app,
        buffer,
        cli,
        clock,
        codec,
        conn_id,
        connection_log,
        escape,
        limits,
        line_limit,
        memory,
        net,
        protocol,
        server,
        session,
        setting,
        stats,
        strerror,
        #[cfg(feature = "accounts")]
        accounts,
        #[cfg(feature = "admission")]
        rates,
        #[cfg(feature = "client")]
        client,
        #[cfg(feature = "cluster")]
        cluster,
        #[cfg(feature = "load")]
        load,
        #[cfg(feature = "tls")]
        tls,
    }
}
