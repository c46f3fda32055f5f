//! Generates `src/protocol/nickname/unicode/tables.rs` from the crates that carry Unicode's data.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::{Display, Write as _};

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_script::Script;
use unicode_security::confusable_detection;
use unicode_security::mixed_script::AugmentedScriptSet;

use super::reference;

/// Sorts as a mark in canonical order and is folded to a letter, [`IOTA`], after that.
const YPOGEGRAMMENI: char = '\u{345}';
const IOTA: char = '\u{3b9}';

/// Hangul syllables are decomposed by arithmetic.
const HANGUL_SYLLABLES: std::ops::RangeInclusive<char> = '\u{ac00}'..='\u{d7a3}';

/// The source file. `allowed` are the characters that nicknames may have, sorted.
pub fn source(allowed: &[char]) -> String {
    let mapper = CaseMapper::new();
    let mut folds = BTreeMap::new();
    let mut folded = BTreeSet::from([IOTA]);
    for &c in allowed {
        let to = fold(&mapper, c);
        folded.extend(&to);
        if to != [c] && !HANGUL_SYLLABLES.contains(&c) {
            folds.insert(c, to);
        }
    }
    let cased = cased(&mapper, &folds);
    let mut prototypes = BTreeMap::new();
    for &c in folded.iter().chain(cased.values().flatten()) {
        let to: Vec<char> = confusable_detection::skeleton(c.encode_utf8(&mut [0; 4])).collect();
        if to != [c] {
            prototypes.insert(c, to);
        }
    }
    let sets = ScriptSets::of(&folded);
    let mut out = String::from(HEADER);
    write_sequences(
        &mut out,
        "FOLDS",
        "Characters with case and compatibility folded, decomposed.",
        &folds,
    );
    write_sequences(
        &mut out,
        "CASED",
        "Characters whose upper case looks like other letters, with compatibility folded, decomposed.",
        &cased,
    );
    write_sequences(
        &mut out,
        "PROTOTYPES",
        "Prototypes of decomposed characters (UTS #39).",
        &prototypes,
    );
    write_properties(&mut out, allowed, &folded, &sets);
    write_list(
        &mut out,
        "SCRIPT_SETS",
        "u128",
        "Sets of scripts as bits, sorted: those of characters, and all intersections of them.",
        sets.sets.iter().map(|set| format!("{set:#x}")),
    );
    let len = |set: &BTreeMap<char, Vec<char>>| {
        set.values().map(|to| to.iter().map(|c| c.len_utf8()).sum::<usize>()).max()
    };
    write_const(&mut out, "FOLD_LEN_MAX", "Most bytes of a folded character.", len(&folds));
    let latin = sets.number(AugmentedScriptSet::from('a'));
    let all = sets.number(AugmentedScriptSet::default());
    write_const(&mut out, "LATIN", "The set of Latin alone.", Some(latin));
    let none = sets.sets.binary_search(&NO_SCRIPT).ok();
    write_const(&mut out, "ANY_SCRIPT", "The set of all scripts.", Some(all));
    write_const(&mut out, "NO_SCRIPT", "The empty set.", none);
    out
}

const HEADER: &str = "\
//! Unicode 18.0.0 data for nicknames. Generated, do not edit: run
//! `MYNAH_GENERATE=1 cargo test --test core nicknames`.

use super::blocks::{Blocks, Properties, Sequences};
";

/// A character with case and compatibility folded, decomposed.
fn fold(mapper: &CaseMapperBorrowed<'_>, c: char) -> Vec<char> {
    let mut text: Vec<char> = std::iter::once(c).nfkd().collect();
    loop {
        let mut folded = String::new();
        for &c in &text {
            match c {
                YPOGEGRAMMENI => folded.push(c),
                c => folded.push_str(&mapper.fold_string(c.encode_utf8(&mut [0; 4]))),
            }
        }
        let next: Vec<char> = folded.nfkd().collect();
        if next == text {
            return text;
        }
        text = next;
    }
}

/// Characters whose look-alikes are others than their lower case's, decomposed: `I` looks like `l`,
/// `i` does not.
fn cased(
    mapper: &CaseMapperBorrowed<'_>,
    folds: &BTreeMap<char, Vec<char>>,
) -> BTreeMap<char, Vec<char>> {
    let key = |text: &[char]| -> Vec<char> {
        let text: String = text.iter().collect();
        confusable_detection::skeleton(&text).flat_map(|c| fold(mapper, c)).collect()
    };
    let decomposed = folds.iter().map(|(c, to)| (*c, std::iter::once(*c).nfkd().collect(), to));
    decomposed
        .filter(|(_, cased, folded): &(char, Vec<char>, _)| key(cased) != key(folded))
        .map(|(c, cased, _)| (c, cased))
        .collect()
}

/// Numbers of script sets: an index into a table of bit sets or, past its end, into the scripts
/// that no character shares with another script.
struct ScriptSets {
    bits: HashMap<AugmentedScriptSet, u128>,
    sets: Vec<u128>,
    unshared: Vec<AugmentedScriptSet>,
}

impl ScriptSets {
    /// The sets of these characters, and all intersections of them.
    fn of(chars: &BTreeSet<char>) -> Self {
        let of_chars: HashSet<AugmentedScriptSet> = chars
            .iter()
            .map(|c| AugmentedScriptSet::from(*c))
            .filter(|set| !set.is_all())
            .collect();
        let is_shared = |set: &AugmentedScriptSet| {
            of_chars.iter().any(|other| {
                let mut common = *set;
                common.intersect_with(*other);
                other != set && !common.is_empty()
            })
        };
        let (shared, mut unshared): (Vec<AugmentedScriptSet>, Vec<AugmentedScriptSet>) =
            of_chars.iter().copied().partition(is_shared);
        unshared.sort_by_key(|set| set.base.iter().next().map(|script| script as u8));
        let scripts = shared.iter().flat_map(|set| set.base.iter());
        let scripts: BTreeMap<u8, Script> = scripts.map(|script| (script as u8, script)).collect();
        let scripts: Vec<Script> = scripts.into_values().collect();
        let mut bits: HashMap<AugmentedScriptSet, u128> =
            shared.iter().map(|set| (*set, bits(*set, &scripts))).collect();
        let mut sets: BTreeSet<u128> = bits.values().copied().collect();
        sets.extend([NO_SCRIPT, ANY_SCRIPT]);
        bits.insert(AugmentedScriptSet::default(), ANY_SCRIPT);
        loop {
            let common = sets.iter().flat_map(|a| bits.values().map(move |b| a & b));
            let more: Vec<u128> = common.filter(|set| !sets.contains(set)).collect();
            if more.is_empty() {
                break;
            }
            sets.extend(more);
        }
        ScriptSets { bits, sets: sets.into_iter().collect(), unshared }
    }

    fn number(&self, set: AugmentedScriptSet) -> usize {
        let set = if set.is_all() { AugmentedScriptSet::default() } else { set };
        match self.bits.get(&set) {
            Some(bits) => self.sets.binary_search(bits).unwrap(),
            None => {
                let at = self.unshared.iter().position(|unshared| *unshared == set);
                self.sets.len() + at.unwrap()
            }
        }
    }
}

const NO_SCRIPT: u128 = 0;
const ANY_SCRIPT: u128 = u128::MAX;

/// The bits of a set: those that UTS #39 adds, then the scripts.
fn bits(set: AugmentedScriptSet, scripts: &[Script]) -> u128 {
    let has_script = |script: &Script| set.base.iter().any(|other| other == *script);
    let added = [set.hanb, set.jpan, set.kore].into_iter();
    let bits = added.chain(scripts.iter().map(has_script)).enumerate();
    // `ANY_SCRIPT`, all bits, must not be a set of scripts.
    assert!(scripts.len() + 3 < 128, "{} scripts", scripts.len());
    bits.fold(0, |bits, (bit, has)| bits | u128::from(has) << bit)
}

/// The rows of a table, each of low bytes and values, and the row of each block of 256 characters.
#[derive(Default)]
struct Rows {
    blocks: Vec<u16>,
    rows: Vec<Vec<(u8, u16)>>,
}

impl Rows {
    fn new(blocks: BTreeMap<u32, Vec<(u8, u16)>>) -> Self {
        let mut rows = Rows::default();
        let last = *blocks.keys().max().unwrap();
        for block in 0..=last {
            let row = blocks.get(&block).cloned().unwrap_or_default();
            let at = rows.rows.iter().position(|known| *known == row).unwrap_or_else(|| {
                rows.rows.push(row);
                rows.rows.len() - 1
            });
            rows.blocks.push(u16::try_from(at).unwrap());
        }
        rows
    }

    fn write(&self, out: &mut String) {
        let mut starts = vec![0];
        for row in &self.rows {
            starts.push(starts.last().unwrap() + u16::try_from(row.len()).unwrap());
        }
        let entries: Vec<(u8, u16)> = self.rows.concat();
        write_field(out, "blocks", self.blocks.iter());
        write_field(out, "starts", starts.iter());
        write_field(out, "lows", entries.iter().map(|(low, _)| low));
        write_field(out, "values", entries.iter().map(|(_, value)| value));
    }
}

fn write_sequences(out: &mut String, name: &str, what: &str, map: &BTreeMap<char, Vec<char>>) {
    // The longest first: shorter ones are often part of them.
    let mut distinct: Vec<Vec<u16>> = map.values().map(|to| utf16(to)).collect();
    distinct.sort_by_key(|to| (std::cmp::Reverse(to.len()), to.clone()));
    distinct.dedup();
    let mut pool: Vec<u16> = Vec::new();
    for units in &distinct {
        if find(&pool, units).is_none() {
            let shared = (0..units.len()).rev().find(|len| pool.ends_with(&units[..*len]));
            pool.extend(&units[shared.unwrap_or(0)..]);
        }
    }
    let mut blocks: BTreeMap<u32, Vec<(u8, u16)>> = BTreeMap::new();
    for (&c, to) in map {
        let units = utf16(to);
        let at = find(&pool, &units).unwrap();
        assert!(at < 1 << 13 && units.len() <= 8, "{name} has outgrown its values");
        let value = u16::try_from(at << 3 | (units.len() - 1)).unwrap();
        blocks.entry(u32::from(c) >> 8).or_default().push((u32::from(c) as u8, value));
    }
    write!(out, "\n/// {what}\npub(super) static {name}: Sequences = Sequences {{\n").unwrap();
    out.push_str("    blocks: Blocks {\n");
    Rows::new(blocks).write(out);
    out.push_str("    },\n");
    write_field(out, "units", pool.iter());
    out.push_str("};\n");
}

fn write_properties(
    out: &mut String,
    allowed: &[char],
    folded: &BTreeSet<char>,
    sets: &ScriptSets,
) {
    type Kind = (bool, bool, u8, usize);
    const REFUSED: Kind = (true, false, 0, 0);
    let mut kinds = vec![REFUSED];
    let mut blocks: BTreeMap<u32, Vec<(u8, u16)>> = BTreeMap::new();
    let mut last = REFUSED;
    let mut allowed = allowed.iter().copied().peekable();
    for code in 0..=u32::from(char::MAX) {
        let low = code as u8;
        let mut kind = REFUSED;
        if let Some(c) = allowed.next_if(|c| u32::from(*c) == code) {
            let scripts = if folded.contains(&c) {
                sets.number(AugmentedScriptSet::from(c))
            } else if low != 0 && !last.0 {
                // Never read, so as in the character before: the run goes on.
                last.3
            } else {
                0
            };
            kind = (false, reference::begins_with_mark(c), canonical_combining_class(c), scripts);
        }
        if low == 0 || kind != last {
            let at = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            });
            blocks.entry(code >> 8).or_default().push((low, u16::try_from(at).unwrap()));
        }
        last = kind;
    }
    // Characters past the last block are refused.
    let is_refused = |row: &Vec<(u8, u16)>| *row == [(0, 0)];
    while blocks.last_key_value().is_some_and(|(_, row)| is_refused(row)) {
        blocks.pop_last();
    }
    out.push_str(
        "\n/// Each character's index in `PROPERTIES`; a value is valid up to the next low byte.\n",
    );
    out.push_str("pub(super) static KINDS: Blocks = Blocks {\n");
    Rows::new(blocks).write(out);
    out.push_str("};\n");
    write_list(
        out,
        "PROPERTIES",
        "Properties",
        "Each distinct combination of properties.",
        kinds.iter().map(|(refused, mark, class, scripts)| {
            let flags = u8::from(*refused) | u8::from(*mark) << 1;
            format!("Properties{{flags:{flags},class:{class},scripts:{scripts}}}")
        }),
    );
}

fn utf16(text: &[char]) -> Vec<u16> {
    text.iter().collect::<String>().encode_utf16().collect()
}

fn find(pool: &[u16], units: &[u16]) -> Option<usize> {
    pool.windows(units.len()).position(|window| window == units)
}

fn write_field(out: &mut String, name: &str, values: impl Iterator<Item = impl Display>) {
    writeln!(out, "    {name}: &[").unwrap();
    write_values(out, values);
    out.push_str("    ],\n");
}

fn write_list(
    out: &mut String,
    name: &str,
    kind: &str,
    what: &str,
    values: impl ExactSizeIterator<Item = impl Display>,
) {
    let len = values.len();
    writeln!(out, "\n/// {what}\npub(super) static {name}: [{kind}; {len}] = [").unwrap();
    write_values(out, values);
    out.push_str("];\n");
}

fn write_const(out: &mut String, name: &str, what: &str, value: Option<usize>) {
    let kind = if name.ends_with("_MAX") { "usize" } else { "u16" };
    let value = value.unwrap();
    write!(out, "\n/// {what}\npub(in super::super) const {name}: {kind} = {value};\n").unwrap();
}

/// Writes values in lines of at most 100 columns.
fn write_values(out: &mut String, values: impl Iterator<Item = impl Display>) {
    let mut line = String::new();
    for value in values {
        let value = format!("{value},");
        if line.len() + value.len() > 100 {
            writeln!(out, "{line}").unwrap();
            line.clear();
        }
        line += &value;
    }
    if !line.is_empty() {
        writeln!(out, "{line}").unwrap();
    }
}
