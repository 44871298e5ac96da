//! Answers, and the headers that all of them have.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::error::Refusal;
use crate::report::html::{STYLE, escaped};

/// An answer of the page.
pub(super) type Answer = Response<Full<Bytes>>;

/// Nothing may run, and nothing be loaded but our stylesheet; forms go nowhere else, and no other page frames this one. Attributes may
/// have style, as the bars of a comparison are as wide as what they stand for: their values are numbers.
const POLICY: &str = "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What every answer has.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With no referrer at all, a browser would not say where a form comes from.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

const HTML: &str = "text/html; charset=utf-8";

/// Who looks at a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Viewer {
    /// The developer.
    pub developer: String,
    /// What their forms carry.
    pub token: String,
}

/// A page's place in the head, and its name there.
const PAGES: [(&str, &str); 4] = [
    ("/", "Sandboxes"),
    ("/budgets", "Budgets"),
    ("/comparisons", "Comparisons"),
    ("/record", "Record"),
];

/// A page for somebody who is logged in; `here` is its place in the head.
pub(super) fn page(viewer: &Viewer, here: &str, title: &str, body: &str) -> Answer {
    let links: String = PAGES
        .iter()
        .map(|(place, name)| {
            let class = if *place == here {
                " class=\"here\" aria-current=\"page\""
            } else {
                ""
            };
            format!("<a href=\"{place}\"{class}>{name}</a>")
        })
        .collect();
    let nav = format!(
        "<nav><b><a href=\"/\">devinprod</a></b>{links}\
         <form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
         <span class=\"soft\">{}</span><button>Log out</button></form></nav>",
        escaped(&viewer.token),
        escaped(&viewer.developer)
    );
    whole(StatusCode::OK, title, &format!("{nav}<main>{body}</main>"))
}

/// A page for anybody.
pub(super) fn whole(status: StatusCode, title: &str, body: &str) -> Answer {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{} · devinprod</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body>{body}</body></html>\n",
        escaped(title)
    );
    answer(status, HTML, text)
}

/// A page that says why there is nothing else.
pub(super) fn sorry(status: StatusCode, what: &str, hint: &str) -> Answer {
    let body = format!(
        "<main class=\"login card\"><h1>{}</h1><p>{}</p><p><a href=\"/\">To the sandboxes</a></p></main>",
        escaped(what),
        escaped(hint)
    );
    whole(status, what, &body)
}

/// A refusal, as part of a page.
pub(super) fn refused(refusal: &Refusal) -> String {
    let more = [&refusal.detail, &refusal.hint]
        .into_iter()
        .flatten()
        .map(|text| format!("<br>{}", escaped(text)));
    format!(
        "<p class=\"notice bad\"><b>{}</b> <small>{}</small>{}</p>",
        escaped(&refusal.message),
        refusal.sqlstate.0,
        more.collect::<String>()
    )
}

/// The stylesheet.
pub(super) fn style() -> Answer {
    answer(StatusCode::OK, "text/css; charset=utf-8", STYLE.to_owned())
}

/// Go there instead.
pub(super) fn see_other(place: &'static str) -> Answer {
    let mut answer = answer(StatusCode::SEE_OTHER, HTML, String::new());
    answer
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(place));
    answer
}

/// With a cookie more. What goes into one is made here: hexadecimal digits and the words of its attributes.
pub(super) fn with_cookie(mut answer: Answer, cookie: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
    answer
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
