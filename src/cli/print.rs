//! Printing of the programs' own texts, and the exit status of bad usage. Logging is not done here.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit status of bad options or a bad configuration file.
pub(crate) const EXIT_USAGE: u8 = 2;

/// Prints `text` and a line break on standard output.
///
/// # Errors
///
/// Those of write(2); the reader may have gone.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush())
}

/// Prints `message` and a line break on standard error. A closed one is ignored, because no other
/// place is left for the message.
pub(crate) fn print_error(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Prints a usage error of `program` with a pointer to its help, and returns the exit status.
pub(crate) fn print_usage_error(program: &str, error: impl Display) -> ExitCode {
    print_error(format_args!("{program}: {error}\nTry '{program} --help'."));
    ExitCode::from(EXIT_USAGE)
}
