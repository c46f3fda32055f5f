//! Requests of HTTP/1.1 (RFC 9112), each a frame: its head, parsed by httparse, and its body, which
//! is counted and dropped. Knows no resources and no rights.

use super::Decoder;

/// Longest request, head and body, in bytes.
pub const REQUEST_LEN_MAX: usize = 16 * 1024;

/// Most header fields of a request.
const HEADERS_MAX: usize = 64;

/// A whole request, as far as a server without request bodies looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `DELETE` and so on, as it was sent.
    pub method: &'a str,
    /// The path, and behind a `?` the query. Scheme and authority of a target in absolute form are
    /// taken off; they have become the [`host`](Self::host).
    pub target: &'a str,
    /// The server that was asked for, with its port. `None` in HTTP/1.0 only.
    pub host: Option<&'a str>,
    /// The `Origin` that a browser names: the page that asks.
    pub origin: Option<&'a [u8]>,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The client takes bodies compressed by gzip.
    pub accepts_gzip: bool,
    /// The connection stays for another request.
    pub is_kept_alive: bool,
}

/// A request that cannot be taken: the stream cannot be cut into further ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// It is no request, or one that two readers could read in two ways (RFC 9112, 11.2).
    Invalid,
    /// Its head is longer than [`REQUEST_LEN_MAX`], or has too many fields.
    HeadTooLong,
    /// Head and body are longer than [`REQUEST_LEN_MAX`].
    BodyTooLong,
    /// Its body comes in chunks.
    LengthRequired,
    /// It is of another HTTP than 1.0 or 1.1.
    Version,
}

/// Finds requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDecoder {
    /// Bytes of the unfinished head that have been looked at, so that one that comes byte by byte
    /// is not read from its beginning each time.
    pub scanned: usize,
}

impl Decoder for RequestDecoder {
    type Frame<'a> = Request<'a>;
    type Error = RequestError;

    /// Empty lines before a request are no part of it (RFC 9112, 2.2).
    fn discard(&mut self, input: &[u8]) -> usize {
        match self.scanned {
            0 => input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count(),
            _ => 0,
        }
    }

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Request<'a>, usize)>, RequestError> {
        let window = input.get(..REQUEST_LEN_MAX).unwrap_or(input);
        let Some(head_len) = head_len(window, self.scanned) else {
            check_unfinished(window, self.scanned)?;
            self.scanned = window.len();
            return Ok(None);
        };
        let Some((request, parsed_len, body_len)) = parse(window)? else {
            return Err(RequestError::Invalid);
        };
        if parsed_len != head_len {
            return Err(RequestError::Invalid);
        }
        let len = usize::try_from(body_len).ok().and_then(|body| body.checked_add(head_len));
        let Some(len) = len.filter(|&len| len <= REQUEST_LEN_MAX) else {
            return Err(RequestError::BodyTooLong);
        };
        if window.len() < len {
            // The end of the head is found again with the next look.
            self.scanned = head_len.saturating_sub(HEAD_END_LEN);
            return Ok(None);
        }
        self.scanned = 0;
        Ok(Some((request, len)))
    }

    fn bytes_needed(&self, input: &[u8]) -> usize {
        REQUEST_LEN_MAX.saturating_sub(input.len())
    }
}

/// Bytes of `\r\n\r\n`.
const HEAD_END_LEN: usize = 4;

/// Length of the head at the start of `input`, of which `scanned` bytes hold no end of it, with the
/// empty line behind it.
fn head_len(input: &[u8], scanned: usize) -> Option<usize> {
    let from = scanned.saturating_sub(HEAD_END_LEN);
    let mut rest = input.get(from..)?;
    let mut at = from;
    loop {
        let line_len = rest.iter().position(|&byte| byte == b'\n')?.saturating_add(1);
        at = at.saturating_add(line_len);
        rest = rest.get(line_len..)?;
        match rest {
            [b'\n', ..] => return at.checked_add(1),
            [b'\r', b'\n', ..] => return at.checked_add(2),
            _ => {}
        }
    }
}

/// Refuses what cannot become a request: by its first byte, by each line once it is whole, and at
/// the limit. So it makes no difference in which pieces it comes.
fn check_unfinished(window: &[u8], scanned: usize) -> Result<(), RequestError> {
    if window.len() == REQUEST_LEN_MAX {
        parse(window)?;
        return Err(RequestError::HeadTooLong);
    }
    let new = window.get(scanned..).unwrap_or_default();
    let known_len = match new.iter().rposition(|&byte| byte == b'\n') {
        Some(at) => scanned.saturating_add(at).saturating_add(1),
        None if scanned == 0 => 1,
        None => return Ok(()),
    };
    parse(window.get(..known_len).unwrap_or(window)).map(|_| ())
}

/// The request that begins `input`, and the lengths of its head and its body; `None` where its head
/// is unfinished.
fn parse(input: &[u8]) -> Result<Option<(Request<'_>, usize, u64)>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_len = match head.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::HeadTooLong),
        Err(httparse::Error::Version) => return Err(RequestError::Version),
        Err(_) => return Err(RequestError::Invalid),
    };
    let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(RequestError::Invalid);
    };
    let mut fields = Fields { is_kept_alive: minor == 1, ..Fields::default() };
    for header in head.headers.iter() {
        fields.add(header.name, header.value)?;
    }
    if fields.has_coding {
        return Err(match fields.length {
            Some(_) => RequestError::Invalid,
            None => RequestError::LengthRequired,
        });
    }
    let (authority, target) = split_target(target)?;
    if fields.host.is_none() && minor == 1 {
        return Err(RequestError::Invalid);
    }
    let request = Request {
        method,
        target,
        host: authority.or(fields.host),
        origin: fields.origin,
        authorization: fields.authorization,
        accepts_gzip: fields.accepts_gzip,
        is_kept_alive: fields.is_kept_alive,
    };
    Ok(Some((request, head_len, fields.length.unwrap_or(0))))
}

/// Takes authority and path of an absolute target apart (RFC 9112, 3.2.2). An authority is a host
/// with its port: a name before an `@` would be taken for one (RFC 9110, 4.2.4).
fn split_target(target: &str) -> Result<(Option<&str>, &str), RequestError> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let rest = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let Some(rest) = rest else { return Err(RequestError::Invalid) };
    let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.split_at_checked(authority_len) {
        Some((authority, _)) if authority.is_empty() || authority.contains('@') => {
            Err(RequestError::Invalid)
        }
        Some((authority, "")) => Ok((Some(authority), "/")),
        Some((authority, path)) if path.starts_with('/') => Ok((Some(authority), path)),
        _ => Err(RequestError::Invalid),
    }
}

/// The header fields that matter.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    origin: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    length: Option<u64>,
    has_coding: bool,
    accepts_gzip: bool,
    is_kept_alive: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), RequestError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            let host = std::str::from_utf8(value).map_err(|_| RequestError::Invalid)?;
            set_once(&mut self.host, host)
        } else if is("origin") {
            set_once(&mut self.origin, value)
        } else if is("authorization") {
            set_once(&mut self.authorization, value)
        } else if is("content-length") {
            set_once(&mut self.length, parse_length(value)?)
        } else if is("transfer-encoding") {
            self.has_coding = true;
            Ok(())
        } else if is("accept-encoding") {
            self.accepts_gzip |= has_gzip(value);
            Ok(())
        } else if is("connection") {
            for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    self.is_kept_alive = false;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.is_kept_alive = true;
                }
            }
            Ok(())
        } else {
            Ok(())
        }
    }
}

/// A field that says who asks, or where a request ends, is one that two readers must agree on.
fn set_once<V>(field: &mut Option<V>, value: V) -> Result<(), RequestError> {
    if field.replace(value).is_some() { Err(RequestError::Invalid) } else { Ok(()) }
}

/// `1*DIGIT` (RFC 9110, 8.6).
fn parse_length(value: &[u8]) -> Result<u64, RequestError> {
    let text = std::str::from_utf8(value).map_err(|_| RequestError::Invalid)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RequestError::Invalid);
    }
    text.parse().map_err(|_| RequestError::BodyTooLong)
}

/// Whether `Accept-Encoding` takes gzip: it is named, and not with a weight of 0.
fn has_gzip(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|coding| {
        let mut parts = coding.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
        let is_refused = |weight: &[u8]| {
            let value = weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="));
            value.is_some_and(|value| value.iter().all(|byte| matches!(byte, b'0' | b'.')))
        };
        is_gzip && !parts.any(is_refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, RequestError> {
        RequestDecoder::default().decode(input)
    }

    #[track_caller]
    fn refused(input: &[u8], why: RequestError) {
        assert_eq!(decode(input), Err(why), "{}", input.escape_ascii());
        // Whatever pieces it comes in.
        let mut decoder = RequestDecoder::default();
        let found = (1..=input.len()).find_map(|len| decoder.decode(&input[..len]).err());
        assert_eq!(found, Some(why), "{}, byte by byte", input.escape_ascii());
    }

    const GET: &[u8] = b"GET /status?a=b HTTP/1.1\r\nHost: localhost:1\r\n\r\n";

    #[test]
    fn request_is_found_byte_by_byte() {
        let mut two = GET.to_vec();
        two.extend_from_slice(GET);
        let mut decoder = RequestDecoder::default();
        for len in 0..GET.len() {
            assert_eq!(decoder.decode(&two[..len]), Ok(None), "{len}");
        }
        let (request, len) = decoder.decode(&two).unwrap().unwrap();
        assert_eq!((len, decoder), (GET.len(), RequestDecoder::default()));
        assert_eq!((request.method, request.target), ("GET", "/status?a=b"));
        assert_eq!((request.host, request.is_kept_alive), (Some("localhost:1"), true));
    }

    #[test]
    fn body_is_part_of_the_request() {
        let input = b"POST /drain HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET";
        let mut decoder = RequestDecoder::default();
        for len in 0..input.len() - 3 {
            assert_eq!(decoder.decode(&input[..len]), Ok(None), "{len}");
        }
        assert_eq!(decoder.decode(input).unwrap().unwrap().1, input.len() - 3);
    }

    #[test]
    fn ambiguous_requests_are_invalid() {
        for fields in [
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            "Host: a\r\nContent-Length: +1\r\n",
            "Host: a\r\nContent-Length: 1, 1\r\n",
            "Host: a\r\nContent-Length: \r\n",
            "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Host: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
            "Host: a\r\nOrigin: http://a\r\nOrigin: http://b\r\n",
            "Host : a\r\n",
            "",
        ] {
            refused(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), RequestError::Invalid);
        }
    }

    #[test]
    fn requests_of_other_kinds_have_their_own_error() {
        refused(b"GET /\r\n", RequestError::Invalid);
        refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", RequestError::Version);
        refused(b"\x16\x03\x01\x02\x00\x01", RequestError::Invalid);
        refused(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", RequestError::Invalid);
        let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        refused(chunked, RequestError::LengthRequired);
    }

    #[test]
    fn long_requests_are_refused_at_the_limit() {
        let with = |len: usize| {
            let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
            head.resize(len - 4, b'x');
            head.extend_from_slice(b"\r\n\r\n");
            head
        };
        assert!(matches!(decode(&with(REQUEST_LEN_MAX)), Ok(Some(_))));
        assert_eq!(decode(&with(REQUEST_LEN_MAX + 1)), Err(RequestError::HeadTooLong));
        let many = "X: y\r\n".repeat(HEADERS_MAX);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
        refused(many.as_bytes(), RequestError::HeadTooLong);
        for length in ["16384", "99999999999999999999"] {
            let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            refused(post.as_bytes(), RequestError::BodyTooLong);
        }
    }

    #[test]
    fn absolute_target_names_the_host() {
        let input = b"GET http://evil:80/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (request, _) = decode(input).unwrap().unwrap();
        assert_eq!((request.host, request.target), (Some("evil:80"), "/x"));
    }

    #[test]
    fn refusal_does_not_depend_on_the_pieces() {
        let long = [b"GE\x01", &[b'x'; REQUEST_LEN_MAX][..]].concat();
        refused(&long, RequestError::Invalid);
        let long = [b"GET /", &[b'x'; REQUEST_LEN_MAX][..]].concat();
        refused(&long, RequestError::HeadTooLong);
        // A line is looked at when it is whole.
        assert_eq!(decode(b"GE\x01T"), Ok(None));
        refused(b"GE\x01T / HTTP/1.1\n", RequestError::Invalid);
        assert_eq!(decode(b"GET / HTTP/1.1\r\nA B"), Ok(None));
        refused(b"GET / HTTP/1.1\r\nA B\n", RequestError::Invalid);
    }

    #[test]
    fn absolute_target_has_one_host() {
        for target in
            ["http://a?x=/drain", "http://a#/x", "http:///x", "http://a@b/x", "ftp://a/x", "a/x"]
        {
            let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            refused(input.as_bytes(), RequestError::Invalid);
        }
    }

    #[test]
    fn connection_and_version_say_whether_it_stays() {
        for (line, is_kept_alive) in [
            ("1.1\r\n", true),
            ("1.1\r\nConnection: Close\r\n", false),
            ("1.1\r\nConnection: te, close\r\n", false),
            ("1.0\r\n", false),
            ("1.0\r\nConnection: keep-alive\r\n", true),
        ] {
            let input = format!("GET / HTTP/{line}Host: a\r\n\r\n");
            let (request, _) = decode(input.as_bytes()).unwrap().unwrap();
            assert_eq!(request.is_kept_alive, is_kept_alive, "{line}");
        }
    }

    #[test]
    fn gzip_is_taken_unless_its_weight_is_zero() {
        for (value, accepts) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("br", false),
            ("xgzip", false),
        ] {
            assert_eq!(has_gzip(value.as_bytes()), accepts, "{value}");
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_dropped() {
        let mut decoder = RequestDecoder::default();
        assert_eq!(decoder.discard(b"\r\n\nGET"), 3);
        decoder.scanned = 5;
        assert_eq!(decoder.discard(b"\r\n"), 0);
    }
}
