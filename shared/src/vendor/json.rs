//! Reads the vendor's JSON field by field.
//!
//! A document is split into fields whose values stay raw text. Each field is then read by itself: a field of an
//! unexpected type is left out and noted, and does not affect the others. An order's id and status are read strictly.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::{error::Category, value::RawValue};

use super::VendorError;

/// Fields noted per answer; further ones are only counted.
const MAX_NOTED: usize = 16;
/// The end of a text that was cut.
pub(super) const CUT_MARK: &str = "… [cut]";

/// The documented fields of an answer that could not be read as documented: path and type found, never the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    noted: Vec<String>,
    count: usize,
}

impl Oddities {
    pub(super) fn note(&mut self, path: &str, found: &str) {
        self.count += 1;
        if self.noted.len() < MAX_NOTED {
            self.noted.push(format!("{path}: {found}"));
        }
    }

    /// Number of fields, including those that are not noted.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// `data.topup_amount: object, data.num_trans: array`, for a log line.
impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.noted.join(", "))?;
        match self.count.saturating_sub(self.noted.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The text of a body, without a byte order mark. Invalid UTF-8 and unpaired surrogate escapes become U+FFFD.
pub(super) fn text_of(body: &[u8]) -> Cow<'_, str> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => replace_unpaired_surrogates(text),
        Cow::Owned(text) => Cow::Owned(replace_unpaired_surrogates(&text).into_owned()),
    }
}

/// Replaces unpaired surrogate escapes. JSON writes U+1F600 as `\ud83d\ude00`; a text that was cut between the two
/// has an unpaired one, which is not a character.
fn replace_unpaired_surrogates(text: &str) -> Cow<'_, str> {
    let mut replaced: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let first = escaped_unit(text, at);
        let second = escaped_unit(text, at + 6);
        match first {
            None => at += 2,
            Some(0xd800..0xdc00) if matches!(second, Some(0xdc00..0xe000)) => at += 12,
            Some(0xd800..0xe000) => {
                let replaced = replaced.get_or_insert_with(String::new);
                replaced.push_str(text.get(copied..at).unwrap_or_default());
                replaced.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            Some(_) => at += 6,
        }
    }
    match replaced {
        None => Cow::Borrowed(text),
        Some(replaced) => Cow::Owned(replaced + text.get(copied..).unwrap_or_default()),
    }
}

/// The code unit of the escape `\uXXXX` that begins at byte `at`.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The fields of an object in the vendor's order, with raw values.
#[derive(Debug)]
pub(super) struct Object<'a> {
    path: String,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Parses a whole document.
    ///
    /// # Errors
    /// [`VendorError::Unreadable`] if it is not JSON, or not an object.
    pub(super) fn document(text: &'a str) -> Result<Self, VendorError> {
        let Fields(fields) = serde_json::from_str(text).map_err(|error| not_an_object(&error))?;
        Ok(Self { path: String::new(), fields })
    }

    /// Parses `value`, found at `path`; `None` if it is not an object.
    pub(super) fn at(path: String, value: &'a RawValue) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(value.get()).ok()?;
        Some(Self { path, fields })
    }

    /// The path of the field `name`.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value of `name`: the last if there are several; `None` if missing or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        Some(*value).filter(|value| value.get() != "null")
    }

    /// The object at `name`; another type is noted.
    pub(super) fn object(&self, name: &str, odd: &mut Oddities) -> Option<Self> {
        let value = self.get(name)?;
        let object = Self::at(self.path_of(name), value);
        if object.is_none() {
            odd.note(&self.path_of(name), kind(value));
        }
        object
    }

    /// The text at `name`. A number is returned with its own digits; another type is noted. A text above `max_bytes`
    /// as JSON is cut, marked and noted.
    pub(super) fn text(&self, name: &str, max_bytes: usize, odd: &mut Oddities) -> Option<String> {
        let value = self.get(name)?;
        let text = match Kind::of(value) {
            Kind::Text => serde_json::from_str::<String>(value.get()).ok(),
            Kind::Number => Some(value.get().to_owned()),
            Kind::Object | Kind::Array | Kind::Boolean => None,
        };
        match text {
            None => odd.note(&self.path_of(name), kind(value)),
            Some(ref text) if json_len(text) > max_bytes => {
                odd.note(&self.path_of(name), "too long, cut");
                return Some(cut(text, max_bytes));
            }
            Some(_) => {}
        }
        text
    }

    /// The text at `name`, strictly: no other type, and no differing duplicates.
    ///
    /// # Errors
    /// [`VendorError::Unreadable`] names the type found, `missing`, or differing duplicates.
    pub(super) fn strict_text(&self, name: &str) -> Result<String, VendorError> {
        let unreadable = |what: &str| VendorError::unreadable(&self.path_of(name), what);
        let mut found: Option<String> = None;
        for (_, value) in self.fields.iter().filter(|(field, _)| field == name) {
            let text: String = match Kind::of(value) {
                Kind::Text => serde_json::from_str(value.get()).map_err(|_| unreadable("text"))?,
                _ => return Err(unreadable(kind(value))),
            };
            if found.as_ref().is_some_and(|before| *before != text) {
                return Err(unreadable("duplicates that differ"));
            }
            found = Some(text);
        }
        found.ok_or_else(|| unreadable("missing"))
    }

    /// The count at `name`: a number, or a text of digits. Anything else is noted.
    pub(super) fn count(&self, name: &str, odd: &mut Oddities) -> Option<u64> {
        let value = self.get(name)?;
        let text = value.get().trim_matches('"');
        // `12.0` is accepted; a number above `u64` is not.
        let count = text.parse().ok().or_else(|| text.strip_suffix(".0")?.parse().ok());
        if count.is_none() {
            odd.note(&self.path_of(name), kind(value));
        }
        count
    }

    /// The boolean at `name`, also as text. Anything else is noted.
    pub(super) fn flag(&self, name: &str, odd: &mut Oddities) -> Option<bool> {
        let value = self.get(name)?;
        match value.get().trim_matches('"') {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                odd.note(&self.path_of(name), kind(value));
                None
            }
        }
    }

    /// The elements of the array at `name`; `None` if missing. Another type is noted.
    pub(super) fn array(&self, name: &str, odd: &mut Oddities) -> Option<Vec<&'a RawValue>> {
        let value = self.get(name)?;
        let elements = elements(value);
        if elements.is_none() {
            odd.note(&self.path_of(name), kind(value));
        }
        elements
    }
}

/// The elements of an array; `None` if `value` is not one.
pub(super) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Fields in their order; names may repeat.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Visitor)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Boolean,
}

impl Kind {
    /// The type of a value that is not `null`.
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Boolean,
            _ => Self::Number,
        }
    }
}

/// The name of a value's type, for a log line.
pub(super) fn kind(value: &RawValue) -> &'static str {
    match Kind::of(value) {
        _ if value.get() == "null" => "null",
        Kind::Object => "object",
        Kind::Array => "array",
        Kind::Text => "text",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
    }
}

/// Length of a text as JSON in bytes, without quotes. A control character takes 6 bytes in JSON.
fn json_len(text: &str) -> usize {
    text.chars().map(json_char_len).sum()
}

fn json_char_len(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..' ' => 6,
        _ => char.len_utf8(),
    }
}

/// Cuts a text and marks it: at most `max_bytes` as JSON, the mark included.
fn cut(text: &str, max_bytes: usize) -> String {
    let mut room = max_bytes.saturating_sub(CUT_MARK.len());
    let fits = |char: &char| {
        let left = room.checked_sub(json_char_len(*char));
        room = left.unwrap_or(room);
        left.is_some()
    };
    text.chars().take_while(fits).chain(CUT_MARK.chars()).collect()
}

fn not_an_object(error: &serde_json::Error) -> VendorError {
    let what = match error.classify() {
        Category::Data => "not an object",
        Category::Eof => "cut off",
        Category::Syntax | Category::Io => "not JSON",
    };
    VendorError::unreadable(".", what)
}

#[cfg(test)]
mod tests;
