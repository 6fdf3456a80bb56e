//! Runs the steps, measures them, and says in the end what passed, failed and was left out.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::context::{Context, now, shown};
use crate::needs::{Installer, Need};
use crate::say;
use crate::steps::{Run, STEPS, Step};

/// What the advisories' database would need; nothing here may reach beyond the package registries.
const NEVER: &str = "advisories: cargo-deny fetches their database with git; run `cargo deny check advisories` \
                     where that is possible";

enum Outcome {
    Passed,
    Failed(String),
    LeftOut(String),
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// `cargo xtask test`.
pub(crate) fn test(context: &Context) -> ExitCode {
    let started = now();
    let only = &context.options.only;
    let steps: Vec<&Step> =
        STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)).collect();
    let missing = prepare(context, &steps);
    let prepared = started.elapsed();
    let rows: Vec<Row> = steps.iter().map(|step| perform(context, step, &missing)).collect();
    summary(context, &rows, prepared, started.elapsed())
}

/// Installs what the steps need; gives what is missing all the same, and why.
fn prepare(context: &Context, steps: &[&Step]) -> BTreeMap<Need, String> {
    let mut needs: Vec<Need> = steps.iter().flat_map(|step| step.needs).copied().collect();
    needs.sort();
    needs.dedup();
    let mut installer = Installer::new(context);
    let mut missing = BTreeMap::new();
    for need in needs {
        if let Err(reason) = installer.provide(need) {
            say(&format!("== missing: {reason}"));
            missing.insert(need, reason);
        }
    }
    missing
}

fn perform(context: &Context, step: &Step, missing: &BTreeMap<Need, String>) -> Row {
    let lacking: Vec<&str> =
        step.needs.iter().filter_map(|need| missing.get(need)).map(String::as_str).collect();
    let started = now();
    let outcome = if lacking.is_empty() {
        match run(context, step) {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(error),
        }
    } else {
        Outcome::LeftOut(lacking.join("; "))
    };
    let took = started.elapsed();
    say(&format!("== {}: {} in {} s", step.name, verdict(&outcome), took.as_secs()));
    Row { name: step.name, outcome, took }
}

fn run(context: &Context, step: &Step) -> Result<(), String> {
    match step.run {
        Run::Command(words, environment) => {
            let (program, args) = words.split_first().ok_or("no command")?;
            let mut command: Command = context.command(program);
            command.args(args).envs(environment.iter().copied());
            say(&format!("== {}: {}", step.name, shown(&command)));
            context.run(&mut command)
        }
        Run::Task(task) => {
            say(&format!("== {}: {}", step.name, step.about));
            task(context)
        }
    }
}

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "FAILED",
        Outcome::LeftOut(_) => "left out",
    }
}

fn summary(context: &Context, rows: &[Row], prepared: Duration, total: Duration) -> ExitCode {
    say("\n== summary");
    say(&format!("  {:<16}{:<10}{:>6} s", "preparation", "done", prepared.as_secs()));
    for row in rows {
        let why = match &row.outcome {
            Outcome::Passed => "",
            Outcome::Failed(why) | Outcome::LeftOut(why) => why,
        };
        let line =
            format!("  {:<16}{:<10}{:>6} s  {why}", row.name, verdict(&row.outcome), row.took.as_secs());
        say(line.trim_end());
    }
    say(&format!("  {:<26}{:>6} s", "total", total.as_secs()));
    say(&format!("  always left out: {NEVER}"));
    let count = |wanted: fn(&Outcome) -> bool| rows.iter().filter(|row| wanted(&row.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let left_out = count(|outcome| matches!(outcome, Outcome::LeftOut(_)));
    let passed = rows.len() - failed - left_out;
    let lacking = context.options.ci && left_out > 0;
    if lacking {
        say("  with --ci nothing may be left out");
    }
    say(&format!("steps: {passed} passed, {failed} failed, {left_out} skipped"));
    if failed > 0 || lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
