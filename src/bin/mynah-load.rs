//! The load tester, `mynah-load`. Its code is `load`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mynah::internal::load::run(std::env::args_os().skip(1))
}
