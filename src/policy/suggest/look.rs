//! What values look like. Nothing here keeps or tells a value.

/// What a sample of a column looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// E-mail addresses.
    Email,
    /// Phone numbers.
    Phone,
    /// Numbers of payment cards.
    Card,
    /// International bank account numbers.
    Iban,
    /// URLs.
    Url,
    /// Text in which e-mail addresses or long numbers occur.
    Telling,
}

/// How many values a sample must have to mean anything.
const ENOUGH: usize = 5;

/// Whether a value looks like something.
type Fits = fn(&str) -> bool;

/// What `values` look like, if most of them look alike.
pub fn look(values: &[String]) -> Option<Look> {
    let values: Vec<&str> = values
        .iter()
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
        .collect();
    if values.len() < ENOUGH {
        return None;
    }
    let share = |fits: Fits| {
        let fitting = values.iter().filter(|value| fits(value)).count();
        fitting * 100 / values.len()
    };
    let kinds: [(Look, Fits); 5] = [
        (Look::Email, is_email),
        (Look::Card, is_card),
        (Look::Iban, is_iban),
        (Look::Phone, is_phone),
        (Look::Url, is_url),
    ];
    kinds
        .into_iter()
        .find(|(_, fits)| share(*fits) >= 70)
        .map(|(look, _)| look)
        // One letter with somebody's address in it is enough.
        .or_else(|| (share(tells) > 0).then_some(Look::Telling))
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && !domain.starts_with('.')
            && !text.contains(char::is_whitespace)
            && !domain.contains('@')
    })
}

fn is_url(text: &str) -> bool {
    ["http://", "https://", "ftp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

fn is_phone(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let marks = text.starts_with('+') || text.contains([' ', '-', '(', '/']);
    (7..=15).contains(&digits)
        && marks
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || " +-()/.x".contains(c))
        && !is_day(text)
}

/// `2024-01-31`, perhaps with a time behind it.
fn is_day(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |part: Option<&str>, length| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4)
        && digits(parts.next(), 2)
        && parts.next().is_some_and(|rest| rest.len() >= 2)
}

fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    (13..=19).contains(&digits.len())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || c == ' ' || c == '-')
        && luhn(&digits)
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_iban(text: &str) -> bool {
    let text: String = text.chars().filter(|c| *c != ' ').collect();
    let mut characters = text.chars();
    (15..=34).contains(&text.len())
        && characters.by_ref().take(2).all(|c| c.is_ascii_uppercase())
        && characters.by_ref().take(2).all(|c| c.is_ascii_digit())
        && characters.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// Does an e-mail address or a number of ten digits or more stand in it?
fn tells(text: &str) -> bool {
    let trimmed = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
    text.split_whitespace().any(|word| is_email(&trimmed(word)))
        || text
            .split(|c: char| !(c.is_ascii_digit() || " -()+".contains(c)))
            .any(|run| run.chars().filter(char::is_ascii_digit).count() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Option<Look>) {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(look(&values), expected, "{values:?}");
    }

    #[test]
    fn most_of_a_sample_decide() {
        check(
            &[
                "a@x.org",
                "b@x.org",
                "c@x.org",
                "",
                "d.e@x.example",
                "-",
                "f@y.net",
            ],
            Some(Look::Email),
        );
        check(
            &[
                "4111111111111111",
                "5555 5555 5555 4444",
                "4012888888881881",
                "378282246310005",
                "6011111111111117",
            ],
            Some(Look::Card),
        );
        check(
            &[
                "+1 202 555 0123",
                "030 123456-7",
                "(617) 555-0101",
                "+44 20 7946 0000",
                "+49 151 0000000",
            ],
            Some(Look::Phone),
        );
        check(
            &[
                "DE89370400440532013000",
                "GB82 WEST 1234 5698 7654 32",
                "FR1420041010050500013M02606",
                "NL91ABNA0417164300",
                "BE68539007547034",
            ],
            Some(Look::Iban),
        );
        check(&["https://a.example/x"; 5], Some(Look::Url));
        check(
            &[
                "Hello",
                "Thanks",
                "It broke",
                "Where is it?",
                "Write to <ann@x.org>, please.",
            ],
            Some(Look::Telling),
        );
        check(
            &["Thanks", "Hi", "red", "call 0171 234 5678 90", "x"],
            Some(Look::Telling),
        );
    }

    #[test]
    fn what_tells_nothing() {
        check(&["a@x.org"; 4], None);
        check(&["red", "blue", "green", "red", "red"], None);
        check(
            &[
                "2024-01-31",
                "2024-02-01",
                "2023-12-31",
                "2022-05-05",
                "2021-01-01",
            ],
            None,
        );
        check(
            &["1234567", "2345678", "3456789", "4567890", "5678901"],
            None,
        );
        check(
            &[
                "SKU-000037",
                "SKU-000074",
                "SKU-000111",
                "SKU-000148",
                "SKU-000185",
            ],
            None,
        );
        check(&[], None);
    }
}
