//! The words that synthetic values are made of, as SQL functions.
//!
//! Each dictionary is a function whose body is one constant, an array of `name`: inlined into the mask that picks
//! from it, so that no table is read, and of fixed-size elements, so that picking does not walk over all before it.

use std::collections::BTreeSet;

use fake::locales::{self, Data};

use super::mask::Locale;

/// The most words of one dictionary. More would make plans heavy: each word takes 64 bytes in a plan.
const MOST: usize = 512;

/// The most bytes of a word: what a `name` holds.
const LONGEST: usize = 63;

/// The statements that make all dictionaries.
pub(super) fn functions() -> String {
    let mut sql = String::from("-- The dictionaries.\n");
    for locale in Locale::ALL {
        let (first, last) = names(*locale);
        let suffix = locale.name();
        sql.push_str(&function(
            &format!("mask_first_names_{suffix}"),
            &thinned(first, *locale),
        ));
        sql.push_str(&function(
            &format!("mask_last_names_{suffix}"),
            &thinned(last, *locale),
        ));
        sql.push_str(&person_name(*locale));
    }
    sql.push_str(&function("mask_lorem", &lorem()));
    sql.push_str(&function("mask_cities", &cities()));
    sql.push_str(&function(
        "mask_street_kinds",
        &ascii(locales::EN::ADDRESS_STREET_SUFFIX),
    ));
    sql.push_str(&function(
        "mask_countries",
        &ascii(locales::EN::ADDRESS_COUNTRY),
    ));
    sql.push_str(&function(
        "mask_country_codes",
        &ascii(locales::EN::ADDRESS_COUNTRY_CODE),
    ));
    sql
}

/// Each word once, of ASCII letters and spaces.
fn ascii(words: &[&'static str]) -> Vec<String> {
    let plain = |word: &&str| {
        word.len() <= 40
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b' ')
    };
    let words: BTreeSet<&str> = words.iter().copied().filter(plain).collect();
    words.into_iter().map(str::to_owned).collect()
}

/// Cities that there are not: a last name and an ending.
fn cities() -> Vec<String> {
    let names = thinned(locales::EN::NAME_LAST_NAME, Locale::En);
    let endings = locales::EN::ADDRESS_CITY_SUFFIX;
    names
        .iter()
        .zip(endings.iter().cycle())
        .map(|(name, ending)| format!("{name}{ending}"))
        .collect()
}

fn names(locale: Locale) -> (&'static [&'static str], &'static [&'static str]) {
    fn of<D: Data>(_: D) -> (&'static [&'static str], &'static [&'static str]) {
        (D::NAME_FIRST_NAME, D::NAME_LAST_NAME)
    }
    match locale {
        Locale::En => of(locales::EN),
        Locale::De => of(locales::DE_DE),
        Locale::Fr => of(locales::FR_FR),
        Locale::It => of(locales::IT_IT),
        Locale::Nl => of(locales::NL_NL),
        Locale::Pt => of(locales::PT_PT),
        Locale::Tr => of(locales::TR_TR),
    }
}

/// Evenly thinned, each word once, in order. English names also become e-mail addresses, so they are ASCII letters.
fn thinned(words: &[&'static str], locale: Locale) -> Vec<String> {
    let fits = |word: &&str| {
        (2..=LONGEST).contains(&word.len())
            && (locale != Locale::En || word.bytes().all(|byte| byte.is_ascii_alphabetic()))
    };
    let words: BTreeSet<&str> = words.iter().copied().filter(fits).collect();
    let step = words.len().div_ceil(MOST).max(1);
    words.into_iter().step_by(step).map(str::to_owned).collect()
}

/// Pairs of Latin words.
fn lorem() -> Vec<String> {
    let words: BTreeSet<&str> = locales::EN::LOREM_WORD.iter().copied().collect();
    let words: Vec<&str> = words.into_iter().collect();
    // A walk through the words that pairs each with others, without repeating a pair.
    (0..MOST)
        .filter_map(|at| {
            let first = words.get(at % words.len())?;
            let second = words.get((at * 7 + 3 + at / words.len()) % words.len())?;
            (first != second).then(|| format!("{first} {second}"))
        })
        .collect()
}

/// The names of one language, whole or in part.
fn person_name(locale: Locale) -> String {
    let locale = locale.name();
    let first = format!(
        "devinprod.mask_pick(devinprod.mask_first_names_{locale}(), devinprod.mask_u24(digest, 0))"
    );
    let last = format!(
        "devinprod.mask_pick(devinprod.mask_last_names_{locale}(), devinprod.mask_u24(digest, 3))"
    );
    [
        ("person_name", format!("{first} || ' ' || {last}")),
        ("first_name", first),
        ("last_name", last),
    ]
    .iter()
    .map(|(part, body)| {
        format!(
            "CREATE OR REPLACE FUNCTION devinprod.mask_{part}_{locale}_of(digest bytea) RETURNS text \
             IMMUTABLE PARALLEL SAFE\nRETURN {body};\n\
             CREATE OR REPLACE FUNCTION devinprod.mask_{part}_{locale}(value text, key bytea) RETURNS text\n\
             \x20   LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE\n\
             AS $mask$\n\
             DECLARE\n\
             \x20   digest pg_catalog.bytea := devinprod.mask_digest('{part}', devinprod.mask_fold(value), key);\n\
             BEGIN\n\
             \x20   RETURN devinprod.mask_{part}_{locale}_of(digest);\n\
             END\n\
             $mask$;\n"
        )
    })
    .collect()
}

/// A function that is one constant array. Where the database's encoding may not have all letters, they are written
/// without their accents.
fn function(name: &str, words: &[String]) -> String {
    let create = |words: &[String], quote: &dyn Fn(&str) -> String| {
        let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
        format!(
            "CREATE OR REPLACE FUNCTION devinprod.{name}() RETURNS name[] IMMUTABLE PARALLEL SAFE\n\
             RETURN ARRAY[{}]::name[];\n",
            words.join(",")
        )
    };
    if words.iter().all(|word| word.is_ascii()) {
        return create(words, &quoted);
    }
    let plain: Vec<_> = words
        .iter()
        .map(|word| deunicode::deunicode(word))
        .collect();
    format!(
        "DO $do$\nBEGIN\nIF getdatabaseencoding() = 'UTF8' THEN EXECUTE $words$\n{}$words$;\n\
         ELSE EXECUTE $words$\n{}$words$;\nEND IF;\nEND\n$do$;\n",
        create(words, &escaped),
        create(&plain, &quoted)
    )
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "''"))
}

/// In ASCII alone, so that the text can be sent to a database of any encoding.
fn escaped(word: &str) -> String {
    if word.is_ascii() {
        return quoted(word);
    }
    let letters: String = word
        .chars()
        .map(|letter| match letter {
            '\'' => "''".to_owned(),
            '\\' => "\\\\".to_owned(),
            letter if letter.is_ascii() => letter.to_string(),
            letter => format!("\\+{:06X}", u32::from(letter)),
        })
        .collect();
    format!("U&'{letters}'")
}
