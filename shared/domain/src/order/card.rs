//! An internet card's code, as the table keeps it.

use std::fmt;

/// A card code, encrypted (KMS, context = product and id), with a mask to show.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCard {
    /// Ciphertext of the code.
    pub ciphertext: Vec<u8>,
    /// What may be shown: stars and the last two characters.
    pub masked: String,
}

impl SealedCard {
    /// The mask for a code: every character a star but the last two, and those too where the code is short.
    pub fn mask(code: &str) -> String {
        let length = code.chars().count();
        let shown = if length >= 8 { 2 } else { 0 };
        "*".repeat(length - shown) + &code.chars().skip(length - shown).collect::<String>()
    }
}

impl fmt::Debug for SealedCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedCard({})", self.masked)
    }
}
