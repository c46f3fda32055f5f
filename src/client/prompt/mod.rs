//! One request a line: typed at a prompt, or read from a pipe.

mod lazy_connection;
mod line;

use std::env;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::account::{Account, AsUser, Attempt};
use super::editor::{Editor, EditorInput};
use super::endpoint::Endpoint;
use super::error::ClientError;
use super::input_lines::InputLines;
use super::output::{print_error, print_line, sanitize_line_bytes};
use super::password::{account_of_user, ask_account};
use crate::protocol::ProtocolName;
use lazy_connection::LazyConnection;
use line::{PromptLine, completions, help, is_private, password_at};

const PROMPT: &str = "mynah> ";

/// Runs a prompt if input and output are a terminal, else one command a line of standard input.
///
/// The prompt keeps a history file if `has_history`.
pub(super) fn run(endpoint: &Endpoint, has_history: bool) -> Result<(), ClientError> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        run_terminal(endpoint, history_file().filter(|_| has_history))
    } else {
        run_pipe(endpoint)
    }
}

/// Runs the lines of standard input. A line that fails is reported with its number and the next ones
/// are run all the same, unless the server cannot be reached.
fn run_pipe(endpoint: &Endpoint) -> Result<(), ClientError> {
    let mut connection = LazyConnection::new(endpoint, |_broadcast| {});
    let mut has_failed = false;
    let mut input = InputLines::default();
    for number in 1_u64.. {
        let Some(line) = input.next()? else { break };
        let result = match PromptLine::parse(&line, endpoint.protocol) {
            Ok(PromptLine::Empty) => continue,
            Ok(PromptLine::Help) => print_line(&help(endpoint.protocol)),
            Ok(PromptLine::Quit) => break,
            Ok(PromptLine::Request(request)) => connection.execute(request),
            Ok(PromptLine::Account { attempt, name, password }) => {
                account(attempt, &name, password.as_deref(), account_of_input)
                    .and_then(|account| connection.log_in(attempt, account))
            }
            Err(error) => {
                print_error(format_args!("line {number}: {error}"));
                has_failed = true;
                continue;
            }
        };
        match result {
            Ok(()) => {}
            Err(error) if error.is_output_error() => return Err(error),
            Err(error @ ClientError::PasswordInterrupted) => return Err(error),
            Err(error) => {
                print_error(format_args!("line {number}: {error}"));
                has_failed = true;
                if error.is_connect_error() {
                    break;
                }
            }
        }
    }
    connection.quit();
    if has_failed { Err(ClientError::LinesFailed) } else { Ok(()) }
}

/// Runs a prompt. Errors are reported and do not end it.
fn run_terminal(endpoint: &Endpoint, history: Option<PathBuf>) -> Result<(), ClientError> {
    let mut connection = LazyConnection::new(endpoint, |broadcast| {
        let _ = print_line(&format!("[BROADCAST] {}", sanitize_line_bytes(broadcast)));
    });
    connection.connect()?;
    let password_at = match endpoint.protocol {
        ProtocolName::Command => password_at,
        _ => |_: &str| None,
    };
    let mut editor = Editor::new(history, completions(endpoint.protocol), password_at)?;
    let lines = match endpoint.protocol {
        ProtocolName::Command => "Try help.",
        _ => "A line is a message; help lists the rest.",
    };
    print_line(&format!("{} {lines}", connected(endpoint)))?;
    'prompt: loop {
        let lines = match editor.read(PROMPT)? {
            EditorInput::Line(lines) => lines,
            EditorInput::Interrupt => continue,
            EditorInput::Eof => break,
        };
        let is_private =
            endpoint.protocol == ProtocolName::Command && lines.lines().any(is_private);
        if !lines.trim().is_empty() && !is_private {
            editor.add_history(&lines);
        }
        // Pasted input may be several lines.
        for line in lines.lines() {
            if run_terminal_line(line, &mut connection, &mut editor)?.is_break() {
                break 'prompt;
            }
        }
    }
    connection.quit();
    Ok(())
}

/// Runs one line of the prompt and reports its error; breaks at `quit`.
fn run_terminal_line(
    line: &str,
    connection: &mut LazyConnection,
    editor: &mut Editor,
) -> Result<ControlFlow<()>, ClientError> {
    let protocol = connection.endpoint.protocol;
    let result = match PromptLine::parse(line.as_bytes(), protocol) {
        Ok(PromptLine::Empty) => Ok(()),
        Ok(PromptLine::Help) => print_line(&help(protocol)),
        Ok(PromptLine::Quit) => return Ok(ControlFlow::Break(())),
        Ok(PromptLine::Request(request)) => {
            reconnect_if_ended(connection, editor)?;
            connection.execute(request)
        }
        Ok(PromptLine::Account { attempt, name, password }) => {
            match account(attempt, &name, password.as_deref(), ask_account) {
                Ok(account) => {
                    reconnect_if_ended(connection, editor)?;
                    connection.log_in(attempt, account)
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => {
            print_error(error);
            Ok(())
        }
    };
    match result {
        Ok(()) => {}
        Err(error) if error.is_output_error() => return Err(error),
        Err(ClientError::PasswordInterrupted) => {}
        Err(error) => {
            print_error(&error);
            // A request that was under way when the connection ended is not repeated: the server may
            // have executed it.
            if connection.has_ended() {
                reconnect(connection, editor)?;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The account of `login` or `register`; `ask` asks for a password that is missing.
fn account(
    attempt: Attempt,
    name: &str,
    password: Option<&[u8]>,
    ask: fn(Attempt, &str) -> Result<Account, ClientError>,
) -> Result<Account, ClientError> {
    match password {
        Some(password) => Account::new(attempt, name, password).map_err(ClientError::Password),
        None => ask(attempt, name),
    }
}

/// As for `--user`: nobody may be there to ask.
fn account_of_input(attempt: Attempt, name: &str) -> Result<Account, ClientError> {
    match attempt {
        Attempt::Login => account_of_user(name),
        Attempt::Register => ask_account(attempt, name),
    }
}

fn connected(endpoint: &Endpoint) -> String {
    format!("Connected to {endpoint}{}.", AsUser(endpoint.account.as_deref()))
}

fn reconnect_if_ended(
    connection: &mut LazyConnection,
    editor: &mut Editor,
) -> Result<(), ClientError> {
    if connection.has_ended() {
        print_error("the server has closed the connection");
        reconnect(connection, editor)?;
    }
    Ok(())
}

/// Offers to connect again until that succeeds; an error if the user declines.
fn reconnect(connection: &mut LazyConnection, editor: &mut Editor) -> Result<(), ClientError> {
    loop {
        match editor.read(&format!("Reconnect to {}? [Y/n] ", connection.endpoint))? {
            EditorInput::Line(reply) if matches!(reply.trim(), "" | "y" | "Y" | "yes") => {}
            // The reason is on the screen.
            _ => return Err(ClientError::LinesFailed),
        }
        match connection.connect() {
            Ok(_) => return print_line(&connected(&connection.endpoint)),
            Err(error) => print_error(&error),
        }
    }
}

/// The file that keeps the lines typed at the prompt: `~/.mynah_history`.
fn history_file() -> Option<PathBuf> {
    let home = PathBuf::from(env::var_os("HOME").filter(|home| !home.is_empty())?);
    Some(home.join(".mynah_history"))
}
