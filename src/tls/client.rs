//! The clients' side: whom `mynah-cli` and `mynah-load` trust, and what they show.
