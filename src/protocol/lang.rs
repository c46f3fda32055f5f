//! The languages of the server's lines.

/// The language of a listener, `lang=` in its URL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Russian: two of the lines are those the ancestor's clients look for.
    Ru,
}
