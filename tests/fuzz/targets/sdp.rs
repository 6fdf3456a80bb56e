//! The text of session descriptions (RFC 8866): what is read is written in one form, which reads as the same; the
//! checks of offers and answers look at whatever was read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_jsep::webrtc_sdp::{MAX_MEDIA_SECTIONS, parse, serialize};

fuzz_target!(|text: &str| {
    let description = match parse(text) {
        Ok(description) => description,
        Err(error) => {
            assert!(error.line_number > 0);
            assert!(error.to_string().len() < 2048, "an error repeats no more than an excerpt");
            return;
        }
    };
    assert!(description.contents.len() <= MAX_MEDIA_SECTIONS);
    let written = serialize(&description);
    // Session-level attributes are written in each section: growth has a bound all the same.
    assert!(written.len() <= 4096 + 64 * text.len() * (description.contents.len() + 1));
    let again = match parse(&written) {
        Ok(again) => again,
        Err(error) => panic!("what was written cannot be read: {error}\n{written}"),
    };
    assert_eq!(serialize(&again), written);
    let valid = description.validate();
    let _ = (description.validate_local(), description.validate_answers(&again));
    if valid.is_ok() {
        assert_eq!(again.validate(), Ok(()), "written and read again it is as valid");
        assert!(again.validate_continues(&again, None).is_ok(), "every description continues itself");
    }
});
