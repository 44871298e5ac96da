//! Own cells: what a sandbox wrote itself reads back as written, what it merely touched stays masked.
//!
//! A view shows a cell's mask only if its row version was written by somebody else, or if a note says that the
//! sandbox carried it over; the real cell only if a note says that the developer wrote it; else NULL. Notes are
//! written by triggers on the user's table ([`Notes`]), per row *version*: keys, swapped or made anew, play no part.
//! So nothing that was written in a sandbox goes through the keyed mask, and a trigger that does not fire closes.
//!
//! What a note must never do is call a real value the developer's own. Where a value can come from application
//! code or from the old row, there are no own cells: see [`Facts::notes`].

use sha2::{Digest, Sha256};

use super::facts::Facts;
use crate::seal::Names;
use crate::seal::close::literal;

/// The tables and functions behind the notes; with `@readers@` and `@writers@`, run as the sealing role.
pub(in crate::seal) const OWN_SQL: &str = include_str!("own.sql");

/// What the names of the seal's triggers begin with: they fire before the application's own.
pub(super) const TRIGGER_PREFIX: &str = "!devinprod_";

/// The trigger functions that all tables share.
const SHARED: &str = "devinprod.noted_insert(), devinprod.noted_assignment(), devinprod.noted_departure(), devinprod.counted_guess()";

/// The longest name that Postgres keeps, in bytes.
const LONGEST: usize = 63;

/// The notes of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::seal) struct Notes {
    /// Its trigger function; run as the sealing role, after [`OWN_SQL`].
    pub functions: String,
    /// Its triggers, those of an earlier seal dropped; run as somebody who may make triggers on it.
    pub triggers: String,
    /// Takes back what the making of the triggers needed; run as the sealing role.
    pub done: String,
    /// Why what a developer writes into a column reads back as NULL: column and reason.
    pub closed: Vec<(String, String)>,
    /// The columns that read back.
    ownable: Vec<String>,
}

impl Notes {
    /// The value of a masked column of the relation `t` (a table that can be written to), as SQL without its cast;
    /// `mask` is the SQL of the synthetic value.
    pub fn cell(&self, column: &str, mask: &str) -> String {
        let field = literal(column);
        // Rows of an age ago may look young, too; the function knows better. What was never written by a
        // transaction as young as this one needs no look at the notes.
        let mut sql = format!(
            "CASE pg_catalog.age(t.xmin) > 0 OR devinprod.is_real(t.xmin, t.tableoid, t.ctid, {field}) \
             WHEN true THEN {mask}"
        );
        if self.ownable.iter().any(|own| own == column) {
            sql.push_str(&format!(" WHEN false THEN t.{}", quoted(column)));
        }
        sql.push_str(" END");
        sql
    }
}

impl Facts {
    /// The notes of this table for its masked columns; `vouches` says whether the owner vouches for a piece of code.
    ///
    /// No own cells for: generated columns; columns whose default calls application code; tables that rules write
    /// to, or that have a BEFORE ROW trigger of the application. Of a column that can be assigned in part (an array,
    /// jsonb, a composite), an UPDATE makes an own cell only of an own cell: the rest may be the old value.
    pub(in crate::seal) fn notes(
        &self,
        masked: &[&str],
        subjects: &[(&str, &str)],
        vouches: impl Fn(&str) -> bool,
        names: &Names,
    ) -> Notes {
        let mut notes = Notes::default();
        let unvouched = |code: &[String]| code.iter().find(|code| !vouches(code)).cloned();
        let ruled = unvouched(&self.rules);
        let inserted = unvouched(&self.before_insert);
        let updated = unvouched(&self.before_update);
        for column in masked {
            let why = match self.columns.get(*column) {
                None => Some("it is new".to_owned()),
                Some(facts) if facts.generated => Some("it is generated".to_owned()),
                Some(facts) => unvouched(&facts.default_code)
                    .map(|code| format!("its default calls {code}, for which nobody vouches"))
                    .or_else(|| {
                        ruled
                            .as_ref()
                            .map(|rule| format!("{rule} may write here, and nobody vouches for it"))
                    })
                    .or_else(|| {
                        (inserted.is_some() && updated.is_some())
                            .then_some(inserted.as_ref())
                            .flatten()
                            .map(|code| format!("{code} may change it, and nobody vouches for it"))
                    }),
            };
            match why {
                Some(why) => notes.closed.push(((*column).to_owned(), why)),
                None => notes.ownable.push((*column).to_owned()),
            }
        }
        for name in &self.triggers {
            notes.triggers.push_str(&format!(
                "DROP TRIGGER {} ON {};\n",
                quoted(name),
                self.identity
            ));
        }
        if masked.is_empty() {
            return notes;
        }
        // Only while its triggers are made: nobody else is to make one with these functions.
        let mut used = SHARED.to_owned();
        if !self.partition {
            let function = self.function();
            notes.functions =
                self.update_function(masked, subjects, &notes.ownable, updated.is_some());
            let insertable: &[String] = if inserted.is_some() {
                &[]
            } else {
                &notes.ownable
            };
            let triggers = self.row_triggers(masked, insertable, names);
            notes.triggers.push_str(&triggers);
            used.push_str(&format!(", {function}()"));
        }
        notes.functions.push_str(&format!(
            "GRANT EXECUTE ON FUNCTION {used} TO SESSION_USER;\n"
        ));
        notes.done = format!("REVOKE EXECUTE ON FUNCTION {used} FROM SESSION_USER;\n");
        if let Some(root) = &self.root {
            // On each partition, too: these fire only on the table that a statement names.
            notes.triggers.push_str(&format!(
                "CREATE TRIGGER \"{TRIGGER_PREFIX}arrived\" AFTER DELETE OR UPDATE ON {} FOR EACH STATEMENT \
                 WHEN ({}) EXECUTE FUNCTION devinprod.noted_departure({});\n",
                self.identity,
                developer(names),
                literal(root)
            ));
        }
        notes
    }

    /// Its trigger function, as SQL.
    fn function(&self) -> String {
        format!("devinprod.{}", quoted(&function_name(&self.identity)))
    }

    fn row_triggers(&self, masked: &[&str], insertable: &[String], names: &Names) -> String {
        let (table, function, developer) = (&self.identity, self.function(), developer(names));
        // A statement of the developer's own, not of a function that runs with its owner's rights, nor of a trigger.
        let trusted = "current_user OPERATOR(pg_catalog.=) session_user AND pg_catalog.pg_trigger_depth() \
                       OPERATOR(pg_catalog.=) 0";
        let mut sql = String::new();
        let mut trigger = |name: &str, event: &str, when: &str, call: &str| {
            sql.push_str(&format!(
                "CREATE TRIGGER \"{TRIGGER_PREFIX}{name}\" AFTER {event} ON {table} FOR EACH ROW \
                 WHEN ({when}) EXECUTE FUNCTION {call};\n"
            ));
        };
        if !insertable.is_empty() {
            let root = self
                .root
                .as_ref()
                .map_or_else(String::new, |root| format!(", {}", literal(root)));
            trigger(
                "insert",
                "INSERT",
                &format!("{developer} AND {trusted}"),
                &format!(
                    "devinprod.noted_insert({}{root})",
                    literal(&array_text(insertable))
                ),
            );
        }
        for (number, column) in masked.iter().enumerate() {
            trigger(
                &format!("update_1_{number:04}"),
                &format!("UPDATE OF {}", quoted(column)),
                &developer,
                &format!("devinprod.noted_assignment({})", literal(column)),
            );
        }
        trigger(
            "update_2_own",
            "UPDATE",
            &format!("{developer} AND {trusted}"),
            &format!("{function}('true')"),
        );
        trigger(
            "update_2_other",
            "UPDATE",
            &format!("{developer} AND NOT ({trusted})"),
            &format!("{function}('false')"),
        );
        let unique: Vec<String> = masked
            .iter()
            .filter(|column| self.columns.get(**column).is_some_and(|facts| facts.unique))
            .map(|column| quoted(column))
            .collect();
        if !unique.is_empty() {
            trigger(
                "guess",
                &format!("INSERT OR UPDATE OF {}", unique.join(", ")),
                &developer,
                "devinprod.counted_guess()",
            );
        }
        if let Some(root) = &self.root {
            trigger(
                "departure",
                "DELETE",
                &developer,
                &format!("devinprod.noted_departure({})", literal(root)),
            );
        }
        sql
    }

    /// The function that runs last for each updated row: from what the statement named, what changed, and what was
    /// noted of the old version, it notes what the new one holds.
    ///
    /// `guarded`: a trigger that nobody vouches for may have changed the row.
    fn update_function(
        &self,
        masked: &[&str],
        subjects: &[(&str, &str)],
        ownable: &[String],
        guarded: bool,
    ) -> String {
        let function = self.function();
        let all: Vec<String> = masked.iter().map(|&column| column.to_owned()).collect();
        let mut body = format!(
            "DECLARE
    trusted pg_catalog.bool := TG_ARGV[0];
    plain pg_catalog.bool := false;
    trace pg_catalog.text;
    file pg_catalog.oid := pg_catalog.pg_relation_filenode(NEW.tableoid);
    named pg_catalog.text[];
    kept_before pg_catalog.text[];
    own_before pg_catalog.text[];
    kept pg_catalog.text[] := '{{}}';
    own pg_catalog.text[] := '{{}}';
BEGIN
    named := ARRAY(SELECT a.field FROM devinprod.assigned a
        WHERE a.relation = NEW.tableoid AND a.version = NEW.ctid AND a.storage = file);
    SELECT w.kept, w.own INTO kept_before, own_before FROM devinprod.written w
    WHERE w.relation = OLD.tableoid AND w.version = OLD.ctid AND w.storage = file;
    IF NOT FOUND THEN
        own_before := '{{}}';
        kept_before := CASE WHEN pg_catalog.age(OLD.xmin) <= 0 AND devinprod.ours(OLD.xmin)
            THEN '{{}}' ELSE {} END;
    END IF;
    IF trusted AND named <> '{{}}' THEN
        GET DIAGNOSTICS trace = PG_CONTEXT;
        plain := devinprod.plainly(trace);
    END IF;
",
            array(&all)
        );
        if guarded {
            body.push_str(
                "    -- A trigger may make one masked column from another: whether it stayed the same would tell.\n    \
                 IF named <> '{}' THEN\n        kept_before := '{}';\n    END IF;\n",
            );
        }
        for column in masked {
            let field = format!("{}::pg_catalog.text", literal(column));
            let name = quoted(column);
            let facts = self.columns.get(*column);
            let becomes_own =
                ownable.iter().any(|own| own == column) && facts.is_some_and(|facts| !facts.parts);
            let fresh = if becomes_own { "plain OR " } else { "" };
            let assigned = if guarded {
                "false".to_owned()
            } else {
                format!("trusted AND ({fresh}{field} = ANY (own_before))")
            };
            // Under another subject the mask of the same value is another one: two of them tell the value.
            let same_subject = subjects
                .iter()
                .filter(|(of, _)| of == column)
                .map(|(_, subject)| {
                    let subject = quoted(subject);
                    format!(
                        " AND pg_catalog.record_image_eq(ROW(NEW.{subject}), ROW(OLD.{subject}))"
                    )
                })
                .collect::<String>();
            body.push_str(&format!(
                "    IF {field} = ANY (named) THEN
        IF {assigned} THEN
            own := own || {field};
        END IF;
    ELSIF pg_catalog.record_image_eq(ROW(NEW.{name}), ROW(OLD.{name})) THEN
        IF {field} = ANY (kept_before){same_subject} THEN
            kept := kept || {field};
        ELSIF {field} = ANY (own_before) THEN
            own := own || {field};
        END IF;
    END IF;
"
            ));
        }
        body.push_str(
            "    INSERT INTO devinprod.written AS w (relation, version, storage, kept, own)
    VALUES (NEW.tableoid, NEW.ctid, file, kept, own)
    ON CONFLICT ON CONSTRAINT written_pkey DO UPDATE SET kept = excluded.kept, own = excluded.own;
    RETURN NULL;
END",
        );
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS {};
REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
",
            literal(&body)
        )
    }
}

/// Whether who is at work is a developer role, which nothing in a session can change.
fn developer(names: &Names) -> String {
    format!(
        "pg_catalog.starts_with(session_user::pg_catalog.text, {})",
        literal(names.prefix())
    )
}

/// The name of a table's trigger function, unquoted.
fn function_name(identity: &str) -> String {
    let plain = format!("noted_update {identity}");
    if plain.len() <= LONGEST {
        return plain;
    }
    let digest: String = Sha256::digest(identity)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut kept = String::new();
    for character in plain.chars() {
        if kept.len() + character.len_utf8() + 1 + digest.len() > LONGEST {
            break;
        }
        kept.push(character);
    }
    format!("{kept}~{digest}")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn array(fields: &[String]) -> String {
    let list: Vec<String> = fields.iter().map(|field| literal(field)).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", list.join(", "))
}

/// An array as Postgres reads it from text.
fn array_text(fields: &[String]) -> String {
    let list: Vec<String> = fields
        .iter()
        .map(|field| format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", list.join(","))
}
