//! The id of an event, as a path of the HTTP API names it.

use std::{fmt, str::FromStr};

use crate::order::OrderKey;

/// Text that is not the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event_id must be such as mobile/6901616fe9e88196b4eb64b0#2; in a path, # is %23")]
pub struct InvalidEventId;

/// `{product}/{id}#{seq}` or `vendor/{key}#{seq}`: what an event is about, and its number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// What the event is about.
    pub about: About,
    /// The number of the event, from 1.
    pub seq: u32,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// An order.
    Order(OrderKey),
    /// A key of the vendor, by its fingerprint.
    VendorKey(String),
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (about, seq) = text.split_once('#').ok_or(InvalidEventId)?;
        let (kind, id) = about.split_once('/').ok_or(InvalidEventId)?;
        let is_number =
            !seq.is_empty() && !seq.starts_with('0') && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| is_number).ok_or(InvalidEventId)?;
        let is_fingerprint =
            id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let about = if kind == "vendor" && is_fingerprint {
            About::VendorKey(id.to_owned())
        } else {
            let product = kind.parse().map_err(|_| InvalidEventId)?;
            About::Order(OrderKey { product, id: id.parse().map_err(|_| InvalidEventId)? })
        };
        Ok(Self { about, seq })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about {
            About::Order(key) => write!(f, "{key}#{}", self.seq),
            About::VendorKey(key) => write!(f, "vendor/{key}#{}", self.seq),
        }
    }
}
