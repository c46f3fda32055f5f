//! The load tester's binary; all it does is in [`mynah::load`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::load::run(std::env::args_os().skip(1))
}
