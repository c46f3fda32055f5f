//! An interruptible matcher of Lua's patterns (manual, 6.4.1). Knows bytes, no Lua state.
//!
//! Lua's own matcher may backtrack for ever, inside C, where no hook can stop it. This one follows
//! it rule by rule (`lstrlib.c` of Lua 5.4, with its names where no better one exists, and its
//! error texts), and checks the time every so many steps.

use std::fmt;

use super::limits::STEPS_PER_CHECK;

/// Most captures of one pattern (`LUA_MAXCAPTURES`).
pub(super) const CAPTURES_MAX: usize = 32;

/// Most levels of recursion of a match (`MAXCCALLS`).
const DEPTH_MAX: u32 = 200;

/// Bytes compared, searched or copied that count as one step.
const BYTES_PER_STEP: usize = 16;

/// An invalid pattern or replacement, or a match that exceeds a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternError {
    /// The pattern ends with `%`.
    EndsWithEscape,
    /// A set is not closed.
    MissingBracket,
    /// `%b` lacks its two characters.
    MissingBalance,
    /// `%f` is not followed by a set.
    MissingFrontierSet,
    /// `)` closes no capture.
    InvalidCapture,
    /// `%3` in a pattern or replacement, without a third capture.
    InvalidIndex(i32),
    /// The pattern has more than [`CAPTURES_MAX`] captures.
    TooManyCaptures,
    /// A capture is not closed.
    UnfinishedCapture,
    /// The match recurses more than [`DEPTH_MAX`] levels.
    TooComplex,
    /// `%` in a replacement is followed by neither a digit nor `%`.
    InvalidReplacement,
    /// The result does not fit into the plugin's memory.
    OutOfMemory,
    /// The call's time is up.
    OutOfTime,
}

/// Lua's messages.
impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternError::EndsWithEscape => "malformed pattern (ends with '%')",
            PatternError::MissingBracket => "malformed pattern (missing ']')",
            PatternError::MissingBalance => "malformed pattern (missing arguments to '%b')",
            PatternError::MissingFrontierSet => "missing '[' after '%f' in pattern",
            PatternError::InvalidCapture => "invalid pattern capture",
            PatternError::InvalidIndex(index) => {
                return write!(f, "invalid capture index %{index}");
            }
            PatternError::TooManyCaptures => "too many captures",
            PatternError::UnfinishedCapture => "unfinished capture",
            PatternError::TooComplex => "pattern too complex",
            PatternError::InvalidReplacement => "invalid use of '%' in replacement string",
            PatternError::OutOfMemory => super::call_error::OUT_OF_MEMORY,
            PatternError::OutOfTime => super::call_error::OUT_OF_TIME,
        })
    }
}

type Result<T> = std::result::Result<T, PatternError>;

/// Counts steps, and checks the time every [`STEPS_PER_CHECK`] of them.
pub(super) struct Steps<'a> {
    left: usize,
    /// Whether the call has time left.
    has_time: &'a dyn Fn() -> bool,
}

impl<'a> Steps<'a> {
    pub(super) fn new(has_time: &'a dyn Fn() -> bool) -> Self {
        Steps { left: STEPS_PER_CHECK, has_time }
    }

    #[inline]
    fn spend(&mut self, steps: usize) -> Result<()> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.check_time(),
        }
    }

    #[cold]
    fn check_time(&mut self) -> Result<()> {
        self.left = STEPS_PER_CHECK;
        if (self.has_time)() { Ok(()) } else { Err(PatternError::OutOfTime) }
    }
}

/// The value of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Captured<'s> {
    /// A piece of the subject.
    Bytes(&'s [u8]),
    /// `()`: its position, counted from 1.
    Position(usize),
}

/// The extent of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Its `)` has not been reached.
    Open,
    /// It is `()`.
    Position,
    /// Length in bytes.
    Closed(usize),
}

/// A pattern being matched against a subject.
pub(super) struct Matcher<'s, 'p, 't> {
    subject: &'s [u8],
    /// The pattern without the `^` of an anchored one.
    pattern: &'p [u8],
    steps: Steps<'t>,
    /// Levels of recursion left.
    depth: u32,
    /// Captures that were opened.
    level: usize,
    captures: [(usize, Extent); CAPTURES_MAX],
}

/// Whether a pattern has special characters; if not, it is a plain string.
pub(super) fn has_specials(pattern: &[u8]) -> bool {
    pattern.iter().any(|c| b"^$*+?.([%-".contains(c))
}

impl<'s, 'p, 't> Matcher<'s, 'p, 't> {
    pub(super) fn new(subject: &'s [u8], pattern: &'p [u8], steps: Steps<'t>) -> Self {
        let captures = [(0, Extent::Open); CAPTURES_MAX];
        Matcher { subject, pattern, steps, depth: DEPTH_MAX, level: 0, captures }
    }

    /// Matches at `start`. Returns where the match ends.
    pub(super) fn match_at(&mut self, start: usize) -> Result<Option<usize>> {
        (self.depth, self.level) = (DEPTH_MAX, 0);
        self.matches(start, 0)
    }

    /// Finds the first match that starts at `from` or later, or exactly there if `anchored`. A
    /// match that ends at `not_end` is skipped, so that the last match is not found again as an
    /// empty one.
    pub(super) fn search(
        &mut self,
        from: usize,
        anchored: bool,
        not_end: Option<usize>,
    ) -> Result<Option<(usize, usize)>> {
        let last = if anchored { from } else { self.subject.len() };
        for start in from..=last {
            if let Some(end) = self.match_at(start)?
                && Some(end) != not_end
            {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// The number of captures of the last match.
    pub(super) fn captures(&self) -> usize {
        self.level
    }

    /// The capture with this index, from 0, of a match found at `start..end`. The first capture of
    /// a match without captures is the match.
    pub(super) fn capture(&self, index: usize, start: usize, end: usize) -> Result<Captured<'s>> {
        if index >= self.level {
            return match index {
                0 => Ok(Captured::Bytes(&self.subject[start..end])),
                _ => Err(PatternError::InvalidIndex(index as i32 + 1)),
            };
        }
        match self.captures[index] {
            (_, Extent::Open) => Err(PatternError::UnfinishedCapture),
            (at, Extent::Position) => Ok(Captured::Position(at + 1)),
            (at, Extent::Closed(len)) => Ok(Captured::Bytes(&self.subject[at..at + len])),
        }
    }

    /// The pattern's byte at `at`, 0 past its end as in C.
    fn pattern_at(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn subject_at(&self, at: usize) -> u8 {
        self.subject.get(at).copied().unwrap_or(0)
    }

    /// Matches the pattern from `p` on against the subject from `s` on.
    fn matches(&mut self, s: usize, p: usize) -> Result<Option<usize>> {
        self.depth = self.depth.checked_sub(1).ok_or(PatternError::TooComplex)?;
        let end = self.match_items(s, p)?;
        self.depth += 1;
        Ok(end)
    }

    /// Matches item after item; an item with alternatives recurses.
    fn match_items(&mut self, mut s: usize, mut p: usize) -> Result<Option<usize>> {
        loop {
            self.steps.spend(1)?;
            if p >= self.pattern.len() {
                return Ok(Some(s));
            }
            let next = match (self.pattern[p], self.pattern_at(p + 1)) {
                (b'(', b')') => return self.start_capture(s, p + 2, Extent::Position),
                (b'(', _) => return self.start_capture(s, p + 1, Extent::Open),
                (b')', _) => return self.end_capture(s, p + 1),
                (b'$', _) if p + 1 == self.pattern.len() => {
                    return Ok((s == self.subject.len()).then_some(s));
                }
                (b'%', b'b') => self.balance(s, p + 2)?.map(|s| (s, p + 4)),
                (b'%', b'f') => self.frontier(s, p + 2)?.map(|p| (s, p)),
                (b'%', digit @ b'0'..=b'9') => self.back_reference(s, digit)?.map(|s| (s, p + 2)),
                _ => match self.single(s, p)? {
                    Item::Next(s, p) => Some((s, p)),
                    Item::Decided(end) => return Ok(end),
                },
            };
            match next {
                Some(next) => (s, p) = next,
                None => return Ok(None),
            }
        }
    }

    /// Matches a character or class with its suffix, if it has one.
    fn single(&mut self, s: usize, p: usize) -> Result<Item> {
        let ep = self.class_end(p)?;
        let suffix = self.pattern_at(ep);
        if !self.single_match(s, p, ep)? {
            return Ok(match suffix {
                b'*' | b'?' | b'-' => Item::Next(s, ep + 1),
                _ => Item::Decided(None),
            });
        }
        match suffix {
            b'?' => Ok(match self.matches(s + 1, ep + 1)? {
                Some(end) => Item::Decided(Some(end)),
                None => Item::Next(s, ep + 1),
            }),
            b'+' => self.max_expand(s + 1, p, ep).map(Item::Decided),
            b'*' => self.max_expand(s, p, ep).map(Item::Decided),
            b'-' => self.min_expand(s, p, ep).map(Item::Decided),
            _ => Ok(Item::Next(s + 1, ep)),
        }
    }

    /// The end of the class that begins at `p`.
    fn class_end(&mut self, p: usize) -> Result<usize> {
        match self.pattern[p] {
            b'%' if p + 1 >= self.pattern.len() => Err(PatternError::EndsWithEscape),
            b'%' => Ok(p + 2),
            b'[' => self.set_end(p + 1),
            _ => Ok(p + 1),
        }
    }

    /// The end of the set whose `[` is before `p`. A `]` in front is a literal.
    fn set_end(&mut self, mut p: usize) -> Result<usize> {
        let start = p;
        if self.pattern_at(p) == b'^' {
            p += 1;
        }
        loop {
            if p >= self.pattern.len() {
                return Err(PatternError::MissingBracket);
            }
            p += if self.pattern[p] == b'%' && p + 1 < self.pattern.len() { 2 } else { 1 };
            if self.pattern_at(p) == b']' {
                self.steps.spend((p - start) / BYTES_PER_STEP)?;
                return Ok(p + 1);
            }
        }
    }

    /// Whether the class at `p..ep` matches the byte at `s`.
    fn single_match(&mut self, s: usize, p: usize, ep: usize) -> Result<bool> {
        let Some(&c) = self.subject.get(s) else { return Ok(false) };
        Ok(match self.pattern[p] {
            b'.' => true,
            b'%' => in_class(c, self.pattern_at(p + 1)),
            b'[' => {
                self.steps.spend((ep - p) / BYTES_PER_STEP)?;
                in_set(c, &self.pattern[p + 1..ep - 1])
            }
            literal => literal == c,
        })
    }

    /// `*` and `+`: matches as many as possible, then fewer.
    fn max_expand(&mut self, s: usize, p: usize, ep: usize) -> Result<Option<usize>> {
        let mut count = 0;
        while self.single_match(s + count, p, ep)? {
            self.steps.spend(1)?;
            count += 1;
        }
        for count in (0..=count).rev() {
            if let Some(end) = self.matches(s + count, ep + 1)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// `-`: matches none, then more.
    fn min_expand(&mut self, mut s: usize, p: usize, ep: usize) -> Result<Option<usize>> {
        loop {
            if let Some(end) = self.matches(s, ep + 1)? {
                return Ok(Some(end));
            }
            if !self.single_match(s, p, ep)? {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn start_capture(&mut self, s: usize, p: usize, extent: Extent) -> Result<Option<usize>> {
        let slot = self.captures.get_mut(self.level).ok_or(PatternError::TooManyCaptures)?;
        *slot = (s, extent);
        self.level += 1;
        let end = self.matches(s, p)?;
        if end.is_none() {
            self.level -= 1;
        }
        Ok(end)
    }

    fn end_capture(&mut self, s: usize, p: usize) -> Result<Option<usize>> {
        let open = self.captures[..self.level].iter().rposition(|(_, to)| *to == Extent::Open);
        let open = open.ok_or(PatternError::InvalidCapture)?;
        let start = self.captures[open].0;
        self.captures[open].1 = Extent::Closed(s - start);
        let end = self.matches(s, p)?;
        if end.is_none() {
            self.captures[open].1 = Extent::Open;
        }
        Ok(end)
    }

    /// `%bxy`, with `xy` at `p`: matches from an x to the y that balances it.
    fn balance(&mut self, s: usize, p: usize) -> Result<Option<usize>> {
        let [open, close] = self
            .pattern
            .get(p..p + 2)
            .and_then(|pair| pair.try_into().ok())
            .ok_or(PatternError::MissingBalance)?;
        if self.subject.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1usize;
        for at in s + 1..self.subject.len() {
            self.steps.spend(1)?;
            let c = self.subject[at];
            if c == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if c == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`, with `[set]` at `p`: matches where the set begins to match. Returns where the
    /// pattern goes on.
    fn frontier(&mut self, s: usize, p: usize) -> Result<Option<usize>> {
        if self.pattern_at(p) != b'[' {
            return Err(PatternError::MissingFrontierSet);
        }
        let ep = self.set_end(p + 1)?;
        let set = &self.pattern[p + 1..ep - 1];
        let before = s.checked_sub(1).map_or(0, |before| self.subject_at(before));
        Ok((!in_set(before, set) && in_set(self.subject_at(s), set)).then_some(ep))
    }

    /// `%1` to `%9`: matches the bytes of the capture. A position capture never matches.
    fn back_reference(&mut self, s: usize, digit: u8) -> Result<Option<usize>> {
        let index = i32::from(digit) - i32::from(b'0');
        let capture = usize::try_from(index - 1).ok().filter(|at| *at < self.level);
        match capture.map(|at| self.captures[at]) {
            None | Some((_, Extent::Open)) => Err(PatternError::InvalidIndex(index)),
            Some((_, Extent::Position)) => Ok(None),
            Some((at, Extent::Closed(len))) => {
                self.steps.spend(len / BYTES_PER_STEP)?;
                let found = self.subject[s..].starts_with(&self.subject[at..at + len]);
                Ok(found.then_some(s + len))
            }
        }
    }
}

/// The result of matching a single character or class.
enum Item {
    /// Go on at these indexes of subject and pattern.
    Next(usize, usize),
    /// The result of the whole match.
    Decided(Option<usize>),
}

/// Whether `c` is in the class `%class` (in the C locale). Any byte that names no class is a
/// literal.
fn in_class(c: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => c.is_ascii_alphabetic(),
        b'c' => c.is_ascii_control(),
        b'd' => c.is_ascii_digit(),
        b'g' => c.is_ascii_graphic(),
        b'l' => c.is_ascii_lowercase(),
        b'p' => c.is_ascii_punctuation(),
        // isspace(3) includes the vertical tab, is_ascii_whitespace does not.
        b's' => c.is_ascii_whitespace() || c == 0x0b,
        b'u' => c.is_ascii_uppercase(),
        b'w' => c.is_ascii_alphanumeric(),
        b'x' => c.is_ascii_hexdigit(),
        b'z' => c == 0,
        _ => return class == c,
    };
    found != class.is_ascii_uppercase()
}

/// Whether `c` is in the set, given without its brackets.
fn in_set(c: u8, set: &[u8]) -> bool {
    let (negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    loop {
        rest = match rest {
            [] => return negated,
            [b'%', class, rest @ ..] => {
                if in_class(c, *class) {
                    return !negated;
                }
                rest
            }
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return !negated;
                }
                rest
            }
            [literal, rest @ ..] => {
                if *literal == c {
                    return !negated;
                }
                rest
            }
        };
    }
}

/// Replaces up to `times` matches of `pattern`. Returns the new text, or `None` if nothing was
/// replaced, and the number of replacements. `available` returns how many bytes the result may
/// have, given how many are wanted.
///
/// # Errors
///
/// The pattern or the replacement is invalid, or the match exceeds a bound.
pub(super) fn replace(
    subject: &[u8],
    pattern: &[u8],
    replacement: &[u8],
    times: i64,
    available: &dyn Fn(usize) -> usize,
    steps: Steps<'_>,
) -> Result<(Option<Vec<u8>>, i64)> {
    let anchored = pattern.first() == Some(&b'^');
    let mut matcher = Matcher::new(subject, &pattern[usize::from(anchored)..], steps);
    let mut result = Bounded { bytes: Vec::new(), granted: 0, available };
    let (mut from, mut last, mut copied, mut count) = (0, None, 0, 0);
    while count < times
        && let Some((start, end)) = matcher.search(from, anchored, last)?
    {
        count += 1;
        result.push(&subject[copied..start])?;
        expand(&matcher, replacement, start, end, &mut result)?;
        matcher.steps.spend(1 + (replacement.len() + end - start) / BYTES_PER_STEP)?;
        (from, last, copied) = (end, Some(end), end);
        if anchored {
            break;
        }
    }
    if count == 0 {
        return Ok((None, 0));
    }
    result.push(&subject[copied..])?;
    Ok((Some(result.bytes), count))
}

/// Appends the replacement for one match.
fn expand(
    matcher: &Matcher<'_, '_, '_>,
    replacement: &[u8],
    start: usize,
    end: usize,
    result: &mut Bounded<'_>,
) -> Result<()> {
    let mut rest = replacement;
    while let Some(escape) = memchr::memchr(b'%', rest) {
        result.push(&rest[..escape])?;
        match rest.get(escape + 1) {
            Some(b'%') => result.push(b"%")?,
            Some(b'0') => result.push(&matcher.subject[start..end])?,
            Some(digit @ b'1'..=b'9') => {
                match matcher.capture(usize::from(digit - b'1'), start, end)? {
                    Captured::Bytes(bytes) => result.push(bytes)?,
                    Captured::Position(at) => result.push(at.to_string().as_bytes())?,
                }
            }
            _ => return Err(PatternError::InvalidReplacement),
        }
        rest = &rest[escape + 2..];
    }
    result.push(rest)
}

/// Bytes whose length is checked against the plugin's memory.
struct Bounded<'a> {
    bytes: Vec<u8>,
    /// Length that has been granted.
    granted: usize,
    /// Returns the length that may be had, given the length wanted.
    available: &'a dyn Fn(usize) -> usize,
}

impl Bounded<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.bytes.len() + bytes.len();
        if len > self.granted {
            // Twice as many, so that it rarely asks.
            self.granted = (self.available)(2 * len);
        }
        if len > self.granted {
            return Err(PatternError::OutOfMemory);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    // tests/core/plugins/differential.rs compares matches with those of Lua.

    /// How often a search checks the time, if it is stopped at the tenth check.
    fn time_checks(subject: &[u8], pattern: &[u8]) -> u32 {
        let checks = Cell::new(0);
        let has_time = || {
            checks.set(checks.get() + 1);
            checks.get() < 10
        };
        let mut matcher = Matcher::new(subject, pattern, Steps::new(&has_time));
        let found = matcher.search(0, false, None);
        assert_eq!(checks.get() == 10, found == Err(PatternError::OutOfTime), "{found:?}");
        checks.get()
    }

    #[test]
    fn long_match_is_stopped() {
        let long = [b'a'; 100_000];
        let set = [b"[", &[b'b'; 10_000][..], b"]"].concat();
        for pattern in [
            &b".*.*.*b"[..],
            b".-.-.-b",
            b"a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?a?b",
            b"(.*)%1b",
            b"%ba)",
            b"(.-)%1b",
            &set,
            &[b"%f", &set[..]].concat(),
            &[&set[..], b"*x"].concat(),
        ] {
            assert_eq!(time_checks(&long, pattern), 10, "{:.20}", String::from_utf8_lossy(pattern));
        }
    }

    #[test]
    fn short_match_checks_no_time() {
        assert_eq!(time_checks(b"hello world", b"(%w+) (%w+)"), 0);
        assert_eq!(time_checks(&[b'a'; 300], b"^a*$"), 0);
    }

    #[test]
    fn result_asks_for_memory_before_it_grows() {
        let asked = Cell::new(0);
        let available = |wanted: usize| {
            asked.set(asked.get() + 1);
            wanted.min(1000)
        };
        let always = || true;
        let replace = |subject: &[u8]| {
            let steps = Steps::new(&always);
            super::replace(subject, b"a", b"bb", i64::MAX, &available, steps)
        };
        assert_eq!(replace(&[b'a'; 500]), Ok((Some(vec![b'b'; 1000]), 500)));
        assert!(asked.get() < 20, "{}", asked.get());
        assert_eq!(replace(&[b'a'; 501]), Err(PatternError::OutOfMemory));
        assert_eq!(replace(b"xyz"), Ok((None, 0)));
    }
}
