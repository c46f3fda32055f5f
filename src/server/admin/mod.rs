//! Tasks of admin clients, done with the whole server at hand: short ones within a turn, lists and
//! kicks in slices, so that a million connections hold up nobody.

#[cfg(feature = "cluster")]
mod cluster;
mod connections;
mod metrics;
mod process;
mod status;

use log::info;

pub use process::{Process, ProcessSample};

use super::Server;
use super::listener::Identity;
use super::transport::Transport;
use crate::conn_id::ConnId;
use crate::limits::{VISIT_COST_BYTES, turn_micros};
use crate::protocol::Admin;
use crate::protocol::admin::{Answer, Task, Token};

use connections::Scan;

/// Work of a task that is done at once, in bytes.
const TASK_COST_BYTES: usize = 8 * VISIT_COST_BYTES;

/// State of the tasks.
#[derive(Default)]
pub(super) struct AdminWork {
    /// The list or kick that is worked on, for its connection.
    scan: Option<(ConnId, Scan)>,
    /// Lists and kicks behind it.
    waiting: std::collections::VecDeque<(ConnId, Task)>,
    /// Connections that wait for the reload on its way, and for the one behind it.
    reloads: Vec<ConnId>,
    next_reloads: Vec<ConnId>,
    /// A reload has been asked for, and the program has not heard of it.
    is_reload_due: bool,
    /// Accepting is paused on all listeners but those of admin.
    is_draining: bool,
    /// Figures of the process, where its program has them.
    process: Option<Box<dyn Process>>,
    /// Bytes the memory account has been charged with for answers.
    charged: usize,
}

impl<T: Transport> Server<T> {
    /// Serves admin clients: to be called before the first listener with
    /// [`AdminProtocol`](crate::protocol::AdminProtocol). With a `token`, clients over TCP need it;
    /// without one they may only look.
    pub fn enable_admin(&mut self, token: Option<Token>) {
        match &mut self.shared.admin {
            Some(admin) => admin.set_token(token),
            admin => *admin = Some(Box::new(Admin::new(token))),
        }
        self.time_turns();
    }

    /// Measures turns from now on, for metrics and for warnings of slow ones.
    pub fn time_turns(&mut self) {
        self.schedule.budget.time_turns();
    }

    /// Has admin clients know a listener by this name and URL, instead of by its name in the log.
    ///
    /// # Panics
    ///
    /// If there is no such listener.
    pub fn set_identity(&mut self, listener: usize, identity: Identity) {
        self.listeners[listener].identity = identity;
    }

    /// Has metrics tell what `process` says of itself.
    pub fn set_process(&mut self, process: Box<dyn Process>) {
        self.admin.process = Some(process);
    }

    /// Stops accepting, but for admin clients, or accepts again. Clients stay until they leave.
    pub fn set_draining(&mut self, is_on: bool) {
        if self.admin.is_draining != is_on {
            self.admin.is_draining = is_on;
            info!("{}", if is_on { "draining: accepting no more" } else { "accepting again" });
        }
    }

    /// Whether only admin clients are accepted.
    pub(super) fn is_draining(&self) -> bool {
        self.admin.is_draining
    }

    /// Whether an admin client has asked for a reload since the last call. Its answer is
    /// [`finish_reload`](Self::finish_reload).
    pub fn take_reload_request(&mut self) -> bool {
        std::mem::take(&mut self.admin.is_reload_due)
    }

    /// A reload begins, which reads what is there now. Returns whether admin clients have asked for
    /// it.
    pub fn begin_reload(&mut self) -> bool {
        let AdminWork { reloads, next_reloads, .. } = &mut self.admin;
        reloads.append(next_reloads);
        !reloads.is_empty()
    }

    /// A reload is over: those who have asked for it before it began are told what has changed, or
    /// why nothing has, a line each.
    pub fn finish_reload(&mut self, result: &Result<Vec<String>, Vec<String>>) {
        let ids = std::mem::take(&mut self.admin.reloads);
        for id in ids {
            self.answer(id, status::reloaded(result));
        }
    }

    /// Whether the next turn has something to do for admin clients.
    pub(super) fn has_admin_work(&self) -> bool {
        let AdminWork { scan, waiting, .. } = &self.admin;
        let Some(admin) = &self.shared.admin else { return false };
        scan.is_some() || admin.has_task() || (!waiting.is_empty() && admin.has_room())
    }

    /// Whether any admin client waits for its answer.
    pub(super) fn has_pending_tasks(&self) -> bool {
        self.shared.admin.as_ref().is_some_and(|admin| admin.has_pending())
    }

    /// Does tasks until their share of the turn is spent.
    pub(super) fn run_admin(&mut self, registry: &T::Registry) {
        if !self.has_admin_work() {
            return;
        }
        self.schedule.budget.begin(turn_micros::ADMIN);
        while let Some((id, task)) = self.next_admin_task() {
            match task {
                Task::List(_) | Task::Kick(_) => self.push_waiting(id, task),
                _ => {
                    self.do_task(id, &task);
                    let admin = self.shared.admin.as_ref();
                    debug_assert!(admin.is_some_and(|a| a.is_bounded()), "too many answers wait");
                }
            }
            self.schedule.budget.charge(TASK_COST_BYTES);
            if self.schedule.budget.is_spent() {
                break;
            }
        }
        self.advance_scan(registry);
        self.update_admin_charge();
    }

    /// Puts a list or a kick behind those that wait. Lists whose clients have gone are dropped before
    /// they are many.
    fn push_waiting(&mut self, id: ConnId, task: Task) {
        let (waiting, admin) = (&mut self.admin.waiting, &self.shared.admin);
        if waiting.len() == waiting.capacity() {
            waiting.retain(|(id, task)| {
                task.is_change() || admin.as_ref().is_some_and(|admin| admin.is_awaited(*id))
            });
        }
        waiting.push_back((id, task));
    }

    fn next_admin_task(&mut self) -> Option<(ConnId, Task)> {
        self.shared.admin.as_mut()?.next_task()
    }

    fn do_task(&mut self, id: ConnId, task: &Task) {
        let answer = match task {
            Task::Status => self.status_answer(),
            Task::Metrics => self.metrics_answer(),
            Task::Ready => self.ready_answer(),
            Task::Drain { is_on } => {
                self.set_draining(*is_on);
                Answer::json(200, format!("{{\"draining\":{is_on}}}"))
            }
            Task::Reload if self.schedule.phase.is_stopping() => {
                Answer::text(503, "the server is stopping\n")
            }
            Task::Reload => {
                self.admin.next_reloads.push(id);
                self.admin.is_reload_due = true;
                return;
            }
            // These are done in slices.
            Task::List(_) | Task::Kick(_) => return,
        };
        self.answer(id, answer);
    }

    /// Goes on with the list or the kick that is worked on, or begins the next.
    fn advance_scan(&mut self, registry: &T::Registry) {
        while !self.schedule.budget.is_spent() {
            let (id, mut scan) = match self.admin.scan.take() {
                Some(scan) => scan,
                None => match self.begin_scan() {
                    Some(scan) => scan,
                    None => return,
                },
            };
            match self.scan_some(registry, id, &mut scan) {
                Some(answer) => self.answer(id, answer),
                None => {
                    self.admin.scan = Some((id, scan));
                    return;
                }
            }
        }
    }

    fn begin_scan(&mut self) -> Option<(ConnId, Scan)> {
        if !self.shared.admin.as_ref()?.has_room() {
            return None;
        }
        loop {
            let (id, task) = self.admin.waiting.pop_front()?;
            let is_awaited = self.shared.admin.as_ref()?.is_awaited(id);
            match task {
                Task::List(list) if is_awaited => return Some((id, Scan::list(list))),
                Task::Kick(kick) => return Some((id, Scan::kick(kick))),
                _ => {}
            }
        }
    }

    /// Gives a connection the answer to its task, and has its request looked at again.
    fn answer(&mut self, id: ConnId, answer: Answer) {
        let is_there = self.shared.admin.as_mut().is_some_and(|admin| admin.answer(id, answer));
        let now = self.shared.now;
        if is_there && let Some(mut visit) = self.visit(id) {
            visit.conn.session.on_admin_answer(now);
            visit.requeue();
        }
    }

    /// Charges the account for what tasks hold now.
    pub(super) fn update_admin_charge(&mut self) {
        let held = self.admin_held();
        self.shared.memory.recharge(&mut self.admin.charged, held);
    }

    /// Bytes allocated for tasks and their answers.
    pub(super) fn admin_held(&self) -> usize {
        let AdminWork { scan, waiting, .. } = &self.admin;
        let scan = scan.as_ref().map_or(0, |(_, scan)| scan.allocated());
        let waiting = waiting.capacity() * size_of::<(ConnId, Task)>();
        scan + waiting + self.shared.admin.as_ref().map_or(0, |admin| admin.allocated())
    }

    /// Bytes that the account is charged with for tasks: for invariants.
    pub(super) fn admin_charged(&self) -> usize {
        self.admin.charged
    }
}
