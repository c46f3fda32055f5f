//! Stand-in for `accounts` in a build without accounts: there are none in any world.

use std::net::{IpAddr, SocketAddr};

use mynah::internal::clock::Millis;
use mynah::internal::server::{Server, Transport};

use super::network::Network;
use crate::support::rng::Rng;

pub struct Accounts;

pub struct Script;

pub struct Request;

impl Accounts {
    pub fn new(_: u64) -> Option<Self> {
        None
    }

    pub fn install<T: Transport>(&self, _: &mut Server<T>) {}

    pub fn script(&self, _: usize) -> Script {
        Script
    }

    pub fn work(&self, _: Millis) -> bool {
        false
    }

    pub fn hurry(&self) {}

    pub fn address(number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 1, 1], number as u16))
    }

    pub fn is_busy(&self) -> bool {
        false
    }

    pub fn check_turn(&self, _: &Network) {}
}

impl Script {
    pub fn speak(&self, _: usize, _: &mut Rng) -> (u8, Vec<u8>, Request) {
        (0, Vec::new(), Request)
    }

    pub fn is_outside(&self) -> bool {
        false
    }

    pub fn nonsense(&self, _: u8) -> Request {
        Request
    }

    pub fn hear(&mut self, _: &Request, _: Option<IpAddr>, _: u8, _: &str) -> Result<(), String> {
        Ok(())
    }
}
