//! What stands on the pages. All text goes through [`escaped`].

use std::time::{Duration, SystemTime};

use super::Tail;
use super::comparisons::Kept;
use crate::audit::record::Record;
use crate::audit::time::Utc;
use crate::budget::Line;
use crate::compare::{self, Report};
use crate::console::{LockRow, PointRow, SandboxRow, SandboxState, UpstreamRow, what_holds};
use crate::report::html::escaped;
use url::form_urlencoded;

/// So much of a statement is shown, in characters.
const LONGEST: usize = 300;

/// The form of the login.
pub(super) fn login(token: &str, wrong: Option<&str>) -> String {
    let wrong = wrong.map(|text| format!("<p class=\"notice bad\">{}</p>", escaped(text)));
    format!(
        "<main class=\"login card\"><h1>devinprod</h1>\
         <p class=\"soft\">Log in with the name and password of your connections.</p>{}\
         <form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
         <label>Name<input name=\"name\" autocomplete=\"username\" required autofocus></label>\
         <label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <button>Log in</button></form></main>",
        wrong.unwrap_or_default(),
        escaped(token)
    )
}

/// The developer's sandboxes, each with its points.
pub(super) fn sandboxes(rows: &[SandboxRow], points: &[PointRow]) -> String {
    let mut out = "<h1>Your sandboxes</h1>".to_owned();
    if rows.is_empty() {
        out.push_str(
            "<p class=\"soft\">There is none. One begins with the first statement of an application.</p>",
        );
    }
    for row in rows {
        let points: Vec<&str> = points
            .iter()
            .filter(|point| point.upstream == row.upstream && point.sandbox == row.name)
            .map(|point| point.point.as_str())
            .collect();
        out.push_str(&sandbox(row, &points));
    }
    out
}

fn sandbox(row: &SandboxRow, points: &[&str]) -> String {
    let mut tags = tag(
        match row.state {
            SandboxState::Active => "good",
            SandboxState::Idle => "",
            SandboxState::IdleInTransaction => "warn",
            SandboxState::IdleInTransactionAborted => "bad",
        },
        row.state.as_str(),
    );
    if row.armed {
        tags.push_str(&tag("warn", "has written"));
    }
    if row.tainted {
        tags.push_str(&tag("bad", "tainted"));
    }
    let age = SystemTime::now().duration_since(row.begun);
    let mut facts = vec![
        ("age", long(age.unwrap_or_default())),
        ("idle", long(row.idle)),
        ("clients", row.clients.to_string()),
        ("statements", row.statements.to_string()),
        ("subtransactions", row.subtransactions.to_string()),
        ("begun", moment(row.begun)),
    ];
    if let Some(pid) = row.backend_pid {
        facts.push(("backend", pid.to_string()));
    }
    if !points.is_empty() {
        facts.push(("points", points.join(", ")));
    }
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value)))
        .collect();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("on", &row.upstream)
        .append_pair("of", &row.name)
        .finish();
    format!(
        "<section class=\"card\"><h2>{} <small>on {}</small> {tags}</h2><dl class=\"facts\">{facts}</dl>\
         <a href=\"/changes?{}\">What it would have changed</a></section>",
        escaped(&row.name),
        escaped(&row.upstream),
        escaped(&query)
    )
}

/// Who waits for whom; nothing where nobody does.
pub(super) fn locks(rows: &[LockRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let whose = |who: &str, sandbox: &Option<String>| match sandbox {
        Some(sandbox) => format!("{} <small>{}</small>", escaped(who), escaped(sandbox)),
        None => escaped(who),
    };
    let rows = rows.iter().map(|row| {
        [
            escaped(&row.upstream),
            whose(&row.waiter, &row.waiter_sandbox),
            whose(&row.holder, &row.holder_sandbox),
            format!(
                "{} {}",
                row.kind.as_str(),
                escaped(row.object.as_deref().unwrap_or_default())
            ),
            if row.waited.is_zero() {
                String::new()
            } else {
                long(row.waited)
            },
        ]
    });
    format!(
        "<h2>Who waits for whom</h2>{}",
        table(&["upstream", "waits", "for", "lock", "since"], rows)
    )
}

/// What the developer may use.
pub(super) fn upstreams(rows: &[UpstreamRow]) -> String {
    let rows = rows.iter().map(|row| {
        [
            escaped(&row.name),
            tag("", row.stage),
            escaped(row.isolation.as_str()),
            escaped(what_holds(row.isolation)),
        ]
    });
    format!(
        "<h2>Upstreams that you may use</h2>{}",
        table(&["upstream", "stage", "isolation", "what holds"], rows)
    )
}

/// What stands above a changeset.
pub(super) fn changes_head(upstream: &str) -> String {
    format!(
        "<p class=\"soft\"><a href=\"/\">Sandboxes</a> / {}</p>",
        escaped(upstream)
    )
}

/// What stands below a changeset that is not shown to its end.
pub(super) fn too_large(name: &str) -> String {
    format!(
        "<p class=\"notice\">More has changed than a page shows. <code>devinprod sandbox diff {}</code> shows all of it.</p>",
        escaped(name)
    )
}

/// How read budgets stand.
pub(super) fn budgets(lines: &[Line]) -> String {
    let mut out = "<h1>Your read budgets</h1>".to_owned();
    if lines.is_empty() {
        out.push_str("<p class=\"soft\">Nothing limits how much you may read.</p>");
        return out;
    }
    let rows = lines.iter().map(|line| {
        let used = match line.used {
            Some(used) => format!(
                "<meter min=\"0\" max=\"{limit}\" high=\"{high}\" optimum=\"0\" value=\"{used}\"></meter><span class=\"n\">{} of {}</span>",
                digits(used),
                digits(line.limit),
                limit = line.limit.max(1),
                high = line.limit.saturating_mul(4) / 5,
            ),
            None => format!("<span class=\"n\">at most {}</span>", digits(line.limit)),
        };
        let refilled = line.refilled_at.as_deref().map(short).unwrap_or_default();
        [
            escaped(&line.upstream),
            escaped(&line.budget),
            used,
            escaped(&refilled),
            escaped(&line.who),
            format!("<small>{}</small>", escaped(&line.place)),
        ]
    });
    out.push_str(&table(
        &["upstream", "budget", "used", "refilled", "whose", "because"],
        rows,
    ));
    out
}

/// The end of the developer's record, the newest first.
pub(super) fn record(tail: &Tail) -> String {
    let mut out =
        "<h1>What is on record of you</h1><p class=\"soft\">The last day, the newest first. \
                   Literals are left out where the policy does not want them.</p>"
            .to_owned();
    if tail.cut {
        out.push_str(
            "<p class=\"notice\">The record of a day is too long to be looked through here. \
             <code>devinprod audit search</code> finds the rest.</p>",
        );
    }
    if tail.records.is_empty() {
        out.push_str("<p class=\"soft\">Nothing.</p>");
        return out;
    }
    let rows = tail.records.iter().rev().map(of_record);
    out.push_str(&table(
        &[
            "time (UTC)",
            "what",
            "where",
            "statement",
            "rows",
            "touched",
        ],
        rows,
    ));
    out
}

fn of_record(record: &Record) -> [String; 6] {
    let what = &record.unmapped;
    let class = match what.verdict.as_deref() {
        Some("done") => "good",
        Some("cut" | "refused") => "bad",
        Some(_) => "warn",
        None if record.status_code.is_some() => "bad",
        None => "",
    };
    let word = match &what.verdict {
        Some(verdict) => verdict.clone(),
        None => what.event.replace('_', " "),
    };
    let statement = record.query_info.as_ref().map(|query| {
        let mut text: String = query.query_string.chars().take(LONGEST).collect();
        if text.len() < query.query_string.len() {
            text.push('…');
        }
        format!("<code>{}</code>", escaped(&text))
    });
    let message = [&what.message, &what.reason]
        .into_iter()
        .flatten()
        .map(|text| format!("<small>{}</small>", escaped(text)));
    let mut place = escaped(&record.database.name);
    if let Some(sandbox) = &what.sandbox {
        place.push_str(&format!(" <small>{}</small>", escaped(sandbox)));
    }
    let rows = match (what.rows, what.rows_written) {
        (0, 0) => String::new(),
        (read, 0) => digits(read),
        (0, written) => format!("{} written", digits(written)),
        (read, written) => format!("{}, {} written", digits(read), digits(written)),
    };
    let touched = if what.sensitive.is_empty() {
        what.relations.join(", ")
    } else {
        what.sensitive.join(", ")
    };
    [
        escaped(&short(&record.time_dt)),
        tag(class, &word),
        place,
        statement
            .into_iter()
            .chain(message)
            .collect::<Vec<_>>()
            .join("<br>"),
        rows,
        format!("<small>{}</small>", escaped(&touched)),
    ]
}

/// The reports that are there.
pub(super) fn comparisons(kept: &[Kept]) -> String {
    let mut out = "<h1>Your comparisons</h1>".to_owned();
    if kept.is_empty() {
        out.push_str(
            "<p class=\"soft\">There is none. <code>devinprod compare --format json --out NAME.json</code> makes one; \
             it belongs into the folder of your name, in the folder that the configuration names.</p>",
        );
        return out;
    }
    let rows = kept.iter().map(|kept| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("of", &kept.name)
            .finish();
        [
            format!(
                "<a href=\"/comparison?{}\">{}</a>",
                escaped(&query),
                escaped(&kept.name)
            ),
            moment(kept.written),
        ]
    });
    out.push_str(&table(&["report", "written (UTC)"], rows));
    out
}

/// A report, side by side.
pub(super) fn comparison(name: &str, report: &Report) -> String {
    format!(
        "<p class=\"soft\"><a href=\"/comparisons\">Comparisons</a> / {}</p>{}",
        escaped(name),
        compare::body(report)
    )
}

/// No folder is configured.
pub(super) fn no_comparisons() -> String {
    "<h1>Your comparisons</h1><p class=\"soft\">The proxy was told of no folder with reports: <code>comparisons</code> in \
     <code>[page]</code> of its configuration names one.</p>"
        .to_owned()
}

/// What cannot be shown.
pub(super) fn unreadable() -> String {
    "<h1>There is no such comparison</h1><p class=\"soft\">Or it is no report of <code>devinprod compare --format json</code>.</p>"
        .to_owned()
}

fn tag(class: &str, text: &str) -> String {
    format!("<span class=\"tag {class}\">{}</span>", escaped(text))
}

/// A table of cells that are HTML.
fn table<const N: usize>(names: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let head: String = names
        .iter()
        .map(|name| format!("<th>{name}</th>"))
        .collect();
    let rows: String = rows
        .map(|cells| {
            let cells: String = cells
                .iter()
                .map(|cell| format!("<td>{cell}</td>"))
                .collect();
            format!("<tr>{cells}</tr>")
        })
        .collect();
    format!("<div class=\"wide list\"><table><tr>{head}</tr>{rows}</table></div>")
}

/// A number with a comma before every three digits.
fn digits(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A moment in UTC, to the second.
fn moment(time: SystemTime) -> String {
    short(&Utc(time).to_string())
}

/// RFC 3339 for people: to the second, without its letters.
fn short(text: &str) -> String {
    text.chars()
        .take(19)
        .map(|c| if c == 'T' { ' ' } else { c })
        .collect()
}

/// A duration in its two largest units.
fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_moments_and_numbers_can_be_read() {
        for (seconds, expected) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3_661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(long(Duration::from_secs(seconds)), expected);
        }
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (5_368_709, "5,368,709"),
        ] {
            assert_eq!(digits(number), expected);
        }
        assert_eq!(moment(SystemTime::UNIX_EPOCH), "1970-01-01 00:00:00");
    }

    #[test]
    fn a_name_is_text_wherever_it_stands() {
        let hostile = "\"><script>alert(1)</script>&on=other";
        let row = SandboxRow {
            upstream: hostile.to_owned(),
            name: hostile.to_owned(),
            state: SandboxState::Idle,
            begun: SystemTime::UNIX_EPOCH,
            idle: Duration::ZERO,
            clients: 0,
            armed: true,
            tainted: true,
            statements: 0,
            subtransactions: 0,
            backend_pid: None,
        };
        let point = PointRow {
            upstream: hostile.to_owned(),
            sandbox: hostile.to_owned(),
            point: hostile.to_owned(),
        };
        let shown = [
            sandboxes(&[row], &[point]),
            changes_head(hostile),
            too_large(hostile),
            login(hostile, Some(hostile)),
        ];
        for html in shown {
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains("&on=other"), "{html}");
        }
    }
}
