//! The steps of `cargo xtask test`, as data.

use std::process::Command;

use crate::context::Context;
use crate::needs::{self, Need};
use crate::{fuzz, toolchain};

/// One check.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: Run,
}

/// What a step does.
pub(crate) enum Run {
    /// Words and environment of one command, in the root.
    Command(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Something more.
    Task(fn(&Context) -> Result<(), String>),
}

const WARNINGS: &[(&str, &str)] = &[("RUSTDOCFLAGS", "-D warnings")];

pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "rustfmt",
        needs: &[],
        run: Run::Command(&["cargo", "fmt", "--all", "--", "--check"], &[]),
    },
    Step {
        name: "lints",
        about: "clippy, warnings as errors",
        needs: &[],
        run: Run::Command(
            &[
                "cargo",
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "tests",
        about: "unit tests, simulations, loopback; needs Rust only",
        needs: &[],
        run: Run::Command(
            &["cargo", "test", "--workspace", "--all-features", "--locked", "--no-fail-fast"],
            &[],
        ),
    },
    Step {
        name: "namespaces",
        about: "the kernel's NATs in network namespaces, coturn over UDP, TCP and TLS",
        needs: &[Need::Namespaces, Need::Iproute, Need::Nftables, Need::Coturn],
        run: Run::Task(namespaces),
    },
    Step {
        name: "documentation",
        about: "rustdoc, warnings as errors",
        needs: &[],
        run: Run::Command(
            &["cargo", "doc", "--workspace", "--no-deps", "--all-features", "--locked"],
            WARNINGS,
        ),
    },
    Step {
        name: "dependencies",
        about: "cargo-deny: licences, bans, sources",
        needs: &[Need::CargoDeny],
        run: Run::Command(
            &["target/tools/bin/cargo-deny", "--locked", "check", "bans", "licenses", "sources"],
            &[],
        ),
    },
    Step {
        name: "msrv",
        about: "the oldest Rust that is promised builds all, without features",
        needs: &[Need::Msrv],
        run: Run::Task(toolchain::msrv),
    },
    Step {
        name: "echo",
        about: "the echo example's release build, and its self-test with either engine",
        needs: &[],
        run: Run::Task(echo),
    },
    Step {
        name: "browsers",
        about: "Chromium and Firefox against the echo peer, a test peer and the examples",
        needs: &[Need::Node, Need::NodeModules, Need::Chromium, Need::Firefox],
        run: Run::Task(browsers),
    },
    Step {
        name: "libwebrtc",
        about: "libwebrtc (the package wrtc) against the echo peer, and the other way about",
        needs: &[Need::PythonPeers],
        run: Run::Task(|context| peer(context, "test_libwebrtc")),
    },
    Step {
        name: "aiortc",
        about: "aiortc against the echo peer, and the other way about",
        needs: &[Need::PythonPeers],
        run: Run::Task(|context| peer(context, "test_aiortc")),
    },
    Step {
        name: "fuzz",
        about: "each fuzz target for a while",
        needs: &[Need::CargoFuzz],
        run: Run::Task(|context| fuzz::run(context, fuzz::SECONDS, &[])),
    },
];

/// The tests that `cargo test` leaves out, since they need more than Rust.
fn namespaces(context: &Context) -> Result<(), String> {
    let cargo = ["cargo", "test", "--workspace", "--all-features", "--locked", "--test", "kernel_nat"];
    // Built with this user's rights and network; the tests run the examples that are beside them.
    context.run(context.command("cargo").args(&cargo[1..]).arg("--no-run"))?;
    let examples = ["--example", "echo", "--example", "nat-check"];
    let build = ["build", "--workspace", "--all-features", "--locked"];
    context.run(context.command("cargo").args(build).args(examples))?;
    let way = needs::namespaces(context)?;
    let mut words = way.iter().chain(&cargo).chain(&["--offline", "--", "--ignored", "--nocapture"]);
    let mut command = context.command(words.next().copied().unwrap_or_default());
    // Where Debian has `ip`, `nft` and `turnserver`, which a user's search path may not name.
    let path = std::env::var("PATH").unwrap_or_default();
    context.run(command.args(words).env("PATH", format!("{path}:/usr/sbin:/sbin")))
}

/// Cargo says itself when there is nothing to build.
fn build_echo(context: &Context) -> Result<(), String> {
    // As the README's command builds it: the example has every engine.
    context.run(context.command("cargo").args(["build", "--release", "--locked", "--example", "echo"]))
}

fn echo(context: &Context) -> Result<(), String> {
    build_echo(context)?;
    let engines = ["--dtls-engine", "webrtc-dtls", "--srtp-engine", "webrtc-srtp"];
    for engines in [&[][..], &engines[..]] {
        context
            .run(Command::new(context.echo()).arg("--self-test").args(engines).current_dir(&context.root))?;
    }
    Ok(())
}

fn browsers(context: &Context) -> Result<(), String> {
    build_echo(context)?;
    // As the step `tests` built them.
    let examples = ["build", "--workspace", "--all-features", "--locked", "--examples"];
    context.run(context.command("cargo").args(examples))?;
    let mut command = context.command("node");
    // One test at a time: two browsers at once would slow each other's pictures on a small machine.
    command.args(["--test", "--test-reporter=spec", "--test-concurrency=1"]);
    command.args(["echo.test.js", "udp_mux.test.js", "page.test.js", "call.test.js", "examples.test.js"]);
    command.current_dir(context.root.join("tests/browser")).env("PEERSTACK_ECHO", context.echo());
    command.env("PEERSTACK_EXAMPLES", context.target("debug/examples"));
    context.run(&mut command)
}

fn peer(context: &Context, module: &str) -> Result<(), String> {
    build_echo(context)?;
    let mut command = Command::new(context.target("peers/venv/bin/python"));
    command.args(["-m", "unittest", "-v", module]);
    command.current_dir(context.root.join("tests/peers")).env("PEERSTACK_ECHO", context.echo());
    // Candidates of this machine are enough.
    command.env("WRTC_ALLOW_LOOPBACK", "1");
    context.run(&mut command)
}
