//! Unix sockets: every protocol over one, and its file from start to stop.

mod file;
mod protocols;
