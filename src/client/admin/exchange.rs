//! Requests to an admin listener and its responses: HTTP/1.1 (RFC 9112) over a connection that is kept
//! for the next request. A response has a `Content-Length`; its head and its body are bounded.

use std::io::Write;
use std::net::Ipv6Addr;

use serde::de::DeserializeOwned;

use super::token::Token;
use crate::client::connect::connect;
use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::output::print_error;
use crate::client::receive::{READ_LEN, read_some};
use crate::client::server_guess::{Excerpt, GUESS_LEN, ServerGuess};
use crate::client::stream::Stream;
use crate::client::timeout::{Deadline, is_timeout};

/// Longest head of a response, in bytes; the server's have some 300.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// Most header fields of a response.
const FIELDS_MAX: usize = 64;

/// Longest body of a response, in bytes: four times what a server sends.
const BODY_LEN_MAX: usize = 4 << 20;

/// Most characters of a refusal that are shown.
const REASON_LEN_MAX: usize = 300;

/// How a response of any HTTP/1 begins.
const HTTP: &[u8] = b"HTTP/1.";

/// How long the rest of something that is no HTTP is waited for: it may tell what the server is.
const GRACE_PERIOD: std::time::Duration = std::time::Duration::from_millis(50);

/// A listener that is asked, and the connection to it.
#[derive(Debug)]
pub(super) struct Exchange {
    endpoint: Endpoint,
    token: Option<Token>,
    /// The value of `Host`.
    host: String,
    stream: Option<Stream>,
    /// Bytes received of the response that is read.
    input: Vec<u8>,
    is_warned: bool,
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The body is a text for people.
    is_text: bool,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head.
    len: usize,
    body_len: usize,
    is_text: bool,
    /// The connection stays for another request.
    is_kept_alive: bool,
}

impl Exchange {
    /// Connects with the first request.
    pub(super) fn new(endpoint: &Endpoint, token: Option<&Token>) -> Self {
        Exchange {
            endpoint: endpoint.clone(),
            token: token.cloned(),
            host: host_of(endpoint),
            stream: None,
            input: Vec::new(),
            is_warned: false,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks for `target` and parses the JSON of the answer.
    pub(super) fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, ClientError> {
        parse(&self.get_bytes(target)?)
    }

    /// Asks for `target`, whose answer is JSON of any form.
    pub(super) fn get_bytes(&mut self, target: &str) -> Result<Vec<u8>, ClientError> {
        let response = self.send("GET", target)?;
        self.accepted(response)
    }

    /// Has the server change something, and parses the JSON of the answer.
    pub(super) fn change<T: DeserializeOwned>(
        &mut self,
        method: &str,
        target: &str,
    ) -> Result<T, ClientError> {
        let response = self.send(method, target)?;
        parse(&self.accepted(response)?)
    }

    /// Sends one request and reads the response, whatever its status.
    ///
    /// A connection that the server has closed meanwhile is replaced. A request that changes something
    /// is not sent twice.
    pub(super) fn send(&mut self, method: &str, target: &str) -> Result<Response, ClientError> {
        let is_reused = match &self.stream {
            Some(stream) => !stream.ends_within(std::time::Duration::ZERO),
            None => false,
        };
        if !is_reused {
            self.connect()?;
        }
        let result = self.send_once(method, target);
        let is_lost = matches!(
            result,
            Err(ClientError::Closed { is_partial: false } | ClientError::Socket(_))
        );
        if is_lost && is_reused && method == "GET" {
            self.connect()?;
            return self.send_once(method, target);
        }
        result
    }

    fn connect(&mut self) -> Result<(), ClientError> {
        self.stream = None;
        let stream = connect(&self.endpoint)?;
        if self.token.is_some()
            && !self.is_warned
            && let Some(ip) = stream.exposed_to()
        {
            self.is_warned = true;
            let url = self.endpoint.url("+tls");
            print_error(format_args!(
                "warning: the token goes to {ip} unencrypted; {url} encrypts"
            ));
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends one request over the connection there is. An error ends it.
    fn send_once(&mut self, method: &str, target: &str) -> Result<Response, ClientError> {
        let Some(stream) = self.stream.take() else {
            return Err(ClientError::Closed { is_partial: false });
        };
        let request = self.request(method, target);
        let deadline = Deadline::new(self.endpoint.timeout);
        self.input.clear();
        write_all(&stream, &request, &deadline)?;
        let head = self.read_head(&stream, request.as_bytes(), &deadline)?;
        let end = head.len + head.body_len;
        while self.input.len() < end {
            self.read_more(&stream, end - self.input.len(), &deadline)?;
        }
        let body = self.input[head.len..end].to_vec();
        // Bytes behind the response were asked for by nobody, so the next one could not be told.
        if head.is_kept_alive && self.input.len() == end {
            self.stream = Some(stream);
        }
        Ok(Response { status: head.status, body, is_text: head.is_text })
    }

    fn request(&self, method: &str, target: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: mynah-cli/{version}\r\n",
            self.host
        );
        if let Some(token) = &self.token {
            request += &format!("Authorization: Bearer {}\r\n", token.as_str());
        }
        if method == "POST" {
            request += "Content-Length: 0\r\n";
        }
        request + "\r\n"
    }

    fn read_head(
        &mut self,
        stream: &Stream,
        request: &[u8],
        deadline: &Deadline,
    ) -> Result<Head, ClientError> {
        loop {
            self.read_more(stream, READ_LEN, deadline)?;
            let begun = self.input.len().min(HTTP.len());
            if self.input[..begun] != HTTP[..begun] {
                return Err(self.not_http(stream, request));
            }
            let window = &self.input[..self.input.len().min(HEAD_LEN_MAX)];
            match parse_head(window).map_err(|reason| self.not_admin(reason))? {
                Some(head) => return Ok(head),
                None if window.len() == HEAD_LEN_MAX => {
                    return Err(self.not_admin("its header is over 16 KiB"));
                }
                None => {}
            }
        }
    }

    fn read_more(
        &mut self,
        stream: &Stream,
        wanted: usize,
        deadline: &Deadline,
    ) -> Result<(), ClientError> {
        match read_some(stream, &mut self.input, wanted, deadline)? {
            0 => Err(ClientError::Closed { is_partial: !self.input.is_empty() }),
            _ => Ok(()),
        }
    }

    /// The error of an answer that is no HTTP: with what it is, where that can be told.
    fn not_http(&mut self, stream: &Stream, request: &[u8]) -> ClientError {
        let deadline = Deadline::new(Some(GRACE_PERIOD));
        while self.input.len() < GUESS_LEN
            && read_some(stream, &mut self.input, 1, &deadline).is_ok_and(|n| n > 0)
        {}
        let answer = Excerpt(&self.input);
        match ServerGuess::from_exchange(&self.input, request) {
            Some(guess) => {
                self.not_admin(&format!("it answers {answer}; {}", guess.hint(&self.endpoint)))
            }
            None => self.not_admin(&format!("it answers {answer}")),
        }
    }

    fn not_admin(&self, reason: &str) -> ClientError {
        let (endpoint, reason) = (self.endpoint.to_string(), reason.to_owned());
        ClientError::NotAdmin { endpoint, reason }
    }

    /// The body of a response to a request that was done; any other response is an error.
    pub(super) fn accepted(&self, response: Response) -> Result<Vec<u8>, ClientError> {
        let Response { status, body, is_text } = response;
        match (status, &self.token) {
            (200, _) => Ok(body),
            (401, None) => {
                Err(ClientError::Refused("the server wants a token: --token FILE".to_owned()))
            }
            (401, Some(_)) => Err(ClientError::Refused(
                "the server does not take the token of --token".to_owned(),
            )),
            _ if is_text && !body.trim_ascii().is_empty() => {
                Err(ClientError::Refused(reason(&body)))
            }
            _ => Err(self.not_admin(&format!("it answers with HTTP status {status}"))),
        }
    }
}

/// Parses the JSON of an answer.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| {
        let answer = Excerpt(body.trim_ascii());
        ClientError::UnexpectedReply(format!("{answer} is not what was asked for: {error}"))
    })
}

/// The reason of a refusal: its first characters, on one line.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.trim_ascii());
    let mut reason: String = text.chars().take(REASON_LEN_MAX).collect();
    if reason.len() < text.len() {
        reason.push('…');
    }
    reason
}

/// The value of `Host`: an address or name with its port; any will do over a Unix socket.
fn host_of(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, path, .. } = endpoint;
    if path.is_some() {
        return "localhost".to_owned();
    }
    // The zone of a link-local address is this machine's business (RFC 6874, 1).
    let address = host.split('%').next().unwrap_or_default();
    match address.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

fn write_all(stream: &Stream, request: &str, deadline: &Deadline) -> Result<(), ClientError> {
    let at_least = std::time::Duration::from_millis(1);
    stream.set_write_timeout(deadline.remaining().map(|time| time.max(at_least)));
    let mut writer = stream;
    writer.write_all(request.as_bytes()).map_err(|error| match deadline.timeout {
        Some(timeout) if is_timeout(&error) => ClientError::Timeout(timeout),
        _ => ClientError::socket(&error),
    })
}

/// Parses the head at the start of `input`; `None` if it is unfinished.
fn parse_head(input: &[u8]) -> Result<Option<Head>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("its header has over 64 fields"),
        Err(_) => return Err("its header is not one of HTTP"),
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head {
        status,
        len,
        body_len: 0,
        is_text: false,
        is_kept_alive: response.version == Some(1),
    };
    let mut body_len = None;
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") && body_len.replace(parse_len(field.value)?).is_some() {
            return Err("its answer has two lengths");
        } else if is("transfer-encoding") {
            return Err("its answer comes in chunks, without a length");
        } else if is("content-type") {
            head.is_text =
                field.value.get(..10).is_some_and(|v| v.eq_ignore_ascii_case(b"text/plain"));
        } else if is("connection")
            && field.value.to_ascii_lowercase().windows(5).any(|w| w == b"close")
        {
            head.is_kept_alive = false;
        }
    }
    head.body_len = body_len.ok_or("its answer has no length")?;
    Ok(Some(head))
}

fn parse_len(value: &[u8]) -> Result<usize, &'static str> {
    let text = str::from_utf8(value).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the length of its answer is not a number");
    }
    let len = text.parse().ok().filter(|len| *len <= BODY_LEN_MAX);
    len.ok_or("its answer is over 4 MiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ProtocolName;

    fn host(host: &str, path: Option<&str>) -> String {
        host_of(&Endpoint {
            protocol: ProtocolName::Command,
            is_admin: true,
            host: host.to_owned(),
            port: 6580,
            path: path.map(Into::into),
            timeout: None,
            account: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    #[test]
    fn host_has_brackets_and_no_zone() {
        assert_eq!(host("127.0.0.1", None), "127.0.0.1:6580");
        assert_eq!(host("status.example", None), "status.example:6580");
        assert_eq!(host("::1", None), "[::1]:6580");
        assert_eq!(host("fe80::1%eth0", None), "[fe80::1]:6580");
        assert_eq!(host("localhost", Some("/run/x")), "localhost");
    }

    #[test]
    fn head_says_how_long_the_body_is() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Type: Text/Plain; x\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(parse_head(&text.as_bytes()[..len]), Ok(None), "{len}");
        }
        let head =
            Head { status: 200, len: text.len(), body_len: 5, is_text: true, is_kept_alive: true };
        assert_eq!(parse_head(text.as_bytes()), Ok(Some(head)));
        let closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n";
        assert!(!parse_head(closing).unwrap().unwrap().is_kept_alive);
    }

    #[test]
    fn head_that_cannot_be_relied_on_is_an_error() {
        for (fields, reason) in [
            ("", "its answer has no length"),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", "its answer has two lengths"),
            ("Content-Length: +1\r\n", "the length of its answer is not a number"),
            ("Content-Length: 1073741824\r\n", "its answer is over 4 MiB"),
            ("Content-Length: 99999999999999999999\r\n", "its answer is over 4 MiB"),
            ("Transfer-Encoding: chunked\r\n", "its answer comes in chunks, without a length"),
            ("X\0: 1\r\n", "its header is not one of HTTP"),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(parse_head(text.as_bytes()), Err(reason), "{fields}");
        }
    }
}
