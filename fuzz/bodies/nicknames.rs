//! The rules of nicknames, slowly: straight from the crates that carry Unicode's data, for the
//! tables of the server to be held against.

use icu_casemap::CaseMapper;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_security::confusable_detection;
use unicode_security::mixed_script::AugmentedScriptSet;

/// Characters of a nickname, at least and at most.
const CHARS: std::ops::RangeInclusive<usize> = 3..=16;

/// Names the server's own lines begin with.
const RESERVED: [&str; 4] = ["SERVER", "INFO", "ERROR", "YOU"];

/// Characters that show nothing and that no property of Unicode's says so of.
const BLANK: &str = "\u{2800}\u{13441}\u{13442}\u{16fe4}\u{1d159}\u{fffc}";

/// Whether a trimmed text may be a nickname, whoever is present.
#[must_use]
pub fn is_allowed(nick: &str) -> bool {
    CHARS.contains(&nick.chars().count())
        && !nick.chars().any(is_refused)
        && !nick.chars().next().is_some_and(begins_with_mark)
        && !RESERVED.iter().any(|reserved| is_same(reserved, nick))
}

/// Whether no nickname may have a character, or what compatibility makes of it.
#[must_use]
pub fn is_refused(c: char) -> bool {
    std::iter::once(c).chain(std::iter::once(c).nfkd()).any(|c| {
        let group = c.general_category_group();
        matches!(group, GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator)
            || c.is_whitespace()
            || is_default_ignorable(c)
            || "[]:".contains(c)
            || BLANK.contains(c)
    })
}

/// Whether a character is a mark that would stand on what comes before it.
#[must_use]
pub fn begins_with_mark(c: char) -> bool {
    let first = std::iter::once(c).nfkd().next().unwrap_or(c);
    matches!(
        first.general_category(),
        GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::EnclosingMark
    )
}

/// A nickname without case and compatibility: equal for equal nicknames. Decomposed in the end,
/// which changes no equality.
#[must_use]
pub fn fold(nick: &str) -> String {
    let mapper = CaseMapper::new();
    let mut text: String = nick.nfkc().collect();
    loop {
        let next: String = mapper.fold_string(&text).nfkc().collect();
        if next == text {
            return text.nfd().collect();
        }
        text = next;
    }
}

/// Looks of a nickname: the skeletons of UTS #39, folded, of its folded form and as typed,
/// but for U+0345, which is ι once marks are in order.
#[must_use]
pub fn skeletons(nick: &str) -> [String; 2] {
    let typed = nick.nfkd().collect::<String>().replace('\u{345}', "\u{3b9}");
    [fold(nick), typed].map(|text| fold(&confusable_detection::skeleton(&text).collect::<String>()))
}

/// The scripts all characters may belong to (UTS #39, resolved script set), of the folded form.
#[must_use]
pub fn scripts(nick: &str) -> AugmentedScriptSet {
    AugmentedScriptSet::for_str(&fold(nick))
}

/// Whether two nicknames are the same: equal, or confusable across scripts.
#[must_use]
pub fn is_same(a: &str, b: &str) -> bool {
    let mut common = scripts(a);
    common.intersect_with(scripts(b));
    let skeletons = skeletons(b);
    fold(a) == fold(b)
        || (common.is_empty() && self::skeletons(a).iter().any(|a| skeletons.contains(a)))
}

/// Skeletons leave these out, and no other characters.
fn is_default_ignorable(c: char) -> bool {
    confusable_detection::skeleton(c.encode_utf8(&mut [0; 4])).next().is_none()
}
