//! Addresses that a NAT translates one to one, told by configuration instead of a STUN server: a cloud's public
//! address before a host that has a private one. Part of what gathering is told; RFC 8445 section 5.1.1. Answers
//! to nothing in libwebrtc; other engines call it 1:1 NAT mapping.

use std::net::IpAddr;

use thiserror::Error;

/// What becomes of host candidates whose address is mapped. Not W3C's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NatOneToOneMode {
    /// They show the external address in place of the local one, which stays hidden.
    #[default]
    Host,
    /// They stay, and a server-reflexive candidate of the external address is added.
    ServerReflexive,
}

/// Which local address the network outside knows as which. The NAT keeps ports as they are, so that what is sent
/// to the external address and a port comes to the local address and the same port. Not W3C's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatOneToOne {
    mode: NatOneToOneMode,
    /// Of local addresses that are named.
    mapped: Vec<(IpAddr, IpAddr)>,
    /// Of all others, one of each family at most.
    others: Vec<IpAddr>,
}

/// Why addresses are no mapping. Not W3C's.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatOneToOneError {
    /// The external address is not one that a host has.
    #[error("{0} is not an address that others can send to")]
    Unusable(IpAddr),
    /// IPv4 and IPv6 are not translated into each other.
    #[error("{local} and {external} are not of one family")]
    Families {
        /// The local address.
        local: IpAddr,
        /// The external one.
        external: IpAddr,
    },
    /// There is one already.
    #[error("there is an external address for the same local ones already: {0}")]
    Twice(IpAddr),
}

impl NatOneToOne {
    /// No addresses yet.
    pub fn new(mode: NatOneToOneMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// The external address of every local one that is not named, loopback apart.
    ///
    /// # Errors
    /// If others cannot send to it, or there is one of its family already.
    pub fn with_external(mut self, external: IpAddr) -> Result<Self, NatOneToOneError> {
        check(external)?;
        if let Some(known) = self.others.iter().find(|known| known.is_ipv4() == external.is_ipv4()) {
            return Err(NatOneToOneError::Twice(*known));
        }
        self.others.push(external);
        Ok(self)
    }

    /// The external address of one local one.
    ///
    /// # Errors
    /// As [`with_external`](Self::with_external), or if they are not of one family.
    pub fn with_mapping(mut self, external: IpAddr, local: IpAddr) -> Result<Self, NatOneToOneError> {
        check(external)?;
        if external.is_ipv4() != local.is_ipv4() {
            return Err(NatOneToOneError::Families { local, external });
        }
        if let Some((_, known)) = self.mapped.iter().find(|(known, _)| *known == local) {
            return Err(NatOneToOneError::Twice(*known));
        }
        self.mapped.push((local, external));
        Ok(self)
    }

    /// What becomes of host candidates.
    pub fn mode(&self) -> NatOneToOneMode {
        self.mode
    }

    /// Whether an address is one of the external ones.
    pub(crate) fn is_external(&self, ip: IpAddr) -> bool {
        self.mapped.iter().any(|(_, external)| *external == ip) || self.others.contains(&ip)
    }

    /// The external address of a local one, if it has one.
    pub fn external_of(&self, local: IpAddr) -> Option<IpAddr> {
        let named = self.mapped.iter().find(|(known, _)| *known == local).map(|(_, external)| *external);
        let others = self.others.iter().filter(|_| !local.is_loopback());
        named.or_else(|| others.copied().find(|external| external.is_ipv4() == local.is_ipv4()))
    }
}

fn check(external: IpAddr) -> Result<(), NatOneToOneError> {
    let broadcast = matches!(external, IpAddr::V4(ip) if ip.is_broadcast());
    if external.is_unspecified() || external.is_multicast() || external.is_loopback() || broadcast {
        return Err(NatOneToOneError::Unusable(external));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_named_address_goes_before_the_others() {
        let mapping = NatOneToOne::new(NatOneToOneMode::Host)
            .with_external(ip("203.0.113.1"))
            .and_then(|mapping| mapping.with_mapping(ip("203.0.113.2"), ip("10.0.0.2")))
            .unwrap();
        for (local, external) in [
            ("10.0.0.2", Some("203.0.113.2")),
            ("10.0.0.3", Some("203.0.113.1")),
            ("127.0.0.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(mapping.external_of(ip(local)), external.map(ip), "{local}");
        }
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        let none = NatOneToOne::default();
        for unusable in ["0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1"] {
            let refused = none.clone().with_external(ip(unusable));
            assert_eq!(refused, Err(NatOneToOneError::Unusable(ip(unusable))));
        }
        let one = none.clone().with_external(ip("203.0.113.1")).unwrap();
        assert!(one.clone().with_external(ip("2001:db8::1")).is_ok());
        let twice = Err(NatOneToOneError::Twice(ip("203.0.113.1")));
        assert_eq!(one.with_external(ip("203.0.113.9")), twice);
        let (local, external) = (ip("10.0.0.2"), ip("2001:db8::1"));
        let families = Err(NatOneToOneError::Families { local, external });
        assert_eq!(none.clone().with_mapping(external, local), families);
        let named = none.with_mapping(ip("203.0.113.1"), local).unwrap();
        assert_eq!(named.with_mapping(ip("203.0.113.9"), local), twice);
    }
}
