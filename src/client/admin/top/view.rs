//! The state of the screen: the order and the listener that are chosen, the selected connection,
//! the last figures and how fast they grow. Knows neither the terminal nor the server.

use std::time::{Duration, Instant};

use super::feed::{Query, Snapshot, Sort};
use super::keys::Key;
use crate::client::admin::cells::clean;
use crate::client::admin::reports::{Row, Status};
use crate::client::error::ClientError;

/// How long a message stays.
const MESSAGE_TIME: Duration = Duration::from_secs(5);

/// Connections that are asked for at least and at most.
const ROWS_MIN: usize = 100;
const ROWS_MAX: usize = 1000;

/// Action of a key beyond the view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Quit,
    /// Other connections are wanted.
    Ask,
    Kick(u32),
}

/// Text in place of the table, or question below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    Help,
    /// Whether this connection is to be kicked.
    Question(Row),
}

/// Figures per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) messages: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct View {
    pub(super) url: String,
    pub(super) mode: Mode,
    pub(super) sort: Sort,
    pub(super) listener: Option<String>,
    pub(super) is_paused: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// `None` until there are two snapshots of one run of the server.
    pub(super) rates: Option<Rates>,
    /// The number of the selected row.
    pub(super) selected: usize,
    /// The connection that the selection stays with, once it was moved.
    followed: Option<u32>,
    /// The first row that is shown, and how many are.
    pub(super) first_row: usize,
    pub(super) shown_rows: usize,
    error: Option<ClientError>,
    message: Option<(String, Instant)>,
    /// The figures that rates begin at, also while paused.
    last: Option<(Status, Instant)>,
}

impl View {
    pub(super) fn new(url: String) -> Self {
        View {
            url,
            mode: Mode::Table,
            sort: Sort::Queue,
            listener: None,
            is_paused: false,
            snapshot: None,
            rates: None,
            selected: 0,
            followed: None,
            first_row: 0,
            shown_rows: 0,
            error: None,
            message: None,
            last: None,
        }
    }

    /// Which connections are wanted: those that are shown, and some to scroll to.
    pub(super) fn query(&self) -> Query {
        let limit = (self.first_row + 3 * self.shown_rows).clamp(ROWS_MIN, ROWS_MAX);
        Query { sort: self.sort, listener: self.listener.clone(), limit }
    }

    /// The reason the figures are not new.
    pub(super) fn error(&self) -> Option<&ClientError> {
        self.error.as_ref()
    }

    /// The time of the last figures.
    pub(super) fn updated_at(&self) -> Option<Instant> {
        self.last.as_ref().map(|(_, at)| *at)
    }

    pub(super) fn message(&self, now: Instant) -> Option<&str> {
        let (text, said_at) = self.message.as_ref()?;
        (now.saturating_duration_since(*said_at) < MESSAGE_TIME).then_some(text)
    }

    pub(super) fn say(&mut self, text: String, now: Instant) {
        self.message = Some((text, now));
    }

    /// Takes an answer of the server. While paused only its figures count, for the rates.
    pub(super) fn take(&mut self, answer: Result<Snapshot, ClientError>, now: Instant) {
        let snapshot = match answer {
            Ok(snapshot) => snapshot,
            // The listener has been removed.
            Err(ClientError::Refused(reason)) if self.listener.is_some() => {
                self.listener = None;
                return self.say(reason, now);
            }
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.error = None;
        let has_restarted = self
            .last
            .as_ref()
            .is_some_and(|(last, _)| snapshot.status.uptime_secs < last.uptime_secs);
        if has_restarted {
            self.last = None;
            self.say("the server has restarted".to_owned(), now);
        }
        let rates = self.last.as_ref().and_then(|(last, at)| {
            rates(last, &snapshot.status, now.saturating_duration_since(*at))
        });
        self.last = Some((snapshot.status.clone(), now));
        if !self.is_paused || self.snapshot.is_none() {
            self.rates = rates;
            self.snapshot = Some(snapshot);
            self.keep_selection();
        }
    }

    /// Keeps the selection on its connection, or where it was if that has gone.
    fn keep_selection(&mut self) {
        let rows = self.rows();
        let len = rows.len();
        let place = self.followed.and_then(|id| rows.iter().position(|row| row.id == id));
        self.selected = place.unwrap_or(self.selected).min(len.saturating_sub(1));
        if self.followed.is_some() && place.is_none() {
            self.followed = self.rows().get(self.selected).map(|row| row.id);
        }
    }

    pub(super) fn rows(&self) -> &[Row] {
        self.snapshot.as_ref().map_or(&[], |snapshot| &snapshot.rows)
    }

    /// Scrolls so that the selected row is among `shown_rows`.
    pub(super) fn scroll(&mut self, shown_rows: usize) {
        self.shown_rows = shown_rows;
        let last_first = self.rows().len().saturating_sub(shown_rows);
        let lowest = (self.selected + 1).saturating_sub(shown_rows);
        self.first_row = self.first_row.clamp(lowest, self.selected.max(lowest)).min(last_first);
    }

    pub(super) fn press(&mut self, key: Key, now: Instant) -> Effect {
        match &self.mode {
            Mode::Help => {
                self.mode = Mode::Table;
                return Effect::None;
            }
            Mode::Question(row) => {
                let id = row.id;
                self.mode = Mode::Table;
                return match key {
                    Key::Char('y' | 'Y') => Effect::Kick(id),
                    _ => Effect::None,
                };
            }
            Mode::Table => {}
        }
        let page = self.shown_rows.max(1);
        match key {
            Key::Char('q' | 'Q') => return Effect::Quit,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                return Effect::Ask;
            }
            Key::Char('s') => {
                self.sort = match self.sort {
                    Sort::Queue => Sort::Idle,
                    Sort::Idle => Sort::Queue,
                };
                return self.ask_anew();
            }
            Key::Char('l') => {
                self.listener = self.next_listener();
                return self.ask_anew();
            }
            Key::Char('k') => match self.rows().get(self.selected) {
                Some(row) => self.mode = Mode::Question(row.clone()),
                None => self.say("there is no connection to kick".to_owned(), now),
            },
            Key::Up => self.select(self.selected.saturating_sub(1)),
            Key::Down => self.select(self.selected + 1),
            Key::PageUp => self.select(self.selected.saturating_sub(page)),
            Key::PageDown => self.select(self.selected + page),
            Key::Home => {
                self.select(0);
                self.followed = None;
            }
            Key::End => self.select(usize::MAX),
            Key::Char(_) | Key::Escape | Key::Other => {}
        }
        Effect::None
    }

    fn select(&mut self, row: usize) {
        self.selected = row.min(self.rows().len().saturating_sub(1));
        self.followed = self.rows().get(self.selected).map(|row| row.id);
    }

    /// Other connections are chosen: from the first on, and never while paused.
    fn ask_anew(&mut self) -> Effect {
        self.is_paused = false;
        (self.selected, self.followed, self.first_row) = (0, None, 0);
        Effect::Ask
    }

    /// The listener behind the chosen one; behind the last all of them.
    fn next_listener(&self) -> Option<String> {
        let listeners = &self.snapshot.as_ref()?.status.listeners;
        let next = match &self.listener {
            None => 0,
            Some(name) => listeners.iter().position(|listener| listener.name == *name)? + 1,
        };
        listeners.get(next).map(|listener| listener.name.clone())
    }
}

/// The name of a connection in a question.
pub(super) fn name_of(row: &Row) -> String {
    let mut name = format!("#{}", row.id);
    for part in [&row.address, &row.name].into_iter().flatten() {
        name.push(' ');
        name += &clean(part);
    }
    name
}

fn rates(last: &Status, status: &Status, time: Duration) -> Option<Rates> {
    let secs = time.as_secs_f64();
    let rate = |from: u64, to: u64| Some(to.checked_sub(from)? as f64 / secs);
    if secs < 0.01 {
        return None;
    }
    Some(Rates {
        messages: rate(last.frames_in_total, status.frames_in_total)?,
        bytes_in: rate(last.bytes_in_total, status.bytes_in_total)?,
        bytes_out: rate(last.bytes_out_total, status.bytes_out_total)?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::client::admin::reports::Listener;

    pub(in crate::client::admin::top) fn row(id: u32) -> Row {
        Row {
            id,
            listener: "chat".to_owned(),
            address: Some(format!("192.0.2.{id}:1000")),
            name: Some(format!("nick{id}")),
            connected_secs: Some(100),
            idle_secs: 5,
            queue_bytes: 2048,
            tls: false,
        }
    }

    pub(in crate::client::admin::top) fn snapshot(ids: &[u32]) -> Snapshot {
        let listener = |name: &str| Listener {
            name: name.to_owned(),
            protocol: name.to_owned(),
            url: format!("{name}://127.0.0.1:5000"),
            connections: 3,
            accepted_total: 4,
        };
        let status = Status {
            version: "0.1.0".to_owned(),
            uptime_secs: 100,
            connections: 1234,
            frames_in_total: 1000,
            max_clients: 10_000,
            memory_limit_bytes: 1 << 30,
            listeners: vec![listener("chat"), listener("raw")],
            ..Status::default()
        };
        let rows: Vec<Row> = ids.iter().map(|id| row(*id)).collect();
        Snapshot { status, reasons: Vec::new(), total: ids.len() as u64, rows }
    }

    pub(in crate::client::admin::top) fn view(ids: &[u32]) -> View {
        let mut view = View::new("admin://127.0.0.1:6580".to_owned());
        view.take(Ok(snapshot(ids)), Instant::now());
        view.scroll(4);
        view
    }

    fn press(view: &mut View, keys: &str) -> Effect {
        let effects = keys.chars().map(|c| view.press(Key::Char(c), Instant::now()));
        effects.last().unwrap_or(Effect::None)
    }

    #[test]
    fn selection_stays_with_its_connection() {
        let mut view = view(&[1, 2, 3]);
        view.press(Key::Down, Instant::now());
        view.take(Ok(snapshot(&[9, 8, 1, 2, 3])), Instant::now());
        assert_eq!(view.rows()[view.selected].id, 2);
        view.take(Ok(snapshot(&[9])), Instant::now());
        assert_eq!(view.rows()[view.selected].id, 9);
        view.press(Key::Home, Instant::now());
        view.take(Ok(snapshot(&[5, 9])), Instant::now());
        assert_eq!(view.rows()[view.selected].id, 5);
        view.take(Ok(snapshot(&[])), Instant::now());
        assert_eq!((view.selected, press(&mut view, "k")), (0, Effect::None));
        assert_eq!(view.mode, Mode::Table);
    }

    #[test]
    fn kick_is_of_the_one_that_was_asked_about() {
        let mut view = view(&[1, 2, 3]);
        view.press(Key::Down, Instant::now());
        press(&mut view, "k");
        view.take(Ok(snapshot(&[7, 8, 9])), Instant::now());
        assert_eq!(press(&mut view, "y"), Effect::Kick(2));
        for key in [Key::Char('n'), Key::Char('q'), Key::Char('\r'), Key::Escape, Key::Down] {
            press(&mut view, "k");
            assert_eq!(view.press(key, Instant::now()), Effect::None, "{key:?}");
            assert_eq!(view.mode, Mode::Table);
        }
    }

    #[test]
    fn rates_are_of_one_run_of_the_server() {
        let mut view = View::new(String::new());
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut snapshot = snapshot(&[]);
        view.take(Ok(snapshot.clone()), at(0));
        assert_eq!(view.rates, None);
        snapshot.status.frames_in_total += 500;
        snapshot.status.bytes_out_total += 4096;
        view.take(Ok(snapshot.clone()), at(2));
        let expected = Rates { messages: 250.0, bytes_in: 0.0, bytes_out: 2048.0 };
        assert_eq!(view.rates, Some(expected));
        view.take(Err(ClientError::Disconnected), at(3));
        assert!(view.error().is_some() && view.snapshot.is_some());
        snapshot.status.uptime_secs = 1;
        view.take(Ok(snapshot.clone()), at(5));
        assert_eq!((view.rates, view.error()), (None, None));
        assert_eq!(view.message(at(6)), Some("the server has restarted"));
        assert_eq!(view.message(at(11)), None);
    }

    #[test]
    fn listeners_are_chosen_in_turn() {
        let mut view = view(&[1]);
        for listener in [Some("chat"), Some("raw"), None] {
            assert_eq!(press(&mut view, "l"), Effect::Ask);
            assert_eq!(view.query().listener.as_deref(), listener);
        }
        press(&mut view, "l");
        let gone = ClientError::Refused("no listener 'chat'".to_owned());
        view.take(Err(gone), Instant::now());
        assert_eq!((view.query().listener, view.error()), (None, None));
        assert_eq!((press(&mut view, "s"), view.query().sort), (Effect::Ask, Sort::Idle));
    }

    #[test]
    fn pause_keeps_what_is_shown() {
        let mut view = view(&[1, 2]);
        press(&mut view, "p");
        view.take(Ok(snapshot(&[7, 8])), Instant::now());
        assert_eq!(view.rows()[0].id, 1);
        press(&mut view, "p");
        view.take(Ok(snapshot(&[7, 8])), Instant::now());
        assert_eq!(view.rows()[0].id, 7);
    }

    #[test]
    fn scrolling_keeps_the_selected_row_in_sight() {
        let ids: Vec<u32> = (0..20).collect();
        let mut view = view(&ids);
        view.press(Key::PageDown, Instant::now());
        view.scroll(4);
        assert_eq!((view.selected, view.first_row), (4, 1));
        view.press(Key::End, Instant::now());
        view.scroll(4);
        assert_eq!((view.selected, view.first_row), (19, 16));
        view.press(Key::Up, Instant::now());
        view.scroll(4);
        assert_eq!((view.selected, view.first_row), (18, 16));
        view.scroll(0);
        view.scroll(30);
        assert_eq!(view.first_row, 0);
    }
}
