//! What protocols know of other nodes.
