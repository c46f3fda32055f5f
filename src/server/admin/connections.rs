//! Lists and kicks of connections: the table is looked through in its order, page by page, over as
//! many turns as it takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use log::info;
use serde::Serialize;

use super::super::connection::{Connection, Flags, State};
use super::super::listener::Listener;
use super::super::transport::Transport;
use super::super::{Io, Server};
#[cfg(feature = "admission")]
use crate::address::AddressKey;
use crate::conn_id::ConnId;
use crate::limits::VISIT_COST_BYTES;
use crate::protocol::admin::{Answer, Filter, Kick, List, Sort};
use crate::protocol::{CloseReason, Handler, Shared, dispatch};

/// Cost of a look at a connection, in bytes: a cache miss or two.
const LOOK_COST_BYTES: usize = 96;

/// The same where the system has to be asked for its address.
const ADDRESS_COST_BYTES: usize = 1024;

/// Cost of a row: the address, and some hundred bytes of JSON.
const ROW_COST_BYTES: usize = 2048;

/// Pages looked through in a turn at most, where there is no clock.
const PAGES_TURN_MAX: usize = 512;

/// A list or a kick, as far as it has come.
pub(super) struct Scan {
    job: Job,
    /// The page of the table to be looked at next, and where in it.
    page: usize,
    slot: u32,
}

enum Job {
    List(ListJob),
    Kick(KickJob),
}

struct KickJob {
    kick: Kick,
    kicked: u64,
    /// Connections to be closed, of one page at most.
    found: Vec<ConnId>,
}

struct ListJob {
    list: List,
    total: u64,
    /// Connections to be shown, in the table's order, or while sorting in none.
    found: Vec<ConnId>,
    /// The largest so far, the smallest of them first.
    largest: BinaryHeap<Reverse<(u64, ConnId)>>,
    /// The slot at which a further list would begin.
    next: Option<u32>,
    /// Rows as they are written, and how many connections of `found` they show.
    rows: Vec<u8>,
    shown: usize,
}

/// One connection in a list.
#[derive(Serialize)]
struct Row<'a> {
    id: u32,
    listener: &'a str,
    address: Option<String>,
    name: Option<&'a str>,
    connected_secs: Option<u64>,
    idle_secs: u64,
    queue_bytes: u64,
    tls: bool,
}

impl Scan {
    pub(super) fn list(list: List) -> Self {
        let job = ListJob {
            list,
            total: 0,
            found: Vec::new(),
            largest: BinaryHeap::new(),
            next: None,
            rows: Vec::new(),
            shown: 0,
        };
        Scan { job: Job::List(job), page: 0, slot: 0 }
    }

    pub(super) fn kick(kick: Kick) -> Self {
        Scan { job: Job::Kick(KickJob { kick, kicked: 0, found: Vec::new() }), page: 0, slot: 0 }
    }

    /// Bytes allocated for it.
    pub(super) fn allocated(&self) -> usize {
        match &self.job {
            Job::List(job) => {
                job.rows.capacity()
                    + job.found.capacity() * size_of::<ConnId>()
                    + job.largest.capacity() * size_of::<(u64, ConnId)>()
            }
            Job::Kick(job) => job.found.capacity() * size_of::<ConnId>(),
        }
    }

    /// Whether it was about one connection, which has been found.
    fn has_its_one(&self) -> bool {
        matches!(&self.job, Job::Kick(job) if job.kick.filter.id.is_some() && !job.found.is_empty())
    }

    fn filter(&self) -> &Filter {
        match &self.job {
            Job::List(job) => &job.list.filter,
            Job::Kick(job) => &job.kick.filter,
        }
    }
}

impl<T: Transport> Server<T> {
    /// Goes on with a scan that `asker` waits for. Returns its answer; `None` if its share of the turn
    /// is spent.
    pub(super) fn scan_some(
        &mut self,
        registry: &T::Registry,
        asker: ConnId,
        scan: &mut Scan,
    ) -> Option<Answer> {
        let listener = match &scan.filter().listener {
            None => None,
            Some(name) => {
                let number = self
                    .listeners
                    .iter()
                    .position(|l| l.identity.name == *name && l.is_in_service());
                let Some(number) = number else {
                    return Some(Answer::text(
                        400,
                        format!("no listener '{}'\n", name.escape_debug()),
                    ));
                };
                Some(number)
            }
        };
        #[cfg(feature = "admission")]
        if let (0, 0, Job::Kick(job)) = (scan.page, scan.slot, &scan.job) {
            // Before the first is closed, so that none comes back behind the search.
            self.ban(&job.kick);
        }
        if !self.kick_found(registry, &mut scan.job) {
            return None;
        }
        for _ in 0..PAGES_TURN_MAX {
            if scan.page == self.table.pages() {
                return self.finish_scan(scan);
            }
            let page_listener = self.table.page_listener(scan.page);
            let next = if listener.is_none_or(|wanted| page_listener == Some(wanted)) {
                let (found, next) = self.matching(scan.page, scan.slot, scan.filter());
                match &mut scan.job {
                    Job::List(job) => job.take(&found),
                    Job::Kick(job) => {
                        let ids = found.into_iter().map(|(id, _)| id);
                        job.found = ids.filter(|id| *id != asker).collect();
                    }
                }
                next
            } else {
                None
            };
            match next {
                // There is one of a number, and it was found.
                _ if scan.has_its_one() => (scan.page, scan.slot) = (self.table.pages(), 0),
                Some(slot) => scan.slot = slot,
                None => (scan.page, scan.slot) = (scan.page + 1, 0),
            }
            if self.schedule.budget.is_spent() || !self.kick_found(registry, &mut scan.job) {
                return None;
            }
        }
        None
    }

    /// Closes the connections that a kick has found. False if its share of the turn is spent.
    fn kick_found(&mut self, registry: &T::Registry, job: &mut Job) -> bool {
        let Job::Kick(KickJob { kicked, found, .. }) = job else { return true };
        while let Some(id) = found.pop() {
            *kicked += u64::from(self.kick(registry, id));
            if self.schedule.budget.is_spent() {
                return false;
            }
        }
        true
    }

    /// The clients of one page, from a slot on, that a filter chooses, each with how idle it is, and
    /// how much waits for it; and the slot to go on with, if the share of the turn is spent before
    /// the page's end.
    fn matching(
        &mut self,
        page: usize,
        from: u32,
        filter: &Filter,
    ) -> (Vec<(ConnId, [u64; 2])>, Option<u32>) {
        let Server { table, listeners, shared, schedule, io, .. } = self;
        let mut found = Vec::new();
        for (id, conn) in table.page(page).skip_while(|(id, _)| id.index < from) {
            if schedule.budget.is_spent() {
                return (found, Some(id.index));
            }
            schedule.budget.charge(LOOK_COST_BYTES);
            let listener = &listeners[table.listener_of(id.index)];
            let sizes = sizes(conn, listener, shared);
            if !is_client(conn)
                || filter.id.is_some_and(|wanted| wanted != id.generation)
                || sizes[0] < filter.min_idle_secs.saturating_mul(1000)
                || sizes[1] < filter.min_queue_bytes
            {
                continue;
            }
            if let Some(wanted) = &filter.name
                && name_of(conn, listener, shared) != Some(wanted)
            {
                continue;
            }
            if let Some(wanted) = filter.ip {
                schedule.budget.charge(ADDRESS_COST_BYTES);
                let peer = io.origins.peer_of(id, conn).ok();
                if peer.and_then(|peer| peer.ip()).map(|ip| ip.to_canonical()) != Some(wanted) {
                    continue;
                }
            }
            found.push((id, sizes));
        }
        (found, None)
    }

    /// Refuses the address of a kick for so long as it says.
    #[cfg(feature = "admission")]
    fn ban(&mut self, kick: &Kick) {
        let (Some(secs), Some(ip)) = (kick.ban_secs, kick.filter.ip) else { return };
        let until = self.shared.now.after(secs.saturating_mul(1000));
        self.io.origins.ban(AddressKey::from(ip), until, self.shared.now);
        self.update_table_charge();
        info!("{ip} is refused for {secs} s");
    }

    /// Closes a connection: what has been answered is sent first. Returns whether it was a client.
    fn kick(&mut self, registry: &T::Registry, id: ConnId) -> bool {
        let Some(mut visit) = self.visit(id) else { return false };
        match visit.conn.state {
            State::Open => visit.start_drain(CloseReason::Kicked),
            State::Opening => visit.close(CloseReason::Kicked, None),
            // A second kick does not take from it what it was answered before the first.
            State::Draining(CloseReason::Kicked) => return false,
            // It is on its way already; now it does not get the time for it.
            State::Draining(_) => visit.close(CloseReason::Kicked, None),
            State::Lingering | State::Closed => return false,
        }
        let timer_at = visit.flush_and_reschedule(registry);
        self.end_visit(registry, id, timer_at);
        self.schedule.budget.charge(VISIT_COST_BYTES);
        true
    }

    /// All pages have been looked at: writes rows, or says how many were kicked.
    fn finish_scan(&mut self, scan: &mut Scan) -> Option<Answer> {
        match &mut scan.job {
            Job::List(job) => {
                job.end_search();
                while let Some(&id) = job.found.get(job.shown) {
                    self.write_row(id, &mut job.rows);
                    job.shown += 1;
                    self.schedule.budget.charge(ROW_COST_BYTES);
                    if self.schedule.budget.is_spent() && job.shown < job.found.len() {
                        return None;
                    }
                }
                Some(job.answer())
            }
            Job::Kick(KickJob { kick, kicked, .. }) => {
                let kicked = *kicked;
                info!("connections kicked: {kicked}");
                if kick.filter.id.is_some() && kicked == 0 {
                    return Some(Answer::text(404, "no such connection\n"));
                }
                Some(Answer::json(200, format!("{{\"kicked\":{kicked}}}")))
            }
        }
    }

    /// Appends a row, unless the connection has gone meanwhile.
    fn write_row(&mut self, id: ConnId, rows: &mut Vec<u8>) {
        let Some((conn, number)) = self.table.find(id) else { return };
        let (listener, shared, Io { origins, accepted_at, .. }) =
            (&self.listeners[number], &self.shared, &self.io);
        if !is_client(conn) {
            return;
        }
        let [idle_ms, queue_bytes] = sizes(conn, listener, shared);
        let secs = shared.now.0 / 1000;
        let row = Row {
            id: id.generation,
            listener: &listener.identity.name,
            address: origins.peer_of(id, conn).ok().map(|peer| peer.to_string()),
            name: name_of(conn, listener, shared),
            connected_secs: accepted_at
                .get(id.index)
                .map(|at| secs.saturating_sub(u64::from(at.get() - 1))),
            idle_secs: idle_ms / 1000,
            queue_bytes,
            tls: conn.flags.has(Flags::LAYERED),
        };
        if !rows.is_empty() {
            rows.push(b',');
        }
        // Writing into a vector cannot fail, and every key is a string.
        let _ = serde_json::to_writer(rows, &row);
    }
}

impl ListJob {
    /// Takes the connections of one page.
    fn take(&mut self, found: &[(ConnId, [u64; 2])]) {
        self.total += found.len() as u64;
        for (id, [idle, queue]) in found {
            match self.list.sort {
                None if id.index < self.list.after || self.next.is_some() => {}
                None if self.found.len() == self.list.limit => self.next = Some(id.index),
                None => self.found.push(*id),
                Some(sort) => {
                    let size = if sort == Sort::Idle { *idle } else { *queue };
                    self.largest.push(Reverse((size, *id)));
                    if self.largest.len() > self.list.limit {
                        self.largest.pop();
                    }
                }
            }
        }
    }

    /// The whole table has been looked at.
    fn end_search(&mut self) {
        if self.list.sort.is_some() && !self.largest.is_empty() {
            let sorted = std::mem::take(&mut self.largest).into_sorted_vec();
            self.found = sorted.into_iter().map(|Reverse((_, id))| id).collect();
        }
    }

    fn answer(&mut self) -> Answer {
        let ListJob { total, rows, next, .. } = self;
        let mut json = format!("{{\"total\":{total},\"connections\":[").into_bytes();
        json.append(rows);
        json.extend_from_slice(b"],\"next\":");
        match next {
            Some(index) => json.extend_from_slice(format!("\"{index:08x}\"}}").as_bytes()),
            None => json.extend_from_slice(b"null}"),
        }
        Answer::json(200, json)
    }
}

/// Whether a connection is a client, or about to be one: neither refused nor gone but for its socket.
fn is_client<T>(conn: &Connection<T>) -> bool {
    match conn.state {
        State::Opening | State::Open => true,
        State::Draining(CloseReason::Full) => false,
        State::Draining(_) => !conn.is_over_address_limit(),
        State::Lingering | State::Closed => false,
    }
}

/// Milliseconds since a connection sent something, and bytes that wait for it.
fn sizes<T: Transport>(conn: &Connection<T>, listener: &Listener<T>, shared: &Shared) -> [u64; 2] {
    let idle_ms = shared.now.since(conn.session.last_active_at());
    [idle_ms, conn.session.unsent_bytes(&listener.room.log)]
}

fn name_of<'a, T: Transport>(
    conn: &Connection<T>,
    listener: &'a Listener<T>,
    shared: &'a Shared,
) -> Option<&'a str> {
    let client = conn.session.client();
    dispatch!(&listener.protocol, handler => handler.client_name(client, shared))
}
