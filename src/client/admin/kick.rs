//! `kick`: closes connections. On a terminal it asks first whether so many are meant.

use std::io::{self, IsTerminal, Write};

use super::Choice;
use super::exchange::Exchange;
use super::reports::{Kicked, Page};
use crate::client::error::ClientError;
use crate::client::output::{Output, print_line};
use crate::thousands::grouped;

/// Kicks what `choice` chooses, and says how many they were.
pub(super) fn run(
    exchange: &mut Exchange,
    choice: &Choice,
    is_confirmed: bool,
) -> Result<(), ClientError> {
    let target = match choice {
        Choice::Id(id) => format!("/connections/{id}"),
        Choice::Filter(filter) => format!("/connections?{}", filter.query()),
    };
    let is_asked = !is_confirmed && io::stdin().is_terminal() && Output::stdout().is_terminal();
    if let Choice::Filter(filter) = choice
        && is_asked
    {
        let list = format!("/connections?{}&limit=0", filter.query_without_ban());
        let total = exchange.get::<Page>(&list)?.total;
        let is_pointless = total == 0 && !filter.has_ban();
        if !is_pointless && !ask(&question(total))? {
            return Err(ClientError::Refused("nothing was kicked".to_owned()));
        }
    }
    let Kicked { kicked } = exchange.change("DELETE", &target)?;
    print_line(&format!("{} kicked", grouped(kicked)))
}

fn question(total: u64) -> String {
    match total {
        1 => "1 connection matches; kick it? [y/N] ".to_owned(),
        total => format!("{} connections match; kick them? [y/N] ", grouped(total)),
    }
}

/// Asks a question on the terminal; anything but yes is no.
fn ask(question: &str) -> Result<bool, ClientError> {
    let mut stdout = io::stdout();
    write!(stdout, "{question}")
        .and_then(|()| stdout.flush())
        .map_err(|error| ClientError::output(&error))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| ClientError::input(&error))?;
    Ok(matches!(&*answer.trim().to_ascii_lowercase(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_counts() {
        assert_eq!(question(1), "1 connection matches; kick it? [y/N] ");
        assert_eq!(question(1200), "1,200 connections match; kick them? [y/N] ");
    }
}
