//! Each protocol over a Unix socket as it is over TCP.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::support::{Client, Folder, Server, crowd, error, frame, random_bytes, wait_until};

fn start(protocol: &str, args: &[&str]) -> (Server, Folder) {
    let folder = Folder::new();
    (Server::unix(protocol, &folder, args), folder)
}

#[test]
fn command_is_spoken_over_unix() {
    let (_server, folder) = start("command", &[]);
    let (mut client, mut other) =
        (Client::unix(&folder.path("s")), Client::unix(&folder.path("s")));
    other.expect_alive();
    client.expect_alive();
    assert_eq!(client.ask(2, "Hé!".as_bytes()), (1, "!éH".as_bytes().to_vec()));
    assert_eq!(client.ask(4, b"to all"), (1, b"1".to_vec()));
    other.expect_frame(4, "to all");
    assert_eq!(client.status().get("connections"), 2);
    client.send(b"\x03\0\0\0\0");
    client.expect_eof();
    other.expect_alive();
}

#[test]
fn prefixed_raw_and_chat_are_spoken_over_unix() {
    let (_server, folder) = start("prefixed", &[]);
    let mut client = Client::unix(&folder.path("s"));
    client.send(b"\x0cHello, world\x00");
    client.expect(b"\x0cdlrow ,olleH\x00");
    let (_server, folder) = start("raw", &[]);
    let mut client = Client::unix(&folder.path("s"));
    client.send(b"hello");
    client.expect(b"Echo: hello");
    let (_server, folder) = start("chat", &[]);
    let (mut ann, mut bob) = (Client::unix(&folder.path("s")), Client::unix(&folder.path("s")));
    ann.send(b"Ann\n");
    assert_eq!(ann.read_line(), "[INFO] Welcome, Ann!");
    // As the ancestor's clients: without the end of a line.
    bob.send(b"Bob");
    assert_eq!(bob.read_line(), "[INFO] Welcome, Bob!");
    assert_eq!(ann.read_line(), "[SERVER] Bob joined");
}

#[cfg(feature = "plugins")]
#[test]
fn plugins_see_the_address_unix() {
    let folder = Folder::new();
    let plugin = "return { process_client_pkg = function(_, client) return client.addr end }";
    folder.file("addr.lua", plugin);
    let dir = folder.path("");
    let _server = Server::unix("plugin", &folder, &["--plugin-dir", &dir]);
    let mut client = Client::unix(&folder.path("s"));
    client.send(b"who am I");
    client.expect(b"unix");
    let _server = Server::start(&[
        "-l",
        &format!("command+unix://{}", folder.path("c")),
        "--plugin-dir",
        &dir,
    ]);
    assert_eq!(Client::unix(&folder.path("c")).ask(200, b""), (200, b"unix".to_vec()));
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_spoken_over_unix() {
    let identity = crate::support::tls::Identity::new();
    let folder = Folder::new();
    let _server = Server::unix("command+tls", &folder, identity.options().as_slice());
    let mut client = Client::unix(&folder.path("s")).with_tls(identity.client());
    client.expect_alive();
    client.half_close();
    client.expect_eof();
}

#[test]
fn log_names_user_and_process() {
    let (server, folder) = start("command", &[]);
    let url = format!("command+unix://{}", folder.path("s"));
    server.wait_for_line(&format!("listening on {url}"));
    let mut client = Client::unix(&folder.path("s"));
    client.expect_alive();
    let (uid, pid) = (std::fs::metadata(folder.path("s")).unwrap().uid(), std::process::id());
    server.wait_for_line(&format!("#1 unix (uid {uid}, pid {pid}) connected to {url}"));
    drop(client);
    server.wait_for_line(&format!("#1 unix (uid {uid}, pid {pid}) disconnected: closed by peer"));
}

#[test]
fn ten_megabytes_come_back_over_unix() {
    let (_server, folder) = start("command", &["--max-frame", "20000000"]);
    let mut client = Client::unix(&folder.path("s"));
    let request = frame(1, &random_bytes(10 << 20));
    let mut writer = client.twin();
    let sent = request.clone();
    let thread = std::thread::spawn(move || writer.send(&sent));
    client.expect(&request);
    thread.join().unwrap();
    client.half_close();
    client.expect_eof();
}

#[test]
fn thousand_clients_cost_what_they_do_over_tcp() {
    const CLIENTS: usize = 1_000;
    let _guard = crowd(2 * CLIENTS);
    let folder = Folder::new();
    let url = format!("command+unix://{}", folder.path("s"));
    let growth = |server: &Server, connect: &dyn Fn() -> Client| {
        connect().expect_alive();
        let before = server.memory("RssAnon");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect()).collect();
        clients.iter_mut().for_each(Client::expect_alive);
        server.memory("RssAnon").saturating_sub(before)
    };
    let tcp = Server::command(&[]);
    let over_tcp = {
        let addr = std::net::SocketAddr::from(([127, 0, 0, 1], tcp.addr(0).port()));
        growth(&tcp, &|| Client::connect(addr))
    };
    let unix = Server::start(&["-l", &url]);
    let over_unix = growth(&unix, &|| Client::unix(&folder.path("s")));
    // Pages of the allocator differ from run to run.
    assert!(over_unix <= over_tcp + (64 << 10), "{over_unix} bytes, over TCP {over_tcp}");
}

#[test]
fn full_server_says_so_over_unix() {
    let (_server, folder) = start("command", &["--max-clients", "1"]);
    let mut client = Client::unix(&folder.path("s"));
    client.expect_alive();
    let mut refused = Client::unix(&folder.path("s"));
    refused.send(&frame(1, b"unread"));
    assert_eq!(refused.read_until_cut(), error("server is full: 1 clients"));
    client.expect_alive();
}

#[test]
fn stop_drains_over_unix() {
    let (mut server, folder) = start("command", &[]);
    let mut client = Client::unix(&folder.path("s"));
    client.expect_alive();
    server.freeze();
    let request = frame(1, &random_bytes(100_000));
    client.send(&request);
    // One that waits in the backlog has its answer too.
    let mut late = Client::unix(&folder.path("s"));
    late.send(&frame(1, b"late"));
    server.signal(Signal::SIGTERM);
    server.thaw();
    client.expect(&request);
    client.expect_eof();
    late.expect_frame(1, "late");
    late.expect_eof();
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn slow_reader_is_pushed_back_over_unix() {
    let (server, folder) = start("command", &["--send-queue", "65536"]);
    let mut client = Client::unix(&folder.path("s"));
    let requests = frame(1, &[7; 1000]).repeat(20_000);
    let sent = client.send_until_blocked(&requests);
    assert!(sent < 4 << 20, "{sent}");
    let mut writer = client.twin();
    let rest = requests[sent..].to_vec();
    let thread = std::thread::spawn(move || writer.send(&rest));
    client.expect(&requests);
    thread.join().unwrap();
    assert!(server.memory("VmHWM") < 64 << 20);
}

#[test]
fn silent_clients_and_vanishing_ones_stop_nobody() {
    let (server, folder) = start("command", &[]);
    let path = folder.path("s");
    let _silent: Vec<Client> = (0..100).map(|_| Client::unix(&path)).collect();
    for _ in 0..5_000 {
        drop(UnixStream::connect(&path).unwrap());
    }
    let mut client = Client::unix(&path);
    wait_until("the vanished are gone", || {
        let status = client.status();
        status.get("accepted_total") == 5_101 && status.get("connections") == 101
    });
    wait_until("their descriptors are closed", || server.open_files() < 150);
}

#[test]
fn descriptors_that_are_sent_along_are_dropped() {
    let (server, folder) = start("command", &[]);
    let mut client = Client::unix(&folder.path("s"));
    client.expect_alive();
    let files = server.open_files();
    let fds = [0, client.stream().as_raw_fd()];
    for _ in 0..100 {
        let bytes = frame(1, b"with files");
        let parts = [std::io::IoSlice::new(&bytes)];
        let rights = [ControlMessage::ScmRights(&fds)];
        let socket = client.stream().as_raw_fd();
        sendmsg::<()>(socket, &parts, &rights, MsgFlags::empty(), None).unwrap();
        client.expect_frame(1, "with files");
    }
    assert_eq!(server.open_files(), files);
}

#[test]
fn message_behind_descriptors_is_answered() {
    let (server, folder) = start("command", &[]);
    let mut client = Client::unix(&folder.path("s"));
    client.expect_alive();
    // Both are there when the server reads: a read ends behind the first.
    server.freeze();
    let bytes = frame(1, b"with files");
    let parts = [std::io::IoSlice::new(&bytes)];
    let rights = [ControlMessage::ScmRights(&[0])];
    let socket = client.stream().as_raw_fd();
    sendmsg::<()>(socket, &parts, &rights, MsgFlags::empty(), None).unwrap();
    client.send(&frame(1, b"without"));
    server.thaw();
    client.expect_frame(1, "with files");
    client.send(&frame(1, b"the next"));
    client.expect_frame(1, "without");
    client.expect_frame(1, "the next");
}
