//! What a security team wrote down: which columns are sensitive, and what a developer sees in their place.
//!
//! Files ([`Policy::load`]) become a checked [`Policy`], or a [`Wrong`] that says each mistake with its line. The
//! policy answers [`Policy::column`] for any column, also for one that it has never heard of: that one is
//! denied, unless the files open it in so many words.
//!
//! What decides, the first that says anything: the column's own line, the `*` of its table, a class that matches its
//! name, the schema's default, the default. Two cases have no answer but `deny`: classes that match and differ, and
//! nothing that says anything. A `*` that opens a table yields to classes.

mod against;
mod budget;
mod check;
mod date;
pub mod live;
mod masks;
mod pattern;
mod raw;
mod schema;
mod stage;
pub mod suggest;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::report::{Report, toml_file};
use crate::synth::Mask;
use pattern::Pattern;

pub use against::Comparison;
pub use budget::{Amount, Bound, Budget, Measure, Rate, Scope};
pub use date::Moment;
pub use schema::json_schema;
pub use stage::Stage;

/// What a developer gets of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// The real value.
    Clear,
    /// Nothing: it cannot be named in a query.
    Deny,
    /// A synthetic value.
    Mask(Mask),
}

impl Treatment {
    /// As a policy file names it: `clear`, `deny` or the mask's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Clear => "clear",
            Self::Deny => "deny",
            Self::Mask(mask) => mask.name(),
        }
    }
}

/// What a policy says of one column, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What a developer gets.
    pub treatment: Treatment,
    /// Where that stands: `policies/shop.toml:12`, or in words why no line says it.
    pub because: String,
    /// Who sees the real value all the same, for a while.
    pub exceptions: Vec<Exception>,
}

/// Members of a set who may see a column's real values until a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The set of exceptions that a developer role belongs to; a plain lower-case identifier.
    pub set: String,
    /// The last moment, as Postgres reads a timestamptz: `2027-01-31 23:59:59+00`.
    pub until: String,
}

/// A checked policy of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    version: String,
    files: Vec<Source>,
    upstream: Option<String>,
    tables: BTreeMap<(String, String), TableRules>,
    classes: Vec<Class>,
    schemas: BTreeMap<String, Rule>,
    default: Option<Rule>,
    grants: Vec<Grant>,
    vouched: BTreeMap<String, Origin>,
    allowed: Vec<String>,
    allowed_at: Vec<Origin>,
    cases: Vec<Case>,
    budgets: Vec<Budget>,
    record_values: Option<Vec<Stage>>,
}

/// A file of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is, as it was asked for.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// Where in a policy's files something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The number of the file in [`Policy::files`].
    pub file: usize,
    /// The bytes.
    pub span: Range<usize>,
    /// For people: `policies/shop.toml:12`.
    pub place: String,
}

/// What is said of a column, or of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What a developer gets.
    pub treatment: Treatment,
    /// Where it stands.
    pub origin: Origin,
    /// Why, if somebody wrote that down.
    pub reason: Option<String>,
}

/// What is said of one relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TableRules {
    origin: Option<Origin>,
    columns: BTreeMap<String, Rule>,
    rest: Option<Rule>,
}

/// Columns that belong together by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    name: String,
    names: Vec<Pattern>,
    except: Vec<Pattern>,
    rule: Rule,
}

impl Class {
    fn matches(&self, schema: &str, relation: &str, column: &str) -> bool {
        let any = |patterns: &[Pattern]| {
            patterns
                .iter()
                .any(|pattern| pattern.matches(schema, relation, column))
        };
        any(&self.names) && !any(&self.except)
    }
}

/// An exception of a policy file: some developers see some columns as they are, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name of the set.
    pub set: String,
    /// Developers, and groups with their `@`.
    pub who: BTreeSet<String>,
    /// Schema, relation and column.
    pub columns: Vec<(String, String, String)>,
    /// The last moment.
    pub until: Moment,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub origin: Origin,
    /// Where each of the columns stands.
    columns_at: Vec<Origin>,
}

/// A query and what must come back: `[[case]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What is asked.
    pub query: String,
    /// The developer who asks; None: one of whom the policy has never heard.
    pub developer: Option<String>,
    /// The groups of who asks, without their `@`.
    pub groups: BTreeSet<String>,
    /// SQL that the owner runs before, so that there is something to see.
    pub given: Vec<String>,
    /// What must come back.
    pub expect: Expect,
    /// Where it stands.
    pub origin: Origin,
}

/// What a case expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Postgres refuses it: permission denied.
    Denied,
    /// Every column comes back like this.
    All(Seen),
    /// Columns of the answer, by name; others may be as they like.
    Columns(BTreeMap<String, Seen>),
}

/// How a column of an answer compares with what is really there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The real values.
    Clear,
    /// Not one of the real values.
    Masked,
    /// NULL in every row.
    Null,
}

/// A developer to whom more than one set of exceptions applies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sets of exceptions `{0}` and `{1}` both apply")]
pub struct Ambiguous(pub String, pub String);

/// What decides about a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Its own line.
    Column(&'a Rule),
    /// The `*` of its table.
    Rest(&'a Rule),
    /// A class: its name and rule.
    Class(&'a str, &'a Rule),
    /// Two classes that match and differ.
    Clash((&'a str, &'a Rule), (&'a str, &'a Rule)),
    /// The default of its schema.
    Schema(&'a Rule),
    /// The policy's default.
    Default(&'a Rule),
    /// Nothing.
    Nothing,
}

impl Policy {
    /// Reads and checks the files that make up one policy.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(paths: &[PathBuf]) -> Result<Loaded, Wrong> {
        let mut files = Vec::new();
        let mut reports = Vec::new();
        for path in paths {
            match toml_file::file(path, "docs/policies.md says how a policy file begins") {
                Ok(text) => files.push(Source {
                    path: path.clone(),
                    text,
                }),
                Err(report) => reports.push(report),
            }
        }
        if !reports.is_empty() {
            return Err(Wrong { reports });
        }
        Self::parse(files, Moment::now())
    }

    /// Checks one text as if it stood in a file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, Wrong> {
        let file = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        Self::parse(vec![file], Moment::now()).map(|loaded| loaded.policy)
    }

    /// Checks `files`, which together are one policy; exceptions that ended before `now` are warned about.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(files: Vec<Source>, now: Moment) -> Result<Loaded, Wrong> {
        check::policy(files, now)
    }

    /// A digest of what the policy's files say; other files have another.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its files, in the order in which they were given.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// The upstream that it says it is for.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// What it says of a column; names as they stand in the catalog.
    pub fn column(&self, schema: &str, relation: &str, column: &str) -> Decision {
        let (treatment, because) = match self.find(schema, relation, column) {
            Found::Column(rule) => (rule.treatment.clone(), rule.origin.place.clone()),
            Found::Rest(rule) => (
                rule.treatment.clone(),
                format!("{} (every other column of the table)", rule.origin.place),
            ),
            Found::Class(name, rule) => (
                rule.treatment.clone(),
                format!("{} (class {name})", rule.origin.place),
            ),
            Found::Clash((one, first), (other, second)) => (
                Treatment::Deny,
                format!(
                    "{} (class {one}) and {} (class {other}) differ",
                    first.origin.place, second.origin.place
                ),
            ),
            Found::Schema(rule) => (
                rule.treatment.clone(),
                format!("{} (default of the schema)", rule.origin.place),
            ),
            Found::Default(rule) => (
                rule.treatment.clone(),
                format!("{} (default)", rule.origin.place),
            ),
            Found::Nothing => (Treatment::Deny, "no line of the policy names it".to_owned()),
        };
        let exceptions = match treatment {
            Treatment::Clear | Treatment::Deny => Vec::new(),
            Treatment::Mask(_) => self.exceptions(schema, relation, column),
        };
        Decision {
            treatment,
            because,
            exceptions,
        }
    }

    /// Does a line name just this column, not many at once?
    pub fn names(&self, schema: &str, relation: &str, column: &str) -> bool {
        matches!(self.find(schema, relation, column), Found::Column(_))
    }

    /// Why, if the line that decides about the column says so.
    pub fn reason(&self, schema: &str, relation: &str, column: &str) -> Option<&str> {
        match self.find(schema, relation, column) {
            Found::Column(rule)
            | Found::Rest(rule)
            | Found::Class(_, rule)
            | Found::Schema(rule)
            | Found::Default(rule) => rule.reason.as_deref(),
            Found::Clash(..) | Found::Nothing => None,
        }
    }

    /// Does the owner vouch for this piece of application code (`trigger public.customers.touch`,
    /// `function app.f(integer)`): it keeps no real value where a developer can read it?
    pub fn vouches(&self, code: &str) -> bool {
        self.vouched.contains_key(code)
    }

    /// What the owner vouches for.
    pub fn vouched(&self) -> impl Iterator<Item = &str> {
        self.vouched.keys().map(String::as_str)
    }

    /// The SECURITY DEFINER functions (`schema.name(types)`) that armed developer roles may call.
    pub fn allowed_functions(&self) -> &[String] {
        &self.allowed
    }

    /// The sets of exceptions that it makes, each needing developer roles of its own.
    pub fn sets(&self) -> Vec<String> {
        let sets: BTreeSet<&String> = self.grants.iter().map(|grant| &grant.set).collect();
        sets.into_iter().cloned().collect()
    }

    /// The exceptions, in the order of the files.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The set of exceptions that applies to a developer in `groups` (without their `@`), if any does. One that names
    /// the developer goes before those that name a group.
    ///
    /// # Errors
    /// More than one applies; it takes a set of its own, which names the developer.
    pub fn set_of(
        &self,
        developer: &str,
        groups: &BTreeSet<String>,
    ) -> Result<Option<&str>, Ambiguous> {
        let of = |applies: &dyn Fn(&Grant) -> bool| -> BTreeSet<&str> {
            let grants = self.grants.iter().filter(|grant| applies(grant));
            grants.map(|grant| grant.set.as_str()).collect()
        };
        let by_name = of(&|grant| grant.who.contains(developer));
        let sets = if by_name.is_empty() {
            of(&|grant| {
                let mut named = grant.who.iter().filter_map(|who| who.strip_prefix('@'));
                named.any(|group| groups.contains(group))
            })
        } else {
            by_name
        };
        let mut sets = sets.into_iter();
        match (sets.next(), sets.next()) {
            (Some(one), Some(other)) => Err(Ambiguous(one.to_owned(), other.to_owned())),
            (set, _) => Ok(set),
        }
    }

    /// The cases, in the order of the files.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The budgets, in the order of the files; what holds besides them, [`Budget::defaults`] says.
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// Is the record of statements on an upstream of this stage to keep their literals and parameters?
    pub fn records_values(&self, stage: Stage) -> bool {
        self.record_values
            .as_ref()
            .is_some_and(|stages| stages.contains(&stage))
    }

    /// Does the column's name fit the class, whatever else decides about the column?
    pub fn in_class(&self, class: &str, schema: &str, relation: &str, column: &str) -> bool {
        let mut classes = self.classes.iter();
        classes.any(|one| one.name == class && one.matches(schema, relation, column))
    }

    /// What decides about a column.
    pub(crate) fn find(&self, schema: &str, relation: &str, column: &str) -> Found<'_> {
        let table = self.tables.get(&(schema.to_owned(), relation.to_owned()));
        if let Some(rule) = table.and_then(|table| table.columns.get(column)) {
            return Found::Column(rule);
        }
        let rest = table.and_then(|table| table.rest.as_ref());
        if let Some(rule) = rest
            && rule.treatment != Treatment::Clear
        {
            return Found::Rest(rule);
        }
        let mut classes = self
            .classes
            .iter()
            .filter(|class| class.matches(schema, relation, column))
            .map(|class| (class.name.as_str(), &class.rule));
        if let Some(first) = classes.next() {
            return match classes.find(|(_, rule)| rule.treatment != first.1.treatment) {
                Some(second) => Found::Clash(first, second),
                None => Found::Class(first.0, first.1),
            };
        }
        match (rest, self.schemas.get(schema), &self.default) {
            (Some(rule), ..) => Found::Rest(rule),
            (None, Some(rule), _) => Found::Schema(rule),
            (None, None, Some(rule)) => Found::Default(rule),
            (None, None, None) => Found::Nothing,
        }
    }

    fn exceptions(&self, schema: &str, relation: &str, column: &str) -> Vec<Exception> {
        let names = |grant: &&Grant| {
            let mut columns = grant.columns.iter();
            columns.any(|(s, r, c)| s == schema && r == relation && c == column)
        };
        self.grants
            .iter()
            .filter(names)
            .map(|grant| Exception {
                set: grant.set.clone(),
                until: grant.until.to_string(),
            })
            .collect()
    }
}

/// A policy that can be used, and what its owner should know all the same.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Warnings, file by file; often empty.
    pub warnings: Vec<Report>,
}

/// Why policy files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong, file by file.
    pub reports: Vec<Report>,
}

impl Wrong {
    /// How many problems there are.
    pub fn count(&self) -> usize {
        self.reports.iter().map(Report::len).sum()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reports: Vec<String> = self.reports.iter().map(Report::to_string).collect();
        f.write_str(&reports.join("\n\n"))
    }
}

impl std::error::Error for Wrong {}
