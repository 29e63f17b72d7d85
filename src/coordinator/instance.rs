//! Who this process is: an id that survives restarts, and an incarnation that does not.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns the host's name, or `localhost` if it has none that can be used.
pub(crate) fn host_name() -> String {
    let name = system_name();
    if is_id(&name) { name } else { "localhost".to_owned() }
}

/// Whether it can name an instance: 1 to 100 bytes of printable text without spaces, and without `#`, which numbers
/// instances of the same id.
pub(super) fn is_id(id: &str) -> bool {
    (1..=100).contains(&id.len()) && id.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '#')
}

#[cfg(target_os = "linux")]
fn system_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn system_name() -> String {
    let variables = ["HOSTNAME", "COMPUTERNAME"];
    variables.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

/// Returns 128 random bits as text, or those of a seed.
pub(super) fn incarnation(seed: Option<u64>) -> String {
    let mut dice = Dice::new(seed);
    format!("{:016x}{:016x}", dice.roll(), dice.roll())
}

/// Random numbers for jitter, from the randomness that std keeps for its hash maps.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()))
    }

    fn roll(&mut self) -> u64 {
        // SplitMix64, Steele, Lea & Flood 2014.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number between 0 and 1.
    pub(super) fn share(&mut self) -> f64 {
        let bits = u32::try_from(self.roll() >> 32).expect("32 bits");
        f64::from(bits) / f64::from(u32::MAX)
    }
}
