//! Accounts files. Nothing panics; names are valid and different, hashes bounded; a registration that
//! was cut off anywhere changes nothing; errors are one line that names the culprit.

use mynah::internal::accounts::{
    ACCOUNTS_MAX, FileError, LINE_LEN_MAX, PasswordHash, parse, parse_name,
};

/// The line that is cut off.
const LINE: &str = "Último:$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                    CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n";
/// Accounts that are compared with each other.
const COMPARED_MAX: usize = 30;

/// Checks one input: a byte that says where a registration is cut off, and a file.
///
/// # Panics
///
/// When the verdict or an error's text is wrong.
pub fn run(data: &[u8]) {
    let Some((&cut, text)) = data.split_first() else { return };
    let parsed = match parse(text) {
        Ok(parsed) => parsed,
        Err(problem) => return check_error(FileError { path: "accounts".into(), problem }),
    };
    let accounts = &parsed.accounts;
    assert!(accounts.len() <= ACCOUNTS_MAX.min(text.split(|byte| *byte == b'\n').count()));
    for name in accounts.names() {
        assert_eq!(accounts.find(name), Some(name));
        assert!(accounts.is_taken(&parse_name(name).unwrap()));
        let hash = accounts.hash_of(name).unwrap();
        let text = hash.to_string();
        assert_eq!(PasswordHash::parse(&text).as_ref(), Ok(hash));
        assert!(name.len() + 1 + text.len() < LINE_LEN_MAX);
        check_cost(&hash.cost().to_string());
    }
    let names: Vec<_> =
        accounts.names().take(COMPARED_MAX).map(|n| parse_name(n).unwrap()).collect();
    for (at, name) in names.iter().enumerate() {
        assert!(!names[..at].iter().any(|other| other.is_same(name)), "{}", name.text());
    }
    let new = parse_name(LINE.split(':').next().unwrap()).unwrap();
    if (text.is_empty() || text.ends_with(b"\n")) && !accounts.is_taken(&new) {
        let cut = 1 + usize::from(cut) % LINE.len();
        let text = [text, &LINE.as_bytes()[..cut]].concat();
        let after = parse(&text).expect("an unfinished line is skipped").accounts;
        let is_whole = cut >= LINE.len() - 1;
        assert_eq!(after.len(), accounts.len() + usize::from(is_whole), "cut at {cut}");
    }
}

/// `m=…,t=…,p=…` within what may be read.
fn check_cost(cost: &str) {
    let numbers: Vec<u32> = cost.split(',').map(|part| part[2..].parse().unwrap()).collect();
    let [memory_kib, passes, lanes] = numbers[..] else { panic!("{cost}") };
    assert!((1..=10).contains(&passes) && (1..=16).contains(&lanes), "{cost}");
    assert!((8 * lanes..=65_536).contains(&memory_kib), "{cost}");
}

fn check_error(error: FileError) {
    let text = error.to_string();
    assert!(text.starts_with("accounts: line ") && text.len() < 400, "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?} is not one line");
}
