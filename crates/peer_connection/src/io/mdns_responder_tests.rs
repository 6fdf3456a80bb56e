//! When our names are told, and that they are.

use peerstack_base::DnsResolver;

use super::super::MdnsResolver;
use super::super::mdns_message::query;
use super::super::mdns_resolver::addresses_in;
use super::*;

const NAME: &str = "4ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one_name() -> MdnsNames {
    let mut names = MdnsNames::default();
    names.register(NAME.to_owned(), ip("192.0.2.1"));
    names
}

#[test]
fn the_group_is_told_a_name_once_a_second() {
    let start = now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut names = one_name();
    let query = query(NAME).unwrap();
    assert!(names.receive(at(0), &query, false).is_some());
    for later in [1, 250, 999] {
        assert_eq!(names.receive(at(later), &query, false), None, "{later}");
    }
    assert_eq!(names.next_timeout(), Some(at(1_000)), "asked again, it is told again when it may be");
    assert!(names.handle_timeout(at(999)).is_none());
    let (message, addresses) = names.handle_timeout(at(1_000)).unwrap();
    assert_eq!((addresses_in(&message, NAME), addresses), (vec![ip("192.0.2.1")], vec![ip("192.0.2.1")]));
    assert_eq!(names.next_timeout(), None);
    assert_eq!(names.receive(at(1_999), &query, false), None);
    assert!(names.handle_timeout(at(2_000)).is_some());
    assert!(names.receive(at(3_000), &query, false).is_some());
}

#[test]
fn a_flood_of_queries_gets_a_bounded_number_of_answers() {
    let start = now();
    let mut names = one_name();
    let query = query(NAME).unwrap();
    for second in 0..3 {
        let at = start + Duration::from_secs(second);
        let answered = (0..10_000).filter(|_| names.receive(at, &query, true).is_some()).count();
        assert_eq!(answered, 50);
    }
    // What asks for nobody of ours takes nothing from those who do.
    let other = super::super::mdns_message::query("a-1.local").unwrap();
    let at = start + Duration::from_secs(9);
    assert!((0..10_000).all(|_| names.receive(at, &other, true).is_none()));
    assert!(names.receive(at, &query, true).is_some());
}

#[test]
fn a_name_that_is_gone_is_taken_back_and_not_told_again() {
    let start = now();
    let mut names = one_name();
    let query = query(NAME).unwrap();
    assert!(names.receive(start, &query, false).is_some());
    assert!(names.receive(start, &query, false).is_none() && names.next_timeout().is_some());
    let (goodbye, address) = names.remove(NAME).unwrap();
    assert_eq!((addresses_in(&goodbye, NAME), address), (vec![], ip("192.0.2.1")));
    assert_eq!(names.next_timeout(), None);
    assert!(names.remove(NAME).is_none() && names.receive(start + 2 * INTERVAL, &query, false).is_none());
}

/// Our resolver finds our responder's names by the real network stack of this machine, and does not after they are
/// removed. Where no multicast can be had there is nothing to test.
#[tokio::test]
async fn the_resolver_finds_what_the_responder_tells() {
    let interfaces = interfaces();
    let Some(own) = interfaces.iter().find(|interface| !interface.is_loopback()) else {
        println!("skipped: no network on this machine");
        return;
    };
    let sent = match MdnsSockets::open() {
        Ok(sockets) => {
            sockets.join(&interfaces);
            sockets
                .multicast(&query(NAME).unwrap(), &interfaces, |interface| interface.name == own.name)
                .await
        }
        Err(_) => 0,
    };
    if sent == 0 {
        println!("skipped: no multicast on this machine");
        return;
    }
    let mut responder = BasicMdnsResponder::new();
    responder.register(NAME, own.ip());
    responder.register("5ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local", ip("192.0.2.99"));
    assert_eq!(MdnsResolver.resolve(&NAME.to_uppercase()).await.unwrap(), [own.ip()]);
    responder.remove(NAME);
    responder.remove("5ba3a5c0-4b2c-4a0b-9d52-2f4c1c0d8c1a.local");
    assert!(responder.task.is_none(), "the task goes with the last name");
    assert!(MdnsResolver.resolve(NAME).await.is_err());
}
