//! Admission in worlds where that is limited: an exact model of which connection is counted
//! for which address, and of those whose PROXY header has not come. What happens is told by the
//! network and by the server's counters; the server's own table is not asked.

use std::collections::HashMap;
use std::net::IpAddr;

use mynah::internal::clock::Millis;
use mynah::internal::server::{Server, Transport};
use mynah::internal::stats::Stats;

use super::network::{Arrival, Network, Socket};
use super::origins::{EXEMPT, Manner, Origin};
use crate::support::rng::Rng;

/// How long a header may take.
pub const HEADER_MS: u64 = 3_000;
/// A bucket holds a second of connections.
const BUCKET_MICROS: u64 = 1_000_000;

/// The limits of a world, and what has become of each connection.
pub struct Admission {
    pub rng: Rng,
    open_max: usize,
    rate_max: u64,
    exempt: Option<usize>,
    pub headerless_max: usize,
    /// Which listeners trust proxies.
    pub trusting: Vec<bool>,
    /// By socket.
    places: Vec<Place>,
    /// When the bucket of each address is empty, in microseconds.
    buckets: HashMap<u128, Bucket>,
    /// The server's counters when it was last looked at.
    seen: Refusals,
    debts: Vec<Debt>,
    /// Whether nothing was left to do after the turn before: who is seen closed has closed since.
    was_done: bool,
}

/// A connection.
struct Place {
    origin: Origin,
    /// Whether it is told why it is refused.
    is_told: bool,
    standing: Standing,
    accepted_at: Millis,
    /// It was known to be closed when it was last looked at.
    is_shut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Backlog,
    /// Its header has not come.
    Headerless,
    /// The same, or the server was full.
    MaybeHeaderless,
    /// It is let in, and counted if its address is.
    Open,
    /// The same, or the server was full.
    MaybeOpen,
    /// There was no room, or nothing to watch it with.
    NotTaken,
    /// Its address had too many.
    OverLimit,
    /// One of several that came at once and of which some were refused.
    MaybeOverLimit,
}

struct Bucket {
    due_at: u64,
    /// Until then nobody outside knows how full it is.
    unknown_until: u64,
}

/// Connections that were let in over the limit as far as was known: so many of these must have
/// closed before.
struct Debt {
    closed: usize,
    of: Vec<usize>,
    by: usize,
}

/// Counters of the server.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    all: u64,
    by_address: u64,
    headers: u64,
}

impl Refusals {
    #[cfg(feature = "admission")]
    fn of(stats: &Stats) -> Self {
        let (by_address, headers) =
            (stats.refused_by_address_total, stats.proxy_header_failures_total);
        Refusals { all: stats.refused_total, by_address, headers }
    }

    #[cfg(not(feature = "admission"))]
    fn of(stats: &Stats) -> Self {
        Refusals { all: stats.refused_total, ..Refusals::default() }
    }

    fn full(self) -> u64 {
        self.all - self.by_address - self.headers
    }
}

/// How many the server has refused because it was full.
pub fn refused_as_full(stats: &Stats) -> u64 {
    Refusals::of(stats).full()
}

impl Place {
    fn is_waiting(&self) -> bool {
        matches!(self.standing, Standing::Headerless | Standing::MaybeHeaderless)
    }

    /// When it was decided whether its address may have it.
    fn decided_at(&self, socket: &Socket) -> Option<u64> {
        if self.origin.manner.expects_header() { socket.header_at } else { socket.accepted_at }
    }
}

impl Admission {
    /// In one world of three.
    pub fn new(seed: u64, listeners: usize) -> Option<Self> {
        let mut rng = Rng::new(seed ^ 0xadd2);
        if !cfg!(feature = "admission") || !rng.one_in(3) {
            return None;
        }
        let (open_max, rate_max) = match rng.below(4) {
            0 => (0, rng.between(1, 20)),
            1 => (rng.between(1, 6), rng.between(1, 20)),
            _ => (rng.between(1, 6), 0),
        };
        let exempt = rng.one_in(3).then(|| rng.below(EXEMPT.len()));
        let headerless_max = [1, 3, 1_024][rng.below(3)];
        let trusting = (0..listeners).map(|_| rng.one_in(2)).collect();
        Some(Admission {
            rng,
            open_max,
            rate_max: rate_max as u64,
            exempt,
            headerless_max,
            trusting,
            places: Vec::new(),
            buckets: HashMap::new(),
            seen: Refusals::default(),
            debts: Vec::new(),
            was_done: true,
        })
    }

    #[cfg(not(feature = "admission"))]
    pub fn install<T: Transport>(&self, _: &mut Server<T>) {
        let _ = super::origins::PROXIES;
    }

    /// Gives the server the world's limits, and the listeners their proxies.
    #[cfg(feature = "admission")]
    pub fn install<T: Transport>(&self, server: &mut Server<T>) {
        use mynah::{AddressLimits, Networks, TrustedProxies};

        use super::origins::PROXIES;

        let networks = |list| Networks::parse(list).expect("networks");
        let exempt = self.exempt.map_or_else(Networks::default, |at| networks(EXEMPT[at].0));
        let (open_max, rate_max) = (self.open_max as u32, self.rate_max as u32);
        server.set_address_limits(AddressLimits { open_max, rate_max }, exempt);
        for (listener, _) in
            self.trusting.iter().enumerate().filter(|(_, is_trusting)| **is_trusting)
        {
            server.trust_proxies(listener, Some(TrustedProxies::parse(PROXIES).expect("networks")));
        }
    }

    /// The client of the next socket has connected.
    pub fn connect(&mut self, origin: Origin, is_told: bool) {
        let (standing, accepted_at) = (Standing::Backlog, Millis(0));
        self.places.push(Place { origin, is_told, standing, accepted_at, is_shut: false });
    }

    pub fn origin(&self, socket: usize) -> &Origin {
        &self.places[socket].origin
    }

    /// Looks at what a call of the server's has done.
    pub fn observe(&mut self, network: &mut Network, stats: &Stats, now: Millis) {
        let arrivals = std::mem::take(&mut network.arrivals);
        let refusals = Refusals::of(stats);
        let before = std::mem::replace(&mut self.seen, refusals);
        if arrivals.is_empty() {
            assert_eq!(refusals.by_address, before.by_address, "refused although nobody came");
            return;
        }
        let full = refusals.full() - before.full();
        self.sort_accepted(&arrivals, network, full as usize, now);
        let dropped = |place: &Place| place.standing == Standing::OverLimit;
        let at_accept = accepted(&arrivals).filter(|at| dropped(&self.places[*at])).count();
        let by_address = refusals.by_address - before.by_address;
        let by_header = by_address.checked_sub(at_accept as u64);
        let by_header = by_header.expect("every refusal is counted");
        self.sort_named(&arrivals, network, by_header as usize);
        for (moment, arrival) in arrivals {
            match arrival {
                Arrival::Accepted(at) if !self.places[at].origin.manner.expects_header() => {
                    self.check_decision(at, moment, network, now);
                }
                Arrival::HeaderTaken(at) => {
                    self.check_decision(at, moment, network, now);
                }
                Arrival::Accepted(_) => {}
            }
        }
    }

    /// Fate of those that were accepted, `full` of which found no room.
    fn sort_accepted(
        &mut self,
        arrivals: &[(u64, Arrival)],
        network: &Network,
        full: usize,
        now: Millis,
    ) {
        let (mut closed, mut others, mut full_left) = (Vec::new(), Vec::new(), full);
        for at in accepted(arrivals) {
            let (place, socket) = (&mut self.places[at], &network.sockets[at]);
            place.accepted_at = now;
            let is_headerless = place.origin.manner.expects_header();
            place.standing = if is_headerless { Standing::Headerless } else { Standing::Open };
            if socket.register_failed {
                place.standing = Standing::NotTaken;
            } else if !socket.was_registered {
                assert!(!is_headerless, "client {at} was refused before it was known");
                place.standing = Standing::OverLimit;
            } else if is_full(socket, is_headerless) {
                place.standing = Standing::NotTaken;
                full_left = full_left.checked_sub(1).expect("whoever is told is counted");
            } else if socket.server_shut && socket.read_calls == 0 && !is_headerless {
                closed.push(at);
            } else {
                others.push(at);
            }
        }
        if full_left == closed.len() + others.len() {
            closed.append(&mut others);
        }
        let are_known = full_left == closed.len();
        for at in closed.iter().filter(|_| are_known) {
            self.places[*at].standing = Standing::NotTaken;
        }
        for at in closed.into_iter().chain(others).filter(|_| full_left > 0 && !are_known) {
            let place = &mut self.places[at];
            place.standing = match place.standing {
                Standing::Headerless => Standing::MaybeHeaderless,
                _ => Standing::MaybeOpen,
            };
        }
    }

    /// Fate of those whose headers came, of which `refused` had too many.
    fn sort_named(&mut self, arrivals: &[(u64, Arrival)], network: &Network, refused: usize) {
        let mut named: Vec<usize> = arrivals
            .iter()
            .filter_map(|(_, arrival)| match arrival {
                Arrival::HeaderTaken(at) => Some(*at),
                Arrival::Accepted(_) => None,
            })
            .collect();
        for at in &named {
            assert!(self.places[*at].is_waiting(), "client {at} waits for no header");
        }
        assert!(refused <= named.len(), "{refused} were refused, and {} came", named.len());
        let mut left = refused;
        named.retain(|&at| {
            let is_refused = begins_with(&network.sockets[at], b"too many connections from ");
            if is_refused {
                self.places[at].standing = Standing::OverLimit;
                left = left.checked_sub(1).expect("whoever is told is counted");
            }
            !is_refused
        });
        let standing = match left {
            0 => Standing::Open,
            _ if left == named.len() => Standing::OverLimit,
            _ => Standing::MaybeOverLimit,
        };
        named.iter().for_each(|at| self.places[*at].standing = standing);
    }

    /// The decision about a connection, made at that moment, was right.
    fn check_decision(&mut self, at: usize, moment: u64, network: &Network, now: Millis) {
        let place = &self.places[at];
        let (standing, ip) = (place.standing, place.origin.client.ip());
        let is_refused = standing == Standing::OverLimit;
        if self.exempt.is_some_and(|at| EXEMPT[at].1(ip)) {
            assert!(!is_refused, "client {at} of {ip} was refused, which is exempt");
            return;
        }
        let key = counted_as(ip);
        let (mut sure, mut most) = (Vec::new(), 0);
        for (other, place) in self.places.iter().enumerate() {
            let was_shut = network.sockets[other].shut_at.is_some_and(|shut_at| shut_at < moment);
            let is_counted = counted_as(place.origin.client.ip()) == key && !was_shut;
            let decided_at = place.decided_at(&network.sockets[other]);
            if other == at || !is_counted || decided_at.is_none_or(|at| at > moment) {
                continue;
            }
            match place.standing {
                Standing::Open => sure.push(other),
                Standing::MaybeOpen | Standing::MaybeOverLimit => {}
                _ => continue,
            }
            most += 1;
        }
        let micros = now.0 * 1_000;
        let bucket = self.buckets.entry(key).or_insert(Bucket { due_at: 0, unknown_until: 0 });
        let wait = bucket.due_at.saturating_sub(micros);
        let cost = BUCKET_MICROS.checked_div(self.rate_max).unwrap_or(0);
        let is_unknown = bucket.unknown_until > micros;
        let is_fast = wait + cost > BUCKET_MICROS;
        if standing == Standing::MaybeOverLimit {
            bucket.unknown_until = micros + 2 * BUCKET_MICROS;
            return;
        }
        if is_refused {
            let is_many = self.open_max > 0 && most >= self.open_max;
            let may_be = is_many || is_fast || (is_unknown && cost > 0);
            assert!(may_be, "client {at} of {ip} was refused, which has {most} open");
            return;
        }
        assert!(!is_fast || is_unknown, "client {at} of {ip} was let in, too fast");
        bucket.due_at = micros + wait + cost;
        if self.open_max > 0 && sure.len() >= self.open_max {
            self.debts.push(Debt { closed: sure.len() + 1 - self.open_max, of: sure, by: at });
        }
    }

    /// Checks what must hold after a turn. `is_done` is that the server has nothing left to do.
    pub fn check_turn(&mut self, network: &Network, now: Millis, is_done: bool, is_stopping: bool) {
        self.check_headerless(network, now, is_done, is_stopping);
        self.was_done = is_done;
        if !is_done {
            return;
        }
        for Debt { closed, of, by } in self.debts.drain(..) {
            let shut = of.iter().filter(|at| network.sockets[**at].server_shut).count();
            assert!(shut >= closed, "client {by} was let in, although its address had {of:?} open");
        }
    }

    /// At most so many wait for their header, none for longer than it may, and one that has to make
    /// way is the oldest.
    fn check_headerless(
        &mut self,
        network: &Network,
        now: Millis,
        is_done: bool,
        is_stopping: bool,
    ) {
        let waits = |at: &usize| self.places[*at].is_waiting() && !network.sockets[*at].server_shut;
        let waiting: Vec<usize> = (0..self.places.len()).filter(waits).collect();
        for &at in &waiting {
            let waits_ms = now.since(self.places[at].accepted_at);
            let is_late = is_done && waits_ms >= HEADER_MS;
            assert!(!is_late, "client {at} has had {waits_ms} ms for its header");
            let has_ended = is_done && network.is_quiet() && network.sockets[at].client_shut;
            assert!(!has_ended, "client {at} has shut its side, and its header is waited for");
        }
        for at in 0..self.places.len() {
            let (place, socket) = (&self.places[at], &network.sockets[at]);
            let has_closed = socket.server_shut && !place.is_shut;
            self.places[at].is_shut = socket.server_shut;
            let place = &self.places[at];
            let has_ended = socket.client_shut || socket.client_reset || is_stopping;
            let may_end = has_ended || place.origin.manner.is_wrong();
            let waited_ms = now.since(place.accepted_at);
            if place.standing != Standing::Headerless || !has_closed || may_end {
                continue;
            }
            if waited_ms < HEADER_MS && self.was_done {
                assert!(
                    waiting.len() >= self.headerless_max,
                    "client {at}, {:?}, made way for {waiting:?}, after {waited_ms} ms: {socket:?}",
                    place.origin.manner
                );
                let order = |at: usize| network.sockets[at].accepted_at;
                let older = waiting.iter().find(|other| {
                    let is_sure = self.places[**other].standing == Standing::Headerless;
                    is_sure && order(**other) < order(at)
                });
                assert_eq!(
                    older, None,
                    "client {at}, {:?}, made way before an older one: {socket:?}",
                    place.origin.manner
                );
            }
        }
    }

    /// Whether a connection has ended here: nothing it said was for anybody.
    pub fn is_refused(&self, at: usize, socket: &Socket, has_heard: bool) -> bool {
        match self.places[at].standing {
            Standing::OverLimit => true,
            Standing::Headerless | Standing::MaybeHeaderless => socket.server_shut,
            Standing::MaybeOverLimit => socket.server_shut && !has_heard,
            _ => false,
        }
    }

    /// Checks, once all is quiet, what a client has heard of its refusal; `told` is the address
    /// that was in it.
    pub fn check_outcome(&self, at: usize, socket: &Socket, told: Option<&str>, heard_len: usize) {
        let place = &self.places[at];
        let (ip, manner, standing) =
            (place.origin.client.ip(), place.origin.manner, place.standing);
        if let Some(told) = told {
            let may_be = matches!(standing, Standing::OverLimit | Standing::MaybeOverLimit);
            assert!(may_be, "client {at} was told of {told}, but {standing:?}");
            assert_eq!(told, ip.to_string(), "client {at} was told of somebody else");
        }
        let context = || format!("client {at}, {manner:?}, {standing:?}, {socket:?}");
        match standing {
            Standing::OverLimit if !place.is_told => {
                assert_eq!(heard_len, 0, "heard something: {}", context());
            }
            Standing::OverLimit => {
                let is_whole = !socket.reset_by_server && !socket.client_reset && !socket.was_full;
                assert!(told.is_some() || !is_whole, "was not told: {}", context());
            }
            Standing::Headerless => {
                assert!(socket.server_shut, "is forgotten: {}", context());
                assert_eq!(heard_len, 0, "heard something: {}", context());
            }
            _ => {}
        }
        assert!(
            !matches!(standing, Standing::Open) || manner.is_good() || manner == Manner::Direct,
            "was let in: {}",
            context()
        );
    }
}

fn accepted(arrivals: &[(u64, Arrival)]) -> impl Iterator<Item = usize> {
    arrivals.iter().filter_map(|(_, arrival)| match arrival {
        Arrival::Accepted(at) => Some(*at),
        Arrival::HeaderTaken(_) => None,
    })
}

/// Whether a connection shows that the server had no room for it: nothing else is written to one
/// whose header has not come, nor is anything of it waited for.
fn is_full(socket: &Socket, is_headerless: bool) -> bool {
    let is_answered = is_headerless && socket.header_at.is_none() && socket.writes > 0;
    let is_waited_for = is_headerless && socket.header_at.is_none() && socket.lingered;
    // Dropped at once: nobody makes way who has just come.
    let is_dropped = is_headerless && socket.shut_at == socket.accepted_at.map(|at| at + 1);
    is_answered || is_waited_for || is_dropped || begins_with(socket, b"server is full: ")
}

/// Whether what a client is about to hear first begins with a text, behind its frame or prefix.
fn begins_with(socket: &Socket, text: &[u8]) -> bool {
    let heard: Vec<u8> = socket.to_client.iter().copied().take(8 + text.len()).collect();
    heard.windows(text.len()).any(|piece| piece == text)
}

/// One number for each address that counts: of IPv6, a /64.
fn counted_as(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

/// The reads behind a header, which the server takes by itself.
///
/// # Panics
///
/// If one took some of both.
pub fn reads_behind(reads: &[usize], header_len: usize) -> &[usize] {
    let (mut taken, mut count) = (0, 0);
    while taken < header_len
        && let Some(read) = reads.get(count)
    {
        (taken, count) = (taken + read, count + 1);
    }
    assert!(taken <= header_len, "a header was taken with what stood behind it");
    &reads[count..]
}
