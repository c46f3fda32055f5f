//! The admin listener over Unix sockets and TLS, and behind a proxy.

#[cfg(any(feature = "unix", feature = "admission"))]
use super::Http;
#[cfg(any(feature = "unix", feature = "tls"))]
use crate::support::Folder;
#[cfg(any(feature = "unix", feature = "tls", feature = "admission"))]
use crate::support::Server;

#[cfg(feature = "unix")]
mod unix {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::support::Client;

    fn start(folder: &Folder, keys: &str, args: &[&str]) -> Server {
        let url = format!("admin+unix://{}{keys}", folder.path("s"));
        Server::start(&[&["-l", "command://127.0.0.1:0", "-l", &url], args].concat())
    }

    #[test]
    fn socket_is_for_its_owner_alone() {
        let folder = Folder::new();
        for (keys, mode) in [("", 0o600), ("?mode=0660", 0o660)] {
            let _server = start(&folder, keys, &[]);
            let found = fs::metadata(folder.path("s")).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{keys}: {found:o}");
        }
    }

    #[test]
    fn socket_needs_no_token_and_takes_any_host() {
        let folder = Folder::new();
        let token = folder.file("token", "secret");
        for args in [&[][..], &["--admin-token", &token]] {
            let server = start(&folder, "", args);
            let mut http = Http::new(Client::unix(&folder.path("s")), "");
            let mut client = server.connect();
            client.expect_alive();
            assert_eq!(http.get("/status").json()["connections"], 2);
            let list = http.get("/connections?listener=admin").json();
            let address = list["connections"][0]["address"].as_str().unwrap();
            assert!(address.starts_with("unix"), "{address}");
            http.ask("POST", "/drain").expect(200, "{\"draining\":true}\n");
            http.ask("POST", "/undrain").expect(200, "{\"draining\":false}\n");
            http.ask("DELETE", "/connections?listener=command").expect(200, "{\"kicked\":1}\n");
            client.expect_eof();
            http.client.send(b"GET /readyz HTTP/1.1\r\nHost: any.example\r\n\r\n");
            crate::admin::read_response(&mut http.client, false).expect(200, "ok\n");
        }
    }

    #[cfg(feature = "admission")]
    #[test]
    fn client_of_a_proxy_is_not_local() {
        let folder = Folder::new();
        let _server = start(&folder, "?proxy=unix", &[]);
        let connect = |header: &[u8]| {
            let mut client = Client::unix(&folder.path("s"));
            client.send(header);
            Http::new(client, "")
        };
        let mut far = connect(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n");
        far.get("/healthz").expect(200, "ok\n");
        let list = far.get("/connections?ip=192.0.2.7").json();
        assert_eq!(list["connections"][0]["address"], "192.0.2.7:51234");
        assert_eq!(far.ask("POST", "/drain").status, 403);
        assert_eq!(far.ask("DELETE", "/connections?listener=command").status, 403);
        far.client.send(b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let response = crate::admin::read_response(&mut far.client, false);
        assert_eq!(response.status, 403, "a page of another name");
        // The proxy itself, which checks its own health.
        let mut own = connect(b"PROXY UNKNOWN\r\n");
        own.ask("POST", "/undrain").expect(200, "{\"draining\":false}\n");
    }

    #[cfg(feature = "admission")]
    #[test]
    fn client_of_a_proxy_needs_the_token() {
        let folder = Folder::new();
        let token = folder.file("token", "secret");
        let _server = start(&folder, "?proxy=unix", &["--admin-token", &token]);
        for (fields, status) in [("", 401), ("Authorization: Bearer secret\r\n", 200)] {
            let mut client = Client::unix(&folder.path("s"));
            client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n");
            let mut http = Http::new(client, fields);
            assert_eq!(http.ask("POST", "/undrain").status, status);
            assert_eq!(http.get("/status").status, status);
        }
    }
}

#[cfg(feature = "admission")]
#[test]
fn header_of_a_proxy_names_the_client() {
    let server = Server::start(&["-l", "admin://127.0.0.1:0?proxy=127.0.0.1"]);
    let mut client = server.connect();
    client.send(b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\nGET /connec");
    client.send(b"tions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let list = crate::admin::read_response(&mut client, false).json();
    assert_eq!(list["connections"][0]["address"], "[2001:db8::7]:51234");
    let mut http = Http::new(client, "");
    assert_eq!(http.ask("POST", "/drain").status, 403);
}

#[cfg(feature = "tls")]
#[test]
fn admin_is_spoken_over_tls() {
    let identity = crate::support::tls::Identity::new();
    let folder = Folder::new();
    let token = folder.file("token", "secret");
    let args =
        [&["-l", "admin+tls://127.0.0.1:0", "--admin-token", &token][..], &identity.options()];
    let server = Server::start(&args.concat()).with_identity(identity);
    let mut http = super::Http::new(server.connect(), "Authorization: Bearer secret\r\n");
    let list = http.get("/connections").json();
    assert_eq!(list["connections"][0]["tls"], true);
    let requests = http.request("GET", "/metrics") + &http.request("GET", "/healthz");
    http.client.send(requests.as_bytes());
    let metrics = crate::admin::read_response(&mut http.client, false);
    let handshakes = "mynah_tls_handshakes_total{result=\"ok\"} 1\n";
    assert!(metrics.text().contains(handshakes), "{}", metrics.text());
    crate::admin::read_response(&mut http.client, false).expect(200, "ok\n");
    http.ask("POST", "/drain").expect(200, "{\"draining\":true}\n");
    http.fields.clear();
    assert_eq!(http.get("/status").status, 401);
    http.fields = "Connection: close\r\n".to_owned();
    http.get("/healthz").expect(200, "ok\n");
    http.client.expect_eof();
}

#[cfg(feature = "tls")]
#[test]
fn full_server_has_places_for_admin_over_tls() {
    let identity = crate::support::tls::Identity::new();
    let args = [
        &["-l", "command://127.0.0.1:0", "-l", "admin+tls://127.0.0.1:0", "-m", "1"][..],
        &identity.options(),
    ];
    let server = Server::start(&args.concat()).with_identity(identity);
    let mut client = server.connect();
    client.expect_alive();
    let mut http = super::Http::new(server.connect_to(1), "");
    http.get("/readyz").expect(503, "not accepting: the server is full: 1 clients\n");
}
