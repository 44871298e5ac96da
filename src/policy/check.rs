//! From files as they are written to the checked policy.

mod budget;
mod who;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};
use toml::Spanned;

pub(super) use who::SEEN;

use super::date::Moment;
use super::pattern::Pattern;
use super::raw::{RawClass, RawPolicy, RawSchema, RawTreatment};
use super::{Class, Loaded, Origin, Policy, Rule, Source, TableRules, Treatment, Wrong, masks};
use crate::report::{Problem, Report, did_you_mean, toml_file};

/// How many bytes of the files' digest a version has.
const VERSION_BYTES: usize = 6;

/// Checks `files`, which together are one policy.
pub(super) fn policy(files: Vec<Source>, now: Moment) -> Result<Loaded, Wrong> {
    let mut check = Check {
        names: files.iter().map(|file| shown(&file.path)).collect(),
        policy: empty(&files),
        now,
        problems: Vec::new(),
        warnings: Vec::new(),
        upstream: None,
    };
    if files.is_empty() {
        let problem = Problem::whole("a policy needs at least one file");
        let reports = vec![Report::new(Path::new("policy"), "", &[problem])];
        return Err(Wrong { reports });
    }
    let raws: Vec<Option<RawPolicy>> = files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let (raw, problems) = toml_file::raw::<RawPolicy>(&file.text);
            check.note_all(number, problems);
            raw
        })
        .collect();
    // What people say of columns first: exceptions are checked against it.
    for (number, raw) in raws.iter().enumerate() {
        if let Some(raw) = raw {
            check.columns(number, raw);
        }
    }
    check.classes_agree();
    for (number, raw) in raws.into_iter().enumerate() {
        if let Some(raw) = raw {
            check.people(number, raw);
        }
    }
    check.finish()
}

/// The problems found so far. A method that finds one notes it and goes on.
struct Check {
    /// What each file is called in [`Origin::place`].
    names: Vec<String>,
    policy: Policy,
    now: Moment,
    problems: Vec<(usize, Problem)>,
    warnings: Vec<(usize, Problem)>,
    upstream: Option<(String, Origin)>,
}

impl Check {
    fn note(&mut self, file: usize, problem: Problem) {
        self.problems.push((file, problem));
    }

    fn note_all(&mut self, file: usize, problems: Vec<Problem>) {
        self.problems
            .extend(problems.into_iter().map(|problem| (file, problem)));
    }

    fn origin(&self, file: usize, span: Range<usize>) -> Origin {
        let text = self.policy.files.get(file).map_or("", |file| &file.text);
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let name = self.names.get(file).map_or("", String::as_str);
        Origin {
            file,
            span,
            place: format!("{name}:{line}"),
        }
    }

    fn finish(mut self) -> Result<Loaded, Wrong> {
        let files = &self.policy.files;
        if !self.problems.is_empty() {
            return Err(Wrong {
                reports: reports(files, &self.problems),
            });
        }
        let warnings = reports(files, &self.warnings);
        self.policy.upstream = self.upstream.map(|(name, _)| name);
        Ok(Loaded {
            policy: self.policy,
            warnings,
        })
    }

    fn columns(&mut self, file: usize, raw: &RawPolicy) {
        self.for_upstream(file, raw.upstream.as_ref());
        if let Some(default) = &raw.default
            && let Some(rule) = self.rule(file, default)
        {
            self.wide_open(
                file,
                &rule,
                default.get_ref(),
                "every column that no line names",
            );
            match &self.policy.default {
                Some(first) => {
                    let message = format!("the default stands at {} already", first.origin.place);
                    self.note(file, Problem::at(default.span(), message));
                }
                None => self.policy.default = Some(rule),
            }
        }
        for (name, schema) in &raw.schema {
            self.schema(file, name, schema);
        }
        for (name, class) in &raw.class {
            self.class(file, name, class);
        }
        for (schema, relations) in &raw.table {
            for (relation, columns) in relations {
                for (column, treatment) in columns {
                    self.column(file, (schema, relation, column), treatment);
                }
            }
        }
    }

    fn for_upstream(&mut self, file: usize, name: Option<&Spanned<String>>) {
        let Some(name) = name else { return };
        let origin = self.origin(file, name.span());
        match &self.upstream {
            Some((first, at)) if first != name.get_ref() => {
                let message = format!(
                    "this file is for the upstream \"{}\", and {} for \"{first}\"",
                    name.get_ref(),
                    at.place
                );
                let hint = "the files given together are one policy, of one upstream";
                self.note(file, Problem::at(name.span(), message).hint(hint));
            }
            Some(_) => {}
            None => self.upstream = Some((name.get_ref().clone(), origin)),
        }
    }

    /// A treatment that stands at `at`; None if it is wrong, which is then noted.
    fn rule(&mut self, file: usize, at: &Spanned<RawTreatment>) -> Option<Rule> {
        let raw = at.get_ref();
        let word = match raw.what.span() {
            // A bare word; its place is that of the whole.
            span if span.is_empty() => at.span(),
            span => span,
        };
        let treatment = match raw.what.get_ref().as_str() {
            "clear" | "deny" => {
                for (key, _) in &raw.parameters {
                    let message = format!("`{}` takes no `{}`", raw.what.get_ref(), key.get_ref());
                    let known = ["as", "because", "opens_unclassified"];
                    let problem = Problem::at(key.span(), message);
                    self.note(file, hinted(problem, did_you_mean(key.get_ref(), known)));
                }
                match raw.what.get_ref().as_str() {
                    "clear" => Treatment::Clear,
                    _ => Treatment::Deny,
                }
            }
            name => match masks::mask(name, &word, &raw.parameters) {
                Ok(mask) => Treatment::Mask(mask),
                Err(problem) => {
                    self.note(file, problem);
                    return None;
                }
            },
        };
        Some(Rule {
            treatment,
            origin: self.origin(file, at.span()),
            reason: raw.because.clone(),
        })
    }

    /// What opens columns that nobody has looked at must say so, and why.
    fn wide_open(&mut self, file: usize, rule: &Rule, raw: &RawTreatment, which: &str) {
        if rule.treatment != Treatment::Clear {
            if raw.opens_unclassified.is_some() {
                let message = "`opens_unclassified` belongs to a default that is `clear`";
                self.note(file, Problem::at(rule.origin.span.clone(), message));
            }
            return;
        }
        if raw.opens_unclassified == Some(true) && is_a_reason(raw.because.as_ref()) {
            return;
        }
        let message = format!("this opens {which}, also those that are added tomorrow");
        let hint = "use \"deny\", and name what is clear; or, if it must be, { as = \"clear\", opens_unclassified = true, because = \"…\" }";
        self.note(
            file,
            Problem::at(rule.origin.span.clone(), message).hint(hint),
        );
    }

    fn schema(&mut self, file: usize, name: &Spanned<String>, raw: &RawSchema) {
        let Some(rule) = self.rule(file, &raw.default) else {
            return;
        };
        let which = format!("every column of {} that no line names", name.get_ref());
        self.wide_open(file, &rule, raw.default.get_ref(), &which);
        if let Some(first) = self.policy.schemas.get(name.get_ref()) {
            let message = format!(
                "the default of {} stands at {} already",
                name.get_ref(),
                first.origin.place
            );
            self.note(file, Problem::at(name.span(), message));
            return;
        }
        self.policy.schemas.insert(name.get_ref().clone(), rule);
    }

    fn class(&mut self, file: usize, name: &Spanned<String>, raw: &RawClass) {
        let names = self.patterns(file, raw.names.get_ref());
        let except = self.patterns(file, &raw.except);
        if raw.names.get_ref().is_empty() {
            let problem = Problem::at(raw.names.span(), "a class needs at least one name");
            self.note(file, problem.hint("for example [\"*email*\"]"));
        }
        self.not_wide_open(file, &raw.treatment);
        let Some(rule) = self.rule(file, &raw.treatment) else {
            return;
        };
        if rule.treatment == Treatment::Clear {
            for (pattern, at) in names.iter().zip(raw.names.get_ref()) {
                if pattern.is_every_column() {
                    let problem = Problem::at(
                        at.span(),
                        "a class cannot open every column, whatever its name",
                    );
                    self.note(
                        file,
                        problem.hint("name the columns; or open a table by its `\"*\"`"),
                    );
                }
            }
        }
        let mut classes = self.policy.classes.iter();
        if let Some(first) = classes.find(|class| class.name == *name.get_ref()) {
            let message = format!(
                "the class `{}` stands at {} already",
                name.get_ref(),
                first.rule.origin.place
            );
            self.note(file, Problem::at(name.span(), message));
            return;
        }
        self.policy.classes.push(Class {
            name: name.get_ref().clone(),
            names,
            except,
            rule,
        });
    }

    fn patterns(&mut self, file: usize, raw: &[Spanned<String>]) -> Vec<Pattern> {
        let mut patterns: Vec<Pattern> = Vec::new();
        for text in raw {
            match Pattern::parse(text.get_ref()) {
                Some(pattern) if patterns.contains(&pattern) => {
                    self.note(file, Problem::at(text.span(), "this stands here twice"));
                }
                Some(pattern) => patterns.push(pattern),
                None => {
                    let message = format!("`{}` is no pattern for columns", text.get_ref());
                    let hint = "a column's name, perhaps with its table's or its schema's and its table's before it, where `*` stands for anything: \"*email*\", \"staff.*name\"";
                    self.note(file, Problem::at(text.span(), message).hint(hint));
                }
            }
        }
        patterns
    }

    fn column(
        &mut self,
        file: usize,
        (schema, relation, column): (&Spanned<String>, &Spanned<String>, &Spanned<String>),
        raw: &Spanned<RawTreatment>,
    ) {
        self.not_wide_open(file, raw);
        let Some(mut rule) = self.rule(file, raw) else {
            return;
        };
        rule.origin = self.origin(file, column.span());
        let all = column.get_ref() == "*";
        let reason = rule.reason.as_ref();
        if all && rule.treatment == Treatment::Clear && !is_a_reason(reason) {
            let message = format!(
                "this opens all of {}.{}, also columns that are added tomorrow",
                schema.get_ref(),
                relation.get_ref()
            );
            let hint = "say why: \"*\" = { as = \"clear\", because = \"…\" }";
            self.note(file, Problem::at(raw.span(), message).hint(hint));
        }
        let origin = self.origin(file, relation.span());
        let key = (schema.get_ref().clone(), relation.get_ref().clone());
        let table = self.policy.tables.entry(key).or_insert_with(|| TableRules {
            origin: Some(origin),
            ..TableRules::default()
        });
        let first = if all {
            table.rest.as_ref()
        } else {
            table.columns.get(column.get_ref())
        };
        if let Some(first) = first {
            let message = format!(
                "`{}` of {}.{} stands at {} already",
                column.get_ref(),
                schema.get_ref(),
                relation.get_ref(),
                first.origin.place
            );
            self.note(file, Problem::at(column.span(), message));
        } else if all {
            table.rest = Some(rule);
        } else {
            table.columns.insert(column.get_ref().clone(), rule);
        }
    }

    fn not_wide_open(&mut self, file: usize, raw: &Spanned<RawTreatment>) {
        if raw.get_ref().opens_unclassified.is_some() {
            let message = "`opens_unclassified` belongs to a default";
            self.note(file, Problem::at(raw.span(), message));
        }
    }

    /// The same pattern in two classes that differ can never mean anything.
    fn classes_agree(&mut self) {
        let mut found: Vec<(usize, Problem)> = Vec::new();
        let mut seen: Vec<(&Pattern, &Class)> = Vec::new();
        for class in &self.policy.classes {
            for pattern in &class.names {
                let clash = seen.iter().find(|(other, first)| {
                    *other == pattern
                        && first.rule.treatment != class.rule.treatment
                        && first.except.is_empty()
                        && class.except.is_empty()
                });
                if let Some((_, first)) = clash {
                    let message = format!(
                        "the classes `{}` (at {}) and `{}` have a name in common and differ",
                        first.name, first.rule.origin.place, class.name
                    );
                    let origin = &class.rule.origin;
                    let problem = Problem::at(origin.span.clone(), message);
                    let hint = "take it out of one of the two, or out of one by `except`";
                    found.push((origin.file, problem.hint(hint)));
                }
                seen.push((pattern, class));
            }
        }
        self.problems.extend(found);
    }
}

fn is_a_reason(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}

fn hinted(problem: Problem, hint: Option<String>) -> Problem {
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// One report per file that has something to report.
pub(super) fn reports(files: &[Source], problems: &[(usize, Problem)]) -> Vec<Report> {
    let of = |number: usize| -> Vec<Problem> {
        let own = problems.iter().filter(|(file, _)| *file == number);
        own.map(|(_, problem)| problem.clone()).collect()
    };
    files
        .iter()
        .enumerate()
        .map(|(number, file)| Report::new(&file.path, &file.text, &of(number)))
        .filter(|report| !report.is_empty())
        .collect()
}

fn empty(files: &[Source]) -> Policy {
    // By content alone: where the files lie, and in which order they were given, changes nothing.
    let mut texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    texts.sort_unstable();
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    Policy {
        version: digest
            .finalize()
            .iter()
            .take(VERSION_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        files: files.to_vec(),
        upstream: None,
        tables: BTreeMap::new(),
        classes: Vec::new(),
        schemas: BTreeMap::new(),
        default: None,
        grants: Vec::new(),
        vouched: BTreeMap::new(),
        allowed: Vec::new(),
        allowed_at: Vec::new(),
        cases: Vec::new(),
        budgets: Vec::new(),
        record_values: None,
    }
}

/// `policies/shop.toml`: a file's name with its folder's, the same from wherever it is read.
fn shown(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let parts: Vec<_> = whole
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match parts.as_slice() {
        [.., folder, file] => format!("{folder}/{file}"),
        _ => path.display().to_string(),
    }
}
