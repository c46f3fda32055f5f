//! The load tester, `mynah-load`. Its code is [`mynah::load`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::load::run(std::env::args_os().skip(1))
}
