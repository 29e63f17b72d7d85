//! The dice of hostile inputs: choices, texts and mutations of texts.

/// The dice of one input.
pub(super) struct Dice(crate::dice::Dice);

impl Dice {
    pub(super) fn new(seed: u64, input: u64) -> Self {
        let mut dice = Self(crate::dice::Dice::new(seed ^ input.wrapping_mul(0xd605_1e7d_1a93_a5e1)));
        dice.roll();
        dice
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0.next()
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.roll(end as u64)).unwrap()
    }

    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Returns a text that an attacker would try, or random characters.
    pub(super) fn text(&mut self) -> String {
        match self.below(8) {
            0 => self.pick(&TEXTS).repeat(self.below(3_000)),
            1 => self.roll().to_string(),
            2 => (0..self.below(60)).map(|_| char::from(u8::try_from(self.below(256)).unwrap())).collect(),
            3 => (0..self.below(30))
                .filter_map(|_| char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()))
                .collect(),
            _ => self.pick(&TEXTS).to_owned(),
        }
    }

    /// Changes a text in one to eight places.
    pub(super) fn mutated(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(24)).min(bytes.len());
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                _ => {
                    let text = self.text();
                    drop(bytes.splice(at..end, text.into_bytes()));
                }
            }
        }
        bytes
    }

    /// Changes a text in one to eight places, and keeps it a text.
    pub(super) fn mutated_text(&mut self, text: &str) -> String {
        String::from_utf8_lossy(&self.mutated(text.as_bytes())).into_owned()
    }
}

const TEXTS: [&str; 30] = [
    "",
    " ",
    "\0",
    "\n",
    "\r\nSet-Cookie: a=b",
    "\u{202e}",
    "\u{200b}a",
    "\u{2028}",
    "\u{2800}",
    "\u{feff}",
    "🦀",
    "%00",
    "%",
    "../../etc/passwd",
    "'; DROP TABLE circuit_breaker_states; --",
    "]] redis.call('FLUSHALL') --",
    "<script>alert(1)</script>",
    "{\"a\":[[[[",
    "[",
    "\"",
    "\\",
    "=",
    "&",
    "?",
    "-1",
    "1e400",
    "NaN",
    "18446744073709551615",
    "99999999999999999999",
    "null",
];
