//! What a client's names of prepared statements, portals and cursors stand for: a statement is on record, and
//! counted, under what it runs.

use crate::audit::{Does, StatementShape};
use crate::plan::{self, Plan, PlanCache, Touched};
use crate::session::TextEncoding;
use crate::sql::split::split;
use crate::sql::statement::{Discard, Kind};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// A statement, and what it touches.
#[derive(Debug, Clone)]
pub(super) struct Named {
    plan: Arc<Plan>,
    pub touched: Arc<Touched>,
    /// What it was bound to, where that is to be on record.
    pub parameters: Arc<[Option<String>]>,
}

/// How a client's text is to be read: what the server said of its settings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    /// In the client's encoding a byte of a character may look like a quote.
    pub unsafe_encoding: bool,
    /// A backslash escapes in any string (`standard_conforming_strings` is off).
    pub backslashes: bool,
}

impl Reading {
    /// The server has told a setting.
    pub fn told(&mut self, name: &str, value: &str) {
        match name {
            "client_encoding" => self.unsafe_encoding = plan::unsafe_encoding(value).is_some(),
            "standard_conforming_strings" => self.backslashes = value == "off",
            _ => {}
        }
    }

    /// The statements of a text. One that cannot be read surely is one statement of which nothing is known: what
    /// seems to stand outside of its literals may be part of one.
    pub fn statements(self, plans: &PlanCache, text: &[u8]) -> Vec<Named> {
        let doubtful =
            self.unsafe_encoding && !text.is_ascii() || self.backslashes && text.contains(&b'\\');
        if doubtful {
            return vec![Named::unread()];
        }
        let (text, _) = TextEncoding::decode(text);
        split(&text)
            .into_iter()
            .filter_map(|range| text.get(range))
            .map(|text| Named::of(plans.plan(text)))
            .collect()
    }

    /// The one statement of a Parse, or what Postgres will refuse as several.
    pub fn statement(self, plans: &PlanCache, text: &[u8]) -> Named {
        let mut statements = self.statements(plans, text);
        match statements.pop() {
            Some(only) if statements.is_empty() => only,
            Some(_) => Named::of(plans.plan(&TextEncoding::decode(text).0)),
            None => Named::nothing(plans),
        }
    }
}

impl Named {
    fn of(plan: Arc<Plan>) -> Self {
        // No seal, no catalog: nothing says what is sensitive.
        let touched = plan.touched(None);
        Self {
            plan,
            touched,
            parameters: Arc::default(),
        }
    }

    /// A statement of which nothing is known.
    pub fn unread() -> Self {
        Self {
            plan: Arc::new(Plan::new("?")),
            touched: Arc::new(opaque("?")),
            parameters: Arc::default(),
        }
    }

    /// Nothing but white space and comments.
    pub fn nothing(plans: &PlanCache) -> Self {
        Self::of(plans.plan(""))
    }

    /// A function called by its number.
    pub fn call() -> Self {
        Self {
            touched: Arc::new(opaque("a FunctionCall message")),
            ..Self::unread()
        }
    }

    /// The end of an implicit transaction that failed.
    pub fn commit(plans: &PlanCache) -> Self {
        Self::of(plans.plan("COMMIT"))
    }

    /// It is [`Self::nothing`].
    pub fn is_empty(&self) -> bool {
        self.plan.statement.kind == Kind::Empty
    }

    /// It reads nothing: budgets let it pass, so that who has used them up can still end a transaction.
    pub fn is_free(&self) -> bool {
        matches!(
            self.plan.statement.kind,
            Kind::Empty
                | Kind::Transaction(_)
                | Kind::Set { .. }
                | Kind::Reset(_)
                | Kind::ResetAll
                | Kind::SetConstraints { .. }
                | Kind::Discard(_)
                | Kind::Deallocate(_)
                | Kind::Close(_)
                | Kind::Listen(_)
                | Kind::Unlisten(_)
                | Kind::Notify { .. }
        )
    }
}

fn opaque(text: &str) -> Touched {
    let shape = StatementShape {
        fingerprint: crate::sql::normalise::fingerprint(text),
        text: text.to_owned(),
        does: Does::Other,
        opaque: true,
        ..StatementShape::default()
    };
    Touched {
        said: text.into(),
        shape: Arc::new(shape),
        ..Touched::default()
    }
}

/// The names of one connection. Those of SQL's PREPARE and DECLARE are the same as the protocol's.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    statements: HashMap<Bytes, Named>,
    portals: HashMap<Bytes, Portal>,
}

#[derive(Debug, Clone)]
struct Portal {
    runs: Named,
    /// It outlives its transaction.
    held: bool,
}

impl Names {
    /// A Parse was done.
    pub fn parsed(&mut self, name: Bytes, statement: Named) {
        self.statements.insert(name, statement);
    }

    /// A Bind was done.
    pub fn bound(&mut self, portal: Bytes, statement: &[u8], parameters: Arc<[Option<String>]>) {
        let runs = Named {
            parameters,
            ..self.statement(statement)
        };
        self.portals.insert(portal, Portal { runs, held: false });
    }

    /// What a statement's name stands for.
    pub fn statement(&self, name: &[u8]) -> Named {
        let known = self.statements.get(name).cloned();
        known.map_or_else(Named::unread, |statement| self.through(statement))
    }

    /// What a portal's name stands for.
    pub fn portal(&self, name: &[u8]) -> Named {
        let known = self.portals.get(name);
        known.map_or_else(Named::unread, |portal| portal.runs.clone())
    }

    /// A Close was done.
    pub fn closed_statement(&mut self, name: &[u8]) {
        self.statements.remove(name);
    }

    /// A Close was done.
    pub fn closed_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// A statement, with what the one touches that it runs by name.
    pub fn through(&self, statement: Named) -> Named {
        let target = match &statement.plan.statement.kind {
            Kind::Execute { name } => self.statements.get(name.value.as_bytes()),
            Kind::Fetch { name, .. } => self.portals.get(name.value.as_bytes()).map(|p| &p.runs),
            _ => return statement,
        };
        let touched = match target {
            Some(target) => statement.touched.through(&target.touched),
            // A cursor that a function opened.
            None => opaque(&statement.touched.shape.text),
        };
        Named {
            touched: Arc::new(touched),
            ..statement
        }
    }

    /// A statement was done that may make or end names.
    pub fn done(&mut self, statement: &Named, plans: &PlanCache) {
        let plan = &statement.plan;
        match &plan.statement.kind {
            Kind::Prepare { name, body, .. } => {
                let body = plan.text.get(body.clone()).unwrap_or_default();
                let prepared = Named::of(plans.plan(body));
                self.parsed(Bytes::from(name.value.clone()), prepared);
            }
            Kind::Deallocate(Some(name)) => self.closed_statement(name.value.as_bytes()),
            Kind::Deallocate(None) => self.statements.clear(),
            Kind::Declare { name, hold } => {
                let portal = Portal {
                    runs: statement.clone(),
                    held: *hold,
                };
                self.portals.insert(Bytes::from(name.value.clone()), portal);
            }
            Kind::Close(Some(name)) => self.closed_portal(name.value.as_bytes()),
            Kind::Close(None) => self.portals.clear(),
            Kind::Discard(Discard::All) => *self = Self::default(),
            _ => {}
        }
    }

    /// No transaction is open any more.
    pub fn transaction_ended(&mut self) {
        self.portals.retain(|_, portal| portal.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(named: &Named) -> &str {
        &named.touched.shape.text
    }

    #[test]
    fn what_runs_by_name_touches_what_it_runs() {
        let (plans, mut names) = (PlanCache::default(), Names::default());
        let read = |text: &str| Reading::default().statement(&plans, text.as_bytes());
        names.done(&read("PREPARE p AS SELECT a FROM t WHERE b = 'x'"), &plans);
        names.done(&read("DECLARE c CURSOR FOR SELECT * FROM u"), &plans);
        names.done(
            &read("DECLARE h CURSOR WITH HOLD FOR SELECT * FROM v"),
            &plans,
        );
        let relations = |names: &Names, text: &str| {
            let named = names.through(read(text));
            (
                named.touched.shape.relations.clone(),
                named.touched.shape.opaque,
            )
        };
        assert_eq!(
            relations(&names, "EXECUTE p"),
            (vec!["t".to_owned()], false)
        );
        assert_eq!(relations(&names, "FETCH 3 FROM c").0, ["u"]);
        names.parsed(Bytes::from("s"), read("EXECUTE p"));
        assert_eq!(names.statement(b"s").touched.shape.relations, ["t"]);
        names.transaction_ended();
        assert_eq!(relations(&names, "FETCH c"), (vec![], true));
        assert_eq!(relations(&names, "FETCH h").0, ["v"]);
        names.done(&read("DISCARD ALL"), &plans);
        assert_eq!(relations(&names, "EXECUTE p"), (vec![], true));
    }

    #[test]
    fn what_cannot_be_read_surely_is_not_recorded() {
        let plans = PlanCache::default();
        let mut reading = Reading::default();
        let one =
            |reading: Reading, bytes: &[u8]| text(&reading.statement(&plans, bytes)).to_owned();
        let escaped = br"SELECT 'a\', secret FROM t --'";
        assert!(one(reading, escaped).contains("secret"));
        reading.told("standard_conforming_strings", "off");
        assert_eq!(one(reading, escaped), "?");
        reading.told("standard_conforming_strings", "on");
        reading.told("client_encoding", "SJIS");
        assert_eq!(one(reading, b"SELECT '\x83\x5c'"), "?");
        assert_eq!(one(reading, b"SELECT 'a'"), "SELECT ?");
        reading.told("client_encoding", "LATIN1");
        assert_eq!(one(reading, b"SELECT '\xe9'"), "SELECT ?");
        assert_eq!(reading.statements(&plans, b"SELECT 1; ; SELECT 2").len(), 2);
    }
}
