//! A report as one page of HTML that needs nothing else: no script, no other file.

use super::report::{Difference, Figures, Line, Report, Side};
use super::text;
use crate::report::html::{FOOT, escaped, head};

/// The page.
pub fn html(report: &Report) -> String {
    let title = format!("devinprod: {}", text::verdict(report));
    format!("{}{}{FOOT}\n", head(&title), body(report))
}

/// What stands in the page, for another one around it.
pub fn body(report: &Report) -> String {
    let mut out = String::new();
    let verdict = if report.same { "same" } else { "different" };
    out.push_str(&format!(
        "<header class=\"verdict {verdict}\"><h1>{}</h1></header>\n",
        escaped(&text::verdict(report))
    ));
    out.push_str("<section class=\"sides\">\n");
    out.push_str(&side("A", &report.a));
    if let Some(b) = &report.b {
        out.push_str(&side("B", b));
    }
    out.push_str("</section>\n");
    list(&mut out, "Differences", &report.differences, difference);
    list(&mut out, "Assertions", &report.assertions, |checked| {
        let (class, why) = match &checked.failure {
            Some(failure) => ("bad", failure.why.as_str()),
            None => ("good", "holds"),
        };
        let rows = checked.failure.iter().flat_map(text::rows);
        let rows: String = rows
            .map(|row| format!("<div class=\"cell\">{}</div>", escaped(&row)))
            .collect();
        format!(
            "<span class=\"tag {class}\">{}</span> {} <small>after {}, {}</small>{}{rows}",
            if class == "bad" { "failed" } else { "ok" },
            escaped(why),
            checked.run,
            escaped(&checked.place),
            code(&checked.statement)
        )
    });
    list(&mut out, "Hints", &report.hints, |hint| escaped(hint));
    table(&mut out, report);
    if !report.noise.is_empty() {
        out.push_str("<details><summary>Left out as noise: it differs between two runs of A as well</summary><ul>\n");
        for noise in &report.noise {
            out.push_str(&format!("<li>{}</li>\n", escaped(noise)));
        }
        out.push_str("</ul></details>\n");
    }
    out
}

fn side(name: &str, side: &Side) -> String {
    format!(
        "<div class=\"side\"><b>{name}</b>{}<dl><dt>statements</dt><dd>{}</dd><dt>connections</dt><dd>{}</dd>\
         <dt>time</dt><dd>{}</dd><dt>in the database</dt><dd>{}</dd><dt>exit status</dt><dd>{}</dd></dl></div>\n",
        code(&side.command),
        side.executions,
        side.connections,
        text::seconds(side.seconds),
        text::seconds(side.database_seconds),
        side.exit
    )
}

fn list<T>(out: &mut String, title: &str, all: &[T], item: impl Fn(&T) -> String) {
    if all.is_empty() {
        return;
    }
    out.push_str(&format!("<h2>{title}</h2>\n<ul class=\"cards\">\n"));
    for one in all {
        out.push_str(&format!("<li>{}</li>\n", item(one)));
    }
    out.push_str("</ul>\n");
}

fn difference(difference: &Difference) -> String {
    let statement = difference.statement.as_deref().map(code);
    let both = if difference.a.is_empty() && difference.b.is_empty() {
        String::new()
    } else {
        format!(
            "<div class=\"both\"><pre>{}</pre><pre>{}</pre></div>",
            escaped(&difference.a),
            escaped(&difference.b)
        )
    };
    format!(
        "<span class=\"tag {0}\">{0}</span> {1}{2}{both}",
        difference.kind.as_str(),
        escaped(&difference.what),
        statement.unwrap_or_default()
    )
}

fn table(out: &mut String, report: &Report) {
    let mut lines: Vec<&Line> = report.statements.iter().collect();
    let total = |side: &Option<Figures>| side.map_or(0, |figures| figures.total_us);
    lines.sort_by_key(|line| std::cmp::Reverse(total(&line.a).max(total(&line.b))));
    let longest = lines
        .first()
        .map_or(0, |line| total(&line.a).max(total(&line.b)))
        .max(1);
    let two = report.b.is_some();
    out.push_str("<h2>Statements</h2>\n<div class=\"wide\"><table><thead><tr><th>statement</th>");
    for name in if two { &["A", "B"][..] } else { &["A"] } {
        out.push_str(&format!(
            "<th class=\"n\">{name} runs</th><th class=\"n\">rows</th><th class=\"n\">median</th><th class=\"n\">total</th>"
        ));
    }
    out.push_str(if two { "<th class=\"n\">B/A</th>" } else { "" });
    out.push_str("</tr></thead><tbody>\n");
    for line in lines {
        out.push_str(&format!("<tr><td>{}</td>", code(&line.statement)));
        out.push_str(&cells(line.a.as_ref(), longest));
        if two {
            out.push_str(&cells(line.b.as_ref(), longest));
            out.push_str(&format!("<td class=\"n\">{}</td>", text::factor(line)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn cells(figures: Option<&Figures>, longest: u64) -> String {
    let Some(figures) = figures else {
        return "<td class=\"n none\" colspan=\"4\">not run</td>".to_owned();
    };
    let errors = match figures.errors {
        0 => String::new(),
        errors => format!(" <span class=\"tag bad\">{errors} failed</span>"),
    };
    format!(
        "<td class=\"n\">{}{errors}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n bar\"><i style=\"width:{}%\"></i>{}</td>",
        figures.count,
        figures.rows + figures.affected,
        text::micros(figures.median_us),
        figures.total_us.saturating_mul(100) / longest,
        text::micros(figures.total_us)
    )
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}
