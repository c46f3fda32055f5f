//! Responses of HTTP/1.1, each written whole.

use std::io::Write;

/// The body of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Body {
    fn as_slice(&self) -> &[u8] {
        match self {
            Body::Owned(bytes) => bytes,
            Body::Static(bytes) => bytes,
        }
    }
}

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    /// Further header fields, each with `\r\n` at its end.
    fields: &'static str,
    /// The methods of a resource that was asked by another.
    allow: &'static str,
    body: Body,
}

impl Response {
    pub(super) fn new(status: u16, content_type: &'static str, body: Body) -> Self {
        Response { status, content_type, fields: "", allow: "", body }
    }

    /// The response with further header fields, each with `\r\n` at its end.
    pub(super) fn with_fields(self, fields: &'static str) -> Self {
        Response { fields, ..self }
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        let body = Body::Owned(text.as_bytes().to_vec());
        Response::new(status, "text/plain; charset=utf-8", body)
    }

    /// A refusal, with its reason on one line.
    pub(super) fn error(status: u16, reason: &str) -> Self {
        Response::text(status, &format!("{reason}\n"))
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Response { allow, ..Response::error(405, &format!("the methods are {allow}")) }
    }

    pub(super) fn unauthorized() -> Self {
        Response::error(401, "a token is needed: Authorization: Bearer TOKEN")
            .with_fields("WWW-Authenticate: Bearer realm=\"mynah\"\r\n")
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Appends the response to `out`, with a date if there is one (RFC 9110, 6.6.1); with `is_head`
    /// without its body.
    pub(super) fn write(
        &self,
        date: Option<String>,
        is_head: bool,
        is_kept_alive: bool,
        out: &mut Vec<u8>,
    ) {
        let Response { status, content_type, fields, allow, body } = self;
        let (body, reason) = (body.as_slice(), reason_phrase(*status));
        let head = |out: &mut Vec<u8>| -> std::io::Result<()> {
            write!(out, "HTTP/1.1 {status} {reason}\r\n")?;
            if let Some(date) = date {
                write!(out, "Date: {date}\r\n")?;
            }
            write!(
                out,
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{fields}",
                body.len()
            )?;
            if !allow.is_empty() {
                write!(out, "Allow: {allow}\r\n")?;
            }
            out.extend_from_slice(match is_kept_alive {
                true => b"\r\n",
                false => b"Connection: close\r\n\r\n",
            });
            Ok(())
        };
        head(out).expect("a Vec takes all that is written");
        if !is_head {
            out.extend_from_slice(body);
        }
    }
}

/// RFC 9110, 15.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response, is_head: bool, is_kept_alive: bool) -> String {
        let mut out = Vec::new();
        response.write(None, is_head, is_kept_alive, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn response_says_how_long_it_is() {
        let text = written(&Response::text(200, "ok\n"), false, true);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\nok\n"
        );
        let head = written(&Response::text(200, "ok\n"), true, true);
        assert_eq!(head, text.strip_suffix("ok\n").unwrap());
    }

    #[test]
    fn refusals_have_the_fields_that_go_with_them() {
        let text = written(&Response::method_not_allowed("GET, HEAD"), false, false);
        assert!(text.contains("\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n"), "{text}");
        let text = written(&Response::unauthorized(), false, true);
        assert!(text.contains("\r\nWWW-Authenticate: Bearer"), "{text}");
    }
}
