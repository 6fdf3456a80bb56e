//! The outside world as production sees it: UDP sockets on tokio and `quinn-udp`, TCP and TLS streams, the system's interfaces and
//! resolver, mDNS. Simulations replace all of it through
//! [`PeerConnectionDependencies`](crate::PeerConnectionDependencies).

mod basic_network_manager;
mod basic_packet_socket_factory;
mod mdns_message;
mod mdns_resolver;
mod mdns_responder;
mod mdns_sockets;
mod network_monitor;
mod stream_sockets;
mod system_dns_resolver;

pub use basic_network_manager::BasicNetworkManager;
pub use basic_packet_socket_factory::BasicPacketSocketFactory;
pub use mdns_resolver::MdnsResolver;
pub use mdns_responder::BasicMdnsResponder;
pub use stream_sockets::HttpProxy;
pub use system_dns_resolver::SystemDnsResolver;
