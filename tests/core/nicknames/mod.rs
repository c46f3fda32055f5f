//! The nickname tables match Unicode's data, and the rules match the slow reference of
//! `fuzz/bodies/nicknames.rs`, for every character and for random nicknames.

mod generate;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::LazyLock;

use mynah::internal::protocol::chat::nickname::{
    CHARS_MAX, Folded, Nickname, NicknameError, Scripts,
};
use precis_core::profile::Profile;
use unicode_security::mixed_script::AugmentedScriptSet;

use crate::bodies::nicknames as reference;
use crate::support::rng::Rng;

const TABLES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/nickname/unicode/tables.rs");

/// The characters nicknames may have, sorted.
static ALLOWED: LazyLock<Vec<char>> =
    LazyLock::new(|| every_char().filter(|c| !reference::is_refused(*c)).collect());

fn every_char() -> impl Iterator<Item = char> {
    (0..=u32::from(char::MAX)).filter_map(char::from_u32)
}

/// The crates that the tables come from. `precis-profiles` has an older Unicode.
#[test]
fn crates_agree_on_one_version_of_unicode() {
    let (major, minor, patch) = unicode_normalization::UNICODE_VERSION;
    let version = (u64::from(major), u64::from(minor), u64::from(patch));
    assert_eq!(version, (18, 0, 0));
    assert_eq!(unicode_security::UNICODE_VERSION, version);
    assert_eq!(unicode_script::UNICODE_VERSION, version);
    assert_eq!(unicode_properties::UNICODE_VERSION, version);
    // icu_casemap does not say. This letter is new in 18.
    assert_eq!(reference::fold("\u{1df40}"), "\u{1df41}");
}

#[test]
fn tables_are_generated_from_the_crates() {
    let source = generate::source(&ALLOWED);
    if std::env::var_os("MYNAH_GENERATE").is_some() {
        fs::write(TABLES, &source).unwrap();
    }
    let is_same = fs::read_to_string(TABLES).unwrap() == source;
    assert!(
        is_same,
        "MYNAH_GENERATE=1 cargo test --test core nicknames generates the tables again"
    );
}

#[test]
fn characters_are_refused_as_in_the_reference() {
    let mut allowed = ALLOWED.iter().copied().peekable();
    for c in every_char() {
        let is_allowed = allowed.next_if_eq(&c).is_some();
        let inside = Nickname::parse(&String::from_iter(['a', c, 'b'])).map(|_| ());
        let expected = if is_allowed { Ok(()) } else { Err(NicknameError::Characters) };
        assert_eq!(inside, expected, "{c:?}");
        if is_allowed {
            let in_front = Nickname::parse(&String::from_iter([c, 'a', 'b'])).map(|_| ());
            let is_mark = reference::begins_with_mark(c);
            let expected = if is_mark { Err(NicknameError::Characters) } else { Ok(()) };
            assert_eq!(in_front, expected, "{c:?}");
        }
    }
}

/// Several characters at a time, which is as strict: the folded forms are compared whole.
#[test]
fn characters_fold_as_in_the_reference() {
    for chars in ALLOWED.chunks(CHARS_MAX - 1) {
        let nick: String = std::iter::once(&'a').chain(chars).collect();
        let nickname = nickname(&nick);
        assert_eq!(nickname.folded().as_str(), reference::fold(&nick), "{nick:?}");
        assert_skeletons(&nickname);
    }
}

/// Each set of scripts has one number, and numbers overlap as their sets do.
#[test]
fn characters_have_the_scripts_of_the_reference() {
    let mut known: HashMap<AugmentedScriptSet, Scripts> = HashMap::new();
    for c in ALLOWED.iter().filter(|c| !reference::begins_with_mark(**c)) {
        let nick = String::from_iter([c; 3]);
        let scripts = nickname(&nick).scripts();
        let folded = Folded::of(c.encode_utf8(&mut [0; 4])).unwrap();
        let mut expected = AugmentedScriptSet::for_str(folded.as_str());
        if expected.is_all() {
            // Of Common and of Inherited.
            expected = AugmentedScriptSet::default();
        }
        assert_eq!(*known.entry(expected).or_insert(scripts), scripts, "{c:?}");
    }
    for (a, scripts) in &known {
        for (b, others) in &known {
            let mut common = *a;
            common.intersect_with(*b);
            assert_eq!(scripts.overlap(*others), !common.is_empty(), "{a:?} {b:?}");
            assert_eq!(scripts == others, a == b, "{a:?} {b:?}");
        }
    }
}

#[test]
fn random_nicknames_are_compared_as_in_the_reference() {
    let mut rng = Rng::new(0);
    let alike = LookAlikes::new();
    let (mut equal, mut confusable, mut refused) = (0, 0, 0);
    for _ in 0..3_000 {
        let a = alike.text(&mut rng);
        let b = alike.variant(&a, &mut rng);
        for nick in [&a, &b] {
            assert_eq!(Nickname::parse(nick).is_ok(), reference::is_allowed(nick), "{nick:?}");
        }
        let (Ok(first), Ok(second)) = (Nickname::parse(&a), Nickname::parse(&b)) else {
            refused += 1;
            continue;
        };
        let is_equal = first.folded() == second.folded();
        assert_eq!(is_equal, reference::fold(&a) == reference::fold(&b), "{a:?} {b:?}");
        assert_eq!(first.is_same(&second), reference::is_same(&a, &b), "{a:?} {b:?}");
        assert_skeletons(&second);
        equal += u32::from(is_equal);
        confusable += u32::from(!is_equal && first.is_same(&second));
        // Case folding makes more equal than the lower case of RFC 8266, never less.
        if precis_profiles::Nickname::new().compare(&a, &b) == Ok(true) {
            assert!(is_equal, "{a:?} {b:?}");
        }
    }
    println!("{equal} equal, {confusable} confusable, {refused} refused");
    assert!(equal > 100 && confusable > 300 && refused < 1_500);
}

#[track_caller]
fn nickname(text: &str) -> Nickname<'_> {
    Nickname::parse(text).unwrap_or_else(|bad| panic!("{text:?}: {bad:?}"))
}

#[track_caller]
fn assert_skeletons(nickname: &Nickname<'_>) {
    let [folded, typed] = reference::skeletons(nickname.text());
    let expected = if folded == typed { vec![folded] } else { vec![folded, typed] };
    assert!(nickname.skeletons().eq(expected), "{nickname:?}");
}

/// Groups of characters that look alike.
struct LookAlikes {
    /// The characters of each group look like one ASCII character.
    groups: Vec<Vec<char>>,
    group_of: HashMap<char, usize>,
}

impl LookAlikes {
    fn new() -> Self {
        let mut groups: BTreeMap<String, Vec<char>> = BTreeMap::new();
        let is_letter = |c: &&char| matches!(**c, ..'\u{2e80}' | '\u{a000}'..'\u{ac00}' | '\u{fb00}'..'\u{20000}');
        for c in ALLOWED.iter().filter(is_letter) {
            let [folded, _] = reference::skeletons(c.encode_utf8(&mut [0; 4]));
            if folded.len() == 1 {
                groups.entry(folded).or_default().push(*c);
            }
        }
        let groups: Vec<Vec<char>> = groups.into_values().collect();
        let numbered = groups.iter().enumerate();
        let group_of = numbered.flat_map(|(group, chars)| chars.iter().map(move |c| (*c, group)));
        LookAlikes { group_of: group_of.collect(), groups }
    }

    /// A random text, mostly of characters that have look-alikes.
    fn text(&self, rng: &mut Rng) -> String {
        let one = |rng: &mut Rng| match rng.below(40) {
            0 => char::from_u32(rng.below(0x11_0000) as u32).unwrap_or('x'),
            1 => ['\u{301}', '\u{323}', '\u{345}', '\u{308}', '\u{3099}'][rng.below(5)],
            2..5 => ALLOWED[rng.below(ALLOWED.len())],
            5..10 => char::from(b'!' + rng.below(94) as u8),
            _ => {
                let group = &self.groups[rng.below(self.groups.len())];
                group[rng.below(group.len())]
            }
        };
        (0..1 + rng.below(CHARS_MAX)).map(|_| one(rng)).collect()
    }

    /// A text with some characters replaced by look-alikes.
    fn variant(&self, text: &str, rng: &mut Rng) -> String {
        let share = rng.below(4);
        let mut replace = |c| match self.group_of.get(&c) {
            Some(&group) if rng.below(4) <= share => {
                self.groups[group][rng.below(self.groups[group].len())]
            }
            _ => c,
        };
        text.chars().map(&mut replace).collect()
    }
}
