//! The version of a server that speaks `command`, by its STATUS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::target::Protocol;
use crate::codec::command::{Command, Frame, HEADER_LEN, Header};
use crate::protocol::ProtocolName;

/// Longest time for the connect, and for each read.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read. STATUS is a few hundred bytes.
const ANSWER_LEN_MAX: u32 = 64 * 1024;

/// The version of the server at `address`; `None` if its protocol has no STATUS, or no answer comes.
/// The server counts one more connection.
pub(super) fn ask(address: SocketAddr, protocol: Protocol) -> Option<String> {
    let has_status = protocol == Protocol::Mynah(ProtocolName::Command);
    let answer = if has_status { request(address).ok()? } else { return None };
    let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
    answer.get("version")?.as_str().map(str::to_owned)
}

fn request(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut request = Vec::new();
    Frame { command: Command::Status, payload: &[] }.encode(&mut request);
    stream.write_all(&request)?;
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let is_answer =
        |header: &Header| header.command == Command::Echo && header.len <= ANSWER_LEN_MAX;
    let header = Header::parse(&header).filter(is_answer).ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = vec![0; header.len as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
