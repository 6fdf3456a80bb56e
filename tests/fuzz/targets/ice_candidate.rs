//! The candidate attribute (RFC 8839 section 5.1): what is read is written in one form, which reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_p2p::{Candidate, candidate_pair_priority};

fuzz_target!(|text: &str| {
    let candidate = match Candidate::parse(text) {
        Ok(candidate) => candidate,
        Err(error) => {
            assert!(error.to_string().len() < 1024, "an error repeats no more than an excerpt");
            return;
        }
    };
    assert!((1..=32).contains(&candidate.foundation.len()) && candidate.component > 0);
    assert!(candidate.network_cost <= 999);
    let written = candidate.to_sdp();
    let again = Candidate::parse(&written).expect("what was written can be read");
    assert_eq!(again, candidate);
    assert_eq!(again.to_sdp(), written);
    assert!(again.is_equivalent(&candidate));
    let _ = (candidate.sanitized(), candidate_pair_priority(candidate.priority, candidate.priority));
});
