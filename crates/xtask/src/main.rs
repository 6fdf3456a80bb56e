//! `cargo xtask`: every check of the workspace behind one command, and what the checks need.
//!
//! `test` runs the steps of `steps.rs`, in the order in which a failure is cheapest to see. What a step needs is
//! installed where that is allowed, otherwise the step is left out and the reason said; `--ci` is what the gate
//! passes: whatever is left out is a failure then. `fuzz` runs fuzz targets by themselves.

mod args;
mod context;
mod fuzz;
mod needs;
mod runner;
mod steps;
mod toolchain;

use std::process::ExitCode;

use args::Command;
use context::Context;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match args::parse(&words) {
        Ok(Command::Help) => {
            say(&args::usage());
            ExitCode::SUCCESS
        }
        Ok(Command::Test(options)) => runner::test(&Context::new(options)),
        Ok(Command::Fuzz { seconds, targets }) => fuzz::command(&Context::default(), seconds, &targets),
        Err(error) => {
            say(&format!("{error}\n\n{}", args::usage()));
            ExitCode::from(2)
        }
    }
}

/// Prints a line at once, however the output is kept.
#[expect(clippy::print_stdout, reason = "this is a command line tool")]
fn say(line: &str) {
    use std::io::Write;
    println!("{line}");
    let _ = std::io::stdout().flush();
}
