//! Sets of exceptions: their members see a column as it is, until a moment; nobody else does.

use devinprod::seal;

use crate::harness::{self, connect};
use crate::seal_kit::{Developer, Sealed, answer};
use crate::seal_masks_kit::{USERS, holes, options, sealed_by};

fn policy(until: &str) -> String {
    format!(
        "[table.public.users]
        id = \"clear\"
        phone = \"phone\"
        full_name = \"person_name\"
        notes = \"null\"
        [[exception]]
        set = \"support\"
        who = [\"ann\"]
        columns = [\"public.users.phone\", \"public.users.notes\"]
        until = {until}
        because = \"they call people back\"
        [[exception]]
        set = \"audit\"
        who = [\"bob\"]
        columns = [\"public.users.full_name\"]
        until = 2099-01-31
        because = \"they look\"
        "
    )
}

async fn member(sealed: &Sealed, set: Option<&str>) -> Developer {
    let lease = seal::lease_of(&sealed.keeper, set)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let client = connect(&sealed.database.url_as(&lease.role, &lease.password)).await;
    Developer { client, lease }
}

const PHONE: &str = "SELECT phone FROM devinprod_masked.\"public.users\" WHERE id = 7";
const NOTES: &str =
    "SELECT coalesce(notes, 'nothing') FROM devinprod_rows.\"public.users\" WHERE id = 7";

#[tokio::test]
async fn members_see_what_is_excepted_until_it_ends() {
    let sealed = sealed_by(harness::database().await, USERS, &policy("2099-01-31")).await;
    let names = &sealed.options.names;
    let support = member(&sealed, Some("support")).await;
    let audit = member(&sealed, Some("audit")).await;
    let other = member(&sealed, None).await;
    assert_eq!(support.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
    assert_eq!(support.ask(NOTES).await.unwrap(), ["real note 7"]);
    for developer in [&audit, &other] {
        assert_ne!(developer.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
        assert_eq!(developer.ask(NOTES).await.unwrap(), ["nothing"]);
    }
    // The table itself stays closed, and nobody becomes a member.
    assert_eq!(
        support.ask("SELECT phone FROM users").await.unwrap_err(),
        "42501"
    );
    let grant = format!(
        "GRANT {} TO {}",
        names.exceptions("support"),
        other.lease.role
    );
    assert!(answer(other.client.simple_query(&grant).await).is_err());
    let role = format!("SET ROLE {}", names.exceptions("support"));
    assert!(answer(other.client.simple_query(&role).await).is_err());
    for sql in ["SET TimeZone = 'Etc/GMT+12'", "SET DateStyle = 'SQL, DMY'"] {
        audit.ask(sql).await.unwrap();
        assert_ne!(audit.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
    }
    assert_eq!(holes(&sealed.keeper, names).await, Vec::<String>::new());
    // Two pairs each, and a clear word when they are all taken.
    let _second = member(&sealed, Some("support")).await;
    let refused = seal::lease_of(&sealed.keeper, Some("support"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("support"), "{refused}");
    assert!(
        seal::lease_of(&sealed.keeper, Some("nobody"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_view_itself_ends_an_exception() {
    let sealed = sealed_by(harness::database().await, USERS, &policy("2099-01-31")).await;
    let support = member(&sealed, Some("support")).await;
    assert_eq!(support.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
    // The same definition with another moment, as time would make it.
    let sql = "SELECT pg_get_viewdef('devinprod_masked.\"public.users\"'::regclass)";
    let view = sealed
        .admin
        .query_one(sql, &[])
        .await
        .unwrap()
        .get::<_, String>(0);
    assert!(view.contains("2099"), "{view}");
    let past = view.replace("2099", "2001");
    let replace = format!("CREATE OR REPLACE VIEW devinprod_masked.\"public.users\" AS {past}");
    sealed.admin.batch_execute(&replace).await.unwrap();
    assert_ne!(support.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
}

#[tokio::test]
async fn a_set_that_comes_later_gets_its_roles_and_one_that_goes_shows_nothing() {
    let without = "[table.public.users]\nid = \"clear\"\nphone = \"phone\"\n";
    let sealed = sealed_by(harness::database().await, USERS, without).await;
    let developer = member(&sealed, None).await;
    drop(developer);
    let with = options(&sealed.database, &policy("2099-01-31"));
    crate::seal_kit::run_setup(&sealed.admin, &with).await;
    let support = member(&sealed, Some("support")).await;
    assert_eq!(support.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
    support.ask("ROLLBACK").await.unwrap();
    crate::seal_kit::run_setup(&sealed.admin, &options(&sealed.database, without)).await;
    assert_ne!(support.ask(PHONE).await.unwrap(), ["+1 555 0107"]);
    assert_eq!(
        holes(&sealed.keeper, &sealed.options.names).await,
        Vec::<String>::new()
    );
}
