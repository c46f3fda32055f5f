//! Stand-in for `account` in a build without accounts: nobody has one. The rules of names and
//! passwords, and the memory that is zeroed, are those of the feature.

use std::fmt;

const DISABLED: &str = "this build has no accounts (cargo feature `accounts`)";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Account {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Login,
    Register,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Password {}

pub(super) fn check_name(_: &str) -> Result<(), String> {
    Err(DISABLED.to_owned())
}

pub(super) fn is_busy(_: &str) -> bool {
    false
}

impl Account {
    pub(super) fn new(_: Attempt, _: &str, _: &[u8]) -> Result<Self, String> {
        Err(DISABLED.to_owned())
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        match *self {}
    }

    pub(super) fn chat_login(&self) -> Result<Vec<u8>, String> {
        match *self {}
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) attempt: Attempt,
}

impl Unfinished {
    pub(super) fn parse(_: &str) -> Option<Self> {
        None
    }

    pub(super) fn name(&self) -> Option<&str> {
        None
    }

    pub(super) fn finish(&self, password: &Password) -> Result<Vec<u8>, String> {
        match *password {}
    }
}

pub(super) struct AsUser<'a>(pub(super) Option<&'a Account>);

impl fmt::Display for AsUser<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |account| match *account {})
    }
}
