//! Accounts, in worlds where there are some: a backend whose outcomes come some turns later, one at
//! a time, and what a `command` client says to log in and must be answered. A model of its own says
//! whose attempt may be worked on, and when.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mynah::internal::address::AddressKey;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::protocol::chat::nickname::Nickname;
use mynah::internal::protocol::login::{
    Attempt, Auth, Authenticator, Backend, Busy, Job, JobResult, Outcome,
};
use mynah::internal::server::{Server, Transport};

use super::network::Network;
use crate::support::rng::Rng;

/// The accounts there are from the beginning.
const NAMES: [&str; 3] = ["alice", "Bob", "Юрий"];
/// The same, as clients may write them.
const WRITTEN: [&str; 5] = ["alice", "ALICE", "bob", "Bob", "юрий"];
/// Names that clients register: the first can be had once, the second looks like one there is, and
/// the last cannot be written to the disk.
const WANTED: [&str; 3] = ["common", "аlice", "zeta"];
/// Failed attempts of an address for which it need not wait.
const FREE_FAILURES: u32 = 5;
/// The server keeps the time of a failure in steps of so many milliseconds.
const STEP_MS: u64 = 64;

/// The accounts of a world.
pub struct Accounts {
    directory: Rc<RefCell<Directory>>,
    allows_registration: bool,
    /// Whether the clients of listener 0 must log in before all else.
    is_required: bool,
}

impl Accounts {
    /// In one world of three.
    pub fn new(seed: u64) -> Option<Self> {
        let mut rng = Rng::new(seed ^ 0xacc0);
        if !rng.one_in(3) {
            return None;
        }
        let queue_len_max = [1, 3, 64][rng.below(3)];
        let turns_max = [1, 20, 200, 2_000][rng.below(4)];
        let allows_registration = rng.one_in(2);
        let is_required = rng.one_in(3);
        let directory = Directory {
            rng,
            now: Millis(0),
            accounts: NAMES.iter().map(|name| (*name).into()).collect(),
            queue_len_max,
            turns_max,
            queue: VecDeque::new(),
            in_work: None,
            results: Vec::new(),
            failures: HashMap::new(),
            busy: 0,
        };
        let directory = Rc::new(RefCell::new(directory));
        Some(Accounts { directory, allows_registration, is_required })
    }

    /// Gives the server the accounts; the clients of listener 0 may or must log in.
    pub fn install<T: Transport>(&self, server: &mut Server<T>) {
        let backend = FakeBackend(Rc::clone(&self.directory));
        server.set_accounts(Authenticator::new(Box::new(backend), self.allows_registration));
        server.set_auth(0, if self.is_required { Auth::Required } else { Auth::Optional });
    }

    /// The request of a client of listener 0 to log in.
    pub fn script(&self, number: usize) -> Script {
        Script {
            directory: Rc::clone(&self.directory),
            allows_registration: self.allows_registration,
            is_required: self.is_required,
            is_honest: number % 3 != 2,
            name: None,
        }
    }

    /// Goes on with the work; true if the loop is woken, because results wait to be taken.
    pub fn work(&self, now: Millis) -> bool {
        let mut directory = self.directory.borrow_mut();
        directory.now = now;
        // Much may be done within one turn of the server's.
        for _ in 0..directory.rng.between(1, 3) {
            directory.work();
        }
        !directory.results.is_empty()
    }

    /// From here on no attempt takes long.
    pub fn hurry(&self) {
        let directory = &mut *self.directory.borrow_mut();
        directory.turns_max = directory.turns_max.min(20);
        if let Some((_, left)) = &mut directory.in_work {
            *left = (*left).min(20);
        }
    }

    /// Where a client comes from, where nothing else is said: two have one address.
    pub fn address(number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 1, (number / 2) as u8], 1_000 + number as u16))
    }

    /// Whether there is work to be done, or results are to be taken.
    pub fn is_busy(&self) -> bool {
        let directory = self.directory.borrow();
        directory.in_work.is_some() || !directory.queue.is_empty() || !directory.results.is_empty()
    }

    /// After a turn no result is left, and nobody waits in the queue who has gone: an attempt that
    /// has not begun would keep others of its address from theirs.
    pub fn check_turn(&self, network: &Network) {
        let directory = self.directory.borrow();
        assert!(directory.results.is_empty(), "nobody takes {:?}", directory.results);
        for job in &directory.queue {
            let socket = network.socket_of(ConnId::from_bits(job.id).generation);
            let socket = &network.sockets[socket.expect("whoever attempts has a socket")];
            assert!(!socket.server_shut, "an attempt of {:?} outlives its connection", job.address);
        }
    }
}

/// The accounts, the attempts that wait, the one in work, and the results that have come.
#[derive(Debug)]
struct Directory {
    rng: Rng,
    now: Millis,
    accounts: Vec<Arc<str>>,
    queue_len_max: usize,
    /// Most steps that an attempt takes.
    turns_max: usize,
    queue: VecDeque<Job<AddressKey>>,
    /// The attempt in work, and how many steps are left of it.
    in_work: Option<(Job<AddressKey>, usize)>,
    results: Vec<JobResult<AddressKey>>,
    /// Failed attempts of each address of which the server knows, and when it learnt of the last.
    failures: HashMap<AddressKey, (u32, Millis)>,
    /// Attempts that were refused because there were others, less those whose clients know it.
    busy: usize,
}

impl Directory {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        let wanted = Nickname::parse(name).ok()?;
        let is_same = |other: &&Arc<str>| {
            Nickname::parse(other).is_ok_and(|other| other.folded() == wanted.folded())
        };
        self.accounts.iter().find(is_same).cloned()
    }

    fn is_taken(&self, name: &Nickname<'_>) -> bool {
        let mut accounts = self.accounts.iter();
        accounts.any(|other| Nickname::parse(other).is_ok_and(|other| other.is_same(name)))
    }

    fn work(&mut self) {
        match self.in_work.take() {
            Some((job, 1)) => self.finish(job),
            Some((job, left)) => self.in_work = Some((job, left - 1)),
            None => {
                let steps = self.rng.skewed(self.turns_max);
                self.in_work = self.queue.pop_front().map(|job| (job, steps));
            }
        }
    }

    fn finish(&mut self, job: Job<AddressKey>) {
        let Job { id, address, attempt, name, password } = job;
        let is_right = password.as_bytes() == password_of(&name).as_bytes();
        let parsed = Nickname::parse(&name).expect("a name was checked");
        let outcome = match (attempt, self.find(&name)) {
            (Attempt::Login, Some(name)) if is_right => Outcome::LoggedIn(name),
            (Attempt::Login, _) => Outcome::LoginFailed,
            (Attempt::Register, _) if self.is_taken(&parsed) => Outcome::Taken,
            (Attempt::Register, _) if name.starts_with('z') => {
                Outcome::RegistrationFailed("no space left on device".to_owned())
            }
            (Attempt::Register, _) => {
                let name: Arc<str> = name.into();
                self.accounts.push(Arc::clone(&name));
                Outcome::Registered(name)
            }
        };
        self.results.push(JobResult { id, address, outcome });
    }

    /// When an address may try again, less what the server may be early.
    fn due_at(&self, address: AddressKey) -> Millis {
        let Some((count, at)) = self.failures.get(&address) else { return Millis(0) };
        let Some(doublings) = count.checked_sub(FREE_FAILURES + 1) else { return Millis(0) };
        let delay_secs = (1 << doublings.min(6)).min(60);
        Millis((at.0 + delay_secs * 1_000).saturating_sub(STEP_MS))
    }

    fn charge(&mut self, address: AddressKey) {
        let (count, at) = self.failures.entry(address).or_insert((0, self.now));
        (*count, *at) = (*count + 1, self.now);
    }
}

/// The password of every account of that name, however it is written.
fn password_of(name: &str) -> String {
    format!("password of {}", name.to_lowercase())
}

#[derive(Debug)]
struct FakeBackend(Rc<RefCell<Directory>>);

impl Backend for FakeBackend {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        self.0.borrow().find(name)
    }

    fn is_taken(&self, name: &Nickname<'_>) -> bool {
        self.0.borrow().is_taken(name)
    }

    fn submit(&mut self, job: Job<AddressKey>) -> Result<(), Busy> {
        let directory = &mut *self.0.borrow_mut();
        let address = job.address;
        assert!(
            directory.now >= directory.due_at(address),
            "{address:?} attempts too soon, unlike it was told"
        );
        assert!(
            directory.results.is_empty(),
            "an attempt before its address is charged for another"
        );
        let waits = directory.queue.iter().any(|other| other.address == address);
        let is_in_work =
            directory.in_work.as_ref().is_some_and(|(other, _)| other.address == address);
        if waits || is_in_work || directory.queue.len() >= directory.queue_len_max {
            directory.busy += 1;
            return Err(Busy);
        }
        directory.queue.push_back(job);
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> bool {
        let queue = &mut self.0.borrow_mut().queue;
        let found = queue.iter().position(|job| job.id == id);
        found.and_then(|at| queue.remove(at)).is_some()
    }

    fn take_results(&mut self) -> Vec<JobResult<AddressKey>> {
        let directory = &mut *self.0.borrow_mut();
        let results = std::mem::take(&mut directory.results);
        for result in results.iter().filter(|result| result.outcome == Outcome::LoginFailed) {
            directory.charge(result.address);
        }
        results
    }
}

/// A client's logins, and what it has been told.
pub struct Script {
    directory: Rc<RefCell<Directory>>,
    allows_registration: bool,
    is_required: bool,
    /// It knows passwords. Others never log in, unless they register.
    is_honest: bool,
    /// The name it is logged in under.
    name: Option<String>,
}

/// A request of which is known what it may be answered with while nobody is logged in.
pub struct Request {
    attempt: Attempt,
    kind: Kind,
}

enum Kind {
    /// It is refused for what is in it.
    Malformed(&'static str),
    Login {
        name: String,
        is_right: bool,
        /// There was such an account when it was asked for.
        has_account: bool,
    },
    Register(String),
}

impl Script {
    /// A request, as the payload of its code.
    pub fn speak(&self, number: usize, rng: &mut Rng) -> (u8, Vec<u8>, Request) {
        match rng.below(8) {
            0 => self.malformed(rng),
            1 => {
                let own = format!("user-{number}");
                let name = WANTED.get(rng.below(6)).map_or(own, |name| (*name).to_owned());
                let payload = credentials(&name, &password_of(&name));
                let request = Request { attempt: Attempt::Register, kind: Kind::Register(name) };
                (6, payload, request)
            }
            2..6 if self.is_honest => self.log_in(true, rng),
            _ => self.log_in(false, rng),
        }
    }

    fn log_in(&self, is_right: bool, rng: &mut Rng) -> (u8, Vec<u8>, Request) {
        let any = [&WRITTEN[..], &["common", "nobody"]].concat();
        let name = any[rng.below(any.len())].to_owned();
        let password = if is_right { password_of(&name) } else { "no password".to_owned() };
        let payload = credentials(&name, &password);
        let has_account = self.directory.borrow().find(&name).is_some();
        let kind = Kind::Login { name, is_right, has_account };
        (5, payload, Request { attempt: Attempt::Login, kind })
    }

    fn malformed(&self, rng: &mut Rng) -> (u8, Vec<u8>, Request) {
        let (payload, why): (&[u8], _) = [
            (&b"alice"[..], "LOGIN needs NAME NUL PASSWORD"),
            (b"alice\0password\0", "LOGIN needs NAME NUL PASSWORD"),
            (b"al\0password", "a name has 3 to 16 characters"),
            (b"a b\0password", "a name has no blanks or control characters"),
            (b"alice\xff\0password", "a name has no blanks or control characters"),
            (b"alice\0secret", "a password has 8 to 128 bytes"),
            (b"server\0password", "login failed"),
        ][rng.below(7)];
        let kind = Kind::Malformed(why);
        (5, payload.to_vec(), Request { attempt: Attempt::Login, kind })
    }

    /// Whether it must log in before all else, and does not know that it is.
    pub fn is_outside(&self) -> bool {
        self.is_required && self.name.is_none()
    }

    /// A payload that no LOGIN or REGISTER has.
    pub fn nonsense(&self, code: u8) -> Request {
        let (attempt, why) = match code {
            5 => (Attempt::Login, "LOGIN needs NAME NUL PASSWORD"),
            _ => (Attempt::Register, "REGISTER needs NAME NUL PASSWORD"),
        };
        Request { attempt, kind: Kind::Malformed(why) }
    }

    /// A request has been answered, and all that came before it.
    pub fn hear(
        &mut self,
        request: &Request,
        from: Option<IpAddr>,
        code: u8,
        text: &str,
    ) -> Result<(), String> {
        let is_good = match code {
            1 => self.hear_welcome(request, text),
            255 => self.hear_refusal(request, from, text),
            _ => false,
        };
        let attempt = request.attempt;
        if is_good { Ok(()) } else { Err(format!("{attempt:?} is answered with {code} {text:?}")) }
    }

    fn hear_welcome(&mut self, request: &Request, text: &str) -> bool {
        let Some(welcome) = text.strip_prefix("welcome ") else { return false };
        let is_good = match &request.kind {
            Kind::Malformed(_) => false,
            Kind::Login { name, is_right, .. } => {
                *is_right && self.directory.borrow().find(name).as_deref() == Some(welcome)
            }
            Kind::Register(name) => {
                let has_account = self.directory.borrow().find(name).is_some();
                self.allows_registration && name == welcome && has_account
            }
        };
        // Whoever is logged in is not welcomed again.
        is_good && self.name.replace(welcome.to_owned()).is_none()
    }

    fn hear_refusal(&self, request: &Request, from: Option<IpAddr>, text: &str) -> bool {
        if let Some(name) = &self.name {
            return text.strip_prefix("already logged in as ") == Some(name);
        }
        if request.attempt == Attempt::Register && !self.allows_registration {
            return text == "registration is closed";
        }
        if let Kind::Malformed(why) = request.kind {
            return text == why;
        }
        let directory = &mut *self.directory.borrow_mut();
        if text == "busy, try again" {
            return directory.busy.checked_sub(1).map(|busy| directory.busy = busy).is_some();
        }
        if let Some(secs) = text.strip_prefix("too many attempts, try again in ") {
            let secs = secs.strip_suffix(" s").and_then(|secs| secs.parse().ok());
            let failures =
                |from: IpAddr| directory.failures.get(&from.into()).map_or(0, |(n, _)| *n);
            let is_due = from.is_none_or(|from| failures(from) > FREE_FAILURES);
            return is_due && secs.is_some_and(|secs| (1..=60).contains(&secs));
        }
        match &request.kind {
            Kind::Malformed(_) => false,
            Kind::Login { is_right, has_account, .. } => {
                text == "login failed" && !(*is_right && *has_account)
            }
            Kind::Register(name) if name.starts_with('z') => text == "registration failed",
            Kind::Register(name) => {
                let is_taken = Nickname::parse(name).is_ok_and(|name| directory.is_taken(&name));
                is_taken && text.strip_suffix(" is taken") == Some(name)
            }
        }
    }
}

fn credentials(name: &str, password: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0", password.as_bytes()].concat()
}
