//! The client's data channel: messages out, the same messages back, timed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use peerstack::base::Random;
use peerstack::{DataChannel, DataChannelEvent, DataChannelMessage, DataChannelState};
use tokio::time::timeout;

/// Nothing coming back for so long is a failure.
const STALL: Duration = Duration::from_secs(15);
/// Bytes on the way, out and back, at most.
const WINDOW: usize = 4 << 20;
/// Sizes of the messages, in bytes. Together they meet every way of cutting into packets.
const SIZES: [usize; 10] = [0, 1, 16, 1_000, 1_200, 16_384, 65_535, 65_536, 200_000, 262_144];
/// How often each size is sent, as text and as bytes in turn.
const ROUNDS: usize = 24;
/// Length of the messages whose rate is measured.
const BULK: usize = 65_536;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct DataReport {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Bytes there, and the same back, over the time both took.
    pub(crate) bytes_per_second: f64,
    /// Sizes left out since the peer takes no such messages.
    pub(crate) too_large: u64,
}

/// Waits until messages pass.
pub(crate) async fn opened(channel: &DataChannel, limit: Duration) -> Result<(), String> {
    let open = async {
        while channel.ready_state() == DataChannelState::Connecting {
            match channel.next_event().await {
                Some(DataChannelEvent::Open) => return Ok(()),
                Some(DataChannelEvent::Error(error)) => {
                    return Err(format!("the data channel broke: {error}"));
                }
                Some(DataChannelEvent::Closed) | None => break,
                Some(_) => {}
            }
        }
        match channel.ready_state() {
            DataChannelState::Open => Ok(()),
            _ => Err("the data channel was closed before it opened".to_owned()),
        }
    };
    let late = || Err(format!("the data channel did not open within {} s", limit.as_secs()));
    timeout(limit, open).await.unwrap_or_else(|_| late())
}

/// Sends a string that nobody can guess and requires it back. Returns the time that took.
pub(crate) async fn random_string(channel: &DataChannel, random: &mut Random) -> Result<Duration, String> {
    let string = random.ice_string(32);
    let started = Instant::now();
    channel.send_text(&*string).map_err(|error| format!("the string cannot be sent: {error}"))?;
    loop {
        // A server may greet first; the string has to come all the same.
        match next_message(channel).await? {
            DataChannelMessage::Text(text) if text == string => return Ok(started.elapsed()),
            DataChannelMessage::Binary(bytes) if bytes == string.as_bytes() => {
                return Err("the string came back as bytes, not as text".to_owned());
            }
            _ => {}
        }
    }
}

/// All sizes, text and bytes; each must come back equal and in order.
pub(crate) async fn messages(channel: &DataChannel, random: &mut Random) -> Result<DataReport, String> {
    let mut report = DataReport::default();
    let mut planned = (0..ROUNDS * SIZES.len()).map(|index| {
        let size = SIZES[index % SIZES.len()];
        if (index / SIZES.len()).is_multiple_of(2) { bytes(random, size) } else { text(random, size) }
    });
    pump(channel, &mut report, || planned.next()).await?;
    Ok(report)
}

/// As many large messages as pass in a while.
pub(crate) async fn bulk(
    channel: &DataChannel,
    random: &mut Random,
    time: Duration,
) -> Result<DataReport, String> {
    let message = bytes(random, BULK);
    let (mut report, started) = (DataReport::default(), Instant::now());
    pump(channel, &mut report, || (started.elapsed() < time).then(|| message.clone())).await?;
    report.bytes_per_second = report.bytes as f64 / started.elapsed().as_secs_f64();
    Ok(report)
}

/// Sends what `next` gives, within the window, until it gives nothing and all is back.
async fn pump(
    channel: &DataChannel,
    report: &mut DataReport,
    mut next: impl FnMut() -> Option<DataChannelMessage>,
) -> Result<(), String> {
    let mut out = VecDeque::new();
    let (mut on_the_way, mut more) = (0, true);
    while more || !out.is_empty() {
        while more && on_the_way < WINDOW {
            let Some(message) = next() else {
                more = false;
                break;
            };
            match channel.send(message.clone()) {
                Ok(()) => {
                    on_the_way += message.len();
                    out.push_back(message);
                }
                Err(error) if error.kind == peerstack::RtcErrorKind::TypeError => report.too_large += 1,
                Err(error) => return Err(format!("message {} cannot be sent: {error}", report.messages)),
            }
        }
        let Some(expected) = out.pop_front() else { continue };
        let message = next_message(channel).await?;
        if message != expected {
            return Err(format!(
                "message {} came back changed: {} went out, {} came",
                report.messages,
                describe(&expected),
                describe(&message)
            ));
        }
        on_the_way -= message.len();
        report.messages += 1;
        report.bytes += message.len() as u64;
    }
    Ok(())
}

async fn next_message(channel: &DataChannel) -> Result<DataChannelMessage, String> {
    loop {
        let event = timeout(STALL, channel.next_event()).await;
        match event.map_err(|_| format!("nothing came back for {} s", STALL.as_secs()))? {
            Some(DataChannelEvent::Message(message)) => return Ok(message),
            Some(DataChannelEvent::Error(error)) => return Err(format!("the data channel broke: {error}")),
            Some(DataChannelEvent::Closed) | None => return Err("the data channel was closed".to_owned()),
            Some(_) => {}
        }
    }
}

fn describe(message: &DataChannelMessage) -> String {
    let kind = if matches!(message, DataChannelMessage::Text(_)) { "text" } else { "binary" };
    format!("{kind} of {} bytes", message.len())
}

fn bytes(random: &mut Random, size: usize) -> DataChannelMessage {
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    DataChannelMessage::from(bytes)
}

/// Text of exactly `size` bytes of UTF-8, with characters of one to four bytes.
fn text(random: &mut Random, size: usize) -> DataChannelMessage {
    let mut text = String::with_capacity(size);
    while text.len() < size {
        let character = ['e', 'é', '€', '😀'][random.below(4) as usize];
        let fits = text.len() + character.len_utf8() <= size;
        text.push(if fits { character } else { '.' });
    }
    DataChannelMessage::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_size_asked_for() {
        let mut random = Random::from_seed(1);
        for size in SIZES {
            assert_eq!(text(&mut random, size).len(), size);
            assert_eq!(bytes(&mut random, size).len(), size);
        }
        assert!(matches!(text(&mut random, 9), DataChannelMessage::Text(_)));
        assert!(ROUNDS * SIZES.len() >= 200);
    }
}
