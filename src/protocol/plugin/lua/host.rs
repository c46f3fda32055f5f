//! All plugins of a folder: calls them in order, and disables those that fail.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use log::{error, warn};

use super::call_budget::CallBudget;
use super::instance::{Hook, HookReturn, Instance, TimedResult};
use super::limits::{FAILURES_MAX, STOP_BUDGETS};
use super::log_lines::LineKind;
use super::options::Clock;
use super::shared::Shared;
#[cfg(feature = "admin")]
use crate::protocol::plugin::types::PluginMetrics;
use crate::protocol::plugin::types::{Client, HookResult, Notice};

/// All plugins of one folder.
pub struct PluginHost {
    /// In the order in which they are asked.
    plugins: Vec<Entry>,
    shared: Rc<Shared>,
}

/// A plugin and the count of its failures.
struct Entry {
    instance: Instance,
    /// Failures since the last call that succeeded.
    failures: u32,
    /// Calls since it was loaded, those that failed, and their time.
    #[cfg(feature = "admin")]
    totals: (u64, u64, Duration),
}

impl Entry {
    fn new(instance: Instance) -> Self {
        Entry {
            instance,
            failures: 0,
            #[cfg(feature = "admin")]
            totals: (0, 0, Duration::ZERO),
        }
    }

    /// Whether it is still called: it has not failed too often in a row.
    fn is_enabled(&self) -> bool {
        self.failures < FAILURES_MAX
    }

    fn has_hook(&self, hook: Hook) -> bool {
        self.is_enabled() && self.instance.has_hook(hook)
    }
}

impl PluginHost {
    /// A host without plugins.
    #[must_use]
    pub fn empty(clock: Clock) -> Self {
        let call_budget = CallBudget::new(clock, Duration::ZERO);
        PluginHost::new(Vec::new(), Rc::new(Shared::new(call_budget, 0, 0, None)))
    }

    /// A host of these plugins, to be asked by priority, then by name.
    pub(super) fn new(mut instances: Vec<Instance>, shared: Rc<Shared>) -> Self {
        instances.sort_by(|a, b| (a.priority(), a.name()).cmp(&(b.priority(), b.name())));
        let plugins = instances.into_iter().map(Entry::new).collect();
        PluginHost { plugins, shared }
    }

    /// The names of all plugins, disabled ones included, in the order in which they are asked.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|entry| entry.instance.name())
    }

    /// Calls, failures, time and memory of each plugin.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn metrics(&self) -> Vec<PluginMetrics> {
        let of = |entry: &Entry| {
            let (calls, failures, time) = entry.totals;
            let (name, memory_bytes) =
                (entry.instance.name().to_owned(), entry.instance.memory_bytes());
            PluginMetrics { name, calls, failures, time, memory_bytes }
        };
        self.plugins.iter().map(of).collect()
    }

    /// The names as a line for the log: `plugins: a, b`.
    #[must_use]
    pub fn summary(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        match names.as_slice() {
            [] => "no plugins".to_owned(),
            names => format!("plugins: {}", names.join(", ")),
        }
    }

    /// Calls the notice's hook of the first plugin in `among` that has it. Returns the index of the
    /// next in `among` that has it: call again from there. A plugin that fails does not stop the
    /// others.
    pub fn notify(&mut self, notice: &Notice<'_>, among: Range<usize>) -> Option<usize> {
        self.notify_within(self.shared.call_budget.budget(), notice, among)
    }

    /// Calls the notice's hook of every plugin that has it; the sum of their time is not bounded.
    pub fn notify_all(&mut self, notice: &Notice<'_>) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.notify(notice, from..usize::MAX);
        }
    }

    /// Notifies the plugins that the server is about to stop: each within the budget of a call, all
    /// within ten of them. Plugins for which no time is left are counted in the log.
    pub fn server_stopping(&mut self) {
        let budget = self.shared.call_budget.budget();
        let until = self.spent().saturating_add(budget.saturating_mul(STOP_BUDGETS));
        let mut next = Some(0);
        while let Some(from) = next {
            let left = until.saturating_sub(self.spent());
            if left.is_zero() {
                let skipped = self.plugins.iter().skip(from);
                let skipped = skipped.filter(|entry| entry.has_hook(Hook::ServerStopping)).count();
                if skipped > 0 {
                    warn!("no time left to notify {skipped} plugins of the stop");
                }
                return;
            }
            next = self.notify_within(left.min(budget), &Notice::Stopping, from..usize::MAX);
        }
    }

    fn notify_within(
        &mut self,
        budget: Duration,
        notice: &Notice<'_>,
        among: Range<usize>,
    ) -> Option<usize> {
        let hook = notice.hook();
        let among = among.start.min(self.plugins.len())..among.end.min(self.plugins.len());
        let mut indexed = among.clone().zip(self.plugins[among].iter_mut());
        let (_, entry) = indexed.find(|(_, entry)| entry.has_hook(hook))?;
        let mark = self.shared.outbox_mark();
        let timed = entry.instance.notify(notice, budget);
        if timed.0.is_err() {
            self.shared.drop_broadcasts_since(mark);
        }
        record_result(entry, hook, &timed, &self.shared);
        indexed.find(|(_, entry)| entry.has_hook(hook)).map(|(index, _)| index)
    }

    /// Whether any plugin has a hook for clients that connect or disconnect.
    #[must_use]
    pub fn wants_clients(&self) -> bool {
        let wants = |entry: &Entry| {
            entry.has_hook(Hook::ClientConnected) || entry.has_hook(Hook::ClientDisconnected)
        };
        self.plugins.iter().any(wants)
    }

    /// Asks the plugins in order to answer `package`, until one returns a string, which is appended
    /// to `out`, or one fails, whose broadcasts are dropped. All of them share the budget of one
    /// call.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> HookResult<'_> {
        let budget = self.shared.call_budget.budget();
        let mut left = budget;
        let mut failed = None;
        for (index, entry) in self.plugins.iter_mut().enumerate() {
            if !entry.has_hook(Hook::ProcessClientPkg) {
                continue;
            }
            let mark = self.shared.outbox_mark();
            let (answer, time) = entry.instance.ask(package, client, left, out);
            let timed =
                (answer.map_err(|error| error.with_shared_budget(left, budget, time.took)), time);
            record_result(entry, Hook::ProcessClientPkg, &timed, &self.shared);
            match timed.0 {
                Ok(HookReturn::Answer) => return HookResult::Answered,
                Ok(HookReturn::Nil) => left = left.saturating_sub(time.took),
                Err(_) => {
                    self.shared.drop_broadcasts_since(mark);
                    failed = Some(index);
                    break;
                }
            }
        }
        match failed {
            Some(index) => HookResult::Failed { plugin: self.plugins[index].instance.name() },
            None => HookResult::Unhandled,
        }
    }

    /// Takes the queued broadcasts, in order. To be called after each call into the host: what is
    /// queued counts against [`broadcast_bytes_max`](super::PluginOptions::broadcast_bytes_max).
    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.shared.take_broadcasts().into_iter()
    }

    /// Time of all calls into plugins so far.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.shared.call_budget.spent()
    }

    /// Memory of all plugins in bytes, garbage that Lua has not collected included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.plugins.iter().map(|entry| entry.instance.memory_bytes()).sum()
    }

    /// Milliseconds until the next summary of suppressed log lines is due; `None` if none is.
    #[must_use]
    pub fn log_due_in_ms(&self) -> Option<u64> {
        self.shared.log_lines.due_in(|| self.shared.call_budget.now())
    }

    /// Writes the summaries that are due.
    pub fn write_due_log(&self) {
        if self.log_due_in_ms() == Some(0) {
            self.shared.log_lines.write_due(self.shared.call_budget.now());
        }
    }

    /// Writes all summaries: the host is about to be dropped.
    pub fn flush_log(&self) {
        self.shared.log_lines.flush();
    }

    /// Drops one plugin; false if none is left. Dropping all at once would take as long as several
    /// calls.
    pub fn drop_one(&mut self) -> bool {
        self.plugins.pop().is_some()
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Counts and logs the result of a call.
fn record_result<T>(entry: &mut Entry, hook: Hook, timed: &TimedResult<T>, shared: &Shared) {
    let (result, time) = timed;
    #[cfg(feature = "admin")]
    {
        let (calls, failures, sum) = &mut entry.totals;
        *calls += 1;
        *failures += u64::from(result.is_err());
        *sum = sum.saturating_add(time.took);
    }
    let name = entry.instance.name();
    let admits =
        |kind| shared.log_lines.admit(kind, entry.instance.identity(), shared.call_budget.now());
    if let Err(error) = result {
        if admits(LineKind::Failure) {
            error!("plugin {name}: {hook} failed: {error}");
        }
        entry.failures += u32::from(error.is_plugin_fault());
        if !entry.is_enabled() {
            error!(
                "plugin {name} is disabled until it is reloaded: {FAILURES_MAX} failures in a row"
            );
        }
        return;
    }
    entry.failures = 0;
    if time.took > shared.call_budget.budget() / 2 && admits(LineKind::SlowCall) {
        warn!("plugin {name}: {hook} was slow: {} ms", time.took.as_millis());
    }
}
