//! The network between nodes and the engine: connections whose bytes take their time, come in any
//! pieces, and wait while a direction is blocked, as TCP has them wait.

use std::collections::{BTreeMap, VecDeque};

use mynah::internal::cluster::Link;

use super::engine::ModelEngine;
use super::trace;
use crate::support::rng::Rng;

/// Bytes that a direction takes before its other end has read them.
const WINDOW_BYTES: [usize; 3] = [700, 8_000, 200_000];

/// Least window of connections that are slow. One of 700 bytes takes 6 kB a second then, which is less
/// than a full room says: scripts would wait for seconds, and heartbeats behind what is published.
const SLOW_WINDOW_BYTES_MIN: usize = 8_000;

/// What is between the nodes and the engine.
pub struct Wires {
    wires: BTreeMap<u64, Wire>,
    next_id: u64,
    /// By node and link: whether bytes to the engine, and from it, get through.
    blocked: BTreeMap<(usize, usize), [bool; 2]>,
    pub delay_ms_max: usize,
    pub window: usize,
    rng: Rng,
}

struct Wire {
    node: usize,
    link: Link,
    /// The connection as the engine has it, until it has closed it.
    connection: Option<u64>,
    up: Direction,
    down: Direction,
    /// Nobody at the node reads from it any more.
    is_left: bool,
    /// A firewall has forgotten it: nothing gets through any more, and neither end is told.
    is_forgotten: bool,
}

#[derive(Default)]
struct Direction {
    pieces: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// When its end arrives, behind all bytes.
    ends_at: Option<u64>,
    last_at: u64,
}

impl Wires {
    pub fn new(mut rng: Rng) -> Self {
        let window = WINDOW_BYTES[rng.below(3)];
        let delay_ms_max = [2, 20, 200][rng.below(3)];
        let window = if delay_ms_max > 20 { window.max(SLOW_WINDOW_BYTES_MIN) } else { window };
        trace(|| format!("connections take {window} bytes, up to {delay_ms_max} ms each way"));
        Wires {
            wires: BTreeMap::new(),
            next_id: 0,
            blocked: BTreeMap::new(),
            delay_ms_max,
            window,
            rng,
        }
    }

    pub fn block(&mut self, node: usize, link: Link, directions: [bool; 2]) {
        let blocked = self.blocked.entry((node, link as usize)).or_default();
        for (blocked, also) in blocked.iter_mut().zip(directions) {
            *blocked |= also;
        }
    }

    pub fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// What is open now is forgotten on the way; what is opened later is not.
    pub fn forget(&mut self, node: usize, link: Link) {
        let is_open = |wire: &&mut Wire| wire.node == node && wire.link == link;
        self.wires.values_mut().filter(is_open).for_each(|wire| wire.is_forgotten = true);
    }

    fn blocked(&self, node: usize, link: Link) -> [bool; 2] {
        self.blocked.get(&(node, link as usize)).copied().unwrap_or_default()
    }

    /// Whether a connection can be opened now.
    pub fn is_through(&self, node: usize, link: Link) -> bool {
        self.blocked(node, link) == [false, false]
    }

    pub fn connect(&mut self, node: usize, link: Link, engine: &mut ModelEngine) -> u64 {
        self.next_id += 1;
        let wire = Wire {
            node,
            link,
            connection: Some(engine.connect()),
            up: Direction::default(),
            down: Direction::default(),
            is_left: false,
            is_forgotten: false,
        };
        self.wires.insert(self.next_id, wire);
        self.next_id
    }

    /// The node writes a beginning of `bytes`; returns how much the wire takes.
    pub fn send(&mut self, id: u64, bytes: &[u8], now: u64) -> usize {
        let at = now + self.rng.below(self.delay_ms_max) as u64;
        let Some(wire) = self.wires.get_mut(&id) else { return bytes.len() };
        let taken = bytes.len().min(self.window.saturating_sub(wire.up.bytes));
        // Sometimes less than it could.
        let taken = if taken > 1 && self.rng.one_in(4) { self.rng.skewed(taken) } else { taken };
        wire.up.push(&bytes[..taken], at);
        taken
    }

    /// The node reads; an empty piece is the end.
    pub fn receive(&mut self, id: u64, now: u64) -> Option<Vec<u8>> {
        let [_, is_blocked] = self.blocked(self.wires[&id].node, self.wires[&id].link);
        let most = if self.rng.one_in(3) { self.rng.skewed(4_096) } else { usize::MAX };
        let wire = self.wires.get_mut(&id).expect("a wire");
        if is_blocked || wire.is_forgotten {
            return None;
        }
        wire.down.take(most, now).or_else(|| wire.down.is_over(now).then(Vec::new))
    }

    /// The node closes its end.
    pub fn close(&mut self, id: u64, now: u64) {
        let at = now + self.rng.below(self.delay_ms_max) as u64;
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.is_left = true;
            wire.up.end(at);
            wire.down = Direction::default();
        }
    }

    /// Moves what is due.
    pub fn advance(&mut self, engine: &mut ModelEngine, now: u64) {
        // What one says another hears in the same moment.
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            self.advance_forgotten(id, engine);
            self.advance_up(id, engine, now);
        }
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            self.advance_down(id, engine, now);
        }
        self.wires.retain(|_, wire| wire.connection.is_some() || !wire.is_left);
    }

    /// The engine writes until the node has gone, as if it were heard.
    fn advance_forgotten(&mut self, id: u64, engine: &mut ModelEngine) {
        let wire = self.wires.get_mut(&id).expect("a wire");
        let Some(number) = wire.connection.filter(|_| wire.is_forgotten) else { return };
        let connection = engine.connection(number);
        connection.output.clear();
        if connection.is_closed || wire.is_left {
            engine.drop_connection(number);
            wire.connection = None;
        }
    }

    fn advance_up(&mut self, id: u64, engine: &mut ModelEngine, now: u64) {
        let wire = self.wires.get_mut(&id).expect("a wire");
        let (Some(connection), [false, _]) = (
            wire.connection.filter(|_| !wire.is_forgotten),
            self.blocked.get(&(wire.node, wire.link as usize)).copied().unwrap_or_default(),
        ) else {
            return;
        };
        while let Some(bytes) = wire.up.take(usize::MAX, now) {
            engine.on_bytes(connection, &bytes);
        }
        if wire.up.is_over(now) {
            engine.drop_connection(connection);
            wire.connection = None;
        }
    }

    fn advance_down(&mut self, id: u64, engine: &mut ModelEngine, now: u64) {
        let at = now + self.rng.below(self.delay_ms_max) as u64;
        let window = self.window;
        let wire = self.wires.get_mut(&id).expect("a wire");
        let Some(number) = wire.connection.filter(|_| !wire.is_forgotten) else { return };
        let connection = engine.connection(number);
        let room = window.saturating_sub(wire.down.bytes);
        let taken = connection.output.len().min(room);
        if taken > 0 {
            let bytes: Vec<u8> = connection.output.drain(..taken).collect();
            if !wire.is_left {
                wire.down.push(&bytes, at);
            }
        }
        if connection.is_closed {
            engine.drop_connection(number);
            wire.connection = None;
            wire.down.end(at);
        }
    }

    /// When something is due next that is not blocked.
    pub fn next_due(&self) -> Option<u64> {
        let dues = self.wires.values().filter(|wire| !wire.is_forgotten).flat_map(|wire| {
            let [up, down] = self.blocked(wire.node, wire.link);
            let up = wire.up.due().filter(|_| !up && wire.connection.is_some());
            let down = wire.down.due().filter(|_| !down && !wire.is_left);
            [up, down]
        });
        dues.flatten().min()
    }
}

impl Direction {
    fn push(&mut self, bytes: &[u8], at: u64) {
        if bytes.is_empty() {
            return;
        }
        self.last_at = self.last_at.max(at);
        self.bytes += bytes.len();
        self.pieces.push_back((self.last_at, bytes.to_vec()));
    }

    fn end(&mut self, at: u64) {
        self.last_at = self.last_at.max(at);
        self.ends_at = Some(self.last_at);
    }

    fn take(&mut self, most: usize, now: u64) -> Option<Vec<u8>> {
        let (_, bytes) = self.pieces.front_mut().filter(|(at, _)| *at <= now)?;
        let rest = bytes.split_off(most.min(bytes.len()));
        let taken = std::mem::replace(bytes, rest);
        if bytes.is_empty() {
            self.pieces.pop_front();
        }
        self.bytes -= taken.len();
        Some(taken)
    }

    fn is_over(&self, now: u64) -> bool {
        self.pieces.is_empty() && self.ends_at.is_some_and(|at| at <= now)
    }

    fn due(&self) -> Option<u64> {
        self.pieces.front().map(|(at, _)| *at).or(self.ends_at)
    }
}
