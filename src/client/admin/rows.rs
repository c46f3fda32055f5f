//! The cells of listeners and connections, which `status`, `clients` and the live screen share.

use super::cells::{Column, clean};
use super::reports::{Listener, Row};
use super::units;
use crate::thousands::grouped;

/// The columns of listeners, with those that a narrow screen leaves out.
pub(super) const LISTENER_COLUMNS: [Column; 5] = [
    Column::text("LISTENER", 24),
    Column::text("PROTOCOL", 12).dropped(2),
    Column::number("CONNECTIONS"),
    Column::number("ACCEPTED").dropped(1),
    Column::text("URL", usize::MAX).dropped(3),
];

/// The columns of connections, the same; a screen that sorts by one of them keeps it.
pub(super) const CONNECTION_COLUMNS: [Column; 8] = [
    Column::number("ID"),
    Column::text("LISTENER", 24).dropped(4),
    Column::text("ADDRESS", 47),
    Column::text("NAME", 32).dropped(1),
    Column::number("CONNECTED").dropped(5),
    Column::number("IDLE").dropped(3),
    Column::number("QUEUE").dropped(3),
    Column::text("TLS", 3).dropped(6),
];

/// Places in [`CONNECTION_COLUMNS`].
pub(super) const IDLE: usize = 5;
pub(super) const QUEUE: usize = 6;

/// The cells of a listener.
pub(super) fn listener_cells(listener: &Listener) -> Vec<String> {
    vec![
        clean(&listener.name),
        clean(&listener.protocol),
        grouped(listener.connections),
        grouped(listener.accepted_total),
        clean(&listener.url),
    ]
}

/// The cells of a connection.
pub(super) fn connection_cells(row: &Row) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), clean);
    vec![
        row.id.to_string(),
        clean(&row.listener),
        text(&row.address),
        text(&row.name),
        row.connected_secs.map_or_else(|| "-".to_owned(), units::time),
        units::time(row.idle_secs),
        units::bytes(row.queue_bytes),
        if row.tls { "yes" } else { "" }.to_owned(),
    ]
}
