//! Somebody who tries everything, by one of several ways, with a search over all that comes back.

use std::sync::Arc;
use std::time::Duration;

use super::corpus::{Attack, Statement};
use super::search::Search;
use super::tape::{Tape, recorded};
use crate::harness::wire::{Client, Message};

/// How the attacker got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A developer, through the proxy, in a block that is rolled back.
    Proxy,
    /// Straight at Postgres as a leased developer role.
    Straight,
    /// The same, with the right to write.
    Armed,
    /// A superuser, to see that the search would have found something.
    Admin,
}

/// What of a statement is there for the next of the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Each is undone.
    Nothing,
    /// Now and then one is not.
    SomeEffects,
}

/// What came out that should not have.
#[derive(Debug)]
pub struct Leak {
    pub attack: String,
    pub statement: String,
    pub what: String,
}

/// An attacker's connection.
pub struct Attacker {
    way: Way,
    extended: bool,
    autocommit: bool,
    alone: bool,
    prefix: String,
    url: String,
    client: Option<Client>,
    status: u8,
    tape: Tape,
    search: Arc<Search>,
    /// What got out.
    pub leaks: Vec<Leak>,
    /// Statements sent, and those of them that Postgres ran.
    pub sent: usize,
    pub done: usize,
}

impl Attacker {
    /// For a URL whose port is that of the proxy or of Postgres.
    pub async fn new(way: Way, url: &str, search: Arc<Search>) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let (port, tape) = recorded(url.port().unwrap()).await;
        url.set_port(Some(port)).unwrap();
        Self {
            way,
            extended: false,
            autocommit: false,
            alone: false,
            prefix: String::new(),
            url: url.to_string(),
            client: None,
            status: b'I',
            tape,
            search,
            leaks: Vec::new(),
            sent: 0,
            done: 0,
        }
    }

    /// Knows what the names of the seal's roles begin with.
    pub fn knows(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    /// Begins no block for an attack of one statement: it stands alone, as most of an application's do.
    pub fn autocommit(mut self) -> Self {
        self.autocommit = true;
        self
    }

    /// Sends every statement by the extended protocol.
    pub fn extended(mut self) -> Self {
        self.extended = true;
        self
    }

    /// Runs an attack, and undoes what it did.
    pub async fn run(&mut self, attack: &Attack) {
        self.alone = self.autocommit && attack.statements.len() == 1;
        for statement in &attack.statements {
            self.ready().await;
            let answers = self.say(statement).await;
            self.sent += 1;
            self.done += usize::from(!answers.iter().any(|message| message.tag == b'E'));
            self.look(&attack.name, &statement.sql);
        }
        for sql in ["ROLLBACK", "DISCARD ALL"] {
            self.say(&plain(sql)).await;
        }
        self.look(&attack.name, "(the end)");
        let outlives = attack.statements.iter().any(|s| s.sql.contains("COMMIT"));
        if self.way == Way::Proxy && outlives {
            self.begin_anew().await;
        }
        self.alone = false;
    }

    /// Throws the sandbox away.
    async fn begin_anew(&mut self) {
        let mut console = url::Url::parse(&self.url).unwrap();
        console.set_path("devinprod");
        let mut console = Client::connect(console.as_str()).await;
        console.query("RESET SANDBOX default").run().await;
    }

    /// Many statements in few round trips.
    pub async fn run_all(&mut self, name: &str, statements: &[String], keeps: Keeps) {
        const BATCH: usize = 20;
        for (at, batch) in statements.chunks(BATCH).enumerate() {
            self.ready().await;
            for (n, sql) in batch.iter().enumerate() {
                self.queue(sql);
                // After a failed one a SAVEPOINT does nothing.
                let keep = keeps == Keeps::SomeEffects && (at + n) % 3 == 2;
                self.queue(["ROLLBACK TO canary", "SAVEPOINT canary"][usize::from(keep)]);
            }
            self.flush(2 * batch.len()).await;
            self.sent += batch.len();
            self.say(&plain("ROLLBACK")).await;
            let bytes = self.tape.take();
            if let Some(what) = self.search.find(&bytes) {
                self.tape.wipe();
                let known = self.leaks.len();
                let again = Attack {
                    name: name.to_owned(),
                    statements: batch.iter().map(|sql| plain(sql)).collect(),
                };
                Box::pin(self.run(&again)).await;
                if self.leaks.len() == known {
                    self.leaks.push(Leak {
                        attack: name.to_owned(),
                        statement: batch.join("\n"),
                        what,
                    });
                }
            }
        }
    }

    /// Messages of any kind, as the client queued them, after which so many ReadyForQuery must come.
    pub async fn messages(&mut self, name: &str, ready: usize, queue: impl FnOnce(&mut Client)) {
        self.ready().await;
        if let Some(client) = &mut self.client {
            queue(client);
        }
        self.flush(ready).await;
        self.sent += 1;
        self.look(name, "(messages)");
        self.say(&plain("ROLLBACK")).await;
        self.look(name, "(the end)");
    }

    /// Sends what is queued and reads until so many ReadyForQuery have come, or nothing more will.
    async fn flush(&mut self, mut expected: usize) {
        let Some(client) = &mut self.client else {
            return;
        };
        while expected > 0 {
            let answers = client.run_until(b"ZG").await;
            self.done += answers.iter().filter(|message| message.tag == b'C').count();
            match answers.last() {
                Some(message) if message.tag == b'Z' => {
                    expected -= 1;
                    self.status = message.body.first().copied().unwrap_or(b'I');
                }
                // It hung up, or asks for data: what was sent behind is taken for that.
                _ => {
                    self.client = None;
                    self.status = b'I';
                    return;
                }
            }
        }
    }

    fn queue(&mut self, sql: &str) {
        let sql = &sql.replace("@prefix@", &self.prefix);
        let extended = self.extended;
        let Some(client) = &mut self.client else {
            return;
        };
        if extended {
            client.parse("", sql, &[]).bind("", "", &[]);
            client.describe(b'P', "").execute("", 0).sync();
        } else {
            client.query(sql);
        }
    }

    /// What is on the tape after the last statement.
    fn look(&mut self, attack: &str, statement: &str) {
        let bytes = self.tape.take();
        if let Some(what) = self.search.find(&bytes) {
            self.tape.wipe();
            self.leaks.push(Leak {
                attack: attack.to_owned(),
                statement: statement.to_owned(),
                what,
            });
        }
    }

    /// Connected, in a block, with a savepoint to come back to.
    async fn ready(&mut self) {
        if self.client.is_none() {
            self.client = Some(self.let_in().await);
            self.status = b'I';
        }
        if self.alone {
            return;
        }
        if self.status == b'E' {
            self.say(&plain("ROLLBACK TO canary")).await;
        }
        if self.status == b'E' {
            self.say(&plain("ROLLBACK")).await;
        }
        if self.status == b'I' {
            self.say(&plain("BEGIN")).await;
            if self.way == Way::Armed {
                self.say(&plain("SELECT devinprod.arm()")).await;
            }
        }
        self.say(&plain("SAVEPOINT canary")).await;
    }

    /// A new connection. A developer role is leased again only some seconds after its last lease.
    async fn let_in(&self) -> Client {
        let mut tries = 0;
        loop {
            match Client::try_connect(&self.url, &[]).await {
                Ok(client) => return client,
                Err(Some(refused))
                    if refused.field(b'C').as_deref() == Some("53300") && tries < 60 =>
                {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(refused) => panic!("let in no more: {:?}", refused.map(|m| m.line())),
            }
        }
    }

    /// One statement and its answers, whatever they are.
    async fn say(&mut self, statement: &Statement) -> Vec<Message> {
        self.queue(&statement.sql);
        let extended = self.extended;
        let Some(client) = &mut self.client else {
            return Vec::new();
        };
        let mut answers = client.run_until(b"ZG").await;
        if answers.last().is_some_and(|message| message.tag == b'G') {
            client.copy_data(statement.data.as_bytes()).copy_done();
            if extended {
                client.sync();
            }
            answers.extend(client.run_until(b"Z").await);
        }
        match answers.last() {
            Some(message) if message.tag == b'Z' => {
                self.status = message.body.first().copied().unwrap_or(b'I');
            }
            _ => {
                self.client = None;
                self.status = b'I';
            }
        }
        answers
    }
}

fn plain(sql: &str) -> Statement {
    Statement {
        sql: sql.to_owned(),
        ..Statement::default()
    }
}
