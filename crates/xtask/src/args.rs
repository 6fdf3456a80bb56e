//! The command line.

use crate::fuzz;
use crate::steps::STEPS;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Test(TestOptions),
    Fuzz { seconds: u64, targets: Vec<String> },
}

/// Of `cargo xtask test`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct TestOptions {
    /// Nothing may be left out.
    pub(crate) ci: bool,
    /// These steps alone; all where empty.
    pub(crate) only: Vec<String>,
}

pub(crate) fn usage() -> String {
    let mut text = format!(
        "usage: cargo xtask test [--ci] [--only STEP]...\n       \
         cargo xtask fuzz [--seconds N] [TARGET]...    each target for N seconds [{}]\n\n\
         --ci        nothing may be left out\n\
         --only      this step alone; may be repeated\n\nsteps:",
        fuzz::SECONDS
    );
    for step in STEPS {
        text.push_str(&format!("\n  {:<16}{}", step.name, step.about));
    }
    text
}

pub(crate) fn parse(words: &[String]) -> Result<Command, String> {
    let mut words = words.iter().map(String::as_str);
    match words.next() {
        Some("test") => test(words),
        Some("fuzz") => fuzz(words),
        Some("help" | "--help" | "-h") | None => Ok(Command::Help),
        Some(other) => Err(format!("there is no command {other:?}")),
    }
}

fn test<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Command, String> {
    let mut options = TestOptions::default();
    while let Some(word) = words.next() {
        match word {
            "--ci" => options.ci = true,
            "--only" => {
                let name = words.next().ok_or("--only needs the name of a step")?;
                if !STEPS.iter().any(|step| step.name == name) {
                    return Err(format!("there is no step {name:?}"));
                }
                options.only.push(name.to_owned());
            }
            "--help" | "-h" => return Ok(Command::Help),
            other => return Err(format!("{other:?} is no flag of test")),
        }
    }
    Ok(Command::Test(options))
}

fn fuzz<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Command, String> {
    let (mut seconds, mut targets) = (fuzz::SECONDS, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "--seconds" => {
                let value = words.next().ok_or("--seconds needs a number")?;
                let number = value.parse().ok().filter(|&number| number > 0);
                seconds = number.ok_or(format!("--seconds needs a number from 1, not {value:?}"))?;
            }
            "--help" | "-h" => return Ok(Command::Help),
            flag if flag.starts_with('-') => return Err(format!("{flag:?} is no flag of fuzz")),
            target => targets.push(target.to_owned()),
        }
    }
    Ok(Command::Fuzz { seconds, targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read() {
        let options = TestOptions { ci: true, only: vec!["format".to_owned(), "lints".to_owned()] };
        assert_eq!(words("test --ci --only format --only lints"), Ok(Command::Test(options)));
        assert_eq!(words("test"), Ok(Command::Test(TestOptions::default())));
        assert_eq!(words("fuzz"), Ok(Command::Fuzz { seconds: fuzz::SECONDS, targets: Vec::new() }));
        let targets = vec!["sdp".to_owned()];
        assert_eq!(words("fuzz --seconds 600 sdp"), Ok(Command::Fuzz { seconds: 600, targets }));
        assert_eq!(words(""), Ok(Command::Help));
    }

    #[test]
    fn mistakes_are_said() {
        for (line, part) in [
            ("tset", "no command"),
            ("test --only", "name of a step"),
            ("test --only nothing", "no step"),
            ("test --fast", "no flag"),
            ("fuzz --seconds 0", "number from 1"),
            ("fuzz --seconds", "needs a number"),
            ("fuzz --jobs 2", "no flag"),
        ] {
            let error = words(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
