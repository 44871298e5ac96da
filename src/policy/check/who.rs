//! What a policy says of people and of code: exceptions, vouches, allowed functions, cases.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::super::date::Moment;
use super::super::raw::{RawCase, RawException, RawExpect, RawPolicy};
use super::super::{Case, Expect, Grant, Seen, Treatment};
use super::{Check, hinted};
use crate::report::{Problem, did_you_mean};

/// With the longest prefix and `exc_` before it, a set's role must have a name of 63 bytes at most.
const SET_LENGTH: usize = 18;

/// How a column may come back, as a case says it.
pub(in crate::policy) const SEEN: [(&str, Seen); 3] = [
    ("clear", Seen::Clear),
    ("masked", Seen::Masked),
    ("null", Seen::Null),
];

impl Check {
    pub(super) fn people(&mut self, file: usize, raw: RawPolicy) {
        for exception in raw.exception {
            self.exception(file, exception);
        }
        for vouch in raw.vouch {
            self.reason(file, &vouch.because);
            let code = words(vouch.code.get_ref());
            let origin = self.origin(file, vouch.code.span());
            if ![
                "rule ",
                "trigger ",
                "function ",
                "default ",
                "constraint ",
                "index ",
                "domain ",
                "policy ",
            ]
            .iter()
            .any(|kind| code.starts_with(kind))
            {
                let message = format!("`{code}` does not say what it is");
                let hint = "for example \"trigger public.customers.touch\" or \"function app.price(integer)\"";
                self.note(file, Problem::at(vouch.code.span(), message).hint(hint));
            }
            if let Some(first) = self.policy.vouched.insert(code, origin) {
                let message = format!("this is vouched for at {} already", first.place);
                self.note(file, Problem::at(vouch.code.span(), message));
            }
        }
        for function in raw.allow_function {
            self.reason(file, &function.because);
            let name = words(function.name.get_ref());
            let at = function.name.span();
            if !name.contains('(') || !name.ends_with(')') {
                let message = format!("`{name}` has no list of types");
                let hint = "a function is named as schema.name(types): \"shop.place_order(bigint, integer)\"";
                self.note(file, Problem::at(at.clone(), message).hint(hint));
            }
            if self.policy.allowed.contains(&name) {
                self.note(file, Problem::at(at.clone(), "this is allowed already"));
                continue;
            }
            let origin = self.origin(file, at);
            self.policy.allowed.push(name);
            self.policy.allowed_at.push(origin);
        }
        for case in raw.case {
            self.case(file, case);
        }
        for budget in raw.budget {
            self.budget(file, budget);
        }
        if let Some(raw) = raw.record_values {
            let at = raw.span();
            let raw = raw.into_inner();
            self.reason(file, &raw.because);
            if self.policy.record_values.is_some() {
                self.note(file, Problem::at(at, "another file says this already"));
            }
            self.policy.record_values = Some(raw.stages);
        }
    }

    fn reason(&mut self, file: usize, because: &Spanned<String>) {
        if because.get_ref().trim().is_empty() {
            let problem = Problem::at(because.span(), "a reason is needed here");
            self.note(file, problem.hint("for whoever reviews this in a year"));
        }
    }

    fn exception(&mut self, file: usize, raw: Spanned<RawException>) {
        let origin = self.origin(file, raw.span());
        let raw = raw.into_inner();
        self.reason(file, &raw.because);
        self.set_name(file, &raw.set);
        let who = self.who(file, &raw.who);
        let until = Moment::from_toml(raw.until.get_ref());
        if until.is_none() {
            let problem = Problem::at(raw.until.span(), "this is no day and no instant");
            let hint = "a day lasts until its end in UTC: until = 2027-01-31; an instant needs its offset: 2027-01-31T17:00:00+01:00";
            self.note(file, problem.hint(hint));
        }
        let (mut columns, mut columns_at) = (Vec::new(), Vec::new());
        for column in raw.columns.get_ref() {
            if let Some(name) = self.excepted_column(file, column) {
                columns.push(name);
                columns_at.push(self.origin(file, column.span()));
            }
        }
        if raw.columns.get_ref().is_empty() {
            let message = "an exception needs at least one column";
            self.note(file, Problem::at(raw.columns.span(), message));
        }
        let set = raw.set.get_ref();
        let other = self.policy.grants.iter().find(|grant| grant.set == *set);
        if let Some(first) = other
            && first.who != who
        {
            let message = format!("the set `{set}` is for others at {}", first.origin.place);
            let hint = "a set has the same `who` wherever it stands; give this one another name";
            self.note(file, Problem::at(raw.who.span(), message).hint(hint));
        }
        let Some(until) = until else { return };
        if until < self.now {
            let problem = Problem::at(raw.until.span(), "this exception has ended");
            let hint = "it opens nothing any more; take it out, or extend it with a new reason";
            self.warnings.push((file, problem.hint(hint)));
        }
        self.policy.grants.push(Grant {
            set: set.clone(),
            who,
            columns,
            until,
            reason: raw.because.into_inner(),
            origin,
            columns_at,
        });
    }

    fn set_name(&mut self, file: usize, set: &Spanned<String>) {
        let text = set.get_ref();
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        let goes_on = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !begins || !text.chars().all(goes_on) || text.len() > SET_LENGTH {
            let message = format!("`{text}` cannot name a set of exceptions");
            let hint = format!(
                "it becomes part of a role's name: lower-case letters, digits and _, at most {SET_LENGTH}"
            );
            self.note(file, Problem::at(set.span(), message).hint(hint));
        }
    }

    fn who(&mut self, file: usize, raw: &Spanned<Vec<Spanned<String>>>) -> BTreeSet<String> {
        let mut who = BTreeSet::new();
        for name in raw.get_ref() {
            let bare = name.get_ref().strip_prefix('@').unwrap_or(name.get_ref());
            if bare.trim().is_empty() || bare.contains('*') {
                let problem =
                    Problem::at(name.span(), "this names neither a developer nor a group");
                let hint = "for example \"dev1\", or \"@support\" for a group; an exception is never for everybody";
                self.note(file, problem.hint(hint));
            }
            if !who.insert(name.get_ref().clone()) {
                self.note(file, Problem::at(name.span(), "this stands here twice"));
            }
        }
        if who.is_empty() {
            let problem = Problem::at(raw.span(), "an exception is for somebody");
            self.note(file, problem.hint("who = [\"dev1\", \"@support\"]"));
        }
        who
    }

    fn excepted_column(
        &mut self,
        file: usize,
        column: &Spanned<String>,
    ) -> Option<(String, String, String)> {
        let parts = dotted(column.get_ref());
        let Some([schema, relation, name]) = parts.as_deref() else {
            let message = format!("`{}` names no column", column.get_ref());
            let hint = "as schema.table.column; a part with a dot in it in double quotes";
            self.note(file, Problem::at(column.span(), message).hint(hint));
            return None;
        };
        if name.contains('*') || relation.contains('*') {
            let problem = Problem::at(column.span(), "an exception names each of its columns");
            self.note(file, problem);
            return None;
        }
        let decision = self.policy.column(schema, relation, name);
        match decision.treatment {
            Treatment::Mask(_) => {}
            Treatment::Clear => {
                let message = format!(
                    "{schema}.{relation}.{name} is clear for everybody ({})",
                    decision.because
                );
                let warning = Problem::at(column.span(), message);
                self.warnings
                    .push((file, warning.hint("the exception is not needed")));
            }
            Treatment::Deny => {
                let message = format!(
                    "{schema}.{relation}.{name} is denied ({}), so nobody can be shown it",
                    decision.because
                );
                let hint = format!(
                    "a column that is not in the view cannot be excepted: mask it for the others, for example {name} = \"null\""
                );
                self.note(file, Problem::at(column.span(), message).hint(hint));
            }
        }
        Some((schema.clone(), relation.clone(), name.clone()))
    }

    fn case(&mut self, file: usize, raw: Spanned<RawCase>) {
        let origin = self.origin(file, raw.span());
        let raw = raw.into_inner();
        let span = raw.expect.span();
        let expect = match raw.expect.into_inner() {
            RawExpect::All(word) if word == "denied" => Some(Expect::Denied),
            RawExpect::All(word) => self.seen(file, &span, &word, true).map(Expect::All),
            RawExpect::Columns(columns) => {
                let seen: BTreeMap<String, Seen> = columns
                    .into_iter()
                    .filter_map(|(name, word)| Some((name, self.seen(file, &span, &word, false)?)))
                    .collect();
                if seen.is_empty() {
                    let problem = Problem::at(span, "this expects nothing of any column");
                    self.note(file, problem);
                }
                Some(Expect::Columns(seen))
            }
        };
        let name = raw.name.get_ref();
        if let Some(first) = self.policy.cases.iter().find(|case| case.name == *name) {
            let message = format!(
                "a case of this name stands at {} already",
                first.origin.place
            );
            self.note(file, Problem::at(raw.name.span(), message));
        }
        if raw.query.get_ref().trim().is_empty() {
            let problem = Problem::at(raw.query.span(), "a case needs a query");
            self.note(file, problem);
        }
        let Some(expect) = expect else { return };
        self.policy.cases.push(Case {
            name: raw.name.into_inner(),
            query: raw.query.into_inner(),
            developer: raw.who.map(Spanned::into_inner),
            groups: raw
                .groups
                .iter()
                .map(|group| group.get_ref().trim_start_matches('@').to_owned())
                .collect(),
            given: raw.given,
            expect,
            origin,
        });
    }

    fn seen(
        &mut self,
        file: usize,
        span: &std::ops::Range<usize>,
        word: &str,
        whole: bool,
    ) -> Option<Seen> {
        if let Some((_, seen)) = SEEN.iter().find(|(name, _)| *name == word) {
            return Some(*seen);
        }
        let known = SEEN.iter().map(|(name, _)| *name);
        let (known, words): (Vec<&str>, &str) = if whole {
            (
                known.chain(["denied"]).collect(),
                "clear, masked, null or denied",
            )
        } else {
            (known.collect(), "clear, masked or null")
        };
        let message = format!("`{word}` is not what can come back: {words}");
        let problem = Problem::at(span.clone(), message);
        self.note(file, hinted(problem, did_you_mean(word, known)));
        None
    }
}

/// With single spaces.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of `a.b."c.d"`; None if a quote does not end or a part is empty.
pub(super) fn dotted(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                parts.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            _ => parts.last_mut()?.push(c),
        }
    }
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}
