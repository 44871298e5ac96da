//! A first policy from what a catalog and a sample tell: a start for people to read, never the last word.
//!
//! Where nothing tells what a column is, it is denied. Nothing of a sample gets into what is written: only what it
//! looks like.

mod look;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::live::{Catalog, Column, Relation, Sealed};

pub use look::{Look, look};
use rules::{Advice, advise};

/// What the samples of columns look like, by relation's oid and column's number.
pub type Looks = BTreeMap<(u32, i16), Look>;

/// Whose values are worth a look: text, whose names may not tell what is in it.
pub fn sampled(relation: &Relation) -> Vec<&Column> {
    let columns = relation.columns.iter();
    columns
        .filter(|column| rules::is_text(&column.shape.sql_type) && column.shape.labels.is_empty())
        .collect()
}

/// The relations that get lines: views, partitions and children have those of what they are made of.
pub fn described(catalog: &Catalog) -> impl Iterator<Item = &Relation> {
    catalog
        .relations
        .iter()
        .filter(|relation| relation.kind != 'v' && relation.kind != 'm')
        .filter(|relation| catalog.root(relation).oid == relation.oid)
}

/// A whole file.
pub fn policy(catalog: &Catalog, looks: &Looks, upstream: &str) -> String {
    let mut text = format!(
        "# A first policy, from names, types, statistics and what a sample looks like. Read every line: a guess is a guess.\n\
         # `deny` stands where nothing told what a column is. docs/policies.md explains the words, docs/masks.md the masks.\n\n\
         upstream = {}\n\n\
         # A column that nobody has thought of is closed until somebody opens it here.\n\
         default = \"deny\"\n",
        quoted(upstream)
    );
    for relation in described(catalog) {
        let columns: Vec<&Column> = relation.columns.iter().collect();
        table(&mut text, catalog, relation, &columns, looks);
    }
    let derived: Vec<String> = catalog
        .relations
        .iter()
        .filter(|relation| matches!(relation.kind, 'v' | 'm'))
        .map(Relation::title)
        .collect();
    if !derived.is_empty() {
        // In a comment, so a name must not end the line.
        let names = derived.join(", ").replace(char::is_control, " ");
        let _ = write!(
            text,
            "\n# What these show is treated as where it comes from; a line for one of their columns would decide otherwise:\n# {names}\n"
        );
    }
    text
}

/// Lines for what is new since the last setup, and remarks on what is gone; None if nothing changed.
pub fn drift(catalog: &Catalog, sealed: &Sealed, looks: &Looks) -> Option<String> {
    let mut text = String::new();
    for relation in described(catalog) {
        let new: Vec<&Column> = relation
            .columns
            .iter()
            .filter(|column| !sealed.columns.contains(&(relation.oid, column.number)))
            .collect();
        if !new.is_empty() {
            table(&mut text, catalog, relation, &new, looks);
        }
    }
    let there: BTreeSet<(u32, i16)> = catalog
        .relations
        .iter()
        .flat_map(|relation| {
            let columns = relation.columns.iter();
            columns.map(|column| (relation.oid, column.number))
        })
        .collect();
    let mut gone: BTreeMap<u32, usize> = BTreeMap::new();
    for (oid, _) in sealed.columns.difference(&there) {
        *gone.entry(*oid).or_default() += 1;
    }
    for (oid, columns) in gone {
        let _ = match catalog.by_oid(oid) {
            Some(relation) => writeln!(
                text,
                "\n# gone: {columns} of the columns of {}",
                relation.title().replace(char::is_control, " ")
            ),
            None => writeln!(text, "\n# gone: a table or view of {columns} columns"),
        };
    }
    (!text.is_empty()).then_some(text)
}

fn table(
    text: &mut String,
    catalog: &Catalog,
    relation: &Relation,
    columns: &[&Column],
    looks: &Looks,
) {
    let (schema, name) = (key(&relation.schema), key(&relation.name));
    let _ = write!(text, "\n[table.{schema}.{name}]");
    if relation.rows >= 0.0 {
        let _ = write!(text, "  # about {} rows", relation.rows);
    }
    text.push('\n');
    for column in columns {
        let seen = looks.get(&(relation.oid, column.number)).copied();
        let Advice { treatment, because } = advise(catalog, relation, column, seen);
        let line = format!("{} = {treatment}", key(&column.name));
        let _ = writeln!(text, "{line:<38} # {because}");
    }
}

/// A key of TOML.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
