//! The plugin host from outside: files in a folder, packages, answers, and what the log says.

mod differential;
mod examples;
mod folder;
mod host;
mod load;
mod sandbox;
mod scheduler;
mod speed;
pub mod support;
