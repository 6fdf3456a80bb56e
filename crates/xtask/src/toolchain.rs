//! The Rust version that the workspace promises.

use std::fs;
use std::process::Command;

use crate::context::Context;
use crate::say;

/// `rust-version` of the workspace.
pub(crate) fn promised(context: &Context) -> Option<String> {
    let manifest = fs::read_to_string(context.root.join("Cargo.toml")).ok()?;
    version_in(&manifest).map(str::to_owned)
}

fn version_in(manifest: &str) -> Option<&str> {
    let value = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "))?;
    Some(value.trim().trim_matches('"'))
}

/// `1.95.0` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn release(version: &str) -> Option<&str> {
    version.split_whitespace().nth(1)
}

fn is(release: &str, promised: &str) -> bool {
    release == promised || release.strip_prefix(promised).is_some_and(|rest| rest.starts_with('.'))
}

/// The words before `cargo` subcommands that make the promised version build, if it is there.
pub(crate) fn cargo_of_promised(context: &Context) -> Result<Vec<String>, String> {
    let promised = promised(context).ok_or("Cargo.toml states no rust-version")?;
    let version = context.output(context.command("rustc").arg("--version"));
    if version.as_deref().and_then(release).is_some_and(|release| is(release, &promised)) {
        return Ok(vec!["cargo".to_owned()]);
    }
    let words = ["rustup", "run", &promised, "cargo"].map(str::to_owned);
    let version = context.output(context.command("rustup").args(["run", &promised, "rustc", "--version"]));
    match version {
        Some(_) => Ok(words.to_vec()),
        None => Err(format!("the toolchain {promised}: rustup toolchain install {promised}")),
    }
}

/// Builds all with the promised version, without features.
pub(crate) fn msrv(context: &Context) -> Result<(), String> {
    let words = cargo_of_promised(context)?;
    let (program, before) = words.split_first().ok_or("no command")?;
    let version = context.output(Command::new(program).args(before).arg("--version"));
    say(&format!("with {}", version.unwrap_or_default()));
    let mut command = context.command(program);
    command.args(before).args(["check", "--workspace", "--all-targets", "--locked"]);
    context.run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_parts() {
        assert_eq!(release("rustc 1.95.0 (59807616e 2026-04-14)"), Some("1.95.0"));
        for (release, promised, same) in [
            ("1.95.0", "1.95", true),
            ("1.95.1", "1.95", true),
            ("1.95.0", "1.95.0", true),
            ("1.950.0", "1.95", false),
            ("1.96.0", "1.95", false),
        ] {
            assert_eq!(is(release, promised), same, "{release} {promised}");
        }
    }

    /// One promise, said in one place, and the README says the same.
    #[test]
    fn the_promise_is_the_same_everywhere() {
        let context = Context::default();
        let promised = promised(&context).unwrap();
        let readme = fs::read_to_string(context.root.join("README.md")).unwrap();
        assert!(readme.contains(&format!("Rust {promised} ")), "README.md does not say Rust {promised}");
        for folder in fs::read_dir(context.root.join("crates")).unwrap() {
            let path = folder.unwrap().path().join("Cargo.toml");
            let manifest = fs::read_to_string(&path).unwrap();
            assert!(manifest.contains("rust-version.workspace = true"), "{}", path.display());
        }
        let fuzz = fs::read_to_string(context.root.join("tests/fuzz/Cargo.toml")).unwrap();
        assert_eq!(version_in(&fuzz), Some(&*promised));
    }
}
