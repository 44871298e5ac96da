//! Workloads at random: the changeset is exact after each, and its script makes a copy the same.

use crate::changeset::TABLES;
use crate::changeset_kit::{Pair, contents, script};
use crate::harness;

/// Numbers that are the same in each run with the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }

    fn statement(&mut self) -> String {
        let (a, b, c) = (self.roll(30), self.roll(30), self.roll(4));
        let region = self.one(&["eu", "us", "xx", "yy"]);
        let value = self.one(&["'v'", "NULL", "''", "E'it\\'s\\n\\\\'"]);
        match self.roll(24) {
            0 => format!("UPDATE parent SET id = {} + {b} WHERE id = {a}", 30 * c),
            1 => format!("DELETE FROM parent WHERE id = {a}"),
            2 => format!(
                "INSERT INTO parent VALUES ({a}, {value}) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
            ),
            3 => format!("INSERT INTO child VALUES ({a}, {b}, NULL)"),
            4 => format!("UPDATE child SET other = {b} WHERE id = {a}"),
            5 => format!("DELETE FROM child WHERE id % 5 = {c}"),
            6 => format!("INSERT INTO keyless SELECT {a}, {value} FROM generate_series(0, {c})"),
            7 => format!("UPDATE keyless SET b = {value} WHERE a = {c}"),
            8 => format!("UPDATE keyless SET a = a + 1 WHERE a < {c}"),
            9 => format!("DELETE FROM keyless WHERE a = {a}"),
            10 => format!("UPDATE parts SET region = '{region}' WHERE id = {a}"),
            11 => format!("UPDATE parts SET v = {value} WHERE id % 7 = {c}"),
            12 => format!("UPDATE parts SET id = {b} + 100, region = '{region}' WHERE id = {a}"),
            13 => format!(
                "DELETE FROM parts WHERE id = {a}; INSERT INTO parts VALUES ({a}, '{region}', {value})"
            ),
            14 => format!("UPDATE bare SET region = '{region}' WHERE id = {c}"),
            15 => format!("INSERT INTO bare VALUES ({c}, '{region}')"),
            16 => format!("UPDATE base SET v = {value} WHERE id = {c}"),
            17 => format!("DELETE FROM ONLY base WHERE id = {c}"),
            18 => format!("UPDATE watched SET v = v + {c} WHERE id < {a}"),
            19 => format!("DELETE FROM watched WHERE id = {a}"),
            20 => format!("INSERT INTO watched VALUES ({a}, {b})"),
            21 => format!(
                "MERGE INTO watched w USING generate_series({c}, {a}) AS s (id) ON w.id = s.id \
                 WHEN MATCHED AND w.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = {b} \
                 WHEN NOT MATCHED AND s.id % 3 = 0 THEN INSERT VALUES (s.id, {c})"
            ),
            22 => format!(
                "UPDATE parent SET id = -id WHERE id > {a}; UPDATE parent SET id = -id WHERE id < 0"
            ),
            _ => self
                .one(&[
                    "TRUNCATE watch_log",
                    "TRUNCATE keyless",
                    "UPDATE kinds SET num = num + 1",
                ])
                .to_owned(),
        }
    }

    /// A few statements, in a block or not, some of it taken back.
    fn workload(&mut self) -> Vec<String> {
        let count = 1 + self.roll(5);
        let statements: Vec<String> = (0..count).map(|_| self.statement()).collect();
        match self.roll(4) {
            0 => {
                let mut block = vec!["BEGIN".to_owned()];
                for (number, statement) in statements.into_iter().enumerate() {
                    block.push(format!("SAVEPOINT s{number}"));
                    let failed = format!("ROLLBACK TO s{number}");
                    block.push(statement);
                    // Also where it failed, the block goes on.
                    if self.roll(3) == 0 {
                        block.push(failed);
                    }
                }
                block.push(self.one(&["COMMIT", "COMMIT", "ROLLBACK"]).to_owned());
                block
            }
            _ => statements,
        }
    }
}

async fn at_random(seed: u64, rounds: usize) {
    let databases = [harness::database().await, harness::database().await];
    let pair = Pair::new(databases, TABLES).await;
    let before = contents(&pair.plain).await;
    let mut dice = Dice(seed);
    let mut changes = None;
    for _ in 0..rounds {
        for sql in dice.workload() {
            pair.run(&sql).await;
        }
        changes = Some(pair.compare(&before).await);
    }
    let copy = harness::database().await.connect().await;
    copy.batch_execute(TABLES).await.unwrap();
    let script = script(&changes.unwrap());
    copy.batch_execute(&script)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{script}"));
    assert_eq!(
        contents(&copy).await,
        contents(&pair.plain).await,
        "seed {seed}"
    );
}

#[tokio::test]
async fn workloads_at_random() {
    let seeds = std::env::var("CHANGESET_SEEDS").map_or(3, |seeds| seeds.parse().unwrap());
    for seed in 1_u64..=seeds {
        at_random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 15).await;
    }
}
