//! Both sides believe that they control: the answerer was told that the offerer is lite, which it is not (RFC
//! 8445 section 6.1.1).

use peerstack::{Configuration, PeerConnectionState};
use peerstack_netsim::Lab;

use crate::call::{Call, STEADY, each_seed, pass, two_hosts};
use crate::support::ms;

/// C07, C08: the tie-breakers decide: one side is told by a 487, or sees it by itself, and switches; the call
/// begins and stays.
#[test]
fn one_of_them_gives_way() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        let plain = Configuration::new;
        let call = Call::start_pretending_lite(&lab, (&a, plain()), (&b, plain())).await;
        let took = lab.elapsed();
        // As without the conflict, and one check more.
        assert!(took <= ms(1000), "{took:?}");
        let begun = lab.elapsed();
        pass(ms(20_000)).await;
        call.assert_gap(begun, ms(0)..=STEADY);
        for state in [PeerConnectionState::Disconnected, PeerConnectionState::Failed] {
            call.assert_never(state, ms(0));
        }
        let role =
            async |side: &crate::call::Side| side.pc.stats().await.unwrap().transports[0].ice_role.clone();
        let mut roles = [role(&call.a).await, role(&call.b).await];
        roles.sort();
        assert_eq!(roles, ["controlled", "controlling"]);
        call.end().await;
    });
}
