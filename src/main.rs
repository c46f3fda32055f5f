//! The server binary; all it does is in [`mynah::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::cli::run(std::env::args_os().skip(1))
}
