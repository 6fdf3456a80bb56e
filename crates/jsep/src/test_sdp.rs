//! Descriptions as browsers write them, for tests. Addresses, names and hashes are made up.

/// What Chromium offers with a microphone, a camera and a data channel, trickling.
pub(crate) const CHROMIUM_OFFER: &str = include_str!("test_sdp/chromium_offer.sdp");
/// What Firefox offers with the same.
pub(crate) const FIREFOX_OFFER: &str = include_str!("test_sdp/firefox_offer.sdp");
/// What Firefox answers to Chromium's offer.
pub(crate) const FIREFOX_ANSWER: &str = include_str!("test_sdp/firefox_answer.sdp");
/// What Chromium offers with simulcast, after gathering.
pub(crate) const CHROMIUM_SIMULCAST_OFFER: &str = include_str!("test_sdp/chromium_simulcast_offer.sdp");

/// All of them.
pub(crate) const ALL: [&str; 4] = [CHROMIUM_OFFER, FIREFOX_OFFER, FIREFOX_ANSWER, CHROMIUM_SIMULCAST_OFFER];
