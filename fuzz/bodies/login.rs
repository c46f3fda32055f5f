//! Logins over `command` and in the chat, with a backend whose outcomes come when the input says.
//! One answer each, in order; nobody is logged in without the right password, none of which is in
//! anything that is sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mynah::internal::address::{AddressKey, Peer};
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, VISIT_BYTES_MAX};
use mynah::internal::protocol::chat::nickname::Nickname;
use mynah::internal::protocol::login::{
    Attempt, Auth, Authenticator, Backend, Busy, Job, JobResult, Outcome,
};
use mynah::internal::protocol::{
    ChatProtocol, CloseReason, CommandProtocol, Context, Departure, Flow, PeerAddr, Protocol,
};
use mynah::internal::session::Session;

use super::listener::Listener;

const CLIENTS: usize = 4;
const PASSWORD: &str = "open-sesame";
const WRONG: &str = "not-sesame-";
const NAMES: [&str; 4] = ["bob", "BOB", "eve", "раураl"];

/// Accounts, the attempts that wait, and the outcomes that have come.
#[derive(Debug, Default)]
struct World {
    accounts: Vec<Arc<str>>,
    queue: VecDeque<Job<AddressKey>>,
    results: Vec<JobResult<AddressKey>>,
}

impl World {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        let wanted = Nickname::parse(name).ok()?;
        let is_same = |other: &&Arc<str>| {
            Nickname::parse(other).is_ok_and(|other| other.folded() == wanted.folded())
        };
        self.accounts.iter().find(is_same).cloned()
    }

    /// Works on the oldest attempt.
    fn work(&mut self) {
        let Some(Job { id, address, attempt, name, password }) = self.queue.pop_front() else {
            return;
        };
        let found = self.find(&name);
        let outcome = match (attempt, found) {
            (Attempt::Login, Some(name)) if password.as_bytes() == PASSWORD.as_bytes() => {
                Outcome::LoggedIn(name)
            }
            (Attempt::Login, _) => Outcome::LoginFailed,
            (Attempt::Register, Some(_)) => Outcome::Taken,
            (Attempt::Register, None) if name.starts_with('z') => {
                Outcome::RegistrationFailed("no space left on device".to_owned())
            }
            (Attempt::Register, None) => {
                self.accounts.push(name.into());
                Outcome::Registered(self.accounts[self.accounts.len() - 1].clone())
            }
        };
        self.results.push(JobResult { id, address, outcome });
    }
}

#[derive(Debug)]
struct FakeBackend(Rc<RefCell<World>>);

impl Backend for FakeBackend {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        self.0.borrow().find(name)
    }

    fn is_taken(&self, name: &Nickname<'_>) -> bool {
        let accounts = &self.0.borrow().accounts;
        accounts.iter().any(|other| Nickname::parse(other).is_ok_and(|other| other.is_same(name)))
    }

    fn submit(&mut self, job: Job<AddressKey>) -> Result<(), Busy> {
        let queue = &mut self.0.borrow_mut().queue;
        if queue.len() == 3 || queue.iter().any(|other| other.address == job.address) {
            return Err(Busy);
        }
        queue.push_back(job);
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> bool {
        let queue = &mut self.0.borrow_mut().queue;
        let found = queue.iter().position(|job| job.id == id);
        found.and_then(|at| queue.remove(at)).is_some()
    }

    fn take_results(&mut self) -> Vec<JobResult<AddressKey>> {
        std::mem::take(&mut self.0.borrow_mut().results)
    }
}

/// A request of which is known what it may be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Right,
    Wrong,
    Register,
    Echo,
}

struct Client {
    session: Session,
    /// Requests without an answer; `None` once other bytes were sent.
    asked: Option<VecDeque<Request>>,
    is_logged_in: bool,
    /// Whether anything that was sent could log in.
    knows_password: bool,
}

struct Run {
    listener: Listener,
    world: Rc<RefCell<World>>,
    clients: [Option<Client>; CLIENTS],
    generation: u32,
    now: Millis,
    is_required: bool,
}

/// Checks one input: a byte of settings, then operations of two bytes and what they need.
///
/// # Panics
///
/// When an answer is wrong, missing or too many.
pub fn run(data: &[u8]) {
    let Some((&settings, mut rest)) = data.split_first() else { return };
    let mut run = Run::new(settings);
    while let [what, who, after @ ..] = rest {
        rest = after;
        let who = usize::from(*who);
        let name = NAMES[who / CLIENTS % NAMES.len()];
        run.step(*what, who % CLIENTS, name, &mut rest);
        run.check_attempts();
    }
    run.finish();
}

impl Run {
    fn new(settings: u8) -> Run {
        let protocol: Protocol = match settings & 1 {
            0 => CommandProtocol { payload_len_max: 4_096 }.into(),
            _ => ChatProtocol::default().into(),
        };
        let world = Rc::new(RefCell::new(World::default()));
        world.borrow_mut().accounts.push("bob".into());
        let mut listener = Listener::new(protocol, Limits::default(), 1 << 20);
        let backend = Box::new(FakeBackend(Rc::clone(&world)));
        let accounts = Authenticator::new(backend, settings & 4 == 0);
        listener.shared.accounts = Some(Box::new(accounts));
        let is_required = settings & 2 != 0;
        listener.room.access.auth = if is_required { Auth::Required } else { Auth::Optional };
        let clients = std::array::from_fn(|_| None);
        Run { listener, world, clients, generation: 0, now: Millis(1_000), is_required }
    }

    fn is_chat(&self) -> bool {
        matches!(self.listener.protocol, Protocol::Chat(_))
    }

    fn id(&self, who: usize) -> ConnId {
        let session = &self.clients[who].as_ref().expect("it is there").session;
        ConnId { index: who as u32, generation: session.generation() }
    }

    fn step(&mut self, what: u8, who: usize, name: &str, rest: &mut &[u8]) {
        match what % 9 {
            0 => self.ask(who, Request::Right, name),
            1 => self.ask(who, Request::Wrong, name),
            2 => self.ask(who, Request::Register, name),
            3 => self.ask(who, Request::Echo, name),
            4 => {
                let len = rest.first().map_or(0, |len| usize::from(*len)).min(rest.len());
                let (bytes, behind) = rest.split_at(len);
                *rest = behind;
                self.connect(who);
                let client = self.clients[who].as_mut().expect("it is there");
                (client.asked, client.knows_password) = (None, true);
                self.send(who, bytes);
            }
            5 => {
                self.world.borrow_mut().work();
                self.take_outcomes();
            }
            6 => self.world.borrow_mut().work(),
            7 => self.leave(who),
            _ => self.now = self.now.after(500),
        }
    }

    fn connect(&mut self, who: usize) {
        if self.clients[who].is_some() {
            return;
        }
        self.generation += 1;
        let mut session = self.listener.session(self.generation, self.now);
        if self.is_required {
            self.listener.room.access.must_log_in += 1;
            session.require_login(self.now);
        }
        self.listener.room.members += 1;
        let asked = Some(VecDeque::new());
        self.clients[who] =
            Some(Client { session, asked, is_logged_in: false, knows_password: false });
    }

    fn ask(&mut self, who: usize, request: Request, name: &str) {
        self.connect(who);
        let is_chat = self.is_chat();
        let client = self.clients[who].as_mut().expect("it is there");
        if let Some(asked) = &mut client.asked {
            asked.push_back(request);
        }
        client.knows_password |= matches!(request, Request::Right | Request::Register);
        let password = if request == Request::Wrong { WRONG } else { PASSWORD };
        let bytes = match (request, is_chat) {
            (Request::Echo, false) => frame(1, b"echo"),
            (Request::Register, false) => frame(6, format!("{name}\0{password}").as_bytes()),
            (_, false) => frame(5, format!("{name}\0{password}").as_bytes()),
            (Request::Echo, true) => format!("{name}\n").into_bytes(),
            (Request::Register, true) => format!("/register {password}\n").into_bytes(),
            (_, true) => format!("/login {name} {password}\n").into_bytes(),
        };
        self.send(who, &bytes);
    }

    fn send(&mut self, who: usize, bytes: &[u8]) {
        let session = &self.clients[who].as_ref().expect("it is there").session;
        if session.has_deferred_input() {
            // It is not read from; the simulator of the whole server is where the rest waits.
            if let Some(asked) = &mut self.clients[who].as_mut().expect("it is there").asked {
                asked.pop_back();
            }
            return;
        }
        self.call(who, |session, protocol, ctx| session.on_bytes(protocol, bytes, true, ctx));
    }

    fn call(
        &mut self,
        who: usize,
        call: impl FnOnce(&mut Session, &mut Protocol, &mut Context<'_>) -> Flow,
    ) {
        let (id, mut out) = (self.id(who), Vec::new());
        // Two clients have one address.
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, who as u8 / 2));
        let peer = PeerAddr::Known(Some(Peer::Inet(SocketAddr::new(address, 9))));
        let session = &mut self.clients[who].as_mut().expect("it is there").session;
        let flow = self.listener.call(id, &mut out, VISIT_BYTES_MAX, self.now, |protocol, ctx| {
            ctx.peer = peer;
            call(session, protocol, ctx)
        });
        // All hear everything at once.
        let log = &mut self.listener.room.log;
        log.set_offered(log.head());
        log.release_below(log.head());
        self.check_answers(who, &out);
        self.close_replaced();
        match flow {
            Flow::Close(_) => self.leave(who),
            Flow::WaitForLogin => {
                assert!(self.clients[who].as_ref().unwrap().session.waits_for_login());
            }
            _ => self.resume(who),
        }
    }

    fn resume(&mut self, who: usize) {
        let Some(client) = &mut self.clients[who] else { return };
        client.session.on_log_vacancy();
        if client.session.has_deferred_input() && !client.session.waits_for_login() {
            self.call(who, |session, protocol, ctx| session.on_resume(protocol, ctx));
        }
    }

    fn take_outcomes(&mut self) {
        let shared = &mut self.listener.shared;
        let accounts = shared.accounts.as_mut().unwrap();
        accounts.take_results(self.now, &mut shared.stats.server, &mut shared.connection_log);
        while let Some(finished) = self.listener.shared.accounts.as_mut().unwrap().next_finished() {
            let who = finished.id.index as usize;
            assert_eq!(self.id(who), finished.id, "an outcome for a client that has gone");
            let client = self.clients[who].as_mut().unwrap();
            client.session.on_login_outcome(finished.waited_ms);
            self.resume(who);
        }
    }

    fn check_answers(&mut self, who: usize, out: &[u8]) {
        let text = String::from_utf8_lossy(out);
        let client = self.clients[who].as_mut().unwrap();
        // What another client says may be anything; it comes through the log.
        assert!(client.asked.is_none() || !text.contains(PASSWORD), "{text}");
        if text.contains("welcome ") && client.asked.is_some() {
            assert!(client.knows_password, "{text}");
        }
        if self.is_required && self.is_chat() && text.contains("Welcome, ") {
            assert!(self.clients[who].as_ref().unwrap().session.client().is_logged_in());
        }
        if self.is_chat() {
            return;
        }
        let client = self.clients[who].as_mut().unwrap();
        let Some(asked) = &mut client.asked else { return };
        for (code, answer) in frames(out) {
            let request = asked.pop_front().expect("an answer to nothing");
            let is_in = client.is_logged_in;
            let is_welcome = code == 1 && answer.starts_with("welcome ");
            let is_good = match request {
                Request::Echo if is_in || !self.is_required => (code, &*answer) == (1, "echo"),
                Request::Echo => (code, &*answer) == (255, "login required"),
                _ if is_in => answer.starts_with("already logged in as "),
                Request::Wrong => is_refusal(&answer) || answer == "login failed",
                Request::Right => is_welcome || is_refusal(&answer) || answer == "login failed",
                Request::Register => {
                    is_welcome
                        || is_refusal(&answer)
                        || answer.ends_with(" is taken")
                        || answer.starts_with("registration ")
                }
            };
            assert!(is_good, "{request:?} is answered with {code} {answer}");
            client.is_logged_in |= is_welcome;
        }
        assert_eq!(client.session.client().is_logged_in(), client.is_logged_in);
        assert!(asked.is_empty() || client.session.has_deferred_input(), "no answer: {asked:?}");
    }

    /// Closes members whose accounts others have logged in to.
    fn close_replaced(&mut self) {
        let direct = std::mem::take(&mut self.listener.shared.direct);
        for message in direct.iter().filter(|message| direct.is_closing(message.to)) {
            let who = message.to.index as usize;
            assert_eq!(self.id(who), message.to, "a member that has gone");
            self.leave(who);
        }
    }

    fn leave(&mut self, who: usize) {
        if self.clients[who].is_none() {
            return;
        }
        let id = self.id(who);
        let Some(mut client) = self.clients[who].take() else { return };
        let Listener { protocol, room, shared } = &mut self.listener;
        shared.accounts.as_mut().unwrap().disconnect(id);
        room.access.must_log_in -= usize::from(client.session.must_log_in());
        room.members -= 1;
        let member = client.session.unsubscribe(&room.log).unwrap();
        let departure = Departure { id, member, reason: CloseReason::Quit, is_quiet: false };
        use mynah::internal::protocol::Handler;
        match protocol {
            Protocol::Command(handler) => handler.on_leave(departure, room, shared),
            Protocol::Chat(handler) => handler.on_leave(departure, room, shared),
            _ => unreachable!("there are two protocols"),
        }
    }

    fn check_attempts(&self) {
        let accounts = self.listener.shared.accounts.as_ref().unwrap();
        for client in self.clients.iter().flatten() {
            let index = self
                .clients
                .iter()
                .position(|other| other.as_ref().is_some_and(|other| std::ptr::eq(other, client)));
            let id =
                ConnId { index: index.unwrap() as u32, generation: client.session.generation() };
            assert_eq!(client.session.waits_for_login(), accounts.is_awaited(id), "{id}");
        }
        let clients = self.clients.iter().flatten();
        let waiting = clients.clone().filter(|client| client.session.must_log_in()).count();
        assert_eq!(self.listener.room.access.must_log_in, waiting);
        let logged_in = clients.filter(|client| client.session.client().is_logged_in()).count();
        if self.is_chat() {
            let Protocol::Chat(chat) = &self.listener.protocol else { unreachable!() };
            chat.members().assert_invariants();
        } else {
            let counted: u32 = accounts.login_counts().map(|(_, count)| count).sum();
            assert_eq!(counted as usize, logged_in);
        }
    }

    /// Every attempt comes to its end, and nothing is left of clients that have gone.
    fn finish(mut self) {
        for _ in 0..10_000 {
            if self.world.borrow().queue.is_empty() {
                break;
            }
            self.world.borrow_mut().work();
            self.take_outcomes();
        }
        self.take_outcomes();
        for client in self.clients.iter().flatten() {
            assert!(!client.session.waits_for_login(), "waits in vain");
        }
        (0..CLIENTS).for_each(|who| self.leave(who));
        let accounts = self.listener.shared.accounts.as_ref().unwrap();
        assert_eq!(accounts.connections().count() + accounts.login_counts().count(), 0);
    }
}

/// Whether an attempt was refused before it was hashed, as it may be at any time.
fn is_refusal(answer: &str) -> bool {
    answer == "busy, try again" || answer.starts_with("too many attempts, try again in ")
}

fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    [&[code, 0, 0, 0, payload.len() as u8], payload].concat()
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut frames = Vec::new();
    while let [code, a, b, c, d, rest @ ..] = bytes {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*code, String::from_utf8_lossy(&rest[..len]).into_owned()));
        bytes = &rest[len..];
    }
    frames
}
