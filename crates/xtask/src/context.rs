//! Where things are, and how commands are run there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::args::TestOptions;

/// The workspace and how it is tested.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) options: TestOptions,
}

impl Default for Context {
    fn default() -> Self {
        Self::new(TestOptions::default())
    }
}

impl Context {
    pub(crate) fn new(options: TestOptions) -> Self {
        let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        root.pop();
        root.pop();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target, options }
    }

    /// A command in the root. A program that is given as a path is taken from below the root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = if Path::new(program).components().count() > 1 {
            Command::new(self.root.join(program))
        } else {
            Command::new(program)
        };
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; what it prints is shown.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), String> {
        let shown = shown(command);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown}: {status}")),
            Err(error) => Err(format!("{shown}: {error}")),
        }
    }

    /// What a command prints, if it succeeds.
    pub(crate) fn output(&self, command: &mut Command) -> Option<String> {
        let output = command.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    pub(crate) fn target(&self, path: impl AsRef<Path>) -> PathBuf {
        self.target.join(path)
    }

    /// The echo example that `echo` builds.
    pub(crate) fn echo(&self) -> PathBuf {
        self.target("release/examples/echo")
    }
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "a command line tool tells how long its steps took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
