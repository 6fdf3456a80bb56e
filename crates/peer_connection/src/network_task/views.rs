//! What the network task tells of its transports, for the views the application holds.

use std::time::Instant;

use peerstack_dtls::DtlsTransportInternal;
use peerstack_jsep::{IceComponent, TransportId};
use peerstack_p2p::{IceServer, IceTransport, P2PTransportChannel};
use peerstack_sctp::SctpTransportState;

use super::connection::Connection;
use super::network_event::NetworkEvent;
use crate::configuration::IceTransportPolicy;
use crate::ice_transport::IceParameters;
use crate::transport_views::{IceChange, SctpView, TransportView, TransportsView};

impl Connection {
    /// The transports as they are now that a description was applied.
    pub(super) fn transports_view(&self) -> TransportsView {
        let controller = &self.controller;
        let mut view = TransportsView::default();
        for (id, transport) in controller.kept_transports() {
            view.by_mid.extend(controller.mids_of(id).map(|mid| (mid.to_owned(), id)));
            let parameters = |description: Option<&peerstack_jsep::TransportDescription>| {
                description.and_then(|description| description.ice.as_ref()).map(IceParameters::from)
            };
            view.transports.extend(transport.components().map(|(component, dtls)| TransportView {
                id,
                component,
                mid: controller.mid_of(id).map(str::to_owned),
                role: dtls.ice().ice_role(),
                local_parameters: parameters(transport.local_description()),
                remote_parameters: parameters(transport.remote_description()),
            }));
        }
        view.sctp = controller.sctp_transport_id().and_then(|id| self.sctp_view(id));
        view
    }

    fn sctp_view(&self, transport: TransportId) -> Option<SctpView> {
        let sctp = self.controller.transport_by_id(transport)?.sctp()?;
        Some(SctpView {
            transport,
            state: sctp.state(),
            max_message_size: sctp.max_message_size(),
            max_channels: sctp.max_channels(),
        })
    }

    /// Something changed of an ICE transport.
    pub(super) fn tell_ice(&self, transport: TransportId, component: IceComponent, change: IceChange) {
        let found = self.controller.transport_by_id(transport).and_then(|it| it.dtls_of(component));
        let Some(dtls) = found else { return };
        let role = dtls.ice().ice_role();
        self.tell(NetworkEvent::IceTransport { transport, component, role, change });
    }

    /// The state of the data channels' association changed.
    pub(super) fn tell_sctp(&self, transport: TransportId, state: SctpTransportState) {
        if let Some(view) = self.sctp_view(transport) {
            self.tell(NetworkEvent::SctpTransport(SctpView { state, ..view }));
        }
    }

    /// Servers and policy for the next gathering of each transport.
    pub(super) fn set_configuration(
        &mut self,
        now: Instant,
        servers: Vec<IceServer>,
        policy: IceTransportPolicy,
        restart_ice: bool,
        pool_size: Option<u8>,
    ) {
        self.controller.factory_mut().set_servers(now, servers, policy);
        if let Some(size) = pool_size {
            self.set_candidate_pool_size(now, size);
        }
        let config = self.controller.factory().port_allocator_config();
        for (_, transport) in self.controller.kept_transports_mut() {
            transport
                .for_each_ice(|ice: &mut P2PTransportChannel| ice.set_port_allocator_config(config.clone()));
        }
        if restart_ice {
            self.controller.set_needs_ice_restart_flag();
        }
    }
}
