//! Tells which kind of NAT stands between this host and the internet.
//!
//! ```text
//! cargo run --example nat-check -- stun:stun.example.org:3478
//! cargo run --example nat-check -- stun:stun.example.org:3478 --bind 192.168.1.2
//! ```
//!
//! The server must have two addresses (RFC 5780), as coturn has with two public ones; of another the mapped address
//! is told and nothing more. Without a network, against coturn on this machine:
//!
//! ```text
//! turnserver -n -L 127.0.0.1 -L 127.0.0.2 --no-tls --no-dtls --no-cli
//! cargo run --example nat-check -- stun:127.0.0.1:3478
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::net::IpAddr;
use std::process::ExitCode;

use peerstack::PeerConnectionDependencies;
use peerstack::nat::{NatBehaviour, NatReport, discover_from};

const HELP: &str = "\
Tells which kind of NAT stands between this host and the internet.

Usage: nat-check stun:HOST[:PORT] [--bind ADDRESS]

The server needs two addresses (RFC 5780).
Exit codes: 0 found out, 1 not found out, 2 wrong use.
";

/// The command line: the server and the local address.
fn parse(words: impl IntoIterator<Item = String>) -> Result<(String, Option<IpAddr>), String> {
    let (mut server, mut bind) = (None, None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bind" => {
                let value = words.next().ok_or("--bind needs a value")?;
                let wrong = || format!("--bind needs an IP address such as 192.168.1.2, not {value:?}");
                bind = Some(value.parse().map_err(|_| wrong())?);
            }
            flag if flag.starts_with('-') => return Err(format!("there is no flag {flag}")),
            _ if server.is_some() => return Err("one server at a time".to_owned()),
            _ => server = Some(word),
        }
    }
    let server = server.ok_or("which server is to be asked?")?;
    Ok((server, bind))
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let (server, bind) = match parse(words) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("nat-check: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match discover_from(&server, bind, &mut PeerConnectionDependencies::default()).await {
        Ok(report) => {
            print!("{}", describe(&report));
            if report.nat_type().is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("nat-check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn describe(report: &NatReport) -> String {
    let name = report.nat_type().map_or("not found out".to_owned(), |kind| kind.to_string());
    let mut lines = vec![format!("NAT type   {name}"), format!("local      {}", report.local)];
    match report.mapped {
        Some(mapped) => lines.push(format!("mapped     {mapped}")),
        None => lines.push(format!("mapped     nothing came back from {}", report.server)),
    }
    if report.mapped.is_some() && report.other.is_none() {
        lines.push(format!("{} has no other address (RFC 5780): behaviours cannot be told", report.server));
    }
    if report.other.is_some() {
        if report.behind_nat() == Some(true) {
            lines.push(format!("mapping    {}", words(report.mapping)));
        }
        lines.push(format!("filtering  {}", words(report.filtering)));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn words(behaviour: Option<NatBehaviour>) -> &'static str {
    match behaviour {
        Some(NatBehaviour::EndpointIndependent) => "endpoint-independent",
        Some(NatBehaviour::AddressDependent) => "address-dependent",
        Some(NatBehaviour::AddressAndPortDependent) => "address- and port-dependent",
        None => "not found out",
    }
}
