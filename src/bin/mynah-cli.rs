//! The client, `mynah-cli`. Its code is `client`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::internal::client::run(std::env::args_os().skip(1))
}
