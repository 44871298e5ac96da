//! The SQL that stands in a masked relation's place.

use crate::catalog::{MaskedColumn, MaskedRelation};

/// System columns that the rows view has under names of ours.
const SYSTEM: [(&str, &str); 4] = [
    ("ctid", "devinprod_ctid"),
    ("tableoid", "devinprod_tableoid"),
    ("xmin", "devinprod_xmin"),
    ("xmax", "devinprod_xmax"),
];

/// A quoted identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `public.users.email`, for people.
pub(super) fn shown(relation: &MaskedRelation, column: Option<&str>) -> String {
    let name = format!("{}.{}", relation.schema, relation.name);
    column.map_or_else(|| name.clone(), |column| format!("{name}.{column}"))
}

/// The relation itself, as SQL.
pub(super) fn table(relation: &MaskedRelation) -> String {
    format!("{}.{}", quoted(&relation.schema), quoted(&relation.name))
}

/// A system column of a table.
pub(super) fn is_system(name: &str) -> bool {
    matches!(
        name,
        "ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax"
    )
}

/// What of a relation is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted<'a> {
    /// Its system columns besides the others.
    pub(super) system: bool,
    /// Without the rows of its children.
    pub(super) only: bool,
    /// A sample: the TABLESAMPLE clause.
    pub(super) sample: Option<&'a str>,
}

/// What to read in the relation's place, and the oid of the view in it; None if nothing of the relation can be seen.
pub(super) fn source(relation: &MaskedRelation, wanted: Wanted<'_>) -> Option<(String, u32)> {
    // What has no rows view is a view itself, and has no children.
    let only = wanted.only && relation.rows.is_some();
    if !wanted.system && !only && wanted.sample.is_none() {
        return Some((relation.view.clone()?, relation.view_oid));
    }
    let rows = relation.rows.as_ref()?;
    let mut columns: Vec<String> = relation
        .visible()
        .map(|column| quoted(&column.name))
        .collect();
    if wanted.system {
        columns.extend(
            SYSTEM
                .iter()
                .map(|(name, ours)| format!("{ours} AS {name}")),
        );
    }
    let mut query = format!("(SELECT {} FROM {rows} AS devinprod_r", columns.join(", "));
    if let Some(sample) = wanted.sample {
        let only = if wanted.only { "ONLY " } else { "" };
        query.push_str(&format!(
            " WHERE (devinprod_tableoid, devinprod_ctid) IN (SELECT tableoid, ctid FROM {only}{} AS devinprod_s {sample})",
            table(relation)
        ));
    } else if wanted.only {
        query.push_str(&format!(
            " WHERE devinprod_tableoid = '{}'::pg_catalog.oid",
            relation.oid
        ));
    }
    query.push(')');
    Some((query, relation.rows_oid))
}

/// How a row of a relation is found again in the view in its place.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The columns of the table.
    pub(super) table: Vec<String>,
    /// The columns of what is read in its place.
    pub(super) view: Vec<String>,
    /// What is read in its place.
    pub(super) source: String,
    /// The oid of the view that is in it.
    pub(super) oid: u32,
}

/// By key where the key can be read; else by the place of the row, which a concurrent update of the row changes.
pub(super) fn identity(relation: &MaskedRelation, system: bool) -> Option<Identity> {
    let is_clear = |name: &String| relation.column(name).is_some_and(|column| column.clear);
    if !relation.key.is_empty() && relation.key.iter().all(is_clear) {
        let (source, oid) = source(
            relation,
            Wanted {
                system,
                ..Wanted::default()
            },
        )?;
        let key: Vec<String> = relation.key.iter().map(|name| quoted(name)).collect();
        return Some(Identity {
            table: key.clone(),
            view: key,
            source,
            oid,
        });
    }
    let (source, oid) = source(
        relation,
        Wanted {
            system: true,
            ..Wanted::default()
        },
    )?;
    let place = vec!["tableoid".to_owned(), "ctid".to_owned()];
    Some(Identity {
        table: place.clone(),
        view: place,
        source,
        oid,
    })
}

impl Identity {
    /// `alias.a, alias.b` of the given columns.
    pub(super) fn of(alias: &str, columns: &[String]) -> String {
        let of: Vec<String> = columns
            .iter()
            .map(|column| format!("{alias}.{column}"))
            .collect();
        of.join(", ")
    }

    /// What stands before and behind an expression that reads the target's masked columns, to make a scalar subquery of it in
    /// which the target's name means the view.
    pub(super) fn around_value(&self, alias: &str) -> (String, String) {
        (
            "(SELECT ".to_owned(),
            format!(" FROM {})", self.row_of(alias)),
        )
    }

    /// The same for a query that gives several values; it stands in parentheses.
    pub(super) fn around_query(&self, alias: &str) -> (String, String) {
        (
            format!(
                "(SELECT devinprod_x.* FROM {} LEFT JOIN LATERAL ",
                self.row_of(alias)
            ),
            " AS devinprod_x ON true)".to_owned(),
        )
    }

    /// The one row of the view that is the target's row, under the target's name.
    fn row_of(&self, alias: &str) -> String {
        let columns: Vec<String> = self
            .table
            .iter()
            .zip(1..)
            .map(|(column, number)| format!("{alias}.{column} AS devinprod_k{number}"))
            .collect();
        format!(
            "(SELECT {}) AS devinprod_k JOIN {} AS {alias} ON {}",
            columns.join(", "),
            self.source,
            self.matches(alias, "devinprod_k")
        )
    }

    /// The view's columns under one alias equal to those that were numbered under another.
    fn matches(&self, alias: &str, numbered: &str) -> String {
        let pairs: Vec<String> = self
            .view
            .iter()
            .zip(1..)
            .map(|(column, number)| format!("{alias}.{column} = {numbered}.devinprod_k{number}"))
            .collect();
        pairs.join(" AND ")
    }

    /// What stands before and behind a condition on the target, to make it a condition on the view.
    pub(super) fn around_condition(&self, alias: &str) -> (String, String) {
        (
            format!(
                "({}) IN (SELECT {} FROM {} AS {alias} WHERE ",
                Self::of(alias, &self.table),
                Self::of(alias, &self.view),
                self.source
            ),
            ")".to_owned(),
        )
    }

    /// The view as an item of FROM under a name of ours, with names of ours for its columns; and the condition that joins it to
    /// the target.
    pub(super) fn joined(&self, alias: &str, columns: &[&MaskedColumn]) -> (String, String) {
        let keys = self
            .view
            .iter()
            .zip(1..)
            .map(|(column, number)| format!("devinprod_v.{column} AS devinprod_k{number}"));
        let others = columns.iter().map(|column| {
            format!(
                "devinprod_v.{} AS {}",
                quoted(&column.name),
                joined_name(column)
            )
        });
        let list: Vec<String> = keys.chain(others).collect();
        let item = format!(
            "(SELECT {} FROM {} AS devinprod_v) AS devinprod_m",
            list.join(", "),
            self.source
        );
        let pairs: Vec<String> = self
            .table
            .iter()
            .zip(1..)
            .map(|(column, number)| format!("{alias}.{column} = devinprod_m.devinprod_k{number}"))
            .collect();
        (item, pairs.join(" AND "))
    }
}

/// The name of a column in [`Identity::joined`].
pub(super) fn joined_name(column: &MaskedColumn) -> String {
    format!("devinprod_c{}", column.number)
}
