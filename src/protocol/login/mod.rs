//! Accounts as protocols see them: who may come in, who is logged in, and what an attempt to log in
//! costs whom. Hashes nothing and opens no file: that is the [`Backend`]'s, on a thread of its own.
//!
//! | module | job |
//! |---|---|
//! | `access` | which clients of a listener must, may or cannot log in |
//! | `attempt`, `credentials` | logging in or registering; name and password in a request |
//! | `authenticator` | attempts under way, and their outcomes |
//! | `backend`, `job` | what hashes, and what it is given and returns |
//! | `logged_in` | the names that connections are logged in under |
//! | `messages` | refusals and notices, as the protocols word them |
//! | `name`, `password` | what either may be |
//! | `throttle` | failed attempts by address |

mod access;
mod attempt;
mod authenticator;
mod backend;
mod credentials;
mod job;
mod logged_in;
mod messages;
mod name;
mod password;
mod throttle;

pub use access::{Access, Auth};
pub use attempt::Attempt;
pub use authenticator::{Authenticator, Finished};
pub(super) use authenticator::{Rejected, attempt};
pub use backend::Backend;
pub use credentials::{parse_credentials, parse_name_and_password};
pub use job::{Busy, Job, JobResult, Outcome};
pub use logged_in::LoginKey;
pub use messages::{Notice, Refusal};
pub use name::{NameError, parse_name};
pub use password::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, Password, PasswordError};
pub use throttle::Throttle;
