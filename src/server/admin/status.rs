//! `/status`, `/readyz` and the answer to a reload.

use serde::Serialize;

use super::super::Server;
use super::super::transport::Transport;
use crate::protocol::admin::Answer;
use crate::protocol::{self};

/// One listener in `/status`.
#[derive(Serialize)]
struct ListenerStatus<'a> {
    name: &'a str,
    url: &'a str,
    protocol: &'static str,
    connections: u64,
    accepted_total: u64,
}

impl<T: Transport> Server<T> {
    /// The fields of STATUS, and what only operators are told.
    pub(super) fn status_answer(&self) -> Answer {
        let shared = &self.shared;
        let mut json = String::new();
        let written = protocol::write_status(&mut json, &shared.stats.totals(), shared.now);
        let listeners: Vec<ListenerStatus<'_>> = self
            .listeners
            .iter()
            .filter(|listener| listener.is_in_service())
            .map(|listener| {
                let stats = &listener.room.stats;
                ListenerStatus {
                    name: &listener.identity.name,
                    url: &listener.identity.url,
                    protocol: listener.protocol.name(),
                    connections: stats.connections.get(),
                    accepted_total: stats.accepted.get(),
                }
            })
            .collect();
        #[cfg(feature = "cluster")]
        let cluster = self.cluster_status();
        #[cfg(not(feature = "cluster"))]
        let cluster = serde_json::Result::Ok("null");
        let listeners = serde_json::to_string(&listeners);
        let (Ok(()), Ok(listeners), Ok(cluster)) = (written, listeners, cluster) else {
            return Answer::text(500, "the status cannot be written\n");
        };
        // One object of two.
        json.pop();
        let (buffered, limit) = (shared.memory.used(), shared.memory.limit());
        let (max, draining) = (shared.limits.clients_max, self.is_draining());
        json.push_str(&format!(
            ",\"max_clients\":{max},\"buffered_bytes\":{buffered},\"memory_limit_bytes\":{limit},\
             \"draining\":{draining},\"listeners\":{listeners},\"cluster\":{cluster}}}"
        ));
        Answer::json(200, json)
    }

    /// Whether new clients would be served, and why not.
    pub(super) fn ready_answer(&self) -> Answer {
        let mut reasons = String::new();
        if self.schedule.phase.is_stopping() {
            reasons.push_str("not accepting: the server is stopping\n");
        }
        if self.is_draining() {
            reasons.push_str("draining\n");
        }
        if self.shared.is_full() {
            let max = self.shared.limits.clients_max;
            reasons.push_str(&format!("not accepting: the server is full: {max} clients\n"));
        }
        if self.schedule.is_exhausted(self.shared.now) {
            reasons.push_str("not accepting: out of files or memory\n");
        }
        for listener in &self.listeners {
            if listener.has_failed() {
                reasons
                    .push_str(&format!("not accepting: {} has failed\n", listener.identity.name));
            }
        }
        #[cfg(feature = "cluster")]
        reasons.extend(self.cluster_reason());
        match reasons.is_empty() {
            true => Answer::text(200, "ok\n"),
            false => Answer::text(503, reasons),
        }
    }
}

/// `{"reloaded":true,"changes":[…]}`, or false with the errors.
pub(super) fn reloaded(result: &Result<Vec<String>, Vec<String>>) -> Answer {
    #[derive(Serialize)]
    struct Reloaded<'a> {
        reloaded: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        changes: Option<&'a [String]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        errors: Option<&'a [String]>,
    }
    let (status, reloaded) = match result {
        Ok(changes) => (200, Reloaded { reloaded: true, changes: Some(changes), errors: None }),
        Err(errors) => (422, Reloaded { reloaded: false, changes: None, errors: Some(errors) }),
    };
    match serde_json::to_vec(&reloaded) {
        Ok(json) => Answer::json(status, json),
        Err(_) => Answer::text(500, "the result cannot be written\n"),
    }
}
