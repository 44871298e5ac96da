//! `devinprod policy suggest`: a first policy, or what is new since the last setup

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::cli::administrator::AdminUrl;
use crate::cli::{Failure, print};
use crate::policy::live::{self, Catalog, Relation};
use crate::policy::suggest::{self, Looks};

/// How many rows of a table are looked at.
const ROWS: u32 = 200;

#[derive(Debug, Args)]
pub(in crate::cli) struct SuggestArgs {
    #[command(flatten)]
    database: AdminUrl,
    /// The upstream's name in devinprod.toml [default: the database's]
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Only what is new since the last `devinprod setup --policy`; exits with 1 if anything is
    #[arg(long)]
    drift: bool,
    /// Read the catalog alone, and no table
    #[arg(long)]
    no_sample: bool,
}

pub(super) async fn run(args: SuggestArgs) -> anyhow::Result<ExitCode> {
    let (_, client) = args.database.connect().await?;
    let catalog = live::catalog(&client).await;
    let catalog = catalog.context("cannot read the catalog")?;
    let sealed = match args.drift {
        false => None,
        true => Some(live::sealed(&client).await?.ok_or_else(|| {
            Failure::new(
                "this database was not sealed with a policy",
                "without --drift, a whole first policy is suggested",
            )
        })?),
    };
    let looks = match args.no_sample {
        true => Looks::new(),
        false => sample(&client, &catalog).await?,
    };
    let Some(sealed) = sealed else {
        let upstream = match args.upstream {
            Some(name) => name,
            None => database(&client).await?,
        };
        print::line(suggest::policy(&catalog, &looks, &upstream).trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let since = format!("the setup of {} (policy {})", sealed.at, sealed.version);
    Ok(match suggest::drift(&catalog, &sealed, &looks) {
        None => {
            print::note(format!("nothing is new since {since}"));
            ExitCode::SUCCESS
        }
        Some(text) => {
            print::note(format!(
                "new since {since}, and closed until setup runs with lines for it:"
            ));
            print::line(text.trim());
            ExitCode::FAILURE
        }
    })
}

async fn database(client: &Client) -> anyhow::Result<String> {
    let row = client
        .query_one("SELECT pg_catalog.current_database()::pg_catalog.text", &[])
        .await?;
    Ok(row.try_get(0)?)
}

/// Looks at some rows of each table. The values stay in here, and only as long as it takes to judge them.
async fn sample(client: &Client, catalog: &Catalog) -> anyhow::Result<Looks> {
    let mut looks = Looks::new();
    for relation in suggest::described(catalog) {
        let columns = suggest::sampled(relation);
        if columns.is_empty() {
            continue;
        }
        let numbers: Vec<i16> = columns.iter().map(|column| column.number).collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        match values(client, relation, &names).await {
            Ok(values) => {
                for (number, values) in numbers.iter().zip(values) {
                    if let Some(look) = suggest::look(&values) {
                        looks.insert((relation.oid, *number), look);
                    }
                }
            }
            // The reason may be privileges, a time-out, or row security: a sample is a help, not a need.
            Err(error) => {
                let code = error.code().map_or("", |code| code.code());
                print::note(format!("{} was not sampled ({code})", relation.title()));
            }
        }
    }
    Ok(looks)
}

/// The values of each of the columns.
async fn values(
    client: &Client,
    relation: &Relation,
    columns: &[&str],
) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let list: Vec<String> = columns
        .iter()
        .map(|column| {
            format!(
                "pg_catalog.left({}::pg_catalog.text, 400)",
                identifier(column)
            )
        })
        .collect();
    let query = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; SET LOCAL search_path = pg_catalog; \
         SELECT {} FROM {}.{} LIMIT {ROWS}",
        list.join(", "),
        identifier(&relation.schema),
        identifier(&relation.name)
    );
    let answer = client.simple_query(&query).await;
    client.batch_execute("ROLLBACK").await?;
    let mut values = vec![Vec::new(); columns.len()];
    for message in answer? {
        if let SimpleQueryMessage::Row(row) = message {
            for (place, values) in values.iter_mut().enumerate() {
                values.extend(row.get(place).map(str::to_owned));
            }
        }
    }
    Ok(values)
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
