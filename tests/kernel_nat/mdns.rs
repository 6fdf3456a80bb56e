//! Names below `.local` between two hosts on one link that has IPv4, IPv6 or both.

use std::fs;
use std::net::IpAddr;

use peerstack::base::{DnsResolver, MdnsResponder};
use peerstack::io::{BasicMdnsResponder, MdnsResolver};

use crate::namespace::Namespace;
use crate::support;

const NAME: &str = "4ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local";
const OTHER: &str = "5ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local";

/// Two hosts whose `eth0` is one link, with these addresses.
fn neighbours(addresses: [&[&str]; 2]) -> [Namespace; 2] {
    let hosts = [Namespace::new(), Namespace::new()];
    hosts[0].ip(&format!("link add eth0 type veth peer name eth0 netns {}", hosts[1].path()));
    for (host, addresses) in hosts.iter().zip(addresses) {
        let v6 = addresses.iter().any(|address| address.contains(':'));
        host.enter(|| {
            let disabled = if v6 { "0" } else { "1" };
            let _ = fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", disabled);
        });
        host.ip("link set eth0 up");
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            host.ip(&format!("addr add {address} dev eth0 {nodad}"));
        }
    }
    hosts
}

/// G24: one host tells an address by name, and the other looks it up, by whichever family both have; an address of the other
/// family than that by which it is asked for is told too; what is taken back is not found, nor what nobody has.
#[tokio::test]
#[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
async fn names_are_found_over_either_family() {
    if !fs::exists("/proc/net/if_inet6").unwrap_or_default() {
        support::say("IPv6 is left out: this kernel has none");
        return;
    }
    let (v4, v6) = (["10.1.0.1/24", "10.1.0.2/24"], ["fd01::1/64", "fd01::2/64"]);
    let both = [[v4[0], v6[0]], [v4[1], v6[1]]];
    let rows: [(&str, [&[&str]; 2], &str); 5] = [
        ("IPv4 alone", [&v4[..1], &v4[1..]], "10.1.0.1"),
        ("IPv6 alone", [&v6[..1], &v6[1..]], "fd01::1"),
        ("both, an IPv4 address", [&both[0], &both[1]], "10.1.0.1"),
        ("both, an IPv6 address", [&both[0], &both[1]], "fd01::1"),
        ("an IPv4 address, asked for by IPv6", [&both[0], &v6[1..]], "10.1.0.1"),
    ];
    for (name, addresses, told) in rows {
        let [host, other] = neighbours(addresses);
        let told: IpAddr = told.parse().unwrap();
        let (responding, resolving) = (host.runtime(), other.runtime());
        let inside = responding.handle();
        let mut responder = BasicMdnsResponder::new();
        {
            let _inside = inside.enter();
            responder.register(NAME, told);
        }
        let resolve = |name: &'static str| {
            let resolved = resolving.handle().spawn(async move { MdnsResolver.resolve(name).await });
            async { resolved.await.unwrap() }
        };
        let found = resolve(NAME).await;
        support::say(&format!("{name:<44}{found:?}"));
        assert_eq!(found.unwrap(), [told], "{name}");
        responder.remove(NAME);
        // Nobody answers for five seconds: once for each family is enough.
        if name.ends_with("alone") {
            let (removed, unknown) = tokio::join!(resolve(NAME), resolve(OTHER));
            assert!(removed.is_err() && unknown.is_err(), "{name}: {removed:?} {unknown:?}");
        }
    }
}
