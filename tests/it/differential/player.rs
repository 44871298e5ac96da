//! Plays a case against a server and writes down what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::script::{Case, Step};
use crate::harness::wire::{Client, Message};

/// The line of an answer that did not come.
pub const SILENCE: &str = "no answer";

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the case, and whether its COPY was begun by a Query.
struct Player {
    client: Client,
    simple: bool,
}

/// Where a case is played.
#[derive(Debug)]
pub struct Server {
    /// The URL to connect to.
    pub url: String,
    /// Names of the tables that existed before, by OID.
    pub tables: BTreeMap<u32, String>,
}

impl Server {
    /// All answers, one line each, behind lines `> ` that say what was asked.
    pub async fn play(&self, case: &Case) -> Vec<String> {
        let mut players: BTreeMap<char, Player> = BTreeMap::new();
        let mut lines = Vec::new();
        let mut who = 'a';
        for (text, step) in &case.steps {
            lines.push(format!("> {text}"));
            if let Step::Client(name) = step {
                who = *name;
                continue;
            }
            if let std::collections::btree_map::Entry::Vacant(place) = players.entry(who) {
                let parameters: Vec<_> = case
                    .parameters
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect();
                match Client::try_connect(&self.url, &parameters).await {
                    Ok(client) => {
                        place.insert(Player {
                            client,
                            simple: false,
                        });
                    }
                    Err(refused) => {
                        lines.push(refused.map_or("hung up".to_owned(), |message| message.line()));
                        return lines;
                    }
                }
            }
            let player = players.get_mut(&who).unwrap();
            let Ok(messages) = tokio::time::timeout(PATIENCE, player.play(step)).await else {
                lines.push(SILENCE.to_owned());
                return lines;
            };
            lines.extend(messages.iter().map(|message| self.line(message)));
        }
        for player in players.values_mut() {
            player.client.terminate().send().await;
            while player.client.read().await.is_some() {}
        }
        lines
    }

    /// As [`Message::line`], and with what that leaves out: whose table a column is of, and bytes that are not UTF-8.
    fn line(&self, message: &Message) -> String {
        let mut line = message.line();
        match message.tag {
            b'D' | b'd' if line.contains(char::REPLACEMENT_CHARACTER) => {
                line = format!(
                    "{} {}",
                    char::from(message.tag),
                    message.body.escape_ascii()
                );
            }
            b'T' => {
                for oid in table_oids(&message.body) {
                    line.push(' ');
                    line.push_str(match oid {
                        0 => "-",
                        oid => self.tables.get(&oid).map_or("new", String::as_str),
                    });
                }
            }
            _ => {}
        }
        line
    }
}

impl Player {
    async fn play(&mut self, step: &Step) -> Vec<Message> {
        const ANSWERED: &[u8] = b"ZG";
        let client = &mut self.client;
        match step {
            Step::Client(_) => return Vec::new(),
            Step::Query(sql) => {
                let length = u32::try_from(sql.len() + 5).unwrap();
                client
                    .raw(b"Q")
                    .raw(&length.to_be_bytes())
                    .raw(sql)
                    .raw(b"\0");
                self.simple = true;
                return client.run_until(ANSWERED).await;
            }
            Step::Sync => {
                self.simple = false;
                return client.sync().run_until(ANSWERED).await;
            }
            Step::Extended(sql, values) => {
                let values: Vec<_> = values.iter().map(Option::as_deref).collect();
                self.simple = false;
                client
                    .parse("", sql, &[])
                    .bind("", "", &values)
                    .describe(b'P', "")
                    .execute("", 0)
                    .sync();
                return client.run_until(ANSWERED).await;
            }
            Step::Flush(tags) => {
                let mut tags = tags.clone();
                tags.extend(b"EG");
                self.simple = false;
                return client.flush().run_until(&tags).await;
            }
            Step::Wait(tags) => return client.run_until(tags).await,
            Step::CopyDone | Step::CopyFail(_) => {
                match step {
                    Step::CopyFail(reason) => client.copy_fail(reason),
                    _ => client.copy_done(),
                };
                if self.simple {
                    return client.run_until(ANSWERED).await;
                }
            }
            Step::Parse { name, types, sql } => {
                client.parse(name, sql, types);
            }
            Step::Bind {
                portal,
                statement,
                values,
                binary,
            } => bind(client, portal, statement, values, *binary),
            Step::Describe(kind, name) => {
                client.describe(*kind, name);
            }
            Step::Execute(portal, rows) => {
                client.execute(portal, *rows);
            }
            Step::Close(kind, name) => {
                client.close(*kind, name);
            }
            Step::CopyData(data) => {
                client.copy_data(data);
            }
        }
        Vec::new()
    }
}

fn bind(
    client: &mut Client,
    portal: &str,
    statement: &str,
    values: &[Option<String>],
    binary: bool,
) {
    let mut body = Vec::new();
    for name in [portal, statement] {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            Some(text) => {
                body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                body.extend_from_slice(text.as_bytes());
            }
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }
    body.extend_from_slice(&[0, 1, 0, u8::from(binary)]);
    let length = u32::try_from(body.len() + 4).unwrap();
    client.raw(b"B").raw(&length.to_be_bytes()).raw(&body);
}

fn table_oids(body: &[u8]) -> Vec<u32> {
    let mut oids = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let fixed = &rest[end + 1..end + 19];
        oids.push(u32::from_be_bytes(fixed[..4].try_into().unwrap()));
        rest = &rest[end + 19..];
    }
    oids
}
