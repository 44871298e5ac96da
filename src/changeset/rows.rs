//! The questions about row versions of one table: where they are, who sees them, what they hold.

use std::pin::pin;

use futures::TryStreamExt;
use tokio_postgres::{Client, Row as Answer, Statement};

use super::places::{Place, Tid};
use super::tables::{Chain, Leaf, Unit, cell, database};
use super::{Error, Row};

/// A version of a row: where it is and which transaction made it. A place may be used again, by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub place: Place,
    pub xmin: u32,
}

/// One side's prepared questions about a table.
pub(super) struct Side<'a> {
    client: &'a Client,
    name: String,
    scan: Statement,
    seen: Statement,
    values: Statement,
}

/// What a scan looks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// Versions that the sandbox may have made.
    New,
    /// Versions that somebody deleted, replaced or locked.
    Old,
}

impl<'a> Side<'a> {
    pub(super) async fn new(
        client: &'a Client,
        unit: &Unit,
        wanted: Wanted,
    ) -> Result<Self, Error> {
        let from = &unit.from;
        let condition = match wanted {
            // As seen from here, no transaction that came later than ours is old.
            Wanted::New => "pg_catalog.age(t.xmin) <= 0",
            Wanted::Old => "t.xmax <> 0",
        };
        let name = format!("{}.{}", unit.table.schema, unit.table.name);
        let prepare = |sql: String| {
            let name = name.clone();
            async move { client.prepare(&sql).await.map_err(database(name)) }
        };
        let cells = cells(unit);
        Ok(Self {
            client,
            scan: prepare(format!(
                "SELECT t.tableoid::oid, t.ctid::text, t.xmin::text FROM {from} AS t WHERE {condition} \
                 AND t.ctid >= $1::text::tid AND t.ctid < $2::text::tid AND t.tableoid = ANY ($3::oid[])"
            ))
            .await?,
            seen: prepare(format!(
                "SELECT t.tableoid::oid, t.ctid::text, t.xmin::text FROM {from} AS t \
                 WHERE t.ctid = ANY ($1::text[]::tid[]) AND t.tableoid = $2::oid"
            ))
            .await?,
            values: prepare(format!(
                "SELECT t.ctid::text{cells} FROM {from} AS t \
                 WHERE t.ctid = ANY ($1::text[]::tid[]) AND t.tableoid = $2::oid"
            ))
            .await?,
            name,
        })
    }

    /// The versions of interest in some pages, `from` to before `to`, of these tables.
    pub(super) async fn scan(
        &self,
        pages: std::ops::Range<u32>,
        leaves: &[u32],
        mut each: impl FnMut(Version),
    ) -> Result<u64, Error> {
        let (from, to) = (format!("({},0)", pages.start), format!("({},0)", pages.end));
        let leaves = leaves.to_vec();
        let rows = self
            .client
            .query_raw(
                &self.scan,
                [
                    &from as &(dyn tokio_postgres::types::ToSql + Sync),
                    &to,
                    &leaves,
                ],
            )
            .await
            .map_err(database(&self.name))?;
        let mut rows = pin!(rows);
        let mut count = 0;
        while let Some(row) = rows.try_next().await.map_err(database(&self.name))? {
            each(version(&row)?);
            count += 1;
        }
        Ok(count)
    }

    /// Which of these places, all of one table, hold a visible version, and which.
    pub(super) async fn seen(&self, places: &[Place]) -> Result<Vec<Version>, Error> {
        let Some((table, tids)) = places_of(places) else {
            return Ok(Vec::new());
        };
        let rows = self
            .client
            .query(&self.seen, &[&tids, &table])
            .await
            .map_err(database(&self.name))?;
        rows.iter().map(version).collect()
    }

    /// What the visible versions at these places, all of one table, hold; in their order.
    pub(super) async fn values(&self, places: &[Place]) -> Result<Vec<(Place, Row)>, Error> {
        let Some((table, tids)) = places_of(places) else {
            return Ok(Vec::new());
        };
        let rows = self
            .client
            .query(&self.values, &[&tids, &table])
            .await
            .map_err(database(&self.name))?;
        let mut values = rows
            .iter()
            .map(|row| {
                let tid = cell::<&str>(row, 0)?.parse()?;
                Ok((Place { table, tid }, held(row, 1)?))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        values.sort_unstable_by_key(|(place, _)| *place);
        Ok(values)
    }
}

/// Where the latest versions are of the rows that had these versions, all of one table; none for those that are gone.
pub(super) async fn latest(
    inside: &Client,
    leaf: &Leaf,
    places: &[Place],
) -> Result<Vec<(Place, Place)>, Error> {
    let Some((table, tids)) = places_of(places) else {
        return Ok(Vec::new());
    };
    let failed = || database("the later versions of rows");
    let rows = match &leaf.chain {
        Chain::Developer(name) => inside
            .query(
                "SELECT v.place, pg_catalog.currtid2($1::text, v.place::tid)::text FROM pg_catalog.unnest($2::text[]) AS v (place)",
                &[name, &tids],
            )
            .await
            .map_err(failed())?,
        Chain::Seal => inside
            .query(
                "SELECT l.version::text, l.latest::text FROM devinprod.latest($1::oid, $2::text[]::tid[]) AS l",
                &[&table, &tids],
            )
            .await
            .map_err(failed())?,
        Chain::Nobody => Vec::new(),
    };
    let mut pairs = Vec::with_capacity(rows.len());
    for row in &rows {
        let (old, new): (Tid, Tid) = (
            cell::<&str>(row, 0)?.parse()?,
            cell::<&str>(row, 1)?.parse()?,
        );
        if old != new {
            pairs.push((Place { table, tid: old }, Place { table, tid: new }));
        }
    }
    Ok(pairs)
}

/// Which of these transactions are the sandbox's.
pub(super) async fn ours(inside: &Client, xmins: &[u32]) -> Result<Vec<u32>, Error> {
    let texts: Vec<String> = xmins.iter().map(u32::to_string).collect();
    let rows = inside
        .query(
            "SELECT x.xmin FROM pg_catalog.unnest($1::text[]) AS x (xmin) WHERE devinprod.ours(x.xmin::xid)",
            &[&texts],
        )
        .await
        .map_err(database("whose transactions wrote rows"))?;
    rows.iter().map(|row| xid(cell(row, 0)?)).collect()
}

/// The rows inside that have the keys of these rows: the number of the row, where the other is and what it holds.
pub(super) async fn with_keys(
    inside: &Client,
    unit: &Unit,
    rows: &[&Row],
) -> Result<Vec<(usize, Place, Row)>, Error> {
    let key: Vec<_> = unit
        .table
        .key
        .iter()
        .filter_map(|at| Some((*at, unit.table.columns.get(*at)?)))
        .collect();
    let mut names = vec!["n".to_owned()];
    let mut lists = vec!["$1::int8[]".to_owned()];
    let mut conditions = Vec::new();
    for (number, ((_, column), ty)) in (2..).zip(key.iter().zip(&unit.key_types)) {
        names.push(format!("k{number}"));
        lists.push(format!("${number}::text[]"));
        conditions.push(format!(
            "t.{} = k.k{number}::{ty}",
            super::tables::quoted(&column.name)
        ));
    }
    let sql = format!(
        "SELECT k.n, t.tableoid::oid, t.ctid::text{} FROM {} AS t JOIN unnest({}) AS k ({}) ON {}",
        cells(unit),
        unit.from,
        lists.join(", "),
        names.join(", "),
        conditions.join(" AND ")
    );
    let numbers: Vec<i64> = (0..).take(rows.len()).collect();
    let columns: Vec<Vec<Option<&str>>> = key
        .iter()
        .map(|(at, _)| {
            rows.iter()
                .map(|row| row.get(*at).and_then(Option::as_deref))
                .collect()
        })
        .collect();
    let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&numbers];
    parameters.extend(
        columns
            .iter()
            .map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync)),
    );
    let name = format!("{}.{}", unit.table.schema, unit.table.name);
    let answers = inside
        .query(&sql, &parameters)
        .await
        .map_err(database(name))?;
    answers
        .iter()
        .map(|answer| {
            let number: i64 = cell(answer, 0)?;
            let place = Place {
                table: cell(answer, 1)?,
                tid: cell::<&str>(answer, 2)?.parse()?,
            };
            Ok((
                usize::try_from(number).unwrap_or(usize::MAX),
                place,
                held(answer, 3)?,
            ))
        })
        .collect()
}

fn cells(unit: &Unit) -> String {
    let columns = unit.table.columns.iter();
    columns.map(|column| format!(", {}", column.cell)).collect()
}

fn held(answer: &Answer, first: usize) -> Result<Row, Error> {
    (first..answer.len()).map(|at| cell(answer, at)).collect()
}

fn version(row: &Answer) -> Result<Version, Error> {
    Ok(Version {
        place: Place {
            table: cell(row, 0)?,
            tid: cell::<&str>(row, 1)?.parse()?,
        },
        xmin: xid(cell(row, 2)?)?,
    })
}

fn xid(text: &str) -> Result<u32, Error> {
    text.parse()
        .map_err(|_| Error::Strange("a transaction's number"))
}

fn places_of(places: &[Place]) -> Option<(u32, Vec<String>)> {
    let table = places.first()?.table;
    let tids = places.iter().map(|place| place.tid.to_string()).collect();
    Some((table, tids))
}
