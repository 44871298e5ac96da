//! From a request to its answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, StatusCode};
use url::form_urlencoded;

use super::answer::{Answer, Viewer, page, refused, see_other, sorry, style, whole, with_cookie};
use super::entry::{Entry, FORM, SESSION, random, same};
use super::{House, PageSettings, comparisons, view};
use crate::changeset::Event;
use crate::changeset::html::Page as Changes;
use crate::console::Visitor;

/// The largest form, in bytes.
const FORM_SIZE: usize = 8 << 10;
/// The longest name of a developer, in bytes: what is longer is no name, and is not put on record.
const LONGEST_NAME: usize = 63;
/// How long a form may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most HTML that a changeset becomes, in bytes.
const MOST_CHANGES: usize = 4 << 20;

/// The page: what it is told, whom it asks, and who is there.
pub(super) struct Page {
    pub settings: PageSettings,
    house: Arc<dyn House>,
    entry: Entry,
}

type Fields = HashMap<String, String>;

impl Page {
    pub fn new(settings: PageSettings, house: Arc<dyn House>) -> Self {
        let entry = Entry::new(settings.listen.tls.is_some());
        Self {
            settings,
            house,
            entry,
        }
    }

    /// The answer to a request that names a host of ours.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let cookie = cookie(&parts.headers, SESSION);
        let viewer = cookie.and_then(|cookie| {
            self.entry
                .viewer(cookie, |developer| self.house.verifier(developer))
        });
        if parts.method == Method::POST {
            if !is_from_here(&parts.headers) {
                return sorry(
                    StatusCode::FORBIDDEN,
                    "This form is not of this page",
                    "It was sent by a page of another place.",
                );
            }
            let Some(form) = form(body).await else {
                return sorry(
                    StatusCode::BAD_REQUEST,
                    "This form cannot be read",
                    "It is too large, or came too slowly.",
                );
            };
            return match (path, viewer) {
                ("/login", _) => self.log_in(&parts.headers, &form, peer).await,
                ("/logout", Some(viewer)) => {
                    self.log_out(&viewer, cookie.unwrap_or_default(), &form)
                }
                ("/logout", None) => see_other("/login"),
                _ => no_such_page(),
            };
        }
        if parts.method != Method::GET {
            return sorry(
                StatusCode::METHOD_NOT_ALLOWED,
                "This page is for looking",
                "It knows GET, and POST to log in and out.",
            );
        }
        match (path, viewer) {
            ("/style.css", _) => style(),
            ("/login", None) => self.form(StatusCode::OK, None),
            ("/login", Some(_)) => see_other("/"),
            (_, None) => see_other("/login"),
            (path, Some(viewer)) => {
                let query = parts.uri.query().unwrap_or_default();
                self.look(path, &fields(query.as_bytes()), viewer, peer)
                    .await
            }
        }
    }

    async fn look(&self, path: &str, query: &Fields, viewer: Viewer, peer: SocketAddr) -> Answer {
        let field = |name| query.get(name).map_or("", String::as_str);
        match path {
            "/" => self.sandboxes(&viewer).await,
            "/changes" => {
                let body = self.changes(&viewer, peer, field("on"), field("of")).await;
                page(&viewer, "/", "Changes", &body)
            }
            "/budgets" => {
                let body = match self.house.budgets(&viewer.developer).await {
                    Ok(lines) => view::budgets(&lines),
                    Err(refusal) => refused(&refusal),
                };
                page(&viewer, path, "Budgets", &body)
            }
            "/comparisons" => {
                let body = self.comparisons(viewer.developer.clone()).await;
                page(&viewer, path, "Comparisons", &body)
            }
            "/comparison" => {
                let body = self.comparison(viewer.developer.clone(), field("of")).await;
                page(&viewer, "/comparisons", "Comparison", &body)
            }
            "/record" => {
                let body = match self.house.record(&viewer.developer).await {
                    Ok(tail) => view::record(&tail),
                    Err(refusal) => refused(&refusal),
                };
                page(&viewer, path, "Record", &body)
            }
            _ => no_such_page(),
        }
    }

    async fn sandboxes(&self, viewer: &Viewer) -> Answer {
        let (house, developer) = (&self.house, viewer.developer.as_str());
        let sandboxes = house.sandboxes(developer);
        let points = house.points(developer);
        let mut body = view::sandboxes(&sandboxes, points.as_deref().unwrap_or_default());
        if let Err(refusal) = &points {
            body.push_str(&refused(refusal));
        }
        body.push_str(&match house.locks(developer).await {
            Ok(locks) => view::locks(&locks),
            Err(refusal) => refused(&refusal),
        });
        body.push_str(&view::upstreams(&house.upstreams(developer)));
        page(viewer, "/", "Sandboxes", &body)
    }

    async fn changes(
        &self,
        viewer: &Viewer,
        address: SocketAddr,
        upstream: &str,
        name: &str,
    ) -> String {
        let visitor = Visitor {
            developer: viewer.developer.clone(),
            address,
        };
        let mut part = Changes::part(name);
        let mut html = view::changes_head(upstream);
        let mut in_table = false;
        let mut tell = |event: Event<'_>| {
            match event {
                Event::Table(_) => in_table = true,
                Event::Counted(_) => in_table = false,
                _ => {}
            }
            html.extend(part.event(&event));
            if html.len() > MOST_CHANGES {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let read = self
            .house
            .changeset(&visitor, Some(upstream), name, &mut tell)
            .await;
        let closing = if in_table { "</table></div>" } else { "" };
        match read {
            Ok(summary) if !summary.stopped => html.extend(part.end(&summary)),
            Ok(_) => {
                html.push_str(closing);
                html.push_str(&view::too_large(name));
            }
            Err(refusal) => {
                html.push_str(closing);
                html.push_str(&refused(&refusal));
            }
        }
        html
    }

    async fn comparisons(&self, developer: String) -> String {
        let Some(folder) = self.settings.comparisons.clone() else {
            return view::no_comparisons();
        };
        let listed =
            tokio::task::spawn_blocking(move || comparisons::list(&folder, &developer)).await;
        match listed {
            Ok(Ok(kept)) => view::comparisons(&kept),
            _ => view::unreadable(),
        }
    }

    async fn comparison(&self, developer: String, name: &str) -> String {
        let Some(folder) = self.settings.comparisons.clone() else {
            return view::no_comparisons();
        };
        let file = name.to_owned();
        let read =
            tokio::task::spawn_blocking(move || comparisons::read(&folder, &developer, &file));
        match read.await {
            Ok(Some(report)) => view::comparison(name, &report),
            _ => view::unreadable(),
        }
    }

    /// The form of the login, with what was wrong the last time.
    fn form(&self, status: StatusCode, wrong: Option<&str>) -> Answer {
        let token = random();
        let answer = whole(status, "Log in", &view::login(&token, wrong));
        with_cookie(answer, &self.entry.cookie(FORM, Some(&token)))
    }

    async fn log_in(&self, headers: &HeaderMap, form: &Fields, peer: SocketAddr) -> Answer {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if !same(field("token"), cookie(headers, FORM).unwrap_or_default()) {
            return self.form(
                StatusCode::FORBIDDEN,
                Some("The form was too old. Please try again; the browser must keep cookies of this page."),
            );
        }
        if field("name").len() > LONGEST_NAME {
            return self.form(
                StatusCode::UNAUTHORIZED,
                Some("The name or the password is not right."),
            );
        }
        if !self.entry.may_try(peer) {
            return self.form(
                StatusCode::TOO_MANY_REQUESTS,
                Some("That was tried too often. Please wait for a minute."),
            );
        }
        let visitor = Visitor {
            developer: field("name").to_owned(),
            address: peer,
        };
        let password = field("password").to_owned();
        match self.house.log_in(&visitor, password).await {
            Ok(Some(verifier)) => {
                // Whatever session the browser had before.
                if let Some(before) = cookie(headers, SESSION) {
                    self.gone(before);
                }
                let session = self.entry.begin(&visitor.developer, verifier, peer);
                let answer =
                    with_cookie(see_other("/"), &self.entry.cookie(SESSION, Some(&session)));
                with_cookie(answer, &self.entry.cookie(FORM, None))
            }
            Ok(None) => self.form(
                StatusCode::UNAUTHORIZED,
                Some("The name or the password is not right."),
            ),
            Err(refusal) => self.form(StatusCode::SERVICE_UNAVAILABLE, Some(&refusal.message)),
        }
    }

    fn log_out(&self, viewer: &Viewer, session: &str, form: &Fields) -> Answer {
        if !same(form.get("token").map_or("", String::as_str), &viewer.token) {
            return sorry(
                StatusCode::FORBIDDEN,
                "This form is too old",
                "Load the page again to log out.",
            );
        }
        self.gone(session);
        with_cookie(see_other("/login"), &self.entry.cookie(SESSION, None))
    }

    fn gone(&self, session: &str) {
        if let Some((developer, address)) = self.entry.end(session) {
            self.house.log_out(&developer, address);
        }
    }
}

fn no_such_page() -> Answer {
    sorry(
        StatusCode::NOT_FOUND,
        "There is no such page",
        "The address may be misspelt.",
    )
}

/// Does a form come from a page of ours? Browsers say so; what says nothing is no browser, and has the token or not.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(header::HOST).unwrap_or_default();
    let origin = text(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.split_once("://").map_or("", |(_, host)| host);
        !origin.is_empty() && origin.eq_ignore_ascii_case(host)
    });
    let site = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin");
    origin && site
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

async fn form(body: Incoming) -> Option<Fields> {
    let read = Limited::new(body, FORM_SIZE).collect();
    let body = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    Some(fields(&body.to_bytes()))
}

/// The fields of a form, or of a query.
fn fields(encoded: &[u8]) -> Fields {
    form_urlencoded::parse(encoded)
        .map(|(name, value)| (Cow::into_owned(name), Cow::into_owned(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        all.iter().map(pair).collect()
    }

    #[test]
    fn a_form_comes_from_here_or_is_refused() {
        let host = ("host", "localhost:6480");
        for (more, expected) in [
            (vec![], true),
            (vec![("origin", "http://localhost:6480")], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("origin", "null")], false),
            (vec![("origin", "")], false),
            (vec![("origin", "http://localhost:9999")], false),
            (vec![("origin", "https://evil.example.com")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
        ] {
            let all: Vec<_> = more.into_iter().chain([host]).collect();
            assert_eq!(is_from_here(&headers(&all)), expected, "{all:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = headers(&[("cookie", "xdevinprod_page=a; devinprod_page=b;c")]);
        assert_eq!(cookie(&headers, SESSION), Some("b"));
        assert_eq!(cookie(&headers, FORM), None);
    }
}
