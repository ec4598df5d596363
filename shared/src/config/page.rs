//! The settings of the tracking page.

use std::{fmt, str::FromStr, time::Duration};

use super::value::Values;

/// Settings of the tracking page. Without `TRACKING_PAGE` there is none.
#[derive(Clone, Debug)]
pub struct TrackingPage {
    /// `TRACKING_PAGE`.
    pub is_on: bool,
    /// `TRACKING_PAGE_SHOWS_CARD`.
    pub shows_card: bool,
    /// `TRACKING_URL_EXPIRES_AFTER`.
    pub expires_after: Duration,
    /// `TRACKING_URL_BASE`, without a slash at its end. Empty: not set.
    pub url_base: String,
    /// `PAGE_SECRET_ID`. Empty: not set.
    pub secret_id: String,
    /// The shop.
    pub shop: Shop,
}

/// The shop, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// `SHOP_NAME`. Empty: none is shown.
    pub name: String,
    /// `SHOP_COLOUR`.
    pub colour: Colour,
    /// `SHOP_HELP_URL`. Empty: no help button.
    pub help_url: String,
}

impl TrackingPage {
    /// The settings of the page in `values`.
    pub(super) fn of(values: &Values) -> Self {
        Self {
            is_on: values.tracking_page,
            shows_card: values.tracking_page_shows_card,
            expires_after: values.tracking_url_expires_after,
            url_base: values.tracking_url_base.trim_end_matches('/').to_owned(),
            secret_id: values.page_secret_id.clone(),
            shop: Shop {
                name: values.shop_name.clone(),
                colour: values.shop_colour,
                help_url: values.shop_help_url.clone(),
            },
        }
    }
}

/// A colour of sRGB that can be read on white, and white on it: its contrast with white is at least 4.5 (WCAG 2.2, 1.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour([u8; 3]);

/// The background of the page's cards in the dark (`--card` in the page's style).
const DARK: [u8; 3] = [0x1a, 0x1f, 0x25];
const WHITE: [u8; 3] = [255; 3];
/// The least contrast of text with its background.
const READABLE: f64 = 4.5;

/// Text that is no such colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a colour such as #0b5cad, dark enough for white text on it")]
pub struct InvalidColour;

impl Colour {
    /// The default: a quiet blue.
    pub(super) const DEFAULT: Self = Self([0x0b, 0x5c, 0xad]);

    /// The colour mixed with as much white as it needs to be read on the page's dark background.
    #[must_use]
    pub fn on_dark(self) -> Self {
        let mixed = |parts: u16| {
            let mix = |part: u8| {
                let mixed = (u16::from(part) * (20 - parts) + 255 * parts) / 20;
                u8::try_from(mixed).unwrap_or(u8::MAX)
            };
            self.0.map(mix)
        };
        Self((0..=20).map(mixed).find(|mixed| contrast(*mixed, DARK) >= READABLE).unwrap_or(WHITE))
    }
}

impl FromStr for Colour {
    type Err = InvalidColour;

    fn from_str(text: &str) -> Result<Self, InvalidColour> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or(InvalidColour)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(InvalidColour)?;
        let [_, red, green, blue] = number.to_be_bytes();
        let parts = [red, green, blue];
        if contrast(parts, WHITE) >= READABLE { Ok(Self(parts)) } else { Err(InvalidColour) }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The contrast of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// WCAG 2.2, "relative luminance".
fn luminance([red, green, blue]: [u8; 3]) -> f64 {
    let linear = |part: u8| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

/// Whether the help button may lead to this address: https, mailto or tel, without spaces and quotes.
pub(super) fn is_help_url(text: &str) -> bool {
    let rest = ["https://", "mailto:", "tel:"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
    })
}

/// Whether links may begin with this: an https URL, or an http URL of loopback, without a query.
pub(super) fn is_url_base(text: &str) -> bool {
    super::value::vendor_url(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_that_cannot_be_read_on_white_is_refused() {
        for text in ["#000000", "#0b5cad", "#767676", "#C00000", "#006633"] {
            let colour: Colour = text.parse().unwrap();
            assert_eq!(colour.to_string(), text.to_lowercase());
            assert!(contrast(colour.on_dark().0, DARK) >= READABLE, "{text}");
        }
        for text in [
            "#777777", "#ffffff", "#ff8800", "#00ff00", "0b5cad", "#0b5ca", "#0b5cad0", "#+b5cad", "blue", "",
        ] {
            assert_eq!(text.parse::<Colour>(), Err(InvalidColour), "{text}");
        }
        assert_eq!(Colour::DEFAULT.to_string().parse(), Ok(Colour::DEFAULT));
        assert!((contrast([0; 3], WHITE) - 21.0).abs() < 0.001);
    }

    #[test]
    fn the_help_button_leads_to_the_web_a_mailbox_or_a_phone() {
        for text in ["https://shop.example/help", "mailto:help@shop.example", "tel:+213550123456"] {
            assert!(is_help_url(text), "{text}");
        }
        for text in [
            "http://shop.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "tel:",
            "tel:1 2",
            "shop",
        ] {
            assert!(!is_help_url(text), "{text}");
        }
    }
}
