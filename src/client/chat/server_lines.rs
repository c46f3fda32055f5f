//! What a chat server says, line by line, and what a client must understand of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::client::error::ClientError;
use crate::codec::Decoder;
use crate::codec::line::{Line, LinesUpTo};
use crate::protocol::chat::{Lang, Words};

/// Longest line of a server, in bytes. The longest there is lists everyone who is present.
const LINE_LEN_MAX: usize = 1 << 20;

const READ_LEN: usize = 1 << 14;

/// Bytes of a line that is none of a chat's, to tell by what it is.
const EXCERPT_LEN: usize = 60;

/// Reads a server's lines.
#[derive(Debug)]
pub(super) struct LineReader {
    stream: TcpStream,
    decoder: LinesUpTo<LINE_LEN_MAX>,
    input: Vec<u8>,
    is_eof: bool,
}

impl LineReader {
    pub(super) fn new(stream: TcpStream) -> Self {
        LineReader { stream, decoder: LinesUpTo::default(), input: Vec::new(), is_eof: false }
    }

    /// The next line without its end; `None` at the end of the stream. A line that is too long is
    /// replaced by a remark.
    ///
    /// # Errors
    ///
    /// Those of reading; a time that was set for it among them, after which it may be asked again.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let skipped = self.decoder.skip(&self.input);
            self.input.drain(..skipped);
            let Ok(found) = self.decoder.decode(&self.input);
            if let Some((line, len)) = found {
                let line = text(line);
                self.input.drain(..len);
                return Ok(Some(line));
            }
            if self.is_eof {
                let last = self.decoder.finish(&self.input).map(text);
                self.input.clear();
                return Ok(last);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let kept = self.input.len();
        self.input.resize(kept + READ_LEN, 0);
        let read = self.stream.read(&mut self.input[kept..]);
        self.input.truncate(kept + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => self.is_eof = true,
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}

fn text(line: Line<'_>) -> Vec<u8> {
    match line {
        Line::Text(text) => text.to_vec(),
        Line::TooLong => format!("[…] (a line over {LINE_LEN_MAX} bytes)").into_bytes(),
    }
}

/// What a line means to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The server stops.
    ShutDown,
    /// It refuses something: before the nickname is accepted, the nickname.
    Refusal,
    /// It tells us something: before the nickname is accepted, that it is.
    Info,
    /// What others say, or (before the nickname is accepted) something that is no chat server.
    Other,
}

impl LineKind {
    /// No member can say these words: what members say begins with their nickname, and those that
    /// would look like the server are taken.
    pub(super) fn of(line: &[u8]) -> Self {
        let says = |lang| line == Words::ShutDown.in_lang(lang).to_string().as_bytes();
        if says(Lang::En) || says(Lang::Ru) {
            LineKind::ShutDown
        } else if line.starts_with(b"[ERROR]") {
            LineKind::Refusal
        } else if line.starts_with(b"[INFO]") {
            LineKind::Info
        } else {
            LineKind::Other
        }
    }
}

/// What to make of a line that answers no nickname.
pub(super) fn unexpected_greeting(line: &[u8]) -> ClientError {
    let excerpt = &line[..line.len().min(EXCERPT_LEN)];
    let more = if excerpt.len() < line.len() { "…" } else { "" };
    ClientError::UnexpectedReply(format!(
        "'{}{more}' is no chat's welcome",
        String::from_utf8_lossy(excerpt)
    ))
}

/// Whether a line of the user's means to leave.
pub(super) fn is_exit(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"exit" | b"/exit" | b"/quit")
}

/// Sends a line.
pub(super) fn send_line(mut stream: &TcpStream, line: &[u8]) -> io::Result<()> {
    stream.write_all(&[line, b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// The lines of a server that says `bytes` and closes.
    fn lines(bytes: Vec<u8>) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let speaker = thread::spawn(move || listener.accept().unwrap().0.write_all(&bytes));
        let mut lines = LineReader::new(stream);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        speaker.join().unwrap().unwrap();
        found
    }

    #[test]
    fn lines_end_with_a_line_feed_or_with_the_stream() {
        assert_eq!(lines(b"a\r\n\nb".to_vec()), ["a", "", "b"]);
        assert_eq!(lines(b"a\n".to_vec()), ["a"]);
        assert!(lines(Vec::new()).is_empty());
    }

    #[test]
    fn everyone_present_fits_on_a_line() {
        let everyone = format!("Online: {}", ["somebody"; 20_000].join(", "));
        assert_eq!(lines(format!("{everyone}\nnext\n").into_bytes()), [&everyone, "next"]);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let endless = [&vec![b'x'; 3 << 20][..], b"\nnext\n"].concat();
        let remark = format!("[…] (a line over {LINE_LEN_MAX} bytes)");
        assert_eq!(lines(endless), [&remark, "next"]);
    }

    #[test]
    fn the_servers_words_are_understood_in_both_languages() {
        for lang in [Lang::En, Lang::Ru] {
            let kind = |words: Words<'_>| LineKind::of(words.in_lang(lang).to_string().as_bytes());
            assert_eq!(kind(Words::ShutDown), LineKind::ShutDown);
            assert_eq!(kind(Words::Taken("ann")), LineKind::Refusal);
            assert_eq!(kind(Words::NicknameLength), LineKind::Refusal);
            assert_eq!(kind(Words::NicknameCharacters), LineKind::Refusal);
            assert_eq!(kind(Words::Full(9)), LineKind::Refusal);
            assert_eq!(kind(Words::Welcome("ann")), LineKind::Info);
            let text = "[INFO] The server has shut down";
            assert_eq!(kind(Words::Message { from: "eve", text }), LineKind::Other);
        }
        assert_eq!(LineKind::of("[INFO] Сервер отключился".as_bytes()), LineKind::ShutDown);
    }

    #[test]
    fn farewells_may_stand_in_blanks() {
        for (line, farewell) in
            [("exit", true), (" /exit ", true), ("/quit", true), ("exits", false), ("", false)]
        {
            assert_eq!(is_exit(line.as_bytes()), farewell, "{line}");
        }
    }
}
