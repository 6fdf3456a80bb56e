//! Messages of mDNS (RFC 6762): what a packet asks of our names, and what is said to it. Pure functions of bytes; all
//! that comes in is untrusted. Used by the resolver and the responder, on their own tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, NSEC, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// Largest mDNS message (RFC 6762 section 17).
pub(super) const MAX_MESSAGE: usize = 9_000;
/// Seconds for which an answer holds (RFC 6762 section 10).
const TTL: u32 = 120;
/// And an answer to one who does not take part in mDNS (RFC 6762 section 6.7).
const LEGACY_TTL: u32 = 10;
/// Names that one message answers for: with a record of either kind they fit into a datagram of 1,500 bytes.
const MAX_NAMES: usize = 8;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The message.
    pub(super) message: Vec<u8>,
    /// Our names in it.
    pub(super) names: BTreeSet<String>,
    /// Whether it goes to who asked alone.
    pub(super) unicast: bool,
}

/// What is said of a name.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    /// Its address.
    address: bool,
    /// That there is nothing else (RFC 6762 section 6.1).
    nothing_else: bool,
}

/// A message that can be one; bytes that announce more than they hold are not looked at.
pub(super) fn parse(message: &[u8]) -> Option<Packet<'_>> {
    // The parser makes room for as many records as the header says.
    let counts = message.get(4..12)?;
    let mut records = counts.chunks_exact(2).map(|count| match count {
        [high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let questions = records.next().unwrap_or_default();
    let least = questions * 5 + records.sum::<usize>() * 11;
    if message.len() > MAX_MESSAGE || message.len() < 12 + least {
        return None;
    }
    Packet::parse(message).ok()
}

/// What is said to a query, by who has these names, lower-case and below `.local`; nothing to what asks for none of
/// them. `legacy` if it did not come from the port of mDNS (RFC 6762 section 6.7). Total on any bytes.
pub(super) fn answer(names: &BTreeMap<String, IpAddr>, query: &[u8], legacy: bool) -> Option<Reply> {
    let packet = parse(query)?;
    if packet.has_flags(PacketFlag::RESPONSE) || packet.opcode() != OPCODE::StandardQuery {
        return None;
    }
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    let mut questions = Vec::new();
    let mut unicast = true;
    for question in &packet.questions {
        let name = question.qname.to_string().to_ascii_lowercase();
        let Some(address) = names.get(&name) else { continue };
        let of_internet = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
        if !of_internet || (said.len() == MAX_NAMES && !said.contains_key(&name)) {
            continue;
        }
        if is_known(&packet, &name, *address) {
            continue;
        }
        let said = said.entry(name).or_default();
        if question.qtype == QTYPE::ANY || question.qtype == QTYPE::TYPE(type_of(*address)) {
            said.address = true;
        } else {
            said.nothing_else = true;
        }
        unicast &= question.unicast_response;
        if questions.len() < 2 * MAX_NAMES {
            questions.push(question);
        }
    }
    if said.is_empty() {
        return None;
    }
    let names_said: BTreeSet<String> = said.keys().cloned().collect();
    let said = said.iter().filter_map(|(name, said)| Some((name.as_str(), *names.get(name)?, *said)));
    let message = if legacy { legacy_response(packet.id(), &questions, said) } else { response(said, TTL) };
    Some(Reply { message: message?, names: names_said, unicast: unicast || legacy })
}

/// That these names have these addresses, or, on removal, have them no more (RFC 6762 section 10.1).
pub(super) fn announcement<'a>(
    names: impl Iterator<Item = (&'a str, IpAddr)>,
    removed: bool,
) -> Option<Vec<u8>> {
    let said = Said { address: true, nothing_else: false };
    response(names.map(|(name, address)| (name, address, said)), if removed { 0 } else { TTL })
}

/// A query for the addresses of a name.
pub(super) fn query(name: &str) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(0);
    for qtype in [TYPE::A, TYPE::AAAA] {
        let name = Name::new(name)?;
        packet.questions.push(Question::new(name, QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN), false));
    }
    packet.build_bytes_vec()
}

/// Whether who asks says that it knows already, for half the time to come at least (RFC 6762 section 7.1).
fn is_known(packet: &Packet<'_>, name: &str, address: IpAddr) -> bool {
    packet.answers.iter().any(|record| {
        record.ttl >= TTL / 2
            && record.rdata == rdata(address)
            && record.name.to_string().eq_ignore_ascii_case(name)
    })
}

fn type_of(address: IpAddr) -> TYPE {
    if address.is_ipv4() { TYPE::A } else { TYPE::AAAA }
}

fn rdata(address: IpAddr) -> RData<'static> {
    match address {
        IpAddr::V4(ip) => RData::A(A { address: ip.to_bits() }),
        IpAddr::V6(ip) => RData::AAAA(AAAA { address: ip.to_bits() }),
    }
}

fn records(name: &str, address: IpAddr, said: Said, ttl: u32) -> Option<Vec<ResourceRecord<'_>>> {
    let name = Name::new(name).ok()?;
    let mut records = Vec::new();
    if said.address {
        records.push(ResourceRecord::new(name.clone(), CLASS::IN, ttl, rdata(address)));
    }
    if said.nothing_else {
        let nsec = RData::NSEC(NSEC::from_types(name.clone(), &[type_of(address)]));
        records.push(ResourceRecord::new(name, CLASS::IN, ttl, nsec));
    }
    Some(records)
}

fn response<'a>(said: impl Iterator<Item = (&'a str, IpAddr, Said)>, ttl: u32) -> Option<Vec<u8>> {
    let mut packet = authoritative(0);
    for (name, address, said) in said {
        let records = records(name, address, said, ttl)?;
        // Nobody else has records of these names (RFC 6762 section 10.2).
        packet.answers.extend(records.into_iter().map(|record| record.with_cache_flush(true)));
    }
    packet.build_bytes_vec().ok()
}

/// As of a plain DNS server: with its id and its questions, and without what it does not know.
fn legacy_response<'a>(
    id: u16,
    questions: &[&Question<'_>],
    said: impl Iterator<Item = (&'a str, IpAddr, Said)>,
) -> Option<Vec<u8>> {
    let mut packet = authoritative(id);
    for question in questions {
        let mut question = Question::clone(question);
        question.unicast_response = false;
        packet.questions.push(question.into_owned());
    }
    for (name, address, said) in said {
        packet.answers.extend(records(name, address, said, LEGACY_TTL)?);
    }
    packet.build_bytes_vec().ok()
}

fn authoritative(id: u16) -> Packet<'static> {
    let mut packet = Packet::new_reply(id);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet
}

#[cfg(test)]
mod tests {
    use super::super::mdns_resolver::addresses_in;
    use super::*;

    const OURS: &str = "4ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local";
    const OURS_V6: &str = "5ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local";

    fn names() -> BTreeMap<String, IpAddr> {
        let name = |name: &str, ip: &str| (name.to_owned(), ip.parse().unwrap());
        [name(OURS, "192.0.2.1"), name(OURS_V6, "2001:db8::1")].into()
    }

    fn ask(questions: &[(&str, QTYPE, bool)]) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        for (name, qtype, unicast) in questions {
            let class = QCLASS::CLASS(CLASS::IN);
            packet.questions.push(Question::new(Name::new(name).unwrap(), *qtype, class, *unicast));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn our_names_are_answered_and_nobody_elses() {
        for (name, ip) in names() {
            let reply = answer(&names(), &query(&name.to_uppercase()).unwrap(), false).unwrap();
            assert_eq!(addresses_in(&reply.message, &name), [ip]);
            assert!(!reply.unicast && reply.names.contains(&name));
            let packet = Packet::parse(&reply.message).unwrap();
            assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER));
            assert!(packet.id() == 0 && packet.questions.is_empty());
            // The address, and that there is none of the other family.
            let [address, nothing_else] = &packet.answers[..] else { panic!("{packet:?}") };
            assert!(address.cache_flush && nothing_else.cache_flush);
            assert_eq!((address.ttl, nothing_else.ttl), (120, 120));
            assert!(matches!(&nothing_else.rdata, RData::NSEC(nsec) if nsec.contains(type_of(ip))));
        }
        for other in ["a-1.local", "local", "x.4ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local", "example.org"] {
            assert_eq!(answer(&names(), &query(other).unwrap(), false), None, "{other}");
        }
        assert_eq!(answer(&BTreeMap::new(), &query(OURS).unwrap(), false), None);
    }

    #[test]
    fn a_question_says_whether_the_answer_is_for_it_alone() {
        let (a, aaaa) = (QTYPE::TYPE(TYPE::A), QTYPE::TYPE(TYPE::AAAA));
        for (questions, unicast) in [
            (&[(OURS, a, true)][..], true),
            (&[(OURS, a, false)], false),
            (&[(OURS, a, true), (OURS, aaaa, false)], false),
            (&[(OURS, a, true), ("a-1.local", a, false)], true),
        ] {
            assert_eq!(answer(&names(), &ask(questions), false).unwrap().unicast, unicast, "{questions:?}");
        }
    }

    #[test]
    fn who_does_not_take_part_gets_a_plain_answer() {
        let query = ask(&[(OURS, QTYPE::TYPE(TYPE::A), false), ("a-1.local", QTYPE::ANY, false)]);
        let reply = answer(&names(), &query, true).unwrap();
        let packet = Packet::parse(&reply.message).unwrap();
        assert!(reply.unicast);
        assert_eq!((packet.id(), packet.questions.len(), packet.answers.len()), (7, 1, 1));
        assert!(packet.answers[0].ttl == 10 && !packet.answers[0].cache_flush);
    }

    #[test]
    fn what_is_known_is_not_said_again() {
        for (ttl, address, answered) in [
            (120, "192.0.2.1", false),
            (60, "192.0.2.1", false),
            (59, "192.0.2.1", true),
            (120, "192.0.2.9", true),
        ] {
            let mut packet = Packet::new_query(0);
            let name = Name::new(OURS).unwrap();
            let class = QCLASS::CLASS(CLASS::IN);
            packet.questions.push(Question::new(name.clone(), QTYPE::ANY, class, false));
            packet.answers.push(ResourceRecord::new(name, CLASS::IN, ttl, rdata(address.parse().unwrap())));
            let query = packet.build_bytes_vec().unwrap();
            assert_eq!(answer(&names(), &query, false).is_some(), answered, "{ttl} {address}");
        }
    }

    #[test]
    fn many_questions_give_one_answer_of_bounded_length() {
        let many: BTreeMap<String, IpAddr> = (0..40)
            .map(|n| (format!("{n:08}-4b2c-4a0b-9d52-2f4c1c0d8c1a.local"), [192, 0, 2, n].into()))
            .collect();
        let mut questions = Vec::new();
        for _ in 0..2 {
            questions.extend(many.keys().flat_map(|name| {
                [TYPE::A, TYPE::AAAA].map(|qtype| (name.as_str(), QTYPE::TYPE(qtype), false))
            }));
        }
        let query = ask(&questions);
        assert!(query.len() <= MAX_MESSAGE);
        for legacy in [false, true] {
            let reply = answer(&many, &query, legacy).unwrap();
            assert_eq!(reply.names.len(), MAX_NAMES);
            assert!(reply.message.len() <= 1_472 + if legacy { 1_000 } else { 0 }, "{}", reply.message.len());
        }
    }

    #[test]
    fn responses_and_other_messages_are_not_answered() {
        let response = announcement([(OURS, [192, 0, 2, 1].into())].into_iter(), false).unwrap();
        assert_eq!(answer(&names(), &response, false), None);
        let mut status = query(OURS).unwrap();
        status[2] |= 2 << 3;
        assert_eq!(answer(&names(), &status, false), None);
    }

    #[test]
    fn a_goodbye_holds_for_no_time() {
        let bytes = announcement([(OURS, [192, 0, 2, 1].into())].into_iter(), true).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.answers.len(), packet.answers[0].ttl), (1, 0));
    }

    #[test]
    fn malformed_messages_are_answered_or_not_and_never_panic() {
        let good = ask(&[(OURS, QTYPE::TYPE(TYPE::A), false), (OURS_V6, QTYPE::ANY, true)]);
        assert!(answer(&names(), &good, false).is_some());
        for len in 0..good.len() {
            assert_eq!(answer(&names(), &good[..len], false), None, "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for legacy in [false, true] {
                let _ = answer(&names(), &flipped, legacy);
            }
        }
        // Announces 65,535 records of each kind.
        let mut announced = good.clone();
        announced[4..12].fill(0xff);
        assert!(parse(&announced).is_none() && parse(&good).is_some());
        // A name that points to itself.
        let mut looped = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        looped.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(answer(&names(), &looped, false), None);
        assert!(parse(&[&good[..], &[0; MAX_MESSAGE]].concat()).is_none());
    }
}
