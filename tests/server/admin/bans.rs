//! Bans: an address is refused for so long.

#![cfg(feature = "admission")]

use std::time::{Duration, Instant};

use super::Site;
use crate::support::{Client, wait_until};

const BANNED: [u8; 4] = [127, 0, 0, 9];

fn refused(site: &Site) -> u64 {
    let metrics = site.get("/metrics");
    let name = "mynah_refused_total{listener=\"command\",reason=\"banned\"} ";
    let (_, after) = metrics.text().split_once(name).unwrap();
    after.lines().next().unwrap().parse().unwrap()
}

#[test]
fn banned_address_is_refused_until_its_time_is_over() {
    let site = Site::command(&[]);
    let mut client = Client::connect_from(BANNED, site.server.addr(1));
    client.expect_alive();
    let mut other = site.server.connect_to(1);
    let began_at = Instant::now();
    site.ask("DELETE", "/connections?ip=127.0.0.9&ban=2").expect(200, "{\"kicked\":1}\n");
    client.expect_eof();
    site.server.wait_for_line("127.0.0.9 is refused for 2 s");
    for count in 1..=3 {
        let mut refused_client = Client::connect_from(BANNED, site.server.addr(1));
        let told = refused_client.read_until_cut();
        assert!(!told.starts_with(b"\x01"), "{}", told.escape_ascii());
        wait_until("it is counted", || refused(&site) == count);
    }
    assert!(began_at.elapsed() < Duration::from_secs(2), "the machine is too slow for this test");
    other.expect_alive();
    site.server.connect_to(1).expect_alive();
    wait_until("the ban is over", || {
        let mut client = Client::connect_from(BANNED, site.server.addr(1));
        client.try_send(b"\x01\0\0\0\0");
        std::io::Read::read(&mut client, &mut [0; 5]).is_ok_and(|len| len == 5)
    });
    assert!(began_at.elapsed() >= Duration::from_millis(1_900), "{:?}", began_at.elapsed());
}

#[test]
fn ban_of_nobody_there_counts_all_the_same() {
    let site = Site::command(&[]);
    site.ask("DELETE", "/connections?ip=127.0.0.9&ban=60").expect(200, "{\"kicked\":0}\n");
    Client::connect_from(BANNED, site.server.addr(1)).read_until_cut();
    wait_until("it is counted", || refused(&site) == 1);
}

#[test]
fn refused_kick_bans_nobody() {
    let site = Site::command(&[]);
    let target = "/connections?ip=127.0.0.9&listener=nobody&ban=60";
    site.ask("DELETE", target).expect(400, "no listener 'nobody'\n");
    Client::connect_from(BANNED, site.server.addr(1)).expect_alive();
}
