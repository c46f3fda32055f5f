//! Completion of the command at the beginning of a line. Knows nothing of rustyline.

/// Completes the first word of `line`, in which the cursor must be, to those of `commands` that begin
/// with it; returns where they go. One that takes a text ends with a blank.
pub(super) fn complete_command(
    line: &str,
    cursor: usize,
    commands: &[&'static str],
) -> (usize, Vec<String>) {
    let typed = line.get(..cursor).unwrap_or(line);
    let word = typed.trim_start();
    let begins = |command: &str| {
        command.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let found = commands.iter().filter(|command| begins(command) && word.len() < command.len());
    (typed.len() - word.len(), found.map(|command| (*command).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: [&str; 4] = ["echo ", "exit", "quit", "/who"];

    #[test]
    fn first_word_is_completed() {
        for (line, cursor, start, found) in [
            ("e", 1, 0, &["echo ", "exit"][..]),
            ("  EC", 4, 2, &["echo "]),
            ("/", 1, 0, &["/who"]),
            ("", 0, 0, &COMMANDS),
            ("echo", 4, 0, &["echo "]),
            ("exit", 4, 0, &[]),
            ("echo e", 6, 0, &[]),
            ("echo e", 2, 0, &["echo "]),
            ("\u{44f}", 2, 0, &[]),
            ("zz", 2, 0, &[]),
        ] {
            let found: Vec<String> = found.iter().map(|command| (*command).to_owned()).collect();
            assert_eq!(complete_command(line, cursor, &COMMANDS), (start, found), "{line}");
        }
    }
}
