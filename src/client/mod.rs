//! The client, `mynah-cli`: one request from a script, a prompt, or a chat.
//!
//! It waits for one server and one user, so its sockets block and threads do the rest; frames and
//! lines go through the server's own codecs.
//!
//! | module | job |
//! |---|---|
//! | `options` | the command line |
//! | `endpoint` | the server's address and timeout |
//! | `request` | requests: words, protocols, texts |
//! | `connect`, `timeout` | connecting; deadlines and socket timeouts |
//! | `stream`, `tls_stream` | a socket, or TLS over one |
//! | `connection` | requests and replies over one connection |
//! | `server_guess` | the protocol that a server seems to speak |
//! | `once` | one request, `status --watch`, `listen` |
//! | `status` | the counters as a table |
//! | `input_lines` | lines of standard input |
//! | `prompt` | one request a line, typed or from a pipe |
//! | `chat` | the chat, in a window or in a pipe |
//! | `editor` | the line being typed, and lines above it; the only one to name rustyline |
//! | `terminal_mode` | the terminal's mode, restored when a signal ends the process |
//! | `sigint` | SIGINT, received by the main thread |
//! | `passwd` | a change of an accounts file, and passwords typed without echo |
//! | `output`, `error` | replies, error messages |

mod chat;
mod connect;
mod connection;
mod editor;
mod endpoint;
mod error;
mod input_lines;
mod once;
mod options;
mod output;
#[cfg(feature = "accounts")]
mod passwd;
mod prompt;
mod request;
mod server_guess;
mod sigint;
mod status;
mod stream;
mod terminal_mode;
mod timeout;
#[cfg(feature = "tls")]
mod tls_stream;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{print, print_usage_errors};
use endpoint::Endpoint;
use error::ClientError;
use options::{Action, Invocation};
use output::print_error;

/// Runs `mynah-cli` with `args`, without the program's name.
///
/// Returns the exit status: 0 for a reply, 1 for a refusal or failure with the reason on standard
/// error, 2 for bad usage.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let invocation = match Invocation::from_args(&args) {
        Ok(invocation) => invocation,
        Err(errors) => return print_usage_errors("mynah-cli", &errors),
    };
    let result = match invocation {
        Invocation::Help(text) => return print("mynah-cli", text.trim_end()),
        Invocation::Version => {
            return print("mynah-cli", concat!("mynah-cli ", env!("CARGO_PKG_VERSION")));
        }
        #[cfg(feature = "accounts")]
        Invocation::Passwd(passwd) => passwd::run(&passwd),
        Invocation::Run { endpoint, action, notes } => {
            notes.iter().for_each(print_error);
            run_action(&endpoint, action)
        }
    };
    match result {
        Ok(()) | Err(ClientError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                print_error(&error);
            }
            ExitCode::FAILURE
        }
    }
}

fn run_action(endpoint: &Endpoint, action: Action) -> Result<(), ClientError> {
    match action {
        Action::Request(request) => once::request(endpoint, request),
        Action::RequestFromStdin(verb) => once::request_from_stdin(endpoint, verb),
        Action::Status { is_json, is_watch } => once::status(endpoint, is_json, is_watch),
        Action::Listen => once::listen(endpoint),
        Action::Chat(nick) => chat::run(endpoint, nick),
        Action::Prompt { has_history } => prompt::run(endpoint, has_history),
    }
}
