//! The lines of the screen, and the bytes that draw them: every cell is written, so that nothing has to
//! be erased and nothing flickers. Pure.

use std::fmt::Write;
use std::time::Instant;

use unicode_width::UnicodeWidthStr;

use super::feed::{Snapshot, Sort};
use super::view::{Mode, View, name_of};
use crate::client::admin::cells::{Table, clean, cut, fit};
use crate::client::admin::rows::{
    CONNECTION_COLUMNS, IDLE, LISTENER_COLUMNS, QUEUE, connection_cells, listener_cells,
};
use crate::client::admin::units;
use crate::thousands::grouped;

/// Between two figures of the header.
const GAP: &str = "   ";

/// Below so many columns the version is left out.
const NARROW_COLUMNS: usize = 60;

/// Figures are said to be old after so many seconds.
const STALE_SECS: u64 = 3;

const HELP: [(&str, &str); 9] = [
    ("q", "quit"),
    ("s", "sort by queue, or by idle time"),
    ("l", "the next listener's connections"),
    ("p", "pause, and go on"),
    ("Up Down", "select a connection"),
    ("PgUp PgDn", "a page"),
    ("Home End", "the first, the last"),
    ("k", "kick the selected one"),
    ("?", "this"),
];

/// A line and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Reverse,
}

fn line(text: impl Into<String>, style: Style) -> Line {
    Line { text: text.into(), style }
}

/// The lines of a screen of `size`, columns and rows; exactly as many as it has rows.
pub(super) fn lines(view: &mut View, size: (usize, usize), now: Instant) -> Vec<Line> {
    let (columns, rows) = size;
    let mut lines = match &view.mode {
        Mode::Help => help(columns),
        _ => {
            let mut lines = header(view, size, now);
            // The footer, the heading and the titles of connections, and at least two of them.
            let room = rows.saturating_sub(lines.len() + 3);
            lines.extend(listeners(view, columns, room / 2));
            lines.extend(connections(view, columns, rows.saturating_sub(lines.len() + 1)));
            lines
        }
    };
    lines.resize(rows.saturating_sub(1), line(" ".repeat(columns), Style::Plain));
    lines.push(footer(view, columns, now));
    lines
}

/// The bytes that draw lines from the first row on, as one synchronized update where the terminal
/// knows that. A terminal that `is_resized` is cleared first: it may have moved what it showed.
pub(super) fn encode(lines: &[Line], is_resized: bool) -> String {
    let mut frame = "\x1b[?2026h".to_owned();
    if is_resized {
        frame += "\x1b[0m\x1b[2J";
    }
    for (row, line) in (1..).zip(lines) {
        let style = match line.style {
            Style::Plain => "\x1b[0m",
            Style::Bold => "\x1b[0;1m",
            Style::Reverse => "\x1b[0;7m",
        };
        let _ = write!(frame, "\x1b[{row};1H{style}{}", line.text);
    }
    frame + "\x1b[0m\x1b[?2026l"
}

/// Figures of the server on a quarter of the rows, and below them what is out of the ordinary.
fn header(view: &View, (columns, rows): (usize, usize), now: Instant) -> Vec<Line> {
    let Some(snapshot) = &view.snapshot else { return Vec::new() };
    let figures = figures(view, snapshot);
    let figures = if columns < NARROW_COLUMNS { &figures[1..] } else { &figures };
    let mut lines: Vec<Line> = flow(figures, columns)
        .into_iter()
        .take((rows / 4).max(1))
        .map(|text| line(fit(&text, columns), Style::Bold))
        .collect();
    let state = state(view, snapshot, now);
    if !state.is_empty() {
        lines.push(line(fit(&state, columns), Style::Reverse));
    }
    lines
}

/// The figures: the version, then the others in the order of their weight.
fn figures(view: &View, snapshot: &Snapshot) -> Vec<String> {
    let status = &snapshot.status;
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |r| units::bytes(r as u64));
    let messages = view.rates.map_or("-".to_owned(), |r| grouped(r.messages as u64));
    // An older server does not say it.
    let max = match status.max_clients {
        0 => String::new(),
        max => format!(" of {}", grouped(max)),
    };
    vec![
        format!("mynah {}", clean(&status.version)),
        format!("up {}", units::time(status.uptime_secs)),
        format!("connections {}{max}", grouped(status.connections)),
        format!("messages {messages}/s"),
        format!("in {}/s", rate(view.rates.map(|r| r.bytes_in))),
        format!("out {}/s", rate(view.rates.map(|r| r.bytes_out))),
        format!(
            "buffered {} of {}",
            units::bytes(status.buffered_bytes),
            units::bytes(status.memory_limit_bytes)
        ),
        format!("accepted {}", grouped(status.accepted_total)),
        format!("refused {}", grouped(status.refused_total)),
        format!("slow {}", grouped(status.slow_consumers_total)),
    ]
}

/// Warnings that an operator should not overlook.
fn state(view: &View, snapshot: &Snapshot, now: Instant) -> String {
    let mut parts = Vec::new();
    let age = view.updated_at().map_or(0, |at| now.saturating_duration_since(at).as_secs());
    if let Some(error) = view.error() {
        parts.push(format!("no answer for {age} s, trying again: {error}"));
    } else if age >= STALE_SECS {
        parts.push(format!("no answer for {age} s"));
    }
    if view.is_paused {
        parts.push("paused".to_owned());
    }
    if snapshot.status.draining {
        parts.push("draining".to_owned());
    }
    parts.extend(snapshot.reasons.iter().filter(|r| *r != "draining").map(|reason| clean(reason)));
    parts.join(", ")
}

/// Puts texts beside each other, on as many lines as it takes.
fn flow(texts: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in texts {
        match lines.last_mut() {
            Some(last) if last.width() + GAP.len() + text.width() <= columns => {
                *last += GAP;
                *last += text;
            }
            _ => lines.push(text.clone()),
        }
    }
    lines
}

/// The table of listeners on at most `room` lines; the last one counts those that do not fit.
fn listeners(view: &View, columns: usize, room: usize) -> Vec<Line> {
    let listeners = view.snapshot.as_ref().map_or(&[][..], |s| &s.status.listeners);
    if room < 2 || listeners.is_empty() {
        return Vec::new();
    }
    let places = room - 1;
    let shown = if listeners.len() > places { places - 1 } else { listeners.len() };
    if shown == 0 {
        return Vec::new();
    }
    let mut table = Table::new(&LISTENER_COLUMNS);
    let cells: Vec<Vec<String>> = listeners[..shown].iter().map(listener_cells).collect();
    table.widen(&cells);
    table.narrow(columns);
    let mut lines = vec![line(fit(&table.titles(columns), columns), Style::Reverse)];
    for (cells, listener) in cells.iter().zip(listeners) {
        let is_chosen = view.listener.as_ref() == Some(&listener.name);
        let style = if is_chosen { Style::Bold } else { Style::Plain };
        lines.push(line(fit(&table.line(cells, columns), columns), style));
    }
    if shown < listeners.len() {
        let more = format!("and {} more", listeners.len() - shown);
        lines.push(line(fit(&more, columns), Style::Plain));
    }
    lines
}

/// The table of connections, on at most `room` lines. Scrolls to the selected one.
fn connections(view: &mut View, columns: usize, room: usize) -> Vec<Line> {
    let places = room.saturating_sub(2);
    view.scroll(places);
    let Some(snapshot) = &view.snapshot else { return Vec::new() };
    let mut lines = vec![line(fit(&heading(view, snapshot), columns), Style::Bold)];
    let end = (view.first_row + places).min(snapshot.rows.len());
    let rows = &snapshot.rows[view.first_row.min(end)..end];
    let cells: Vec<Vec<String>> = rows.iter().map(connection_cells).collect();
    let mut of_connections = CONNECTION_COLUMNS;
    let sorted = if view.sort == Sort::Queue { QUEUE } else { IDLE };
    of_connections[sorted] = of_connections[sorted].dropped(0);
    let mut table = Table::new(&of_connections);
    table.widen(&cells);
    table.narrow(columns);
    lines.push(line(fit(&table.titles(columns), columns), Style::Reverse));
    for (place, cells) in (view.first_row..).zip(&cells) {
        let style = if place == view.selected { Style::Reverse } else { Style::Plain };
        lines.push(line(fit(&table.line(cells, columns), columns), style));
    }
    lines.truncate(room);
    lines
}

fn heading(view: &View, snapshot: &Snapshot) -> String {
    let order = match view.sort {
        Sort::Queue => "longest queue first",
        Sort::Idle => "longest idle first",
    };
    let of = view.listener.as_deref().map(|name| format!(" of {}", clean(name)));
    let selected = (view.selected + 1).min(snapshot.rows.len());
    format!(
        "{selected} of {} connections{}, {order}",
        grouped(snapshot.total),
        of.unwrap_or_default()
    )
}

fn help(columns: usize) -> Vec<Line> {
    let mut lines = vec![line(fit("mynah-cli top: keys", columns), Style::Bold)];
    let texts = HELP.iter().map(|(key, meaning)| format!("  {key:<10} {meaning}"));
    lines.extend(texts.map(|text| line(fit(&text, columns), Style::Plain)));
    lines.into_iter().map(|line| Line { text: cut(&line.text, columns), ..line }).collect()
}

/// A question, a message, or the keys.
fn footer(view: &View, columns: usize, now: Instant) -> Line {
    if let Mode::Question(row) = &view.mode {
        // What must be read comes first: a name may be long.
        let text = format!("kick? [y/N] {}", name_of(row));
        return line(fit(&text, columns), Style::Reverse);
    }
    if view.mode == Mode::Help {
        return line(fit("any key goes back", columns), Style::Plain);
    }
    if let Some(message) = view.message(now) {
        return line(fit(&clean(message), columns), Style::Reverse);
    }
    let listener = view.listener.as_deref().map_or("all".to_owned(), clean);
    let keys = [
        "q quit".to_owned(),
        "? help".to_owned(),
        "k kick".to_owned(),
        format!("s sort: {}", view.sort.name()),
        if view.is_paused { "p go on" } else { "p pause" }.to_owned(),
        format!("l listener: {listener}"),
        view.url.clone(),
    ];
    let text = flow(&keys, columns).into_iter().next().unwrap_or_default();
    line(fit(&text, columns), Style::Plain)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keys::Key;
    use super::super::view::tests::{row, snapshot, view};
    use super::*;
    use crate::client::admin::reports::Row;
    use crate::client::error::ClientError;

    fn texts(view: &mut View, size: (usize, usize)) -> Vec<String> {
        let lines = lines(view, size, Instant::now());
        assert_eq!(lines.len(), size.1, "{lines:#?}");
        for line in &lines {
            assert_eq!(line.text.width(), size.0, "{line:?}");
        }
        lines.into_iter().map(|line| line.text.trim_end().to_owned()).collect()
    }

    #[test]
    fn screen_has_figures_listeners_and_connections() {
        let mut view = view(&[1, 2]);
        let shown = texts(&mut view, (90, 14));
        let expected = [
            "mynah 0.1.0   up 1 m 40 s   connections 1,234 of 10,000   messages -/s   in -/s   out -/s",
            "buffered 0 B of 1.0 GiB   accepted 0   refused 0   slow 0",
            "LISTENER  PROTOCOL  CONNECTIONS  ACCEPTED  URL",
            "chat      chat                3         4  chat://127.0.0.1:5000",
            "raw       raw                 3         4  raw://127.0.0.1:5000",
            "1 of 2 connections, longest queue first",
            "ID  LISTENER  ADDRESS         NAME   CONNECTED  IDLE    QUEUE  TLS",
            " 1  chat      192.0.2.1:1000  nick1   1 m 40 s   5 s  2.0 KiB",
            " 2  chat      192.0.2.2:1000  nick2   1 m 40 s   5 s  2.0 KiB",
            "",
            "",
            "",
            "",
            "q quit   ? help   k kick   s sort: queue   p pause   l listener: all",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn narrow_screen_keeps_what_matters() {
        let mut view = view(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let shown = texts(&mut view, (40, 12));
        let has = |text: &str| shown.iter().any(|line| line.contains(text));
        assert!(has("ADDRESS") && has("QUEUE") && has("192.0.2.1:1000"), "{shown:#?}");
        assert!(!has("URL") && !has("TLS"), "{shown:#?}");
        assert!(shown[11].starts_with("q quit   ? help"), "{shown:#?}");
        for size in [(1, 1), (2, 3), (7, 5), (200, 60)] {
            texts(&mut view, size);
        }
    }

    #[test]
    fn states_are_said_in_a_line_of_their_own() {
        let mut view = view(&[1]);
        let mut next = snapshot(&[1]);
        next.status.draining = true;
        next.reasons = vec!["draining".to_owned(), "not accepting: \x1b[2J".to_owned()];
        view.take(Ok(next), Instant::now());
        let shown = texts(&mut view, (100, 12));
        assert!(shown.contains(&"draining, not accepting: \u{fffd}[2J".to_owned()), "{shown:#?}");
        view.take(Err(ClientError::Disconnected), Instant::now());
        let later = Instant::now() + Duration::from_secs(7);
        let lines = lines(&mut view, (100, 12), later);
        let broken = "no answer for 7 s, trying again: the server closed the connection, draining";
        assert!(lines.iter().any(|line| line.text.starts_with(broken)), "{lines:#?}");
    }

    #[test]
    fn hostile_names_stay_in_their_cells() {
        let mut view = view(&[]);
        let mut hostile = snapshot(&[]);
        let name = "\x1b]0;owned\x07日本語\u{202e}\n".repeat(50);
        hostile.rows = vec![Row { name: Some(name.clone()), listener: name, ..row(1) }];
        view.take(Ok(hostile), Instant::now());
        texts(&mut view, (60, 12));
        view.press(Key::Char('k'), Instant::now());
        let shown = texts(&mut view, (60, 12));
        assert!(shown[11].starts_with("kick? [y/N] #1 192.0.2.1:1000 "), "{shown:#?}");
        let frame = encode(&lines(&mut view, (60, 12), Instant::now()), false);
        assert!(!frame.contains("\x1b]") && !frame.contains('\n'), "{frame:?}");
    }

    #[test]
    fn help_covers_the_tables_until_a_key() {
        let mut view = view(&[1]);
        view.press(Key::Char('?'), Instant::now());
        let shown = texts(&mut view, (40, 12));
        assert!(shown.iter().any(|line| line == "  k          kick the selected one"));
        view.press(Key::Char('q'), Instant::now());
        assert!(texts(&mut view, (40, 12)).iter().any(|line| line.contains("ADDRESS")));
    }
}
