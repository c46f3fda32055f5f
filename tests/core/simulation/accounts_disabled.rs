//! Stand-in for `accounts` in a build without accounts.

use std::net::IpAddr;

use mynah::internal::clock::Millis;
use mynah::internal::server::{Server, Transport};

use super::network::Network;
use crate::support::rng::Rng;

pub enum Accounts {}

pub enum Script {}

pub enum Request {}

impl Accounts {
    pub fn new(_: u64) -> Option<Self> {
        None
    }

    pub fn install<T: Transport>(&self, _: &mut Server<T>) {
        match *self {}
    }

    pub fn script(&self, _: usize) -> Script {
        match *self {}
    }

    pub fn work(&self, _: Millis) -> bool {
        match *self {}
    }

    pub fn is_busy(&self) -> bool {
        match *self {}
    }

    pub fn check_turn(&self, _: &Network) {
        match *self {}
    }
}

impl Script {
    pub fn speak(&self, _: usize, _: &mut Rng) -> (u8, Vec<u8>, Request) {
        match *self {}
    }

    pub fn is_outside(&self) -> bool {
        match *self {}
    }

    pub fn nonsense(&self, _: u8) -> Request {
        match *self {}
    }

    pub fn hear(&mut self, _: &Request, _: Option<IpAddr>, _: u8, _: &str) -> Result<(), String> {
        match *self {}
    }
}
