//! Masks are no oracle: what a developer writes never goes through the keyed mask, so 200,000 guesses written and
//! joined tell nothing. What a unique violation tells is bounded.

use crate::harness::{self, TestDatabase};
use crate::own_cells_kit::{armed, done, rows};
use crate::seal_kit::Sealed;
use crate::seal_masks_kit::sealed_by;

/// A thousand people out of the 200,000 that one can think of; their addresses are unique in one table alone.
const PEOPLE: &str = "
    CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL UNIQUE, born date, city text);
    INSERT INTO people SELECT n, 'person' || n * 197 || '@secret.example', date '1950-01-01' + n * 7, 'c'
    FROM generate_series(1, 1000) n;
    CREATE TABLE letters (id int PRIMARY KEY, email text, born date, city text);
    INSERT INTO letters SELECT id, email, born, city FROM people WHERE id % 10 = 0;
    CREATE TABLE parts (id int, email text, born date, city text) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parts DEFAULT;
";

const POLICY: &str = "
    [table.public.people]\nid = \"clear\"\ncity = \"clear\"\nemail = \"email\"\nborn = \"date\"
    [table.public.letters]\nid = \"clear\"\ncity = \"clear\"\nemail = \"email\"\nborn = \"date\"
    [table.public.parts]\nid = \"clear\"\ncity = \"clear\"\nemail = \"email\"\nborn = \"date\"
";

/// All that one can think of: every real address and every real day of birth is among the first 200,000.
const ALL: u32 = 200_000;

/// What shows the same, sooner: the first few of them are real, too.
const FEW: u32 = 3_000;

/// The first so many guesses.
fn guesses(many: u32) -> String {
    format!(
        "SELECT n + 1000, 'person' || n || '@secret.example', date '1950-01-01' + n % 30000 FROM generate_series(1, {many}) n"
    )
}

async fn everywhere() -> Vec<Sealed> {
    let mut databases: Vec<TestDatabase> = vec![harness::database().await];
    databases.extend(harness::postgres18().await);
    let mut sealed = Vec::new();
    for database in databases {
        sealed.push(sealed_by(database, PEOPLE, POLICY).await);
    }
    sealed
}

#[tokio::test]
async fn two_hundred_thousand_guesses_joined_tell_nothing() {
    for (place, sealed) in everywhere().await.into_iter().enumerate() {
        let most = if place == 0 { ALL } else { FEW };
        let (all, few) = (guesses(most), guesses(FEW));
        // The attack would work if the guesses were masked: this is what there is to learn.
        let real: i64 = sealed
            .admin
            .query_one(
                &format!(
                    "SELECT count(*) FROM ({all}) g(id, email, born) JOIN people USING (email)"
                ),
                &[],
            )
            .await
            .unwrap()
            .get(0);
        assert_eq!(real, i64::from(most.min(197_000) / 197));
        let developer = armed(&sealed).await;
        let joined = |table: &str| {
            format!(
                "SELECT count(*) FROM devinprod_masked.\"public.{table}\" g
                    JOIN devinprod_masked.\"public.people\" p ON p.email = g.email WHERE g.id > 1000"
            )
        };
        let equal = "SELECT count(*) > 0 FROM devinprod_masked.\"public.letters\" l
            JOIN devinprod_masked.\"public.people\" p ON p.email = l.email";
        assert_eq!(rows(&developer, equal).await, ["t"], "real rows do join");
        for (table, writes) in [
            (
                "letters",
                vec![format!("INSERT INTO letters (id, email, born) {all}")],
            ),
            (
                "letters",
                vec![format!(
                    "INSERT INTO letters (id, email, born) {few} ON CONFLICT DO NOTHING"
                )],
            ),
            (
                "parts",
                vec![format!("INSERT INTO parts (id, email, born) {few}")],
            ),
            (
                "parts",
                vec![
                    format!(
                        "INSERT INTO parts (id, city) SELECT n + 1000, n::text FROM generate_series(1, {FEW}) n"
                    ),
                    "UPDATE parts SET email = 'person' || city || '@secret.example', \
                     born = date '1950-01-01' + (id - 1000) % 30000"
                        .to_owned(),
                ],
            ),
        ] {
            developer.ask("SAVEPOINT before").await.unwrap();
            for write in &writes {
                done(&developer, &[write]).await;
            }
            assert_eq!(rows(&developer, &joined(table)).await, ["0"], "{writes:?}");
            // Nor does the day: 30,000 of them, and all the same as they were written.
            let days = format!(
                "SELECT count(*) FROM devinprod_masked.\"public.{table}\" WHERE id > 1000
                    AND born <> date '1950-01-01' + (id - 1000) % 30000"
            );
            assert_eq!(rows(&developer, &days).await, ["0"], "{writes:?}");
            developer.ask("ROLLBACK TO before").await.unwrap();
        }
    }
}

#[tokio::test]
async fn unique_violations_are_bounded() {
    for sealed in everywhere().await {
        let developer = armed(&sealed).await;
        developer.ask("SAVEPOINT before").await.unwrap();
        let all = guesses(12_000);
        // All at once: it fails, and tells nothing of any.
        let sql = format!("INSERT INTO people (id, email, born) {all} ON CONFLICT DO NOTHING");
        assert_eq!(developer.ask(&sql).await, Err("53400".to_owned()));
        developer.ask("ROLLBACK TO before").await.unwrap();
        // It was counted all the same: taking guesses back does not give new ones.
        for sql in [
            "INSERT INTO people (id, email) VALUES (1000000, 'one more')",
            "UPDATE people SET email = 'one more' WHERE id = 1",
        ] {
            assert_eq!(developer.ask(sql).await, Err("53400".to_owned()), "{sql}");
            developer.ask("ROLLBACK TO before").await.unwrap();
        }
        // What is not unique is not counted, nor are other columns.
        done(
            &developer,
            &[
                "INSERT INTO letters (id, email) VALUES (1000000, 'one more')",
                "UPDATE people SET city = 'x', born = '2000-01-01' WHERE id = 1",
            ],
        )
        .await;
        // Nobody can reset the counter, and nobody else is bound by it.
        for sql in [
            "SELECT setval('devinprod.guesses_' || (hashtext(session_user::text) & 31), 1)",
            "SELECT nextval('devinprod.guesses_0')",
            "ALTER SEQUENCE devinprod.guesses_0 RESTART",
        ] {
            developer.ask("SAVEPOINT before").await.unwrap();
            assert_eq!(developer.ask(sql).await, Err("42501".to_owned()), "{sql}");
            developer.ask("ROLLBACK TO before").await.unwrap();
        }
        developer.ask("ROLLBACK").await.unwrap();
        let others = format!(
            "BEGIN; INSERT INTO people (id, email, born) {all} ON CONFLICT DO NOTHING; ROLLBACK"
        );
        sealed.admin.batch_execute(&others).await.unwrap();
    }
}
