//! Servers other than mynah from the system's packages: nginx and memcached. Redis is in
//! `support/redis.rs`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, PATIENCE, wait_until};

/// A running server, killed when it goes out of scope.
pub(crate) struct ForeignServer {
    child: Child,
    port: u16,
    folder: Folder,
}

impl ForeignServer {
    /// memcached; `None` where it is not installed: the test skips.
    pub(crate) fn memcached() -> Option<ForeignServer> {
        ForeignServer::start("memcached", |port, _| {
            // Root must say whom it runs as.
            format!("-l 127.0.0.1 -p {port} -U 0 -t 1 -u nobody")
        })
    }

    /// nginx, which answers GET / with `ok`, over TLS if `certificate` has its file and that of its
    /// key; it logs each request. `None` where it is not installed.
    pub(crate) fn nginx(certificate: Option<(&str, &str)>) -> Option<ForeignServer> {
        ForeignServer::start("nginx", |port, folder| {
            let (tls, files) = match certificate {
                Some((cert, key)) => {
                    (" ssl", format!("ssl_certificate {cert}; ssl_certificate_key {key};"))
                }
                None => ("", String::new()),
            };
            let path = folder.path("");
            let config = format!(
                "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;
                 events {{ worker_connections 1000; }}
                 http {{
                     access_log {path}/access.log;
                     client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};
                     uwsgi_temp_path {path}; scgi_temp_path {path};
                     server {{
                         listen 127.0.0.1:{port}{tls}; {files}
                         keepalive_requests 1000000;
                         location / {{ return 200 'ok'; }}
                         location /last {{ keepalive_timeout 0; return 200 'ok'; }}
                     }}
                 }}"
            );
            format!("-p {path} -c {} -e {path}/error.log", folder.file("nginx.conf", &config))
        })
    }

    fn start(program: &str, args: impl Fn(u16, &Folder) -> String) -> Option<ForeignServer> {
        // The port may be taken before the program has it.
        for _ in 0..10 {
            let folder = Folder::new();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(program);
            command.args(args(port, &folder).split(' '));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Past the test's captured output.
                    let _ = writeln!(io::stderr(), "skipped: {program} is not installed");
                    return None;
                }
                Err(error) => panic!("{program}: {error}"),
            };
            let mut server = ForeignServer { child, port, folder };
            let mut has_ended = false;
            wait_until("the server listens", || {
                has_ended = server.child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !has_ended {
                return Some(server);
            }
        }
        panic!("{program} found no free port");
    }

    pub(crate) fn url(&self, protocol: &str) -> String {
        format!("{protocol}://127.0.0.1:{}", self.port)
    }

    /// Sends `request` on a connection of its own. Returns what comes until the answer ends with `end`.
    #[track_caller]
    pub(crate) fn ask(&self, request: &str, end: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        String::from_utf8(answer).unwrap()
    }

    /// Lines of nginx' access log: one for each request.
    pub(crate) fn logged_requests(&self) -> usize {
        std::fs::read_to_string(self.folder.path("access.log")).unwrap().lines().count()
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
