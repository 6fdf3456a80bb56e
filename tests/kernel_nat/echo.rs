//! The echo example by hand, as the README says it: TURN over TLS with an authority of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::turn_server::{Certificates, PASSWORD, TLS_PORT, TurnServer, USER};

/// Runs the self-test in a namespace; whether it succeeded, and what it printed.
fn self_test(namespace: &Namespace, host: &str, ca: &Path) -> (bool, String) {
    let mut command = Command::new(crate::example("echo"));
    command.args(["--self-test", "--relay-only", "--ice-username", USER, "--ice-credential", PASSWORD]);
    command.arg(format!("--ice-server=turns:{host}:{TLS_PORT}?transport=tcp")).arg("--ice-ca").arg(ca);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    let output = namespace.enter(|| command.output().expect("cargo build --example echo"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{out}{err}"))
}

/// All goes through the relay over TLS; a wrong name and an authority that is not ours are refused, and said.
#[test]
#[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
fn echo_relays_over_tls() {
    let (lab, certificates) = (Lab::new(), Certificates::for_name("localhost"));
    let server = TurnServer::start(&lab.internet, "127.0.0.1", &certificates);
    let [ours, others] =
        [("ours.pem", &certificates), ("others.pem", &Certificates::new())].map(|(name, of)| {
            let path = server.folder().join(name);
            std::fs::write(&path, &of.root_pem).unwrap();
            path
        });
    let (passed, text) = self_test(&lab.internet, "localhost", &ours);
    assert!(passed && text.contains("Everything came back."), "{text}");
    for (host, ca, part) in
        [("127.0.0.1", &ours, "not valid for name"), ("localhost", &others, "UnknownIssuer")]
    {
        let (passed, text) = self_test(&lab.internet, host, ca);
        assert!(!passed && text.contains("turns:") && text.contains(part), "{text}");
    }
}
