//! The plugins together: who is asked, in which order, and what becomes of those who fail.

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
use crate::protocol::plugin::types::{Client, HookResult, Notice};

/// All plugins of one folder, ready to be asked.
pub struct PluginHost {
    /// In the order they are asked.
    plugins: Vec<Entry>,
    shared: Rc<Shared>,
}

/// A plugin and how it has behaved.
struct Entry {
    instance: Instance,
    /// Failures since the last call that went well.
    failures: u32,
}

impl Entry {
    /// Whether it is still called.
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

    /// A host of these plugins. They are asked by priority, then by name.
    pub(super) fn new(mut instances: Vec<Instance>, shared: Rc<Shared>) -> Self {
        instances.sort_by(|a, b| (a.priority(), a.name()).cmp(&(b.priority(), b.name())));
        let plugins =
            instances.into_iter().map(|instance| Entry { instance, failures: 0 }).collect();
        PluginHost { plugins, shared }
    }

    /// The names of all plugins, in the order they are asked; those that are switched off too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|entry| entry.instance.name())
    }

    /// `plugins: a, b`: the names as one line of the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        match names.as_slice() {
            [] => "no plugins".to_owned(),
            names => format!("plugins: {}", names.join(", ")),
        }
    }

    /// Calls the hook of the first of the plugins numbered `among` that has it. Returns the number of
    /// the next that has it, if there is one among them: call again from there. A plugin that fails
    /// stops none of the others.
    pub fn notify(&mut self, notice: &Notice<'_>, among: Range<usize>) -> Option<usize> {
        self.notify_within(self.shared.call_budget.budget(), notice, among)
    }

    /// Calls the hook of every plugin that has it, however long that takes in sum.
    pub fn notify_all(&mut self, notice: &Notice<'_>) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.notify(notice, from..usize::MAX);
        }
    }

    /// Tells the plugins that the server is about to stop, one after the other: each has the budget
    /// of a call, and all together ten of them. For whom nothing is left, it stops
    /// without a word.
    pub fn server_stopping(&mut self) {
        let budget = self.shared.call_budget.budget();
        let until = self.spent().saturating_add(budget.saturating_mul(STOP_BUDGETS));
        let mut next = Some(0);
        while let Some(from) = next {
            let left = until.saturating_sub(self.spent());
            if left.is_zero() {
                let unheard = self.plugins.iter().skip(from);
                let unheard = unheard.filter(|entry| entry.has_hook(Hook::ServerStopping)).count();
                if unheard > 0 {
                    warn!("plugins that were not told of the stop, for want of time: {unheard}");
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
        let mut numbered = among.clone().zip(self.plugins[among].iter_mut());
        let (_, entry) = numbered.find(|(_, entry)| entry.has_hook(hook))?;
        let mark = self.shared.outbox_mark();
        let called = entry.instance.notify(notice, budget);
        if called.0.is_err() {
            self.shared.drop_broadcasts_since(mark);
        }
        record_result(entry, hook, &called, &self.shared);
        numbered.find(|(_, entry)| entry.has_hook(hook)).map(|(number, _)| number)
    }

    /// Whether any plugin wants to hear of clients that come and go.
    #[must_use]
    pub fn wants_clients(&self) -> bool {
        let wants = |entry: &Entry| {
            entry.has_hook(Hook::ClientConnected) || entry.has_hook(Hook::ClientDisconnected)
        };
        self.plugins.iter().any(wants)
    }

    /// Asks one plugin after the other what to answer to `package`. The first that returns a string
    /// answers, and its bytes are appended to `out`; one that fails ends the asking, and what it
    /// wanted to broadcast is dropped. All of them together have the budget of one call.
    pub fn ask(&mut self, package: &[u8], client: &Client, out: &mut Vec<u8>) -> HookResult<'_> {
        let budget = self.shared.call_budget.budget();
        let mut left = budget;
        let mut failed = None;
        for (number, entry) in self.plugins.iter_mut().enumerate() {
            if !entry.has_hook(Hook::ProcessClientPkg) {
                continue;
            }
            let mark = self.shared.outbox_mark();
            let (answer, measured) = entry.instance.ask(package, client, left, out);
            let called = (
                answer.map_err(|error| error.with_shared_budget(left, budget, measured.took)),
                measured,
            );
            record_result(entry, Hook::ProcessClientPkg, &called, &self.shared);
            match called.0 {
                Ok(HookReturn::Answer) => return HookResult::Answered,
                Ok(HookReturn::Nil) => left = left.saturating_sub(measured.took),
                Err(_) => {
                    self.shared.drop_broadcasts_since(mark);
                    failed = Some(number);
                    break;
                }
            }
        }
        match failed {
            Some(number) => HookResult::Failed { plugin: self.plugins[number].instance.name() },
            None => HookResult::Unhandled,
        }
    }

    /// Takes what plugins have asked to broadcast, in the order they asked. To be called after each
    /// call into the host: what waits counts against
    /// [`broadcast_bytes_max`](super::PluginOptions::broadcast_bytes_max).
    pub fn drain_broadcasts(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.shared.take_broadcasts().into_iter()
    }

    /// All time ever spent in plugins, by the clock the host was handed.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.shared.call_budget.spent()
    }

    /// Memory that all plugins hold at the moment, in bytes; what they no longer use and Lua has not
    /// collected counts.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.plugins.iter().map(|entry| entry.instance.memory_bytes()).sum()
    }

    /// How long until a summary of log lines is due, in milliseconds, if one is.
    #[must_use]
    pub fn log_due_in_ms(&self) -> Option<u64> {
        self.shared.log_lines.due_in(|| self.shared.call_budget.now())
    }

    /// Writes the summaries of log lines whose second is over.
    pub fn write_due_log(&self) {
        if self.log_due_in_ms() == Some(0) {
            self.shared.log_lines.write_due(self.shared.call_budget.now());
        }
    }

    /// Writes all summaries of log lines: the host goes.
    pub fn flush_log(&self) {
        self.shared.log_lines.flush();
    }

    /// Drops one plugin; false if there is none left. To free all at once would take as long as some
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

/// Remembers and logs how a call went.
fn record_result<T>(entry: &mut Entry, hook: Hook, called: &TimedResult<T>, shared: &Shared) {
    let (result, measured) = called;
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
                "plugin {name} is switched off until it is reloaded: {FAILURES_MAX} failures in a row"
            );
        }
        return;
    }
    entry.failures = 0;
    if measured.took > shared.call_budget.budget() / 2 && admits(LineKind::SlowCall) {
        warn!("plugin {name}: {hook} was slow: {} ms", measured.took.as_millis());
    }
}
