//! The reading itself: first where the versions are and which belong together, then what they hold.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use tokio_postgres::Client;

use super::places::{Place, Places};
use super::rows::{self, Side, Version, Wanted};
use super::schema;
use super::tables::{self, Leaf, Unit, database};
use super::{Change, Counts, Error, Event, Options, Row, Summary};

/// Both sides write values alike, and no name means something of the developer's own.
const SETTINGS: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; \
    SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL timezone = 'UTC'; SET LOCAL xmlbinary = 'base64'";

/// How many pages are looked at by one statement, at most: 64 MB of a table.
const PAGES: u32 = 8192;
/// How many places are asked for by one statement.
const PLACES: usize = 1000;
/// How large a batch of rows should be, in bytes.
const BATCH: usize = 2 << 20;

type Tell<'a> = &'a mut (dyn FnMut(Event<'_>) -> ControlFlow<()> + Send);

pub(super) async fn read(
    inside: &Client,
    outside: &Client,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Summary, Error> {
    for client in [inside, outside] {
        client
            .batch_execute(&format!("BEGIN; {SETTINGS}"))
            .await
            .map_err(database("the changeset"))?;
    }
    let written = tables::written(inside, outside, options).await?;
    let mut reading = Reading {
        inside,
        outside,
        limit: options.limit,
        tell,
        ours: HashMap::new(),
        done: 0,
        total: 0,
        summary: Summary {
            withheld: written.withheld,
            ..Summary::default()
        },
    };
    for unit in &written.units {
        reading.total += scans(unit);
    }
    if options.only.is_empty() {
        let made = schema::made(inside, outside).await?;
        for definition in &made {
            if (reading.tell)(Event::Definition(definition)).is_break() {
                reading.summary.stopped = true;
                break;
            }
        }
        reading.summary.definitions = made;
    }
    for unit in &written.units {
        if reading.summary.stopped {
            break;
        }
        if reading.unit(unit).await?.is_break() {
            reading.summary.stopped = true;
        }
    }
    let summary = reading.summary;
    for client in [inside, outside] {
        client
            .batch_execute("COMMIT")
            .await
            .map_err(database("the changeset"))?;
    }
    Ok(summary)
}

/// The pages to look at, for the new versions and for the old ones.
fn scans(unit: &Unit) -> u64 {
    let pages = u64::from(pages(unit));
    if unit.table.made { pages } else { 2 * pages }
}

fn pages(unit: &Unit) -> u32 {
    let pages = unit.leaves.iter().map(|leaf| leaf.pages);
    pages.max().unwrap_or_default()
}

struct Reading<'a> {
    inside: &'a Client,
    outside: &'a Client,
    limit: Option<u64>,
    tell: Tell<'a>,
    /// Transactions, and whether they are the sandbox's.
    ours: HashMap<u32, bool>,
    done: u64,
    total: u64,
    summary: Summary,
}

/// Where a table's versions are.
#[derive(Default)]
struct Found {
    /// Made by the sandbox.
    new: Places,
    /// Those of `new` that came of an old version.
    paired: Places,
    /// Old versions that became one of `new`.
    updated: Places,
    /// Other old versions.
    lost: Places,
}

/// What was told of a table.
#[derive(Default)]
struct Told {
    counts: Counts,
    rows: u64,
    begun: bool,
}

impl Reading<'_> {
    async fn unit(&mut self, unit: &Unit) -> Result<ControlFlow<()>, Error> {
        let inside = Side::new(self.inside, unit, Wanted::New).await?;
        let mut found = Found::default();
        if self
            .new_versions(unit, &inside, &mut found)
            .await?
            .is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        let mut told = Told::default();
        let flow = if unit.table.made {
            self.total += found.new.len();
            self.inserts(unit, &inside, &found, &mut told).await?
        } else {
            let outside = Side::new(self.outside, unit, Wanted::Old).await?;
            if self
                .old_versions(unit, &inside, &outside, &mut found)
                .await?
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            self.total += found.new.len() + found.lost.len();
            self.all(unit, &inside, &outside, &mut found, &mut told)
                .await?
        };
        if told.counts.is_empty() || flow.is_break() {
            return Ok(flow);
        }
        self.summary.tables.push((unit.table.clone(), told.counts));
        if !told.begun && (self.tell)(Event::Table(&unit.table)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        Ok((self.tell)(Event::Counted(told.counts)))
    }

    async fn all(
        &mut self,
        unit: &Unit,
        inside: &Side<'_>,
        outside: &Side<'_>,
        found: &mut Found,
        told: &mut Told,
    ) -> Result<ControlFlow<()>, Error> {
        let mut flow = self.deletes(unit, outside, found, told).await?;
        if flow.is_continue() {
            flow = self.updates(unit, inside, outside, found, told).await?;
        }
        if flow.is_continue() {
            flow = self.inserts(unit, inside, found, told).await?;
        }
        Ok(flow)
    }

    async fn new_versions(
        &mut self,
        unit: &Unit,
        inside: &Side<'_>,
        found: &mut Found,
    ) -> Result<ControlFlow<()>, Error> {
        let leaves = oids(unit);
        let mut pages = Pages::new(pages(unit));
        while let Some(next) = pages.next() {
            // Of those whose transaction is not known yet, the places wait.
            let mut unknown: HashMap<u32, Vec<Place>> = HashMap::new();
            let ours = &self.ours;
            let looked = u64::from(next.end - next.start);
            let count = inside
                .scan(next, &leaves, |version| match ours.get(&version.xmin) {
                    Some(true) => found.new.insert(version.place),
                    Some(false) => {}
                    None => unknown.entry(version.xmin).or_default().push(version.place),
                })
                .await?;
            pages.had(count);
            let xmins: Vec<u32> = unknown.keys().copied().collect();
            for some in xmins.chunks(PLACES) {
                let ours = rows::ours(self.inside, some).await?;
                for xmin in some {
                    self.ours.insert(*xmin, ours.contains(xmin));
                }
            }
            for (xmin, places) in unknown {
                if self.ours.get(&xmin) == Some(&true) {
                    places.into_iter().for_each(|place| found.new.insert(place));
                }
            }
            if self.progress(looked).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn old_versions(
        &mut self,
        unit: &Unit,
        inside: &Side<'_>,
        outside: &Side<'_>,
        found: &mut Found,
    ) -> Result<ControlFlow<()>, Error> {
        let leaves = oids(unit);
        let mut pages = Pages::new(pages(unit));
        while let Some(next) = pages.next() {
            let mut candidates = Vec::new();
            let looked = u64::from(next.end - next.start);
            let count = outside
                .scan(next, &leaves, |version| candidates.push(version))
                .await?;
            pages.had(count);
            candidates.sort_unstable();
            for leaf in &unit.leaves {
                let of_leaf = |version: &Version| version.place.table < leaf.oid;
                let first = candidates.partition_point(of_leaf);
                let end = candidates.partition_point(|version| version.place.table <= leaf.oid);
                let of_leaf = candidates.get(first..end).unwrap_or_default();
                for some in of_leaf.chunks(PLACES) {
                    self.old(leaf, some, inside, outside, found).await?;
                }
            }
            if self.progress(looked).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Of versions that are visible outside, finds those that are not inside, and what became of them.
    async fn old(
        &mut self,
        leaf: &Leaf,
        candidates: &[Version],
        inside: &Side<'_>,
        outside: &Side<'_>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let places: Vec<Place> = candidates.iter().map(|version| version.place).collect();
        let seen: BTreeSet<Version> = inside.seen(&places).await?.into_iter().collect();
        let hidden: Vec<Version> = candidates
            .iter()
            .filter(|version| !seen.contains(version))
            .copied()
            .collect();
        // What somebody else deleted was gone for the sandbox before it is asked for again here.
        let places: Vec<Place> = hidden.iter().map(|version| version.place).collect();
        let still: BTreeSet<Version> = outside.seen(&places).await?.into_iter().collect();
        let old: Vec<Place> = hidden
            .iter()
            .filter(|version| still.contains(version))
            .map(|version| version.place)
            .collect();
        let latest: HashMap<Place, Place> = rows::latest(self.inside, leaf, &old)
            .await?
            .into_iter()
            .collect();
        for place in old {
            match latest.get(&place) {
                Some(new) if found.new.contains(*new) => {
                    found.paired.insert(*new);
                    found.updated.insert(place);
                }
                _ => found.lost.insert(place),
            }
        }
        Ok(())
    }

    async fn deletes(
        &mut self,
        unit: &Unit,
        outside: &Side<'_>,
        found: &mut Found,
        told: &mut Told,
    ) -> Result<ControlFlow<()>, Error> {
        let mut batches = Batches::default();
        loop {
            let places = batches.next(&found.lost);
            if places.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.is_enough(told) {
                told.counts.deleted += places.len() as u64;
                batches.had_nothing();
                continue;
            }
            let before = outside.values(&places).await?;
            batches.had(&before);
            let mut again: HashMap<usize, (Place, Row)> = HashMap::new();
            if !unit.table.key.is_empty() && found.paired.len() < found.new.len() {
                let keys: Vec<&Row> = before.iter().map(|(_, row)| row).collect();
                for (number, place, row) in rows::with_keys(self.inside, unit, &keys).await? {
                    if found.new.contains(place) && !found.paired.contains(place) {
                        found.paired.insert(place);
                        again.insert(number, (place, row));
                    }
                }
            }
            for (number, (_, before)) in before.into_iter().enumerate() {
                let change = match again.remove(&number) {
                    Some((_, after)) => Change::Update { before, after },
                    None => Change::Delete(before),
                };
                if self.change(unit, change, told).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if self.progress(places.len() as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    async fn updates(
        &mut self,
        unit: &Unit,
        inside: &Side<'_>,
        outside: &Side<'_>,
        found: &Found,
        told: &mut Told,
    ) -> Result<ControlFlow<()>, Error> {
        let mut batches = Batches::default();
        loop {
            let places = batches.next(&found.updated);
            let Some(first) = places.first() else {
                return Ok(ControlFlow::Continue(()));
            };
            if self.is_enough(told) {
                told.counts.updated += places.len() as u64;
                batches.had_nothing();
                continue;
            }
            let before = outside.values(&places).await?;
            batches.had(&before);
            let mut latest: HashMap<Place, Place> = HashMap::new();
            if let Some(leaf) = unit.leaves.iter().find(|leaf| leaf.oid == first.table) {
                latest.extend(rows::latest(self.inside, leaf, &places).await?);
            }
            let new: Vec<Place> = latest.values().copied().collect();
            let mut after: HashMap<Place, Row> = inside.values(&new).await?.into_iter().collect();
            for (place, before) in before {
                let Some(after) = latest.get(&place).and_then(|new| after.remove(new)) else {
                    continue;
                };
                if self
                    .change(unit, Change::Update { before, after }, told)
                    .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if self.progress(places.len() as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    async fn inserts(
        &mut self,
        unit: &Unit,
        inside: &Side<'_>,
        found: &Found,
        told: &mut Told,
    ) -> Result<ControlFlow<()>, Error> {
        let mut batches = Batches::default();
        loop {
            let places = batches.next(&found.new);
            if places.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let own: Vec<Place> = places
                .iter()
                .filter(|place| !found.paired.contains(**place))
                .copied()
                .collect();
            if self.is_enough(told) {
                told.counts.inserted += own.len() as u64;
                batches.had_nothing();
                continue;
            }
            let after = inside.values(&own).await?;
            batches.had(&after);
            for (_, row) in after {
                if self.change(unit, Change::Insert(row), told).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if self.progress(own.len() as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn is_enough(&self, told: &Told) -> bool {
        self.limit.is_some_and(|limit| told.rows >= limit)
    }

    fn change(&mut self, unit: &Unit, change: Change, told: &mut Told) -> ControlFlow<()> {
        match &change {
            Change::Insert(_) => told.counts.inserted += 1,
            Change::Delete(_) => told.counts.deleted += 1,
            Change::Update { before, after } if before == after => {
                told.counts.same += 1;
                return ControlFlow::Continue(());
            }
            Change::Update { .. } => told.counts.updated += 1,
        }
        if self.is_enough(told) {
            return ControlFlow::Continue(());
        }
        told.rows += 1;
        if !told.begun {
            told.begun = true;
            (self.tell)(Event::Table(&unit.table))?;
        }
        (self.tell)(Event::Change(change))
    }

    fn progress(&mut self, more: u64) -> ControlFlow<()> {
        self.done = self.total.min(self.done + more);
        (self.tell)(Event::Progress {
            done: self.done,
            total: self.total,
        })
    }
}

fn oids(unit: &Unit) -> Vec<u32> {
    unit.leaves.iter().map(|leaf| leaf.oid).collect()
}

/// Ranges of pages: the fewer rows are found in one, the more pages has the next.
struct Pages {
    next: u32,
    end: u32,
    step: u32,
}

impl Pages {
    fn new(end: u32) -> Self {
        Self {
            next: 0,
            end,
            step: 256,
        }
    }

    fn next(&mut self) -> Option<std::ops::Range<u32>> {
        let start = self.next;
        let end = self.end.min(start.saturating_add(self.step));
        self.next = end;
        (start < end).then_some(start..end)
    }

    fn had(&mut self, rows: u64) {
        match rows {
            0..2000 => self.step = PAGES.min(self.step * 2),
            20_000.. => self.step = 256.max(self.step / 2),
            _ => {}
        }
    }
}

/// Batches of places, as many as their rows leave room for.
struct Batches {
    last: Option<Place>,
    most: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            last: None,
            most: 16,
        }
    }
}

impl Batches {
    fn next(&mut self, places: &Places) -> Vec<Place> {
        let batch = places.batch(self.last, self.most);
        self.last = batch.last().copied().or(self.last);
        batch
    }

    fn had(&mut self, rows: &[(Place, Row)]) {
        let cells = rows.iter().flat_map(|(_, row)| row);
        let bytes: usize = cells
            .map(|cell| 24 + cell.as_ref().map_or(0, String::len))
            .sum();
        let fits = rows.len().max(1) * BATCH / bytes.max(1);
        self.most = fits.clamp(1, PLACES.min(self.most * 4));
    }

    fn had_nothing(&mut self) {
        self.most = PLACES;
    }
}
