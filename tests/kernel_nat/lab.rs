//! The networks of a test: a public one, and LANs behind routers of the kernel's NAT.
//!
//! ```text
//!                    internet 203.0.113.0/24, coturn at .1
//!         .10 ┌─────────────┴─────┬───────────────────┐ .12
//!         router 0            router 1            router 2
//!   10.0.0.1 │          10.0.1.1 │          10.0.2.1 │
//!        alice eth0           bob eth0           alice eth1, in some tests
//! ```

use crate::namespace::Namespace;

/// Where the servers are.
pub(crate) const PUBLIC: &str = "203.0.113.1";
/// The other address of a server that tells of NATs (RFC 5780).
pub(crate) const OTHER: &str = "203.0.113.2";

/// What a router does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    /// Masquerades and keeps ports where it can; lets in what was asked for. To who is behind it it looks like a
    /// port-restricted cone.
    Cone,
    /// As it, and lets in all UDP.
    FullCone,
    /// As it, and lets in UDP of addresses that were sent to.
    RestrictedCone,
    /// Masquerades with ports that are random for each connection.
    Symmetric,
    /// As the first, and drops UDP.
    NoUdp,
    /// As the second, and drops UDP.
    SymmetricNoUdp,
}

impl Nat {
    /// For the router of a host.
    fn rules(self, host: &str) -> String {
        let flags = match self {
            Self::Symmetric | Self::SymmetricNoUdp => "random,fully-random",
            _ => "",
        };
        let udp = match self {
            Self::NoUdp | Self::SymmetricNoUdp => "meta l4proto udp drop",
            Self::RestrictedCone => "oifname \"wan\" meta l4proto udp update @asked { ip daddr }",
            _ => "",
        };
        // The ports are those of the host: nobody else is behind this router.
        let from = match self {
            Self::FullCone => Some(""),
            Self::RestrictedCone => Some("ip saddr @asked"),
            _ => None,
        };
        let dnat = |from| format!("iifname \"wan\" {from} meta l4proto udp dnat to {host}");
        let dnat = from.map_or(String::new(), dnat);
        // What comes unasked is dropped before it is entered into the table of connections: it would take the
        // place of the connection that is about to be opened from inside.
        format!(
            "table ip nat {{
                set asked {{
                    type ipv4_addr; flags dynamic,timeout; timeout 1m;
                }}
                chain input {{
                    type filter hook input priority filter; policy drop;
                    ct state established,related accept
                    iifname \"lan\" accept
                }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    {udp}
                    ct state established,related accept
                    ct status dnat accept
                    iifname \"lan\" oifname \"wan\" accept
                }}
                chain prerouting {{
                    type nat hook prerouting priority dstnat;
                    {dnat}
                }}
                chain postrouting {{
                    type nat hook postrouting priority srcnat;
                    oifname \"wan\" masquerade {flags}
                }}
            }}"
        )
    }
}

/// The networks.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) internet: Namespace,
    routers: Vec<Namespace>,
    public_hosts: u8,
}

impl Lab {
    /// The public network.
    pub(crate) fn new() -> Self {
        let internet = Namespace::new();
        // What goes to addresses that are not there vanishes, as it does in the internet: coturn takes an error of
        // the system for the end of a client.
        internet.ip(&format!(
            "link add wan type bridge forward_delay 0\n\
             addr add {PUBLIC}/24 dev wan\n\
             link set wan up\n\
             neigh add 203.0.113.254 lladdr 02:00:00:00:00:fe dev wan nud permanent\n\
             route add default via 203.0.113.254"
        ));
        Self { internet, routers: Vec::new(), public_hosts: 0 }
    }

    /// A host with a link to a router of its own.
    pub(crate) fn host(&mut self, nat: Nat) -> Namespace {
        let host = Namespace::new();
        let link = self.link(&host, nat, "eth0");
        link.up(&host);
        host
    }

    /// A host with a public address, and whether its firewall lets in nothing but replies.
    pub(crate) fn public_host(&mut self, firewall: bool) -> Namespace {
        let (host, number) = (Namespace::new(), 20 + self.public_hosts);
        self.public_hosts += 1;
        let port = format!("wan{number}");
        self.internet.ip(&format!(
            "link add {port} type veth peer name eth0 netns {}\nlink set {port} master wan\nlink set {port} up",
            host.path(),
        ));
        host.ip(&format!("addr add 203.0.113.{number}/24 dev eth0\nlink set eth0 up"));
        if firewall {
            host.nft(
                "table ip firewall {
                    chain input {
                        type filter hook input priority filter; policy drop;
                        ct state established,related accept
                    }
                }",
            );
        }
        host
    }

    /// Gives the servers' host its other address.
    pub(crate) fn add_other_address(&self) {
        self.internet.ip(&format!("addr add {OTHER}/24 dev wan"));
    }

    /// A new router with a link to a host. The host's end is down.
    pub(crate) fn link(&mut self, host: &Namespace, nat: Nat, name: &'static str) -> Link {
        let (router, number) = (Namespace::new(), self.routers.len());
        let port = format!("wan{number}");
        self.internet.ip(&format!(
            "link add {port} type veth peer name wan netns {}\nlink set {port} master wan\nlink set {port} up",
            router.path(),
        ));
        router.ip(&format!(
            "addr add 203.0.113.{}/24 dev wan\n\
             link set wan up\n\
             link add lan type veth peer name {name} netns {}\n\
             addr add 10.0.{number}.1/24 dev lan\n\
             link set lan up",
            10 + number,
            host.path(),
        ));
        let address = format!("10.0.{number}.2");
        router.nft(&nat.rules(&address));
        router.forward();
        self.routers.push(router);
        // What is bound to an address leaves by its link, as where a host is told of each link's router.
        host.ip(&format!(
            "addr add {address}/24 dev {name}\nrule add from {address} lookup {table}",
            table = 100 + number
        ));
        Link { name, number }
    }
}

/// A host's link to a router.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    name: &'static str,
    number: usize,
}

impl Link {
    /// Connects it.
    pub(crate) fn up(&self, host: &Namespace) {
        let Self { name, number, .. } = self;
        host.ip(&format!(
            "link set {name} up\n\
             route add default via 10.0.{number}.1 dev {name} metric {metric}\n\
             route add default via 10.0.{number}.1 dev {name} table {metric}",
            metric = 100 + number
        ));
    }

    /// Whether an address is this link's, or its router's public one.
    pub(crate) fn owns(&self, address: &str) -> bool {
        address == format!("10.0.{}.2", self.number) || address == format!("203.0.113.{}", 10 + self.number)
    }

    /// Disconnects it.
    pub(crate) fn down(&self, host: &Namespace) {
        host.ip(&format!("link set {} down", self.name));
    }
}
