//! A hostile caller of masked views: whatever stands in their search_path, the mask functions never hand them a value.

use crate::harness::{self, TestDatabase};
use crate::synth_kit::{Masks, column, mask, rows_of};

/// Each mask once, on a type of its own.
const MASKS: &[(&str, &str, &str, &str)] = &[
    ("person_name", "", "text", "'Grace Hopper'"),
    ("email", "", "text", "'grace@navy.mil'"),
    ("email", "", "character varying(30)", "'grace@navy.mil'"),
    ("user_name", "", "text", "'ghopper'"),
    ("password_hash", "", "text", "'$2b$12$abc'"),
    ("phone", "", "text", "'+1 202 555 0123'"),
    ("street", "", "text", "'1 Navy Yard'"),
    ("city", "", "text", "'New York'"),
    ("postcode", "", "text", "'SW1A 1AA'"),
    ("country", "", "text", "'Norway'"),
    ("company", "", "text", "'Remington Rand'"),
    ("url", "", "text", "'https://navy.mil/grace'"),
    ("ip", "", "inet", "'192.168.1.17'"),
    ("mac", "", "macaddr", "'08:00:2b:01:02:03'"),
    ("uuid", "", "uuid", "'6b1f1c7a-0c0d-4a51-9d2c-1b2f3d4e5f60'"),
    ("card", "", "text", "'4111 1111 1111 1111'"),
    ("iban", "", "text", "'GB82 WEST 1234 5698 7654 32'"),
    ("national_id", "", "text", "'078-05-1120'"),
    ("national_id", "country = 'es'", "text", "'078-05-1120'"),
    ("date", "", "date", "'1906-12-09'"),
    (
        "date",
        "",
        "timestamp with time zone",
        "'1906-12-09 10:11:12+00'",
    ),
    (
        "date_shift",
        "subject = 's'",
        "timestamp without time zone",
        "'1906-12-09 10:11:12'",
    ),
    (
        "date_coarse",
        "",
        "timestamp with time zone",
        "'1906-12-09 10:11:12+00'",
    ),
    ("number", "", "numeric(12,2)", "84000.50"),
    ("number", "min = 1\nmax = 9", "integer", "84000"),
    ("number_bucket", "size = 1000", "integer", "84321"),
    (
        "text",
        "",
        "text",
        "'Grace found the first bug in a relay of the machine.'",
    ),
    (
        "json",
        "",
        "jsonb",
        "'{\"a\": [\"Grace\", {\"b\": 84000}], \"c\": \"grace@navy.mil\"}'",
    ),
    (
        "json",
        "",
        "json",
        "'{\"a\": [\"Grace\", {\"b\": 84000}], \"c\": \"grace@navy.mil\"}'",
    ),
    ("bytea", "", "bytea", "'\\x4772616365'"),
    ("partial", "", "text", "'4111 1111 1111 1111'"),
    ("hash", "", "text", "'a token'"),
    ("email", "", "text[]", "'{grace@navy.mil,hopper@navy.mil}'"),
];

/// What everybody may do in a sandbox: a schema in front of pg_catalog with functions, operators, casts and domains of
/// the names that the masks use, each of which keeps what it is handed.
const TRAPS: &str = r"
CREATE SCHEMA evil;
CREATE TABLE evil.loot (got text);
GRANT ALL ON SCHEMA evil TO PUBLIC;
GRANT ALL ON evil.loot TO PUBLIC;
CREATE FUNCTION evil.keep(got text) RETURNS void LANGUAGE sql AS 'INSERT INTO evil.loot VALUES (got)';
";

#[tokio::test]
async fn a_hostile_search_path_is_never_looked_at_on_15() {
    hostile(harness::database().await).await;
}

#[tokio::test]
async fn a_hostile_search_path_is_never_looked_at_on_18() {
    if let Some(database) = harness::postgres18().await {
        hostile(database).await;
    }
}

async fn hostile(database: TestDatabase) {
    let masks = Masks::new(database).await;
    let mut query = Vec::new();
    for (at, (name, parameters, sql_type, value)) in MASKS.iter().enumerate() {
        masks
            .view(
                &at.to_string(),
                &mask(name, parameters),
                &column(sql_type),
                &[(*value).to_owned()],
            )
            .await;
        query.push(format!(
            "SELECT {at}, c::pg_catalog.text COLLATE pg_catalog.\"C\" FROM public.v_{at}"
        ));
    }
    let query = query.join(" UNION ALL ");
    let quiet = rows_of(&masks.connect_reader().await, &query).await;
    assert_eq!(quiet.len(), MASKS.len());
    masks.admin.batch_execute(TRAPS).await.unwrap();
    let traps = set_traps(&masks).await;
    assert!(traps > 400, "only {traps} traps");
    let reader = masks.connect_reader().await;
    reader
        .batch_execute("SET search_path = evil, pg_temp, pg_catalog, public")
        .await
        .unwrap();
    // The traps do work: without a schema, each name is the attacker's.
    rows_of(
        &reader,
        "SELECT lower('a caught one'), 'b'::text || 'c'::text",
    )
    .await;
    let caught = rows_of(&masks.admin, "SELECT count(*) FROM evil.loot").await;
    assert!(
        caught[0][0].as_deref().unwrap().parse::<i32>().unwrap() >= 2,
        "{caught:?}"
    );
    masks
        .admin
        .batch_execute("TRUNCATE evil.loot")
        .await
        .unwrap();

    let hostile = rows_of(&reader, &query).await;
    assert_eq!(hostile, quiet);
    let loot = rows_of(&masks.admin, "SELECT DISTINCT got FROM evil.loot").await;
    assert!(loot.is_empty(), "{loot:?}");
}

/// A twin in the schema `evil` of every function and operator of pg_catalog that a mask might use by name, and temporary
/// domains of the names of types. Returns how many there are.
async fn set_traps(masks: &Masks) -> usize {
    let twins = rows_of(
        &masks.admin,
        r"SELECT format('CREATE FUNCTION evil.%I(%s) RETURNS %s VOLATILE LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.keep(%L || coalesce($1::pg_catalog.text, %L)); RETURN pg_catalog.%I(%s); END $f$',
                p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), p.proname || ' ', 'NULL', p.proname,
                (SELECT string_agg('$' || i, ', ') FROM generate_series(1, p.pronargs) AS i))
          FROM pg_proc p
          WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.pronargs > 0
              AND p.provariadic = 0
              AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) AS a (t) JOIN pg_type y ON y.oid = a.t
                  WHERE y.typtype = 'p' AND y.typname NOT IN ('anyarray', 'anyelement'))
              AND p.proargmodes IS NULL
              AND p.proname IN ('lower', 'upper', 'btrim', 'left', 'right', 'sha256', 'convert_to', 'encode', 'decode', 'get_byte',
                  'substr', 'substring', 'length', 'strpos', 'translate', 'replace', 'regexp_replace', 'to_char', 'lpad', 'repeat',
                  'date_trunc', 'timezone', 'isfinite', 'abs', 'trunc', 'floor', 'scale', 'trim_scale', 'date_send',
                  'timestamp_send', 'timestamptz_send', 'jsonb_typeof', 'to_jsonb', 'starts_with', 'reverse', 'chr', 'ascii', 'text',
                  'cardinality', 'array_length', 'overlay', 'unnest', 'string_to_array', 'jsonb_each', 'uuid_send', 'varchar', 'bpchar', 'numeric',
                  'int4', 'int8', 'host', 'network', 'like', 'textcat', 'md5')",
    )
    .await;
    let operators = rows_of(
        &masks.admin,
        r"SELECT format('CREATE FUNCTION evil.%I(a %s, b %s) RETURNS %s VOLATILE LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.keep(%L::pg_catalog.text OPERATOR(pg_catalog.||) a::pg_catalog.text); RETURN a OPERATOR(pg_catalog.%s) b; END $f$; CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.%I)',
                'op_' || o.oid, o.oprleft::regtype, o.oprright::regtype, o.oprresult::regtype, o.oprname || ' ', o.oprname,
                o.oprname, o.oprleft::regtype, o.oprright::regtype, 'op_' || o.oid)
          FROM pg_operator o JOIN pg_type l ON l.oid = o.oprleft JOIN pg_type r ON r.oid = o.oprright
          WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND l.typtype = 'b' AND r.typtype = 'b'
              AND l.typname IN ('text', 'bytea', 'int4', 'int8', 'numeric', 'date', 'timestamp', 'timestamptz', 'jsonb', 'name', 'bool', 'interval', 'float8')
              AND o.oprresult <> 0 AND o.oprcode <> 0",
    )
    .await;
    let mut set = 0;
    for statement in twins.iter().chain(&operators) {
        let statement = statement[0].as_deref().unwrap();
        // Some have no twin (SQL gives them no name to call them by); most do.
        set += usize::from(masks.admin.batch_execute(statement).await.is_ok());
    }
    for name in [
        "text",
        "bytea",
        "int4",
        "int8",
        "numeric",
        "jsonb",
        "date",
        "timestamp",
        "name",
        "uuid",
        "inet",
        "bool",
    ] {
        masks
            .admin
            .batch_execute(&format!(
                "CREATE DOMAIN evil.{name} AS pg_catalog.{name} CHECK (evil.keep(VALUE::pg_catalog.text) IS NOT NULL OR true)"
            ))
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        set += 1;
    }
    masks
        .admin
        .batch_execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evil TO PUBLIC")
        .await
        .unwrap();
    set
}

/// The functions are of no use without the key, and the key is nobody's.
#[tokio::test]
async fn the_key_is_read_by_nobody() {
    let masks = Masks::new(harness::database().await).await;
    masks
        .view(
            "mail",
            &mask("email", ""),
            &column("text"),
            &["'grace@navy.mil'".to_owned()],
        )
        .await;
    let reader = masks.connect_reader().await;
    for statement in [
        "SELECT key FROM devinprod.mask_key",
        "SELECT 1 FROM devinprod.mask_key",
        "SELECT devinprod.mask_email('grace@navy.mil', (SELECT key FROM devinprod.mask_key))",
        "COPY devinprod.mask_key TO STDOUT",
        "UPDATE devinprod.mask_key SET key = ''",
        "INSERT INTO devinprod.mask_key (key) VALUES ('')",
    ] {
        let error = reader.simple_query(statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{statement}");
    }
    let key = rows_of(
        &masks.admin,
        "SELECT encode(key, 'hex') FROM devinprod.mask_key",
    )
    .await;
    let key = key[0][0].clone().unwrap();
    reader
        .batch_execute("SET client_min_messages = debug5; SET debug_print_plan = on")
        .await
        .unwrap();
    let plan = rows_of(
        &reader,
        "EXPLAIN (ANALYZE, VERBOSE) SELECT c FROM public.v_mail WHERE c <> ''",
    )
    .await;
    let plan: String = plan.into_iter().flatten().flatten().collect();
    assert!(plan.contains("mask_email"), "{plan}");
    assert!(
        !plan.contains(&key) && !plan.contains("grace@navy"),
        "{plan}"
    );
    // Who is neither owner nor reader calls nothing.
    masks
        .admin
        .batch_execute(&format!(
            "CREATE ROLE {0}_other; SET ROLE {0}_other",
            masks.database.name
        ))
        .await
        .unwrap();
    let count = rows_of(
        &masks.admin,
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'devinprod'::regnamespace AND has_function_privilege(oid, 'EXECUTE')",
    )
    .await;
    assert_eq!(count[0][0].as_deref(), Some("0"));
}
