//! JSON objects that keep member order, unknown members and number formats.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// An object as written: its members in order, each value as JSON text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.0.push((name.to_owned(), value));
        self
    }

    pub(crate) fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// An amount of money; whole amounts are written without `.0`.
    pub(crate) fn with_amount(self, name: &str, amount: Option<f64>) -> Self {
        match amount {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => self.with(name, whole as i64),
            other => self.with_some(name, other),
        }
    }

    /// A value that is JSON text.
    pub(crate) fn with_json(self, name: &str, json: &'static str) -> Self {
        match serde_json::from_str::<&RawValue>(json) {
            Ok(raw) => self.with(name, raw),
            Err(_) => self.with(name, json),
        }
    }

    /// Merges `more` into `self`. Members of both keep their place in `more` and its value.
    pub(crate) fn then(mut self, more: &Fields) -> Self {
        self.0.retain(|(name, _)| more.get(name).is_none());
        self.0.extend(more.0.iter().cloned());
        self
    }

    /// `self` without the members of `other`.
    pub(crate) fn without(mut self, other: &Fields) -> Self {
        self.0.retain(|(name, _)| other.get(name).is_none());
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_ref())
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(member) = map.next_entry()? {
                    fields.push(member);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
