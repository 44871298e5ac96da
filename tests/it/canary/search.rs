//! The byte search: every marker of a database, in every dress that it could leave in.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The sixteen letters that a marker is made of.
const LETTERS: &[u8] = b"ghjkmnpqrtvwxzsl";
/// A marker's length, and how many letters of it in a row are taken for a leak.
const MARKER: usize = 16;
const PIECE: usize = 9;
/// The same for the digits of a number.
const NUMBER: usize = 12;
const DIGITS: usize = 11;

/// Finds markers in bytes.
pub struct Search {
    /// Case does not matter: text, hexadecimal, numbers.
    folded: AhoCorasick,
    /// Bytes as they are: base64, binary formats.
    exact: AhoCorasick,
    names: [Vec<String>; 2],
    /// How many markers there are.
    pub markers: usize,
}

impl Search {
    /// For every marker in the database, as a superuser sees it.
    pub async fn of(admin: &Client) -> Self {
        let mut text = String::new();
        for table in column(admin, TABLES).await {
            let cells = format!("SELECT t::text FROM ONLY {table} AS t");
            for row in column(admin, &cells).await {
                text += &row;
                text.push('\n');
            }
        }
        let objects =
            "SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata ORDER BY 1";
        text += &column(admin, objects).await.join("\n");
        // A digest of a whole cell without a key tells as much as the cell.
        let mut digests = Vec::new();
        for sql in column(admin, DIGESTS).await {
            digests.extend(column(admin, &sql).await);
        }
        Self::new(&text, &digests)
    }

    fn new(text: &str, digests: &[String]) -> Self {
        let mut patterns = Patterns::default();
        // bytea is shown as hexadecimal digits; what stands in it is a marker too.
        let hidden: String = text
            .split("\\x")
            .skip(1)
            .map(|rest| unhex(rest) + "\n")
            .collect();
        let markers = runs(text, MARKER, |b| LETTERS.contains(&b))
            .into_iter()
            .chain(runs(&hidden, MARKER, |b| LETTERS.contains(&b)))
            .collect::<BTreeSet<_>>();
        for marker in &markers {
            patterns.word(marker);
        }
        let numbers = runs(text, NUMBER, |b| b.is_ascii_digit());
        for number in &numbers {
            patterns.number(number);
        }
        let days = shaped(text, "3ddd-dd-dd");
        for day in &days {
            patterns.day(day);
        }
        let others: BTreeSet<String> = shaped(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh")
            .into_iter()
            .chain(shaped(text, "fd00:hhhh:hhhh:hhhh:hhhh:hhhh"))
            .collect();
        for other in &others {
            patterns.hexadecimal(other);
        }
        for digest in digests {
            patterns.add(digest, "digest of", digest);
        }
        let markers = markers.len() + numbers.len() + days.len() + others.len();
        let build = |folded: bool, list: &[(Vec<u8>, String)]| {
            AhoCorasick::builder()
                .ascii_case_insensitive(folded)
                .match_kind(MatchKind::LeftmostFirst)
                .build(list.iter().map(|(pattern, _)| pattern))
                .unwrap()
        };
        Self {
            folded: build(true, &patterns.folded),
            exact: build(false, &patterns.exact),
            names: [patterns.folded, patterns.exact]
                .map(|list| list.into_iter().map(|(_, name)| name).collect()),
            markers,
        }
    }

    /// The first marker in these bytes: what it is, in which dress, and what stands around it.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let both = [&self.folded, &self.exact].into_iter().zip(&self.names);
        both.filter_map(|(search, names)| {
            let hit = search.find(bytes)?;
            let around = &bytes[hit.start().saturating_sub(120)..bytes.len().min(hit.end() + 60)];
            let around = String::from_utf8_lossy(around).replace('\0', "·");
            Some(format!("{} in: {around}", names[hit.pattern().as_usize()]))
        })
        .next()
    }
}

#[derive(Default)]
struct Patterns {
    folded: Vec<(Vec<u8>, String)>,
    exact: Vec<(Vec<u8>, String)>,
}

impl Patterns {
    /// A pattern in letters of either case.
    fn add(&mut self, pattern: &str, dress: &str, marker: &str) {
        self.folded
            .push((pattern.as_bytes().to_vec(), format!("{marker}, {dress}")));
    }

    fn add_exact(&mut self, pattern: Vec<u8>, dress: &str, marker: &str) {
        self.exact.push((pattern, format!("{marker}, {dress}")));
    }

    fn word(&mut self, marker: &str) {
        let upper = marker.to_uppercase();
        for piece in marker.as_bytes().windows(PIECE) {
            let piece = std::str::from_utf8(piece).unwrap();
            let reversed: String = piece.chars().rev().collect();
            self.add(piece, "plain", marker);
            self.add(&reversed, "reversed", marker);
            self.add(&hex(piece.as_bytes()), "hex", marker);
            self.add(&hex(reversed.as_bytes()), "reversed, hex", marker);
            self.add(&hex(piece.to_uppercase().as_bytes()), "hex", marker);
            let wide: Vec<u8> = piece.bytes().flat_map(|b| [b, 0]).collect();
            self.add_exact(wide, "UTF-16", marker);
            self.add(&join(piece, ","), "letter by letter", marker);
            self.add(&join(piece, "\",\""), "letter by letter", marker);
        }
        for word in [marker, &upper] {
            let reversed: String = word.chars().rev().collect();
            for (word, dress) in [(word, "base64"), (&reversed, "reversed, base64")] {
                for inner in base64_forms(word.as_bytes()) {
                    self.add_exact(inner.into_bytes(), dress, marker);
                }
            }
        }
    }

    fn number(&mut self, number: &str) {
        for piece in number.as_bytes().windows(DIGITS) {
            let piece = std::str::from_utf8(piece).unwrap();
            self.add(piece, "digits", number);
            let reversed: String = piece.chars().rev().collect();
            self.add(&reversed, "digits reversed", number);
            self.add(&hex(piece.as_bytes()), "digits in hex", number);
        }
        let thousands: Vec<&str> = (0..4).map(|i| &number[i * 3..i * 3 + 3]).collect();
        self.add(&thousands.join(","), "with commas", number);
        self.add(
            &format!("{}.{}", &number[..1], &number[1..DIGITS]),
            "as a float",
            number,
        );
        let value: i64 = number.parse().unwrap();
        self.add(&format!("{value:x}"), "in hex", number);
        let mut binary = vec![0, 0, 0, 8];
        binary.extend_from_slice(&value.to_be_bytes());
        self.add_exact(binary, "binary", number);
        // numeric travels in groups of four decimal digits.
        let groups: Vec<u8> = (0..3)
            .flat_map(|i| {
                number[i * 4..i * 4 + 4]
                    .parse::<u16>()
                    .unwrap()
                    .to_be_bytes()
            })
            .collect();
        self.add_exact(groups, "binary numeric", number);
        for inner in base64_forms(number.as_bytes()) {
            self.add_exact(inner.into_bytes(), "base64", number);
        }
    }

    fn day(&mut self, day: &str) {
        let (y, m, d) = (&day[..4], &day[5..7], &day[8..]);
        for form in [
            day.to_owned(),
            format!("{d}.{m}.{y}"),
            format!("{m}/{d}/{y}"),
            format!("{d}/{m}/{y}"),
            format!("{m}-{d}-{y}"),
            format!("{d}-{m}-{y}"),
            format!("{y}{m}{d}"),
        ] {
            self.add(&form, "date", day);
            let reversed: String = form.chars().rev().collect();
            self.add(&reversed, "date reversed", day);
            self.add(&hex(form.as_bytes()), "date in hex", day);
            for inner in base64_forms(form.as_bytes()) {
                self.add_exact(inner.into_bytes(), "base64", day);
            }
        }
        let number = |text: &str| text.parse::<i64>().unwrap();
        let days = days_since_2000(number(y), number(m), number(d));
        let epoch = (days + 10_957) * 86_400;
        self.add(&epoch.to_string(), "seconds", day);
        let mut binary = vec![0, 0, 0, 4];
        binary.extend_from_slice(&i32::try_from(days).unwrap().to_be_bytes());
        self.add_exact(binary, "binary", day);
    }

    /// What is written in hexadecimal digits with something between them.
    fn hexadecimal(&mut self, text: &str) {
        let bare: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let reversed: String = text.chars().rev().collect();
        self.add(text, "plain", text);
        self.add(&bare, "bare", text);
        self.add(&reversed, "reversed", text);
        self.add(&hex(text.as_bytes()), "hex", text);
        let bytes = bare.as_bytes().chunks_exact(2);
        let binary = bytes.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16));
        self.add_exact(binary.map(Result::unwrap).collect(), "binary", text);
        for inner in base64_forms(text.as_bytes()) {
            self.add_exact(inner.into_bytes(), "base64", text);
        }
    }
}

/// What of a word's base64 is the same whatever stands around it, for each of the three places it can begin at.
fn base64_forms(word: &[u8]) -> Vec<String> {
    (0..3)
        .map(|offset| {
            let mut padded = vec![0; offset];
            padded.extend_from_slice(word);
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded);
            // Each letter stands for six bits: those of the word alone.
            let from = (offset * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            encoded[from..to].to_owned()
        })
        .collect()
}

fn days_since_2000(y: i64, m: i64, d: i64) -> i64 {
    // Years begin in March, so that the leap day comes last.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let since_year_0 = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + d - 1;
    since_year_0 - 730_425
}

fn join(text: &str, with: &str) -> String {
    let letters: Vec<String> = text.chars().map(String::from).collect();
    letters.join(with)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> String {
    let digits: Vec<u8> = text.bytes().take_while(u8::is_ascii_hexdigit).collect();
    digits
        .chunks_exact(2)
        .filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .map(char::from)
        .collect()
}

/// Each maximal run of such bytes that is at least that long, cut to its beginning.
fn runs(text: &str, length: usize, belongs: impl Fn(u8) -> bool) -> BTreeSet<String> {
    text.as_bytes()
        .split(|byte| !belongs(*byte))
        .filter(|run| run.len() >= length)
        .map(|run| String::from_utf8_lossy(&run[..length]).into_owned())
        .collect()
}

/// Each place of that shape: `d` is a digit, `h` a hexadecimal digit, anything else itself.
fn shaped(text: &str, shape: &str) -> BTreeSet<String> {
    let fits = |window: &&[u8]| {
        window
            .iter()
            .zip(shape.bytes())
            .all(|(byte, shape)| match shape {
                b'd' if shape != *byte => byte.is_ascii_digit(),
                b'h' => byte.is_ascii_hexdigit(),
                _ => *byte == shape,
            })
    };
    let windows = text.as_bytes().windows(shape.len()).filter(fits);
    windows
        .map(|window| String::from_utf8_lossy(window).into_owned())
        .collect()
}

async fn column(client: &Client, sql: &str) -> Vec<String> {
    let answers = client.simple_query(sql).await.unwrap();
    answers
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

const TABLES: &str = "
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname IN ('public', 'app')";

const DIGESTS: &str = "
    SELECT format('SELECT md5(%1$I::text) FROM ONLY %2$s UNION SELECT encode(sha256(convert_to(%1$I::text, ''UTF8'')), ''hex'') FROM ONLY %2$s',
        a.attname, c.oid::regclass)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind = 'r' AND c.relname <> 'towns' AND n.nspname IN ('public', 'app') AND a.attnum > 0
        AND a.attname ~ 'mail|name|phone|notes|ssn|secret|diagnosis|pin'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_every_dress() {
        let text = "ghjkmnpqrtvwxzsl 123456789012 3008-02-06 0f0e0d0c-1111-2222-3333-44aa55556666 fd00:1111:aaaa:bbbb:cccc:dddd:eeee";
        let search = Search::new(text, &[]);
        let base64 = base64::engine::general_purpose::STANDARD;
        let found: [Vec<u8>; 16] = [
            b"xx ghjkmnpqr".to_vec(),
            b"LSZXWVTRQPN".to_vec(),
            hex(b"ghjkmnpqrtv").into_bytes(),
            hex(b"GHJKMNPQRTV").to_uppercase().into_bytes(),
            base64.encode("a ghjkmnpqrtvwxzsl b").into_bytes(),
            base64.encode("ab ghjkmnpqrtvwxzsl b").into_bytes(),
            base64.encode("abc GHJKMNPQRTVWXZSL").into_bytes(),
            b"g\0h\0j\0k\0m\0n\0p\0q\0r\0".to_vec(),
            b"{g,h,j,k,m,n,p,q,r,t}".to_vec(),
            b"123456789012.37".to_vec(),
            b"$123,456,789,012".to_vec(),
            b"1.23456789012e+11".to_vec(),
            vec![0, 8, 0, 2, 0, 0, 0, 2, 4, 210, 22, 46, 35, 52],
            b"06.02.3008".to_vec(),
            vec![0, 0, 0, 4, 0, 5, 158, 72],
            b"0F0E0D0C11112222333344AA55556666".to_vec(),
        ];
        for bytes in found {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert!(
                search.find(&bytes).is_some(),
                "not found: {shown} {bytes:?}"
            );
        }
        let innocent = b"ghjkmn select 1234567890 2024-01-01 0f0e0d0c-1111-2222-3333-44aa55556667";
        assert_eq!(search.find(innocent), None);
        // As Postgres counts: 2000-01-01 and a leap day.
        assert_eq!(days_since_2000(2000, 1, 1), 0);
        assert_eq!(days_since_2000(2000, 3, 1), 60);
    }
}
