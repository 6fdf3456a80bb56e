//! Where an example serves HTTP; what goes wrong is a sentence.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Listens where the flags say.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{address} is in use already; --port names another port, --port 0 any that is free")
        }
        ErrorKind::AddrNotAvailable => format!("{address} is no address of this machine"),
        ErrorKind::PermissionDenied => format!("{address} may not be used by this user"),
        _ => format!("cannot listen on {address}: {error}"),
    })
}
