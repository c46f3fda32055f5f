//! The two things that a client can attempt.

/// The use a client makes of a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Log in to an account.
    Login,
    /// Add an account.
    Register,
}
