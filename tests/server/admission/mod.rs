//! Admission, and how much one may send: limits by address, PROXY headers, rates.

mod addresses;
mod options;
mod proxy_headers;
mod rates;
