//! The server, `mynah`. Its code is [`mynah::app`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::app::run(std::env::args_os().skip(1))
}
