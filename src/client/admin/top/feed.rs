//! Asks the server for figures and connections on a thread of its own, so that keys work while it does
//! not answer.

use std::sync::mpsc::{self, Sender};

use super::super::exchange::Exchange;
use super::super::filter::pair;
use super::super::reports::{Kicked, Page, Row, Status};
use super::Event;
use crate::client::error::ClientError;
use crate::client::sigint::spawn_helper;

/// Most reasons that are shown of a server that is not ready.
const REASONS_MAX: usize = 8;

/// The order of connections, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Queue,
    Idle,
}

/// Which connections are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) sort: Sort,
    /// Of this listener only.
    pub(super) listener: Option<String>,
    pub(super) limit: usize,
}

/// Figures and connections of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    /// Why new clients are not served.
    pub(super) reasons: Vec<String>,
    /// Connections that the query chooses; `rows` are the first of them.
    pub(super) total: u64,
    pub(super) rows: Vec<Row>,
}

/// Messages of the thread.
#[derive(Debug)]
pub(super) enum Answer {
    Fetched(Box<Result<Snapshot, ClientError>>),
    Kicked { id: u32, result: Result<u64, ClientError> },
}

/// Requests to the thread.
#[derive(Debug)]
enum Task {
    Fetch(Query),
    Kick(u32),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Feed(Sender<Task>);

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Queue => "queue",
            Sort::Idle => "idle",
        }
    }
}

impl Query {
    /// Whether the answers show the same, whatever their length.
    pub(super) fn is_like(&self, other: &Query) -> bool {
        self.sort == other.sort && self.listener == other.listener
    }

    fn target(&self) -> String {
        let Query { sort, listener, limit } = self;
        let listener = listener.as_deref().map(|name| format!("&{}", pair("listener", name)));
        format!("/connections?sort={}&limit={limit}{}", sort.name(), listener.unwrap_or_default())
    }
}

impl Feed {
    /// Starts the thread, which sends its answers to `events`.
    pub(super) fn start(
        mut exchange: Exchange,
        events: Sender<Event>,
    ) -> Result<Self, ClientError> {
        let (sender, tasks) = mpsc::channel();
        let run = move || {
            for task in tasks {
                let answer = match task {
                    Task::Fetch(query) => Answer::Fetched(Box::new(fetch(&mut exchange, &query))),
                    Task::Kick(id) => Answer::Kicked { id, result: kick(&mut exchange, id) },
                };
                if events.send(Event::Answer(answer)).is_err() {
                    return;
                }
            }
        };
        spawn_helper("feed", run).map_err(|error| ClientError::input(&error))?;
        Ok(Feed(sender))
    }

    pub(super) fn ask(&self, query: Query) {
        let _ = self.0.send(Task::Fetch(query));
    }

    pub(super) fn kick(&self, id: u32) {
        let _ = self.0.send(Task::Kick(id));
    }
}

/// Asks for everything that the screen shows.
pub(super) fn fetch(exchange: &mut Exchange, query: &Query) -> Result<Snapshot, ClientError> {
    let status = exchange.get("/status")?;
    // 200 where it is ready, else a reason a line.
    let ready = exchange.send("GET", "/readyz")?;
    let reasons = match ready.status {
        503 => String::from_utf8_lossy(&ready.body)
            .lines()
            .take(REASONS_MAX)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    let page: Page = exchange.get(&query.target())?;
    let mut rows = page.connections;
    rows.truncate(query.limit);
    Ok(Snapshot { status, reasons, total: page.total, rows })
}

fn kick(exchange: &mut Exchange, id: u32) -> Result<u64, ClientError> {
    let Kicked { kicked } = exchange.change("DELETE", &format!("/connections/{id}"))?;
    Ok(kicked)
}
