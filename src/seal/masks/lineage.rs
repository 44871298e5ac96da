//! Where the columns of views and materialized views come from, and copies of views over the masked ones.
//!
//! A view runs as its owner, so developers read the original only if everything that it reads is clear: each column of each relation
//! that its definition names anywhere, as the server's own dependencies tell. Of any other, a copy is made in `devinprod_masked`,
//! with its definition redirected to the views in place of masked relations. It belongs to a role that may read what developers may
//! read and nothing else, so that a definition that was misread can only end in permission denied.
//!
//! A materialized view holds its data itself: a column that is plainly one of a relation's is treated as that one is, any other is
//! denied if anything sensitive is read at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Row};

use super::decide::{Access, Decided, decide};
use super::found::hex;
use super::views::{MASKED, view};
use crate::catalog::{Masked, MaskedColumn, MaskedRelation, MaskedRelations};
use crate::plan::redirect::redirect;
use crate::seal::close::literal;
use crate::seal::code::Sensitive;
use crate::seal::plan::Step;
use crate::seal::{Names, SealError, SealOptions, Survey};
use crate::sql::classify::classify;
use crate::sql::edit::Edits;

/// The columns of tables that developers may not read, once a setup with these options has run; none where nothing is masked.
pub(in crate::seal) fn sensitive(survey: &Survey, options: &SealOptions) -> Sensitive {
    let Some(policy) = &options.policy else {
        return sealed(survey);
    };
    let mut hidden = Sensitive::new();
    for relation in decide(&survey.masks, policy, &mut Vec::new()) {
        for column in relation.columns.iter().filter(|column| !column.is_clear()) {
            hidden
                .entry(relation.found.oid)
                .or_default()
                .insert(column.found.number, column.found.name.clone());
        }
    }
    hidden
}

/// The columns that developers may not read, as the seal is.
pub(in crate::seal) fn sealed(survey: &Survey) -> Sensitive {
    let mut hidden = Sensitive::new();
    let found = &survey.masks;
    let Some(manifest) = found.manifest.as_ref().filter(|_| found.has_policy()) else {
        return hidden;
    };
    for relation in &found.relations {
        let clear = manifest
            .clear
            .iter()
            .find(|clear| clear.oid == relation.oid);
        for column in &relation.columns {
            let number = column.number;
            let is_clear = clear.is_some_and(|clear| clear.columns.contains(&number))
                || manifest
                    .columns
                    .get(&(relation.oid, number))
                    .is_some_and(|(clear, _)| *clear);
            if !is_clear {
                hidden
                    .entry(relation.oid)
                    .or_default()
                    .insert(number, column.name.clone());
            }
        }
    }
    hidden
}

/// What a view is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Derived {
    /// The columns that it reads anywhere: relation, and number, or 0 where it reads the relation but none of its columns.
    pub reads: BTreeSet<(u32, i16)>,
    /// It names whole rows, which may be any column of what it reads.
    pub whole_rows: bool,
    /// It calls functions that may read what nobody can tell from outside.
    pub calls: bool,
    /// Its columns that are plainly one of a relation's: that relation, and the number there.
    pub origins: BTreeMap<i16, (u32, i16)>,
    /// Its definition, with every relation's schema.
    text: String,
}

/// What setup noted of a copy: a digest of what made it, and why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copied {
    made: String,
    /// Why the server refused it.
    pub failed: Option<String>,
}

/// Views and materialized views: oid, their tree, definition, calls code, the relations and columns they depend on.
///
/// Whoever reads a view needs EXECUTE on its functions, and these run with the reader's rights; what a materialized view holds,
/// functions may have read with its owner's.
const DERIVED: &str = "
SELECT r.ev_class, r.ev_action::text, pg_get_viewdef(r.ev_class), c.relkind = 'm' AND EXISTS (
        SELECT FROM regexp_matches(r.ev_action::text, ':(?:op|agg|win)?f(?:unc|n)o?id (\\d+)', 'g') m
        JOIN pg_proc p ON p.oid = m[1]::oid
        WHERE p.oid >= 16384 OR p.provolatile = 'v' OR p.proname ~ '_to_xml|xmlschema|^pg_stat_get|^current_setting$'),
    ARRAY(SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid ORDER BY d.refobjid, d.refobjsubid),
    ARRAY(SELECT d.refobjsubid::int2 FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid ORDER BY d.refobjid, d.refobjsubid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename = '_RETURN' AND n.nspname !~ '^(pg_|devinprod$|devinprod_)' AND n.nspname <> 'information_schema'
    AND c.relpersistence <> 't'";

/// Is there a record of copies that this role may read?
const HAS_COPIED: &str = "
SELECT coalesce(has_table_privilege(to_regclass('devinprod.copied_view')::oid, 'SELECT'), false)
    AND has_schema_privilege('devinprod', 'USAGE')";

const COPIED: &str = "SELECT relation, made, failed FROM devinprod.copied_view";

/// Looks, inside a transaction of the caller's, whose search path is `pg_catalog`.
pub(super) async fn derived(client: &Client) -> Result<BTreeMap<u32, Derived>, SealError> {
    let mut found = BTreeMap::new();
    for row in client.query(DERIVED, &[]).await? {
        found.insert(row.try_get(0)?, read(&row)?);
    }
    Ok(found)
}

/// What setup noted of copies.
pub(super) async fn copied(client: &Client) -> Result<BTreeMap<u32, Copied>, SealError> {
    let mut found = BTreeMap::new();
    if !client.query_one(HAS_COPIED, &[]).await?.try_get(0)? {
        return Ok(found);
    }
    for row in client.query(COPIED, &[]).await? {
        let copied = Copied {
            made: row.try_get(1)?,
            failed: row.try_get(2)?,
        };
        found.insert(row.try_get(0)?, copied);
    }
    Ok(found)
}

fn read(row: &Row) -> Result<Derived, SealError> {
    let tree: String = row.try_get(1)?;
    let (relations, columns): (Vec<u32>, Vec<i16>) = (row.try_get(4)?, row.try_get(5)?);
    let text: String = row.try_get(2)?;
    // Of a UNION, the tree names the first arm's columns alone.
    let origins = if tree.contains("{SETOPERATIONSTMT") {
        BTreeMap::new()
    } else {
        origins(&tree)
    };
    Ok(Derived {
        reads: relations.into_iter().zip(columns).collect(),
        whole_rows: tree.contains(":varattno 0 "),
        calls: row.try_get(3)?,
        origins,
        text: text.trim().trim_end_matches(';').to_owned(),
    })
}

/// The columns of the outermost query's target list that are a relation's own, from `pg_rewrite.ev_action`.
fn origins(tree: &str) -> BTreeMap<i16, (u32, i16)> {
    let mut found = BTreeMap::new();
    let mut depth = 0_usize;
    let (mut number, mut relation, mut column) = (0, 0, 0);
    let mut words = Words(tree).peekable();
    // `({QUERY … :targetList ({TARGETENTRY …} …) …})`: the list's entries are two braces deep.
    let mut in_list = false;
    while let Some(word) = words.next() {
        match word {
            "{" => {
                depth += 1;
                if depth == 2 {
                    (number, relation, column) = (0, 0, 0);
                }
            }
            "}" => {
                if depth == 2 && in_list && number != 0 && relation != 0 && column > 0 {
                    found.insert(number, (relation, column));
                }
                depth = depth.saturating_sub(1);
            }
            field if field.starts_with(':') && depth == 1 => in_list = field == ":targetList",
            field if depth == 2 && in_list => {
                let value = words.peek().copied().unwrap_or_default();
                match field {
                    ":resno" => number = value.parse().unwrap_or_default(),
                    ":resorigtbl" => relation = value.parse().unwrap_or_default(),
                    ":resorigcol" => column = value.parse().unwrap_or_default(),
                    ":resjunk" if value != "false" => number = 0,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    found
}

/// The words of a node tree; braces are words of their own, and what a backslash stands before is part of one.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\n', '(', ')']);
        let first = rest.chars().next()?;
        let mut end = first.len_utf8();
        if first != '{' && first != '}' {
            let mut is_escaped = first == '\\';
            for (at, character) in rest.char_indices().skip(1) {
                if !is_escaped && matches!(character, ' ' | '\n' | '(' | ')' | '{' | '}') {
                    break;
                }
                end = at + character.len_utf8();
                is_escaped = !is_escaped && character == '\\';
            }
        }
        let (word, after) = rest.split_at_checked(end)?;
        self.0 = after;
        Some(word)
    }
}

/// A copy of a view.
#[derive(Debug)]
struct Copy {
    relation: u32,
    /// The copy's name as SQL.
    view: String,
    /// What the original is called.
    original: String,
    /// Makes it, run as the viewer; None if there can be none.
    sql: Option<String>,
    /// Why.
    why: Option<String>,
}

/// What to run, as the administrator, so that there are copies of the views that are closed.
///
/// `rebuilt`: views that they stand on have just been made anew, and the copies went with the old ones.
pub(super) fn copies(
    survey: &Survey,
    decided: &[Decided<'_>],
    names: &Names,
    rebuilt: bool,
) -> Vec<Step> {
    let copies = wanted(survey, decided);
    let wanted: BTreeMap<u32, Copied> = copies
        .iter()
        .map(|copy| {
            let made = hex(&Sha256::digest(copy.sql.as_deref().unwrap_or_default()));
            (copy.relation, Copied { made, failed: None })
        })
        .collect();
    let known = &survey.masks.copied;
    let is_there = |relation: &u32| {
        known
            .get(relation)
            .is_some_and(|copied| copied.failed.is_some())
            || stands(survey, *relation, names)
    };
    let as_wanted = known.len() == wanted.len()
        && wanted.iter().all(|(relation, copied)| {
            known
                .get(relation)
                .is_some_and(|known| known.made == copied.made)
                && is_there(relation)
        });
    if copies.is_empty() && known.is_empty() || as_wanted && !rebuilt {
        return Vec::new();
    }
    let (owner, viewer, readers) = (names.owner(), names.viewer(), names.readers());
    let how = if survey.version >= 160_000 {
        " WITH INHERIT FALSE, SET TRUE"
    } else {
        ""
    };
    let superuser = survey.administrator.superuser;
    let mut sql = Vec::new();
    if !superuser {
        sql.push(format!("GRANT {viewer} TO CURRENT_USER{how};"));
    }
    sql.push(format!(
        "SET LOCAL ROLE {owner};\nDELETE FROM devinprod.copied_view;\nGRANT CREATE ON SCHEMA {MASKED} TO {viewer};\nRESET ROLE;"
    ));
    for copy in &copies {
        sql.push(copy.statements(&wanted, &owner, &viewer, &readers));
    }
    sql.push(format!(
        "SET LOCAL ROLE {owner};\nREVOKE CREATE ON SCHEMA {MASKED} FROM {viewer};\nRESET ROLE;"
    ));
    if !superuser {
        sql.push(format!("REVOKE {viewer} FROM CURRENT_USER;"));
    }
    vec![Step::new(
        "Copies of views that read what is not clear, over the masked views; they belong to a role with no more rights than developers have",
        sql.join("\n"),
    )]
}

/// Whether the copy that the manifest names is there, and the viewer's.
fn stands(survey: &Survey, relation: u32, names: &Names) -> bool {
    let found = &survey.masks;
    let known = found.manifest.iter().flat_map(|manifest| &manifest.masked);
    let oid = known
        .into_iter()
        .find(|known| known.oid == relation)
        .and_then(|known| known.view_oid);
    found
        .views
        .iter()
        .any(|view| Some(view.oid) == oid && view.owner == names.viewer())
}

impl Copy {
    fn statements(
        &self,
        wanted: &BTreeMap<u32, Copied>,
        owner: &str,
        viewer: &str,
        readers: &str,
    ) -> String {
        let (relation, view) = (self.relation, &self.view);
        let made = wanted
            .get(&relation)
            .map_or("", |copied| copied.made.as_str());
        let note = |failed: &str| {
            format!(
                "INSERT INTO devinprod.copied_view (relation, made, failed) VALUES ({relation}, '{made}', {failed});"
            )
        };
        let Some(sql) = &self.sql else {
            let why = literal(self.why.as_deref().unwrap_or("it cannot be redirected"));
            return format!("SET LOCAL ROLE {owner};\n{}\nRESET ROLE;", note(&why));
        };
        // The server may refuse what reads well (a GROUP BY that hangs on a primary key): that closes one view, not the setup.
        let body = format!(
            "BEGIN\n    SET LOCAL ROLE {viewer};\n    DROP VIEW IF EXISTS {view} CASCADE;\n    EXECUTE {};\n    \
             REVOKE ALL ON {view} FROM PUBLIC;\n    GRANT SELECT ON {view} TO {readers};\n    SET LOCAL ROLE {owner};\n    \
             UPDATE devinprod.masked_relation SET view = {}, view_oid = {}::regclass WHERE relation = {relation};\n    \
             UPDATE devinprod.masked_column SET view_number = number, treatment = 'masked', because = {} WHERE relation = {relation};\n    {}\n\
             EXCEPTION WHEN OTHERS THEN\n    SET LOCAL ROLE {owner};\n    {}\nEND",
            literal(sql),
            literal(view),
            literal(view),
            literal(&format!(
                "{} reads what is not clear: this is its copy over the masked views",
                self.original
            )),
            note("NULL"),
            note("SQLERRM"),
        );
        format!("DO {};\nRESET ROLE;", literal(&body))
    }
}

/// The copies in an order in which they can be made.
fn wanted(survey: &Survey, decided: &[Decided<'_>]) -> Vec<Copy> {
    let found = &survey.masks;
    let mut relations: Vec<MaskedRelation> = decided
        .iter()
        .filter(|r| r.access == Access::Masked)
        .map(masked)
        .collect();
    let mut left: Vec<(&Decided<'_>, &Derived)> = decided
        .iter()
        .filter(|relation| relation.found.kind == 'v' && relation.access == Access::Closed)
        .filter_map(|relation| Some((relation, found.derived.get(&relation.found.oid)?)))
        .collect();
    let mut copies = Vec::new();
    while !left.is_empty() {
        let waiting: BTreeSet<u32> = left
            .iter()
            .map(|(relation, _)| relation.found.oid)
            .collect();
        let is_ready = |derived: &Derived| {
            derived
                .reads
                .iter()
                .all(|(relation, _)| !waiting.contains(relation))
        };
        let (ready, rest): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(_, derived)| is_ready(derived));
        if ready.is_empty() {
            // Views that read each other: Postgres allows none.
            break;
        }
        let known = Arc::new(MaskedRelations::new(relations.clone(), []));
        for (relation, derived) in ready {
            let copy = copy(relation, derived, &Masked::new(known.clone(), &[]));
            if copy.sql.is_some() {
                relations.push(copied_relation(relation, &copy));
            }
            copies.push(copy);
        }
        left = rest;
    }
    copies
}

fn copy(relation: &Decided<'_>, derived: &Derived, masked: &Masked) -> Copy {
    let name = view(MASKED, relation.found);
    let redirected = redirect(&derived.text, &classify(&derived.text), masked);
    let mut edits = Edits::new();
    let why = match &redirected.blocked {
        Some(blocked) => Some(format!(
            "{} stands in the way: {}",
            blocked.what, blocked.because
        )),
        None if redirected.returning.is_some() => Some("it is no query".to_owned()),
        None => edits
            .extend(redirected.edits)
            .err()
            .map(|_| "it cannot be redirected".to_owned()),
    };
    let text = edits.apply(&derived.text).ok().filter(|_| why.is_none());
    let columns: Vec<&str> = relation
        .columns
        .iter()
        .map(|column| column.found.identity.as_str())
        .collect();
    Copy {
        relation: relation.found.oid,
        original: relation.found.identity.clone(),
        sql: text.map(|text| {
            format!(
                "CREATE VIEW {name} ({}) AS\n{}",
                columns.join(", "),
                text.text
            )
        }),
        view: name,
        why,
    }
}

/// A masked table, as the redirect knows it.
fn masked(relation: &Decided<'_>) -> MaskedRelation {
    let mut place = 0;
    let columns = relation.columns.iter().map(|column| MaskedColumn {
        name: column.found.name.clone(),
        number: column.found.number,
        view_number: column.is_seen().then(|| {
            place += 1;
            place
        }),
        clear: column.is_clear(),
        treatment: super::views::treatment(&column.decision.treatment).to_owned(),
        because: column.decision.because.clone(),
        ungroupable: column.found.ungroupable,
        generated: column.found.generated,
        ..MaskedColumn::default()
    });
    MaskedRelation {
        columns: columns.collect(),
        view: Some(view(MASKED, relation.found)),
        key: relation
            .found
            .key
            .iter()
            .filter_map(|number| Some(relation.found.column(*number)?.name.clone()))
            .collect(),
        ..named(relation)
    }
}

/// A view that has a copy, as the redirect knows it.
fn copied_relation(relation: &Decided<'_>, copy: &Copy) -> MaskedRelation {
    let columns = relation.found.columns.iter().map(|column| MaskedColumn {
        name: column.name.clone(),
        number: column.number,
        view_number: Some(column.number),
        ungroupable: column.ungroupable,
        ..MaskedColumn::default()
    });
    MaskedRelation {
        columns: columns.collect(),
        view: Some(copy.view.clone()),
        ..named(relation)
    }
}

fn named(relation: &Decided<'_>) -> MaskedRelation {
    MaskedRelation {
        schema: relation.found.schema.clone(),
        name: relation.found.name.clone(),
        oid: relation.found.oid,
        ..MaskedRelation::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_target_list_counts() {
        let tree = "({QUERY :commandType 1 :rtable ({RANGETBLENTRY :subquery {QUERY :targetList ({TARGETENTRY :expr {VAR} \
            :resno 1 :resname a :resorigtbl 9 :resorigcol 9 :resjunk false}) :x 1}}) :targetList ({TARGETENTRY :expr {VAR \
            :varno 1} :resno 1 :resname id\\ \\{x :ressortgroupref 0 :resorigtbl 16390 :resorigcol 3 :resjunk false} {TARGETENTRY :expr \
            {SUBLINK :subselect {QUERY :targetList ({TARGETENTRY :resno 7 :resorigtbl 5 :resorigcol 5 :resjunk false})}} :resno 2 \
            :resname b :resorigtbl 0 :resorigcol 0 :resjunk false} {TARGETENTRY :expr {VAR} :resno 3 :resname <> :resorigtbl 16390 \
            :resorigcol 4 :resjunk true}) :override 0})";
        assert_eq!(origins(tree), BTreeMap::from([(1, (16390, 3))]));
    }
}
