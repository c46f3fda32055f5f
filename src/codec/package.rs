//! The `plugin` protocol's packages: all bytes that come until nothing more does.

use super::{Decoder, Never};

/// One package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package<'a> {
    /// All that came.
    Whole(&'a [u8]),
    /// More came than a package may have; it is discarded, and so is the rest of it.
    TooLarge,
}

/// Takes all input for one package, which ends where the caller says that no more comes
/// ([`decode_eof`](Decoder::decode_eof)): the socket is empty, or the client has been quiet long
/// enough. [`decode`](Decoder::decode) finds nothing but packages that are too large.
///
/// ```
/// use mynah::internal::codec::{Decoder, package::{Package, PackageDecoder}};
///
/// let mut decoder = PackageDecoder::new(5, false);
/// assert_eq!(decoder.decode(b"hello"), Ok(None));
/// assert_eq!(decoder.decode_eof(b"hello"), Some(Package::Whole(b"hello")));
/// assert_eq!(decoder.decode(b"hello!"), Ok(Some((Package::TooLarge, 6))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageDecoder {
    len_max: usize,
    /// The rest of a package that was too large is discarded as it comes.
    pub discarding: bool,
}

impl PackageDecoder {
    /// A decoder for packages of at most `len_max` bytes, in the middle of one that is longer or
    /// not.
    #[must_use]
    pub const fn new(len_max: usize, discarding: bool) -> Self {
        PackageDecoder { len_max, discarding }
    }
}

impl Decoder for PackageDecoder {
    type Frame<'a> = Package<'a>;
    type Error = Never;

    fn discard(&mut self, input: &[u8]) -> usize {
        if self.discarding { input.len() } else { 0 }
    }

    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Package<'a>, usize)>, Never> {
        self.discarding |= input.len() > self.len_max;
        let too_large = self.discarding && !input.is_empty();
        Ok(too_large.then_some((Package::TooLarge, input.len())))
    }

    fn bytes_needed(&self, input: &[u8]) -> usize {
        self.len_max.saturating_add(1).saturating_sub(input.len())
    }

    fn decode_eof<'a>(&mut self, input: &'a [u8]) -> Option<Package<'a>> {
        let skipped = core::mem::take(&mut self.discarding);
        (!skipped && !input.is_empty()).then_some(Package::Whole(input))
    }

    fn is_discarding(&self) -> bool {
        self.discarding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_all_that_came() {
        let mut decoder = PackageDecoder::new(5, false);
        assert_eq!(decoder.decode(b"abc"), Ok(None));
        assert_eq!(decoder.bytes_needed(b"abc"), 3, "one more than there may be");
        assert_eq!(decoder.decode_eof(b"abcde"), Some(Package::Whole(b"abcde")));
        assert_eq!(decoder.decode_eof(b""), None, "nothing is no package");
    }

    #[test]
    fn large_package_is_one_error_then_discarded() {
        let mut decoder = PackageDecoder::new(5, false);
        assert_eq!(decoder.decode(b"abcdef"), Ok(Some((Package::TooLarge, 6))));
        assert!(decoder.is_discarding());
        assert_eq!(decoder.discard(b"more"), 4);
        assert_eq!(decoder.decode(b""), Ok(None));
        assert_eq!(decoder.decode_eof(b""), None);
        assert!(!decoder.is_discarding());
        assert_eq!(decoder.decode(b"next"), Ok(None));
    }
}
