//! `devinprod policy explain`: what comes out of a query, and why

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::names::SealNames;
use super::stage::Stage;
use super::{groups, load_single};
use crate::cli::administrator::AdminUrl;
use crate::cli::{Failure, print};
use crate::policy::live::{self, Catalog, Column, Relation};
use crate::policy::{Loaded, Policy};

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// One statement of SQL; it is planned, and never run
    query: String,
    /// The developer who asks
    #[arg(long = "as", value_name = "DEVELOPER", default_value = "somebody")]
    developer: String,
    /// A group of theirs; may be given repeatedly
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    database: AdminUrl,
    /// A file of the policy; may be given repeatedly [default: policies/*.toml]
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    names: SealNames,
}

pub(super) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let Some(Loaded { policy, .. }) = load_single(&args.files)? else {
        return Ok(ExitCode::FAILURE);
    };
    let names = args.names.of(&policy)?;
    let groups = groups(&args.groups);
    let set = policy
        .set_of(&args.developer, &groups)
        .map_err(|ambiguous| {
            Failure::new(
                format!("{}: {ambiguous}", args.developer),
                "a developer belongs to one set; make one for both",
            )
        })?
        .map(str::to_owned);
    let (_, mut client) = args.database.connect().await?;
    let catalog = live::catalog(&client).await;
    let catalog = catalog.context("cannot read the catalog")?;
    let sealed = live::sealed(&client).await?;
    let guide = Guide {
        policy: &policy,
        catalog: &catalog,
        set: set.as_deref(),
        manifest: match &sealed {
            Some(_) => manifest(&client).await?,
            None => BTreeMap::new(),
        },
    };
    if let Some(sealed) = &sealed
        && sealed.version != policy.version()
    {
        print::note(format!(
            "the database is sealed with the policy {}, and the files are {}: what stands here is what the seal says",
            sealed.version,
            policy.version()
        ));
    }
    match &set {
        Some(set) => print::line(format!("{} is of the set {set}", args.developer)),
        None => print::line(format!("{} has no exceptions", args.developer)),
    }
    comes_out(&mut client, &args.query, &guide).await?;
    if sealed.is_none() {
        print::note("the database is not sealed with a policy, so nothing was tried");
        return Ok(ExitCode::SUCCESS);
    }
    let player = (args.developer.clone(), groups);
    let stage = Stage::open(
        &args.database.url,
        &names,
        &policy,
        &BTreeSet::from([player]),
    )
    .await?;
    let tried = attempt(&stage, &args.developer, &args.query).await;
    stage.close().await?;
    match tried? {
        Attempt::Works => {
            print::line("the statement works");
            Ok(ExitCode::SUCCESS)
        }
        Attempt::Refused(message) => {
            print::line(message);
            Ok(ExitCode::FAILURE)
        }
        Attempt::Unknown(why) => {
            print::note(why);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is known of columns.
struct Guide<'a> {
    policy: &'a Policy,
    catalog: &'a Catalog,
    set: Option<&'a str>,
    /// What the seal says, by relation's oid and column's number: treatment and because.
    manifest: BTreeMap<(u32, i16), (String, String)>,
}

impl Guide<'_> {
    /// A column, what it is, and why.
    fn tell(&self, relation: &Relation, column: &Column) -> String {
        let root = self.catalog.root(relation);
        let decision = self.policy.column(&root.schema, &root.name, &column.name);
        let (treatment, because) = match self.manifest.get(&(relation.oid, column.number)) {
            Some((treatment, because)) => (treatment.clone(), because.clone()),
            // Of a view, only the seal knows what it is made of.
            None if self.manifest.is_empty() => (
                decision.treatment.name().to_owned(),
                decision.because.clone(),
            ),
            None => ("clear".to_owned(), "the seal opens all of it".to_owned()),
        };
        let what = match treatment.as_str() {
            "clear" => "clear".to_owned(),
            "deny" => "denied".to_owned(),
            mask => format!("masked as {mask}"),
        };
        let mut text = format!("{}.{} is {what} ({because})", relation.title(), column.name);
        let mut exceptions = decision.exceptions.iter();
        if let Some(exception) =
            exceptions.find(|exception| Some(exception.set.as_str()) == self.set)
        {
            text.push_str(&format!(
                ", and clear for this set until {}",
                exception.until
            ));
        }
        if let Some(reason) = self.policy.reason(&root.schema, &root.name, &column.name) {
            text.push_str(&format!(": {reason}"));
        }
        text
    }

    fn column(&self, oid: u32, number: i16) -> Option<String> {
        let relation = self.catalog.by_oid(oid)?;
        let mut columns = relation.columns.iter();
        let column = columns.find(|column| column.number == number)?;
        Some(self.tell(relation, column))
    }
}

async fn manifest(client: &Client) -> anyhow::Result<BTreeMap<(u32, i16), (String, String)>> {
    let query = "SELECT relation, number, treatment, because FROM devinprod.masked_column";
    let mut manifest = BTreeMap::new();
    for row in client.query(query, &[]).await? {
        let key = (row.try_get(0)?, row.try_get(1)?);
        manifest.insert(key, (row.try_get(2)?, row.try_get(3)?));
    }
    Ok(manifest)
}

/// Prints each column of the answer, and what else is read. The statement is described as the real tables have it.
async fn comes_out(client: &mut Client, query: &str, guide: &Guide<'_>) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    let statement = transaction.prepare(query).await.map_err(|error| {
        let said = error.as_db_error().map_or_else(
            || error.to_string(),
            |db| format!("{} ({})", db.message(), db.code().code()),
        );
        Failure::new(
            format!("Postgres does not understand the statement: {said}"),
            "it must work on the real tables first",
        )
    })?;
    let mut shown = BTreeSet::new();
    for column in statement.columns() {
        let origin = column.table_oid().zip(column.column_id());
        let line = match origin {
            Some((oid, number)) => {
                shown.insert((oid, number));
                guide.column(oid, number)
            }
            None => Some("computed".to_owned()),
        };
        let line = line.unwrap_or_else(|| "of Postgres' own".to_owned());
        print::line(format!("{}: {line}", column.name()));
    }
    drop(statement);
    // A view that is rolled back: its dependencies are the columns that the query reads, wherever they stand in it.
    let made = transaction
        .batch_execute("SAVEPOINT look; SET LOCAL client_min_messages = error")
        .await
        .is_ok()
        && transaction
            .execute(
                &format!("CREATE TEMP VIEW devinprod_explained AS {query}"),
                &[],
            )
            .await
            .is_ok();
    if made {
        let rows = transaction.query(READS, &[]).await?;
        for row in rows {
            let (oid, number): (u32, i32) = (row.try_get(0)?, row.try_get(1)?);
            let number = i16::try_from(number).unwrap_or_default();
            if !shown.contains(&(oid, number))
                && let Some(line) = guide.column(oid, number)
            {
                print::line(format!("read besides: {line}"));
            }
        }
    }
    transaction.rollback().await?;
    Ok(())
}

/// The columns that the view of [`comes_out`] hangs on.
const READS: &str = "
SELECT DISTINCT d.refobjid, d.refobjsubid FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
WHERE r.ev_class = 'pg_temp.devinprod_explained'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
ORDER BY 1, 2";

enum Attempt {
    Works,
    Refused(String),
    Unknown(String),
}

/// Plans the statement as the developer, through the proxy: privileges are looked at, and nothing runs.
async fn attempt(stage: &Stage, developer: &str, query: &str) -> anyhow::Result<Attempt> {
    let client = stage.connect(developer).await?;
    let answer = client.simple_query(&format!("EXPLAIN {query}")).await;
    Ok(match answer {
        Ok(messages) => {
            let planned = messages
                .iter()
                .any(|message| matches!(message, SimpleQueryMessage::Row(_)));
            if planned {
                Attempt::Works
            } else {
                Attempt::Unknown(
                    "this kind of statement cannot be tried without running it".to_owned(),
                )
            }
        }
        Err(error) => match error.as_db_error() {
            None => return Err(error.into()),
            Some(db) if db.code().code() == "42P02" => {
                Attempt::Unknown("it has parameters, so it was not tried".to_owned())
            }
            Some(db) => {
                let mut text = format!("refused: {} ({})", db.message(), db.code().code());
                for more in [db.detail(), db.hint().filter(|hint| !hint.is_empty())]
                    .into_iter()
                    .flatten()
                {
                    text.push('\n');
                    text.push_str(more);
                }
                Attempt::Refused(text)
            }
        },
    })
}
