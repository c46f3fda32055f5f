//! Echoes of a megabyte, beside a loop around rustls that does nothing but echo.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::certificate::Files;
use crate::echo::connect_tls;
use crate::process::Process;

const PAYLOAD: usize = 1 << 20;
const ECHOES: usize = 400;
const HEADER: usize = 5;

pub(crate) fn run(files: &Files, program: &str) {
    println!(
        "| echoes of 1 MiB, one connection | MB/s | MB per second of the server's processor |"
    );
    println!("|---|---|---|");
    for _ in 0..5 {
        let mut loop_command = Command::new(env::current_exe().unwrap());
        loop_command.arg("--serve-bulk").arg(files.cert()).arg(files.key());
        measure("a loop around rustls", &mut loop_command);
        measure("mynah", &mut files.mynah(program));
    }
}

fn measure(name: &str, command: &mut Command) {
    let server = Process::start(command);
    echo(server.addr, 20);
    let (before, started_at) = (server.times(), Instant::now());
    echo(server.addr, ECHOES);
    let took = started_at.elapsed().as_secs_f64();
    let (user, system) = server.times().since(before);
    let megabytes = (ECHOES * PAYLOAD) as f64 / 1e6;
    println!("| {name} | {:.0} | {:.0} |", megabytes / took, megabytes / (user + system));
}

fn echo(addr: SocketAddr, echoes: usize) {
    let mut stream = connect_tls(addr);
    let mut frame = vec![0x5a; HEADER + PAYLOAD];
    frame[0] = 1;
    frame[1..HEADER].copy_from_slice(&(PAYLOAD as u32).to_be_bytes());
    let mut answer = vec![0; frame.len()];
    for _ in 0..echoes {
        stream.write_all(&frame).unwrap();
        stream.read_exact(&mut answer).unwrap();
    }
    assert_eq!(answer, frame);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// The loop: reads a whole frame, and writes it back.
pub(crate) fn serve() {
    let mut files = env::args().skip(2);
    let chain = CertificateDer::pem_file_iter(files.next().unwrap()).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(files.next().unwrap()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    eprintln!("listening on bulk://{}", listener.local_addr().unwrap());
    let mut frame = vec![0; HEADER + PAYLOAD];
    for stream in listener.incoming() {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut stream);
        while tls.read_exact(&mut frame).is_ok() {
            tls.write_all(&frame).unwrap();
        }
    }
}
