//! The attacks, as files of SQL.
//!
//! `-- words` begins an attack. A line that is not indented begins a statement, indented ones continue it. A line that
//! begins with `|` is a line of COPY data for the statement above it. Files whose name begins with `each` are run once
//! for each sensitive column, in the place of `@table@`, `@column@` and `@other@` (a clear column, or the key).

use super::{SENSITIVE, read};

/// One attack: statements of one session, in order.
#[derive(Debug, Clone)]
pub struct Attack {
    /// What is tried; with the file's name.
    pub name: String,
    pub statements: Vec<Statement>,
}

/// A statement, and what is sent if it asks for COPY data.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub sql: String,
    pub data: String,
}

const FILES: [&str; 12] = [
    "queries", "strings", "errors", "names", "code", "writes", "own", "cascades", "catalog",
    "parser", "settings", "each",
];

impl Attack {
    /// A single statement that asks for no data.
    pub fn is_one_query(&self) -> bool {
        self.statements.len() == 1 && self.statements[0].data.is_empty()
    }
}

/// Those that become others when they are sent to views instead of tables.
pub fn attacks_at_views(schema: &str) -> Vec<Attack> {
    let mut attacks = attacks();
    attacks.retain_mut(|attack| {
        attack.name += &format!(" at {schema}");
        let mut differs = false;
        for statement in &mut attack.statements {
            let sql = at_views(&statement.sql, schema);
            differs |= sql != statement.sql;
            statement.sql = sql;
        }
        differs
    });
    attacks
}

/// All of them.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for file in FILES {
        let parsed = parse(file, &read(&format!("corpus/{file}.sql")));
        if !file.starts_with("each") {
            attacks.extend(parsed);
            continue;
        }
        for (table, column, other) in SENSITIVE {
            attacks.extend(parsed.iter().map(|attack| {
                Attack {
                    name: format!("{} ({table}.{column})", attack.name),
                    statements: attack
                        .statements
                        .iter()
                        .map(|statement| Statement {
                            sql: statement
                                .sql
                                .replace("@table@", table)
                                .replace("@column@", column)
                                .replace("@other@", other),
                            data: statement.data.clone(),
                        })
                        .collect(),
                }
            }));
        }
    }
    attacks
}

/// The same statement at the masked views (or those of rows) instead of the tables, as the proxy would send it, or a
/// developer who has looked into the catalog.
pub fn at_views(sql: &str, schema: &str) -> String {
    const BEFORE: [&str; 8] = [
        "FROM", "JOIN", "TABLE", "INTO", "UPDATE", "ONLY", "COPY", "USING",
    ];
    let mut follows = false;
    let words = sql.split(' ').map(|word| {
        let end = word
            .find([',', ')', '*', ';', '\n', '\''])
            .unwrap_or(word.len());
        let name = word[..end].trim_start_matches("public.");
        let known = SENSITIVE
            .iter()
            .any(|(table, ..)| *table == name && !name.contains('.'));
        let replaced = if follows && known {
            format!("{schema}.\"public.{name}\"{}", &word[end..])
        } else {
            word.to_owned()
        };
        follows = BEFORE.contains(&word.trim_start_matches('(').to_uppercase().as_str());
        replaced
    });
    words.collect::<Vec<_>>().join(" ")
}

fn parse(file: &str, text: &str) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("-- ") {
            attacks.push(Attack {
                name: format!("{file}: {title}"),
                statements: Vec::new(),
            });
            continue;
        }
        let Some(attack) = attacks.last_mut() else {
            continue;
        };
        if line.trim().is_empty() {
            continue;
        }
        let statements = &mut attack.statements;
        if let Some(data) = line.strip_prefix('|') {
            let last = statements.last_mut().expect("data without a statement");
            last.data += data.trim_start();
            last.data.push('\n');
        } else if line.starts_with([' ', '\t']) {
            let last = statements
                .last_mut()
                .expect("a line that continues nothing");
            last.sql.push('\n');
            last.sql += line;
        } else {
            statements.push(Statement {
                sql: line.to_owned(),
                ..Statement::default()
            });
        }
    }
    attacks.retain(|attack| !attack.statements.is_empty());
    attacks
}
