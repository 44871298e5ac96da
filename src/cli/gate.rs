//! `devinprod gate`: may a change go on to the next stage?

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::attest::resolved;
use super::evidence::{Trust, no_key};
use super::table::{Format, Rows};
use super::{Failure, print, say_why};
use crate::audit::time::milliseconds;
use crate::audit::{Event, EventKind, Gated, account, gated};
use crate::config::Config;
use crate::evidence::Kind;
use crate::evidence::collect::Found;
use crate::evidence::gate::{Answer, Check, NoGate, State, judge};
use crate::notify::watch::Watch;
use crate::notify::{self, Message, Streak, Timing};
use crate::policy::Stage;

/// The exit status of a gate that is closed.
const CLOSED: u8 = 1;
/// The exit status where the gate could not be asked.
const TROUBLE: u8 = 2;

/// Exit status: 0 it may go on, 1 it may not, 2 that could not be found out.
#[derive(Debug, Args)]
pub(super) struct GateArgs {
    /// The commit: in full, or as git knows it here
    #[arg(long, value_name = "COMMIT")]
    change: String,
    /// The stage that it is to go on to
    #[arg(long, value_enum, value_name = "STAGE")]
    to: To,
    /// A file of evidence, or a folder with such files; repeat it for several
    #[arg(long, value_name = "FILE|DIR")]
    evidence: Vec<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A stage, as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    Local,
    Test,
    Preprod,
    Prod,
}

impl To {
    fn stage(self) -> Stage {
        match self {
            Self::Local => Stage::Local,
            Self::Test => Stage::Test,
            Self::Preprod => Stage::Preprod,
            Self::Prod => Stage::Prod,
        }
    }
}

pub(super) fn run(args: &GateArgs) -> ExitCode {
    match asked(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(CLOSED),
        Err(error) => {
            say_why(&error);
            ExitCode::from(TROUBLE)
        }
    }
}

/// Whether the gate is open.
fn asked(args: &GateArgs) -> anyhow::Result<bool> {
    let settings = Config::gate(&args.trust.config.path)?;
    let change = resolved(&args.change)?;
    let keys = args.trust.keys()?;
    if keys.is_empty() {
        return Err(no_key().into());
    }
    let pieces = args.trust.read(&args.evidence, &keys)?;
    let now = milliseconds(SystemTime::now());
    let answer = judge(&settings, &change, args.to.stage(), now, &pieces).map_err(|error| {
        let hint = match error {
            NoGate::NoStage(_) => "`stages` in [gate] lists the stages that a change goes through",
            NoGate::Nothing(_) => "`stages` in [gate] says what comes before it",
        };
        Failure::new(error.to_string(), hint)
    })?;
    match args.format {
        Format::Json => print::line(serde_json::to_string_pretty(&answer)?),
        Format::Table => text(&answer),
    }
    let unreadable = pieces.iter();
    let unreadable = unreadable.filter(|piece| piece.found == Found::NotSigned(None));
    for piece in unreadable {
        print::note(format!("note: {}: this is no evidence", piece.place));
    }
    if settings.from.is_none() {
        print::note(
            "note: evidence of every developer counts here; `from` in [gate] says whose does",
        );
    }
    if args.trust.is_picked(&args.evidence) {
        print::note(
            "note: these are files that somebody chose; a later failure that was left out is not seen, with --audit it would be",
        );
    }
    record(args, &answer)?;
    Ok(answer.open)
}

/// Puts the answer on record, where the configuration's log is; the proxy that writes it tells whom it tells. Where there
/// is no log, who must know of a closed gate is told from here.
fn record(args: &GateArgs, answer: &Answer) -> anyhow::Result<()> {
    let folder = Config::audit_folder(&args.trust.config.path)?;
    let said = Gated {
        commit: answer.change.as_str().to_owned(),
        to: answer.to.to_owned(),
        passed: answer.open,
        why: answer.why(),
    };
    if folder.is_dir() {
        return gated(&folder, &said)
            .with_context(|| format!("{} takes no record of this", folder.display()));
    }
    if answer.open {
        return Ok(());
    }
    let notify = match Config::notify(&args.trust.config.path) {
        Ok(notify) => notify,
        Err(report) => {
            print::note(format!("note: nobody was told: {report}"));
            return Ok(());
        }
    };
    let Gated {
        commit,
        to,
        passed,
        why,
    } = said;
    let event = Event::now(EventKind::Gate {
        commit,
        to,
        passed,
        why,
        account: account(),
    });
    let alerts = Watch::new(Streak::default()).see(&event, Instant::now());
    for alert in &alerts {
        let told = notify
            .iter()
            .filter(|one| one.topics.contains(&alert.topic));
        for one in told {
            let message = Message::of(alert.clone());
            if let Err(failure) = notify::deliver(one, &message, Timing::default().patience) {
                print::note(format!("note: {} was not told: {failure}", one.name));
            }
        }
    }
    Ok(())
}

fn text(answer: &Answer) {
    let verdict = if answer.open { "open" } else { "closed" };
    print::line(format!(
        "the gate to {} is {verdict} for {}\n",
        answer.to, answer.change
    ));
    let rows = answer.checks.iter().map(|check| {
        let kind = check.kind.map_or("anything", Kind::as_str);
        let (mut who, mut upstream, mut when, mut what) = Default::default();
        if let Some(seen) = &check.decided_by {
            (who, upstream, when) = (
                seen.developer.clone(),
                seen.upstream.clone(),
                seen.time.clone(),
            );
            let files: Vec<&str> = seen
                .inputs
                .iter()
                .map(|input| input.name.as_str())
                .collect();
            let again = match seen.failed_before {
                0 => String::new(),
                1 => " (failed once before)".to_owned(),
                times => format!(" (failed {times} times before)"),
            };
            what = format!("{} {}{again}", seen.command, files.join(" "));
        }
        let what: String = what;
        vec![
            json!(check.stage),
            json!(kind),
            json!(check.state.as_str()),
            json!(who),
            json!(upstream),
            json!(when),
            json!(notify::alert::clean_name(what.trim())),
        ]
    });
    let names = ["stage", "needs", "state", "who", "upstream", "when", "what"];
    print::line(Rows::new(&names, rows.collect()).to_table());
    if !answer.passed_over.is_empty() {
        print::line("\ndoes not count:");
        for one in &answer.passed_over {
            let (place, stage, kind) = (&one.place, &one.stage, one.kind.as_str());
            print::line(format!("  {place}: {stage} {kind}: {}", one.why));
        }
    }
    let wanted: Vec<String> = answer.checks.iter().filter_map(remedy).collect();
    if !wanted.is_empty() {
        print::line(format!("\nwhat is missing:\n{}", wanted.join("\n")));
    }
}

/// What to do about what a stage has not shown.
fn remedy(check: &Check) -> Option<String> {
    let stage = check.stage;
    let command = match check.kind.unwrap_or(Kind::Assert) {
        Kind::Compare => "devinprod compare -- OLD --- NEW",
        Kind::Assert => "devinprod compare --assert FILE.sql -- COMMAND",
        Kind::Rehearse => "devinprod rehearse MIGRATION.sql",
    };
    let kind = check.kind.map_or("evidence", Kind::as_str);
    Some(match check.state {
        State::Passed => return None,
        State::Failed => format!(
            "  {stage} {kind}: it failed; mend it in a new commit, or run it again if it was by chance"
        ),
        State::Expired => {
            format!("  {stage} {kind}: it is too old; again, on an upstream of {stage}: {command}")
        }
        State::Missing => {
            format!("  {stage} {kind}: on an upstream of {stage}, in its work tree: {command}")
        }
    })
}
