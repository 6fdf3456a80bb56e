//! `cargo xtask test`: every check of the workspace, in the order in which a failure is cheapest to see.
//!
//! `--ci` is what the gate passes: nothing may be left out, except what is said in the output.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

struct Step {
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const STEPS: &[Step] = &[
    Step { name: "format", program: "cargo", args: &["fmt", "--all", "--", "--check"], env: &[] },
    Step {
        name: "lints",
        program: "cargo",
        args: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        env: &[],
    },
    Step {
        name: "tests",
        program: "cargo",
        args: &["test", "--workspace", "--all-features", "--locked", "--no-fail-fast"],
        env: &[],
    },
    Step {
        name: "documentation",
        program: "cargo",
        args: &["doc", "--workspace", "--no-deps", "--all-features", "--locked"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] | ["test", "--ci"] => test(),
        _ => {
            say("usage: cargo xtask test [--ci]");
            ExitCode::from(2)
        }
    }
}

fn test() -> ExitCode {
    let mut failed = Vec::new();
    for step in STEPS {
        say(&format!("== {}: {} {}", step.name, step.program, step.args.join(" ")));
        let start = now();
        let status = Command::new(step.program)
            .args(step.args)
            .envs(step.env.iter().copied())
            .current_dir(workspace())
            .status();
        let passed = status.as_ref().is_ok_and(|status| status.success());
        let verdict = if passed { "passed" } else { "FAILED" };
        say(&format!("== {}: {verdict} in {} s", step.name, start.elapsed().as_secs()));
        if !passed {
            failed.push(step.name);
        }
    }
    if failed.is_empty() {
        say("all steps passed");
        return ExitCode::SUCCESS;
    }
    say(&format!("failed: {}", failed.join(", ")));
    ExitCode::FAILURE
}

fn workspace() -> PathBuf {
    let mut folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.pop();
    folder.pop();
    folder
}

#[expect(clippy::disallowed_methods, reason = "a command line tool tells how long its steps took")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "this is a command line tool")]
fn say(line: &str) {
    println!("{line}");
}
