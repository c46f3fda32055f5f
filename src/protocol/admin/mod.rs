//! The `admin` protocol: HTTP/1.1 for those who run the server. Says who may ask for what, and
//! writes the responses.
//!
//! Most requests need the whole server, which no protocol sees. Such a request is deferred: it goes
//! to [`Admin`] as a [`Task`], its connection is not read from, and when the server has done the task
//! the request is looked at again and answered ([`Flow::WaitForAdmin`]).
//!
//! | module | job |
//! |---|---|
//! | `access` | the token; which hosts and which pages may ask |
//! | `state` | tasks, from the request to the answer |
//! | `page` | the status page |
//! | `response` | status line, header and body of a response |
//! | `route` | from method and target to a resource |
//! | `task` | what a server can be asked to do, and its answer |

mod access;
mod page;
mod response;
mod route;
mod state;
mod task;

pub use access::{Token, TokenError};
pub use route::QueryError;
pub use state::Admin;
pub use task::{Answer, Filter, Kick, List, Sort, Task};

use log::debug;

use crate::address::Peer;
use crate::codec::http::{REQUEST_LEN_MAX, Request, RequestDecoder, RequestError};
use crate::escape::Excerpt;
use crate::protocol::{
    ClientState, CloseReason, Context, Flow, Handler, PeerAddr, ProtocolDefaults, Shared,
    UrlProtocol,
};
use crate::setting::SettingError;

use access::Caller;
use response::{Body, Response};
use route::{Resource, RouteError};

/// Longest response: a thousand connections with long names, or the metrics of many listeners.
const RESPONSE_LEN_MAX: usize = 1 << 20;

/// The admin listener of a server.
#[derive(Debug, Clone, Default)]
pub struct AdminProtocol {
    /// Names under which it may be asked, besides addresses and `localhost`.
    hosts: Vec<String>,
    /// The time, as a `Date` has it.
    date: Option<fn() -> String>,
}

impl Handler for AdminProtocol {
    type Decoder = RequestDecoder;

    const IS_ADMIN: bool = true;

    fn decoder(&self, client: ClientState) -> RequestDecoder {
        RequestDecoder { scanned: client.scanned() }
    }

    fn save_decoder(&self, decoder: &RequestDecoder, client: &mut ClientState) {
        client.set_scanned(decoder.scanned);
    }

    fn new_client(&self) -> ClientState {
        ClientState::UNREGISTERED
    }

    fn on_message(
        &mut self,
        request: Request<'_>,
        _: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> Flow {
        let response = match self.respond(&request, ctx) {
            Ok(response) => response,
            Err(deferred) => return deferred,
        };
        debug!("{} {} {}", ctx.id, Excerpt(request.method.as_bytes()), Excerpt(path(&request)));
        let is_head = request.method == "HEAD";
        self.write(&response, is_head, request.is_kept_alive, &mut ctx.shared.out);
        if request.is_kept_alive { Flow::Continue } else { Flow::Close(CloseReason::Quit) }
    }

    fn on_decode_error(&mut self, error: RequestError, ctx: &mut Context<'_>) -> Flow {
        self.write(&error.into(), false, false, &mut ctx.shared.out);
        Flow::Close(CloseReason::Protocol)
    }

    fn write_late(&self, _: u64, out: &mut Vec<u8>) {
        self.write(&Response::error(408, "the request did not come in time"), false, false, out);
    }

    fn write_refusal(&self, _: usize, out: &mut Vec<u8>) {
        self.write(&Response::error(503, "too many connections"), false, false, out);
    }

    #[cfg(feature = "admission")]
    fn write_over_limit(&self, address: std::net::IpAddr, out: &mut Vec<u8>) {
        let reason = format!("too many connections from {address}");
        self.write(&Response::error(429, &reason), false, false, out);
    }

    fn frame_len_max(&self, _: usize) -> usize {
        REQUEST_LEN_MAX.max(RESPONSE_LEN_MAX)
    }
}

/// The part of a target that may be logged: a filter may hold a name.
fn path<'a>(request: &Request<'a>) -> &'a [u8] {
    let target = request.target;
    target.split_once('?').map_or(target, |(path, _)| path).as_bytes()
}

impl AdminProtocol {
    /// The key of the names. In a URL it is `host` too; in a file's section that is the address.
    pub const HOSTS: &'static str = "hosts";

    fn write(&self, response: &Response, is_head: bool, is_kept_alive: bool, out: &mut Vec<u8>) {
        response.write(self.date.map(|date| date()), is_head, is_kept_alive, out);
    }

    /// The response to a request, or what to do with one that has none yet.
    fn respond(&self, request: &Request<'_>, ctx: &mut Context<'_>) -> Result<Response, Flow> {
        let is_local = match ctx.peer {
            #[cfg(feature = "unix")]
            PeerAddr::Known(Some(Peer::Unix { .. })) => true,
            PeerAddr::Known(Some(Peer::Inet(_))) => false,
            PeerAddr::Known(None) => return Err(Flow::Close(CloseReason::Io)),
            PeerAddr::Unknown => return Err(Flow::NeedPeerAddr),
        };
        let (id, peer) = (ctx.id, ctx.peer);
        let Shared { admin, connection_log, now, .. } = &mut *ctx.shared;
        let Some(admin) = admin else {
            return Ok(Response::error(503, "the server is not ready"));
        };
        if let Some(answer) = admin.take_answer(id) {
            return Ok(answer.into());
        }
        if admin.is_pending(id) {
            return Err(Flow::WaitForAdmin);
        }
        let caller = Caller { is_local, hosts: &self.hosts, token: admin.token() };
        if let Err(refusal) = caller.check_page(request) {
            return Ok(refusal);
        }
        let resource = match route::route(request.method, request.target) {
            Ok(resource) => resource,
            Err(RouteError::NotFound) => {
                let known = "not found; there are /, /metrics, /status, /connections, /healthz, \
                             /readyz, and POST /reload, /drain, /undrain";
                return Ok(Response::error(404, known));
            }
            Err(RouteError::Method(allow)) => return Ok(Response::method_not_allowed(allow)),
            // Parameters are looked at behind the rights of who asks.
            Err(RouteError::Query(error)) => {
                return Ok(match caller.check_token(request, &Resource::Other) {
                    Ok(()) => Response::error(400, &error.to_string()),
                    Err(refusal) => refusal,
                });
            }
        };
        if let Err(refusal) = caller.check_token(request, &resource) {
            if request.authorization.is_some() && refusal.status() == 401 {
                connection_log.line(*now, || format!("{id}{} sent a wrong token", Shown(peer)));
            }
            return Ok(refusal);
        }
        Ok(match resource {
            Resource::Page => page::page(request.accepts_gzip),
            Resource::Health => Response::text(200, "ok\n"),
            Resource::Other => Response::error(404, "not found"),
            Resource::Task(task) => {
                admin.submit(id, task);
                return Err(Flow::WaitForAdmin);
            }
        })
    }
}

/// A peer behind a blank.
struct Shown(PeerAddr);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            PeerAddr::Known(Some(peer)) => write!(f, " {peer}"),
            _ => Ok(()),
        }
    }
}

impl From<RequestError> for Response {
    fn from(error: RequestError) -> Self {
        let (status, reason) = match error {
            RequestError::Invalid => (400, "not a valid HTTP/1.1 request"),
            RequestError::HeadTooLong => (431, "the header is longer than 16 KiB, or 64 fields"),
            RequestError::BodyTooLong => (413, "the request is longer than 16 KiB"),
            RequestError::LengthRequired => (411, "a body needs Content-Length, not chunks"),
            RequestError::Version => (505, "only HTTP/1.1 and HTTP/1.0 are spoken here"),
        };
        Response::error(status, reason)
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let Answer { status, content_type, body } = answer;
        Response::new(status, content_type, Body::Owned(body))
    }
}

impl UrlProtocol for AdminProtocol {
    const NAME: &'static str = "admin";
    const DEFAULT_PORT: u16 = 6580;
    const IDLE_SECS: u64 = 120;
    const SUMMARY: &'static str = "HTTP: status page, metrics, connections";
    const KEYS: &'static [&'static str] = &[AdminProtocol::HOSTS];

    fn with_defaults(defaults: &ProtocolDefaults) -> Self {
        AdminProtocol { date: defaults.http_date, ..AdminProtocol::default() }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        if key != AdminProtocol::HOSTS {
            return Err(SettingError::Unknown);
        }
        self.hosts = access::parse_hosts(value)?;
        Ok(())
    }
}
