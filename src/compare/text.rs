//! A report for people.

use super::assert::{Checked, Failure};
use super::report::{Difference, Figures, Line, Report, Side};

/// So many characters of a statement are shown.
const WIDTH: usize = 100;
/// So many lines of times are shown.
const MOST_TIMES: usize = 15;

/// The report as text; the verdict stands at its end, where a terminal shows it.
pub fn text(report: &Report) -> String {
    let mut out = Vec::new();
    out.push(format!("A  {}", side(&report.a)));
    if let Some(b) = &report.b {
        out.push(format!("B  {}", side(b)));
    }
    section(&mut out, "Differences", &report.differences, difference);
    section(&mut out, "Assertions", &report.assertions, assertion);
    section(&mut out, "Hints", &report.hints, |hint| {
        vec![cut(hint, 2 * WIDTH)]
    });
    section(
        &mut out,
        "Left out as noise (A against itself)",
        &report.noise,
        |noise| vec![cut(noise, WIDTH)],
    );
    times(&mut out, report);
    out.push(String::new());
    out.push(verdict(report));
    out.join("\n")
}

/// What came out, in one line.
pub(super) fn verdict(report: &Report) -> String {
    let failed = report
        .assertions
        .iter()
        .filter(|checked| checked.failure.is_some())
        .count();
    let mut parts = Vec::new();
    if report.b.is_some() {
        parts.push(match report.differences.len() {
            0 => "no difference".to_owned(),
            1 => "1 difference".to_owned(),
            many => format!("{many} differences"),
        });
    }
    if !report.assertions.is_empty() {
        parts.push(format!(
            "{failed} of {} assertions failed",
            report.assertions.len()
        ));
    }
    let word = if report.same { "same" } else { "different" };
    match report.b {
        Some(_) => format!("{word}: {}", parts.join(", ")),
        None => parts.join(", "),
    }
}

pub(super) fn side(side: &Side) -> String {
    let exit = match side.exit {
        0 => String::new(),
        exit => format!(", exit status {exit}"),
    };
    format!(
        "{}  ({} statements on {} connections, {} of {} in the database{exit})",
        side.command,
        side.executions,
        side.connections,
        seconds(side.database_seconds),
        seconds(side.seconds),
    )
}

fn section<T>(out: &mut Vec<String>, title: &str, all: &[T], lines: impl Fn(&T) -> Vec<String>) {
    if all.is_empty() {
        return;
    }
    out.push(String::new());
    out.push(title.to_owned());
    for one in all {
        out.extend(lines(one).into_iter().map(|line| format!("  {line}")));
    }
}

fn difference(difference: &Difference) -> Vec<String> {
    let mut lines = Vec::new();
    let (a, b) = (&difference.a, &difference.b);
    let short = !a.contains('\n') && !b.contains('\n');
    let sides = match (a.is_empty() && b.is_empty(), short) {
        (true, _) => String::new(),
        (false, true) => format!("  (A: {a}, B: {b})"),
        (false, false) => String::new(),
    };
    lines.push(format!(
        "{:<10}  {}{sides}",
        difference.kind.as_str(),
        difference.what
    ));
    if let Some(statement) = &difference.statement {
        lines.push(format!("            {}", cut(statement, WIDTH)));
    }
    if !short {
        for (name, side) in [("A", a), ("B", b)] {
            lines.extend(
                side.lines()
                    .map(|line| format!("            {name}  {line}")),
            );
        }
    }
    lines
}

fn assertion(checked: &Checked) -> Vec<String> {
    let Checked {
        run,
        place,
        statement,
        failure,
    } = checked;
    let statement = cut(&one_line(statement), WIDTH);
    match failure {
        None => vec![format!("ok      {run}  {place}  {statement}")],
        Some(failure) => {
            let mut lines = vec![format!("FAILED  {run}  {place}  {}", failure.why)];
            lines.push(format!("        {statement}"));
            lines.extend(
                rows(failure)
                    .into_iter()
                    .map(|row| format!("        {row}")),
            );
            lines
        }
    }
}

/// The rows of a failure, one line each.
pub(super) fn rows(failure: &Failure) -> Vec<String> {
    let row = |row: &Vec<Option<String>>| {
        let cells = failure.columns.iter().zip(row);
        let cells = cells.map(|(name, value)| {
            let value = value.as_deref().unwrap_or("NULL");
            format!("{name} = {}", cut(&one_line(value), 60))
        });
        cells.collect::<Vec<_>>().join(", ")
    };
    failure.rows.iter().map(row).collect()
}

fn times(out: &mut Vec<String>, report: &Report) {
    let mut lines: Vec<&Line> = report.statements.iter().collect();
    let total = |side: &Option<Figures>| side.map_or(0, |figures| figures.total_us);
    lines.sort_by_key(|line| std::cmp::Reverse(total(&line.a).max(total(&line.b))));
    let left_out = lines.len().saturating_sub(MOST_TIMES);
    lines.truncate(MOST_TIMES);
    if lines.is_empty() {
        return;
    }
    out.push(String::new());
    out.push("Times (median each, total)".to_owned());
    for line in lines {
        let cell = |side: &Option<Figures>| match side {
            Some(figures) => format!(
                "{:>6}x {:>8} {:>8}",
                figures.count,
                micros(figures.median_us),
                micros(figures.total_us)
            ),
            None => format!("{:>25}", "-"),
        };
        let sides = match report.b {
            Some(_) => format!("{}  {}  {:>6}", cell(&line.a), cell(&line.b), factor(line)),
            None => cell(&line.a),
        };
        out.push(format!("  {sides}  {}", cut(&line.statement, WIDTH)));
    }
    if left_out > 0 {
        out.push(format!("  … and {left_out} more"));
    }
}

/// How much longer a statement took in B, by its medians; empty where it does not say much.
pub(super) fn factor(line: &Line) -> String {
    match (line.a, line.b) {
        (Some(a), Some(b)) if a.median_us > 0 && b.median_us > 0 => {
            format!("x{:.1}", b.median_us as f64 / a.median_us as f64)
        }
        _ => String::new(),
    }
}

/// Microseconds in a readable unit.
pub(super) fn micros(micros: u64) -> String {
    seconds(micros as f64 / 1e6)
}

/// Seconds in a readable unit.
pub fn seconds(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters, and without control characters that would steer a terminal.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(width)
        .collect();
    if text.chars().nth(width).is_some() {
        shown.push('…');
    }
    shown
}
