//! The changeset is exact: checked against the same workload, committed on a copy.

use devinprod::changeset::Options;

use crate::changeset_kit::{Pair, contents, outside_url, read, read_by, script};
use crate::harness::{self, TestDatabase, connect, scalar};

/// Tables in the shapes that have fooled one changeset or another.
pub const TABLES: &str = r#"
    CREATE TABLE parent (id int PRIMARY KEY, name text);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
        other int REFERENCES parent ON DELETE SET NULL ON UPDATE CASCADE);
    INSERT INTO parent SELECT n, 'parent ' || n FROM generate_series(1, 20) n;
    INSERT INTO child SELECT n, 1 + n % 20, 1 + n % 7 FROM generate_series(1, 40) n;
    CREATE TABLE keyless (a int, b text);
    INSERT INTO keyless SELECT n % 3, 'same' FROM generate_series(1, 12) n;
    CREATE TABLE parts (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
    CREATE TABLE parts_us (v text, id int NOT NULL, gone int, region text NOT NULL);
    ALTER TABLE parts_us DROP COLUMN gone;
    ALTER TABLE parts ATTACH PARTITION parts_us FOR VALUES IN ('us');
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT PARTITION BY LIST (region);
    CREATE TABLE parts_other PARTITION OF parts_rest DEFAULT;
    INSERT INTO parts SELECT n, (ARRAY['eu', 'us', 'xx'])[1 + n % 3], 'v' || n FROM generate_series(1, 30) n;
    CREATE TABLE bare (id int, region text) PARTITION BY LIST (region);
    CREATE TABLE bare_eu PARTITION OF bare FOR VALUES IN ('eu');
    CREATE TABLE bare_rest PARTITION OF bare DEFAULT;
    INSERT INTO bare SELECT n % 3, (ARRAY['eu', 'us'])[1 + n % 2] FROM generate_series(1, 8) n;
    CREATE TABLE base (id int PRIMARY KEY, v text);
    CREATE TABLE derived (extra text) INHERITS (base);
    INSERT INTO base SELECT n, 'base' FROM generate_series(1, 5) n;
    INSERT INTO derived SELECT n, 'derived', 'x' FROM generate_series(1, 5) n;
    CREATE TABLE kinds (id int PRIMARY KEY, flag bool, f float8, num numeric, ch char(5), txt text, list text[], j jsonb, raw bytea,
        at timestamptz, span interval, pair point, twice numeric GENERATED ALWAYS AS (num * 2) STORED);
    INSERT INTO kinds VALUES (1, true, 'NaN', 'NaN', 'ab', E'a''\\"\n', '{a,NULL,"b,c"}', '{"a": [1, null]}', '\x00ff',
        '2024-02-29 12:00+02', '1 mon 2 days', '(1,2)'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, false, '-infinity', 1.10, '', '', '{}', 'null', '',
        'infinity', '-1 day', '(0,0)');
    CREATE SCHEMA "odd.schema";
    CREATE TABLE "odd.schema"."Odd "".table" ("a""b" int PRIMARY KEY, "select" text, "c.d" int);
    INSERT INTO "odd.schema"."Odd "".table" VALUES (1, 'x', 1), (2, 'y', 2);
    CREATE TABLE watched (id int PRIMARY KEY, v int);
    CREATE TABLE watch_log (what text, v int);
    INSERT INTO watched SELECT n, n FROM generate_series(1, 10) n;
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        INSERT INTO public.watch_log VALUES (TG_OP, coalesce(NEW.v, OLD.v));
        RETURN NULL;
    END $$;
    CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION watch();
"#;

async fn twice(version: usize) -> Option<[TestDatabase; 2]> {
    Some(match version {
        15 => [harness::database().await, harness::database().await],
        _ => [harness::postgres18().await?, harness::postgres18().await?],
    })
}

pub const WORKLOAD: &[&str] = &[
    // Cascades, updates of keys, keys exchanged.
    "DELETE FROM parent WHERE id IN (3, 4)",
    "UPDATE parent SET id = id + 100 WHERE id BETWEEN 5 AND 8",
    "UPDATE parent SET name = NULL WHERE id = 9",
    "UPDATE parent SET id = 1000 WHERE id = 10; UPDATE parent SET id = 10 WHERE id = 11; UPDATE parent SET id = 11 WHERE id = 1000",
    // Without a key: some of the same rows, and one row several times.
    "UPDATE keyless SET b = 'one' WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 1)",
    "DELETE FROM keyless WHERE ctid = (SELECT max(ctid) FROM keyless WHERE a = 1)",
    "UPDATE keyless SET b = b || '+' WHERE a = 2",
    "UPDATE keyless SET b = b || '+' WHERE a = 2",
    "INSERT INTO keyless VALUES (NULL, NULL), (NULL, NULL)",
    // Partitions: within, from one to another, to one below.
    "UPDATE parts SET v = 'w' WHERE id IN (1, 2, 3)",
    "UPDATE parts SET region = 'us' WHERE region = 'eu' AND id < 10",
    "UPDATE parts SET region = 'yy', v = 'moved' WHERE id = 14",
    "DELETE FROM parts WHERE id = 20; INSERT INTO parts VALUES (20, 'us', 'again'), (99, 'zz', 'new')",
    "UPDATE parts SET id = 500 WHERE id = 21",
    "UPDATE bare SET region = 'us' WHERE id = 1",
    "UPDATE bare SET id = 7 WHERE id = 2",
    // Inheritance.
    "UPDATE base SET v = v || '!' WHERE id = 2",
    "DELETE FROM ONLY base WHERE id = 3",
    "INSERT INTO derived VALUES (3, 'again', NULL)",
    "UPDATE derived SET extra = 'y' WHERE id = 5",
    // Values.
    "UPDATE kinds SET flag = NOT flag, f = 1.5, txt = E'\\t', list = list || '{z}' WHERE id = 1",
    "UPDATE kinds SET num = 1.1, ch = 'b' WHERE id = 3",
    "INSERT INTO kinds (id, ch, raw) VALUES (4, 'x  ', '\\xdeadbeef')",
    "UPDATE kinds SET j = NULL, num = num WHERE id = 2",
    r#"UPDATE "odd.schema"."Odd "".table" SET "select" = 'z' WHERE "a""b" = 1"#,
    r#"INSERT INTO "odd.schema"."Odd "".table" VALUES (3, NULL, NULL)"#,
    // Triggers.
    "UPDATE watched SET v = v + 1 WHERE id < 4",
    "DELETE FROM watched WHERE id = 5",
    // Inserted, updated, deleted; rolled back; nothing in the end.
    "INSERT INTO watched VALUES (50, 1); UPDATE watched SET v = 2 WHERE id = 50; DELETE FROM watched WHERE id = 50",
    "BEGIN; UPDATE watched SET v = 0 WHERE id = 7; SAVEPOINT a; UPDATE watched SET v = 1 WHERE id = 8; DELETE FROM watched WHERE id = 9;
     ROLLBACK TO a; UPDATE watched SET v = 5 WHERE id = 8; COMMIT",
    "BEGIN; DELETE FROM watched; ROLLBACK",
    "UPDATE watched SET v = v WHERE id = 10",
    "INSERT INTO watched VALUES (1, 1)",
    // Upserts, MERGE.
    "INSERT INTO parent VALUES (1, 'up'), (200, 'in') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "INSERT INTO parent VALUES (2, 'no') ON CONFLICT DO NOTHING",
    "MERGE INTO parent p USING (VALUES (12, 'merged'), (13, NULL), (300, 'made')) AS s (id, name) ON p.id = s.id
     WHEN MATCHED AND s.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name
     WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name)",
    // Deleted and inserted again.
    "DELETE FROM parent WHERE id = 14; INSERT INTO parent VALUES (14, 'parent 14')",
    "DELETE FROM parent WHERE id = 15; INSERT INTO parent VALUES (15, 'another')",
    // The harness' own.
    "UPDATE accounts SET settings = '{\"a\": 1}', balance = 5 WHERE id = 3",
    "DELETE FROM orders WHERE id = 60",
    "TRUNCATE order_log",
    "UPDATE orders SET status = 'paid' WHERE id < 5",
    // What the sandbox made.
    "CREATE TABLE made (id int PRIMARY KEY, v text); INSERT INTO made SELECT n, 'm' || n FROM generate_series(1, 5) n",
    "UPDATE made SET v = 'u' WHERE id = 2; DELETE FROM made WHERE id = 3",
    "CREATE TABLE emptied (id int); INSERT INTO emptied VALUES (1); TRUNCATE emptied; INSERT INTO emptied VALUES (2)",
    "CREATE TEMP TABLE scratch AS SELECT 1 AS one",
];

async fn whole(version: usize) {
    let Some(databases) = twice(version).await else {
        return;
    };
    let pair = Pair::new(databases, TABLES).await;
    let nothing = pair.check(&[]).await;
    assert!(nothing.tables.is_empty());
    let changes = pair.check(WORKLOAD).await;
    // What belongs together is told together.
    let parents = changes.of("parent");
    for line in [
        "~5,parent 5>105,parent 5",
        "~10,parent 10>11,parent 10",
        "~11,parent 11>10,parent 11",
        "~15,parent 15>15,another",
        "-3,parent 3",
        "-13,parent 13",
        "+300,made",
    ] {
        assert!(parents.contains(&line.to_owned()), "{line}: {parents:#?}");
    }
    assert!(!parents.iter().any(|line| line.contains("parent 14")));
    assert!(
        changes
            .of("keyless")
            .contains(&"~2,same>2,same++".to_owned())
    );
    assert!(changes.of("bare").contains(&"~2,eu>7,eu".to_owned()));
    // A row that moves is deleted here and inserted there, where no key says otherwise.
    assert!(
        changes.of("bare").contains(&"-1,us".to_owned())
            || changes.of("bare").contains(&"-1,eu".to_owned())
    );
    assert!(
        changes.of("parts").contains(&"~1,us,v1>1,us,w".to_owned()),
        "{:?}",
        changes.of("parts")
    );
    assert_eq!(changes.of("emptied"), ["+2"]);
    assert_eq!(changes.of("scratch"), [] as [&str; 0]);
    // Played into another copy, the script makes of it what the committed workload made.
    let copy = match version {
        15 => harness::database().await,
        _ => harness::postgres18().await.unwrap(),
    };
    let copy = copy.connect().await;
    copy.batch_execute(TABLES).await.unwrap();
    let script = script(&changes);
    copy.batch_execute(&script)
        .await
        .unwrap_or_else(|error| panic!("{error:?}\n{script}"));
    assert_eq!(contents(&copy).await, contents(&pair.plain).await);
}

#[tokio::test]
async fn everything_that_sql_can_do_to_rows() {
    whole(15).await;
}

#[tokio::test]
async fn everything_that_sql_can_do_to_rows_on_18() {
    whole(18).await;
}

#[tokio::test]
async fn what_others_do_meanwhile_is_no_change_of_ours() {
    let pair = Pair::new(twice(15).await.unwrap(), TABLES).await;
    let sealed = &pair.proxy.database;
    pair.developer
        .batch_execute(
            "UPDATE parent SET name = 'ours' WHERE id = 1; DELETE FROM watched WHERE id = 1; INSERT INTO keyless VALUES (9, 'ours');
             UPDATE keyless SET b = 'ours' WHERE a = 0",
        )
        .await
        .unwrap();
    let expected = |changes: &crate::changeset_kit::Changeset, when: &str| {
        assert_eq!(changes.of("parent"), ["~1,parent 1>1,ours"], "{when}");
        assert_eq!(changes.of("watched"), ["-1,1"], "{when}");
        assert_eq!(changes.of("watch_log"), ["+DELETE,1"], "{when}");
        let mut keyless = vec!["+9,ours"];
        keyless.extend(["~0,same>0,ours"; 4]);
        assert_eq!(changes.of("keyless"), keyless, "{when}");
        assert_eq!(changes.tables.len(), 4, "{when}");
    };
    // Locked by several at once, changed and not committed, rolled back.
    let (locks, more, open) = (
        sealed.connect().await,
        sealed.connect().await,
        sealed.connect().await,
    );
    for client in [&locks, &more] {
        client
            .batch_execute(
                "BEGIN; SELECT FROM parent WHERE id BETWEEN 1 AND 6 FOR KEY SHARE; SELECT FROM watched WHERE id > 5 FOR SHARE",
            )
            .await
            .unwrap();
    }
    open.batch_execute(
        "BEGIN; UPDATE watched SET v = 99 WHERE id = 3; DELETE FROM keyless WHERE a = 1; INSERT INTO watched VALUES (70, 1)",
    )
    .await
    .unwrap();
    more.batch_execute("SAVEPOINT a; UPDATE parent SET name = 'no' WHERE id = 4; ROLLBACK TO a")
        .await
        .unwrap();
    expected(&pair.changeset().await, "locked");
    open.batch_execute("COMMIT").await.unwrap();
    expected(&pair.changeset().await, "committed");
    // The row that is ours and locked by others, too, again.
    pair.developer
        .batch_execute("UPDATE parent SET name = 'ours' WHERE id = 1")
        .await
        .unwrap();
    expected(&pair.changeset().await, "twice");
    // Others write all the time.
    let busy = tokio::spawn({
        let client = sealed.connect().await;
        async move {
            for n in 1000.. {
                client
                    .batch_execute(&format!(
                        "INSERT INTO watched VALUES ({n}, 1); UPDATE watched SET v = v + 1 WHERE id > 1 AND id <> {n};
                         UPDATE keyless SET b = b || '.' WHERE a = 2; DELETE FROM watched WHERE id = {n};
                         UPDATE parent SET name = 'theirs {n}' WHERE id > 6; DELETE FROM child WHERE id = {n} - 990;"
                    ))
                    .await
                    .unwrap();
                if n % 5 == 0 {
                    client.batch_execute("VACUUM watched").await.unwrap();
                }
            }
        }
    });
    let (inside, outside) = (
        connect(&pair.proxy.url()).await,
        connect(&outside_url(&pair.proxy, "dev1")).await,
    );
    for round in 0..12 {
        let changes = read_by(&inside, &outside, &Options::default()).await;
        expected(&changes, &format!("round {round}"));
    }
    busy.abort();
}

#[tokio::test]
async fn a_diff_leaves_the_sandbox_as_it_was() {
    let pair = Pair::new(twice(15).await.unwrap(), TABLES).await;
    // Nothing was written, so nothing is.
    let written = "SELECT pg_current_xact_id_if_assigned()::text";
    pair.developer.batch_execute("SELECT 1").await.unwrap();
    assert!(pair.changeset().await.summary.is_empty());
    assert_eq!(scalar(&pair.developer, written).await, "");
    // In somebody's open block.
    let developer = &pair.developer;
    developer
        .batch_execute("INSERT INTO keyless VALUES (50, 'kept'); SET timezone = 'Asia/Tokyo'")
        .await
        .unwrap();
    developer
        .batch_execute("BEGIN; SAVEPOINT a; INSERT INTO keyless VALUES (51, 'gone'); SAVEPOINT b; UPDATE parent SET name = 'x' WHERE id = 1")
        .await
        .unwrap();
    let (now, id) = (
        scalar(developer, "SELECT now()").await,
        scalar(developer, written).await,
    );
    let changes = pair.changeset().await;
    assert_eq!(changes.of("keyless"), ["+50,kept", "+51,gone"]);
    assert_eq!(changes.of("parent"), ["~1,parent 1>1,x"]);
    assert_eq!(scalar(developer, "SELECT now()").await, now);
    assert_eq!(scalar(developer, written).await, id);
    assert_eq!(scalar(developer, "SHOW timezone").await, "Asia/Tokyo");
    assert_eq!(
        scalar(developer, "SHOW search_path").await,
        "\"$user\", public"
    );
    developer
        .batch_execute("ROLLBACK TO b; ROLLBACK TO a; COMMIT")
        .await
        .unwrap();
    let changes = pair.changeset().await;
    assert_eq!(changes.of("keyless"), ["+50,kept"]);
    assert_eq!(changes.tables.len(), 1);
    // Nobody was told that what they wrote may be gone.
    assert!(
        pair.proxy
            .events()
            .iter()
            .all(|event| !format!("{event:?}").contains("Tainted"))
    );
}

#[tokio::test]
async fn many_rows_are_read_a_few_at_a_time() {
    const ROWS: usize = 20_000;
    let pair = Pair::new(
        twice(15).await.unwrap(),
        "CREATE TABLE many (id int, v text); INSERT INTO many SELECT n, repeat('x', n % 300) FROM generate_series(1, 20000) n;
         ALTER TABLE many ADD PRIMARY KEY (id)",
    )
    .await;
    pair.developer
        .batch_execute("UPDATE many SET id = -id WHERE id % 4 < 2; DELETE FROM many WHERE id % 4 = 2; INSERT INTO many SELECT 100000 + n FROM generate_series(1, 700) n")
        .await
        .unwrap();
    let all = read(&pair.proxy, "dev1", &Options::default()).await;
    let (_, counts) = &all.summary.tables[0];
    assert_eq!(
        (counts.inserted, counts.updated, counts.deleted, counts.same),
        (700, ROWS as u64 / 2, ROWS as u64 / 4, 0)
    );
    let lines: std::collections::BTreeSet<String> = all.of("many").into_iter().collect();
    assert_eq!(lines.len(), 700 + ROWS / 2 + ROWS / 4, "each once");
    assert!(
        lines
            .iter()
            .filter(|line| line.starts_with('~'))
            .all(|line| {
                let (before, after) = line[1..].split_once('>').unwrap();
                format!("-{before}") == after
            })
    );
    // With a limit, all are counted and few are read.
    let few = read(
        &pair.proxy,
        "dev1",
        &Options {
            limit: Some(10),
            only: vec!["public.many".to_owned()],
        },
    )
    .await;
    assert_eq!(few.summary.tables, all.summary.tables);
    assert_eq!(few.of("many").len(), 10);
    let none = Options {
        only: vec!["parent".to_owned()],
        ..Options::default()
    };
    assert!(read(&pair.proxy, "dev1", &none).await.summary.is_empty());
}
