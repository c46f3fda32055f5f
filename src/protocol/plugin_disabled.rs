//! Stand-in for `plugin` in a build without plugins. The types are empty, so no value of them
//! exists and the compiler drops all code that has one.

/// A host that cannot exist.
#[derive(Debug)]
pub enum PluginHost {}

/// A scheduler that cannot exist.
#[derive(Debug)]
pub enum PluginScheduler {}

#[allow(missing_docs, reason = "none of these can be called")]
impl PluginScheduler {
    pub fn new(host: PluginHost) -> Self {
        match host {}
    }

    pub fn replace_host(&mut self, host: PluginHost) {
        match host {}
    }

    pub fn begin_resuming(&mut self) {
        match *self {}
    }

    pub fn notify_next(&mut self) -> bool {
        match *self {}
    }

    pub fn end_turn(&mut self) {
        match *self {}
    }

    pub fn cost(&self) -> usize {
        match *self {}
    }

    pub fn has_work(&self) -> bool {
        match *self {}
    }

    pub fn log_due_in_ms(&self) -> Option<u64> {
        match *self {}
    }

    pub fn flush_log(&self) {
        match *self {}
    }

    pub fn on_started(&mut self) {
        match *self {}
    }

    pub fn on_stopping(&mut self) {
        match *self {}
    }

    pub fn take_broadcasts(&mut self) -> Vec<Vec<u8>> {
        match *self {}
    }
}
