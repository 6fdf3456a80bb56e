//! The command line, read by hand: few flags, and each mistake a sentence.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use peerstack::{DtlsEngineKind, IceServer, NatOneToOne, RtcpMuxPolicy, SrtpEngineKind};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
A WebRTC peer that sends back what it gets: data channels, audio and video.

Usage: echo [options]                serve the page and the echo protocol
       echo --self-test [options]    connect a second peer to it, measure, exit 0 or 1
       echo --client URL [options]   the same against any server of the protocol (http only);
                                     exits 0 only if a random string came back on a channel

Options:
  --bind ADDRESS        address to listen on for HTTP           [127.0.0.1]
  --port NUMBER         port to listen on for HTTP, 0 for any   [8080]
  --ice-server URL      STUN or TURN server; may be repeated    [none]
  --ice-username NAME   for the TURN servers                    [none]
  --ice-credential PWD  for the TURN servers; pages get it too  [none]
  --ice-ca FILE         trust the TURN servers (turns:) whose certificates lead to those of
                        this PEM file                           [the system's]
  --udp-port NUMBER     one UDP port for all peers, 0 for any   [one for each peer]
  --external-ip ADDR    what a 1:1 NAT shows in place of ours;
                        EXTERNAL/LOCAL for one of several       [none]
  --relay-only          use the TURN servers' candidates alone
  --rtcp-mux POLICY     require, or negotiate: RTCP may have a port of its own [require]
  --max-peers NUMBER    connections at once; beyond it, 503     [32]
  --dtls-engine NAME    dimpl or webrtc-dtls                    [dimpl]
  --srtp-engine NAME    peerstack or webrtc-srtp                [peerstack]
  --help                this text

The page may use the camera only on localhost or over HTTPS; elsewhere it draws a picture.
RUST_LOG=peerstack=debug shows what each layer tells.

Exit codes: 0 done, 1 failed, 2 a wrong flag or a port that cannot be had.
";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serve the page and the protocol.
    Serve,
    /// Serve, connect to it, measure.
    SelfTest,
    /// Connect to a server elsewhere.
    Client(String),
    /// Print [`HELP`].
    Help,
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
    pub(crate) ice_servers: Vec<String>,
    pub(crate) ice_username: String,
    pub(crate) ice_credential: String,
    /// PEM.
    pub(crate) ice_ca: Option<PathBuf>,
    pub(crate) relay_only: bool,
    pub(crate) rtcp_mux: RtcpMuxPolicy,
    pub(crate) udp_port: Option<u16>,
    pub(crate) external_ips: NatOneToOne,
    pub(crate) max_peers: usize,
    pub(crate) dtls_engine: DtlsEngineKind,
    pub(crate) srtp_engine: SrtpEngineKind,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            mode: Mode::Serve,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            ice_servers: Vec::new(),
            ice_username: String::new(),
            ice_credential: String::new(),
            ice_ca: None,
            relay_only: false,
            rtcp_mux: RtcpMuxPolicy::default(),
            udp_port: None,
            external_ips: NatOneToOne::default(),
            max_peers: 32,
            dtls_engine: DtlsEngineKind::default(),
            srtp_engine: SrtpEngineKind::default(),
        }
    }
}

impl Args {
    /// Reads the words behind the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (flag, attached) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            args.apply(&flag, attached, &mut words)?;
        }
        Ok(args)
    }

    fn apply(
        &mut self,
        flag: &str,
        attached: Option<String>,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let takes_value = !matches!(flag, "--help" | "-h" | "--self-test" | "--relay-only");
        if !takes_value && let Some(value) = attached {
            return Err(format!("{flag} takes no value, but got {value:?}"));
        }
        match flag {
            "--help" | "-h" => return self.set_mode(Mode::Help),
            "--self-test" => return self.set_mode(Mode::SelfTest),
            "--relay-only" => {
                self.relay_only = true;
                return Ok(());
            }
            "--bind" | "--port" | "--ice-server" | "--ice-username" | "--ice-credential" | "--ice-ca"
            | "--max-peers" | "--udp-port" | "--external-ip" | "--dtls-engine" | "--srtp-engine"
            | "--rtcp-mux" | "--client" => {}
            _ if flag.starts_with('-') => return Err(format!("there is no flag {flag}")),
            _ => return Err(format!("{flag:?} is no flag; flags begin with --")),
        }
        // A value never looks like a flag: `--bind --port 80` is a forgotten value.
        let value = attached.or_else(|| words.next()).filter(|value| !value.starts_with("--"));
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{flag} needs a value"))?;
        match flag {
            "--bind" => self.bind = parse_address(&value)?,
            "--port" => self.port = number(flag, &value, 0, u64::from(u16::MAX))? as u16,
            "--external-ip" => self.external_ips = external_ip(&self.external_ips, &value)?,
            "--udp-port" => self.udp_port = Some(number(flag, &value, 0, u64::from(u16::MAX))? as u16),
            "--max-peers" => self.max_peers = number(flag, &value, 1, 100_000)? as usize,
            "--ice-server" => self.ice_servers.push(ice_server(value)?),
            "--ice-username" => self.ice_username = value,
            "--ice-credential" => self.ice_credential = value,
            "--rtcp-mux" => self.rtcp_mux = rtcp_mux(&value)?,
            "--ice-ca" => self.ice_ca = Some(value.into()),
            "--dtls-engine" => self.dtls_engine = dtls_engine(&value)?,
            "--srtp-engine" => self.srtp_engine = srtp_engine(&value)?,
            _ => return self.set_mode(Mode::Client(value)),
        }
        Ok(())
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), String> {
        match (&self.mode, &mode) {
            (Mode::Help, _) => Ok(()),
            (Mode::Serve, _) | (_, Mode::Help) => {
                self.mode = mode;
                Ok(())
            }
            _ => Err("--self-test and --client are each given once, and not together".to_owned()),
        }
    }

    /// The servers, TURN's with their credentials.
    pub(crate) fn ice_servers(&self) -> impl Iterator<Item = IceServer> {
        self.ice_servers.iter().map(|url| {
            let mut server = IceServer::new(url);
            if url.starts_with("turn") {
                server.username = self.ice_username.clone();
                server.credential = self.ice_credential.clone();
            }
            server
        })
    }

    /// Where HTTP is served.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

fn parse_address(value: &str) -> Result<IpAddr, String> {
    match value {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => value.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
            format!("--bind needs an IP address such as 127.0.0.1, 0.0.0.0 or ::, not {value:?}")
        }),
    }
}

fn external_ip(known: &NatOneToOne, value: &str) -> Result<NatOneToOne, String> {
    let parse = |text: &str| {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        text.parse::<IpAddr>().map_err(|_| {
            format!("--external-ip needs an address, or EXTERNAL/LOCAL, such as 203.0.113.1, not {value:?}")
        })
    };
    let added = match value.split_once('/') {
        Some((external, local)) => known.clone().with_mapping(parse(external)?, parse(local)?),
        None => known.clone().with_external(parse(value)?),
    };
    added.map_err(|error| format!("--external-ip {value}: {error}"))
}

fn number(flag: &str, value: &str, min: u64, max: u64) -> Result<u64, String> {
    let parsed = value.parse::<u64>().ok().filter(|number| (min..=max).contains(number));
    parsed.ok_or_else(|| format!("{flag} needs a number from {min} to {max}, not {value:?}"))
}

fn ice_server(value: String) -> Result<String, String> {
    let known = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| value.starts_with(scheme));
    if known {
        return Ok(value);
    }
    Err(format!("--ice-server needs a URL such as stun:stun.example.org:3478, not {value:?}"))
}

fn rtcp_mux(value: &str) -> Result<RtcpMuxPolicy, String> {
    match value {
        "require" => Ok(RtcpMuxPolicy::Require),
        "negotiate" => Ok(RtcpMuxPolicy::Negotiate),
        _ => Err(format!("--rtcp-mux is require or negotiate, not {value:?}")),
    }
}

fn dtls_engine(value: &str) -> Result<DtlsEngineKind, String> {
    match value {
        "dimpl" => Ok(DtlsEngineKind::Dimpl),
        "webrtc-dtls" => Ok(DtlsEngineKind::WebrtcDtls),
        _ => Err(format!("--dtls-engine is dimpl or webrtc-dtls, not {value:?}")),
    }
}

fn srtp_engine(value: &str) -> Result<SrtpEngineKind, String> {
    match value {
        "peerstack" => Ok(SrtpEngineKind::Peerstack),
        "webrtc-srtp" => Ok(SrtpEngineKind::WebrtcSrtp),
        _ => Err(format!("--srtp-engine is peerstack or webrtc-srtp, not {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_flags_the_page_is_served_to_this_machine_alone() {
        let args = parse("").unwrap();
        assert_eq!(args, Args::default());
        assert!(args.bind.is_loopback());
        assert_eq!(args.mode, Mode::Serve);
    }

    #[test]
    fn every_flag_is_read_with_a_space_or_an_equals_sign() {
        let expected = Args {
            mode: Mode::Client("http://h/offer?a=b".to_owned()),
            bind: "::".parse().unwrap(),
            port: 0,
            ice_servers: vec!["stun:a:1".to_owned(), "turn:b?transport=udp".to_owned()],
            ice_username: "n".to_owned(),
            ice_credential: "p=w".to_owned(),
            ice_ca: Some("ca.pem".into()),
            relay_only: true,
            rtcp_mux: RtcpMuxPolicy::Negotiate,
            udp_port: Some(5_000),
            external_ips: NatOneToOne::default()
                .with_external("203.0.113.1".parse().unwrap())
                .and_then(|ips| ips.with_mapping("203.0.113.2".parse().unwrap(), "10.0.0.2".parse().unwrap()))
                .unwrap(),
            max_peers: 7,
            dtls_engine: DtlsEngineKind::WebrtcDtls,
            srtp_engine: SrtpEngineKind::WebrtcSrtp,
        };
        let spaces = "--bind :: --port 0 --ice-server stun:a:1 --ice-server turn:b?transport=udp --max-peers 7 \
                      --ice-username n --ice-credential p=w --ice-ca ca.pem --relay-only --udp-port 5000 --rtcp-mux negotiate \
                      --external-ip 203.0.113.1 --external-ip 203.0.113.2/10.0.0.2 \
                      --dtls-engine webrtc-dtls --srtp-engine webrtc-srtp --client http://h/offer?a=b";
        assert_eq!(parse(spaces), Ok(expected.clone()));
        let equals = "--bind=[::] --port=0 --ice-server=stun:a:1 --ice-server=turn:b?transport=udp --max-peers=7 \
                      --ice-username=n --ice-credential=p=w --ice-ca=ca.pem --relay-only --udp-port=5000 --rtcp-mux=negotiate \
                      --external-ip=203.0.113.1 --external-ip=203.0.113.2/10.0.0.2 \
                      --dtls-engine=webrtc-dtls --srtp-engine=webrtc-srtp --client=http://h/offer?a=b";
        assert_eq!(parse(equals), Ok(expected));
    }

    #[test]
    fn credentials_go_to_turn_servers_alone() {
        let args =
            parse("--ice-server stun:a --ice-server turns:b --ice-username n --ice-credential p").unwrap();
        let servers: Vec<_> = args.ice_servers().map(|server| (server.username, server.credential)).collect();
        assert_eq!(servers, [(String::new(), String::new()), ("n".to_owned(), "p".to_owned())]);
    }

    #[test]
    fn a_mistake_is_a_sentence_that_names_the_flag_and_the_value() {
        let cases = [
            ("--prot 80", "there is no flag --prot"),
            ("-p 80", "there is no flag -p"),
            ("8080", "\"8080\" is no flag"),
            ("--port", "--port needs a value"),
            ("--port=", "--port needs a value"),
            ("--bind --port 80", "--bind needs a value"),
            ("--port x", "--port needs a number from 0 to 65535, not \"x\""),
            ("--port 65536", "not \"65536\""),
            ("--port -1", "not \"-1\""),
            ("--port 1.5", "not \"1.5\""),
            ("--external-ip x", "--external-ip needs an address"),
            ("--external-ip 0.0.0.0", "0.0.0.0 is not an address that others can send to"),
            ("--external-ip 1.2.3.4 --external-ip 1.2.3.5", "already: 1.2.3.4"),
            ("--udp-port 65536", "--udp-port needs a number from 0 to 65535"),
            ("--max-peers 0", "--max-peers needs a number from 1 to 100000, not \"0\""),
            ("--max-peers 99999999999999999999999", "--max-peers needs a number"),
            ("--bind example.org", "--bind needs an IP address"),
            ("--ice-server http://x", "--ice-server needs a URL such as stun:"),
            ("--rtcp-mux maybe", "--rtcp-mux is require or negotiate, not \"maybe\""),
            ("--dtls-engine openssl", "--dtls-engine is dimpl or webrtc-dtls, not \"openssl\""),
            ("--srtp-engine libsrtp", "--srtp-engine is peerstack or webrtc-srtp, not \"libsrtp\""),
            ("--relay-only=yes", "--relay-only takes no value"),
            ("--self-test=yes", "--self-test takes no value, but got \"yes\""),
            ("--self-test --client http://x", "not together"),
            ("--client http://x --client http://y", "not together"),
            ("--client", "--client needs a value"),
        ];
        for (line, part) in cases {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn help_wins_over_the_other_modes() {
        for line in ["--help", "-h", "--self-test --help", "--help --client http://x"] {
            assert_eq!(parse(line).unwrap().mode, Mode::Help, "{line}");
        }
        for flag in ["--bind", "--port", "--ice-server", "--max-peers", "--dtls-engine", "--srtp-engine"] {
            assert!(HELP.contains(flag), "{flag}");
        }
        for flag in [
            "--ice-username",
            "--ice-credential",
            "--ice-ca",
            "--relay-only",
            "--udp-port",
            "--external-ip",
            "--rtcp-mux",
        ] {
            assert!(HELP.contains(flag), "{flag}");
        }
        assert!(["--self-test", "--client", "--help"].iter().all(|flag| HELP.contains(flag)));
    }
}
