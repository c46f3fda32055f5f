//! The server binary; all it does is in [`mynah::app`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::app::run(std::env::args_os().skip(1))
}
