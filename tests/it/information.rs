//! The information schema, through the proxy, shows what the tables' owner sees.

use crate::harness::{self, Setup, both, wire::Client};

/// What tools ask it for, each an ordered query.
const QUESTIONS: [&str; 9] = [
    "SELECT table_name, table_type, is_insertable_into FROM information_schema.tables
     WHERE table_schema = 'public' ORDER BY 1",
    "SELECT c.table_name, c.column_name, c.column_default, c.data_type FROM information_schema.columns c
     WHERE c.table_schema = 'public' ORDER BY 1, c.ordinal_position",
    "SELECT constraint_name, table_name, constraint_type FROM information_schema.table_constraints
     WHERE table_schema = 'public' AND constraint_name !~ '_not_null$' ORDER BY 1, 2",
    // Foreign keys, as query builders look for them.
    "SELECT tc.constraint_name, kcu.column_name, ccu.table_name, ccu.column_name
     FROM information_schema.table_constraints AS tc
     JOIN information_schema.key_column_usage AS kcu USING (constraint_name)
     JOIN information_schema.constraint_column_usage AS ccu ON ccu.constraint_name = tc.constraint_name
     WHERE tc.constraint_type = 'FOREIGN KEY' ORDER BY 1, 2, 3",
    "SELECT constraint_name, delete_rule FROM information_schema.referential_constraints ORDER BY 1",
    "SELECT count(*) > 0 FROM information_schema.check_constraints",
    "SELECT sequence_name FROM information_schema.sequences ORDER BY 1",
    "SELECT schema_name FROM information_schema.schemata WHERE schema_name !~ '^devinprod' ORDER BY 1",
    "SELECT routine_name, routine_definition IS NULL FROM information_schema.routines
     WHERE routine_schema = 'public' ORDER BY 1",
];

#[tokio::test]
async fn keys_and_constraints_are_found_in_the_information_schema() {
    for database in both().await {
        let direct = database.url.clone();
        let proxy = harness::proxy_with(database, Setup::default()).await;
        let mut outside = Client::connect(&direct).await;
        let mut inside = Client::connect(&proxy.url()).await;
        for question in QUESTIONS {
            let expected = outside.simple(question).await;
            assert!(
                expected.contains("\nDataRow"),
                "no row: {question}\n{expected}"
            );
            let without_origin = |text: &str| {
                let lines = text
                    .lines()
                    .filter(|line| !line.starts_with("RowDescription"));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(
                without_origin(&inside.simple(question).await),
                without_origin(&expected),
                "{question}"
            );
        }
        let own =
            "SELECT count(*) FROM information_schema.tables WHERE table_schema LIKE 'devinprod%'";
        assert!(
            inside.simple(own).await.contains("DataRow \"0\""),
            "the seal's own tables are not shown"
        );
        // What was only looked up holds nothing.
        let witness = harness::second_connection(&proxy.database).await;
        let held = format!(
            "SELECT count(backend_xid) FROM pg_stat_activity WHERE starts_with(usename, '{}_')",
            proxy.database.name
        );
        assert_eq!(harness::scalar(&witness, &held).await, "0");
    }
}
