//! The client binary; all it does is in [`mynah::client`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::client::run(std::env::args_os().skip(1))
}
