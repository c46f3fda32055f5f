//! Printing of the programs' own texts, and the exit status of bad usage. Logging is not done here.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::strerror::strerror;

/// Exit status of bad options or a bad configuration file.
pub(crate) const EXIT_USAGE: u8 = 2;

/// Prints `text` and a line break on standard output, and returns the exit status of `program`: a
/// failure if it could not be written. A reader that has gone (EPIPE) is not one.
pub(crate) fn print(program: &str, text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let reason = strerror(&error);
            print_error(format_args!("{program}: cannot write to standard output: {reason}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints `message` and a line break on standard error. A closed one is ignored, because no other
/// place is left for the message.
pub(crate) fn print_error(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Prints a usage error of `program` with a pointer to its help, and returns the exit status.
pub(crate) fn print_usage_error(program: &str, error: impl Display) -> ExitCode {
    print_usage_errors(program, &[error])
}

/// As [`print_usage_error`], with one line an error.
pub(crate) fn print_usage_errors(program: &str, errors: &[impl Display]) -> ExitCode {
    for error in errors {
        print_error(format_args!("{program}: {error}"));
    }
    print_error(format_args!("Try '{program} --help'."));
    ExitCode::from(EXIT_USAGE)
}
