//! The house keeps its shape: a module imports only from floors below its own, and no file grows too long.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules from the ground up. `lib.rs` lists them in this order, and `docs/architecture.md` draws it.
const FLOORS: [&str; 26] = [
    "error",
    "report",
    "sql",
    "wire",
    "catalog",
    "synth",
    "policy",
    "audit",
    "evidence",
    "budget",
    "notify",
    "upstream",
    "sandbox",
    "plan",
    "seal",
    "rehearse",
    "changeset",
    "session",
    "tap",
    "compare",
    "console",
    "page",
    "config",
    "server",
    "cluster",
    "cli",
];

/// The most lines that a file may have.
const LONGEST: usize = 600;

#[test]
fn modules_import_only_from_floors_below() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in rust_files(&root().join("src")) {
        let Some(module) = module_of(&file) else {
            continue;
        };
        seen.insert(module.clone());
        let Some(floor) = floor(&module) else {
            wrong.push(format!(
                "{}: the module {module} has no floor",
                shown(&file)
            ));
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for (line, imported) in imports(&text) {
            if imported != module && self::floor(&imported).is_none_or(|below| below >= floor) {
                wrong.push(format!(
                    "{}:{line}: {module} imports {imported}",
                    shown(&file)
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that go up:\n{}",
        wrong.join("\n")
    );
    let missing: Vec<_> = FLOORS
        .iter()
        .filter(|floor| !seen.contains(**floor))
        .collect();
    assert!(missing.is_empty(), "floors without a module: {missing:?}");
}

#[test]
fn the_contents_page_lists_the_floors_in_order() {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let listed: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! - [`")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, FLOORS);
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .filter_map(|file| {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            (lines > LONGEST).then(|| format!("{}: {lines} lines", shown(&file)))
        })
        .collect();
    assert!(
        long.is_empty(),
        "longer than {LONGEST} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::wire::frame;\npub use crate::{\n    sql::lexer,\n    plan::{Plan, cache},\n};\n\
                // crate::cli in a comment\nlet x = crate::audit::now();\npub(crate) fn f() {}\n";
    let found: Vec<_> = imports(text)
        .into_iter()
        .map(|(line, module)| format!("{line} {module}"))
        .collect();
    assert_eq!(found, ["1 wire", "2 sql", "2 plan", "7 audit"]);
}

/// The modules of this crate that a file names, with the line; comments do not count.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group).into_iter().map(|head| (line, head))),
            None => found.push((line, first_word(rest))),
        }
    }
    found
}

/// The first word of each member of `a::b, c::{d, e}}`.
fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(first_word(std::mem::take(&mut member).trim())),
            c => member.push(c),
        }
    }
    heads.push(first_word(member.trim()));
    heads.retain(|head| !head.is_empty());
    heads
}

fn first_word(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == module)
}

/// `src/sandbox/world.rs` belongs to `sandbox`; the crate's own two files belong to no floor.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside
        .components()
        .next()?
        .as_os_str()
        .to_str()?
        .trim_end_matches(".rs")
        .to_owned();
    (!matches!(first.as_str(), "lib" | "main")).then_some(first)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root())
        .unwrap_or(file)
        .display()
        .to_string()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
