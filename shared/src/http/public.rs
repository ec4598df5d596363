//! Which addresses a request to a merchant's URL may go to: public ones only, so that no URL and no name leads into a
//! private network, to Lambda's own interface or to a cloud's metadata service.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// An address that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address")]
pub struct NotPublic(pub IpAddr);

/// Which addresses are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Public ones.
    Public,
    /// Public ones and loopback: on a local stack.
    PublicAndLoopback,
}

impl Allowed {
    /// Checks one address.
    ///
    /// # Errors
    /// If it is not allowed.
    pub fn check(self, address: IpAddr) -> Result<(), NotPublic> {
        let is_local = self == Self::PublicAndLoopback && address.is_loopback();
        if is_local || is_public(address) { Ok(()) } else { Err(NotPublic(address)) }
    }
}

/// Resolves names, and fails if one of a name's addresses is not allowed. The connection is made to an address that
/// this resolver has returned, so nobody can answer with another one in between.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Allowed);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(all_allowed(allowed, found)?)
        })
    }
}

/// What a name resolves to, if all of it is allowed.
fn all_allowed(allowed: Allowed, found: Vec<SocketAddr>) -> Result<Addrs, NotPublic> {
    for address in &found {
        allowed.check(address.ip())?;
    }
    Ok(Box::new(found.into_iter()))
}

/// The address that a failed call was not allowed to go to, if that is why it failed.
pub(super) fn refused(error: &reqwest::Error) -> Option<NotPublic> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<NotPublic>() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special-purpose addresses (RFC 6890 and later).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, ..)
    );
    !is_special
}

/// Only global unicast (2000::/3) without its special parts. An address that contains an IPv4 address is as public as
/// that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo, ORCHID, benchmarking and the rest of the IETF's block; documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        _ => a & 0xe000 == 0x2000,
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "an https URL of a public host",
            Self::PublicAndLoopback => "an https URL of a public host, or a URL of loopback",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_allowed() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "192.167.1.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        for text in public {
            assert_eq!(Allowed::Public.check(text.parse().unwrap()), Ok(()), "{text}");
        }
        let others = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
        ];
        for text in others {
            let address = text.parse().unwrap();
            assert_eq!(Allowed::Public.check(address), Err(NotPublic(address)), "{text}");
            let local = Allowed::PublicAndLoopback.check(address).is_ok();
            assert_eq!(local, address.is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_name_with_an_address_that_is_not_public_is_refused() {
        let found = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
        };
        let public = found(&["8.8.8.8", "2606:4700::1111"]);
        assert_eq!(all_allowed(Allowed::Public, public.clone()).unwrap().collect::<Vec<_>>(), public);
        for metadata in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"] {
            for texts in [vec![metadata], vec!["8.8.8.8", metadata]] {
                for allowed in [Allowed::Public, Allowed::PublicAndLoopback] {
                    let refused = all_allowed(allowed, found(&texts)).err();
                    assert_eq!(refused, Some(NotPublic(metadata.parse().unwrap())), "{texts:?}");
                }
            }
        }
    }
}
