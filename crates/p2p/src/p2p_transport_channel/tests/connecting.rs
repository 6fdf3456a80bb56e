//! Two transports find each other: time to connect, states, roles, data.

use super::harness::*;
use crate::*;

#[test]
fn two_hosts_connect_and_data_flows() {
    let mut pair = Pair::open(1);
    pair.connect();
    pair.run_for(ms(500));
    assert_eq!(pair.a.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    assert_eq!(pair.b.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    pair.exchange_data();
}

#[test]
fn zz_print() {
    let mut pair = Pair::open(1);
    pair.connect();
    pair.run_for(ms(3000));
    for (t, e) in &pair.a.events {
        println!("a {t:?} {e:?}");
    }
    for (t, e) in &pair.b.events {
        println!("b {t:?} {e:?}");
    }
    println!("{:#?}", pair.a.channel.stats(pair.now));
    println!("{}", pair.lab.trace());
}
