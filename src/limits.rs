//! Every bound of the server in one place, as plain data, the unit last in each name.

use crate::defaults;

/// Longest name of a listener, in bytes: `name=`.
#[cfg(any(feature = "admin", feature = "cluster", feature = "systemd"))]
pub(crate) const LISTENER_NAME_LEN_MAX: usize = 64;

/// Longest path of a Unix socket, in bytes: `sun_path` less the NUL at its end (unix(7)).
#[cfg(any(feature = "unix", feature = "client", feature = "cluster", feature = "load"))]
pub(crate) const UNIX_PATH_LEN_MAX: usize =
    size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// Bytes one `read` may return; the size of the loop's one read buffer.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes read from one connection in one turn before the others have theirs.
pub const READ_TURN_BYTES_MAX: usize = 256 * 1024;

/// Bytes one visit to a connection may put into replies, and what handlers charge for work that
/// costs more than its replies; one reply may overshoot. What is left to answer waits for the next
/// turn. The echo of all that one turn reads fits.
pub const VISIT_BYTES_MAX: usize = READ_TURN_BYTES_MAX;

/// The same bound, and the bytes read, while more connections have events than there is time for:
/// each gets its first answers soon, and the rest of its answers from the resume list.
pub const VISIT_BYTES_CROWDED: usize = 8 * 1024;

/// Work between two readings of the clock, in bytes moved; all other work is converted to them. At
/// half a gigabyte a second, the slowest rate seen, this is half a millisecond.
pub const CLOCK_CHECK_BYTES: usize = 256 * 1024;

/// Connections accepted or closed in a turn without reading the clock.
pub const UNTIMED_MAX: usize = 8;

/// Cost of a visit to a connection besides the bytes it moves, in bytes: two or three system calls.
pub const VISIT_COST_BYTES: usize = 4096;

/// Bytes handed to one write: writev(2) may copy as many without a pause.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// The same where more connections have events than there is time for; the resume list writes the
/// rest.
pub const WRITE_BYTES_CROWDED: usize = 64 * 1024;

/// A `command` frame that is longer, and did not come in one read, becomes its own reply instead of
/// being copied.
pub const LARGE_FRAME_BYTES: usize = 2 * 1024;

/// Bytes of a long REVERSE worked on in one visit.
pub const REVERSE_SLICE_BYTES: usize = 1024 * 1024;

/// Segments of a send queue at which its client is no longer read from.
pub const SEND_SEGMENTS_MAX: usize = 4096;

/// Parts of a turn, and how long each may take; ten milliseconds together. A part that has more to do
/// goes on next turn.
pub mod turn_micros {
    /// One part of a turn.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Part {
        /// Its place among the [names](Part::NAMES).
        pub number: usize,
        /// Microseconds it may take.
        pub micros: u64,
    }

    impl Part {
        /// Names of the parts in the warning of a slow turn.
        pub const NAMES: [&'static str; 14] = [
            "events",
            "program",
            "arrivals",
            "accept",
            "plugins",
            "broadcasts that wait",
            "accounts",
            "resume",
            "handshakes",
            "fan-out",
            "timers",
            "admin",
            "closing",
            "cluster",
        ];
    }

    /// Events of a batch.
    pub const DISPATCH: Part = Part { number: 0, micros: 1_500 };
    /// The program around the loop: a reload, for one. It has no bound.
    pub const PROGRAM: Part = Part { number: 1, micros: 0 };
    /// Events that the batches before had no time for.
    pub const ARRIVALS: Part = Part { number: 2, micros: 1_750 };
    /// Accepting.
    pub const ACCEPT: Part = Part { number: 3, micros: 750 };
    /// Calls of plugins, each with a budget of its own.
    pub const PLUGINS: Part = Part { number: 4, micros: 0 };
    /// Senders that wait for space in a log; each listener admits one at least.
    pub const ADMIT: Part = Part { number: 5, micros: 250 };
    /// Connections whose account may have gone.
    pub const ACCOUNTS: Part = Part { number: 6, micros: 250 };
    /// Connections that were left with something to do.
    pub const RESUME: Part = Part { number: 7, micros: 1_000 };
    /// Handshakes of connections that are not open yet.
    pub const HANDSHAKES: Part = Part { number: 8, micros: 2_000 };
    /// Broadcasts on their way to the members of all listeners.
    pub const FANOUT: Part = Part { number: 9, micros: 1_000 };
    /// Deadlines.
    pub const TIMERS: Part = Part { number: 10, micros: 250 };
    /// Lists, kicks and metrics for admin clients.
    pub const ADMIN: Part = Part { number: 11, micros: 250 };
    /// Closing descriptors.
    pub const REAP: Part = Part { number: 12, micros: 250 };
    /// Publications of other nodes.
    pub const CLUSTER: Part = Part { number: 13, micros: 500 };
    /// Names that the engine has granted or taken.
    pub const CLAIMS: Part = Part { number: 13, micros: 250 };

    const _: () = {
        let parts = [
            DISPATCH, PROGRAM, ARRIVALS, ACCEPT, PLUGINS, ADMIT, ACCOUNTS, RESUME, HANDSHAKES,
            FANOUT, TIMERS, ADMIN, REAP, CLUSTER, CLAIMS,
        ];
        let (mut sum, mut at) = (0, 0);
        while at < parts.len() {
            sum += parts[at].micros;
            at += 1;
        }
        assert!(sum == 10_000, "a turn takes 10 ms");
    };
}

/// Cost of a name for its client's visit, in bytes of replies: it is looked at character by
/// character.
pub const NAME_COST_BYTES: usize = 2048;

/// Longest time a client that joins waits for the engine to say whether its nickname is taken on
/// another node, in milliseconds.
#[cfg(feature = "cluster")]
pub const CLAIM_TIMEOUT_MS: u64 = 2_000;

/// Pause between two heartbeats of a node, in milliseconds.
#[cfg(feature = "cluster")]
pub const HEARTBEAT_MS: u64 = 1_000;

/// Silence after which another node has gone, in milliseconds.
#[cfg(feature = "cluster")]
pub const PEER_TIMEOUT_MS: u64 = 6_500;

/// Time after which a node that has not heard its own heartbeat is deaf, in milliseconds.
#[cfg(feature = "cluster")]
pub const DEAF_MS: u64 = 3_000;

/// Longest name of a node, in bytes.
#[cfg(feature = "cluster")]
pub const NODE_NAME_LEN_MAX: usize = 64;

/// Most other nodes that are remembered.
#[cfg(feature = "cluster")]
pub const PEERS_MAX: usize = 1_024;

/// Calls of scripts under way at a time; one of them takes the engine a millisecond at most.
#[cfg(feature = "cluster")]
pub const NAME_CALLS_MAX: usize = 8;

/// Least space for what waits to be published to other nodes, in bytes: what a node tells of its members
/// at a time takes up a quarter of it.
#[cfg(feature = "cluster")]
pub const CLUSTER_UNSENT_BYTES_FLOOR: usize = 1024 * 1024;

/// Bytes of a message between nodes besides its last event: a batch of others, and what names it.
#[cfg(feature = "cluster")]
pub const CLUSTER_BATCH_BYTES_MAX: usize = 128 * 1024;

/// Most members of one room that are known of other nodes.
#[cfg(feature = "cluster")]
pub const REMOTE_MEMBERS_MAX: usize = 1 << 22;

/// Most unfinished handshakes. Those that have begun have a few kilobytes of state.
pub const HANDSHAKES_MAX: usize = 16_384;

/// Steps of handshakes in one turn.
pub const HANDSHAKES_TURN_MAX: usize = 64;

/// Longest messages of a handshake that are kept until they are whole, in bytes: a chain of
/// certificates is a few thousand.
pub const HANDSHAKE_BYTES_MAX: usize = 48 * 1024;

/// Longest record of a layer, in bytes: what a TLS 1.2 one may take (RFC 5246, 6.2.3).
pub const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

/// Cost of opening one record of a layer besides its bytes, in bytes.
pub const RECORD_COST_BYTES: usize = 512;

/// Bytes that are sealed before they are written. What the socket does not take of them is kept.
pub const LAYER_WRITE_BYTES_MAX: usize = READ_BUFFER_BYTES;

/// The same where the socket was full a moment ago: one record.
pub const LAYER_WRITE_BYTES_BLOCKED: usize = 16 * 1024;

/// Longest time from accept to the end of a PROXY header, in milliseconds.
#[cfg(feature = "admission")]
pub const PROXY_HEADER_MS: u64 = 3_000;

/// Most connections whose PROXY header has not come.
#[cfg(feature = "admission")]
pub const HEADERLESS_MAX: usize = 1024;

/// Places kept for admin clients when the server is full.
#[cfg(feature = "admin")]
pub const ADMIN_PLACES: usize = 8;

/// Connections accepted from one listener in one turn.
pub const ACCEPT_TURN_MAX: usize = 256;

/// Unfinished connections taken up again in one turn.
pub const RESUME_TURN_MAX: usize = 1024;

/// Steps of the timer wheel a turn. One takes some ten nanoseconds, or a hundred where the
/// connection is in no cache, so this is a millisecond or two.
pub const TIMER_TURN_STEPS_MAX: usize = 16_384;

/// Steps that a deadline that has passed counts as: it may take a read, a write and a close.
pub const TIMER_STEPS_PER_DEADLINE: usize = 64;

/// Subscribers a fan-out visits in one turn, so that a broadcast to a million delays no echo.
pub const FANOUT_SLICE_MEMBERS: usize = 1024;

/// Pause of accepting when the process is out of files or memory, unless a close ends it.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Longest time a listener that is removed goes on accepting who is in its backlog.
pub const BACKLOG_MS_MAX: u64 = 100;

/// Shortest time in which the connections of a listener that is removed are drained.
pub const DRAIN_MS_MIN: u64 = 200;

/// Time for which a connection that the server closed first is kept to discard what its peer still
/// sends (nginx: `lingering_timeout 5s`). Closing with unread input would reset it, and a reset
/// destroys replies on their way.
pub const LINGER_MS: u64 = 5_000;

/// The same while the server stops: a stop should not take five seconds.
pub const LINGER_STOPPING_MS: u64 = 1_000;

/// Time after which a closing connection that takes none of its last replies is cut.
pub const DRAIN_STALL_MS: u64 = 60_000;

/// The rate an unfinished frame must average once it is older than the frame timeout
/// (Apache `mod_reqtimeout`: `MinRate`).
pub const FRAME_BYTES_PER_SEC_MIN: u64 = 240;

/// Silence after which the text of a chat client that has never ended a message is a message.
pub const UNTERMINATED_QUIET_MS: u64 = 50;

/// Smallest log of a chat: the longest line there is, a nickname of 16 characters and a message of
/// 4096 that all become U+FFFD, must fit whatever `--broadcast-log` says.
pub const CHAT_LOG_BYTES_MIN: usize = 16 * 1024;

/// Memory the loop's scratch buffer may keep when there is nothing to do.
pub const SCRATCH_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Memory a broadcast log may keep when everyone has everything.
pub const LOG_KEPT_BYTES_MAX: usize = 256 * 1024;

/// Connection lines logged a second; the rest are counted and summed up.
pub const CONNECTION_LOG_LINES_PER_SEC: u32 = 100;

/// Bytes of a payload shown in a debug line.
pub const PAYLOAD_LOG_BYTES: usize = 128;

/// Descriptors kept for the server's own use when `--max-clients` is derived from the file limit.
pub const FILES_RESERVED: usize = 32;

/// Descriptors the server itself has open, listeners apart: standard streams, epoll, the loop's
/// waker, the signals' pipe with six ends, the log file, and one for the C library.
pub const FILES_OWN: usize = 13;

/// Descriptors that a cluster takes: two connections to its engine, and lookups of its address.
#[cfg(feature = "cluster")]
pub const FILES_ENGINE: usize = 8;

/// Largest `--max-frame`, in bytes.
pub const FRAME_LEN_LIMIT: u32 = 1 << 30;

/// Largest `--send-queue` and `--broadcast-log`, in bytes.
pub const QUEUE_BYTES_LIMIT: usize = 1 << 30;

/// Smallest `--send-queue` and `--broadcast-log`, in bytes.
pub const QUEUE_BYTES_FLOOR: usize = 4096;

/// Smallest `--memory-limit`, in bytes.
pub const MEMORY_BYTES_FLOOR: usize = 1 << 20;

/// Largest `--memory-limit`, in bytes.
pub const MEMORY_BYTES_LIMIT: usize = 1 << 46;

/// Longest timeout that can be set, in seconds: a year.
pub const TIMEOUT_SECS_LIMIT: u64 = 365 * 24 * 3600;

/// Longest `--tcp-keepalive`, in seconds (tcp(7): `MAX_TCP_KEEPIDLE`).
pub const KEEPALIVE_SECS_LIMIT: u64 = 32_767;

/// Longest `--plugin-budget`, in milliseconds: no client is served meanwhile.
pub const PLUGIN_BUDGET_MS_LIMIT: u64 = 60_000;

/// Smallest `--plugin-memory`, in bytes: a Lua state and what the sandbox puts into it.
pub const PLUGIN_MEMORY_BYTES_FLOOR: usize = 1 << 20;

/// Largest `--plugin-memory`, in bytes.
pub const PLUGIN_MEMORY_BYTES_LIMIT: usize = 1 << 32;

/// Largest `--connect-rate` and `--message-rate`: one a microsecond.
#[cfg(feature = "admission")]
pub const CONNECT_RATE_LIMIT: u32 = 1_000_000;

/// Longest `gather=`, in milliseconds.
pub const GATHER_MS_LIMIT: u64 = 60_000;

/// Limits that an operator may set, in the units the core works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections open at once.
    pub clients_max: usize,
    /// Most lingering and refused connections, beside those that are open.
    pub lingering_max: usize,
    /// Most unsent reply bytes of one connection; one reply may overshoot. From half of it on, the
    /// server stops reading from that client.
    pub send_queue_bytes_max: usize,
    /// Most bytes that may wait, over all connections and listeners.
    pub memory_bytes_max: usize,
    /// Most broadcast bytes one listener keeps for subscribers that lag.
    pub broadcast_log_bytes_max: usize,
    /// Longest stall of an incomplete frame, in milliseconds.
    pub frame_timeout_ms: u64,
    /// Longest time from accept to the end of a handshake, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Most unfinished handshakes; the oldest of the address that has most makes way.
    pub handshakes_max: usize,
    /// Most connections whose PROXY header has not come; the oldest makes way.
    #[cfg(feature = "admission")]
    pub headerless_max: usize,
    /// Longest time a stop waits for unsent replies, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Limits {
    /// Unsent bytes at which a client is no longer read from.
    #[must_use]
    pub const fn send_queue_high_water(&self) -> usize {
        self.send_queue_bytes_max / 2
    }

    /// Longest payload that may be broadcast.
    #[must_use]
    pub const fn broadcast_len_max(&self) -> usize {
        self.broadcast_log_bytes_max / 4
    }

    /// Most bytes that wait to be published to other nodes.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster_unsent_bytes_max(&self) -> usize {
        self.send_queue_bytes_max.max(CLUSTER_UNSENT_BYTES_FLOOR)
    }

    /// Longest message of another node that is heard.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub const fn cluster_message_bytes_max(&self) -> usize {
        self.broadcast_len_max() + CLUSTER_BATCH_BYTES_MAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients_max: 1024 - FILES_RESERVED,
            lingering_max: 16,
            send_queue_bytes_max: defaults::SEND_QUEUE_BYTES,
            memory_bytes_max: 1 << 30,
            broadcast_log_bytes_max: defaults::BROADCAST_LOG_BYTES,
            frame_timeout_ms: defaults::FRAME_TIMEOUT_SECS * 1000,
            handshake_timeout_ms: defaults::HANDSHAKE_TIMEOUT_SECS * 1000,
            handshakes_max: HANDSHAKES_MAX,
            #[cfg(feature = "admission")]
            headerless_max: HEADERLESS_MAX,
            drain_timeout_ms: defaults::DRAIN_TIMEOUT_SECS * 1000,
        }
    }
}
