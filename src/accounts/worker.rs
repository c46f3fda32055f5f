//! The thread that hashes passwords and writes registrations, so that the loop never waits for
//! either. Knows no connections: a job has a token of its owner's.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::disk::Disk;
use super::hash::Hasher;
use super::store::SharedAccounts;
use super::write::{AccountsFile, WriteError};
use crate::protocol::login::{Attempt, Busy, Job, JobResult, Outcome, parse_name};

/// Most jobs that wait, besides the one in work.
pub const QUEUE_LEN_MAX: usize = 64;
/// The hasher's memory is given back when there was no job for so long.
const MEMORY_KEPT: Duration = Duration::from_secs(10);

/// A thread with a queue. Dropping it stops it, too.
#[derive(Debug)]
pub struct Worker<A> {
    shared: Arc<Shared<A>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<A> {
    state: Mutex<State<A>>,
    /// There is a job, or the worker stops.
    changed: Condvar,
}

#[derive(Debug)]
struct State<A> {
    /// At most [`QUEUE_LEN_MAX`] jobs, of different addresses.
    queue: VecDeque<Job<A>>,
    /// The address of the job in work.
    in_work: Option<A>,
    results: Vec<JobResult<A>>,
    is_stopping: bool,
}

impl<A: Copy + Eq + Send + 'static> Worker<A> {
    /// Starts the thread. It calls `wake` whenever there are results to take.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start<D>(
        accounts: SharedAccounts,
        file: AccountsFile<D>,
        wake: impl FnMut() + Send + 'static,
    ) -> io::Result<Self>
    where
        D: Disk + Send + 'static,
    {
        Worker::start_with(Hasher::default(), accounts, file, wake)
    }

    fn start_with<D>(
        hasher: Hasher,
        accounts: SharedAccounts,
        file: AccountsFile<D>,
        mut wake: impl FnMut() + Send + 'static,
    ) -> io::Result<Self>
    where
        D: Disk + Send + 'static,
    {
        let state = State {
            queue: VecDeque::new(),
            in_work: None,
            results: Vec::new(),
            is_stopping: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        let mut executor = Executor { hasher, accounts, file };
        let thread = thread::Builder::new().name("accounts".to_owned()).spawn(move || {
            while let Some(job) = own.next_job(&mut executor.hasher) {
                let (id, address, attempt) = (job.id, job.address, job.attempt);
                let outcome = catch_unwind(AssertUnwindSafe(|| executor.run(&job)));
                drop(job);
                let outcome = outcome.unwrap_or_else(|_| match attempt {
                    Attempt::Login => Outcome::LoginFailed,
                    Attempt::Register => Outcome::RegistrationFailed("panicked".to_owned()),
                });
                own.finish(JobResult { id, address, outcome });
                wake();
            }
        })?;
        Ok(Worker { shared, thread: Some(thread) })
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The queue is full, the address has a job that waits or is in work, or the worker stops. The
    /// job is dropped.
    pub fn submit(&self, job: Job<A>) -> Result<(), Busy> {
        let mut state = self.shared.lock();
        let is_full = state.is_stopping || state.queue.len() >= QUEUE_LEN_MAX;
        if is_full || state.has_address(job.address) {
            return Err(Busy);
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Drops a job that has not begun, and makes its place free. False if it has begun, so that its
    /// result will come.
    pub fn cancel(&self, id: u64) -> bool {
        let mut state = self.shared.lock();
        let found = state.queue.iter().position(|job| job.id == id);
        found.and_then(|at| state.queue.remove(at)).is_some()
    }

    /// Takes the results there are, in the order in which the jobs were queued.
    #[must_use]
    pub fn take_results(&self) -> Vec<JobResult<A>> {
        std::mem::take(&mut self.shared.lock().results)
    }

    /// The number of jobs that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Drops the jobs that have not begun and lets the one in work end, so that no registration is
    /// torn. Returns the results that were not taken.
    pub fn stop(mut self) -> Vec<JobResult<A>> {
        self.join();
        self.take_results()
    }
}

impl<A> Worker<A> {
    fn join(&mut self) {
        let mut state = self.shared.lock();
        state.is_stopping = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<A> Drop for Worker<A> {
    fn drop(&mut self) {
        self.join();
    }
}

impl<A: Copy + Eq> State<A> {
    fn has_address(&self, address: A) -> bool {
        self.in_work == Some(address) || self.queue.iter().any(|job| job.address == address)
    }
}

impl<A> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Copy> Shared<A> {
    /// Waits for a job; `None` at a stop. Gives back the hasher's memory when none comes for long.
    fn next_job(&self, hasher: &mut Hasher) -> Option<Job<A>> {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                state.in_work = Some(job.address);
                return Some(job);
            }
            state = if hasher.has_memory() {
                let waited = self.changed.wait_timeout(state, MEMORY_KEPT);
                let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() && state.queue.is_empty() {
                    hasher.release_memory();
                }
                state
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    fn finish(&self, result: JobResult<A>) {
        let mut state = self.lock();
        state.in_work = None;
        state.results.push(result);
    }
}

/// The thread's own: runs one job at a time.
struct Executor<D> {
    hasher: Hasher,
    accounts: SharedAccounts,
    file: AccountsFile<D>,
}

impl<D: Disk> Executor<D> {
    fn run<A>(&mut self, job: &Job<A>) -> Outcome {
        match job.attempt {
            Attempt::Login => self.log_in(job),
            Attempt::Register => self.register(job),
        }
    }

    fn log_in<A>(&mut self, job: &Job<A>) -> Outcome {
        let accounts = self.accounts.read();
        let (hash, cost) = (accounts.hash_of(&job.name).cloned(), accounts.usual_cost());
        drop(accounts);
        let Some(hash) = hash else {
            self.hasher.waste(&job.password, cost);
            return Outcome::LoginFailed;
        };
        if !self.hasher.verify(&job.password, &hash) {
            return Outcome::LoginFailed;
        }
        let accounts = self.accounts.read();
        // A reload may have deleted or changed it meanwhile.
        let is_same = accounts.hash_of(&job.name) == Some(&hash);
        match accounts.find(&job.name).filter(|_| is_same) {
            Some(name) => Outcome::LoggedIn(Arc::clone(name)),
            None => Outcome::LoginFailed,
        }
    }

    fn register<A>(&mut self, job: &Job<A>) -> Outcome {
        let name = match parse_name(&job.name) {
            Ok(name) => name,
            Err(error) => return Outcome::RegistrationFailed(error.to_string()),
        };
        if self.accounts.is_taken(&name) {
            return Outcome::Taken;
        }
        let hash = match self.hasher.hash(&job.password) {
            Ok(hash) => hash,
            Err(error) => return Outcome::RegistrationFailed(error.to_string()),
        };
        match self.file.register(&self.accounts, &name, hash) {
            Ok(name) => Outcome::Registered(name),
            Err(WriteError::Taken { .. }) => Outcome::Taken,
            Err(WriteError::Full) => Outcome::Full,
            Err(error) => Outcome::RegistrationFailed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::accounts::hash::Cost;
    use crate::accounts::memory_disk::MemoryDisk;
    use crate::accounts::store::tests::tiny_hash;
    use crate::protocol::login::Password;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A worker that, after each job, reports it and waits to be let on.
    struct Held {
        worker: Worker<u32>,
        done: Receiver<()>,
        go_on: Sender<()>,
        accounts: SharedAccounts,
        disk: MemoryDisk,
    }

    impl Held {
        fn new() -> Held {
            let disk =
                MemoryDisk::with_file("/accounts", &format!("bob:{}\n", tiny_hash("password")));
            let file = AccountsFile::on(disk.clone(), "/accounts".into());
            let accounts = SharedAccounts::new(file.read().unwrap().accounts);
            let (done_tx, done) = channel();
            let (go_on, go_on_rx) = channel::<()>();
            let wake = move || {
                let _ = done_tx.send(());
                let _ = go_on_rx.recv();
            };
            let hasher = Hasher::new(Cost::TINY);
            let worker = Worker::start_with(hasher, accounts.clone(), file, wake).unwrap();
            Held { worker, done, go_on, accounts, disk }
        }

        fn submit(&self, id: u64, attempt: Attempt, name: &str, password: &str) -> bool {
            let password = Password::new(password.into()).unwrap();
            let job = Job { id, address: id as u32 % 1000, attempt, name: name.into(), password };
            self.worker.submit(job).is_ok()
        }

        fn log_in(&self, id: u64) -> bool {
            self.submit(id, Attempt::Login, "bob", "password")
        }

        /// Waits for the end of a job, and for the next to wait.
        fn wait(&self) -> Vec<JobResult<u32>> {
            self.done.recv_timeout(PATIENCE).unwrap();
            self.worker.take_results()
        }

        fn outcome(&self, attempt: Attempt, name: &str, password: &str) -> Outcome {
            assert!(self.submit(7, attempt, name, password));
            let mut results = self.wait();
            self.go_on.send(()).unwrap();
            assert_eq!(results.len(), 1);
            results.remove(0).outcome
        }
    }

    #[test]
    fn login_needs_the_name_and_its_password() {
        let held = Held::new();
        let log_in = |name, password| held.outcome(Attempt::Login, name, password);
        assert_eq!(log_in("BOB", "password"), Outcome::LoggedIn("bob".into()));
        assert_eq!(log_in("bob", "passworD"), Outcome::LoginFailed);
        assert_eq!(log_in("eve", "password"), Outcome::LoginFailed);
        assert_eq!(log_in("b\u{43e}b", "password"), Outcome::LoginFailed);
    }

    #[test]
    fn registration_is_in_the_file_and_logs_in() {
        let held = Held::new();
        let register = |name, password| held.outcome(Attempt::Register, name, password);
        assert_eq!(register("Ann", "ann's password"), Outcome::Registered("Ann".into()));
        assert!(held.disk.text("/accounts").contains("\nAnn:$argon2id$"));
        assert_eq!(register("ann", "ann's password"), Outcome::Taken);
        assert_eq!(register("BOB", "bob's password"), Outcome::Taken);
        let log_in = held.outcome(Attempt::Login, "ann", "ann's password");
        assert_eq!(log_in, Outcome::LoggedIn("Ann".into()));
        held.disk.remove(std::path::Path::new("/accounts")).unwrap();
        let Outcome::RegistrationFailed(reason) = register("eve", "eve's password") else {
            panic!("there is no file");
        };
        assert_eq!(reason, "cannot write /accounts: entity not found");
        assert!(held.accounts.find("eve").is_none());
    }

    #[test]
    fn queue_has_64_places_and_one_for_an_address() {
        let held = Held::new();
        assert!(held.log_in(1));
        assert_eq!(held.wait().len(), 1, "and the thread waits in `wake`");
        assert!(held.log_in(1), "the address has no job any more");
        assert!(!held.log_in(1001), "the same address");
        for id in 2..=64 {
            assert!(held.log_in(id), "{id}");
        }
        assert!(!held.log_in(65), "the queue is full");
        assert!(held.worker.cancel(64));
        assert!(!held.worker.cancel(64) && !held.worker.cancel(999));
        assert!(held.log_in(65), "a cancelled job leaves its place");
        let mut order = Vec::new();
        for _ in 0..64 {
            held.go_on.send(()).unwrap();
            order.extend(held.wait().into_iter().map(|result| result.id));
        }
        let expected: Vec<u64> = (1..=63).chain([65]).collect();
        assert_eq!(order, expected);
        drop(held.go_on);
    }

    #[test]
    fn stop_ends_the_job_in_work_and_drops_the_rest() {
        let held = Held::new();
        assert!(held.log_in(1));
        held.done.recv_timeout(PATIENCE).unwrap();
        assert!(held.submit(2, Attempt::Register, "late", "password"));
        let Held { worker, go_on, disk, .. } = held;
        worker.shared.lock().is_stopping = true;
        drop(go_on);
        let results = worker.stop();
        assert_eq!(results.iter().map(|result| result.id).collect::<Vec<_>>(), [1]);
        assert!(!disk.text("/accounts").contains("late"));
    }

    #[test]
    fn login_to_an_account_deleted_meanwhile_fails() {
        let held = Held::new();
        assert!(held.log_in(1));
        held.done.recv_timeout(PATIENCE).unwrap();
        assert!(held.log_in(2));
        held.accounts.replace(Default::default(), held.accounts.begin_reload());
        held.go_on.send(()).unwrap();
        held.done.recv_timeout(PATIENCE).unwrap();
        let outcomes: Vec<_> = held.worker.take_results();
        assert_eq!(outcomes[0].outcome, Outcome::LoggedIn("bob".into()));
        assert_eq!(outcomes[1].outcome, Outcome::LoginFailed);
        held.go_on.send(()).unwrap();
    }

    /// The time is that of the hash; measuring it would depend on the machine.
    #[test]
    fn unknown_name_costs_a_hash() {
        let disk = MemoryDisk::with_file("/accounts", "");
        let file = AccountsFile::on(disk, "/accounts".into());
        let hasher = Hasher::new(Cost::TINY);
        let mut executor = Executor { hasher, accounts: SharedAccounts::default(), file };
        let password = Password::new(b"password".to_vec()).unwrap();
        let attempt = Attempt::Login;
        let job = Job { id: 1, address: 1, attempt, name: "bob".into(), password };
        let used = allocation_counter::measure(|| {
            assert_eq!(executor.run(&job), Outcome::LoginFailed);
        });
        assert!(used.bytes_max >= 19 << 20, "as a new hash: {} bytes", used.bytes_max);
    }
}
