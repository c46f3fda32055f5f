//! The status page: one document that needs nothing else. It is kept as it is sent, compressed; `.ci/page`
//! makes that and the hashes below of `page.html`.

use miniz_oxide::inflate::decompress_to_vec;

use super::response::{Body, Response};

/// `page.html`, by gzip (RFC 1952).
const PAGE_GZIP: &[u8] = include_bytes!("page.html.gz");

/// Bytes before and behind the deflated data: `gzip -n` writes a header without a name.
const GZIP_HEADER_LEN: usize = 10;
const GZIP_TRAILER_LEN: usize = 8;

/// Nothing but the script and the style of the page runs, and it asks nobody but this server
/// (Content Security Policy Level 3).
const FIELDS: &str = concat!(
    "Content-Security-Policy: ",
    include_str!("page.csp"),
    "\r\nReferrer-Policy: no-referrer\r\n"
);

/// The same, with the encoding.
const FIELDS_GZIP: &str = concat!(
    "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Security-Policy: ",
    include_str!("page.csp"),
    "\r\nReferrer-Policy: no-referrer\r\n"
);

/// The page.
pub(super) fn page(accepts_gzip: bool) -> Response {
    const TYPE: &str = "text/html; charset=utf-8";
    if accepts_gzip {
        return Response::new(200, TYPE, Body::Static(PAGE_GZIP)).with_fields(FIELDS_GZIP);
    }
    let deflated = &PAGE_GZIP[GZIP_HEADER_LEN..PAGE_GZIP.len() - GZIP_TRAILER_LEN];
    match decompress_to_vec(deflated) {
        Ok(html) => Response::new(200, TYPE, Body::Owned(html)).with_fields(FIELDS),
        Err(_) => Response::error(500, "the page is broken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_page_html() {
        let html = Response::new(
            200,
            "text/html; charset=utf-8",
            Body::Owned(include_bytes!("page.html").to_vec()),
        );
        assert_eq!(page(false), html.with_fields(FIELDS), "run .ci/page");
    }

    #[test]
    fn page_takes_30_kib_at_most() {
        assert!(PAGE_GZIP.len() <= 30 * 1024);
    }
}
