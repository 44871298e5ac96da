//! `devinprod replay`: a recording, played again in a sandbox.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::connect::ProxyUrl;
use super::target::Target;
use super::{Failure, child, print};
use crate::compare::replay::{Pace, replay};
use crate::tap::recording;

/// So many clients at most: each has a sandbox, or a connection for each recorded one.
const MOST_CLIENTS: u16 = 200;

/// Exit status: 0 as recorded, 1 with other rows or another outcome.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The recording
    file: PathBuf,
    /// So many times faster than recorded, or `max`
    #[arg(long, default_value = "1", value_parser = speed, value_name = "FACTOR|max")]
    speed: Pace,
    /// So many clients at once, each with all of the recording and a sandbox of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_CLIENTS)))]
    clients: u16,
    /// A sandbox that stays, shared by all clients, instead of fresh ones
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    /// Print one object, documented in docs/comparing.md
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    proxy: ProxyUrl,
}

fn speed(text: &str) -> Result<Pace, String> {
    let speed = match text {
        "max" => None,
        text => match text.parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor >= 0.001 => Some(factor),
            _ => return Err("a number such as 1 or 10, or max".to_owned()),
        },
    };
    Ok(Pace { speed })
}

pub(super) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let interrupted = child::interruption()?;
    let target = Target::of(&args.proxy)?;
    let shown = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("{shown} cannot be read"))?;
    let (header, recorded) = recording::read(BufReader::new(file)).map_err(|error| {
        let hint = "devinprod record --out FILE -- COMMAND writes one";
        Failure::new(format!("{shown} is no recording: {error}"), hint)
    })?;
    if !header.keeps_parameters {
        print::note("the recording has made-up values, so other rows are to be expected");
    }
    let run = format!("replay-{:08x}", rand::random::<u32>());
    let own: Vec<String> = (1..=args.clients).map(|n| format!("{run}-{n}")).collect();
    let sandboxes: Vec<&str> = match &args.sandbox {
        Some(name) => own.iter().map(|_| name.as_str()).collect(),
        None => own.iter().map(String::as_str).collect(),
    };
    let playing = async {
        let mut addresses = Vec::new();
        for sandbox in &sandboxes {
            target.begin(sandbox, &interrupted).await?;
            addresses.push(target.address(sandbox));
        }
        Ok(replay(&addresses, &recorded, args.speed).await?)
    };
    let played = interrupted.run_until_cancelled(playing).await;
    let mut reset = Ok(());
    if args.sandbox.is_none() {
        for sandbox in &sandboxes {
            reset = reset.and(target.reset(&args.proxy, sandbox).await);
        }
    }
    let played: anyhow::Result<_> = played.unwrap_or_else(|| Err(anyhow::anyhow!("interrupted")));
    let played = played?;
    reset?;
    print::line(match args.json {
        true => serde_json::to_string_pretty(&played)?,
        false => played.text(),
    });
    Ok(match played.other_rows + played.other_outcome {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
