//! Attacks that are no text: how statements are cut into messages, formats, portals, functions called by number.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::attacker::Attacker;
use crate::harness::wire::Client;

const QUERIES: [&str; 6] = [
    "SELECT * FROM users",
    "SELECT email, secret_no, born, balance, photo, token, home FROM public.users",
    "SELECT u FROM users u",
    "TABLE orders",
    "UPDATE users SET city = 'x' RETURNING *",
    "INSERT INTO users (email, full_name, phone) VALUES ('a', 'b', 'c') RETURNING *",
];

/// All of them; `functions` are the numbers of functions that give something away.
pub async fn run(attacker: &mut Attacker, functions: &[u32]) {
    for sql in QUERIES {
        attacker
            .messages(&format!("binary results: {sql}"), 1, |client| {
                client.parse("", sql, &[]);
                bind_binary(client);
                client.describe(b'P', "").execute("", 0).sync();
            })
            .await;
        attacker
            .messages(
                &format!("a portal, one row at a time: {sql}"),
                4,
                |client| {
                    client
                        .parse("s", sql, &[])
                        .describe(b'S', "s")
                        .bind("p", "s", &[]);
                    for _ in 0..4 {
                        client.describe(b'P', "p").execute("p", 1).sync();
                    }
                },
            )
            .await;
        attacker
            .messages(&format!("an error in between: {sql}"), 2, |client| {
                client.parse("", sql, &[]).bind("", "", &[]).execute("", 0);
                client
                    .parse("", "SELECT 1 / 0", &[])
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync();
                client
                    .parse("", sql, &[])
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync();
            })
            .await;
        attacker
            .messages(&format!("without Describe, flushed: {sql}"), 1, |client| {
                client
                    .parse("", sql, &[])
                    .flush()
                    .bind("", "", &[])
                    .flush()
                    .execute("", 2)
                    .flush();
                client.execute("", 0).sync();
            })
            .await;
        attacker
            .messages(&format!("several in one Query: {sql}"), 1, |client| {
                client.query(&format!(
                    "SELECT 1; {sql}; SET search_path = app, public; {sql}; {sql}"
                ));
            })
            .await;
        attacker
            .messages(&format!("several in one Parse: {sql}"), 1, |client| {
                client
                    .parse("", &format!("SELECT 1; {sql}"), &[])
                    .bind("", "", &[])
                    .execute("", 0)
                    .sync();
            })
            .await;
        attacker
            .messages(
                &format!("prepared, then the name is another's: {sql}"),
                5,
                |client| {
                    client.query("CREATE TEMP TABLE users (LIKE towns)");
                    client.parse("old", sql, &[]).sync();
                    client.query("DROP TABLE pg_temp.users");
                    client.bind("", "old", &[]).execute("", 0).sync();
                    client
                        .bind("", "old", &[])
                        .describe(b'P', "")
                        .execute("", 0)
                        .sync();
                },
            )
            .await;
        attacker
            .messages(
                &format!("prepared under another path: {sql}"),
                5,
                |client| {
                    client.query("SET search_path = app");
                    client.parse("other", sql, &[]).sync();
                    client.query("SET search_path = public");
                    client
                        .parse("other2", sql, &[])
                        .bind("", "other2", &[])
                        .execute("", 0)
                        .sync();
                    client.bind("", "other", &[]).execute("", 0).sync();
                },
            )
            .await;
    }
    attacker
        .messages("a parameter in the place of everything", 1, |client| {
            client
                .parse(
                    "",
                    "SELECT * FROM users WHERE email > $1 OR full_name LIKE $2 OR id = $3",
                    &[],
                )
                .bind("", "", &[Some("a"), Some("%"), Some("1")])
                .describe(b'P', "")
                .execute("", 0)
                .sync();
        })
        .await;
    attacker
        .messages("COPY by the extended protocol", 1, |client| {
            client.parse("", "COPY users TO STDOUT (FORMAT binary)", &[]);
            bind_binary(client);
            client.execute("", 0).sync();
        })
        .await;
    attacker
        .messages("text that is no UTF-8", 1, |client| {
            let text = b"SELECT * FROM users WHERE email > '\xc3\x28'\0";
            let length = u32::try_from(text.len() + 4).unwrap();
            client.raw(b"Q").raw(&length.to_be_bytes()).raw(text);
        })
        .await;
    attacker
        .messages("a comment of a megabyte", 1, |client| {
            client.query(&format!("SELECT /*{}*/ * FROM users", "x".repeat(1 << 20)));
        })
        .await;
    attacker
        .messages("many terms", 1, |client| {
            client.query(&format!(
                "SELECT * FROM users WHERE id = 1{}",
                " OR id = 2".repeat(3000)
            ));
        })
        .await;
    for function in functions {
        attacker
            .messages(
                &format!("function {function} called by its number"),
                1,
                |client| {
                    let mut call = Vec::new();
                    call.extend_from_slice(&function.to_be_bytes());
                    // One format for all, one argument: the number 1 or 4242 as text; the result as text.
                    call.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 4]);
                    call.extend_from_slice(b"4242");
                    call.extend_from_slice(&[0, 0]);
                    let length = u32::try_from(call.len() + 4).unwrap();
                    client.raw(b"F").raw(&length.to_be_bytes()).raw(&call);
                },
            )
            .await;
    }
}

fn bind_binary(client: &mut Client) {
    let mut bytes = bytes::BytesMut::new();
    let none: [Option<&str>; 0] = [];
    let bound = frontend::bind("", "", [0], none, |_, _| Ok(IsNull::Yes), [1], &mut bytes);
    assert!(bound.is_ok(), "nothing to bind");
    client.raw(&bytes);
}
