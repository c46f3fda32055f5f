//! The client, `mynah-cli`: one request from a script, a prompt, or a chat.
//!
//! It waits for one server and one user, so its sockets block and threads do the rest; frames and
//! lines go through the server's own codecs.
//!
//! | module | job |
//! |---|---|
//! | `options` | the command line |
//! | `endpoint` | the server's address, timeout and account |
//! | `account`, `password` | a name and a password; asking for one without echo |
//! | `request` | requests: words, protocols, texts |
//! | `admin` | the commands of `--admin` |
//! | `connect`, `timeout` | connecting; deadlines and socket timeouts |
//! | `stream`, `tls_stream` | a socket, or TLS over one |
//! | `receive` | one read within a deadline |
//! | `connection` | requests and replies over one connection |
//! | `login` | logging in |
//! | `server_guess` | the protocol that a server seems to speak |
//! | `once` | one request, `status --watch`, `listen` |
//! | `status` | the counters as a table |
//! | `input_lines` | lines of standard input |
//! | `prompt` | one request a line, typed or from a pipe |
//! | `chat` | the chat, in a window or in a pipe |
//! | `editor` | the line being typed, and lines above it; the only one to name rustyline |
//! | `terminal_mode` | the terminal's mode, restored when a signal ends the process |
//! | `sigint` | SIGINT, received by the main thread |
//! | `passwd` | a change of an accounts file |
//! | `output`, `error` | replies, error messages |

#[cfg_attr(not(feature = "accounts"), path = "account_disabled.rs")]
mod account;
mod admin;
mod chat;
mod connect;
mod connection;
mod editor;
mod endpoint;
mod error;
mod input_lines;
mod login;
mod once;
mod options;
mod output;
#[cfg(feature = "accounts")]
mod passwd;
#[cfg_attr(not(feature = "accounts"), path = "password_disabled.rs")]
mod password;
mod prompt;
mod receive;
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
use std::sync::Arc;

use signal_hook::consts::SIGINT;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::{print, print_usage_errors};
use admin::AdminAction;
use endpoint::Endpoint;
use error::ClientError;
use options::{Action, Invocation, UsageError};
#[cfg(test)]
#[allow(unused_imports, reason = "`manual` alone needs it, which takes every feature")]
pub(crate) use options::{COMMAND_NAMES, OPTION_GROUPS, help_text};
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
        Invocation::Admin { action: AdminAction::Top, .. } if !admin::has_screen() => {
            return print_usage_errors("mynah-cli", &[UsageError::NoScreen]);
        }
        Invocation::Admin { endpoint, token, action, notes } => {
            notes.iter().for_each(print_error);
            admin::run(&endpoint, token.as_ref(), action)
        }
        Invocation::Run { endpoint, user, action, notes } => {
            notes.iter().for_each(print_error);
            run_as(user.as_deref(), endpoint, action)
        }
    };
    match result {
        Ok(()) | Err(ClientError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            if error == ClientError::PasswordInterrupted {
                // As if the terminal had sent it: a shell's loop ends as well.
                let _ = emulate_default_handler(SIGINT);
            }
            if !error.is_silent() {
                print_error(&error);
            }
            ExitCode::FAILURE
        }
    }
}

fn run_as(user: Option<&str>, mut endpoint: Endpoint, action: Action) -> Result<(), ClientError> {
    // Before the server is asked: it would wait for the password, and not for long.
    endpoint.account = user.map(password::account_of_user).transpose()?.map(Arc::new);
    run_action(&endpoint, action)
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
