//! Every protocol over TLS: the handshake, the records, certificates, and clients of others.

mod certificates;
mod client_certificates;
mod foreign;
mod handshakes;
mod protocols;
mod records;
mod tickets;
