//! Databases and clients in other encodings than UTF-8: masked reads and writes are the same, a name with an accent is
//! redirected, and what a server would read as other SQL than the proxy is refused.

use crate::harness::wire::{Client, Message, transcript};
use crate::harness::{self, Proxy, Setup, TestDatabase, dump, proxy_with};

/// The names have accents; each sensitive cell holds a marker between accents.
const TABLES: &str = "
    CREATE TABLE public.münzen (
        id bigint PRIMARY KEY, besitzer text NOT NULL, \"größe\" text, straße varchar(40) UNIQUE, ort text);
    INSERT INTO public.münzen SELECT n, 'ü zqwxk' || n || ' é', 'ß zqwxk' || n, 'zqwxk' || n || ' ñ', 'Zürich'
        FROM generate_series(1, 20) AS n;
    CREATE TABLE public.kauf (id bigint PRIMARY KEY, münze bigint REFERENCES public.münzen, preis integer);
    INSERT INTO public.kauf SELECT n, n, n FROM generate_series(1, 20) AS n;
";

const POLICY: &str = "
    [table.public.\"münzen\"]
    id = \"clear\"
    ort = { as = \"clear\", because = \"one town\" }
    besitzer = \"person_name\"
    \"größe\" = \"text\"
    \"straße\" = \"email\"
    [table.public.kauf]
    \"*\" = { as = \"clear\", because = \"numbers\" }
";

async fn sealed(database: TestDatabase) -> Proxy {
    let admin = database.connect().await;
    admin.batch_execute(TABLES).await.unwrap();
    let setup = Setup {
        policy: Some(POLICY.to_owned()),
        ..Setup::default()
    };
    proxy_with(database, setup).await
}

/// How a client writes its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Utf8,
    Latin1,
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF8",
            Self::Latin1 => "LATIN1",
        }
    }

    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Latin1 => text.chars().map(|c| u8::try_from(c).unwrap()).collect(),
        }
    }

    fn text(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8(bytes.to_vec()).unwrap(),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        }
    }

    async fn connect(self, proxy: &Proxy) -> Client {
        let parameters = [("client_encoding", self.name())];
        match Client::try_connect(&proxy.url(), &parameters).await {
            Ok(client) => client,
            Err(refused) => panic!("{:?}", refused.map(|message| message.line())),
        }
    }

    /// The answers to a Query, none of which may hold a marker.
    async fn ask(self, client: &mut Client, sql: &str) -> Vec<Message> {
        query(client, &self.bytes(sql)).await
    }

    /// The first column of each row; an error stands there as it is.
    async fn rows(self, client: &mut Client, sql: &str) -> Vec<String> {
        let answers = self.ask(client, sql).await;
        let rows = answers.iter().filter_map(|message| match message.tag {
            b'D' => Some(self.text(&first_cell(&message.body))),
            b'E' => Some(message.line()),
            _ => None,
        });
        rows.collect()
    }
}

fn first_cell(row: &[u8]) -> Vec<u8> {
    let length = i32::from_be_bytes(row[2..6].try_into().unwrap());
    match usize::try_from(length) {
        Ok(length) => row[6..6 + length].to_vec(),
        Err(_) => b"NULL".to_vec(),
    }
}

/// Sends a Query of these very bytes.
async fn query(client: &mut Client, sql: &[u8]) -> Vec<Message> {
    let length = u32::try_from(sql.len() + 5).unwrap();
    client
        .raw(b"Q")
        .raw(&length.to_be_bytes())
        .raw(sql)
        .raw(b"\0");
    let answers = client.run().await;
    for answer in &answers {
        let body = answer.body.to_ascii_lowercase();
        let found = body.windows(5).any(|bytes| bytes == b"zqwxk");
        assert!(!found, "a marker: {}", answer.line());
    }
    answers
}

async fn works(encoding: &str) {
    let proxy = sealed(harness::encoded(encoding).await).await;
    let before = dump(&proxy.database).await;
    for speaks in [Speaks::Utf8, Speaks::Latin1] {
        // Without an encoding, a server takes what comes for what it stores.
        if encoding == "SQL_ASCII" && speaks == Speaks::Latin1 {
            continue;
        }
        reads_and_writes(&proxy, speaks).await;
    }
    assert!(
        before == dump(&proxy.database).await,
        "something was committed"
    );
}

async fn reads_and_writes(proxy: &Proxy, speaks: Speaks) {
    let mut client = speaks.connect(proxy).await;
    let told = |sql: &str, rows: &[String]| format!("{speaks:?} {sql}: {rows:?}");
    for (sql, expected) in [
        ("SELECT ort FROM münzen WHERE id = 3", "Zürich"),
        (
            "SELECT m.ort FROM public.münzen AS m JOIN kauf ON kauf.münze = m.id WHERE kauf.id = 3",
            "Zürich",
        ),
        (
            "SELECT count(*) FROM münzen WHERE \"größe\" IS NOT NULL",
            "20",
        ),
        ("SELECT count(*) FROM münzen WHERE straße LIKE '%ñ%'", "0"),
        (
            "SELECT count(*) FROM (SELECT * FROM münzen ORDER BY besitzer) AS größer",
            "20",
        ),
        ("SELECT count(*) FROM münzen AS ü GROUP BY ü.ort", "20"),
    ] {
        let rows = speaks.rows(&mut client, sql).await;
        assert_eq!(rows, [expected], "{}", told(sql, &rows));
    }
    // Masks are there, and there are many of them.
    let rows = speaks
        .rows(&mut client, "SELECT DISTINCT besitzer FROM münzen")
        .await;
    assert!(rows.len() > 10, "{rows:?}");
    let rows = speaks
        .rows(&mut client, "SELECT \"größe\" FROM münzen WHERE id = 3")
        .await;
    assert!(
        rows.len() == 1 && rows[0] != "NULL" && !rows[0].starts_with("Error"),
        "{rows:?}"
    );

    // What a client writes reads back, character by character, also when it is returned.
    for (sql, expected) in [
        (
            "INSERT INTO münzen VALUES (90, 'Jörg Müßig', 'größer', 'Fährstraße', 'Köln') RETURNING besitzer",
            "Jörg Müßig",
        ),
        (
            "SELECT besitzer FROM münzen WHERE straße = 'Fährstraße'",
            "Jörg Müßig",
        ),
        (
            "SELECT length(\"größe\") FROM münzen WHERE \"größe\" = 'größer' AND id = 90",
            "6",
        ),
        (
            "UPDATE münzen SET besitzer = 'Åse' WHERE id = 3 RETURNING besitzer || ' ' || ort",
            "Åse Zürich",
        ),
        (
            "UPDATE münzen SET straße = 'Allée' WHERE besitzer = 'Jörg Müßig' RETURNING straße",
            "Allée",
        ),
        (
            "INSERT INTO münzen AS ä (id, besitzer, straße) VALUES (91, 'Ëlo', 'ÿ') ON CONFLICT (straße) DO UPDATE SET besitzer = excluded.besitzer RETURNING ä.besitzer",
            "Ëlo",
        ),
        (
            "DELETE FROM münzen WHERE straße = 'Allée' RETURNING besitzer",
            "Jörg Müßig",
        ),
    ] {
        let rows = speaks.rows(&mut client, sql).await;
        // Bytes are counted where the database has no encoding.
        let wide =
            expected == "6" && rows == ["8"] && client.parameters["server_encoding"] == "SQL_ASCII";
        assert!(wide || rows == [expected], "{}", told(sql, &rows));
    }
    // What was touched and not written is nothing, and a refusal names what the client named.
    let rows = speaks
        .rows(
            &mut client,
            "UPDATE münzen SET besitzer = 'é' || besitzer WHERE id = 4 RETURNING id",
        )
        .await;
    assert_eq!(rows, ["4"]);
    let refused = speaks
        .ask(
            &mut client,
            "SELECT münzen FROM ONLY public.münzen, nirgends_ü",
        )
        .await;
    assert!(
        transcript(&refused).contains("42P01"),
        "{}",
        transcript(&refused)
    );
    query(&mut client, &speaks.bytes("COPY münzen TO STDOUT")).await;
    query(&mut client, b"ROLLBACK").await;
    let mut console = Client::connect(&proxy.url().replace("/app", "/devinprod")).await;
    console.query("RESET SANDBOX default").run().await;
}

#[tokio::test]
async fn a_latin1_database_is_masked() {
    works("LATIN1").await;
}

#[tokio::test]
async fn a_database_without_an_encoding_is_masked() {
    works("SQL_ASCII").await;
}

#[tokio::test]
async fn a_client_of_another_encoding_is_understood() {
    works("UTF8").await;
}

/// Bytes that no encoding explains are masked like others: an error about them would show some.
#[tokio::test]
async fn cells_of_no_encoding_show_nothing() {
    let database = harness::encoded("SQL_ASCII").await;
    let admin = database.connect().await;
    admin.batch_execute(TABLES).await.unwrap();
    let broken = "UPDATE münzen SET besitzer = convert_from('\\xe97a7177786be9', 'SQL_ASCII'), \
         straße = convert_from('\\xff7a7177786b', 'SQL_ASCII') || id, \
         \"größe\" = convert_from('\\x7a7177786bfe', 'SQL_ASCII')";
    admin.batch_execute(broken).await.unwrap();
    let setup = Setup {
        policy: Some(POLICY.to_owned()),
        ..Setup::default()
    };
    let proxy = proxy_with(database, setup).await;
    let mut client = Client::connect(&proxy.url()).await;
    for sql in [
        "SELECT * FROM münzen",
        "SELECT besitzer, straße FROM münzen ORDER BY \"größe\"",
        "SELECT upper(besitzer), length(straße), md5(\"größe\") FROM münzen",
        "SELECT convert_to(besitzer, 'UTF8'), convert_to(straße, 'LATIN1') FROM münzen",
        "SELECT besitzer::int FROM münzen",
        "UPDATE münzen SET ort = 'x' RETURNING *",
        "DELETE FROM münzen RETURNING *",
    ] {
        let answers = transcript(&query(&mut client, sql.as_bytes()).await);
        for shown in [
            "0xe9", "0xff", "0xfe", "\u{fffd}", "\\xe9", "\\xff", "\\xfe",
        ] {
            assert!(!answers.contains(shown), "{sql}: {answers}");
        }
    }
}

/// Statements that ask for an encoding, in words that the proxy reads.
fn asking(encoding: &str) -> [String; 9] {
    [
        format!("SET client_encoding = '{encoding}'"),
        format!("SET client_encoding TO {encoding}"),
        format!("set Client_Encoding = \"{}\"", encoding.to_lowercase()),
        format!("SET NAMES '{encoding}'"),
        format!("SET LOCAL client_encoding = '{encoding}'"),
        format!("SET SESSION client_encoding = U&'{encoding}'"),
        format!("SET client_encoding = E'{encoding}'"),
        format!("SET client_encoding = ' {encoding}-'"),
        format!("SELECT set_config('client_encoding', '{encoding}', false)"),
    ]
}

/// The same where only the server sees what it comes to.
const HIDDEN: [&str; 4] = [
    "SELECT set_config('client' || '_encoding', 'SJIS', false)",
    "DO $$ BEGIN PERFORM set_config('client_encoding', 'BIG5', false); END $$",
    "DO $$ BEGIN EXECUTE 'SET client_encoding = SJIS'; END $$",
    "UPDATE pg_settings SET setting = 'UHC' WHERE name = 'client_encoding'",
];

/// In these encodings the second byte of a character may be a backslash, a quote's neighbour, or a letter: the proxy would
/// read other SQL than the server.
#[tokio::test]
async fn an_encoding_that_hides_a_backslash_is_never_in_force() {
    let proxy = sealed(harness::encoded("UTF8").await).await;
    let before = dump(&proxy.database).await;
    let mut client = Client::connect(&proxy.url()).await;
    for encoding in [
        "SJIS",
        "BIG5",
        "GBK",
        "UHC",
        "JOHAB",
        "GB18030",
        "SHIFT_JIS_2004",
    ] {
        let parameters = [("client_encoding", encoding)];
        let refused = Client::try_connect(&proxy.url(), &parameters)
            .await
            .err()
            .flatten();
        let refused = refused.expect("let in").line();
        assert!(
            refused.contains("0A000") && refused.contains("hint"),
            "{refused}"
        );
        for change in asking(encoding) {
            let told = transcript(&query(&mut client, change.as_bytes()).await);
            assert!(told.contains("ErrorResponse"), "{change}: {told}");
            assert!(
                told.contains("0A000") || told.contains("22023"),
                "{change}: {told}"
            );
            tricks(&mut client, &change).await;
        }
    }
    for change in HIDDEN {
        let mut client = Client::connect(&proxy.url()).await;
        let told = transcript(&query(&mut client, change.as_bytes()).await);
        // The sandbox ends, unless the statement itself failed over it.
        let ended = told.contains("57P01") && told.contains("use UTF8");
        assert!(ended || told.contains("22P05"), "{change}: {told}");
        tricks(&mut client, change).await;
    }
    assert!(
        before == dump(&proxy.database).await,
        "something was committed"
    );
}

/// The second byte of each character is a backslash or a quote. Were it taken for one half of a character, the string would
/// end elsewhere than the proxy believes.
async fn tricks(client: &mut Client, after: &str) {
    for trick in [
        &b"SELECT E'\x95\x5c', besitzer FROM public.m\xc3\xbcnzen --'"[..],
        b"SELECT E'\x95\x5c', pg_notify('a', 'b') --'",
        b"SELECT E'\x95\x5c'; COMMIT; SELECT '",
        b"SELECT '\x95\x27', besitzer FROM m\xc3\xbcnzen --'",
        b"SELECT \"\x95\x22 FROM m\xc3\xbcnzen --\"",
    ] {
        let told = transcript(&query(client, trick).await);
        assert!(told.contains("ErrorResponse"), "after {after}: {told}");
    }
    query(client, b"ROLLBACK").await;
    for (sql, expected) in [
        ("SHOW client_encoding", "UTF8"),
        ("SELECT ort FROM münzen WHERE id = 3", "Zürich"),
    ] {
        let rows = Speaks::Utf8.rows(client, sql).await;
        assert_eq!(rows, [expected], "after {after}");
    }
}
