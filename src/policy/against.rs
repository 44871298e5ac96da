//! A policy against a live catalog: what it names that is not there, what fits no type, what will be slow.

use super::live::{Catalog, Column, Relation};
use super::{Found, Origin, Policy, Rule, Source, Treatment, Wrong, check};
use crate::report::{Problem, Report, did_you_mean};
use crate::synth::{self, Mask};

/// From how many rows on a lookup that scans the table is worth a warning.
const LARGE: f32 = 10_000.0;

/// How many columns one line names at most.
const NAMED: usize = 5;

/// What came of a comparison with a live catalog.
#[derive(Debug)]
pub struct Comparison {
    /// What makes the policy unusable for this database; nothing if it is empty.
    pub errors: Vec<Report>,
    /// What its owner should know.
    pub warnings: Vec<Report>,
    /// How many columns there are.
    pub columns: usize,
    /// How many of them come back as they are.
    pub clear: usize,
    /// How many of them are masked.
    pub masked: usize,
    /// Columns that no line, class or default names, as `schema.table.column`.
    pub unclassified: Vec<String>,
}

impl Policy {
    /// Compares with what a database has.
    pub fn against(&self, catalog: &Catalog) -> Comparison {
        let mut state = State {
            policy: self,
            catalog,
            errors: Vec::new(),
            warnings: Vec::new(),
            unfit: Vec::new(),
            comparison: Comparison {
                errors: Vec::new(),
                warnings: Vec::new(),
                columns: 0,
                clear: 0,
                masked: 0,
                unclassified: Vec::new(),
            },
        };
        state.names();
        state.code();
        for relation in &catalog.relations {
            for column in &relation.columns {
                state.column(relation, column);
            }
        }
        state.classes();
        state.finish(&self.files)
    }
}

impl Comparison {
    /// The comparison itself if nothing is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub fn passed(self) -> Result<Self, Wrong> {
        if self.errors.is_empty() {
            Ok(self)
        } else {
            Err(Wrong {
                reports: self.errors,
            })
        }
    }
}

struct State<'a> {
    policy: &'a Policy,
    catalog: &'a Catalog,
    errors: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
    /// Rules for many columns that do not fit some of them: rule, why, columns.
    unfit: Vec<(&'a Rule, String, Vec<String>)>,
    comparison: Comparison,
}

impl<'a> State<'a> {
    fn error(&mut self, origin: &Origin, message: String, hint: Option<String>) {
        self.errors
            .push((origin.file, problem(origin, message, hint)));
    }

    fn warning(&mut self, origin: &Origin, message: String, hint: Option<String>) {
        self.warnings
            .push((origin.file, problem(origin, message, hint)));
    }

    fn finish(mut self, files: &[Source]) -> Comparison {
        for (rule, why, columns) in std::mem::take(&mut self.unfit) {
            let message = format!("{why}; denied instead: {}", few(&columns));
            let hint =
                "give these columns lines of their own, or name them in the class's `except`";
            self.warning(&rule.origin, message, Some(hint.to_owned()));
        }
        Comparison {
            errors: check::reports(files, &self.errors),
            warnings: check::reports(files, &self.warnings),
            ..self.comparison
        }
    }

    /// Schemas, relations and columns that the files name.
    fn names(&mut self) {
        for (schema, rule) in &self.policy.schemas {
            if !self.has_schema(schema) {
                let hint = self.schema_hint(schema);
                self.error(&rule.origin, format!("no schema `{schema}`"), hint);
            }
        }
        for ((schema, name), rules) in &self.policy.tables {
            let Some(relation) = self.catalog.relation(schema, name) else {
                if let Some(origin) = &rules.origin {
                    let (message, hint) = self.no_relation(schema, name);
                    self.error(origin, message, hint);
                }
                continue;
            };
            for (column, rule) in &rules.columns {
                if relation.column(column).is_none() {
                    let (message, hint) = no_column(relation, column);
                    self.error(&rule.origin, message, hint);
                }
            }
            let root = self.catalog.root(relation);
            if root.oid != relation.oid
                && let Some(origin) = &rules.origin
            {
                let message = format!("{schema}.{name} is a part of {}", root.title());
                let hint = format!(
                    "what is said of {} holds for it; say it there",
                    root.title()
                );
                self.warning(origin, message, Some(hint));
            }
        }
        for grant in &self.policy.grants {
            for ((schema, name, column), origin) in grant.columns.iter().zip(&grant.columns_at) {
                let missing = match self.catalog.relation(schema, name) {
                    None => Some(self.no_relation(schema, name)),
                    Some(relation) if relation.column(column).is_none() => {
                        Some(no_column(relation, column))
                    }
                    Some(_) => None,
                };
                if let Some((message, hint)) = missing {
                    self.error(origin, message, hint);
                }
            }
        }
    }

    fn has_schema(&self, schema: &str) -> bool {
        let mut relations = self.catalog.relations.iter();
        relations.any(|relation| relation.schema == schema)
    }

    fn schema_hint(&self, schema: &str) -> Option<String> {
        let relations = self.catalog.relations.iter();
        did_you_mean(schema, relations.map(|relation| relation.schema.as_str()))
    }

    fn no_relation(&self, schema: &str, name: &str) -> (String, Option<String>) {
        if !self.has_schema(schema) {
            return (format!("no schema `{schema}`"), self.schema_hint(schema));
        }
        let relations = || self.catalog.relations.iter();
        let elsewhere = relations().find(|relation| relation.name == name);
        let hint = match elsewhere {
            Some(relation) => Some(format!("there is {}", relation.title())),
            None => {
                let beside = relations().filter(|relation| relation.schema == schema);
                did_you_mean(name, beside.map(|relation| relation.name.as_str()))
            }
        };
        (format!("no table or view `{name}` in {schema}"), hint)
    }

    /// Vouches and allowed functions for code that is not there: perhaps not yet, so only warnings.
    fn code(&mut self) {
        let functions: Vec<String> = self
            .catalog
            .functions
            .iter()
            .map(|(name, _)| format!("function {name}"))
            .collect();
        for (code, origin) in &self.policy.vouched {
            let known: Vec<&str> = if code.starts_with("trigger ") {
                self.catalog.triggers.iter().map(String::as_str).collect()
            } else if code.starts_with("function ") {
                functions.iter().map(String::as_str).collect()
            } else {
                continue;
            };
            if !known.contains(&code.as_str()) {
                let hint = did_you_mean(code, known);
                self.warning(origin, format!("there is no {code}"), hint);
            }
        }
        for (name, origin) in self.policy.allowed.iter().zip(&self.policy.allowed_at) {
            let known = || self.catalog.functions.iter();
            match known().find(|(function, _)| function == name) {
                Some((_, true)) => {}
                Some((_, false)) => {
                    let message = format!("{name} is not SECURITY DEFINER");
                    let hint = "it runs with the developer's own rights, and needs no leave";
                    self.warning(origin, message, Some(hint.to_owned()));
                }
                None => {
                    let hint = did_you_mean(name, known().map(|(function, _)| function.as_str()));
                    self.warning(origin, format!("there is no function {name}"), hint);
                }
            }
        }
    }

    fn column(&mut self, relation: &Relation, column: &Column) {
        self.comparison.columns += 1;
        let root = self.catalog.root(relation);
        let name = format!("{}.{}", relation.title(), column.name);
        let found = self.policy.find(&root.schema, &root.name, &column.name);
        let (rule, own) = match found {
            Found::Column(rule) => (rule, true),
            Found::Rest(rule) | Found::Class(_, rule) => (rule, false),
            Found::Schema(rule) | Found::Default(rule) => {
                self.comparison.unclassified.push(name.clone());
                (rule, false)
            }
            Found::Nothing => {
                self.comparison.unclassified.push(name);
                return;
            }
            Found::Clash((one, first), (other, second)) => {
                let message = format!(
                    "{name} is of the class `{one}` ({}, {}) and of `{other}` ({})",
                    first.treatment.name(),
                    first.origin.place,
                    second.treatment.name()
                );
                let hint = format!(
                    "say which: [table.{}.{}] {} = \"…\"; or name it in one's `except`",
                    root.schema, root.name, column.name
                );
                self.error(&second.origin, message, Some(hint));
                return;
            }
        };
        let mask = match &rule.treatment {
            Treatment::Clear => {
                self.comparison.clear += 1;
                return;
            }
            Treatment::Deny => return,
            Treatment::Mask(mask) => mask,
        };
        if let Err(unfit) = mask.expression("x", &column.shape) {
            self.does_not_fit(rule, own, &unfit.0, name, &column.shape);
            return;
        }
        self.comparison.masked += 1;
        // A part is as slow as the whole, and the whole has been told.
        if root.oid == relation.oid {
            self.slow(rule, relation, column);
            self.joins(rule, relation, column);
        }
        if own && mask.name() == "null" && column.not_null {
            let message =
                format!("{name} has no NULL, and developers will find nothing else there");
            let hint = "a program that reads it as NOT NULL fails; `constant`, or a mask of its kind, is kinder";
            self.warning(&rule.origin, message, Some(hint.to_owned()));
        }
    }

    fn does_not_fit(
        &mut self,
        rule: &'a Rule,
        own: bool,
        why: &str,
        name: String,
        shape: &synth::Column,
    ) {
        if own {
            let hint = format!(
                "for {} there are {}; or deny it",
                shape.sql_type,
                Mask::fitting(shape).join(", ")
            );
            self.error(&rule.origin, format!("{name}: {why}"), Some(hint));
            return;
        }
        let known = self.unfit.iter_mut();
        match known
            .filter(|(at, reason, _)| at.origin == rule.origin && reason == why)
            .map(|(_, _, columns)| columns)
            .next()
        {
            Some(columns) => columns.push(name),
            None => self.unfit.push((rule, why.to_owned(), vec![name])),
        }
    }

    /// An index is of the real values; the synthetic ones are found by looking at each row.
    fn slow(&mut self, rule: &Rule, relation: &Relation, column: &Column) {
        if relation.rows < LARGE || column.indexes.is_empty() {
            return;
        }
        let message = format!(
            "{}.{} is masked, and a lookup key ({}) of about {} rows: each lookup by it, and each sort, scans the table",
            relation.title(),
            column.name,
            column.indexes.join(", "),
            relation.rows
        );
        let hint = "clear, if it tells nothing by itself, is as fast as ever; or let the application look rows up by a clear key; or accept about 1 ms per 1000 rows";
        self.warning(&rule.origin, message, Some(hint.to_owned()));
    }

    /// A join along a foreign key finds nothing if its ends are shown differently.
    fn joins(&mut self, rule: &Rule, relation: &Relation, column: &Column) {
        let Some((oid, referred)) = &column.refers_to else {
            return;
        };
        let Some(other) = self.catalog.by_oid(*oid) else {
            return;
        };
        let root = self.catalog.root(other);
        let decision = self.policy.column(&root.schema, &root.name, referred);
        if decision.treatment != rule.treatment {
            let message = format!(
                "{}.{} refers to {}.{referred}, which is {}: joins between the two find nothing",
                relation.title(),
                column.name,
                other.title(),
                match &decision.treatment {
                    Treatment::Mask(mask) => format!("masked as {}", mask.name()),
                    plain => plain.name().to_owned(),
                }
            );
            let hint = "treat both ends alike".to_owned();
            self.warning(&rule.origin, message, Some(hint));
        }
    }

    /// A class that means no column is a name that was changed, or mistyped.
    fn classes(&mut self) {
        for class in &self.policy.classes {
            let mut relations = self.catalog.relations.iter();
            let used = relations.any(|relation| {
                let mut columns = relation.columns.iter();
                columns.any(|column| class.matches(&relation.schema, &relation.name, &column.name))
            });
            if !used {
                let message = format!("the class `{}` matches no column", class.name);
                self.warning(&class.rule.origin, message, None);
            }
        }
    }
}

fn no_column(relation: &Relation, column: &str) -> (String, Option<String>) {
    let known = relation.columns.iter().map(|column| column.name.as_str());
    (
        format!("no column `{column}` in {}", relation.title()),
        did_you_mean(column, known),
    )
}

fn problem(origin: &Origin, message: String, hint: Option<String>) -> Problem {
    let problem = Problem::at(origin.span.clone(), message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn few(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
