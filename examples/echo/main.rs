//! A WebRTC peer that sends back what it gets, with a page to try it from a browser.
//!
//! ```text
//! cargo run --release --example echo                    then open the address it prints
//! cargo run --release --example echo -- --self-test     a second peer connects to it and measures
//! cargo run --release --example echo -- --client URL    the same against a server elsewhere
//! cargo run --release --example echo -- --help          all flags
//! ```
//!
//! `echo_peer` shows how a connection is answered and watched, `echo_channel` how a data channel is read and
//! written with back-pressure, `echo_track` and `echo_stream` how RTP and its feedback go through an
//! application, `client` how to connect to a peer.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

mod args;
mod client;
mod client_data;
mod client_rtp;
mod counters;
mod echo_channel;
mod echo_peer;
mod echo_stream;
mod echo_track;
mod gap_detector;
mod http_client;
mod hub;
#[path = "../common/listener.rs"]
mod listener;
mod packet_history;
mod self_test;
mod server;
mod stats;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::args::{Args, HELP, Mode};
use crate::hub::Hub;

/// A wrong flag, or a port that cannot be had.
const WRONG_USE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => return wrong_use(&format!("{error}. --help shows all flags.")),
    };
    if args.mode == Mode::Help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_default_env();
    let default = if args.mode == Mode::Serve { "warn,echo=info" } else { "error" };
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match args.mode.clone() {
        Mode::Help | Mode::Serve => serve(args).await,
        Mode::SelfTest => self_test::run(args).await,
        Mode::Client(url) => client::run(&url, &args).await,
    }
}

pub(crate) fn wrong_use(sentence: &str) -> ExitCode {
    eprintln!("echo: {sentence}");
    ExitCode::from(WRONG_USE)
}

async fn serve(args: Args) -> ExitCode {
    let hub = match Hub::new(args.clone()) {
        Ok(hub) => Arc::new(hub),
        Err(error) => return wrong_use(&format!("these flags cannot be met: {error}")),
    };
    let listener = match listener::bind(args.socket_address()).await {
        Ok(listener) => listener,
        Err(error) => return wrong_use(&error),
    };
    match listener.local_addr() {
        Ok(address) => announce(&args, address),
        Err(error) => return wrong_use(&format!("the port is not known: {error}")),
    }
    tokio::select! {
        result = server::serve(listener, Arc::clone(&hub)) => {
            if let Err(error) = result {
                eprintln!("echo: {error}");
                return ExitCode::FAILURE;
            }
        }
        _ = tokio::signal::ctrl_c() => println!("closing the connections"),
    }
    hub.shut_down(Duration::from_secs(3)).await;
    ExitCode::SUCCESS
}

fn announce(args: &Args, address: std::net::SocketAddr) {
    let shown = if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    };
    println!("peerstack echo");
    println!("  page       {shown}/");
    println!("  protocol   POST {shown}/offer   {{\"type\":\"offer\",\"sdp\":\"...\"}}");
    println!("  peers      at most {}", args.max_peers);
    if !address.ip().is_loopback() {
        println!("  note       browsers give a page the camera on localhost and over HTTPS only;");
        println!("             opened from elsewhere it sends a drawn picture and a tone");
    }
    println!("Ctrl-C ends it.");
}
