//! What a client sees of masked relations through the proxy: the redirect in every way that a statement can travel,
//! descriptions, RETURNING, and what a refusal says.

use crate::harness::{self, Proxy, Setup, wire::Client};
use crate::masked_kit::{Closed, masked_proxy};

const CLOSED: &[Closed] = &[
    Closed {
        column: "accounts.email",
        mask: Some("'masked' || accounts.id"),
    },
    Closed {
        column: "accounts.settings",
        mask: None,
    },
];

async fn proxy() -> Proxy {
    masked_proxy(harness::database().await, CLOSED, Setup::default()).await
}

#[tokio::test]
async fn a_read_is_redirected_in_every_way_that_it_can_travel() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let row = "DataRow \"masked3\"";
    let sql = "SELECT email FROM accounts WHERE id = 3";
    assert!(client.simple(sql).await.contains(row), "simple");
    let several = client.simple(&format!("SELECT 1; {sql}; SELECT 2")).await;
    assert!(several.contains(row), "several: {several}");
    assert!(client.extended(sql, &[]).await.contains(row), "unnamed");
    client
        .parse("s", "SELECT email FROM accounts WHERE id = $1", &[])
        .describe(b'S', "s")
        .sync();
    let described = harness::wire::transcript(&client.run().await);
    assert!(
        described.contains("RowDescription email:1043(124)@2"),
        "{described}"
    );
    for _ in 0..2 {
        client.bind("", "s", &[Some("3")]).execute("", 0).sync();
        let answer = harness::wire::transcript(&client.run().await);
        assert!(answer.contains(row), "named: {answer}");
    }
    client.simple(&format!("PREPARE p AS {sql}")).await;
    assert!(client.simple("EXECUTE p").await.contains(row), "EXECUTE");
    client.simple("BEGIN").await;
    client.simple(&format!("DECLARE c CURSOR FOR {sql}")).await;
    assert!(client.simple("FETCH c").await.contains(row), "cursor");
    client.simple("COMMIT").await;
    let copied = client.simple(&format!("COPY ({sql}) TO STDOUT")).await;
    assert!(copied.contains("CopyData \"masked3\\n\""), "{copied}");
    let explained = client.simple(&format!("EXPLAIN {sql}")).await;
    assert!(explained.contains("Index Scan"), "{explained}");
    client
        .simple(&format!("CREATE TEMP TABLE copied AS {sql}"))
        .await;
    assert!(
        client.simple("TABLE copied").await.contains(row),
        "CREATE TABLE AS"
    );
}

/// The bytes of a table's oid and attribute number in each column of the first RowDescription.
async fn origins(client: &mut Client, sql: &str) -> Vec<(u32, i16)> {
    let messages = client.query(sql).run().await;
    let description = messages.iter().find(|message| message.tag == b'T').unwrap();
    let mut rest = &description.body[2..];
    let mut origins = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        rest = &rest[end + 1..];
        origins.push((
            u32::from_be_bytes(rest[..4].try_into().unwrap()),
            i16::from_be_bytes(rest[4..6].try_into().unwrap()),
        ));
        rest = &rest[18..];
    }
    origins
}

#[tokio::test]
async fn columns_are_described_as_those_of_the_real_table() {
    let proxy = proxy().await;
    let admin = proxy.database.connect().await;
    let oid: u32 = admin
        .query_one("SELECT 'accounts'::regclass::oid", &[])
        .await
        .unwrap()
        .get(0);
    let mut client = Client::connect(&proxy.url()).await;
    // settings, number 5, is not there.
    assert_eq!(
        origins(&mut client, "SELECT *, 1 FROM accounts").await,
        [(oid, 1), (oid, 2), (oid, 3), (oid, 4), (oid, 6), (0, 0)]
    );
    assert_eq!(
        origins(
            &mut client,
            "INSERT INTO accounts (email, name) VALUES ('x', 'y') RETURNING created_at, email"
        )
        .await,
        [(oid, 6), (oid, 2)]
    );
}

#[tokio::test]
async fn names_mean_what_the_search_path_and_the_sandbox_say() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute("CREATE SCHEMA other; CREATE TABLE other.accounts (email text); INSERT INTO other.accounts VALUES ('other')")
        .await
        .unwrap();
    let proxy = masked_proxy(database, CLOSED, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    let sql = "SELECT email FROM accounts ORDER BY email LIMIT 1";
    let masked = "DataRow \"masked1\"";
    client.parse("s", sql, &[]).sync();
    client.run().await;
    let prepared = async |client: &mut Client| {
        client.bind("", "s", &[]).execute("", 0).sync();
        harness::wire::transcript(&client.run().await)
    };
    assert!(prepared(&mut client).await.contains(masked));

    client.simple("SET search_path = other, public").await;
    assert!(client.simple(sql).await.contains("\"other\""));
    assert!(
        prepared(&mut client).await.contains("\"other\""),
        "prepared before"
    );
    // In one batch with what changes it.
    let batch = client
        .simple(&format!(
            "SET search_path = public; {sql}; SET search_path = other; {sql}"
        ))
        .await;
    assert!(
        batch.contains(masked) && batch.contains("\"other\""),
        "{batch}"
    );
    client
        .parse("", "SET search_path = public, other", &[])
        .bind("", "", &[])
        .execute("", 0);
    client
        .parse("", sql, &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let pipeline = harness::wire::transcript(&client.run().await);
    assert!(pipeline.contains(masked), "{pipeline}");
    client.simple("RESET search_path").await;

    // A temporary table stands before it, until it is gone.
    client.simple("BEGIN").await;
    client
        .simple("CREATE TEMP TABLE accounts AS SELECT 'temporary' AS email")
        .await;
    assert!(
        client.simple(sql).await.contains("\"temporary\""),
        "in the block"
    );
    assert!(
        prepared(&mut client).await.contains("\"temporary\""),
        "prepared before"
    );
    assert!(
        client
            .simple("SELECT email FROM public.accounts WHERE id = 1")
            .await
            .contains(masked)
    );
    client.simple("ROLLBACK").await;
    assert!(client.simple(sql).await.contains(masked), "rolled back");
    assert!(
        prepared(&mut client).await.contains(masked),
        "prepared before"
    );
    client
        .simple("CREATE TEMP TABLE accounts AS SELECT 'temporary' AS email")
        .await;
    assert!(client.simple(sql).await.contains("\"temporary\""), "kept");
    client.simple("DROP TABLE accounts").await;
    assert!(client.simple(sql).await.contains(masked), "dropped");
    // Another client of the same sandbox has a path of its own.
    let mut other = Client::try_connect(&proxy.url(), &[("search_path", "other")])
        .await
        .unwrap();
    assert!(other.simple(sql).await.contains("\"other\""));
    assert!(client.simple(sql).await.contains(masked));
}

#[tokio::test]
async fn returning_gives_the_masked_row_and_the_real_tag() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let insert = "INSERT INTO accounts (id, email, name) VALUES (101, 'a@x', 'A'), (102, 'b@x', 'B') RETURNING id, email";
    let answer = client.simple(insert).await;
    let expected = "RowDescription id:20@1 email:1043(124)@2\nDataRow \"101\" \"masked101\"\nDataRow \"102\" \"masked102\"\n\
        CommandComplete INSERT 0 2\nReadyForQuery I\n";
    assert_eq!(answer, expected);
    let answer = client
        .extended(
            "UPDATE accounts SET name = $1 WHERE id > 100 RETURNING email",
            &[Some("n")],
        )
        .await;
    let expected = "ParseComplete\nBindComplete\nRowDescription email:1043(124)@2\nDataRow \"masked101\"\nDataRow \"masked102\"\n\
        CommandComplete UPDATE 2\nReadyForQuery I\n";
    assert_eq!(answer, expected);

    // Prepared, described, and run again and again, a row at a time too.
    client
        .parse("s", "INSERT INTO accounts (id, email, name) SELECT n, 'p' || n, 'P' FROM generate_series($1::int, $2::int) AS n RETURNING email, id", &[])
        .describe(b'S', "s")
        .sync();
    assert_eq!(
        harness::wire::transcript(&client.run().await),
        "ParseComplete\nParameterDescription [23, 23]\nRowDescription email:1043(124)@2 id:20@1\nReadyForQuery I\n"
    );
    for start in [201, 211] {
        let (first, last) = (start.to_string(), (start + 2).to_string());
        client
            .bind("p", "s", &[Some(&first), Some(&last)])
            .describe(b'P', "p")
            .execute("p", 2)
            .execute("p", 2)
            .sync();
        assert_eq!(
            harness::wire::transcript(&client.run().await),
            format!(
                "BindComplete\nRowDescription email:1043(124)@2 id:20@1\nDataRow \"masked{}\" \"{}\"\nDataRow \"masked{}\" \"{}\"\n\
                 PortalSuspended\nDataRow \"masked{}\" \"{}\"\nCommandComplete INSERT 0 3\nReadyForQuery I\n",
                start,
                start,
                start + 1,
                start + 1,
                start + 2,
                start + 2
            )
        );
    }
    client.simple("PREPARE q (int) AS INSERT INTO accounts (id, email, name) VALUES ($1, 'q' || $1, 'Q') RETURNING email").await;
    for id in [301, 302] {
        let answer = client.simple(&format!("EXECUTE q ({id})")).await;
        assert!(
            answer.contains(&format!(
                "DataRow \"masked{id}\"\nCommandComplete INSERT 0 1"
            )),
            "{answer}"
        );
    }
    let count = client
        .simple("SELECT count(*) FROM accounts WHERE id > 100")
        .await;
    assert!(count.contains("DataRow \"10\""), "{count}");
}

#[tokio::test]
async fn an_error_of_either_statement_undoes_both() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let count = "SELECT count(*) FROM accounts";
    let twenty = "DataRow \"20\"";
    let taken = "INSERT INTO accounts (id, email, name) VALUES (50, 'n', 'N'), (1, 'm', 'M') RETURNING email";
    let answer = client.simple(taken).await;
    assert!(
        answer.contains("23505") && answer.contains("ReadyForQuery I"),
        "{answer}"
    );
    assert!(!answer.contains("RowDescription"), "{answer}");
    let fails = "INSERT INTO accounts (id, email, name) VALUES (50, 'n', 'N') RETURNING email, 1 / (id - id)";
    for answer in [
        client.simple(fails).await,
        client.extended(fails, &[]).await,
    ] {
        assert!(
            answer.contains("22012") && answer.contains("ReadyForQuery I"),
            "{answer}"
        );
        assert!(!answer.contains("CommandComplete"), "{answer}");
    }
    assert!(client.simple(count).await.contains(twenty));
    // In a block everything is refused from there on, and a savepoint brings it back.
    client.simple("BEGIN; SAVEPOINT a").await;
    assert!(client.simple(fails).await.contains("ReadyForQuery E"));
    assert!(client.simple(count).await.contains("25P02"));
    client.simple("ROLLBACK TO a").await;
    let fine = "INSERT INTO accounts (id, email, name) VALUES (50, 'n', 'N') RETURNING email";
    assert!(client.simple(fine).await.contains("\"masked50\""));
    client.simple("COMMIT").await;
    assert!(client.simple(count).await.contains("DataRow \"21\""));
    // In a pipeline, what stands before it stays pending with it.
    client
        .parse("", "DELETE FROM accounts WHERE id = 50", &[])
        .bind("", "", &[])
        .execute("", 0);
    client
        .parse("", fails, &[])
        .bind("", "", &[])
        .execute("", 0);
    client
        .parse("", "SELECT 1", &[])
        .bind("", "", &[])
        .execute("", 0)
        .sync();
    let pipeline = harness::wire::transcript(&client.run().await);
    assert!(
        pipeline.contains("CommandComplete DELETE 1") && pipeline.contains("22012"),
        "{pipeline}"
    );
    assert!(!pipeline.contains("SELECT 1"), "{pipeline}");
    assert!(client.simple(count).await.contains("DataRow \"21\""));
}

#[tokio::test]
async fn a_refusal_names_the_column_and_where_the_policy_says_so() {
    let database = harness::database().await;
    let admin = database.connect().await;
    admin
        .batch_execute(
            "CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT email FROM public.accounts LIMIT 1); END $$",
        )
        .await
        .unwrap();
    let proxy = masked_proxy(database, CLOSED, Setup::default()).await;
    let mut client = Client::connect(&proxy.url()).await;
    for (sql, expected) in [
        (
            "SELECT settings FROM accounts",
            "Column public.accounts.settings is denied to developers, as policies/test.toml:5 says",
        ),
        (
            "SELECT a.settings FROM accounts a",
            "Column public.accounts.settings is denied",
        ),
        (
            "SELECT peek()",
            "Column public.accounts.email is masked (text), as policies/test.toml:2 says",
        ),
    ] {
        let messages = client.query(sql).run().await;
        let error = messages
            .iter()
            .find(|message| message.tag == b'E')
            .expect(sql);
        assert_eq!(error.field(b'C').as_deref(), Some("42501"), "{sql}");
        let hint = error.field(b'H').unwrap_or_default();
        assert!(hint.contains(expected), "{sql}: {hint}");
        let message = error.field(b'M').unwrap();
        assert!(
            message.contains("accounts") && !message.contains("public.accounts"),
            "{message}"
        );
    }
    // What no policy has to do with stays as it was.
    let other = client.query("SELECT nosuch FROM accounts").run().await;
    assert_eq!(other[0].field(b'C').as_deref(), Some("42703"));
    assert_eq!(other[0].field(b'P').as_deref(), Some("8"));
    let behind = client
        .query("SELECT count(*), nosuch FROM accounts, accounts b")
        .run()
        .await;
    assert_eq!(behind[0].field(b'P').as_deref(), Some("18"));
}

#[tokio::test]
async fn a_notice_names_the_tables_that_the_client_named() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let function = "CREATE FUNCTION tell(told text) RETURNS void LANGUAGE plpgsql AS \
        'BEGIN RAISE NOTICE ''told %'', told; END'";
    let made = client.simple(function).await;
    assert!(made.contains("CREATE FUNCTION"), "{made}");
    // Its context is the statement inside of the block, as it was sent.
    let block = "DO $$ BEGIN PERFORM tell(email) FROM accounts WHERE id = 3; END $$";
    let told = client.simple(block).await;
    assert!(told.contains("NOTICE 00000: told masked3; "), "{told}");
    assert!(
        told.contains("FROM public.accounts") && !told.contains("devinprod"),
        "{told}"
    );
}

#[tokio::test]
async fn information_schema_shows_what_the_applications_own_role_would_see() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'accounts'";
    assert!(client.simple(columns).await.contains("DataRow \"6\""));
    assert!(
        client
            .extended(columns, &[])
            .await
            .contains("DataRow \"6\"")
    );
    let keys = "SELECT constraint_name FROM information_schema.table_constraints WHERE constraint_name = 'accounts_pkey'";
    assert!(client.simple(keys).await.contains("accounts_pkey"));
    // Where nothing can be written there is nothing to arm, and nothing fails.
    let mut other = Client::connect(&proxy.url_for("dev1+other")).await;
    other.simple("BEGIN READ ONLY").await;
    let answer = other.simple(columns).await;
    assert!(answer.contains("CommandComplete SELECT 1"), "{answer}");
}

#[tokio::test]
async fn a_table_that_is_sealed_anew_is_looked_up_again() {
    let proxy = proxy().await;
    let mut client = Client::connect(&proxy.url()).await;
    let sql = "SELECT email FROM accounts WHERE id = 1";
    assert!(client.simple(sql).await.contains("\"masked1\""));
    let admin = proxy.database.connect().await;
    admin
        .batch_execute(
            "CREATE VIEW devinprod_masked.\"new\" AS TABLE devinprod_masked.\"public.accounts\";
             GRANT SELECT ON devinprod_masked.\"new\" TO PUBLIC;
             DO $$ DECLARE r record; BEGIN
                 FOR r IN SELECT DISTINCT grantee::regrole AS who FROM pg_class, aclexplode(relacl)
                          WHERE oid = 'devinprod_masked.\"public.accounts\"'::regclass AND grantee <> relowner LOOP
                     EXECUTE format('REVOKE ALL ON devinprod_masked.\"public.accounts\" FROM %s', r.who);
                 END LOOP;
             END $$;
             UPDATE devinprod.masked_relation SET view = 'devinprod_masked.\"new\"',
                 view_oid = 'devinprod_masked.\"new\"'::regclass",
        )
        .await
        .unwrap();
    let refused = client.simple(sql).await;
    assert!(
        refused.contains("42501: permission denied for table accounts"),
        "{refused}"
    );
    assert!(client.simple(sql).await.contains("\"masked1\""));
}
