//! TRUNCATE as DELETE: a sandbox must not take ACCESS EXCLUSIVE on a table that others use.

use crate::sql::statement::RelationName;
use crate::upstream::command::literal;

/// A DO block that empties the tables. Tables that the sandbox made itself are really truncated.
pub fn as_delete(
    text: &str,
    tables: &[(RelationName, bool)],
    restart_identity: bool,
    cascade: bool,
) -> String {
    let array = |values: Vec<String>| format!("ARRAY[{}]", values.join(", "));
    let names = array(
        tables
            .iter()
            .map(|(t, _)| literal(text.get(t.span.clone()).unwrap_or("")))
            .collect(),
    );
    let only = array(tables.iter().map(|(_, only)| only.to_string()).collect());
    block(&format!(
        "DECLARE names text[] := {names}::text[]; only_ones bool[] := {only}::bool[]; \
         restart bool := {restart_identity}; cascades bool := {cascade}; {BODY}"
    ))
}

/// A DO statement of this body, which may have names of the client's in it.
pub(super) fn block(body: &str) -> String {
    let mut tag = "devinprod".to_owned();
    while body.contains(&format!("${tag}$")) {
        tag.push('_');
    }
    format!("DO ${tag}$ {body} ${tag}$")
}

const BODY: &str = r#"
  todo oid[] := '{}'; onlys oid[] := '{}'; ready oid[]; one oid; i int; r record; own bool := true;
BEGIN
  FOR i IN 1 .. array_length(names, 1) LOOP
    one := names[i]::regclass::oid;
    todo := todo || one;
    IF only_ones[i] THEN onlys := onlys || one; END IF;
  END LOOP;
  SELECT bool_and(pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE')) INTO own
    FROM pg_catalog.pg_class c WHERE c.oid = ANY (todo);
  IF own THEN
    EXECUTE 'TRUNCATE ' || array_to_string(names, ', ')
      || CASE WHEN restart THEN ' RESTART IDENTITY' ELSE '' END || CASE WHEN cascades THEN ' CASCADE' ELSE '' END;
    RETURN;
  END IF;
  LOOP
    SELECT c.conrelid, c.confrelid INTO r FROM pg_catalog.pg_constraint c
      WHERE c.contype = 'f' AND c.confrelid = ANY (todo) AND c.conrelid <> ALL (todo) LIMIT 1;
    EXIT WHEN NOT FOUND;
    IF NOT cascades THEN
      RAISE EXCEPTION 'cannot truncate a table referenced in a foreign key constraint' USING
        ERRCODE = 'feature_not_supported',
        DETAIL = format('Table "%s" references "%s".', (SELECT relname FROM pg_catalog.pg_class WHERE oid = r.conrelid),
          (SELECT relname FROM pg_catalog.pg_class WHERE oid = r.confrelid)),
        HINT = format('Truncate table "%s" at the same time, or use TRUNCATE ... CASCADE.',
          (SELECT relname FROM pg_catalog.pg_class WHERE oid = r.conrelid));
    END IF;
    RAISE NOTICE 'truncate cascades to table "%"', (SELECT relname FROM pg_catalog.pg_class WHERE oid = r.conrelid);
    todo := todo || r.conrelid;
  END LOOP;
  IF restart THEN
    RAISE NOTICE 'RESTART IDENTITY is left out for tables that existed before the sandbox: a sequence is not undone by a rollback';
  END IF;
  WHILE array_length(todo, 1) > 0 LOOP
    SELECT array_agg(t) INTO ready FROM unnest(todo) t WHERE NOT EXISTS (
      SELECT FROM pg_catalog.pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid = t AND c.conrelid <> t AND c.conrelid = ANY (todo));
    IF ready IS NULL THEN ready := todo; END IF;
    FOREACH one IN ARRAY ready LOOP
      EXECUTE format('DELETE FROM %s%s', CASE WHEN one = ANY (onlys) THEN 'ONLY ' ELSE '' END, one::regclass);
    END LOOP;
    SELECT coalesce(array_agg(t), '{}') INTO todo FROM unnest(todo) t WHERE t <> ALL (ready);
  END LOOP;
END"#;
