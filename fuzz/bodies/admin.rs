//! Requests to the admin listener, in any pieces, with a stub in place of the server that does what
//! they ask. The replies do not depend on the pieces; each is whole and stands where its request
//! stood; nothing is taken that could be read in two ways, and nothing is done for who may not ask.

use std::net::{Ipv4Addr, SocketAddr};

use mynah::internal::address::Peer;
use mynah::internal::clock::Millis;
use mynah::internal::codec::http::REQUEST_LEN_MAX;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{Limits, VISIT_BYTES_MAX};
use mynah::internal::protocol::admin::{Admin, Answer, Task, Token};
use mynah::internal::protocol::{AdminProtocol, Context, Flow, PeerAddr, Protocol, UrlProtocol};
use mynah::internal::session::Session;

use super::listener::Listener;

const TOKEN: &str = "sesame";
const NOW: Millis = Millis(1_000);
const ID: ConnId = ConnId { index: 0, generation: 1 };

/// Statuses behind which nothing is read any more.
const REFUSALS: [u16; 5] = [400, 411, 413, 431, 505];

#[derive(Debug, Clone, Copy)]
struct Settings {
    has_token: bool,
    is_local: bool,
    /// Few replies a visit, so that requests are deferred between others.
    is_hurried: bool,
}

/// Outcome of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    replies: Vec<u8>,
    /// Each task, with how many bytes of replies had gone before.
    tasks: Vec<(usize, Task)>,
    is_closed: bool,
}

/// Checks one input: settings, how many bytes say where it is cut, those, and the stream.
///
/// # Panics
///
/// When a rule is broken.
pub fn run(data: &[u8]) {
    let [settings, cuts_len, rest @ ..] = data else { return };
    let settings = Settings {
        has_token: settings & 1 != 0,
        is_local: settings & 2 != 0 && cfg!(feature = "unix"),
        is_hurried: settings & 4 != 0,
    };
    let (cuts, stream) = rest.split_at(usize::from(*cuts_len % 16).min(rest.len()));
    let whole = serve(settings, &[stream]);
    assert_eq!(serve(settings, &pieces(stream, cuts)), whole, "cut at {cuts:?}");
    if stream.len() <= 600 {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(serve(settings, &bytes), whole, "byte by byte");
    }
    check(settings, stream, &whole);
}

/// The stream in pieces of these lengths, over and over.
fn pieces<'a>(mut stream: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle().take(stream.len()) {
        let (piece, rest) = stream.split_at((1 + usize::from(*cut)).min(stream.len()));
        if !piece.is_empty() {
            pieces.push(piece);
        }
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

/// Serves a connection that sends these pieces.
fn serve(settings: Settings, pieces: &[&[u8]]) -> Outcome {
    let mut protocol = AdminProtocol::default();
    protocol.set(AdminProtocol::HOSTS, "status.example").expect("a name");
    let mut listener = Listener::new(protocol.into(), Limits::default(), 1 << 12);
    let token = settings.has_token.then(|| Token::parse(TOKEN.as_bytes()).expect("a token"));
    listener.shared.admin = Some(Box::new(Admin::new(token)));
    let session = listener.session(ID.generation, NOW);
    let outcome = Outcome { replies: Vec::new(), tasks: Vec::new(), is_closed: false };
    let mut run = Run { settings, listener, session, outcome };
    for piece in pieces {
        if run.outcome.is_closed {
            break;
        }
        run.receive(piece);
    }
    run.outcome
}

struct Run {
    settings: Settings,
    listener: Listener,
    session: Session,
    outcome: Outcome,
}

impl Run {
    fn receive(&mut self, piece: &[u8]) {
        let mut peer = PeerAddr::Unknown;
        let mut flow =
            self.call(peer, |session, protocol, ctx| session.on_bytes(protocol, piece, true, ctx));
        // A request is looked at three times at most: for its peer, for its task, for its answer.
        for _ in 0..4 * (piece.len() + REQUEST_LEN_MAX) {
            match flow {
                Flow::Close(_) => {
                    self.outcome.is_closed = true;
                    return;
                }
                Flow::NeedPeerAddr => peer = PeerAddr::Known(Some(self.peer())),
                Flow::WaitForAdmin => self.do_task(),
                _ if !self.session.has_deferred_input() => {
                    let kept = self.session.buffered_input().len();
                    assert!(kept < REQUEST_LEN_MAX, "{kept} bytes are kept");
                    return;
                }
                _ => {}
            }
            flow = self.call(peer, |session, protocol, ctx| session.on_resume(protocol, ctx));
        }
        panic!("the session does not come to rest");
    }

    fn call(
        &mut self,
        peer: PeerAddr,
        call: impl FnOnce(&mut Session, &mut Protocol, &mut Context<'_>) -> Flow,
    ) -> Flow {
        let (session, out) = (&mut self.session, &mut self.outcome.replies);
        let visit_bytes = if self.settings.is_hurried { 1 } else { VISIT_BYTES_MAX };
        let mut replies = Vec::new();
        let flow = self.listener.call(ID, &mut replies, visit_bytes, NOW, |protocol, ctx| {
            ctx.peer = peer;
            call(session, protocol, ctx)
        });
        out.append(&mut replies);
        flow
    }

    fn peer(&self) -> Peer {
        #[cfg(feature = "unix")]
        if self.settings.is_local {
            return Peer::Unix { uid: 0, pid: 1 };
        }
        Peer::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }

    /// Does the one task there is, as a server does.
    fn do_task(&mut self) {
        assert!(self.session.waits_for_admin());
        let admin = self.listener.shared.admin.as_mut().expect("it is there");
        let (id, task) = admin.next_task().expect("a task is waited for");
        assert_eq!((id, admin.next_task()), (ID, None));
        let answer = Answer::json(200, format!("{task:?}"));
        assert!(admin.answer(id, answer), "the answer is waited for");
        self.outcome.tasks.push((self.outcome.replies.len(), task));
        self.session.on_admin_answer(NOW);
    }
}

/// Checks that each reply is whole and belongs to its request, and each task to who may ask for it.
fn check(settings: Settings, stream: &[u8], outcome: &Outcome) {
    let (mut requests, mut replies) = (stream, &outcome.replies[..]);
    let mut tasks = outcome.tasks.iter();
    while !replies.is_empty() {
        let at = outcome.replies.len() - replies.len();
        let blank = requests.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        requests = &requests[blank..];
        let (status, is_close, head_len, body_len) = read_reply(replies);
        if is_close && REFUSALS.contains(&status) && tasks.as_slice().is_empty() {
            // A request that is none, or a wrong parameter of one that wants to be the last.
            assert_eq!(replies.len() - head_len, body_len, "something follows a refusal");
            assert!(outcome.is_closed);
            return;
        }
        let request = Request::read(requests);
        requests = &requests[request.len..];
        let body_len = if request.method == "HEAD" { 0 } else { body_len };
        replies = &replies[head_len + body_len..];
        assert_eq!(is_close, !request.is_kept_alive(), "{request:?}");
        assert!(!is_close || (replies.is_empty() && outcome.is_closed), "replies behind the last");
        if let [(before, task), ..] = tasks.as_slice()
            && *before == at
        {
            request.check_task(settings, task);
            let _ = tasks.next();
        } else {
            let path = request.path();
            let is_done = status == 200 && path != "/" && path != "/healthz";
            assert!(!is_done, "{request:?} is answered, and was not done");
        }
    }
    assert_eq!(tasks.next(), None, "a task without an answer");
}

/// Status, whether it is the last, and the lengths of head and body.
fn read_reply(replies: &[u8]) -> (u16, bool, usize, usize) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut reply = httparse::Response::new(&mut headers);
    let head_len = match reply.parse(replies) {
        Ok(httparse::Status::Complete(len)) => len,
        other => panic!("{other:?}: {}", replies.escape_ascii()),
    };
    let values = |name: &str| -> Vec<&[u8]> {
        let of_name = reply.headers.iter().filter(|field| field.name == name);
        of_name.map(|field| field.value).collect()
    };
    let &[len] = values("Content-Length").as_slice() else { panic!("no length") };
    let len = std::str::from_utf8(len).ok().and_then(|len| len.parse().ok()).expect("a length");
    let is_close = match values("Connection").as_slice() {
        [] => false,
        [b"close"] => true,
        other => panic!("{other:?}"),
    };
    assert!(values("X-Content-Type-Options") == [b"nosniff"]);
    (reply.code.expect("a status"), is_close, head_len, len)
}

/// A request as a reader takes it apart who knows lines and colons only.
#[derive(Debug)]
struct Request {
    method: String,
    target: String,
    is_1_1: bool,
    fields: Vec<(String, Vec<u8>)>,
    len: usize,
}

impl Request {
    fn read(stream: &[u8]) -> Request {
        let mut lines = stream.split_inclusive(|byte| *byte == b'\n');
        let mut head_len = 0;
        let mut next = || {
            let line = lines.next().expect("the head has an end");
            head_len += line.len();
            let line = line.strip_suffix(b"\n").expect("the line has an end");
            line.strip_suffix(b"\r").unwrap_or(line)
        };
        let first = std::str::from_utf8(next()).expect("a line of text").to_owned();
        let words: Vec<&str> = first.split(' ').collect();
        let &[method, target, version] = words.as_slice() else { panic!("{first}") };
        assert!(matches!(version, "HTTP/1.0" | "HTTP/1.1"), "{first}");
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        loop {
            let line = next();
            if line.is_empty() {
                break;
            }
            let at = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
            let name = String::from_utf8(line[..at].to_vec()).expect("a name of text");
            let is_token = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
            assert!(!name.is_empty() && name.chars().all(is_token), "a field named {name:?}");
            assert!(!line.contains(&b'\r') && !line.contains(&0), "{}", line.escape_ascii());
            fields.push((name.to_ascii_lowercase(), line[at + 1..].trim_ascii().to_vec()));
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let is_1_1 = version == "HTTP/1.1";
        let mut request = Request { method, target, is_1_1, fields, len: head_len };
        assert_eq!(request.one("transfer-encoding"), None, "{request:?}");
        let hosts = request.one("host");
        assert!(hosts.is_some() || !is_1_1, "no host in {request:?}");
        let body = request.one("content-length").unwrap_or(b"0");
        assert!(!body.is_empty() && body.iter().all(u8::is_ascii_digit), "{request:?}");
        let body: usize = std::str::from_utf8(body).unwrap_or("").parse().expect("a length");
        request.len += body;
        assert!(request.len <= REQUEST_LEN_MAX && request.len <= stream.len(), "{request:?}");
        request
    }

    /// The value of a field that comes once at most.
    fn one(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.fields.iter().filter(|(other, _)| other == name);
        let first = found.next().map(|(_, value)| value.as_slice());
        assert!(found.next().is_none(), "{name} twice in {self:?}");
        first
    }

    fn is_kept_alive(&self) -> bool {
        let mut is_kept_alive = self.is_1_1;
        for (_, value) in self.fields.iter().filter(|(name, _)| name == "connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                is_kept_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                is_kept_alive &= !option.eq_ignore_ascii_case(b"close");
            }
        }
        is_kept_alive
    }

    /// Host and path, of which the first may be in the target.
    fn split(&self) -> (Option<&str>, &str) {
        let rest = self.target.strip_prefix("http://");
        let Some(rest) = rest.or_else(|| self.target.strip_prefix("https://")) else {
            let host = self.one("host").map(|host| std::str::from_utf8(host).expect("text"));
            return (host, &self.target);
        };
        let at = rest.find('/').unwrap_or(rest.len());
        (Some(&rest[..at]), if at == rest.len() { "/" } else { &rest[at..] })
    }

    fn path(&self) -> &str {
        let (_, target) = self.split();
        target.split('?').next().unwrap_or(target)
    }

    /// The task is what was asked for, and who asked may have it.
    fn check_task(&self, settings: Settings, task: &Task) {
        let get = matches!(&*self.method, "GET" | "HEAD");
        let is_it = match (task, self.path()) {
            (Task::Status, "/status") => get,
            (Task::Metrics, "/metrics") => get,
            (Task::Ready, "/readyz") => get,
            (Task::List(list), "/connections") => get && list.limit <= 1_000,
            (Task::Kick(kick), "/connections") => {
                self.method == "DELETE" && !kick.filter.is_empty() && kick.filter.id.is_none()
            }
            (Task::Kick(kick), path) => {
                let id = path.strip_prefix("/connections/").and_then(|id| id.parse().ok());
                self.method == "DELETE" && id.is_some() && kick.filter.id == id
            }
            (Task::Drain { is_on: true }, "/drain") => self.method == "POST",
            (Task::Drain { is_on: false }, "/undrain") => self.method == "POST",
            (Task::Reload, "/reload") => self.method == "POST",
            _ => false,
        };
        assert!(is_it, "{task:?} for {self:?}");
        let (host, _) = self.split();
        if let Some(origin) = self.one("origin") {
            let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
            let own = host.expect("an origin has a host").to_ascii_lowercase();
            assert!(["http", "https"].iter().any(|s| origin == format!("{s}://{own}")), "{self:?}");
        }
        if settings.is_local {
            return;
        }
        if let Some(host) = host {
            assert!(is_known(host), "{self:?}");
        }
        if settings.has_token {
            let sent = self.one("authorization").unwrap_or_default();
            let is_sent = sent.ends_with(TOKEN.as_bytes())
                && sent[..sent.len() - TOKEN.len()].trim_ascii().eq_ignore_ascii_case(b"bearer");
            assert!(is_sent || *task == Task::Ready, "{self:?}");
        } else {
            assert!(!task.is_change(), "{self:?}");
        }
    }
}

/// Whether a page at this host is one of this server's: no name that somebody else may own.
fn is_known(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let is_name = |known: &str| name.eq_ignore_ascii_case(known);
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    is_name("localhost")
        || is_name("status.example")
        || name.parse::<Ipv4Addr>().is_ok()
        || inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}
