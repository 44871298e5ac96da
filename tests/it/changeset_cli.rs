//! `devinprod sandbox diff|export|import`, as a user calls them.

use std::process::{Output, Stdio};

use crate::changeset::{TABLES, WORKLOAD};
use crate::changeset_kit::{Pair, contents};
use crate::harness::{self, Proxy};

async fn devinprod(proxy: &Proxy, user: &str, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .args(arguments)
        .env("DATABASE_URL", proxy.url_for(user))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

/// What a command prints that goes well.
pub async fn stdout(proxy: &Proxy, user: &str, arguments: &[&str]) -> String {
    let output = devinprod(proxy, user, arguments).await;
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const SHOP: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text, price numeric);
    INSERT INTO items VALUES (1, 'cup', 4.50), (2, 'plate', 7), (3, 'fork', 1.20);
    CREATE TABLE notes (body text);
    INSERT INTO notes VALUES ('first');
";

const CHANGES: [&str; 6] = [
    "UPDATE items SET price = 5, name = NULL WHERE id = 1",
    "DELETE FROM items WHERE id = 3",
    "INSERT INTO items VALUES (4, E'<b>it''s</b>\\x1b[2J', NULL), (5, '=cmd()', 1)",
    "DELETE FROM notes",
    "CREATE TABLE made (id int PRIMARY KEY, \"odd name\" text DEFAULT 'x')",
    "INSERT INTO made VALUES (1)",
];

#[tokio::test]
async fn a_diff_in_every_format() {
    let pair = Pair::new([harness::database().await, harness::database().await], SHOP).await;
    let proxy = &pair.proxy;
    let nothing = devinprod(proxy, "dev1", &["sandbox", "diff", "--exit-code"]).await;
    assert_eq!(nothing.status.code(), Some(0));
    assert_eq!(nothing.stdout, b"");
    assert_eq!(
        String::from_utf8_lossy(&nothing.stderr),
        "sandbox \"default\" has changed nothing\n"
    );
    for sql in CHANGES {
        pair.run(sql).await;
    }
    let changed = devinprod(proxy, "dev1", &["sandbox", "diff", "--exit-code"]).await;
    assert_eq!(changed.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(changed.stdout).unwrap(), @r###"
    table public.made
      + CREATE TABLE public.made (id integer NOT NULL, "odd name" text DEFAULT 'x'::text)
    constraint public.made.made_pkey
      + ALTER TABLE public.made ADD CONSTRAINT made_pkey PRIMARY KEY (id)
    public.items
      - id=3 name=fork price=1.20
      ~ id=1
          name: cup → NULL
          price: 4.50 → 5
      + id=4 name='<b>it''s</b>\u{1b}[2J' price=NULL
      + id=5 name='=cmd()' price=1
      2 inserted, 1 updated, 1 deleted
    public.made
      + id=1 odd name=x
      1 inserted
    public.notes
      - body=first
      1 deleted
    "###);
    let shown = stdout(proxy, "dev1", &["sandbox", "diff", "--format", "json"]).await;
    insta::assert_snapshot!(shown.replace('\x1b', "␛"), @r###"
    {"made":"table","name":"public.made","sql":"CREATE TABLE public.made (id integer NOT NULL, \"odd name\" text DEFAULT 'x'::text)"}
    {"made":"constraint","name":"public.made.made_pkey","sql":"ALTER TABLE public.made ADD CONSTRAINT made_pkey PRIMARY KEY (id)"}
    {"before":{"id":"3","name":"fork","price":"1.20"},"change":"delete","key":{"id":"3"},"table":"public.items"}
    {"after":{"id":"1","name":null,"price":"5"},"before":{"id":"1","name":"cup","price":"4.50"},"change":"update","changed":["name","price"],"key":{"id":"1"},"table":"public.items"}
    {"after":{"id":"4","name":"<b>it's</b>\u001b[2J","price":null},"change":"insert","key":{"id":"4"},"table":"public.items"}
    {"after":{"id":"5","name":"=cmd()","price":"1"},"change":"insert","key":{"id":"5"},"table":"public.items"}
    {"counts":{"deleted":1,"inserted":2,"updated":1},"table":"public.items"}
    {"after":{"id":"1","odd name":"x"},"change":"insert","key":{"id":"1"},"table":"public.made"}
    {"counts":{"deleted":0,"inserted":1,"updated":0},"table":"public.made"}
    {"before":{"body":"first"},"change":"delete","key":{},"table":"public.notes"}
    {"counts":{"deleted":1,"inserted":0,"updated":0},"table":"public.notes"}
    "###);
    let shown = stdout(proxy, "dev1", &["sandbox", "diff", "--format", "csv"]).await;
    insta::assert_snapshot!(shown.replace('\x1b', "␛"), @r###"
    table,row,change,column,before,after
    public.items,1,delete,id,3,
    public.items,1,delete,name,fork,
    public.items,1,delete,price,1.20,
    public.items,2,update,name,cup,
    public.items,2,update,price,4.50,5
    public.items,3,insert,id,,4
    public.items,3,insert,name,,<b>it's</b>␛[2J
    public.items,3,insert,price,,
    public.items,4,insert,id,,5
    public.items,4,insert,name,,"'=cmd()"
    public.items,4,insert,price,,1
    public.made,5,insert,id,,1
    public.made,5,insert,odd name,,x
    public.notes,6,delete,body,first,
    "###);
    let shown = stdout(proxy, "dev1", &["sandbox", "diff", "--format", "sql"]).await;
    insta::assert_snapshot!(shown.replace('\x1b', "␛"), @r###"
    -- What sandbox default changed. Made by devinprod.
    BEGIN;
    SET LOCAL standard_conforming_strings = on;
    SET LOCAL datestyle = 'ISO';
    SET LOCAL intervalstyle = 'postgres';
    SET LOCAL bytea_output = 'hex';
    SET LOCAL extra_float_digits = 1;
    SET LOCAL timezone = 'UTC';
    SET LOCAL check_function_bodies = off;
    DO $$
    BEGIN
        PERFORM set_config('session_replication_role', 'replica', true);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'triggers fire: this role may not set session_replication_role';
    END
    $$;
    CREATE TABLE public.made (id integer NOT NULL, "odd name" text DEFAULT 'x'::text);
    ALTER TABLE public.made ADD CONSTRAINT made_pkey PRIMARY KEY (id);
    DELETE FROM "public"."notes" AS t WHERE (t.tableoid, t.ctid) = (SELECT t.tableoid, t.ctid FROM "public"."notes" AS t WHERE t.body::pg_catalog.text IS NOT DISTINCT FROM 'first' LIMIT 1);
    DELETE FROM "public"."items" AS t WHERE t."id" = '3';
    UPDATE "public"."items" AS t SET "name" = NULL, "price" = '5' WHERE t."id" = '1';
    INSERT INTO "public"."items" ("id", "name", "price") VALUES ('4', '<b>it''s</b>␛[2J', NULL);
    INSERT INTO "public"."items" ("id", "name", "price") VALUES ('5', '=cmd()', '1');
    INSERT INTO "public"."made" ("id", "odd name") VALUES ('1', 'x');
    COMMIT;
    "###);
}

/// A role of the upstream is not lent again for some seconds, so not all of it is one test.
#[tokio::test]
async fn a_diff_as_a_page_and_of_a_part() {
    let pair = Pair::new([harness::database().await, harness::database().await], SHOP).await;
    let proxy = &pair.proxy;
    for sql in CHANGES {
        pair.run(sql).await;
    }
    let page = stdout(proxy, "dev1", &["sandbox", "diff", "--format", "html"]).await;
    assert!(page.contains("<td>&lt;b&gt;it&#39;s&lt;/b&gt;"), "{page}");
    assert!(page.contains("<del>4.50</del> <ins>5</ins>"), "{page}");
    assert!(
        !page.contains("<b>") && page.ends_with("</html>\n"),
        "{page}"
    );
    let few = stdout(
        proxy,
        "dev1",
        &["sandbox", "diff", "--table", "items", "--limit", "1"],
    )
    .await;
    insta::assert_snapshot!(few, @r###"
    public.items
      - id=3 name=fork price=1.20
      2 inserted, 1 updated, 1 deleted; 3 not shown
    "###);
    // Another sandbox has nothing of it; and it is found by its name.
    let other = stdout(
        proxy,
        "dev1",
        &["sandbox", "diff", "other", "--format", "csv"],
    )
    .await;
    assert_eq!(other, "table,row,change,column,before,after\n");
    let named = stdout(
        proxy,
        "dev1+other",
        &["sandbox", "diff", "default", "--format", "csv"],
    )
    .await;
    assert!(named.contains("public.items"), "{named}");
}

#[tokio::test]
async fn an_export_makes_the_same_change_elsewhere() {
    let pair = Pair::new(
        [harness::database().await, harness::database().await],
        TABLES,
    )
    .await;
    for sql in WORKLOAD {
        pair.run(sql).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("change.sql");
    let path = file.to_str().unwrap();
    stdout(
        &pair.proxy,
        "dev1",
        &["sandbox", "export", "default", "--out", path],
    )
    .await;
    let script = std::fs::read_to_string(&file).unwrap();
    let copy = harness::database().await.connect().await;
    copy.batch_execute(TABLES).await.unwrap();
    copy.batch_execute(&script)
        .await
        .unwrap_or_else(|error| panic!("{error:?}\n{script}"));
    assert_eq!(contents(&copy).await, contents(&pair.plain).await);
}

#[tokio::test]
async fn an_import_plays_into_a_sandbox() {
    let pair = Pair::new([harness::database().await, harness::database().await], SHOP).await;
    pair.run("UPDATE items SET price = 9 WHERE id = 2; INSERT INTO notes VALUES (E'a;\\r\\nb'); DELETE FROM items WHERE id = 1")
        .await;
    let diff = ["sandbox", "diff", "--format", "json"];
    let before = stdout(&pair.proxy, "dev1", &diff).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("change.sql");
    let path = file.to_str().unwrap();
    stdout(&pair.proxy, "dev1", &["sandbox", "export", "--out", path]).await;
    // It holds the rows that the script is about.
    stdout(&pair.proxy, "dev1", &["sandbox", "reset"]).await;
    stdout(
        &pair.proxy,
        "dev1",
        &["sandbox", "import", path, "--sandbox", "again"],
    )
    .await;
    assert_eq!(stdout(&pair.proxy, "dev1+again", &diff).await, before);
    // A script that fails changes nothing.
    std::fs::write(&file, "BEGIN; DELETE FROM notes; SELECT 1 / 0; COMMIT").unwrap();
    let failed = devinprod(&pair.proxy, "dev1+again", &["sandbox", "import", path]).await;
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        said.contains("statement 3 of 4 failed: division by zero"),
        "{said}"
    );
    assert_eq!(stdout(&pair.proxy, "dev1+again", &diff).await, before);
}

/// The most memory that a diff took, in kB (`VmHWM` of its process), and how many lines it printed.
async fn memory(proxy: &Proxy, arguments: &[&str]) -> (u64, usize) {
    let lines = tempfile::NamedTempFile::new().unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_devinprod"))
        .args(arguments)
        .env("DATABASE_URL", proxy.url_for("dev1"))
        .stdin(Stdio::null())
        .stdout(lines.reopen().unwrap())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut most = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let now = std::fs::read_to_string(&status).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        {
            most = most.max(kilobytes);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(ended.success());
    let printed = std::fs::read_to_string(lines.path()).unwrap();
    (most, printed.lines().count())
}

/// `CHANGESET_ROWS=1000000` is what docs/changesets.md says the figures of.
#[tokio::test]
async fn memory_does_not_grow_with_the_rows() {
    let rows: usize = std::env::var("CHANGESET_ROWS").map_or(40_000, |rows| rows.parse().unwrap());
    let tables = format!(
        "CREATE TABLE many (id int PRIMARY KEY, v text); CREATE TABLE few (id int);
         INSERT INTO many SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, {rows}) n"
    );
    let database = harness::database().await;
    database
        .connect()
        .await
        .batch_execute(&tables)
        .await
        .unwrap();
    let proxy = harness::proxy_with(database, harness::Setup::default()).await;
    let developer = harness::connect(&proxy.url()).await;
    developer
        .batch_execute("INSERT INTO few VALUES (1)")
        .await
        .unwrap();
    let diff = ["sandbox", "diff", "--format", "csv", "--timeout", "3600"];
    let (least, lines) = memory(&proxy, &diff).await;
    assert_eq!(lines, 2);
    developer
        .batch_execute("UPDATE many SET v = v || 'x'")
        .await
        .unwrap();
    let (most, lines) = memory(&proxy, &diff).await;
    assert_eq!(lines, rows + 2);
    eprintln!("{rows} rows: {most} kB, with none {least} kB");
    // Each row is 1 kB before, and as much after.
    assert!(
        most < least + 24 * 1024 + rows as u64 / 20,
        "{most} kB, with none {least} kB"
    );
}
