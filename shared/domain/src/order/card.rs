//! The code of an internet card, as stored.

use std::fmt;

/// A card code encrypted with KMS (encryption context: product and id), with its mask.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCard {
    /// Ciphertext of the code.
    pub ciphertext: Vec<u8>,
    /// The mask that may be displayed, see [`Self::mask`].
    pub masked: String,
}

impl SealedCard {
    /// The mask of a code: a star for each character except the last two; all stars for codes under 8 characters.
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
