//! The client, `mynah-cli`: one request from a script, a prompt, or a chat window.
//!
//! It waits for one server, one user and nothing else, so its sockets block and it needs no
//! readiness loop; what it says and hears goes through the server's own codecs.
//!
//! | module | job |
//! |---|---|
//! | `options` | the command line |
//! | `request` | what can be asked |
//! | `connect` | a connection within a time |
//! | `connection` | a request and its answer |
//! | `once` | one request, or listening |
//! | `prompt` | requests line by line, typed or from a pipe |
//! | `chat` | the chat, in a window or in a pipe |
//! | `editor` | the line being typed; the only one to name rustyline |
//! | `terminal_mode` | the terminal as it was found, for when a signal ends us |
//! | `output`, `error` | what the user reads |

mod chat;
mod connect;
mod connection;
mod editor;
mod error;
mod once;
mod options;
mod output;
mod prompt;
mod request;
mod terminal_mode;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use error::ClientError;
use options::{Invocation, Job, Task};

/// Bad usage.
const EXIT_USAGE: u8 = 2;

/// Runs `mynah-cli` with `args`, the program's name not among them.
///
/// Exit status: 0 answered, 1 refused or failed, with the reason on standard error, 2 bad usage.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let done = match Invocation::from_args(&args) {
        Ok(Invocation::Help(text)) => print(text.trim_end()),
        Ok(Invocation::Version) => print(concat!("mynah-cli ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Run(task)) => perform(task),
        Err(error) => {
            print_error(format_args!("{error}\nTry 'mynah-cli --help'."));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match done {
        Ok(()) | Err(ClientError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                print_error(&error);
            }
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<(), ClientError> {
    let Task { endpoint, job } = task;
    match job {
        Job::Ask(request) => once::ask(&endpoint, request),
        Job::AskStdin(verb) => once::ask_stdin(&endpoint, verb),
        Job::Listen => once::listen(&endpoint),
        Job::Chat(nick) => chat::run(&endpoint, nick),
        Job::Prompt => prompt::run(&endpoint),
    }
}

/// Says something of our own on standard output.
fn print(text: &str) -> Result<(), ClientError> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(|error| ClientError::output(&error))
}

/// Says why on standard error; nobody is left to tell when that is closed.
fn print_error(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "mynah-cli: {what}");
}
