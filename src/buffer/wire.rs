//! Bytes of one visit on their way to a socket, in the form in which they leave.

use std::ops::Deref;

/// A buffer that is filled by writing into its [`space`](Self::space), and used again and again:
/// what was allocated once stays initialised, so that space costs no zeroing.
#[derive(Debug, Default)]
pub struct WireBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl WireBuffer {
    /// Space behind what the buffer holds, for at least `n` bytes.
    pub fn space(&mut self, n: usize) -> &mut [u8] {
        let needed = self.len + n;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        &mut self.bytes[self.len..]
    }

    /// The first `n` bytes of the space have been filled.
    ///
    /// # Panics
    ///
    /// If there is not so much space.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.len, "more was filled than there is");
        self.len += n;
    }

    /// Forgets what the buffer holds.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Gives memory beyond `bytes` back.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.bytes.len() > bytes.max(self.len) {
            self.bytes.truncate(bytes.max(self.len));
            self.bytes.shrink_to_fit();
        }
    }
}

impl Deref for WireBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_holds_what_its_space_was_filled_with() {
        let mut buffer = WireBuffer::default();
        for text in [&b"one"[..], b"", b"three"] {
            buffer.space(text.len())[..text.len()].copy_from_slice(text);
            buffer.advance(text.len());
        }
        assert_eq!(&buffer[..], b"onethree");
        buffer.clear();
        assert!(buffer.is_empty());
    }

    #[test]
    fn buffer_keeps_what_it_holds_when_it_shrinks() {
        let mut buffer = WireBuffer::default();
        buffer.space(1000)[..3].copy_from_slice(b"abc");
        buffer.advance(3);
        buffer.shrink_to(1);
        assert_eq!((&buffer[..], buffer.bytes.len()), (&b"abc"[..], 3));
    }
}
