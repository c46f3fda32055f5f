//! Password hashes: argon2id (RFC 9106) in PHC strings. Bounded: no hash may ask for gigabytes.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use phc::{Output, Salt};

use crate::escape::EscapeControl;
use crate::protocol::login::Password;

/// The name of the one kind of hash.
const KIND: &str = "argon2id";
/// Version 1.3 of Argon2, the one that is still in use.
const VERSION: u32 = 0x13;
/// Bounds of what is read.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 16;
/// Bytes of a hash; PHC strings have at most 64.
const OUTPUT_LEN_MIN: usize = 16;
/// Bytes of new salts and hashes.
const SALT_LEN: usize = 16;
pub(super) const OUTPUT_LEN: usize = 32;

/// Work of one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    memory_kib: u32,
    passes: u8,
    lanes: u8,
}

impl Cost {
    /// The cost of new hashes, OWASP's minimum for argon2id: 19 MiB, 2 passes, 1 lane.
    pub const NEW: Cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// Hardly any, for tests.
    #[cfg(test)]
    pub(super) const TINY: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    /// Checks the bounds.
    fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, HashError> {
        if !(1..=PASSES_MAX).contains(&passes) {
            return Err(HashError::Passes(passes));
        }
        if !(1..=LANES_MAX).contains(&lanes) {
            return Err(HashError::Lanes(lanes));
        }
        if !(8 * lanes..=MEMORY_KIB_MAX).contains(&memory_kib) {
            return Err(HashError::Memory { kib: memory_kib, min: 8 * lanes });
        }
        Ok(Cost { memory_kib, passes: passes as u8, lanes: lanes as u8 })
    }
}

/// `m=19456,t=2,p=1`, as in a PHC string.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory_kib, self.passes, self.lanes)
    }
}

/// The hash of a password. Displayed as a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    cost: Cost,
    salt_len: u8,
    /// Salt, then hash: at least 8 and 16 bytes, at most 48 and 64.
    bytes: Box<[u8]>,
}

impl PasswordHash {
    /// Parses a PHC string.
    ///
    /// # Errors
    ///
    /// The reason, first of all another kind of hash.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let kind = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        match kind {
            Some(KIND) => {}
            Some(kind) if is_kind(kind) => return Err(HashError::Kind(kind.to_owned())),
            _ => return Err(HashError::NotPhc),
        }
        let parsed = phc::PasswordHash::new(text).map_err(|_| HashError::NotPhc)?;
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err(HashError::NotPhc);
        };
        // Without a number it is version 1.0 (argon2's reference implementation).
        let version = parsed.version.unwrap_or(0x10);
        if version != VERSION {
            return Err(HashError::Version(version));
        }
        let cost = parse_cost(&parsed)?;
        if output.len() < OUTPUT_LEN_MIN {
            return Err(HashError::Output(output.len()));
        }
        Ok(PasswordHash::from_parts(cost, &salt, output.as_bytes()))
    }

    fn from_parts(cost: Cost, salt: &[u8], output: &[u8]) -> Self {
        debug_assert!((Salt::MIN_LENGTH..=Salt::MAX_LENGTH).contains(&salt.len()));
        debug_assert!((OUTPUT_LEN_MIN..=Output::MAX_LENGTH).contains(&output.len()));
        PasswordHash { cost, salt_len: salt.len() as u8, bytes: [salt, output].concat().into() }
    }

    /// The work it takes to check a password against it.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(usize::from(self.salt_len))
    }

    /// Whether the hash has as many bytes as new ones.
    pub(super) fn has_new_len(&self) -> bool {
        self.parts().1.len() == OUTPUT_LEN
    }
}

/// Beginning of every PHC string of a new account.
pub(super) fn new_prefix() -> String {
    format!("${KIND}$v={VERSION}${}$", Cost::NEW)
}

fn parse_cost(parsed: &phc::PasswordHash) -> Result<Cost, HashError> {
    let (mut memory_kib, mut passes, mut lanes) = (None, None, None);
    for (name, value) in parsed.params.iter() {
        let place = match name.as_str() {
            "m" => &mut memory_kib,
            "t" => &mut passes,
            "p" => &mut lanes,
            name => return Err(HashError::Parameter(name.to_owned())),
        };
        let value = value.decimal().map_err(|_| HashError::NotPhc)?;
        if place.replace(value).is_some() {
            return Err(HashError::Parameter(name.as_str().to_owned()));
        }
    }
    match (memory_kib, passes, lanes) {
        (Some(memory_kib), Some(passes), Some(lanes)) => Cost::new(memory_kib, passes, lanes),
        _ => Err(HashError::NotPhc),
    }
}

/// Whether `text` may be shown as the kind of a hash: it might be part of a password.
fn is_kind(text: &str) -> bool {
    let is_short = (1..=16).contains(&text.len());
    is_short && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, output) = self.parts();
        let salt = Salt::new(salt).map_err(|_| fmt::Error)?;
        let output = Output::new(output).map_err(|_| fmt::Error)?;
        write!(f, "${KIND}$v={VERSION}${}${salt}${output}", self.cost)
    }
}

/// Does not show the hash, with which passwords can be guessed.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.cost)
    }
}

/// Why a text is not a hash that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashError {
    /// It is not of the form `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`.
    NotPhc,
    /// It is the hash of another kind.
    Kind(String),
    /// Another version of Argon2.
    Version(u32),
    /// A parameter that argon2id does not have, or has once.
    Parameter(String),
    /// More memory than is allowed, or less than the lanes take.
    Memory {
        /// The memory in KiB.
        kib: u32,
        /// Least for so many lanes.
        min: u32,
    },
    /// No pass, or too many.
    Passes(u32),
    /// No lane, or too many.
    Lanes(u32),
    /// A hash that is too short.
    Output(usize),
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut f = EscapeControl(f);
        match self {
            HashError::NotPhc => {
                write!(f, "the hash is not of the form $argon2id$v=19$m=…,t=…,p=…$SALT$HASH")
            }
            HashError::Kind(kind) => write!(f, "the hash is {kind}, not argon2id"),
            HashError::Version(version) => {
                write!(f, "the hash is of Argon2 version {version}, not {VERSION}")
            }
            HashError::Parameter(name) => write!(f, "the hash has a parameter '{name}' too many"),
            HashError::Memory { kib, min } => {
                write!(f, "the hash takes {kib} KiB of memory, not {min} to {MEMORY_KIB_MAX}")
            }
            HashError::Passes(passes) => {
                write!(f, "the hash takes {passes} passes, not 1 to {PASSES_MAX}")
            }
            HashError::Lanes(lanes) => {
                write!(f, "the hash takes {lanes} lanes, not 1 to {LANES_MAX}")
            }
            HashError::Output(len) => {
                write!(
                    f,
                    "the hash has {len} bytes, not {OUTPUT_LEN_MIN} to {}",
                    Output::MAX_LENGTH
                )
            }
        }
    }
}

impl std::error::Error for HashError {}

/// The system has no random numbers for a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system has no random numbers")
    }
}

impl std::error::Error for RandomError {}

/// Hashes passwords one at a time, in memory that is kept from one to the next.
pub struct Hasher {
    /// The cost of new hashes.
    cost: Cost,
    blocks: Vec<Block>,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new(Cost::NEW)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({}, {} KiB)", self.cost, self.blocks.len())
    }
}

impl Hasher {
    /// A hasher whose new hashes have this cost.
    #[must_use]
    pub fn new(cost: Cost) -> Self {
        Hasher { cost, blocks: Vec::new() }
    }

    /// Hashes a password with a new salt.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn hash(&mut self, password: &Password) -> Result<PasswordHash, RandomError> {
        let (mut salt, mut output) = ([0; SALT_LEN], [0; OUTPUT_LEN]);
        // getrandom(2) fills up to 256 bytes whole.
        let filled = rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty());
        if filled != Ok(SALT_LEN) {
            return Err(RandomError);
        }
        self.compute(self.cost, password, &salt, &mut output);
        Ok(PasswordHash::from_parts(self.cost, &salt, &output))
    }

    /// Whether `hash` is that of the password. Compares in constant time.
    pub fn verify(&mut self, password: &Password, hash: &PasswordHash) -> bool {
        let (salt, expected) = hash.parts();
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..expected.len()];
        let is_computed = self.compute(hash.cost, password, salt, output);
        let (Ok(output), Ok(expected)) = (Output::new(output), Output::new(expected)) else {
            return false;
        };
        is_computed && output == expected
    }

    /// Takes as long as [`verify`](Self::verify) against a hash of this cost, so that the time does
    /// not tell whether there is an account.
    pub fn waste(&mut self, password: &Password, cost: Cost) {
        let mut output = [0; OUTPUT_LEN];
        self.compute(cost, password, &[0; SALT_LEN], &mut output);
        std::hint::black_box(output);
    }

    /// Gives the memory back to the system.
    pub fn release_memory(&mut self) {
        self.blocks = Vec::new();
    }

    /// Whether memory is kept.
    #[must_use]
    pub fn has_memory(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Writes the hash to `output`. False if argon2 refuses, which no [`Cost`] makes it do.
    fn compute(&mut self, cost: Cost, password: &Password, salt: &[u8], output: &mut [u8]) -> bool {
        let Cost { memory_kib, passes, lanes } = cost;
        let params = Params::new(memory_kib, passes.into(), lanes.into(), Some(output.len()));
        let Ok(params) = params else { return false };
        let blocks_len = params.block_count();
        if self.blocks.len() < blocks_len {
            // Not grown in place, which would copy the old ones and hold both.
            self.blocks = Vec::new();
            self.blocks = vec![Block::default(); blocks_len];
        }
        let blocks = &mut self.blocks[..blocks_len];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, blocks).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.into()).unwrap()
    }

    const SALT: &str = "c29tZXNhbHQ";
    const OUTPUT: &str = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn phc(params: &str) -> String {
        format!("$argon2id$v=19${params}${SALT}${OUTPUT}")
    }

    /// `printf password | argon2 somesalt -id -v 13 -t 2 -k 65536 -p 1` of the reference
    /// implementation (its test.c).
    #[test]
    fn hash_of_the_reference_implementation_is_verified() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                    CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(text).unwrap();
        assert_eq!(hash.to_string(), text);
        let mut hasher = Hasher::default();
        assert!(hasher.verify(&password("password"), &hash));
        assert!(!hasher.verify(&password("passworD"), &hash));
    }

    #[test]
    fn new_hash_verifies_its_password_only() {
        let mut hasher = Hasher::new(Cost::TINY);
        let hash = hasher.hash(&password("password")).unwrap();
        assert!(hasher.verify(&password("password"), &hash));
        assert!(!hasher.verify(&password("password "), &hash));
        assert_ne!(hash, hasher.hash(&password("password")).unwrap(), "salts differ");
        assert_eq!(PasswordHash::parse(&hash.to_string()), Ok(hash));
    }

    #[test]
    fn new_hash_takes_19_mib_2_passes_1_lane() {
        let hash = Hasher::default().hash(&password("password")).unwrap().to_string();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hash.starts_with(&new_prefix()));
    }

    #[test]
    fn memory_is_kept_from_one_hash_to_the_next() {
        let mut hasher = Hasher::default();
        let hash = hasher.hash(&password("password")).unwrap();
        let used = allocation_counter::measure(|| {
            assert!(hasher.verify(&password("password"), &hash));
            hasher.waste(&password("password"), hash.cost());
        });
        assert!(used.bytes_max < 64 * 1024, "{} bytes", used.bytes_max);
        hasher.release_memory();
        assert!(!hasher.has_memory());
    }

    #[test]
    fn parameters_are_bounded() {
        for good in ["m=65536,t=10,p=1", "m=8,t=1,p=1", "m=128,t=1,p=16", "t=2,p=1,m=19456"] {
            assert!(PasswordHash::parse(&phc(good)).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("m=65537,t=2,p=1", HashError::Memory { kib: 65_537, min: 8 }),
            ("m=4194304,t=2,p=1", HashError::Memory { kib: 4_194_304, min: 8 }),
            ("m=7,t=2,p=1", HashError::Memory { kib: 7, min: 8 }),
            ("m=64,t=2,p=16", HashError::Memory { kib: 64, min: 128 }),
            ("m=8,t=11,p=1", HashError::Passes(11)),
            ("m=8,t=0,p=1", HashError::Passes(0)),
            ("m=8,t=1,p=0", HashError::Lanes(0)),
            ("m=8192,t=1,p=17", HashError::Lanes(17)),
            ("m=8,t=1,p=1,x=1", HashError::Parameter("x".into())),
            ("m=8,t=1,p=1,p=1", HashError::Parameter("p".into())),
            ("m=8,t=1", HashError::NotPhc),
            ("m=99999999999,t=1,p=1", HashError::NotPhc),
            ("m=-8,t=1,p=1", HashError::NotPhc),
        ] {
            assert_eq!(PasswordHash::parse(&phc(bad)), Err(error), "{bad}");
        }
    }

    #[test]
    fn hash_of_another_kind_is_named() {
        let kind = |kind: &str| Err(HashError::Kind(kind.into()));
        for (text, expected) in [
            ("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", kind("2b")),
            ("$6$salt$hash", kind("6")),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c", kind("argon2i")),
            ("$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c", kind("argon2d")),
            ("$a password$x", Err(HashError::NotPhc)),
            ("hunter42", Err(HashError::NotPhc)),
            ("", Err(HashError::NotPhc)),
            ("$argon2id", Err(HashError::NotPhc)),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", Err(HashError::NotPhc)),
        ] {
            assert_eq!(PasswordHash::parse(text), expected, "{text}");
        }
        let old = format!("$argon2id$v=16$m=8,t=1,p=1${SALT}${OUTPUT}");
        assert_eq!(PasswordHash::parse(&old), Err(HashError::Version(16)));
        let old = format!("$argon2id$m=8,t=1,p=1${SALT}${OUTPUT}");
        assert_eq!(PasswordHash::parse(&old), Err(HashError::Version(16)));
        let short = format!("$argon2id$v=19$m=8,t=1,p=1${SALT}$CTFhFdXPJO1aFaMaO6M");
        assert_eq!(PasswordHash::parse(&short), Err(HashError::Output(14)));
        let long = format!("{}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", phc("m=8,t=1,p=1"));
        assert_eq!(PasswordHash::parse(&long), Err(HashError::NotPhc));
    }

    #[test]
    fn hash_is_not_in_its_debug_output() {
        let hash = PasswordHash::parse(&phc("m=8,t=1,p=1")).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(m=8,t=1,p=1)");
    }
}
