//! The words after the options: a command and its arguments. Bytes are [`os_text`].

use std::os::unix::ffi::OsStringExt;

use super::Action;
use super::error::{NamedBy, UsageError};
#[cfg(feature = "accounts")]
use crate::accounts::parse_name;
#[cfg(feature = "accounts")]
use crate::client::passwd::{Passwd, PasswdChange};
use crate::client::request::{Request, Verb};
use crate::os_text;
use crate::protocol::ProtocolName;

/// Options that belong to a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) is_json: bool,
    pub(super) is_watch: bool,
    pub(super) has_history: bool,
}

/// True if `word` is the command `chat`.
pub(super) fn is_chat(words: &[String]) -> bool {
    words.first().is_some_and(|word| word.eq_ignore_ascii_case("chat"))
}

/// Parses `passwd [--delete] FILE NAME [-]`; `None` is another command.
#[cfg(feature = "accounts")]
pub(super) fn parse_passwd(words: &[String]) -> Result<Option<Passwd>, UsageError> {
    let Some((command, mut arguments)) = words.split_first() else { return Ok(None) };
    if !command.eq_ignore_ascii_case("passwd") {
        return Ok(None);
    }
    let mut change = PasswdChange::FromTerminal;
    match arguments {
        [delete, rest @ ..] if delete == "--delete" => {
            (change, arguments) = (PasswdChange::Delete, rest);
        }
        [rest @ .., delete] if rest.len() == 2 && delete == "--delete" => {
            (change, arguments) = (PasswdChange::Delete, rest);
        }
        _ => {}
    }
    let [file, name, rest @ ..] = without_dashes(arguments) else {
        return Err(UsageError::PasswdArguments);
    };
    let rest = match (change, rest) {
        (PasswdChange::FromTerminal, [dash, rest @ ..]) if dash == "-" => {
            change = PasswdChange::FromStdin;
            rest
        }
        _ => rest,
    };
    expect_no_more("passwd", rest, "it takes FILE and NAME")?;
    parse_name(name).map_err(UsageError::AccountName)?;
    Ok(Some(Passwd { file: os_text::decode(file).into(), name: name.clone(), change }))
}

/// Parses the command over `protocol`, which was chosen by `named_by`.
pub(super) fn parse(
    words: &[String],
    protocol: ProtocolName,
    named_by: NamedBy,
    flags: Flags,
) -> Result<Action, UsageError> {
    let action = parse_command(words, protocol, named_by, flags)?;
    match (&action, flags) {
        (Action::Status { .. }, _) => Ok(action),
        (_, Flags { is_json: true, .. }) => Err(UsageError::StatusOption("json")),
        (_, Flags { is_watch: true, .. }) => Err(UsageError::StatusOption("watch")),
        _ => Ok(action),
    }
}

fn parse_command(
    words: &[String],
    protocol: ProtocolName,
    named_by: NamedBy,
    flags: Flags,
) -> Result<Action, UsageError> {
    let Some((name, arguments)) = words.split_first() else {
        return Ok(match protocol {
            ProtocolName::Chat => Action::Chat(None),
            _ => Action::Prompt { has_history: flags.has_history },
        });
    };
    let needs = |command, needed, is_supported: bool| match is_supported {
        true => Ok(()),
        false => Err(UsageError::WrongProtocol { command, needed, protocol, named_by }),
    };
    let is_command = protocol == ProtocolName::Command;
    let arguments = without_dashes(arguments);
    match &*name.to_ascii_lowercase() {
        "listen" => {
            needs("listen", "command", is_command)?;
            expect_no_more(name, arguments, "it takes none").map(|()| Action::Listen)
        }
        "chat" => {
            needs("chat", "chat", protocol == ProtocolName::Chat)?;
            parse_chat(name, arguments)
        }
        "status" => {
            needs("status", "command", is_command)?;
            parse_status(arguments, flags)
        }
        "call" => {
            needs("call", "command", is_command)?;
            let code = arguments.first().map_or("", String::as_str);
            let verb = Verb::parse_call(code);
            let verb = verb.ok_or_else(|| UsageError::InvalidCode(code.to_owned()))?;
            match without_dashes(arguments.get(1..).unwrap_or_default()) {
                [] => Ok(Action::Request(Request { verb, text: Vec::new() })),
                text => parse_request(verb, text),
            }
        }
        word => {
            let verb = Verb::parse(word);
            let verb = verb.ok_or_else(|| UsageError::UnknownCommand(name.clone()))?;
            needs(verb.name(), verb.protocols(), verb.is_supported_by(protocol))?;
            parse_request(verb, arguments)
        }
    }
}

/// Drops `--`: it ends the options, of which none follow a command. Alone it is a text.
fn without_dashes(arguments: &[String]) -> &[String] {
    match arguments {
        [dashes, rest @ ..] if dashes == "--" && !rest.is_empty() => rest,
        _ => arguments,
    }
}

fn parse_chat(name: &str, arguments: &[String]) -> Result<Action, UsageError> {
    let Some((nick, rest)) = arguments.split_first() else { return Ok(Action::Chat(None)) };
    expect_no_more(name, rest, "a nickname is one word")?;
    // Whatever follows a line end would be sent as a message.
    let is_valid = !nick.contains('\n') && !nick.contains(|c| os_text::encoded_byte(c).is_some());
    if is_valid { Ok(Action::Chat(Some(nick.clone()))) } else { Err(UsageError::Nickname) }
}

/// Parses the arguments of `status`, which may stand before it as well.
fn parse_status(arguments: &[String], flags: Flags) -> Result<Action, UsageError> {
    let Flags { mut is_json, mut is_watch, .. } = flags;
    for argument in arguments {
        match argument.as_str() {
            "--json" => is_json = true,
            "--watch" => is_watch = true,
            argument => {
                let hint = "it takes --json and --watch, and other options go before the command";
                return Err(unexpected_argument("status", argument, hint));
            }
        }
    }
    Ok(Action::Status { is_json, is_watch })
}

/// Parses the text of a request.
fn parse_request(verb: Verb, arguments: &[String]) -> Result<Action, UsageError> {
    let Some((text, rest)) = arguments.split_first() else {
        return Err(UsageError::MissingText(verb));
    };
    expect_no_more(verb.name(), rest, "options go before the command, and TEXT in quotes")?;
    if text == "-" {
        return Ok(Action::RequestFromStdin(verb));
    }
    Ok(Action::Request(Request { verb, text: os_text::decode(text).into_vec() }))
}

fn expect_no_more(
    command: &str,
    arguments: &[String],
    hint: &'static str,
) -> Result<(), UsageError> {
    match arguments.first() {
        Some(argument) => Err(unexpected_argument(command, argument, hint)),
        None => Ok(()),
    }
}

fn unexpected_argument(command: &str, argument: &str, hint: &'static str) -> UsageError {
    let hint = match argument {
        url if url.contains("://") => "the URL goes before the command",
        option if option.starts_with("--") && command != "status" => {
            "options go before the command"
        }
        _ => hint,
    };
    UsageError::UnexpectedArgument {
        command: command.to_owned(),
        argument: argument.to_owned(),
        hint,
    }
}
