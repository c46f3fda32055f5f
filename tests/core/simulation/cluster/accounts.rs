//! The accounts of a node: a backend that knows one password, and answers with the next turn.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mynah::internal::address::AddressKey;
use mynah::internal::protocol::chat::nickname::Nickname;
use mynah::internal::protocol::login::{
    Auth, Authenticator, Backend, Busy, Job, JobResult, Outcome,
};
use mynah::internal::server::Server;

use super::node::CHAT;
use crate::simulation::network::FakeStream;

/// The accounts. Guests have nicknames that equal them, or look like them, where they are not known.
const NAMES: [&str; 3] = ["eva", "pax", "Ben"];

/// The accounts of a node.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Rc<RefCell<Vec<JobResult<AddressKey>>>>);

impl Accounts {
    /// Gives a server the accounts; its chat's clients may log in.
    pub fn install(&self, server: &mut Server<FakeStream>) {
        server.set_accounts(Authenticator::new(Box::new(self.clone()), false));
        server.set_auth(CHAT, Auth::Optional);
    }

    /// Whether there are outcomes to be taken.
    pub fn is_busy(&self) -> bool {
        !self.0.borrow().is_empty()
    }
}

impl Backend for Accounts {
    fn find(&self, name: &str) -> Option<Arc<str>> {
        let wanted = Nickname::parse(name).ok()?;
        let is_equal = |other: &&&str| {
            Nickname::parse(other).is_ok_and(|other| other.folded() == wanted.folded())
        };
        NAMES.iter().find(is_equal).map(|name| Arc::from(*name))
    }

    fn is_taken(&self, name: &Nickname<'_>) -> bool {
        NAMES.iter().any(|other| Nickname::parse(other).is_ok_and(|other| other.is_same(name)))
    }

    fn submit(&mut self, job: Job<AddressKey>) -> Result<(), Busy> {
        let outcome = self.find(&job.name).map_or(Outcome::LoginFailed, Outcome::LoggedIn);
        self.0.borrow_mut().push(JobResult { id: job.id, address: job.address, outcome });
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> bool {
        self.0.borrow_mut().retain(|result| result.id != id);
        true
    }

    fn take_results(&mut self) -> Vec<JobResult<AddressKey>> {
        self.0.take()
    }
}
