//! Speed of calls: measurements, not tests.
//! `cargo test --release --test core plugins::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use mynah::internal::protocol::plugin::Client;

use super::support::{Folder, id};

const ASKS: u32 = 1_000_000;
const RUNS: u32 = 5;

/// Prints the best rate of several runs, as other load on the machine only slows it down.
fn best(what: &str, files: &[(&str, &str)], package: &[u8], clients: u32) {
    let folder = Folder::new(files);
    let mut host = folder.host_with(|options| options.budget = Duration::from_secs(60));
    let mut out = Vec::new();
    let mut run = || {
        let start = Instant::now();
        for number in 0..ASKS {
            out.clear();
            host.ask(package, &Client::new(id(number % clients)), &mut out);
        }
        f64::from(ASKS) / start.elapsed().as_secs_f64()
    };
    let rate = (0..RUNS).map(|_| run()).fold(0.0, f64::max);
    println!("{what}: {rate:.0} packages a second");
}

const ECHO: &str = "return { process_client_pkg = function(data) return data end }";
const NIL: &str = "return { process_client_pkg = function() end }";

#[test]
#[ignore = "a measurement; the command is at the top of the file"]
fn measure_packages_per_second() {
    best("echo of 5 bytes", &[("echo.lua", ECHO)], b"hello", 1);
    best("echo of 64 bytes", &[("echo.lua", ECHO)], &[b'x'; 64], 1);
    best("echo of 4 KiB", &[("echo.lua", ECHO)], &[b'x'; 4096], 1);
    best("each from another client", &[("echo.lua", ECHO)], b"hello", u32::MAX);
    best(
        "three say nil first",
        &[("a.lua", NIL), ("b.lua", NIL), ("c.lua", NIL), ("d.lua", ECHO)],
        b"hello",
        1,
    );
    let find = "return { process_client_pkg = function(data)
        if data:find('^GET (%w+)$') then return data end end }";
    best("a pattern", &[("find.lua", find)], b"GET something", 1);
}

#[test]
#[ignore = "a measurement; the command is at the top of the file"]
fn measure_lua_loop() {
    let source = "return { process_client_pkg = function()
        local x = 0 for i = 1, 10000000 do x = x + i % 7 end return '' end }";
    let folder = Folder::new(&[("loop.lua", source)]);
    let mut host = folder.host_with(|options| options.budget = Duration::from_secs(60));
    let took = (0..RUNS).map(|_| {
        let start = Instant::now();
        host.ask(b"", &Client::new(id(1)), &mut Vec::new());
        start.elapsed()
    });
    println!("ten million rounds: {:?}", took.min());
}
