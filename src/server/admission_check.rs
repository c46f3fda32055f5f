//! Check of the order in which senders that wait for a log are admitted, with debug assertions on.

use std::collections::HashMap;

use crate::conn_id::ConnId;

/// Debug check of admission: no sender is admitted twice while another waits, or exceeds its share.
/// Counts and checks only with debug assertions.
#[derive(Debug, Default)]
pub(super) struct AdmissionCheck {
    /// Admissions so far.
    admissions: u64,
    /// Admissions before each waiting sender began to wait.
    waits_since: HashMap<ConnId, u64>,
    /// The last admission of each sender that was admitted while others waited.
    last_admission: HashMap<ConnId, u64>,
}

impl AdmissionCheck {
    /// A sender waits, if it did not before.
    pub(super) fn on_wait(&mut self, id: ConnId) {
        if cfg!(debug_assertions) {
            self.waits_since.entry(id).or_insert(self.admissions);
        }
    }

    /// A sender that waited was visited and added so many bytes where `most` were its due, or has
    /// gone and added none.
    pub(super) fn on_visit(&mut self, id: ConnId, added: u64, most: u64, still_waits: bool) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(added <= most, "{id} added {added} bytes to the log where {most} were its due");
        if added > 0 {
            self.admissions += 1;
            self.waits_since.remove(&id);
            let since = self.waits_since.values().min();
            let last = self.last_admission.insert(id, self.admissions);
            let is_fair = last.is_none_or(|last| since.is_none_or(|since| last <= *since));
            assert!(is_fair, "{id} was admitted twice while another sender waited");
        }
        if still_waits {
            self.on_wait(id);
        } else {
            self.waits_since.remove(&id);
        }
        if self.waits_since.is_empty() {
            self.last_admission = HashMap::new();
        }
    }
}
