//! The counters of STATUS as a table for a terminal. Knows no sockets.

use serde_json::{Map, Value};

use crate::thousands::grouped;

use super::output::sanitize_line;

/// The fields in the order of the table; others follow in the order of their names.
const ORDER: [&str; 10] = [
    "version",
    "uptime_secs",
    "connections",
    "accepted_total",
    "refused_total",
    "frames_in_total",
    "bytes_in_total",
    "bytes_out_total",
    "broadcasts_total",
    "slow_consumers_total",
];

/// Makes a table of the JSON object in `reply`, a line a field; `None` if it is not one.
pub(super) fn table(reply: &[u8]) -> Option<String> {
    table_of(serde_json::from_slice(reply).ok()?)
}

/// As [`table`], for an object that has been parsed.
pub(super) fn table_of(mut fields: Map<String, Value>) -> Option<String> {
    let known: Vec<(String, Value)> =
        ORDER.iter().filter_map(|name| fields.remove_entry(*name)).collect();
    let rows: Vec<(String, String)> = known
        .into_iter()
        .chain(fields)
        .map(|(name, value)| (label(&name), sanitize_line(&text(&name, &value))))
        .collect();
    let width = rows.iter().map(|(label, _)| label.chars().count()).max()?;
    let lines: Vec<String> =
        rows.iter().map(|(label, value)| format!("{label:<width$}  {value}")).collect();
    Some(lines.join("\n"))
}

fn label(name: &str) -> String {
    let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_secs")).unwrap_or(name);
    sanitize_line(&name.replace('_', " "))
}

fn text(name: &str, value: &Value) -> String {
    match (value, value.as_u64()) {
        (_, Some(secs)) if name.ends_with("_secs") => duration(secs),
        (_, Some(number)) => grouped(number),
        (Value::String(text), _) => text.clone(),
        (Value::Bool(is_on), _) => if *is_on { "yes" } else { "no" }.to_owned(),
        (value, _) => value.to_string(),
    }
}

/// `2 d 3 h 4 min 5 s`, without the units above the first that is not 0.
fn duration(secs: u64) -> String {
    let units = [(secs / 86400, "d"), (secs / 3600 % 24, "h"), (secs / 60 % 60, "min")];
    let mut text = String::new();
    for (count, unit) in units {
        if count > 0 || !text.is_empty() {
            text += &format!("{count} {unit} ");
        }
    }
    text + &format!("{} s", secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_a_field() {
        let reply =
            br#"{"extra_total":7,"connections":1234567,"uptime_secs":93784,"version":"0.1.0"}"#;
        let expected = concat!(
            "version      0.1.0\n",
            "uptime       1 d 2 h 3 min 4 s\n",
            "connections  1,234,567\n",
            "extra        7"
        );
        assert_eq!(table(reply).as_deref(), Some(expected));
    }

    #[test]
    fn table_needs_a_json_object() {
        for reply in [&b""[..], b"[1]", b"{}", b"OK", b"\xff"] {
            assert_eq!(table(reply), None);
        }
    }

    #[test]
    fn table_has_no_control_characters() {
        let shown = table(br#"{"version":"\u001b[2J","a\nb":1}"#);
        assert_eq!(shown.as_deref(), Some("version  \u{fffd}[2J\na\u{fffd}b      1"));
    }

    #[test]
    fn duration_names_its_units() {
        let texts = [0, 59, 60, 3600, 86_400].map(duration);
        assert_eq!(texts, ["0 s", "59 s", "1 min 0 s", "1 h 0 min 0 s", "1 d 0 h 0 min 0 s"]);
    }
}
