//! `devinprod status`: where am I, and what holds here.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::connect::ProxyUrl;
use super::table::Format;
use super::{block_on, print};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    proxy: ProxyUrl,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    block_on(status(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn status(args: StatusArgs) -> anyhow::Result<()> {
    let console = args.proxy.connect().await?;
    let upstreams = console.ask("SHOW UPSTREAMS").await?;
    let sandboxes = console.ask("SHOW SANDBOXES").await?;
    if args.format == Format::Json {
        let status = json!({
            "proxy": console.proxy,
            "developer": console.developer,
            "upstreams": upstreams.to_json(),
            "sandboxes": sandboxes.to_json(),
        });
        print::line(status.to_string());
        return Ok(());
    }
    print::line(format!(
        "{} at the proxy {}",
        console.developer, console.proxy
    ));
    print::line("");
    if upstreams.is_empty() {
        print::line("no upstream is granted to you");
    } else {
        print::line(upstreams.to_table());
    }
    print::line("");
    if sandboxes.is_empty() {
        print::line("no sandbox; one begins with an application's first statement");
    } else {
        print::line(sandboxes.to_table());
    }
    Ok(())
}
