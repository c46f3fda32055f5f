//! The kernel's view of sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{Client, Server};

/// The kernel's view of one end of a connection (`/proc/net/tcp` of proc(5)).
#[derive(Debug)]
pub(crate) struct KernelSocket {
    pub(crate) local: u16,
    pub(crate) remote: u16,
    /// 0x08 once the peer has shut its side and ours is open, 0x0a for a listening socket.
    pub(crate) state: u8,
    /// Bytes that have arrived and have not been read.
    pub(crate) unread: usize,
    /// 2 while the keepalive timer runs.
    pub(crate) timer: u8,
    /// When the timer fires, in hundredths of a second.
    pub(crate) timer_in: u64,
    inode: u64,
}

impl KernelSocket {
    fn parse(row: &str) -> KernelSocket {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let fields: Vec<&str> = row.split_whitespace().collect();
        let pair = |field: usize| fields[field].split_once(':').unwrap();
        KernelSocket {
            local: hex(pair(1).1) as u16,
            remote: hex(pair(2).1) as u16,
            state: hex(fields[3]) as u8,
            unread: hex(pair(4).1) as usize,
            timer: hex(pair(5).0) as u8,
            timer_in: hex(pair(5).1),
            inode: fields[9].parse().unwrap(),
        }
    }

    /// The IPv4 sockets of this machine whose row contains `text`: there may be thousands, and most
    /// belong to others.
    fn with(text: &str) -> Vec<KernelSocket> {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).filter(|row| row.contains(text));
        rows.map(KernelSocket::parse).collect()
    }

    /// The server's end of `client`'s connection.
    pub(crate) fn serving(server: SocketAddr, client: &Client) -> Option<KernelSocket> {
        let (local, remote) = (server.port(), client.local_port());
        let mut sockets = KernelSocket::with(&format!(":{remote:04X} ")).into_iter();
        sockets.find(|socket| (socket.local, socket.remote) == (local, remote))
    }

    /// The port on which the process of `server` listens, if it does yet.
    pub(crate) fn listening(server: &Server) -> Option<SocketAddr> {
        let socket = KernelSocket::all_listening(server).into_iter().next()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local)))
    }

    /// The sockets that `server` listens with.
    pub(crate) fn all_listening(server: &Server) -> Vec<KernelSocket> {
        let Ok(fds) = fs::read_dir(server.proc("fd")) else { return Vec::new() };
        let links: Vec<PathBuf> =
            fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        let owned = |socket: &KernelSocket| {
            let link = PathBuf::from(format!("socket:[{}]", socket.inode));
            socket.state == 0x0a && links.contains(&link)
        };
        KernelSocket::with(" 0A ").into_iter().filter(owned).collect()
    }
}
