//! The doctor tries to read what the policy closes, and sees each thing that was opened.

use devinprod::seal::doctor::{Promise, Verdict};
use devinprod::seal::{self, SealError};

use crate::harness::connect;
use crate::seal_kit::Sealed;
use crate::seal_masks_kit::sealed;

async fn examine(sealed: &Sealed) -> Vec<Promise> {
    let open = async |role: &str, password: &str| -> Result<_, SealError> {
        Ok(connect(&sealed.database.url_as(role, password)).await)
    };
    seal::doctor(&sealed.keeper, &sealed.options.names, open)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

fn broken(promises: &[Promise]) -> Vec<String> {
    promises
        .iter()
        .filter(|promise| promise.verdict == Verdict::Broken)
        .map(|promise| format!("{}: {}", promise.text, promise.seen))
        .collect()
}

#[tokio::test]
async fn a_seal_with_a_policy_holds() {
    let sealed = sealed().await;
    let promises = examine(&sealed).await;
    assert_eq!(broken(&promises), [""; 0]);
    // 6 of the users' columns are not clear: each was tried.
    let held = |text: &str| {
        promises
            .iter()
            .any(|promise| promise.text == text && promise.verdict == Verdict::Held)
    };
    for text in [
        "no sensitive column is read by a query (6 tried)",
        "no sensitive table is read by a whole row (1 tried)",
        "armed: the masks' key cannot be read",
        "armed: no note can be forged",
        "armed: names of the attacker's own are never looked at by the masks",
        "statistics show no sensitive column",
        "unarmed: no function with its owner's rights can be called",
    ] {
        assert!(held(text), "{text}");
    }
}

#[tokio::test]
async fn whatever_was_opened_is_seen() {
    let sealed = sealed().await;
    let readers = sealed.options.names.readers();
    sealed.admin.batch_execute("ANALYZE users").await.unwrap();
    for (open, close, seen) in [
        (
            format!("GRANT SELECT (email) ON users TO {readers}"),
            format!("REVOKE SELECT (email) ON users FROM {readers}"),
            &["by a query", "by a condition", "by COPY", "statistics show"][..],
        ),
        (
            "GRANT SELECT ON users TO PUBLIC".to_owned(),
            "REVOKE SELECT ON users FROM PUBLIC".to_owned(),
            &["by a whole row", "by a row as JSON", "by all columns"],
        ),
        (
            format!("GRANT SELECT ON devinprod.mask_key TO {readers}"),
            format!("REVOKE SELECT ON devinprod.mask_key FROM {readers}"),
            &["key cannot be read"],
        ),
        (
            format!("GRANT INSERT ON devinprod.written TO {readers}"),
            format!("REVOKE INSERT ON devinprod.written FROM {readers}"),
            &["no note can be forged"],
        ),
        (
            format!(
                "CREATE FUNCTION hole() RETURNS text LANGUAGE sql SECURITY DEFINER AS \
                 'SELECT email::text FROM public.users LIMIT 1'; GRANT EXECUTE ON FUNCTION hole() TO {readers}"
            ),
            "DROP FUNCTION hole()".to_owned(),
            &["owner's rights"],
        ),
    ] {
        sealed.admin.batch_execute(&open).await.unwrap();
        let broken = broken(&examine(&sealed).await);
        for text in seen {
            assert!(
                broken.iter().any(|line| line.contains(text)),
                "{open}: {text}: {broken:?}"
            );
        }
        // A row is never told, only that there was one.
        assert!(!broken.concat().contains("secret.example"), "{broken:?}");
        sealed.admin.batch_execute(&close).await.unwrap();
        // The role may be leased again at once.
        let lease = "UPDATE devinprod.pair SET leased_at = NULL";
        sealed.admin.batch_execute(lease).await.unwrap();
    }
}
