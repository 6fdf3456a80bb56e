//! The crates import only what the picture in docs/architecture.md allows.

#![allow(clippy::expect_used, reason = "a test that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate and all it may import.
const PICTURE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("netsim", &["base", "stun"]),
    ("stun", &["base"]),
    ("p2p", &["base", "stun"]),
    ("dtls", &["base", "p2p"]),
    ("rtp-transport", &["base", "p2p", "dtls"]),
    ("sctp", &["base", "dtls"]),
    ("media", &["base", "rtp-transport"]),
    ("jsep", &["base", "p2p", "dtls", "rtp-transport", "sctp"]),
    ("peer-connection", &["base", "stun", "p2p", "dtls", "rtp-transport", "sctp", "media", "jsep"]),
];

fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let short =
        |name: &Value| name.as_str().and_then(|name| name.strip_prefix("peerstack-")).map(str::to_owned);
    let mut imports = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let Some(name) = short(&package["name"]) else { continue };
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        imports.insert(name, normal.filter_map(|dependency| short(&dependency["name"])).collect());
    }
    imports
}

#[test]
fn crates_import_only_what_stands_below_them() {
    let imports = imports();
    let drawn: BTreeSet<_> = PICTURE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        imports.keys().cloned().collect::<BTreeSet<_>>(),
        drawn,
        "the crates are not those of the picture"
    );
    for (name, allowed) in PICTURE {
        for import in &imports[*name] {
            assert!(allowed.contains(&import.as_str()), "{name} imports {import}, which is not below it");
        }
    }
}

#[test]
fn nothing_below_peer_connection_needs_a_runtime_but_the_bridge_to_webrtc_dtls() {
    for folder in ["stun", "p2p", "rtp_transport", "sctp", "media", "jsep"] {
        let path = format!("{}/../{folder}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(&path).expect("the manifest is there");
        let normal = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let normal = normal.split("\n[").next().unwrap_or_default();
        assert!(!normal.contains("tokio"), "{folder} depends on tokio");
    }
}
