//! `devinprod compare`: two programs on the same data, each in a sandbox of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::attest::{Change, EvidenceArgs, input, milliseconds};
use super::child::{self, Ended};
use super::connect::ProxyUrl;
use super::fresh::write_private;
use super::target::Target;
use super::{Failure, block_on, print, say_why};
use crate::compare::assert::{self, Checked};
use crate::compare::changes::{self, Changes};
use crate::compare::{self, Baseline, Collector, Kind, Report, Run, Side};
use crate::evidence::claim::without_arguments;
use crate::evidence::{self, Claim, Figure, Input};
use crate::tap::Tap;
use crate::upstream::admin::admin;

/// What separates the two commands.
const BETWEEN: &str = "---";
/// How long connections that a command left open have for their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// The exit status where there is something to compare, and it differs or an assertion fails.
const DIFFERENT: u8 = 1;
/// The exit status where it could not be compared.
const FAILED: u8 = 2;

/// Exit status: 0 same, 1 different (or an assertion failed), 2 could not be compared.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Statements that must return no row, or a single true, after each command in its sandbox
    #[arg(long = "assert", value_name = "FILE.sql")]
    assertions: Vec<PathBuf>,
    /// Compare what two sandboxes hold, without running anything
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["assertions", "against", "save", "commands", "change", "evidence"])]
    sandboxes: Vec<String>,
    /// Compare with a recorded reference instead of a first command
    #[arg(long, value_name = "REFERENCE.json")]
    against: Option<PathBuf>,
    /// Write the first command's runs as a reference
    #[arg(long, value_name = "REFERENCE.json", conflicts_with = "against")]
    save: Option<PathBuf>,
    /// What makes no difference; repeat it for several
    #[arg(long, value_enum, value_name = "KIND")]
    ignore: Vec<Ignored>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where to write it, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// End a command that runs longer, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// A variable that the commands keep although it may lead to another database
    #[arg(long, value_name = "VARIABLE")]
    keep: Vec<String>,
    #[command(flatten)]
    evidence: EvidenceArgs,
    #[command(flatten)]
    proxy: ProxyUrl,
    /// The command, then --- and the command that is compared with it
    #[arg(
        last = true,
        required_unless_present = "sandboxes",
        value_name = "COMMAND"
    )]
    commands: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One object, documented in docs/comparing.md
    Json,
    /// One page that needs nothing else
    Html,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ignored {
    /// The commands' exit status
    Exit,
    /// Rows that would have been written
    Changes,
    /// Errors
    Errors,
    /// What statements returned
    Results,
    /// Which statements were run, and how many times
    Statements,
    /// The shape of plans
    Plans,
}

impl Ignored {
    fn kind(self) -> Kind {
        match self {
            Self::Exit => Kind::Exit,
            Self::Changes => Kind::Changes,
            Self::Errors => Kind::Errors,
            Self::Results => Kind::Results,
            Self::Statements => Kind::Statements,
            Self::Plans => Kind::Plans,
        }
    }
}

/// What all runs have in common.
struct Stage<'a> {
    args: &'a CompareArgs,
    target: Target,
    assertions: Vec<assert::File>,
    /// The recorded reference, if there is one.
    reference: Option<Input>,
    interrupted: CancellationToken,
    /// Sees what is committed; one for all runs, since it takes a developer role.
    outside: OnceCell<Client>,
}

pub(super) fn run(args: CompareArgs) -> ExitCode {
    match block_on(compared(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERENT),
        Err(error) => {
            say_why(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// Whether it is the same.
async fn compared(args: &CompareArgs) -> anyhow::Result<bool> {
    let read = |path: &PathBuf| -> anyhow::Result<assert::File> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
        Ok(assert::File { name, text })
    };
    let stage = Stage {
        args,
        target: Target::of(&args.proxy)?,
        assertions: args.assertions.iter().map(read).collect::<Result<_, _>>()?,
        reference: match &args.against {
            Some(path) => {
                let file = read(path)?;
                Some(input(&file.name, &file.text))
            }
            None => None,
        },
        interrupted: child::interruption()?,
        outside: OnceCell::new(),
    };
    let (report, claims) = match args.sandboxes.as_slice() {
        // What ran in them, nobody here can say.
        [a, b] => (stage.sandboxes(a, b).await?, Vec::new()),
        _ => {
            let (first, second) = two_commands(&args.commands)?;
            let change = args.evidence.change()?;
            let report = stage.report(first, second).await?;
            let claims = change.map(|change| stage.claims(&change, &report));
            (report, claims.unwrap_or_default())
        }
    };
    let text = match args.format {
        Format::Text => compare::text(&report),
        Format::Json => serde_json::to_string_pretty(&report)?,
        Format::Html => compare::html(&report),
    };
    match &args.out {
        Some(path) => {
            write_private(path, &(text + "\n"))?;
            print::note(format!("the report is in {}", path.display()));
        }
        None => print::line(text),
    }
    if !claims.is_empty() || args.evidence.is_asked_for() {
        args.evidence.leave(&args.proxy, &claims).await?;
    }
    Ok(report.same)
}

/// The words before and behind `---`.
fn two_commands(words: &[String]) -> anyhow::Result<(&[String], Option<&[String]>)> {
    let mut parts = words.split(|word| word == BETWEEN);
    let (first, second, more) = (parts.next(), parts.next(), parts.next());
    match (first, second, more) {
        (Some(first), second, None)
            if !first.is_empty() && second.is_none_or(|s| !s.is_empty()) =>
        {
            Ok((first, second))
        }
        _ => Err(Failure::new(
            "there are not two commands",
            "devinprod compare -- ./old --flag --- ./new --flag",
        )
        .into()),
    }
}

impl Stage<'_> {
    /// What the report shows about a commit: that nothing differs, and that assertions hold.
    fn claims(&self, change: &Change, report: &Report) -> Vec<Claim> {
        let sides = [Some(&report.a), report.b.as_ref()];
        let sides: Vec<_> = sides.into_iter().flatten().collect();
        // Programs that could not even begin do the same, and leave no order without a customer.
        let ran = sides.iter().all(|side| side.exit == 0)
            && sides.last().is_some_and(|side| side.connections > 0);
        if !ran {
            print::note(
                "a command failed, or did not come to its database: as evidence, this does not speak for the commit",
            );
        }
        let exit = |side: &Side| u64::from(side.exit.unsigned_abs());
        let mut figures = BTreeMap::from([
            (
                Figure::Connections,
                sides.iter().map(|side| side.connections).sum(),
            ),
            (
                Figure::Statements,
                sides.iter().map(|side| side.executions).sum(),
            ),
            (Figure::ExitA, exit(&report.a)),
            (Figure::Milliseconds, milliseconds(report.a.seconds)),
        ]);
        let command = match (
            &report.b,
            self.args.commands.rsplit(|w| w == BETWEEN).next(),
        ) {
            (Some(b), Some(last)) => {
                figures.insert(Figure::ExitB, exit(b));
                figures.insert(Figure::MillisecondsB, milliseconds(b.seconds));
                last
            }
            _ => self.args.commands.as_slice(),
        };
        let claim = |kind, passed, inputs, more: [(Figure, usize); 2]| {
            let more = more.into_iter();
            let more = more.map(|(figure, count)| (figure, u64::try_from(count).unwrap_or(0)));
            Claim {
                kind,
                commit: change.commit.clone(),
                tree: change.tree,
                passed: passed && ran,
                upstream: self.target.upstream.clone(),
                command: without_arguments(command),
                ignored: self
                    .args
                    .ignore
                    .iter()
                    .map(|one| one.kind().as_str().to_owned())
                    .collect(),
                inputs,
                figures: figures.clone().into_iter().chain(more).collect(),
            }
        };
        let mut claims = Vec::new();
        if report.b.is_some() {
            let differs = report.differences.len();
            let figures = [
                (Figure::Differences, differs),
                (Figure::Noise, report.noise.len()),
            ];
            claims.push(claim(
                evidence::Kind::Compare,
                differs == 0,
                self.reference.iter().cloned().collect(),
                figures,
            ));
        }
        if !report.assertions.is_empty() {
            let failed = report.assertions.iter();
            let failed = failed.filter(|one| one.failure.is_some()).count();
            let figures = [
                (Figure::Assertions, report.assertions.len()),
                (Figure::AssertionsFailed, failed),
            ];
            let files = self.assertions.iter();
            let inputs = files.map(|file| input(&file.name, &file.text)).collect();
            claims.push(claim(evidence::Kind::Assert, failed == 0, inputs, figures));
        }
        claims
    }

    async fn report(&self, first: &[String], second: Option<&[String]>) -> anyhow::Result<Report> {
        let ignored: Vec<Kind> = self.args.ignore.iter().map(|one| one.kind()).collect();
        if let Some(path) = &self.args.against {
            if second.is_some() {
                let hint = "give the one command that is compared with the reference";
                return Err(Failure::new("there is one command too many", hint).into());
            }
            let baseline = read_baseline(path)?;
            let (b, checked) = self.one("B", first, true).await?;
            let a = (&baseline.first, &baseline.second);
            return Ok(compare::compare(a, &b, &ignored, checked));
        }
        let (a, mut checked) = self.one("A", first, true).await?;
        if second.is_none() && self.args.save.is_none() {
            if self.assertions.is_empty() {
                let hint = "write --- and the other command, or give --assert, --against or --save";
                return Err(Failure::new("there is nothing to compare with", hint).into());
            }
            return Ok(Report::of_one(&a, checked));
        }
        let (again, _) = self.one("A again", first, false).await?;
        if let Some(path) = &self.args.save {
            let baseline = Baseline {
                devinprod_reference: 1,
                first: a.clone(),
                second: again.clone(),
            };
            write_private(path, &serde_json::to_string(&baseline)?)?;
            print::note(format!("the reference is in {}", path.display()));
        }
        let Some(second) = second else {
            return Ok(Report::of_one(&a, checked));
        };
        let (b, of_b) = self.one("B", second, true).await?;
        checked.extend(of_b);
        if a.connections + b.connections == 0 {
            let hint = "the commands must read DATABASE_URL, or libpq's PGHOST and its kin";
            return Err(Failure::new("neither command connected to its database", hint).into());
        }
        Ok(compare::compare((&a, &again), &b, &ignored, checked))
    }

    /// Runs a command in a fresh sandbox, which is reset however that ends.
    async fn one(
        &self,
        name: &str,
        words: &[String],
        checks: bool,
    ) -> anyhow::Result<(Run, Vec<Checked>)> {
        print::note(format!("{name}: {}", compare::hide_passwords(words)));
        let sandbox = format!("compare-{:08x}", rand::random::<u32>());
        let run = self.in_sandbox(&sandbox, name, words, checks).await;
        let reset = self.target.reset(&self.args.proxy, &sandbox).await;
        let run = run?;
        reset?;
        Ok(run)
    }

    /// What two sandboxes hold. Neither is reset.
    async fn sandboxes(&self, a: &str, b: &str) -> anyhow::Result<Report> {
        let listed = self
            .args
            .proxy
            .connect()
            .await?
            .ask("SHOW SANDBOXES")
            .await?;
        let mut runs = Vec::new();
        for name in [a, b] {
            if !listed.has("sandbox", name) {
                let hint = "devinprod sandbox list shows yours";
                return Err(Failure::new(format!("you have no sandbox \"{name}\""), hint).into());
            }
            let client = admin(&self.target.address(name)).await?;
            let changes = self.changes(name, &client).await;
            let changes = changes.ok_or_else(|| anyhow::anyhow!("there is nothing to compare"))?;
            let mut run = Run::default();
            run.command = format!("sandbox {name}");
            run.changes = Some(changes);
            runs.push(run);
        }
        let [a, b] = runs.as_slice() else {
            return Err(anyhow::anyhow!("there is nothing to compare"));
        };
        Ok(compare::compare((a, a), b, &[], Vec::new()))
    }

    /// What a sandbox would have written; says why, if that cannot be read.
    async fn changes(&self, sandbox: &str, inside: &Client) -> Option<Changes> {
        let read = async {
            let connect = || self.target.outside(&self.interrupted);
            let outside = self.outside.get_or_try_init(connect).await?;
            Ok::<_, anyhow::Error>(changes::read(inside, outside).await?)
        };
        match read.await {
            Ok(changes) => Some(changes),
            Err(error) => {
                print::note(format!(
                    "what {sandbox} would have written is not known: {error:#}"
                ));
                None
            }
        }
    }

    async fn in_sandbox(
        &self,
        sandbox: &str,
        name: &str,
        words: &[String],
        checks: bool,
    ) -> anyhow::Result<(Run, Vec<Checked>)> {
        self.target.begin(sandbox, &self.interrupted).await?;
        let collector = Arc::new(Collector::default());
        let tap = Tap::start(self.target.address(sandbox), collector.clone()).await?;
        let way = self.target.tapped(sandbox, tap.port);
        let mut command = child::prepare(words, &way, &self.args.keep)?;
        // Standard output is the report's.
        command.stdout(Stdio::from(std::io::stderr()));
        let began = Instant::now();
        let limit = self.args.timeout.map(Duration::from_secs);
        let ended = child::run(command, limit, &self.interrupted).await?;
        let seconds = began.elapsed().as_secs_f64();
        let connections = tap.connections();
        tap.finish(GOODBYE).await;
        let status = match ended {
            Ended::Itself(status) => status,
            Ended::TooSlow => {
                let seconds = self.args.timeout.unwrap_or_default();
                let message = format!("{name} did not end within {seconds} s, and was ended");
                let hint = "a longer --timeout, or look what it waits for";
                return Err(Failure::new(message, hint).into());
            }
            Ended::Interrupted => return Err(anyhow::anyhow!("interrupted")),
        };
        let mut run = collector.take();
        run.command = compare::hide_passwords(words);
        run.exit = child::status_number(status);
        run.connections = connections;
        run.seconds = seconds;
        let client = admin(&self.target.address(sandbox)).await?;
        compare::plan::explain(&client, &mut run).await;
        run.changes = self.changes(sandbox, &client).await;
        let mut checked = Vec::new();
        if checks {
            let side = if name == "A" { "A" } else { "B" };
            for file in &self.assertions {
                checked.extend(assert::check(&client, side, file).await);
            }
        }
        Ok((run, checked))
    }
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let baseline: Baseline = serde_json::from_str(&text).map_err(|error| {
        let hint = "devinprod compare --save REFERENCE.json -- COMMAND writes one";
        Failure::new(format!("{shown} is no reference: {error}"), hint)
    })?;
    if baseline.devinprod_reference != 1 {
        let hint = "write it anew with this version of devinprod";
        return Err(Failure::new(format!("{shown} is of another version"), hint).into());
    }
    Ok(baseline)
}
