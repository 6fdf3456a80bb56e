//! Host names by the system's resolver; names below `.local` by mDNS. Answers to libwebrtc's
//! `AsyncDnsResolver`. Each look-up is one helper future: one result, then gone.

use std::io;
use std::net::IpAddr;

use peerstack_base::{DnsResolver, ResolveFuture};

use super::MdnsResolver;

/// The resolver of production.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDnsResolver {
    mdns: MdnsResolver,
}

impl DnsResolver for SystemDnsResolver {
    fn resolve(&self, name: &str) -> ResolveFuture {
        if is_mdns(name) {
            return self.mdns.resolve(name);
        }
        let name = name.to_owned();
        Box::pin(async move {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in tokio::net::lookup_host((name.as_str(), 0)).await? {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            match addresses.is_empty() {
                true => Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"))),
                false => Ok(addresses),
            }
        })
    }
}

fn is_mdns(name: &str) -> bool {
    name.trim_end_matches('.').to_ascii_lowercase().ends_with(".local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_resolves_to_itself_and_local_names_go_to_mdns() {
        let addresses = SystemDnsResolver::default().resolve("127.0.0.1").await.unwrap();
        assert_eq!(addresses, [IpAddr::from([127, 0, 0, 1])]);
        assert!(is_mdns("4ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.LOCAL"));
        assert!(!is_mdns("local.example.org"));
    }
}
