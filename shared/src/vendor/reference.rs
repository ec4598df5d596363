//! The vendor's form of a merchant's reference: `abc` is sent, and may come back as `API-+213665983439-abc`.

use crate::order::Ref;

/// The reference without the vendor's prefix `API-+{number}-`; `None` if it has none. The number is Algerian in
/// international form: 213 and eight or nine digits.
pub fn without_prefix(reference: &Ref) -> Option<Ref> {
    Ref::try_from(strip_vendor_prefix(reference.as_str())?.to_owned()).ok()
}

/// Whether the vendor's `shown` is the reference `asked`: the same text, or with one prefix. Nothing looser:
/// `order-1` must not match `1`, since an order found by mistake would be delivered or refunded to another customer.
pub fn names(shown: &str, asked: &Ref) -> bool {
    shown == asked.as_str() || strip_vendor_prefix(shown) == Some(asked.as_str())
}

fn strip_vendor_prefix(text: &str) -> Option<&str> {
    let (number, rest) = text.strip_prefix("API-+213")?.split_once('-')?;
    let is_number = matches!(number.len(), 8 | 9) && number.bytes().all(|byte| byte.is_ascii_digit());
    Some(rest).filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Ref {
        Ref::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_ref_matches_exactly_or_with_one_prefix() {
        for (asked, shown, same) in [
            ("abc", "abc", true),
            ("abc", "API-+213665983439-abc", true),
            ("abc", "API-+21321665983-abc", true),
            ("API-+213665983439-abc", "API-+213665983439-abc", true),
            ("API-+213665983439-abc", "API-+213555000111-API-+213665983439-abc", true),
            ("abc", "API-+213555000111-API-+213665983439-abc", false),
            ("API-+213665983439-abc", "abc", false),
            ("API-+213111111111-abc", "API-+213222222222-abc", false),
            ("abc", "API-+1-abc", false),
            ("abc", "API-+213-abc", false),
            ("abc", "API-+213665983439-xabc", false),
            ("abc", "api-+213665983439-abc", false),
            ("1", "API-+213665983439-order-1", false),
            ("1", "order-1", false),
            ("abc", "abcd", false),
            ("abc", "ABC", false),
            ("abc", " abc", false),
        ] {
            assert_eq!(names(shown, &reference(asked)), same, "asked {asked}, shown {shown}");
        }
    }

    #[test]
    fn only_one_prefix_is_removed() {
        let bare = |text: &str| without_prefix(&reference(text)).map(String::from);
        assert_eq!(bare("API-+213665983439-abc-1").as_deref(), Some("abc-1"));
        for none in [
            "abc",
            "API-+213665983439-",
            "API-+21366x983439-abc",
            "API-+-abc",
            "API-+1-abc",
            "API-213665983439-abc",
        ] {
            assert_eq!(bare(none), None, "{none}");
        }
    }
}
