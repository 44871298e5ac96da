//! The changeset of masked tables: before is the mask, after what the developer wrote or the mask; and it answers no question
//! about a real value.

use devinprod::changeset::{Change, Options};

use crate::changeset_kit::{Changeset, outside_url, read};
use crate::harness::{self, Proxy, Setup, TestDatabase, connect};
use crate::seal_masks_kit::{POLICY, REST, USERS};

const TABLES: &str = "
    CREATE TABLE mails (email text PRIMARY KEY, n int);
    INSERT INTO mails SELECT 'real' || n || '@secret.example', n FROM generate_series(1, 9) n;
    CREATE TABLE visits (id int, region text, email text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE visits_eu PARTITION OF visits FOR VALUES IN ('eu');
    CREATE TABLE visits_rest PARTITION OF visits DEFAULT;
    INSERT INTO visits SELECT n, (ARRAY['eu', 'us'])[1 + n % 2], 'real' || n || '@secret.example' FROM generate_series(1, 9) n;
    CREATE TABLE vault (id int, secret text);
    INSERT INTO vault SELECT n, 'real ' || n FROM generate_series(1, 9) n;
    CREATE TABLE plain (id int, v text);
    INSERT INTO plain SELECT n, 'v' FROM generate_series(1, 9) n;
";

const MORE: &str = "
    [table.public.mails]\nemail = \"email\"\nn = \"clear\"
    [table.public.visits]\nid = \"clear\"\nregion = \"clear\"\nemail = \"email\"
    [table.public.vault]\nsecret = \"deny\"\nid = \"deny\"
    [table.public.plain]\nid = \"clear\"\nv = { as = \"clear\", because = \"made up\" }
";

/// A proxy in front of users, mails, visits and a vault, most of it masked.
pub async fn masked(database: TestDatabase) -> Proxy {
    masked_with(database, Setup::default()).await
}

/// The same with more that is set.
pub async fn masked_with(database: TestDatabase, setup: Setup) -> Proxy {
    let admin = database.connect().await;
    admin.batch_execute(USERS).await.unwrap();
    admin.batch_execute(TABLES).await.unwrap();
    let setup = Setup {
        policy: Some(format!("{POLICY}{MORE}{REST}")),
        ..setup
    };
    harness::proxy_with(database, setup).await
}

fn update<'a>(changes: &'a Changeset, table: &str, id: &str) -> (&'a Change, Vec<&'a str>) {
    let (table, changes) = changes
        .tables
        .iter()
        .find(|(found, _)| found.name == table)
        .unwrap();
    let change = changes
        .iter()
        .find(|change| match change {
            Change::Update { before, .. } => before[0].as_deref() == Some(id),
            _ => false,
        })
        .unwrap_or_else(|| panic!("{id}: {changes:?}"));
    let names = change
        .changed()
        .into_iter()
        .map(|at| table.columns[at].name.as_str());
    (change, names.collect())
}

#[tokio::test]
async fn a_changeset_shows_masks_and_ones_own_values() {
    for database in harness::both().await {
        let proxy = masked(database).await;
        let developer = connect(&proxy.url()).await;
        for sql in [
            "UPDATE users SET city = 'Oslo' WHERE id = 1",
            "UPDATE users SET email = 'mine@own.example' WHERE id = 2",
            "UPDATE users SET id = 1003, city = 'Rome' WHERE id = 3",
            "DELETE FROM users WHERE id = 4",
            "INSERT INTO users (id, email, full_name, city) VALUES (2000, 'new@own.example', 'Own Name', 'Bern')",
            "UPDATE users SET city = 'x' WHERE email = (SELECT email FROM users WHERE id = 5)",
            "UPDATE mails SET n = n + 100 WHERE n < 4",
            "DELETE FROM mails WHERE n = 9",
            "UPDATE visits SET region = 'us' WHERE id = 2",
            "UPDATE visits SET region = 'eu' WHERE id = 3",
            "UPDATE visits SET region = 'fr' WHERE id = 5",
            "UPDATE plain SET v = 'w', id = 77 WHERE id = 1",
            "DELETE FROM vault",
        ] {
            developer
                .batch_execute(sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        let changes = read(&proxy, "dev1", &Options::default()).await;
        assert_eq!(update(&changes, "users", "1").1, ["city"]);
        let (change, names) = update(&changes, "users", "2");
        assert_eq!(names, ["email"]);
        let Change::Update { after, .. } = change else {
            unreachable!()
        };
        assert!(after.contains(&Some("mine@own.example".to_owned())));
        // The chain of a masked table is known.
        assert_eq!(update(&changes, "users", "3").1, ["id", "city"]);
        assert_eq!(update(&changes, "users", "5").1, ["city"]);
        assert_eq!(changes.of("plain"), ["~1,v>77,w"]);
        // A key that is masked pairs nothing, and the chain all.
        let mails = changes.of("mails");
        assert_eq!(mails.iter().filter(|line| line.starts_with('~')).count(), 3);
        assert_eq!(mails.len(), 4, "{mails:?}");
        // What moved is deleted here and inserted there: its key is another.
        assert_eq!(changes.of("visits").len(), 5, "{:?}", changes.of("visits"));
        assert_eq!(update(&changes, "visits", "5").1, ["region"]);
        for (table, _) in &changes.tables {
            let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            assert!(!names.contains(&"notes"), "a denied column: {names:?}");
        }
        // What is denied has a name and a count.
        let withheld = &changes.summary.withheld;
        assert_eq!(withheld.len(), 1, "{withheld:?}");
        assert_eq!(
            (withheld[0].name.as_str(), withheld[0].counted.deleted),
            ("vault", 9)
        );
        // Not one real value, in whatever is told.
        let all = format!("{changes:?}");
        for marker in ["real", "Real Name", "secret.example", "+1 555"] {
            assert!(!all.contains(marker), "{marker}: {all}");
        }
        assert!(all.contains("mine@own.example") && all.contains("Own Name"));
    }
}

#[tokio::test]
async fn a_guess_is_not_answered() {
    let proxy = masked(harness::database().await).await;
    let developer = connect(&proxy.url()).await;
    // The first is what stands there, the second is not; the third is the mask itself.
    for sql in [
        "UPDATE users SET full_name = 'Real Name 7' WHERE id = 7",
        "UPDATE users SET full_name = 'Real Name 0' WHERE id = 8",
    ] {
        developer.batch_execute(sql).await.unwrap();
    }
    let changes = read(&proxy, "dev1", &Options::default()).await;
    for id in ["7", "8"] {
        let (change, names) = update(&changes, "users", id);
        assert_eq!(names, ["full_name"], "{id}");
        let Change::Update { before, .. } = change else {
            unreachable!()
        };
        assert!(!format!("{before:?}").contains("Real"), "{id}");
    }
    // Nor by asking the seal's own functions.
    let inside = connect(&proxy.url()).await;
    let outside = connect(&outside_url(&proxy, "dev1")).await;
    for client in [&inside, &outside] {
        let rows = client
            .query(
                "SELECT l.version::text, l.latest::text FROM devinprod.latest('vault'::regclass, ARRAY['(0,1)']::tid[]) AS l",
                &[],
            )
            .await
            .unwrap();
        assert!(rows.is_empty(), "a table that is denied");
    }
}
