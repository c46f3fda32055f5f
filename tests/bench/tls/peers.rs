//! Memory and handshakes of nginx and stunnel beside mynah, with the same clients.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use crate::certificate::Files;
use crate::crowd::{Crowd, Exchange};
use crate::process::Process;
use crate::{ECHO, STORM};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) fn run(files: &Files, program: &str) {
    println!(
        "| {STORM} idle connections, after one request | bytes each | handshake, user µs | system µs |"
    );
    println!("|---|---|---|---|");
    measure("mynah", Process::start(&mut files.mynah(program)), ECHO);
    if has("nginx", "-v") {
        // What it answers has no date or length that could change.
        let answer_len = nginx_answer_len(files);
        let exchange = Exchange { request: GET, answer_len };
        measure("nginx", nginx(files), exchange);
    }
    if has("stunnel", "-version") {
        let mut behind = Command::new(program);
        let behind = Process::start(behind.args(["-l", "command://127.0.0.1:0"]));
        measure("stunnel", stunnel(files, behind.addr), ECHO);
    }
}

fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        println!("| {program} is not installed | | | |");
    }
    found
}

fn measure(name: &str, server: Process, exchange: Exchange) {
    let mut crowd = Crowd::new(server.addr, exchange);
    crowd.forget_tickets();
    crowd.open(10, 10);
    server.settle();
    let (before, times) = (server.anonymous_bytes(), server.times());
    crowd.open(STORM, 64);
    server.settle();
    let each = (server.anonymous_bytes() as f64 - before as f64) / STORM as f64;
    let (user, system) = server.times().since(times);
    let micros = |secs: f64| secs / STORM as f64 * 1e6;
    println!("| {name} | {each:.0} | {:.0} | {:.0} |", micros(user), micros(system));
    crowd.close();
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn nginx(files: &Files) -> Process {
    let (addr, folder) = (free_addr(), files.folder().display());
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null;\n\
         worker_rlimit_nofile 20000; events {{ worker_connections 19000; }}\n\
         http {{ access_log off; keepalive_timeout 1h; keepalive_requests 1000000;\n\
         client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;\n\
         uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n\
         server {{ listen {addr} ssl backlog=16384; ssl_certificate {}; ssl_certificate_key {};\n\
         ssl_protocols TLSv1.3; location / {{ return 200 hello; }} }} }}\n",
        files.cert().display(),
        files.key().display(),
    );
    let path = files.folder().join("nginx.conf");
    fs::write(&path, config).unwrap();
    Process::start_at(addr, Command::new("nginx").arg("-c").arg(path))
}

/// Bytes of nginx's answer, which depend on its version.
fn nginx_answer_len(files: &Files) -> usize {
    use std::io::{Read, Write};

    let server = nginx(files);
    let mut stream = crate::echo::connect_tls(server.addr);
    stream.write_all(GET).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"hello") {
        let n = stream.read(&mut buffer).unwrap();
        answer.extend_from_slice(&buffer[..n]);
    }
    answer.len()
}

fn stunnel(files: &Files, behind: SocketAddr) -> Process {
    let addr = free_addr();
    let config = format!(
        "foreground = yes\npid =\ndebug = 0\n[bench]\naccept = {addr}\nconnect = {behind}\n\
         cert = {}\nkey = {}\nTIMEOUTidle = 3600\n",
        files.cert().display(),
        files.key().display(),
    );
    let path = files.folder().join("stunnel.conf");
    fs::write(&path, config).unwrap();
    Process::start_at(addr, Command::new("stunnel").arg(path))
}
