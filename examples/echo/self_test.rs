//! `--self-test`: the server and the client in one process, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::args::Args;
use crate::client::{self, Exercise, Report};
use crate::hub::Hub;
use crate::{http_client, listener, server, wrong_use};

/// RTP packets of a hundred that may be lost: there is no reason for any on loopback but a busy machine.
const MAX_LOST_PERCENT: u64 = 1;
/// Hundredths by which the two sides' counts of bytes may differ: they are not read at the same instant.
const TOLERANCE_PERCENT: u64 = 5;

/// Runs it: 0 if everything came back, 1 if not.
pub(crate) async fn run(mut args: Args) -> ExitCode {
    args.bind = Ipv4Addr::LOCALHOST.into();
    let hub = match Hub::new(args.clone()) {
        Ok(hub) => Arc::new(hub),
        Err(error) => return wrong_use(&format!("these flags cannot be met: {error}")),
    };
    println!("Two peers in one process, over HTTP and UDP on this machine:");
    let result = measure(&hub, &args).await;
    hub.shut_down(Duration::from_secs(3)).await;
    match result {
        Ok(report) => {
            client::print(&report);
            verdict(&failures(&report))
        }
        Err(error) => verdict(&[error]),
    }
}

/// Serves on a free port and connects to it.
async fn measure(hub: &Arc<Hub>, args: &Args) -> Result<Report, String> {
    let listener = listener::bind(SocketAddr::new(args.bind, 0)).await?;
    let address = listener.local_addr().map_err(|error| format!("the port is not known: {error}"))?;
    let serving = tokio::spawn(server::serve(listener, Arc::clone(hub)));
    let uri = http_client::parse_url(&format!("http://{address}/offer"))?;
    let result = client::exercise(&uri, args, Exercise::Exact).await;
    serving.abort();
    result
}

fn verdict(failures: &[String]) -> ExitCode {
    for failure in failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty() {
        println!("Everything came back.");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What of the report is not as it must be.
fn failures(report: &Report) -> Vec<String> {
    let mut failures = Vec::new();
    for data in [&report.messages, &report.bulk] {
        match data {
            Ok(data) if data.too_large > 0 => {
                failures.push(format!("{} messages were larger than the peer takes", data.too_large));
            }
            Ok(data) if data.messages == 0 => failures.push("no message came back".to_owned()),
            Ok(_) => {}
            Err(error) => failures.push(format!("data: {error}")),
        }
    }
    match &report.rtp {
        None => failures.push("media was not negotiated both ways".to_owned()),
        Some(rtp) if rtp.lost() * 100 > rtp.sent * MAX_LOST_PERCENT => {
            failures.push(format!("{} of {} RTP packets did not come back", rtp.lost(), rtp.sent));
        }
        Some(_) => {}
    }
    match (report.transport.bytes, report.server) {
        (Some((sent, received)), Some(server)) => {
            let data =
                [&report.messages, &report.bulk].map(|data| data.as_ref().map_or(0, |data| data.bytes));
            if sent < data.iter().sum() {
                failures.push("the transport counts fewer bytes than the messages have".to_owned());
            }
            if !agree(sent, server.received) || !agree(received, server.sent) {
                failures.push("the two sides do not agree on the bytes of the transport".to_owned());
            }
        }
        _ => failures.push("the two sides' bytes cannot be compared".to_owned()),
    }
    failures.extend(report.transport.missing().map(|name| format!("nothing is known of the {name}")));
    failures
}

/// Whether two counts of the same bytes agree.
fn agree(ours: u64, theirs: u64) -> bool {
    ours.abs_diff(theirs) * 100 <= ours.max(theirs) * TOLERANCE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_may_differ_by_five_percent() {
        assert!(agree(100, 100) && agree(95, 100) && agree(100, 95) && agree(0, 0));
        assert!(!agree(94, 100) && !agree(0, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_that_is_sent_comes_back() {
        comes_back(Args { bind: Ipv4Addr::LOCALHOST.into(), ..Args::default() }).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_that_is_sent_to_a_shared_port_comes_back() {
        comes_back(Args { bind: Ipv4Addr::LOCALHOST.into(), udp_port: Some(0), ..Args::default() }).await;
    }

    async fn comes_back(args: Args) {
        let hub = Arc::new(Hub::new(args.clone()).unwrap());
        let report = measure(&hub, &args).await.unwrap();
        assert_eq!(failures(&report), Vec::<String>::new(), "{report:?}");
        hub.emptied().await;
    }
}
