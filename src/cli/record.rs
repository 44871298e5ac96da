//! `devinprod record`: a command's statements, in a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::child::{self, Ended};
use super::connect::ProxyUrl;
use super::fresh::create_private;
use super::print;
use super::target::Target;
use crate::compare::hide_passwords;
use crate::tap::recording::{Header, Recorded, VERSION, write_line};
use crate::tap::{Mask, Seen, Sink, Tap};

/// How long connections that the command left open have for their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write parameters and literals as they are, not made-up ones of the same shape
    #[arg(long)]
    keep_parameters: bool,
    /// The sandbox [default: the one that the URL names, or `default`]
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    /// A variable that the command keeps although it may lead to another database
    #[arg(long, value_name = "VARIABLE")]
    keep: Vec<String>,
    #[command(flatten)]
    proxy: ProxyUrl,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The file while it is written.
struct Recorder {
    mask: Option<Mask>,
    file: Mutex<(BufWriter<File>, u64, std::io::Result<()>)>,
}

impl Sink for Recorder {
    fn seen(&self, seen: Seen) {
        let Seen::Execution(execution) = seen else {
            return;
        };
        let line = Recorded::of(&execution, self.mask.as_ref());
        let mut locked = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, count, result) = &mut *locked;
        if result.is_ok() {
            *result = write_line(file, &line);
            *count += 1;
        }
    }
}

/// Ends with the command's exit status. A command that serves until it is told to end is ended with Ctrl-C.
pub(super) async fn run(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let interrupted = child::interruption()?;
    let target = Target::of(&args.proxy)?;
    let shown = args.out.display();
    let failed = || format!("{shown} cannot be written");
    let mut file = BufWriter::new(create_private(&args.out).with_context(failed)?);
    // Arguments may be values; without them the program alone is named.
    let shown_words = match args.keep_parameters {
        true => args.command.as_slice(),
        false => args.command.get(..1).unwrap_or_default(),
    };
    let header = Header {
        devinprod_recording: VERSION,
        command: hide_passwords(shown_words),
        keeps_parameters: args.keep_parameters,
    };
    write_line(&mut file, &header).with_context(failed)?;
    let recorder = Arc::new(Recorder {
        mask: (!args.keep_parameters).then(Mask::random),
        file: Mutex::new((file, 0, Ok(()))),
    });
    let named = args.sandbox.as_deref().or(target.sandbox.as_deref());
    let sandbox = named.unwrap_or("default");
    let tap = Tap::start(target.address(sandbox), recorder.clone()).await?;
    let way = target.tapped(sandbox, tap.port);
    let command = child::prepare(&args.command, &way, &args.keep)?;
    let ended = child::run(command, None, &interrupted).await?;
    tap.finish(GOODBYE).await;
    let mut locked = recorder.file.lock().unwrap_or_else(PoisonError::into_inner);
    let (file, count, result) = &mut *locked;
    std::mem::replace(result, Ok(()))
        .and_then(|()| file.flush())
        .with_context(failed)?;
    let values = match args.keep_parameters {
        true => "with their values",
        false => "with made-up values",
    };
    print::note(format!("{count} statements, {values}, are in {shown}"));
    Ok(match ended {
        Ended::Itself(status) => {
            ExitCode::from(u8::try_from(child::status_number(status)).unwrap_or(1))
        }
        Ended::TooSlow | Ended::Interrupted => ExitCode::SUCCESS,
    })
}
