//! What the small examples share: the command line, a server with a page, offers and answers in JSON.
//!
//! An example is a page of code; what is not WebRTC of it is here.

#![allow(dead_code, reason = "each example needs a part of it")]

mod listener;
pub(crate) mod signaling;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use peerstack::{Configuration, Settings};
use tracing_subscriber::EnvFilter;

use self::listener::bind;

/// A wrong flag, or a port that cannot be had.
const WRONG_USE: u8 = 2;

/// A flag with a value that one example has beyond `--bind`, `--port` and `--help`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// `--folder`
    pub(crate) name: &'static str,
    /// What it is, for `--help`.
    pub(crate) about: &'static str,
    /// Its value when it is not given.
    pub(crate) default: &'static str,
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    /// Where HTTP is served.
    pub(crate) address: SocketAddr,
    values: BTreeMap<&'static str, String>,
}

impl Args {
    /// The value of a flag of the example.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The configuration of each connection: a page that only this machine reaches may come over loopback.
    pub(crate) fn configuration(&self) -> Configuration {
        let mut settings = Settings::default();
        settings.allow_loopback = self.address.ip().is_loopback();
        Configuration::new().with_settings(settings)
    }

    /// Reads the words behind the program's name; `None` where help is asked for.
    fn parse(words: impl IntoIterator<Item = String>, flags: &[Flag]) -> Result<Option<Self>, String> {
        let mut address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
        let mut values: BTreeMap<_, _> =
            flags.iter().map(|flag| (flag.name, flag.default.to_owned())).collect();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if matches!(name.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let flag = flags.iter().find(|flag| flag.name == name);
            if flag.is_none() && !matches!(name.as_str(), "--bind" | "--port") {
                return Err(format!("there is no flag {name}"));
            }
            // A value never looks like a flag: `--bind --port 80` is a forgotten value.
            let value = attached.or_else(|| words.next()).filter(|value| !value.starts_with("--"));
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("{name} needs a value"))?;
            match flag {
                Some(flag) => drop(values.insert(flag.name, value)),
                None if name == "--port" => address.set_port(
                    value
                        .parse()
                        .map_err(|_| format!("--port needs a number from 0 to 65535, not {value:?}"))?,
                ),
                None => address.set_ip(value.parse().map_err(|_| {
                    format!("--bind needs an IP address such as 127.0.0.1 or ::, not {value:?}")
                })?),
            }
        }
        Ok(Some(Self { address, values }))
    }
}

fn help(program: &str, about: &str, flags: &[Flag]) -> String {
    let mut text =
        format!("{about}\n\nUsage: {program} [options], then open the address it prints\n\nOptions:\n");
    let common = [
        Flag { name: "--bind", about: "address to listen on for HTTP", default: "127.0.0.1" },
        Flag { name: "--port", about: "port to listen on for HTTP, 0 for any", default: "8080" },
    ];
    for Flag { name, about, default } in common.iter().chain(flags) {
        text.push_str(&format!("  {name:<10} {about} [{default}]\n"));
    }
    text.push_str("  --help     this text\n\nRUST_LOG=peerstack=debug shows what each layer tells.\n");
    text
}

/// The whole of an example's `main`: reads the command line, serves what `router` makes of it until Ctrl-C.
pub(crate) async fn run(
    program: &str,
    about: &str,
    flags: &[Flag],
    router: impl FnOnce(&Args) -> Result<Router, String>,
) -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1), flags) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", help(program, about, flags));
            return ExitCode::SUCCESS;
        }
        Err(error) => return wrong_use(program, &format!("{error}. --help shows all flags.")),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let router = match router(&args) {
        Ok(router) => router,
        Err(error) => return wrong_use(program, &error),
    };
    let listener = match bind(args.address).await {
        Ok(listener) => listener,
        Err(error) => return wrong_use(program, &error),
    };
    let port = listener.local_addr().map_or(args.address.port(), |address| address.port());
    let ip = args.address.ip();
    let host = if ip.is_unspecified() || ip.is_loopback() { "localhost".to_owned() } else { ip.to_string() };
    println!("peerstack {program}: http://{host}:{port}/\nCtrl-C ends it.");
    tokio::select! {
        result = axum::serve(listener, router) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{program}: the HTTP server ended: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
    }
}

fn wrong_use(program: &str, sentence: &str) -> ExitCode {
    eprintln!("{program}: {sentence}");
    ExitCode::from(WRONG_USE)
}

/// A router with the example's page, and what its script shares with the others'.
pub(crate) fn page(html: &'static str) -> Router {
    let asset = |content_type: &'static str, text: &'static str| {
        get(async move || {
            ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], text)
                .into_response()
        })
    };
    Router::new()
        .route("/", asset("text/html; charset=utf-8", html))
        .route("/common.js", asset("text/javascript; charset=utf-8", include_str!("common.js")))
        .route("/common.css", asset("text/css; charset=utf-8", include_str!("common.css")))
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[Flag { name: "--folder", about: "where files go", default: "." }];

    fn parse(line: &str) -> Result<Option<Args>, String> {
        Args::parse(line.split_whitespace().map(str::to_owned), FLAGS)
    }

    #[test]
    fn flags_are_read_with_a_space_or_an_equals_sign() {
        for line in ["--port 0 --bind :: --folder /tmp", "--port=0 --bind=:: --folder=/tmp"] {
            let args = parse(line).unwrap().unwrap();
            assert_eq!(args.address, "[::]:0".parse::<SocketAddr>().unwrap());
            assert_eq!(args.value("--folder"), "/tmp");
        }
        let args = parse("").unwrap().unwrap();
        assert!(args.address.ip().is_loopback(), "served to this machine alone");
        assert_eq!(args.value("--folder"), ".");
        assert_eq!(parse("--port 1 --help"), Ok(None));
    }

    #[test]
    fn a_mistake_is_a_sentence_that_names_the_flag_and_the_value() {
        for (line, part) in [
            ("--prot 80", "there is no flag --prot"),
            ("8080", "there is no flag 8080"),
            ("--port", "--port needs a value"),
            ("--bind --port 80", "--bind needs a value"),
            ("--port 65536", "not \"65536\""),
            ("--bind here", "not \"here\""),
            ("--folder=", "--folder needs a value"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[tokio::test]
    async fn a_busy_port_is_a_sentence() {
        let first = bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).await.unwrap();
        let error = bind(first.local_addr().unwrap()).await.unwrap_err();
        assert!(error.contains("is in use already; --port names another"), "{error}");
    }
}
