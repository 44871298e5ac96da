//! What a statement touches, for its record and for budgets: found once per text and meaning of names.
//!
//! Columns are found by their names: one that stands in the text, or all where the text says `*`, names the whole
//! row, or copies the table. That lists now and then a column too many, of another relation that has one of the
//! same name, and never one too few.

use super::Plan;
use crate::audit::{Does, StatementShape};
use crate::budget::{self, TouchedRelation};
use crate::catalog::{Masked, MaskedRelation};
use crate::sql::keywords::is_not_a_name;
use crate::sql::lexer::{self, Token, TokenKind};
use crate::sql::normalise::{fingerprint, normalised};
use crate::sql::relations;
use crate::sql::statement::{Copy, Kind, RelationName};
use crate::sql::value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The schema that is meant where neither the text nor a search path says one.
const PUBLIC: &str = "public";
/// Meanings of names for which it is kept.
const KEPT: usize = 4;

/// What one statement touches.
#[derive(Debug, Default)]
pub struct Touched {
    /// For its record.
    pub shape: Arc<StatementShape>,
    /// The text as the client wrote it.
    pub said: Arc<str>,
    /// For budgets: the relations, and the columns of the masked ones that are not clear.
    pub relations: budget::Touched,
    /// It is an EXPLAIN that runs what it explains: the rows that were read are in the plan.
    pub explains: bool,
    /// It may leave rows of masked relations in objects of the sandbox, or code that reads them.
    pub copies: bool,
}

impl Touched {
    /// This statement, which runs another one: FETCH, EXECUTE.
    pub fn through(&self, target: &Self) -> Self {
        let shape = StatementShape {
            text: self.shape.text.clone(),
            fingerprint: self.shape.fingerprint.clone(),
            ..(*target.shape).clone()
        };
        Self {
            shape: Arc::new(shape),
            said: self.said.clone(),
            relations: target.relations.clone(),
            explains: self.explains,
            copies: target.copies,
        }
    }
}

/// What a plan touches, by what names meant when that was found.
#[derive(Debug, Default)]
pub(super) struct Touches(Mutex<Vec<Known>>);

/// None: nothing is masked.
type Known = (Option<Arc<Masked>>, Arc<Touched>);

impl Plan {
    /// What the statement touches for a client for whom names mean this. Equal meanings should be the same Arc.
    pub fn touched(&self, masked: Option<&Arc<Masked>>) -> Arc<Touched> {
        let same = |known: &Option<Arc<Masked>>| match (known, masked) {
            (Some(known), Some(masked)) => Arc::ptr_eq(known, masked),
            (None, None) => true,
            _ => false,
        };
        let lock = || {
            self.touches
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((_, touched)) = lock().iter().find(|(known, _)| same(known)) {
            return touched.clone();
        }
        let touched = Arc::new(self.touch(masked.map(Arc::as_ref)));
        let mut touches = lock();
        if touches.len() >= KEPT {
            touches.remove(0);
        }
        touches.push((masked.cloned(), touched.clone()));
        touched
    }

    fn touch(&self, masked: Option<&Masked>) -> Touched {
        let text = normalised(&self.text);
        let facts = &self.statement.facts;
        let reads = relations::reads(&self.text);
        let reads = reads.as_deref();
        let mut names = BTreeSet::new();
        let mut found: Vec<TouchedRelation> = Vec::new();
        for relation in reads.unwrap_or_default().iter().chain(&facts.writes) {
            let known = masked.and_then(|masked| known(masked, relation));
            match known {
                Some(known) => {
                    names.insert(format!("{}.{}", known.schema, known.name));
                    let same = |other: &TouchedRelation| {
                        other.schema == known.schema && other.name == known.name
                    };
                    if !found.iter().any(same) {
                        found.push(TouchedRelation {
                            schema: known.schema.clone(),
                            name: known.name.clone(),
                            sensitive: Vec::new(),
                        });
                    }
                    if let Some(touched) = found.iter_mut().find(|other| same(other)) {
                        self.add_columns(touched, known, relation);
                    }
                }
                None => {
                    let schema = relation.schema.as_deref();
                    names.insert(schema.map_or_else(
                        || relation.name.clone(),
                        |schema| format!("{schema}.{}", relation.name),
                    ));
                    let schema = schema.or_else(|| masked?.first_schema());
                    found.push(TouchedRelation {
                        schema: schema.unwrap_or(PUBLIC).to_owned(),
                        name: relation.name.clone(),
                        sensitive: Vec::new(),
                    });
                }
            }
        }
        let runs_code = matches!(self.statement.kind, Kind::Code | Kind::Unknown);
        let makes = matches!(
            self.statement.kind,
            Kind::CreateTable { .. } | Kind::Ddl | Kind::Concurrently { .. }
        );
        let is_target =
            |relation: &RelationName| facts.writes.iter().any(|w| w.span == relation.span);
        let reads_masked = reads
            .unwrap_or_default()
            .iter()
            .filter(|r| !is_target(r))
            .any(|relation| masked.is_some_and(|masked| known(masked, relation).is_some()));
        let opaque = runs_code || reads.is_none() || runs_text(&self.text);
        // Without a policy the seal knows relations, too, but nothing in them that budgets would count apart.
        let hides = masked.is_some_and(|masked| masked.relations().hides());
        let stores = !facts.writes.is_empty() || makes;
        Touched {
            said: self.text.as_str().into(),
            shape: Arc::new(StatementShape {
                fingerprint: fingerprint(&text),
                text,
                does: self.does(),
                relations: names.into_iter().collect(),
                sensitive: found
                    .iter()
                    .flat_map(|relation| {
                        let of = format!("{}.{}", relation.schema, relation.name);
                        relation
                            .sensitive
                            .iter()
                            .map(move |column| format!("{of}.{column}"))
                    })
                    .collect(),
                opaque,
            }),
            copies: hides
                && (runs_code
                    || makes_code(&self.text)
                    || (stores && (reads_masked || reads.is_none()))),
            relations: budget::Touched {
                relations: found.into(),
                unknown: opaque && hides,
            },
            explains: explains(&self.text),
        }
    }

    fn does(&self) -> Does {
        match &self.statement.kind {
            Kind::Transaction(_) => Does::Transact,
            Kind::Write | Kind::Truncate { .. } | Kind::Copy(Copy::FromStdin) => Does::Write,
            Kind::Read
            | Kind::EffectfulSelect
            | Kind::Declare { .. }
            | Kind::Fetch { .. }
            | Kind::Copy(Copy::ToStdout { .. }) => Does::Read,
            Kind::CreateTable { .. } | Kind::Ddl | Kind::Concurrently { .. } => Does::Define,
            _ => Does::Other,
        }
    }

    /// Adds the columns of `known` that are not clear and that the statement may read where it names the relation.
    fn add_columns(
        &self,
        touched: &mut TouchedRelation,
        known: &MaskedRelation,
        named: &RelationName,
    ) {
        let tokens = lexer::significant(&self.text);
        let whole = matches!(self.statement.kind, Kind::Copy(_))
            && !has_column_list(&tokens, named)
            || names_whole_row(&self.text, &tokens, named);
        for column in known.columns.iter().filter(|column| !column.clear) {
            let said = || {
                tokens.iter().any(|token| {
                    value::identifier(token, &self.text).is_some_and(|name| name == column.name)
                })
            };
            if !touched.sensitive.contains(&column.name) && (whole || said()) {
                touched.sensitive.push(column.name.clone());
            }
        }
    }
}

/// The masked relation that a name means, also if it is that of one of the seal's own views.
fn known<'a>(masked: &'a Masked, relation: &RelationName) -> Option<&'a MaskedRelation> {
    let schema = relation.schema.as_deref();
    masked
        .resolve(schema, &relation.name)
        .or_else(|| masked.behind(schema, &relation.name))
        .filter(|known| !known.columns.is_empty())
}

/// Names a function that runs SQL which it is given as text, or reads tables whose names it is given.
fn runs_text(text: &str) -> bool {
    lexer::significant(text)
        .iter()
        .filter_map(|token| value::identifier(token, text))
        .any(|name| name.contains("_to_xml") || matches!(name.as_str(), "ts_stat" | "ts_rewrite"))
}

/// CREATE FUNCTION and its like: what their bodies read, only the server knows.
fn makes_code(text: &str) -> bool {
    let tokens = lexer::significant(text);
    let mut words = tokens.iter().map(|token| token.text(text));
    words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("create"))
        && words.take(3).any(|word| {
            ["function", "procedure", "rule"]
                .iter()
                .any(|code| word.eq_ignore_ascii_case(code))
        })
}

/// EXPLAIN with ANALYZE among its options.
fn explains(text: &str) -> bool {
    let words = lexer::significant(text);
    let mut words = words.iter().map(|token| token.text(text));
    words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("explain"))
        && words
            .take_while(|word| {
                ![
                    "select", "insert", "update", "delete", "merge", "with", "execute",
                ]
                .iter()
                .any(|end| word.eq_ignore_ascii_case(end))
            })
            .any(|word| {
                ["analyze", "analyse"]
                    .iter()
                    .any(|option| word.eq_ignore_ascii_case(option))
            })
}

/// Whether a list of columns stands behind the name of COPY's table.
fn has_column_list(tokens: &[Token], named: &RelationName) -> bool {
    tokens
        .iter()
        .find(|token| token.start >= named.span.end)
        .is_some_and(|token| token.kind == TokenKind::Symbol(b'('))
}

/// Whether the text says `*` or `TABLE name`, or names the relation, or its alias, as a value.
fn names_whole_row(text: &str, tokens: &[Token], named: &RelationName) -> bool {
    let is_word = |token: &Token, word: &str| {
        token.kind == TokenKind::Word && token.text(text).eq_ignore_ascii_case(word)
    };
    let before = |at: usize| at.checked_sub(1).and_then(|at| tokens.get(at));
    let behind = tokens.partition_point(|token| token.start < named.span.end);
    let first = tokens.partition_point(|token| token.start < named.span.start);
    if before(first).is_some_and(|token| is_word(token, "table")) {
        return true;
    }
    let has_as = tokens.get(behind).is_some_and(|token| is_word(token, "as"));
    let alias_at = behind + usize::from(has_as);
    let alias = tokens
        .get(alias_at)
        .filter(|token| {
            token.kind != TokenKind::Word || !is_not_a_name(&token.text(text).to_ascii_lowercase())
        })
        .and_then(|token| value::identifier(token, text));
    tokens.iter().enumerate().any(|(at, token)| {
        let next = tokens.get(at + 1);
        if token.kind == TokenKind::Operator && token.text(text) == "*" {
            return before(at).is_some_and(|before| match before.kind {
                TokenKind::Symbol(b'.' | b',') => true,
                // DISTINCT ON (…) *
                TokenKind::Symbol(b')') => next.is_none_or(|next| {
                    is_word(next, "from") || next.kind == TokenKind::Symbol(b',')
                }),
                TokenKind::Word => ["select", "distinct", "all", "returning"]
                    .iter()
                    .any(|word| is_word(before, word)),
                _ => false,
            });
        }
        let Some(name) = value::identifier(token, text) else {
            return false;
        };
        let is_row = name == named.name || alias.as_ref() == Some(&name);
        let is_place = (first..=alias_at).contains(&at);
        let is_part = next.is_some_and(|next| next.kind == TokenKind::Symbol(b'.'))
            || before(at).is_some_and(|token| token.kind == TokenKind::Symbol(b'.'));
        is_row && !is_place && !is_part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{MaskedColumn, MaskedRelations};

    fn masked() -> Arc<Masked> {
        let column = |name: &str, clear| MaskedColumn {
            name: name.to_owned(),
            clear,
            ..MaskedColumn::default()
        };
        let users = MaskedRelation {
            schema: "public".to_owned(),
            name: "users".to_owned(),
            view: Some("devinprod_masked.\"public.users\"".to_owned()),
            rows: Some("devinprod_rows.\"public.users\"".to_owned()),
            columns: vec![
                column("id", true),
                column("email", false),
                column("phone", false),
            ],
            ..MaskedRelation::default()
        };
        let relations = MaskedRelations::new(vec![users], []);
        Arc::new(Masked::new(Arc::new(relations), &["public".to_owned()]))
    }

    fn sensitive(text: &str) -> Vec<String> {
        let touched = Plan::new(text).touched(Some(&masked()));
        touched
            .relations
            .relations
            .iter()
            .flat_map(|relation| relation.sensitive.clone())
            .collect()
    }

    #[test]
    fn columns_are_found_wherever_they_may_come_from() {
        let all: &[&str] = &["email", "phone"];
        let cases: &[(&str, &[&str])] = &[
            ("SELECT id FROM users", &[]),
            ("SELECT count(*), 2 * id FROM users", &[]),
            ("SELECT email FROM users u", &["email"]),
            (
                "SELECT u.\"phone\" FROM public.users u WHERE u.email = 'x'",
                all,
            ),
            ("SELECT * FROM users", all),
            ("SELECT u.* FROM users AS u", all),
            ("SELECT DISTINCT ON (id) * FROM users", all),
            ("SELECT row_to_json(u) FROM users u", all),
            ("SELECT users FROM users", all),
            ("TABLE users", all),
            ("COPY users TO STDOUT", all),
            ("COPY users (id, email) TO STDOUT", &["email"]),
            ("UPDATE users SET phone = NULL RETURNING *", all),
            (
                "SELECT users.id FROM users JOIN orders ON users.id = orders.user_id",
                &[],
            ),
            ("SELECT id FROM other.users", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(sensitive(text), *expected, "{text}");
        }
    }

    #[test]
    fn what_leaves_copies_says_so() {
        let copies = |text: &str| Plan::new(text).touched(Some(&masked())).copies;
        for text in [
            "CREATE TEMP TABLE t AS SELECT * FROM users",
            "CREATE VIEW v AS SELECT id FROM users",
            "INSERT INTO log SELECT email FROM users",
            "DO $$ BEGIN END $$",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''",
        ] {
            assert!(copies(text), "{text}");
        }
        for text in [
            "SELECT * FROM users",
            "UPDATE users SET phone = NULL RETURNING *",
            "DELETE FROM users WHERE id = 1",
            "INSERT INTO users (id) VALUES (1)",
            "CREATE TABLE t (a int)",
        ] {
            assert!(!copies(text), "{text}");
        }
    }

    #[test]
    fn where_nothing_is_kept_from_developers_nothing_counts_as_copied_or_unknown() {
        let relations = MaskedRelations::new(
            vec![MaskedRelation {
                schema: "public".to_owned(),
                name: "users".to_owned(),
                columns: vec![MaskedColumn {
                    name: "id".to_owned(),
                    clear: true,
                    ..MaskedColumn::default()
                }],
                ..MaskedRelation::default()
            }],
            [],
        );
        let clear = Arc::new(Masked::new(Arc::new(relations), &["public".to_owned()]));
        for (masked, counts) in [(clear, false), (self::masked(), true)] {
            let touched = Plan::new("DO $$ BEGIN END $$").touched(Some(&masked));
            assert_eq!(touched.copies, counts);
            assert_eq!(touched.relations.unknown, counts);
        }
    }

    #[test]
    fn the_seals_own_views_are_the_relation_behind_them() {
        for text in [
            "SELECT email FROM devinprod_masked.\"public.users\"",
            "SELECT email FROM devinprod_rows.\"public.users\"",
            "SELECT email FROM \"public.users\"",
        ] {
            let touched = Plan::new(text).touched(Some(&masked()));
            assert_eq!(touched.shape.sensitive, ["public.users.email"], "{text}");
        }
        for text in [
            "SELECT query_to_xml('SELECT * FROM users', true, true, '')",
            "SELECT pg_catalog.\"table_to_xml\"('users', true, true, '')",
            "SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM users')",
        ] {
            let touched = Plan::new(text).touched(Some(&masked()));
            assert!(touched.relations.unknown && touched.shape.opaque, "{text}");
        }
    }

    #[test]
    fn relations_have_their_schema_where_it_is_known() {
        let touched = Plan::new("SELECT 1 FROM users, app.b, c").touched(Some(&masked()));
        assert_eq!(touched.shape.relations, ["app.b", "c", "public.users"]);
        assert!(!touched.shape.opaque);
        assert!(Plan::new("DO 'x'").touched(None).shape.opaque);
    }
}
