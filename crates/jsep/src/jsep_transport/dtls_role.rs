//! Who sends the ClientHello: the `setup` attribute through offer and answer.
//!
//! Pure functions of the JsepTransport, on the network task. RFC 4145 section 4.1, RFC 5763 section 5, RFC 8842
//! sections 5.2 to 5.5. Answers to `JsepTransport::NegotiateDtlsRole` in libwebrtc's `pc/jsep_transport.cc` and
//! to `TransportDescriptionFactory` in `p2p/base/transport_description_factory.cc`.

use peerstack_dtls::DtlsRole;
use peerstack_p2p::ConnectionRole;

/// The `setup` with which to answer an offer (J01). Once a role was agreed it is kept as long as the offer leaves
/// the choice (RFC 8842 section 5.3).
pub(crate) fn answer_setup(offered: Option<ConnectionRole>, current: Option<DtlsRole>) -> ConnectionRole {
    match offered {
        Some(ConnectionRole::Active) => ConnectionRole::Passive,
        Some(ConnectionRole::Passive) => ConnectionRole::Active,
        // An offer that does not say breaks RFC 5763, but leaves the choice.
        Some(ConnectionRole::Actpass | ConnectionRole::Holdconn) | None => match current {
            Some(DtlsRole::Server) => ConnectionRole::Passive,
            _ => ConnectionRole::Active,
        },
    }
}

/// Our role, from what both sides said. `local_offers` tells whose the offer is, `current` the role agreed
/// before.
///
/// # Errors
/// What is wrong: an answer that does not choose, chooses what was not offered, or an offer of one role that is
/// not the offerer's current one.
pub(crate) fn negotiate_dtls_role(
    local_offers: bool,
    local: Option<ConnectionRole>,
    remote: Option<ConnectionRole>,
    current: Option<DtlsRole>,
) -> Result<DtlsRole, String> {
    let (offered, answered) = if local_offers { (local, remote) } else { (remote, local) };
    // J01: an answer without the attribute means active.
    let answerer = match answered {
        Some(ConnectionRole::Active) | None => DtlsRole::Client,
        Some(ConnectionRole::Passive) => DtlsRole::Server,
        Some(role @ (ConnectionRole::Actpass | ConnectionRole::Holdconn)) => {
            return Err(format!("an answer says setup:active or setup:passive, got setup:{}", role.as_str()));
        }
    };
    check_offered_role(local_offers, offered, answerer, current)?;
    // The same role at both ends was refused above.
    Ok(if local_offers { reversed(answerer) } else { answerer })
}

fn check_offered_role(
    local_offers: bool,
    offered: Option<ConnectionRole>,
    answerer: DtlsRole,
    current: Option<DtlsRole>,
) -> Result<(), String> {
    let offerer = match offered {
        Some(ConnectionRole::Actpass) | None => return Ok(()),
        Some(ConnectionRole::Active) => DtlsRole::Client,
        Some(ConnectionRole::Passive) => DtlsRole::Server,
        Some(ConnectionRole::Holdconn) => return Err("setup:holdconn cannot be offered".to_owned()),
    };
    if offerer == answerer {
        return Err("both sides want the same DTLS role".to_owned());
    }
    // J02: what RFC 8842 section 5.5 allows a later offer to restate is the role the offerer has.
    let of_offerer = current.map(|ours| if local_offers { ours } else { reversed(ours) });
    match of_offerer {
        Some(agreed) if agreed != offerer => {
            Err("a later offer says setup:actpass or restates the offerer's current role".to_owned())
        }
        _ => Ok(()),
    }
}

fn reversed(role: DtlsRole) -> DtlsRole {
    match role {
        DtlsRole::Client => DtlsRole::Server,
        DtlsRole::Server => DtlsRole::Client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionRole::{Active, Actpass, Holdconn, Passive};
    use DtlsRole::{Client, Server};

    /// J01: what an offer's setup is answered with.
    #[test]
    fn an_answer_chooses() {
        for (offered, current, expected) in [
            (Some(Actpass), None, Active),
            (Some(Active), None, Passive),
            (Some(Passive), None, Active),
            (None, None, Active),
            (Some(Actpass), Some(Client), Active),
            (Some(Actpass), Some(Server), Passive),
            (Some(Active), Some(Server), Passive),
            (Some(Passive), Some(Server), Active),
        ] {
            assert_eq!(answer_setup(offered, current), expected, "{offered:?}, now {current:?}");
        }
    }

    /// J01: every offer with every answer, both ways round.
    #[test]
    fn roles_of_first_exchange() {
        let answers = [None, Some(Active), Some(Passive), Some(Actpass), Some(Holdconn)];
        // The offerer's role; `None` is an error.
        let table = [
            (Some(Actpass), [Some(Server), Some(Server), Some(Client), None, None]),
            (None, [Some(Server), Some(Server), Some(Client), None, None]),
            (Some(Active), [None, None, Some(Client), None, None]),
            (Some(Passive), [Some(Server), Some(Server), None, None, None]),
            (Some(Holdconn), [None; 5]),
        ];
        for (offer, expected) in table {
            for (answer, expected) in answers.into_iter().zip(expected) {
                let ours = negotiate_dtls_role(true, offer, answer, None).ok();
                assert_eq!(ours, expected, "we offer {offer:?}, the answer is {answer:?}");
                let ours = negotiate_dtls_role(false, answer, offer, None).ok();
                assert_eq!(ours, expected.map(reversed), "offered {offer:?}, we answer {answer:?}");
            }
        }
    }

    /// J02: a later offer may restate the current role of the offerer, and no other.
    #[test]
    fn a_later_offer_restates_the_current_role() {
        // Ours is the client: a peer that offers is passive.
        assert_eq!(negotiate_dtls_role(false, Some(Active), Some(Passive), Some(Client)), Ok(Client));
        assert!(negotiate_dtls_role(false, Some(Passive), Some(Active), Some(Client)).is_err());
        assert_eq!(negotiate_dtls_role(false, Some(Passive), Some(Active), Some(Server)), Ok(Server));
        assert_eq!(negotiate_dtls_role(true, Some(Active), Some(Passive), Some(Client)), Ok(Client));
        assert!(negotiate_dtls_role(true, Some(Active), Some(Passive), Some(Server)).is_err());
        // With actpass the answer may change it; whether DTLS allows that is the fingerprint's matter.
        assert_eq!(negotiate_dtls_role(true, Some(Actpass), Some(Passive), Some(Server)), Ok(Client));
    }
}
