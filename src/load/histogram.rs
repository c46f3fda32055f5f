//! Histograms of latencies, and their text in a record: base64 of HdrHistogram's V2 format, deflated, as its tools read it.

use std::fmt;
use std::io::Cursor;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::rate::NS_PER_SEC;

/// Longest latency recorded, an hour. A longer one counts as this.
pub(super) const LATENCY_NS_MAX: u64 = 3_600 * NS_PER_SEC;

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// Bytes before the deflated part: a cookie, and its length.
const DEFLATED_AT: usize = 8;

/// Bytes before the counts: a cookie, their length, an offset, the digits, both bounds, a ratio.
const COUNTS_AT: usize = 40;

/// Most bytes of an inflated histogram. One of ours has 33,792 counters, of at most 9 bytes.
const INFLATED_MAX: usize = 512 * 1024;

/// Most values of a histogram: quantiles are computed in `f64`, which counts exactly to here, and the
/// library returns 0 where a quantile is rounded to more than there are.
const VALUES_MAX: u64 = 1 << 53;

/// A histogram of nanoseconds. `null` is an empty one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EncodedHistogram(pub(super) Histogram<u64>);

/// A text that is not a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistogramError {
    /// Not base64 of a deflated histogram.
    Damaged,
    /// Its bounds or digits are not those of the load tester.
    Foreign,
}

impl fmt::Display for HistogramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HistogramError::Damaged => "a histogram is damaged",
            HistogramError::Foreign => "a histogram has other bounds than those of mynah-load",
        })
    }
}

/// An empty histogram of nanoseconds.
pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
        .expect("1 to an hour in three figures is a histogram")
}

/// The text of a histogram; `None` of an empty one.
pub(super) fn encode(histogram: &Histogram<u64>) -> Option<String> {
    if histogram.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    // Writing to memory does not fail, and counts are below 2^63.
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(BASE64_STANDARD.encode(bytes))
}

/// The histogram of a text.
///
/// # Errors
///
/// See [`HistogramError`].
pub(super) fn decode(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| HistogramError::Damaged)?;
    let deflated = bytes.get(DEFLATED_AT..).ok_or(HistogramError::Damaged)?;
    let inflated = decompress_to_vec_zlib_with_limit(deflated, INFLATED_MAX)
        .map_err(|_| HistogramError::Damaged)?;
    // The reader reserves what the header announces.
    if !has_our_header(&inflated)? {
        return Err(HistogramError::Foreign);
    }
    let read = Deserializer::new().deserialize(&mut Cursor::new(inflated));
    let read = read.map_err(|_| HistogramError::Damaged)?;
    if read.len() > VALUES_MAX { Err(HistogramError::Damaged) } else { Ok(read) }
}

/// Adds a histogram, if there are not too many values to compute with.
///
/// # Errors
///
/// See [`HistogramError`]; then nothing is added.
pub(super) fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) -> Result<(), HistogramError> {
    if sum.len().saturating_add(other.len()) > VALUES_MAX {
        return Err(HistogramError::Damaged);
    }
    // All have the same bounds.
    sum.add(other).map_err(|_| HistogramError::Foreign)
}

/// The least value that `count` of the values do not exceed; `None` if there are fewer, or of none.
pub(super) fn nth_value(histogram: &Histogram<u64>, count: u64) -> Option<u64> {
    if count == 0 || count > histogram.len() {
        return None;
    }
    // In the middle of its step, so that rounding takes it to no other.
    let quantile = (count as f64 - 0.5) / histogram.len() as f64;
    Some(histogram.value_at_quantile(quantile).min(histogram.max()))
}

/// How many of `count` are `percent` of them, rounded up.
pub(super) fn share_of(count: u64, percent: u8) -> u64 {
    let share = (u128::from(count) * u128::from(percent)).div_ceil(100);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Whether an inflated histogram has the bounds and digits of [`new_histogram`].
fn has_our_header(inflated: &[u8]) -> Result<bool, HistogramError> {
    let (header, counts) = inflated.split_at_checked(COUNTS_AT).ok_or(HistogramError::Damaged)?;
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let bound = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap_or_default());
    if number(4) as usize != counts.len() {
        return Err(HistogramError::Damaged);
    }
    let ours = new_histogram();
    let digits = u32::from(ours.sigfig());
    Ok((number(12), bound(16), bound(24)) == (digits, ours.low(), ours.high()))
}

impl Default for EncodedHistogram {
    fn default() -> Self {
        EncodedHistogram(new_histogram())
    }
}

impl Serialize for EncodedHistogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encode(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncodedHistogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(EncodedHistogram::default());
        };
        decode(&text).map(EncodedHistogram).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EncodedHistogram {
        let mut histogram = EncodedHistogram::default();
        for us in 1..=5_000 {
            histogram.0.record(us * 777).unwrap();
        }
        histogram
    }

    #[test]
    fn histogram_is_read_as_it_was_written() {
        assert_eq!(serde_json::to_string(&EncodedHistogram::default()).unwrap(), "null");
        let histogram = sample();
        let text = serde_json::to_string(&histogram).unwrap();
        assert!(text.len() < 8_000, "{}", text.len());
        let read: EncodedHistogram = serde_json::from_str(&text).unwrap();
        assert_eq!(read.0.len(), 5_000);
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let at = |h: &EncodedHistogram| h.0.value_at_quantile(quantile);
            assert_eq!(at(&read), at(&histogram), "{quantile}");
        }
        assert_eq!(serde_json::from_str::<EncodedHistogram>("null").unwrap().0.len(), 0);
    }

    #[test]
    fn damaged_histogram_is_an_error() {
        let text = encode(&sample().0).unwrap();
        let cut = &text[..text.len() / 2 / 4 * 4];
        for bad in ["", "?", "AAAA", "HISTFAAAACl4", cut] {
            assert_eq!(decode(bad), Err(HistogramError::Damaged), "{bad}");
        }
        // Of a gigabyte, if it were believed.
        let mut bytes = vec![0; COUNTS_AT];
        bytes[..8].copy_from_slice(&[0x1c, 0x84, 0x93, 0x13, 0x40, 0, 0, 0]);
        assert_eq!(has_our_header(&bytes), Err(HistogramError::Damaged));
    }

    #[test]
    fn histogram_of_impossible_counts_is_an_error() {
        let mut histogram = new_histogram();
        histogram.record_n(7, VALUES_MAX).unwrap();
        assert!(decode(&encode(&histogram).unwrap()).is_ok());
        histogram.record_n(9, 1).unwrap();
        assert_eq!(decode(&encode(&histogram).unwrap()), Err(HistogramError::Damaged));
    }

    #[test]
    fn sum_of_impossible_counts_is_an_error() {
        let (mut sum, mut half, mut one) = (new_histogram(), new_histogram(), new_histogram());
        half.record_n(7, VALUES_MAX / 2).unwrap();
        one.record(9).unwrap();
        assert_eq!((add(&mut sum, &half), add(&mut sum, &half)), (Ok(()), Ok(())));
        assert_eq!(add(&mut sum, &one), Err(HistogramError::Damaged));
        assert_eq!(sum.len(), VALUES_MAX);
    }

    #[test]
    fn foreign_histogram_is_an_error() {
        let mut foreign = Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 5).unwrap();
        foreign.record(7).unwrap();
        let text = encode(&foreign).unwrap();
        assert_eq!(decode(&text), Err(HistogramError::Foreign));
    }
}
