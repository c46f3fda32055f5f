//! The client, `mynah-cli`. Its code is [`mynah::client`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::client::run(std::env::args_os().skip(1))
}
