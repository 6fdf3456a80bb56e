//! What steps need beyond Rust, how it is found, and how it is installed where that is allowed.
//!
//! Debian's packages are installed by root alone. Everything else goes below `target/` or the tests' own folders.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::{say, toolchain};

/// Something a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A TURN server to test against.
    Coturn,
    /// The right to make network namespaces.
    Namespaces,
    /// Links between them.
    Iproute,
    /// NATs of the kernel.
    Nftables,
    /// Runs the browser tests.
    Node,
    /// What the browser tests import.
    NodeModules,
    Chromium,
    Firefox,
    /// Python with `wrtc` and `aiortc`.
    PythonPeers,
    CargoDeny,
    CargoFuzz,
    /// The toolchain that `rust-version` promises.
    Msrv,
}

/// Programs that stand for a package of Debian's, and the packages.
const PROGRAMS: &[(Need, &str, &[&str])] = &[
    (Need::Coturn, "turnserver", &["coturn"]),
    (Need::Iproute, "ip", &["iproute2"]),
    (Need::Nftables, "nft", &["nftables"]),
    (Need::Node, "node", &["nodejs", "npm"]),
    (Need::Chromium, "chromium", &["chromium"]),
    (Need::Firefox, "firefox-esr", &["firefox-esr"]),
];
/// Where programs are that a user's search path may not name.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
const NODE_MAJOR: u32 = 18;
const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
const PYTHON: &str = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))";

/// Installs needs one by one.
pub(crate) struct Installer<'a> {
    context: &'a Context,
    /// Whether the list of Debian's packages was fetched in this run.
    updated: bool,
}

impl<'a> Installer<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context, updated: false }
    }

    /// Finds what is needed, or installs it.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(crate) fn provide(&mut self, need: Need) -> Result<(), String> {
        match need {
            Need::Namespaces => namespaces(self.context).map(|_| ()),
            Need::NodeModules => self.node_modules(),
            Need::PythonPeers => self.python_peers(),
            Need::CargoDeny => self.cargo_tool("cargo-deny", CARGO_DENY),
            Need::CargoFuzz => self.cargo_tool("cargo-fuzz", CARGO_FUZZ),
            Need::Msrv => toolchain::cargo_of_promised(self.context).map(|_| ()),
            Need::Node => self.program(need).and_then(|()| self.node_is_new()),
            _ => self.program(need),
        }
    }

    fn program(&mut self, need: Need) -> Result<(), String> {
        let Some((_, program, packages)) = PROGRAMS.iter().find(|(known, ..)| *known == need) else {
            return Err(format!("{need:?} is no program"));
        };
        if find(program).is_some() {
            return Ok(());
        }
        self.debian(packages).map_err(|why| format!("{program} ({why})"))?;
        find(program).map(|_| ()).ok_or(format!("{program} is not in Debian's {}", packages.join(" ")))
    }

    /// Installs Debian's packages, as root alone.
    fn debian(&mut self, packages: &[&str]) -> Result<(), String> {
        let by_hand = format!("apt-get install {}", packages.join(" "));
        if find("apt-get").is_none() {
            return Err("not a Debian: install it by hand".to_owned());
        }
        let user = self.context.output(Command::new("id").arg("-u"));
        if user.as_deref() != Some("0") {
            return Err(format!("as root: {by_hand}"));
        }
        say(&format!("== installing {}", packages.join(" ")));
        if !self.updated {
            self.context.run(apt().args(["update", "-q"]))?;
            self.updated = true;
        }
        self.context.run(apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(packages))
    }

    fn node_is_new(&self) -> Result<(), String> {
        let version = self.context.output(Command::new("node").arg("--version")).unwrap_or_default();
        match major(&version) {
            Some(major) if major >= NODE_MAJOR => Ok(()),
            _ => Err(format!("node {NODE_MAJOR} or later, not {version}")),
        }
    }

    /// The modules of the lock file. Puppeteer's core fetches no browser; the variable says so all the same.
    fn node_modules(&mut self) -> Result<(), String> {
        if find("npm").is_none() {
            self.debian(&["npm"]).map_err(|why| format!("npm ({why})"))?;
        }
        let folder = self.context.root.join("tests/browser");
        let lock = folder.join("package-lock.json");
        let made = folder.join("node_modules/.made_of");
        if same(&lock, &made) {
            return Ok(());
        }
        say("== installing Node modules");
        let mut command = Command::new("npm");
        command.args(["ci", "--no-audit", "--no-fund"]).env("PUPPETEER_SKIP_DOWNLOAD", "1");
        self.context
            .run(command.current_dir(&folder))
            .map_err(|why| format!("the Node modules of tests/browser ({why})"))?;
        copy(&lock, &made)
    }

    /// A virtual environment below `target/` with exactly the pinned packages.
    fn python_peers(&mut self) -> Result<(), String> {
        let list = self.context.root.join("tests/peers/requirements.txt");
        let folder = self.context.target("peers/venv");
        let made = folder.join("made_of.txt");
        if same(&list, &made) {
            return Ok(());
        }
        if self.context.output(Command::new("python3").args(["-c", PYTHON])).is_none() {
            let packages = ["python3", "python3-venv"];
            self.debian(&packages).map_err(|why| format!("Python 3.11 or later with venv ({why})"))?;
        }
        say("== installing Python peers");
        let missing = |why| format!("wrtc and aiortc in {} ({why})", folder.display());
        self.context
            .run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            .map_err(missing)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "-r"]).arg(&list);
        self.context.run(&mut pip).map_err(missing)?;
        copy(&list, &made)
    }

    /// A tool of Cargo's, built into `target/tools`.
    fn cargo_tool(&mut self, name: &str, version: &str) -> Result<(), String> {
        let root = self.context.root.join("target/tools");
        let there = self.context.output(Command::new(root.join("bin").join(name)).arg("--version"));
        if there.is_some_and(|text| text.ends_with(&format!(" {version}"))) {
            return Ok(());
        }
        say(&format!("== installing {name}"));
        let mut command = Command::new("cargo");
        // Unoptimised: building it takes longer than running it.
        command
            .args(["install", name, "--version", version, "--locked", "--debug", "--force", "--root"])
            .arg(&root);
        command.current_dir(&self.context.root);
        self.context.run(&mut command).map_err(|why| format!("{name} ({why})"))
    }
}

/// The words before a command that may make network namespaces: none as root, else those of a user namespace in which
/// it is as good as root.
///
/// # Errors
/// Why neither can be had.
pub(crate) fn namespaces(context: &Context) -> Result<&'static [&'static str], String> {
    const WAYS: [&[&str]; 2] = [&[], &["unshare", "--user", "--map-root-user"]];
    let works = |way: &&&[&str]| {
        let mut words = way.iter().chain(&["unshare", "--net", "true"]);
        let mut command = Command::new(words.next().copied().unwrap_or_default());
        context.output(command.args(words)).is_some()
    };
    WAYS.iter().find(works).copied().ok_or_else(|| {
        "network namespaces: as root in a container that may make them, or with unprivileged user namespaces \
         allowed (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            .to_owned()
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = MORE_FOLDERS.iter().map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `20` of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn same(one: &Path, other: &Path) -> bool {
    let (one, other) = (fs::read(one), fs::read(other));
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(|_| ()).map_err(|error| format!("{}: {error}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major(""), None);
    }

    /// Lock files and lists name packages, not the hosts they come from.
    #[test]
    fn no_lock_file_names_a_registry() {
        let root = Context::default().root;
        for name in ["tests/browser/package-lock.json", "tests/peers/requirements.txt"] {
            let text = fs::read_to_string(root.join(name)).unwrap();
            for line in text.lines() {
                assert!(!line.contains("\"resolved\"") && !line.contains("index-url"), "{name}: {line}");
            }
        }
    }
}
