//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` and runs each for a while, one on each core.
//!
//! What is found goes below `target/fuzz`; seeds are read from `tests/fuzz/seeds` and, where they are present, from
//! the public corpora that `tests/fuzz/corpora.txt` names.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use crate::context::Context;
use crate::needs::{Installer, Need};
use crate::say;

/// Of each target, unless said otherwise.
pub(crate) const SECONDS: u64 = 20;
/// The largest input; libFuzzer's own bounds on one input's time and on memory.
const LIMITS: [&str; 3] = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=1500"];
const CORPORA: &str = "PEERSTACK_CORPORA";
/// Lines of the log of a target that failed: so many from the panic on, and so many at the end.
const SHOWN: usize = 30;

/// The command by itself.
pub(crate) fn command(context: &Context, seconds: u64, targets: &[String]) -> ExitCode {
    let result =
        Installer::new(context).provide(Need::CargoFuzz).and_then(|()| run(context, seconds, targets));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Builds, then runs the targets named, or all.
pub(crate) fn run(context: &Context, seconds: u64, targets: &[String]) -> Result<(), String> {
    let manifest = read(&context.root.join("tests/fuzz/Cargo.toml"))?;
    let all = targets_in(&manifest);
    if let Some(unknown) = targets.iter().find(|target| !all.contains(&target.as_str())) {
        return Err(format!("there is no fuzz target {unknown:?}; there are {}", all.join(", ")));
    }
    let chosen: Vec<&str> =
        all.iter().copied().filter(|name| targets.is_empty() || targets.iter().any(|t| t == name)).collect();
    let folder = context.target("fuzz");
    build(context, &folder)?;
    let host = host(context)?;
    let corpora = read(&context.root.join("tests/fuzz/corpora.txt")).unwrap_or_default();
    let fuzzer = Fuzzer { context, folder, host, corpora, seconds };
    fuzzer.run_all(&chosen)
}

/// The stable toolchain builds what cargo-fuzz asks for when it is told that it may.
fn build(context: &Context, folder: &Path) -> Result<(), String> {
    let mut command = context.command("target/tools/bin/cargo-fuzz");
    command.args(["build", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", "--target-dir"]).arg(folder);
    command.env("RUSTC_BOOTSTRAP", "1");
    context.run(&mut command)
}

fn host(context: &Context) -> Result<String, String> {
    let text = context.output(context.command("rustc").arg("-vV")).unwrap_or_default();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or("rustc does not say what machine this is".to_owned())
}

struct Fuzzer<'a> {
    context: &'a Context,
    folder: PathBuf,
    host: String,
    corpora: String,
    seconds: u64,
}

struct Running<'a> {
    name: &'a str,
    log: PathBuf,
    child: Child,
}

impl Fuzzer<'_> {
    fn run_all(&self, targets: &[&str]) -> Result<(), String> {
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        let mut waiting: VecDeque<&str> = targets.iter().copied().collect();
        let (mut running, mut failed) = (VecDeque::new(), Vec::new());
        // Each takes as long as the others, so the one that began first ends first.
        while !waiting.is_empty() || !running.is_empty() {
            while running.len() < at_once
                && let Some(name) = waiting.pop_front()
            {
                running.push_back(self.start(name)?);
            }
            if let Some(first) = running.pop_front()
                && !finish(first)?
            {
                failed.push(());
            }
        }
        match failed.len() {
            0 => Ok(()),
            count => Err(format!("{count} of {} fuzz targets failed", targets.len())),
        }
    }

    fn start<'n>(&self, name: &'n str) -> Result<Running<'n>, String> {
        let (corpus, artifacts) =
            (self.folder.join("corpus").join(name), self.folder.join("artifacts").join(name));
        let logs = self.folder.join("logs");
        for folder in [&corpus, &artifacts, &logs] {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let program = self.folder.join(&self.host).join("release").join(name);
        let mut command = Command::new(&program);
        command.arg(&corpus).args(self.seeds(name)).args(LIMITS);
        command.arg(format!("-max_total_time={}", self.seconds));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).current_dir(&self.context.root);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Running { name, log, child })
    }

    /// The folders that are read besides the working one.
    fn seeds(&self, name: &str) -> Vec<PathBuf> {
        let root = std::env::var_os(CORPORA)
            .map_or_else(|| self.context.root.join("../shared/corpora"), PathBuf::from);
        let further = corpora_of(&self.corpora, name).map(|folder| root.join(folder));
        let own = self.context.root.join("tests/fuzz/seeds").join(name);
        std::iter::once(own).chain(further).filter(|folder| folder.is_dir()).collect()
    }
}

/// Waits for a target to end; says how it went, and whether well.
fn finish(mut running: Running<'_>) -> Result<bool, String> {
    let status = running.child.wait().map_err(|error| format!("{}: {error}", running.name))?;
    let log = String::from_utf8_lossy(&fs::read(&running.log).unwrap_or_default()).into_owned();
    if status.success() {
        let done = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("nothing was said");
        say(&format!("  {:<28}{done}", running.name));
        return Ok(true);
    }
    say(&format!("  {:<28}FAILED, {status}\n{}", running.name, told(&log).join("\n")));
    if let Some(input) = log.lines().rev().find_map(|line| line.split_once("Test unit written to "))
        && let Ok(bytes) = fs::read(input.1.trim())
    {
        // Whoever reads this may not have the machine any more.
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        say(&format!("  the input in hex, {} bytes: {hex}", bytes.len()));
    }
    Ok(false)
}

/// What the log of a failed target says of the cause: from the panic on, without the frames of a backtrace that are
/// not ours; the input comes last.
fn told(log: &str) -> Vec<&str> {
    let lines: Vec<&str> = log.lines().collect();
    let cause =
        lines.iter().position(|line| line.contains("panicked at") || line.starts_with("==")).unwrap_or(0);
    let foreign = |line: &&&str| {
        let (line, at) = (line.trim_start(), "at ");
        line.strip_prefix(at)
            .is_some_and(|path| !path.starts_with("./crates") && !path.starts_with("./tests"))
            || line.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let cause: Vec<&str> = lines.iter().skip(cause).filter(|line| !foreign(line)).copied().collect();
    let (head, tail) = cause.split_at(cause.len().min(SHOWN));
    head.iter().chain(tail.iter().skip(tail.len().saturating_sub(SHOWN))).copied().collect()
}

/// The names of the `[[bin]]` entries.
fn targets_in(manifest: &str) -> Vec<&str> {
    let entries = manifest.split("[[bin]]").skip(1);
    entries
        .filter_map(|entry| entry.lines().find_map(|line| line.strip_prefix("name = ")))
        .map(unquoted)
        .collect()
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches('"')
}

/// The folders that `corpora.txt` names for a target.
fn corpora_of<'a>(text: &'a str, target: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (name, folder) = line.split_once(' ')?;
        (name == target).then_some(folder.trim())
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_failure_the_panic_and_our_frames_are_told() {
        let log = "INFO: Seed: 1\n#2 INITED\nthread 'x' panicked at targets/a.rs:1:2:\nwhy\nstack backtrace:\n  \
                   0: rust_begin_unwind\n      at /rustc/1/library/std/src/panicking.rs:1:2\n  \
                   1: ours\n      at ./crates/base/src/lib.rs:3:4\nSUMMARY: libFuzzer: deadly signal";
        let told = told(log);
        assert_eq!(told.first().copied(), Some("thread 'x' panicked at targets/a.rs:1:2:"));
        assert!(told.iter().any(|line| line.contains("./crates/base")) && told.contains(&"why"));
        assert!(
            !told.iter().any(|line| line.contains("/rustc/"))
                && told.last() == Some(&"SUMMARY: libFuzzer: deadly signal")
        );
    }

    #[test]
    fn targets_and_their_corpora_are_read() {
        let manifest =
            "[package]\nname = \"x\"\n[[bin]]\nname = \"sdp\"\npath = \"a\"\n[[bin]]\nname = \"rtcp\"\n";
        assert_eq!(targets_in(manifest), ["sdp", "rtcp"]);
        let corpora = "# sdp comment\nsdp one\nsdp two\nrtcp three\n";
        assert_eq!(corpora_of(corpora, "sdp").collect::<Vec<_>>(), ["one", "two"]);
    }

    /// A target without seeds begins with nothing, and one that is not in the manifest is never run.
    #[test]
    fn each_target_is_known_and_has_seeds() {
        let folder = Context::default().root.join("tests/fuzz");
        let manifest = read(&folder.join("Cargo.toml")).unwrap();
        let mut named: Vec<String> = targets_in(&manifest).into_iter().map(str::to_owned).collect();
        named.sort();
        let mut there: Vec<String> = fs::read_dir(folder.join("targets"))
            .unwrap()
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        there.sort();
        assert_eq!(named, there);
        for name in named {
            assert!(fs::read_dir(folder.join("seeds").join(&name)).unwrap().next().is_some(), "{name}");
        }
    }
}
