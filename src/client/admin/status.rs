//! `status`: the figures of the server, then its listeners.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};

use super::cells::{Table, cut};
use super::exchange::{Exchange, parse};
use super::reports::Listener;
use super::rows::{LISTENER_COLUMNS, listener_cells};
use crate::client::error::ClientError;
use crate::client::output::{Output, terminal_size};
use crate::client::status::table_of;

/// The time between two requests of `status --watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the status: tables on a terminal unless it `is_json`, JSON elsewhere. With `is_watch` again
/// every second, on a terminal in place of the last one, until a request fails.
pub(super) fn run(
    exchange: &mut Exchange,
    is_json: bool,
    is_watch: bool,
) -> Result<(), ClientError> {
    let output = Output::stdout();
    let mut shown_lines = 0;
    loop {
        let body = exchange.get_bytes("/status")?;
        let fields: Map<String, Value> = parse(&body)?;
        if is_json || !output.is_terminal() {
            output.print_reply(body.trim_ascii_end())?;
        } else {
            let columns = terminal_size().map_or(usize::MAX, |(columns, _)| columns);
            let text = text(fields, columns);
            output.reprint_lines(&text, shown_lines)?;
            shown_lines = text.lines().count();
        }
        if !is_watch {
            return Ok(());
        }
        thread::sleep(WATCH_INTERVAL);
    }
}

/// The tables, at most `width` cells wide.
fn text(mut fields: Map<String, Value>, width: usize) -> String {
    let listeners = fields.remove("listeners").and_then(|value| serde_json::from_value(value).ok());
    let listeners: Vec<Listener> = listeners.unwrap_or_default();
    fields.retain(|_, value| !value.is_null());
    let totals = table_of(fields).unwrap_or_default();
    let mut lines: Vec<String> = totals.lines().map(|line| cut(line, width)).collect();
    if !listeners.is_empty() {
        lines.push(String::new());
        lines.extend(listener_lines(&listeners, width));
    }
    lines.join("\n")
}

/// The table of listeners, its titles first.
fn listener_lines(listeners: &[Listener], width: usize) -> Vec<String> {
    let mut table = Table::new(&LISTENER_COLUMNS);
    let rows: Vec<Vec<String>> = listeners.iter().map(listener_cells).collect();
    table.widen(&rows);
    let mut lines = vec![table.titles(width)];
    lines.extend(rows.iter().map(|row| table.line(row, width)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_before_the_listeners() {
        let json = r#"{"version":"0.1.0","connections":1234,"draining":false,"cluster":null,
            "listeners":[{"name":"chat\u001b","url":"chat://127.0.0.1:5000","protocol":"chat",
            "connections":1200,"accepted_total":20000}]}"#;
        let shown = text(serde_json::from_str(json).unwrap(), 80);
        let expected = "version      0.1.0\n\
                        connections  1,234\n\
                        draining     no\n\
                        \n\
                        LISTENER  PROTOCOL  CONNECTIONS  ACCEPTED  URL\n\
                        chat\u{fffd}     chat            1,200    20,000  chat://127.0.0.1:5000";
        assert_eq!(shown, expected);
        let narrow = text(serde_json::from_str(json).unwrap(), 20);
        assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
    }
}
