//! The server, `mynah`. Its code is `app`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::internal::app::run(std::env::args_os().skip(1))
}
