//! The version of a server that speaks `command`, by its STATUS.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::plan::Plan;
use super::target::{Address, Protocol};
use crate::codec::command::{Command, Frame, HEADER_LEN, Header};
use crate::protocol::ProtocolName;

/// Longest time for the connect, and for each read.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest answer that is read. STATUS is a few hundred bytes.
const ANSWER_LEN_MAX: u32 = 64 * 1024;

/// The version of the server at `address`; `None` if its protocol has no STATUS, or no answer comes.
/// The server counts one more connection.
pub(super) fn ask(address: &Address, plan: &Plan) -> Option<String> {
    if plan.target.protocol != Protocol::Mynah(ProtocolName::Command) {
        return None;
    }
    let socket = connect(address).ok()?;
    #[cfg(feature = "tls")]
    let answer = match plan.tls.first() {
        Some(tls) => request(tls.stream(socket).ok()?).ok()?,
        None => request(socket).ok()?,
    };
    #[cfg(not(feature = "tls"))]
    let answer = request(socket).ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
    answer.get("version")?.as_str().map(str::to_owned)
}

fn connect(address: &Address) -> io::Result<Socket> {
    let (domain, address) = match address {
        Address::Inet(addr) => (Domain::for_address(*addr), SockAddr::from(*addr)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn request(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
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
