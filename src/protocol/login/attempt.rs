//! The two things that a client can attempt.

/// What a client does with a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Log in to an account.
    Login,
    /// Add an account.
    Register,
}
