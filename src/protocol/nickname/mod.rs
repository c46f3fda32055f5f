//! The rules of nicknames: which are valid, and which two are the same. `unicode` has the data,
//! `members` the index.
//!
//! Two nicknames are the same when a person could take one for the other:
//!
//! - They are equal under RFC 8266, with full case folding in place of its lower case: `Straße`,
//!   `STRAẞE` and `strasse` are one. Compatibility (NFKC) and case are folded until neither changes
//!   anything. What is compared is decomposed: two texts have one composition where they have one
//!   decomposition, and composing needs tables of its own.
//! - Or they are confusable across scripts (UTS #39): they have a skeleton in common, and no script
//!   that all characters of both may belong to, as `paypal` and `раураl` (Cyrillic but for the
//!   last). Common and Inherited characters belong to every script; Han goes with Hiragana and
//!   Katakana, with Hangul and with Bopomofo. A mixture of other scripts has no script at all, so
//!   it is the same as whatever has its skeleton.
//!
//! A nickname has the skeleton of its folded form, and a second one of the form as typed where
//! upper case looks like other letters: the Cyrillic `ВОВ` looks like `BOB`, which is `bob`, and
//! `вов` does not.
//!
//! Look-alikes within one script are different: `barn` and `bam`, `bob1` and `bobl`. So are letters
//! with marks and without: `Server\u{301}` is not `SERVER`, nor is `SE\u{332}RVER`.

mod unicode;

use self::unicode::{ANY_SCRIPT, FOLD_LEN_MAX, LATIN, NO_SCRIPT};

/// Fewest characters (Unicode scalar values) of a nickname.
pub const CHARS_MIN: usize = 3;
/// Most characters of a nickname, as typed.
pub const CHARS_MAX: usize = 16;

/// Reserved: the server's own lines begin with these, folded.
const RESERVED: [&str; 4] = ["server", "info", "error", "you"];
/// Their skeletons, in lower case and in upper case.
const RESERVED_SKELETONS: [&str; 5] = ["server", "info", "lnfo", "error", "you"];

/// Sorts as a mark in canonical order and then folds to a letter, [`IOTA`], in either case.
const YPOGEGRAMMENI: char = '\u{345}';
const IOTA: char = '\u{3b9}';

/// The rule that an invalid nickname breaks. Whether a valid one is taken is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicknameError {
    /// It has fewer than [`CHARS_MIN`] or more than [`CHARS_MAX`] characters.
    Length,
    /// It has an invisible character, `[`, `]` or `:`, or begins with a mark.
    Characters,
    /// It is the same as a reserved name.
    Reserved,
}

/// A valid nickname, with the forms it is compared by.
#[derive(Debug, Clone)]
pub struct Nickname<'a> {
    text: &'a str,
    folded: Folded,
    /// The skeleton of the folded form.
    skeleton: String,
    /// The skeleton of the form as typed, where upper case may make it another.
    cased_skeleton: Option<String>,
    scripts: Scripts,
}

impl<'a> Nickname<'a> {
    /// Parses a trimmed text as a nickname.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn parse(text: &'a str) -> Result<Self, NicknameError> {
        // Stops at the limit: the text may be long.
        if !(CHARS_MIN..=CHARS_MAX).contains(&text.chars().take(CHARS_MAX + 1).count()) {
            return Err(NicknameError::Length);
        }
        if has_refused_characters(text) {
            return Err(NicknameError::Characters);
        }
        let nickname = Nickname::new(text).ok_or(NicknameError::Length)?;
        if nickname.is_reserved() { Err(NicknameError::Reserved) } else { Ok(nickname) }
    }

    /// Computes the forms of any text; `None` if it has too many characters.
    fn new(text: &'a str) -> Option<Self> {
        let folded = Folded::of(text)?;
        let skeleton = skeleton(&mut folded.as_str().chars());
        let has_other = text.chars().any(unicode::is_cased);
        let cased_skeleton = has_other.then(|| {
            let cased = Ordered::of(&mut text.chars(), unicode::decompose);
            self::skeleton(&mut cased.iter())
        });
        let scripts = Scripts::of(folded.as_str());
        Some(Nickname { text, folded, skeleton, cased_skeleton, scripts })
    }

    /// The nickname as typed.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The folded form, which is equal for equal nicknames.
    #[must_use]
    pub fn folded(&self) -> &Folded {
        &self.folded
    }

    /// Its one or two different skeletons: strings that look-alikes have in common.
    pub fn skeletons(&self) -> impl Iterator<Item = &str> {
        let cased = self.cased_skeleton.as_ref().filter(|cased| **cased != self.skeleton);
        std::iter::once(&*self.skeleton).chain(cased.map(|cased| &**cased))
    }

    /// The scripts that all its characters may belong to.
    #[must_use]
    pub fn scripts(&self) -> Scripts {
        self.scripts
    }

    /// Whether two nicknames are equal, or confusable across scripts.
    #[must_use]
    pub fn is_same(&self, other: &Nickname<'_>) -> bool {
        let has_skeleton = |skeleton| other.skeletons().any(|others| others == skeleton);
        self.folded == other.folded
            || (!self.scripts.overlap(other.scripts) && self.skeletons().any(has_skeleton))
    }

    fn is_reserved(&self) -> bool {
        let is_look_alike = |skeleton| RESERVED_SKELETONS.contains(&skeleton);
        RESERVED.contains(&self.folded.as_str())
            || (!self.scripts.overlap(Scripts(LATIN)) && self.skeletons().any(is_look_alike))
    }
}

/// A text with case and compatibility folded, decomposed, in canonical order.
#[derive(Clone)]
pub struct Folded {
    bytes: [u8; CHARS_MAX * FOLD_LEN_MAX],
    len: usize,
}

impl Folded {
    /// Folds a text; `None` if it has more than [`CHARS_MAX`] characters.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut folded = Folded { bytes: [0; CHARS_MAX * FOLD_LEN_MAX], len: 0 };
        if text.is_ascii() {
            folded.len = text.len();
            let bytes = folded.bytes.get_mut(..text.len()).filter(|_| text.len() <= CHARS_MAX)?;
            bytes.copy_from_slice(text.as_bytes());
            bytes.make_ascii_lowercase();
            return Some(folded);
        }
        if text.chars().nth(CHARS_MAX).is_some() {
            return None;
        }
        let chars = Ordered::of(&mut text.chars(), unicode::fold);
        for c in chars.iter() {
            let space = folded.bytes.get_mut(folded.len..folded.len + c.len_utf8())?;
            folded.len += c.encode_utf8(space).len();
        }
        Some(folded)
    }

    /// The folded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("characters were written whole")
    }
}

impl PartialEq for Folded {
    fn eq(&self, other: &Self) -> bool {
        self.bytes[..self.len] == other.bytes[..other.len]
    }
}

impl Eq for Folded {}

impl std::fmt::Debug for Folded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The set of scripts that all characters of a text may belong to (UTS #39, resolved script set),
/// by its number in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scripts(u16);

impl Scripts {
    /// The scripts of a folded text.
    fn of(folded: &str) -> Self {
        if folded.is_ascii() {
            let has_letter = folded.bytes().any(|byte| byte.is_ascii_alphabetic());
            return Scripts(if has_letter { LATIN } else { ANY_SCRIPT });
        }
        let scripts = folded.chars().map(|c| unicode::properties(c).scripts);
        Scripts(scripts.fold(ANY_SCRIPT, unicode::common_scripts))
    }

    /// Whether the sets have a script in common.
    #[must_use]
    pub fn overlap(self, other: Self) -> bool {
        unicode::common_scripts(self.0, other.0) != NO_SCRIPT
    }

    /// The set as text, for comparing sets where the tables are not: `*` for all scripts, `0` for
    /// none, `s` and a number for one script that is in no other set but `*`, or a set of bits in
    /// hexadecimal digits.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn as_bits(self) -> String {
        match unicode::script_set(self.0) {
            _ if self.0 == ANY_SCRIPT => "*".to_owned(),
            Some(set) => format!("{set:x}"),
            None => format!("s{}", self.0),
        }
    }

    /// The set's number.
    pub(super) fn number(self) -> u16 {
        self.0
    }

    /// The set with this number.
    pub(super) fn from_number(number: u16) -> Self {
        Scripts(number)
    }
}

/// Whether a text has a character that no nickname may have. `[`, `]` and `:` are among them
/// because a member could forge lines of another, or of the server, with them.
fn has_refused_characters(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|byte| !byte.is_ascii_graphic() || b"[]:".contains(&byte));
    }
    text.chars().any(|c| unicode::properties(c).is_refused())
        || text.chars().next().is_some_and(|c| unicode::properties(c).is_mark())
}

/// The skeleton of a decomposed text (UTS #39, section 4), folded, as some prototypes are upper
/// case.
fn skeleton(text: &mut dyn Iterator<Item = char>) -> String {
    let skeleton = Ordered::of(text, unicode::prototype);
    Ordered::of(&mut skeleton.iter(), unicode::fold).iter().collect()
}

/// Decomposed characters in canonical order, with their combining classes: after each that is not a
/// mark, the marks by class (Unicode, 3.11).
struct Ordered(Vec<(char, u8)>);

impl Ordered {
    /// The expansions of all characters, put into order.
    fn of(text: &mut dyn Iterator<Item = char>, expand: fn(char, &mut dyn FnMut(char))) -> Self {
        // Most characters stay one, or become a letter and a mark.
        let mut ordered = Ordered(Vec::with_capacity(2 * CHARS_MAX));
        text.for_each(|c| expand(c, &mut |c| ordered.push(c)));
        ordered
    }

    fn push(&mut self, c: char) {
        let class = unicode::combining_class(c);
        if class == 0 {
            self.0.push((c, class));
        } else {
            let later = self.0.iter().rev().take_while(|(_, before)| *before > class).count();
            self.0.insert(self.0.len() - later, (c, class));
        }
    }

    /// The characters. [`YPOGEGRAMMENI`] is folded here, as its fold must not change the order.
    fn iter(&self) -> impl Iterator<Item = char> {
        self.0.iter().map(|(c, _)| if *c == YPOGEGRAMMENI { IOTA } else { *c })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), NicknameError> {
        Nickname::parse(text).map(|_| ())
    }

    #[track_caller]
    fn is_same(a: &str, b: &str) -> bool {
        let parse = |text| Nickname::parse(text).expect("a nickname");
        let (a, b) = (parse(a), parse(b));
        assert_eq!(a.is_same(&b), b.is_same(&a), "{a:?} {b:?}");
        a.is_same(&b)
    }

    #[track_caller]
    fn is_equal(a: &str, b: &str) -> bool {
        Folded::of(a).expect("short") == Folded::of(b).expect("short")
    }

    #[test]
    fn characters_are_counted_as_typed() {
        assert_eq!(check("яна"), Ok(()));
        assert_eq!(check("яя"), Err(NicknameError::Length));
        assert_eq!(check(&"я".repeat(16)), Ok(()));
        assert_eq!(check(&"я".repeat(17)), Err(NicknameError::Length));
        assert_eq!(check("e\u{301}e\u{301}"), Ok(()), "a combining mark is a character");
        assert_eq!(check("שלום"), Ok(()), "right to left is a direction like another");
        assert_eq!(check("ﬃﬃ"), Err(NicknameError::Length), "two, though they fold to six");
        assert_eq!(check(&"ﬃ".repeat(16)), Ok(()), "16, though they fold to 48");
    }

    #[test]
    fn invisible_characters_are_refused() {
        for bad in
            ["a b", "a\tb", "a\u{a0}b", "a\rb", "a\x1bb", "a\u{85}b", "a\u{2028}b", "a\u{3000}b"]
        {
            assert_eq!(check(bad), Err(NicknameError::Characters), "{bad:?}");
        }
        for (bad, what) in [
            ('\u{200b}', "zero width space"),
            ('\u{200c}', "zero width non-joiner"),
            ('\u{200d}', "zero width joiner"),
            ('\u{202e}', "right-to-left override"),
            ('\u{feff}', "byte order mark"),
            ('\u{e0041}', "tag"),
            ('\u{fe0f}', "variation selector"),
            ('\u{e0100}', "variation selector"),
            ('\u{2800}', "blank braille"),
            ('\u{3164}', "Hangul filler"),
            ('\u{115f}', "Hangul filler"),
            ('\u{1160}', "Hangul filler"),
            ('\u{ffa0}', "Hangul filler"),
            ('\u{180e}', "Mongolian vowel separator"),
            ('\u{1d173}', "musical begin beam"),
            ('\u{1d159}', "musical null notehead"),
            ('\u{1bca0}', "shorthand overlap"),
            ('\u{13430}', "hieroglyph joiner"),
            ('\u{13441}', "hieroglyph blank"),
            ('\u{16fe4}', "Khitan filler"),
            ('\u{600}', "Arabic number sign, a format character"),
            ('\u{fff9}', "interlinear annotation"),
            ('\u{fffc}', "object replacement"),
            ('\u{e000}', "private use"),
            ('\u{ffff}', "noncharacter"),
            ('\u{378}', "unassigned"),
            ('\u{e1000}', "unassigned, far up"),
            ('\u{10ffff}', "the last code point"),
        ] {
            assert_eq!(check(&format!("bob{bad}")), Err(NicknameError::Characters), "{what}");
            assert_eq!(check(&format!("{bad}bob")), Err(NicknameError::Characters), "{what}");
        }
    }

    #[test]
    fn brackets_and_colons_are_refused() {
        for bad in ["[bob", "bob]", "bob:", "bob]:", "b［b", "b］b", "b：b", "b︓b", "a﹇b"] {
            assert_eq!(check(bad), Err(NicknameError::Characters), "{bad}");
        }
        for bad in ["a\u{a8}b", "a\u{b4}b", "a\u{37a}b", "a\u{fdfa}b", "a⩴b"] {
            assert_eq!(check(bad), Err(NicknameError::Characters), "{bad}: a blank, or `::=`");
        }
    }

    #[test]
    fn marks_are_refused_in_front_only() {
        for bad in ["\u{301}bob", "\u{301}\u{301}\u{301}", "\u{20dd}bob", "\u{93f}कक", "\u{345}ab"]
        {
            assert_eq!(check(bad), Err(NicknameError::Characters), "{bad:?}");
        }
        assert_eq!(check("\u{ff9e}bob"), Err(NicknameError::Characters), "U+3099, halfwidth");
        assert_eq!(check("bo\u{301}b"), Ok(()));
        assert_eq!(check("कि\u{93f}"), Ok(()));
    }

    #[test]
    fn reserved_names_are_refused_in_any_script() {
        for bad in ["SERVER", "server", "Info", "eRRor", "you", "\u{17f}erver", "ＳＥＲＶＥＲ"]
        {
            assert_eq!(check(bad), Err(NicknameError::Reserved), "{bad}");
        }
        for bad in ["ѕERVER", "INF\u{41e}", "ӏNFO", "уоu", "Υou", "ЕRRОR", "𝓈𝑒rver", "еrror"]
        {
            assert_eq!(check(bad), Err(NicknameError::Reserved), "{bad}");
        }
        for good in ["server1", "lNFO1", "SYSTEM", "SE\u{332}RVER", "Server\u{301}", "СЕРВЕР"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let mut skeletons = Vec::new();
        for name in RESERVED.map(str::to_uppercase) {
            let name = Nickname::new(&name).expect("it is short");
            skeletons.extend(name.skeletons().map(str::to_owned));
        }
        assert_eq!(skeletons, RESERVED_SKELETONS);
    }

    #[test]
    fn case_is_ignored_in_every_script() {
        for (a, b) in [
            ("Bob", "bOB"),
            ("ЯНА", "яна"),
            ("ΣΑΣ", "σας"),
            ("Straße", "STRASSE"),
            ("Straße", "STRAẞE"),
            ("ǆab", "ǅab"),
            ("ԱՆԻ", "անի"),
            ("ᏣᎳᎩ", "ꮳꮃꭹ"),
            ("\u{16ea0}ab", "\u{16ebb}ab"),
            ("i\u{307}an", "İan"),
        ] {
            assert!(is_equal(a, b) && is_same(a, b), "{a} {b}");
        }
        for (a, b) in [("bob1", "bob"), ("анна", "ahha"), ("istanbul", "ıstanbul")] {
            assert!(!is_equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn compatibility_and_composition_are_ignored() {
        for (a, b) in [
            ("Андрей", "Андреи\u{306}"),
            ("Алёна", "Але\u{308}на"),
            ("rené", "rene\u{301}"),
            ("bob", "ｂｏｂ"),
            ("fish", "ﬁsh"),
            ("kelvin", "\u{212a}elvin"),
            ("bob", "𝐛𝒐𝓫"),
            ("n42", "n⁴²"),
            ("각각각", "\u{1100}\u{1161}\u{11a8}각각"),
            ("ガガガ", "ｶﾞｶﾞｶﾞ"),
            ("a\u{323}\u{301}b", "a\u{301}\u{323}b"),
            ("ᾳ\u{301}ab", "α\u{301}\u{345}ab"),
            ("ᾳ\u{301}ab", "ά\u{399}ab"),
            ("Å\u{1e9b}\u{323}", "å\u{1e69}"),
        ] {
            assert!(is_equal(a, b), "{a} {b}");
        }
        assert!(!is_equal("a\u{301}\u{308}b", "a\u{308}\u{301}b"), "marks of one class keep order");
    }

    #[test]
    fn look_alikes_of_different_scripts_are_the_same() {
        for (a, b) in [
            ("paypal", "раураl"),
            ("bob", "b\u{3bf}b"),
            ("bob", "b\u{43e}b"),
            ("b\u{3bf}b", "b\u{43e}b"),
            ("сосо", "coco"),
            ("СОСО", "coco"),
            ("ВОВ", "BOB"),
            ("ВОВ", "bob"),
            ("НАТ", "HAT"),
            ("раураӏ", "paypal"),
            ("РАУРАІ", "paypal"),
            ("pop", "рор"),
            ("p0p", "рор"),
            ("ㅡㅡㅡ", "ーーー"),
        ] {
            assert!(!is_equal(a, b) && is_same(a, b), "{a} {b}");
        }
        for (a, b) in [("вов", "bob"), ("нат", "hat"), ("анна", "ahha"), ("бob", "bob")]
        {
            assert!(!is_same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn look_alikes_within_one_script_are_different() {
        for (a, b) in [
            ("barn", "bam"),
            ("bob1", "bobl"),
            ("bob|", "bobl"),
            ("111", "lll"),
            ("工工工", "エエエ"),
            ("一一一", "ㅡㅡㅡ"),
            ("一一一", "ーーー"),
        ] {
            let skeleton = |text| Nickname::new(text).map(|nickname| nickname.skeleton);
            assert_eq!(skeleton(a), skeleton(b), "{a} {b}");
            assert!(!is_same(a, b), "{a} {b}");
        }
        for (a, b) in [("rene", "rené"), ("paypal", "paypa1"), ("paypal", "paypaI")] {
            assert!(!is_same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn texts_longer_than_a_nickname_are_not_folded() {
        assert!(Folded::of(&"a".repeat(17)).is_none() && Folded::of(&"я".repeat(17)).is_none());
        assert!(Folded::of(&"a".repeat(4_096)).is_none());
        let longest = Folded::of(&"\u{1f240}".repeat(16)).expect("16 characters");
        assert!(longest.as_str().len() <= CHARS_MAX * FOLD_LEN_MAX);
    }
}
