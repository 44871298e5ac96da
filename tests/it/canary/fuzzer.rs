//! Statements made up by a grammar, from a seed: queries and writes over the marked database, in which anything may
//! stand where it may stand, and some things where they may not.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::SENSITIVE;

/// A source of statements.
pub struct Fuzzer {
    rng: SmallRng,
    /// How deep the expression that is being made lies.
    depth: u32,
    /// Aliases that may be referred to, with a table each.
    scope: Vec<(String, &'static str)>,
    aliases: u32,
}

const FURTHER: [&str; 12] = [
    "towns",
    "cities",
    "app.everybody",
    "app.rich",
    "app.filled",
    "view_of_view",
    "sums",
    "tickets",
    "ticket_log",
    "clinics",
    "app.by_function",
    "events_2024",
];

/// Columns that are asked of any table; most tables lack most of them.
const COMMON: [&str; 8] = [
    "id", "city", "ctid", "tableoid", "xmin", "name", "email", "body",
];

const OF_TEXT: [&str; 34] = [
    "upper(#)",
    "reverse(#)",
    "md5(#)",
    "left(#, 12)",
    "encode(convert_to(#, 'UTF8'), 'base64')",
    "encode(convert_to(#, 'UTF8'), 'hex')",
    "quote_literal(#)",
    "format('%L', #)",
    "# || #",
    "coalesce(#, #)",
    "nullif(#, 'x')",
    "greatest(#, #)",
    "string_agg(#, ',')",
    "max(#)",
    "array_agg(#)",
    "to_json(#)",
    "ARRAY[#, #]",
    "ROW(#, #)",
    "(#)::varchar(20)",
    "(#)::integer",
    "(#)::date",
    "(#)::jsonb",
    "(#)::public.level",
    "(#)::public.national_id",
    "regexp_replace(#, '^(.)', '\\1\\1')",
    "split_part(#, '@', 1)",
    "substr(#, 1, 14)",
    "translate(#, '@', '')",
    "first_value(#) OVER ()",
    "min(#) OVER (PARTITION BY #)",
    "CASE WHEN # > 'm' THEN # ELSE # END",
    "(SELECT #)",
    "xmlelement(name x, #)",
    "set_config('fuzz.x', #, true)",
];

const CONDITIONS: [&str; 14] = [
    "# > 'h'",
    "# LIKE '%g%'",
    "# IS NOT NULL",
    "# = #",
    "# IN (SELECT #)",
    "length(#) > 3",
    "# ~ '^[a-z]'",
    "true",
    "1 = 1",
    "EXISTS (SELECT # WHERE # <> '')",
    "NOT (# = 'x')",
    "# IS DISTINCT FROM #",
    "(#)::boolean",
    "# BETWEEN 'a' AND 'z'",
];

impl Fuzzer {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            depth: 0,
            scope: Vec::new(),
            aliases: 0,
        }
    }

    /// The next statement.
    pub fn statement(&mut self) -> String {
        self.scope.clear();
        self.aliases = 0;
        self.depth = 0;
        let sql = match self.below(20) {
            0..=8 => self.query(),
            9..=11 => self.update(),
            12 => self.delete(),
            13..=14 => self.insert(),
            15 => self.merge(),
            _ => self.wrapped(),
        };
        self.disturbed(sql)
    }

    fn below(&mut self, n: u32) -> u32 {
        self.rng.random_range(0..n)
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.rng.random_range(0..list.len())]
    }

    fn table(&mut self) -> &'static str {
        if self.one_in(5) {
            self.pick(&FURTHER)
        } else if self.one_in(2) {
            self.pick(&["users", "orders", "public.users", "events", "bookings"])
        } else {
            SENSITIVE[self.rng.random_range(0..SENSITIVE.len())].0
        }
    }

    /// A column that the table has, most of the time.
    fn column_of(&mut self, table: &str) -> String {
        let table = table.trim_start_matches("public.");
        let own: Vec<&str> = SENSITIVE
            .iter()
            .filter(|(name, ..)| name.trim_start_matches("public.") == table)
            .flat_map(|(_, column, other)| [*column, *column, *other])
            .collect();
        if own.is_empty() || self.one_in(12) {
            self.pick(&COMMON).to_owned()
        } else {
            self.pick(&own).to_owned()
        }
    }

    /// A relation in FROM; what it is called goes into the scope.
    fn relation(&mut self) -> String {
        let table = self.table();
        self.aliases += 1;
        let alias = format!("t{}", self.aliases);
        let text = match self.below(14) {
            0 => format!("ONLY {table} AS {alias}"),
            1 => format!("{table} {alias} TABLESAMPLE system (100)"),
            2 => format!("(SELECT * FROM {table}) AS {alias}"),
            3 => format!("LATERAL (TABLE {table}) AS {alias}"),
            4 => format!("{table}* AS {alias}"),
            5 => format!("({table} AS {alias} CROSS JOIN towns)"),
            6 if !table.contains('.') => format!("public . \"{table}\" {alias}"),
            7 if !table.contains('"') => format!("{} {alias}", table.to_uppercase()),
            8 => format!("devinprod_rows.\"public.{table}\" AS {alias}"),
            9 if !table.contains('.') => {
                self.scope.push((table.to_owned(), table));
                return table.to_owned();
            }
            _ => format!("{table} AS {alias}"),
        };
        self.scope.push((alias, table));
        text
    }

    fn from(&mut self) -> String {
        let mut text = self.relation();
        while self.one_in(3) {
            let join = self.below(6);
            let next = self.relation();
            text = match join {
                0 => format!("{text}, {next}"),
                1 => format!("{text} NATURAL JOIN {next}"),
                2 => format!("{text} JOIN {next} USING (id)"),
                3 => format!("{text} CROSS JOIN {next}"),
                _ => {
                    let condition = self.condition();
                    format!("{text} LEFT JOIN {next} ON {condition}")
                }
            };
        }
        text
    }

    /// An expression of type text.
    fn value(&mut self) -> String {
        if self.depth > 3 || self.scope.is_empty() {
            return self
                .pick(&[
                    "'g'",
                    "NULL::text",
                    "'x@mark.example'",
                    "current_user::text",
                ])
                .to_owned();
        }
        self.depth += 1;
        let (alias, table) = self.scope[self.rng.random_range(0..self.scope.len())].clone();
        let column = self.column_of(table);
        let text = match self.below(16) {
            0 => format!("{alias}::text"),
            1 => format!("row_to_json({alias})::text"),
            2 => format!("to_jsonb({alias}) ->> '{}'", column.trim_matches('"')),
            3 => format!("({alias}).{column}::text"),
            4 => format!("{column}::text"),
            5 => format!("(SELECT {})", self.nested()),
            6..=8 => {
                let form = self.pick(&OF_TEXT);
                format!("({})::text", self.filled(form))
            }
            _ => format!("{alias}.{column}::text"),
        };
        self.depth -= 1;
        text
    }

    /// The inside of a scalar sub-query; what it refers to stays in its own scope.
    fn nested(&mut self) -> String {
        let outer = self.scope.len();
        let from = self.from();
        let value = self.value();
        let text = if self.one_in(2) {
            format!("string_agg({value}, ',') FROM {from}")
        } else {
            format!("{value} FROM {from} LIMIT 1")
        };
        self.scope.truncate(outer);
        text
    }

    fn filled(&mut self, form: &str) -> String {
        let mut text = String::new();
        for (at, part) in form.split('#').enumerate() {
            if at > 0 {
                text += &self.value();
            }
            text += part;
        }
        text
    }

    fn condition(&mut self) -> String {
        let form = self.pick(&CONDITIONS);
        let condition = self.filled(form);
        match self.below(6) {
            0 => format!("{condition} AND {}", self.value() + " IS NOT NULL"),
            1 => format!("({condition} OR true)"),
            _ => condition,
        }
    }

    fn items(&mut self) -> String {
        match self.below(8) {
            0 => "*".to_owned(),
            1 => {
                let (alias, _) = self.scope[self.rng.random_range(0..self.scope.len())].clone();
                if self.one_in(2) {
                    format!("{alias}.*")
                } else {
                    alias
                }
            }
            _ => {
                let mut items = vec![self.value()];
                while self.one_in(3) {
                    items.push(self.value());
                }
                items.join(", ")
            }
        }
    }

    fn query(&mut self) -> String {
        let with = if self.one_in(8) {
            let table = self.table();
            let name = self.pick(&["users", "orders", "c", "events"]);
            let how = self.pick(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
            format!("WITH {name} AS {how}(SELECT * FROM {table}) ")
        } else {
            String::new()
        };
        let from = self.from();
        let items = self.items();
        let mut sql = format!("{with}SELECT {items} FROM {from}");
        if self.one_in(2) {
            sql += &format!(" WHERE {}", self.condition());
        }
        sql += match self.below(14) {
            0 => " GROUP BY 1",
            1 => " ORDER BY 1",
            2 => " ORDER BY 1 DESC LIMIT 5",
            3 => " FOR UPDATE",
            4 => " FOR SHARE",
            5 => " LIMIT 3 OFFSET 1",
            6 => " GROUP BY ROLLUP (1)",
            _ => "",
        };
        if self.one_in(10) {
            let table = self.table();
            let column = self.column_of(table);
            let operator = self.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT ALL"]);
            sql = format!("({sql}) {operator} SELECT {column}::text FROM {table}");
        }
        sql
    }

    /// The target of a write, which its expressions may refer to.
    fn target(&mut self) -> (&'static str, String) {
        let table = self.table();
        let alias = if self.one_in(2) {
            self.aliases += 1;
            let alias = format!("w{}", self.aliases);
            self.scope.push((alias.clone(), table));
            format!("{table} AS {alias}")
        } else {
            let name = table.rsplit('.').next().unwrap_or(table);
            self.scope.push((name.to_owned(), table));
            table.to_owned()
        };
        (table, alias)
    }

    fn returning(&mut self) -> String {
        if self.one_in(2) {
            format!(" RETURNING {}", self.items())
        } else {
            String::new()
        }
    }

    fn update(&mut self) -> String {
        let (table, target) = self.target();
        let column = self.column_of(table);
        let from = if self.one_in(4) {
            format!(" FROM {}", self.relation())
        } else {
            String::new()
        };
        let value = if self.one_in(4) {
            column.clone()
        } else {
            self.value()
        };
        let mut sql = format!("UPDATE {target} SET {column} = {value}{from}");
        if self.one_in(2) {
            sql += &format!(" WHERE {}", self.condition());
        }
        sql + &self.returning()
    }

    fn delete(&mut self) -> String {
        let (_, target) = self.target();
        let using = if self.one_in(4) {
            format!(" USING {}", self.relation())
        } else {
            String::new()
        };
        let condition = self.condition();
        format!("DELETE FROM {target}{using} WHERE {condition}") + &self.returning()
    }

    fn insert(&mut self) -> String {
        let (table, target) = self.target();
        let column = self.column_of(table);
        let other = self.column_of(table);
        let source = self.table();
        let from = self.column_of(source);
        let conflict = match self.below(6) {
            0 => " ON CONFLICT DO NOTHING".to_owned(),
            1 => format!(" ON CONFLICT (id) DO UPDATE SET {other} = excluded.{column}"),
            2 => format!(
                " ON CONFLICT ({column}) DO UPDATE SET {other} = {}",
                self.value()
            ),
            _ => String::new(),
        };
        let sql = format!("INSERT INTO {target} ({column}) SELECT {from} FROM {source}{conflict}");
        sql + &self.returning()
    }

    fn merge(&mut self) -> String {
        let (table, target) = self.target();
        let source = self.relation();
        let column = self.column_of(table);
        let (on, value) = (self.condition(), self.value());
        let action = match self.below(3) {
            0 => "DELETE".to_owned(),
            1 => format!("UPDATE SET {column} = {value}"),
            _ => "DO NOTHING".to_owned(),
        };
        format!("MERGE INTO {target} USING {source} ON {on} WHEN MATCHED THEN {action}")
    }

    fn wrapped(&mut self) -> String {
        let inner = if self.one_in(4) {
            self.update()
        } else {
            self.query()
        };
        let quoted = inner.replace('\'', "''");
        match self.below(12) {
            0 => format!("COPY ({inner}) TO STDOUT"),
            1 => format!("COPY ({inner}) TO STDOUT (FORMAT csv)"),
            2 => format!("EXPLAIN (ANALYZE, VERBOSE) {inner}"),
            3 => format!("CREATE TEMP TABLE made AS {inner}"),
            4 => format!("DO $do$ BEGIN PERFORM x FROM ({inner}) AS x; END $do$"),
            5 => format!(
                "DO $do$ DECLARE r record; BEGIN FOR r IN {inner} LOOP RAISE NOTICE '%', r; END LOOP; END $do$"
            ),
            6 => format!(
                "DO $do$ DECLARE r record; BEGIN FOR r IN EXECUTE '{quoted}' LOOP RAISE NOTICE '%', r; END LOOP; END $do$"
            ),
            7 => format!("SELECT query_to_xml('{quoted}', true, false, '')"),
            8 => format!("WITH made AS ({inner}) SELECT made, made::text FROM made"),
            9 => format!("SELECT ARRAY({inner})"),
            10 => format!("CREATE TEMP VIEW made AS {inner}"),
            _ => format!("SELECT json_agg(x) FROM ({inner}) AS x"),
        }
    }

    /// The same statement as another hand would write it, or with a slip of the pen.
    fn disturbed(&mut self, sql: String) -> String {
        match self.below(24) {
            0 => sql.replace(' ', "/**/ "),
            1 => sql.replace(' ', "\n\t"),
            2 => sql.replace("SELECT", "select").replace("FROM", "from"),
            3 => sql.replace("email", "U&\"em\\0061il\""),
            4 => sql.replace(" FROM ", " -- '\n FROM "),
            5 => sql.replace("users", "\"users\""),
            6 => format!("{sql};"),
            7 => format!("/* ' */ {sql}"),
            8 => {
                let words: Vec<&str> = sql.split(' ').collect();
                let gone = self.rng.random_range(0..words.len());
                let kept = words.iter().enumerate().filter(|(at, _)| *at != gone);
                kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
            }
            9 => {
                let words: Vec<&str> = sql.split(' ').collect();
                let twice = self.rng.random_range(0..words.len());
                let mut kept = words.clone();
                kept.insert(twice, words[twice]);
                kept.join(" ")
            }
            _ => sql,
        }
    }
}
