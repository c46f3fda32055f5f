//! `clients`: connections, page by page, each printed when it has come.

use super::cells::Table;
use super::exchange::Exchange;
use super::filter::{Filter, pair};
use super::reports::{Page, Row};
use super::rows::{CONNECTION_COLUMNS, connection_cells};
use crate::client::error::ClientError;
use crate::client::output::{Output, print_line, terminal_size};
use crate::thousands::grouped;

/// Connections of a page: the most that a server gives.
const PAGE_LEN: u64 = 1000;

/// Prints the connections that `filter` chooses: a table on a terminal unless it `is_json`, a JSON
/// object a line elsewhere.
pub(super) fn run(
    exchange: &mut Exchange,
    filter: &Filter,
    is_json: bool,
) -> Result<(), ClientError> {
    let output = Output::stdout();
    let is_json = is_json || !output.is_terminal();
    let mut table = Table::new(&CONNECTION_COLUMNS);
    let (mut shown, mut total, mut cursor) = (0, None, None);
    loop {
        let left = filter.limit.map_or(PAGE_LEN, |limit| (limit - shown).min(PAGE_LEN));
        let page: Page = exchange.get(&target(filter, left, cursor.as_deref()))?;
        let is_first = total.is_none();
        let total = *total.get_or_insert(page.total);
        let rows = &page.connections[..page.connections.len().min(left as usize)];
        shown += rows.len() as u64;
        if is_json {
            print_json(output, rows)?;
        } else {
            print_table(&mut table, rows, is_first)?;
        }
        let is_over = filter.is_sorted() || filter.limit.is_some_and(|limit| shown >= limit);
        match page.next {
            Some(next) if !is_over && cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ if is_json => return Ok(()),
            _ => return print_line(&summary(shown, total)),
        }
    }
}

fn target(filter: &Filter, limit: u64, cursor: Option<&str>) -> String {
    let after = cursor.map(|cursor| format!("&{}", pair("after", cursor))).unwrap_or_default();
    format!("/connections?{}&limit={limit}{after}", filter.query())
}

fn summary(shown: u64, total: u64) -> String {
    match shown >= total {
        true => format!("{} in all", grouped(total)),
        false => format!("{} shown, {} in all", grouped(shown), grouped(total)),
    }
}

fn print_json(output: Output, rows: &[Row]) -> Result<(), ClientError> {
    let lines: Vec<String> =
        rows.iter().filter_map(|row| serde_json::to_string(row).ok()).collect();
    if lines.is_empty() { Ok(()) } else { output.print_reply(lines.join("\n").as_bytes()) }
}

fn print_table(table: &mut Table, rows: &[Row], has_titles: bool) -> Result<(), ClientError> {
    let width = terminal_size().map_or(usize::MAX, |(columns, _)| columns);
    let cells: Vec<Vec<String>> = rows.iter().map(connection_cells).collect();
    table.widen(&cells);
    let mut lines: Vec<String> = cells.iter().map(|row| table.line(row, width)).collect();
    if has_titles && !lines.is_empty() {
        lines.insert(0, table.titles(width));
    }
    if lines.is_empty() { Ok(()) } else { print_line(&lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_asked_for_by_filter_limit_and_cursor() {
        let words = ["name=a b".to_owned(), "limit=5".to_owned()];
        let filter = Filter::of_list(&words).unwrap();
        let expected = "/connections?name=a%20b&limit=5&after=00000%2D";
        assert_eq!(target(&filter, 5, Some("00000-")), expected);
        let all = Filter::of_list(&[]).unwrap();
        assert_eq!(target(&all, 1000, None), "/connections?&limit=1000");
    }

    #[test]
    fn summary_says_what_was_left_out() {
        assert_eq!(summary(1234, 1234), "1,234 in all");
        assert_eq!(summary(5, 1234), "5 shown, 1,234 in all");
        // Some have come since.
        assert_eq!(summary(7, 6), "6 in all");
    }
}
