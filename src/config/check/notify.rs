//! `[[notify]]`: who is told what, and how.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use lettre::message::Mailbox;
use toml::Spanned;
use url::{Host, Url};

use super::super::developers::check_name;
use super::super::raw::{RawNotify, RawWay};
use super::Check;
use crate::notify::{Hidden, Mail, NotifySettings, Security, Streak, Topic, Way};
use crate::report::Problem;
use crate::report::units::Span;
use crate::upstream::address::decode;

const TELEGRAM: &str = "https://api.telegram.org";
const QUIET: Duration = Duration::from_secs(600);
const PER_HOUR: u32 = 30;
/// Durations here: with more, nobody would hear of anything.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Every one that is counted is remembered.
const STREAKS: RangeInclusive<u32> = 1..=1_000;

impl Check<'_> {
    pub(super) fn notify(&mut self, raw: &[Spanned<RawNotify>]) -> Vec<NotifySettings> {
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for one in raw {
            let name = &one.get_ref().name;
            if let Err(reason) = check_name(name.get_ref()) {
                let reason = reason.replace("developer's name", "notification's name");
                self.problems.push(Problem::at(name.span(), reason));
            }
            if !names.insert(name.get_ref()) {
                self.problems.push(Problem::at(
                    name.span(),
                    format!("notification \"{}\" stands here twice", name.get_ref()),
                ));
            }
            checked.extend(self.notification(one.span(), one.get_ref()));
        }
        checked
    }

    fn notification(&mut self, span: Range<usize>, raw: &RawNotify) -> Option<NotifySettings> {
        self.settings_of_others(raw);
        let way = self.way(span, raw);
        let base = Streak::default();
        let streak = Streak {
            count: self.count(&raw.streak, base.count),
            within: self.short(&raw.streak_within, base.within),
        };
        if let Some(count) = &raw.streak
            && !STREAKS.contains(&streak.count)
        {
            let what = format!("a streak is at most {}", STREAKS.end());
            self.problems.push(Problem::at(count.span(), what));
        }
        let topics = match &raw.events {
            Some(topics) if topics.get_ref().is_empty() => {
                let problem = Problem::at(topics.span(), "this notification is about nothing");
                let hint = "leave `events` out to be told of everything";
                self.problems.push(problem.hint(hint));
                BTreeSet::new()
            }
            Some(topics) => topics.get_ref().clone(),
            None => Topic::ALL.into(),
        };
        Some(NotifySettings {
            name: raw.name.get_ref().clone(),
            way: way?,
            topics,
            streak,
            quiet: self.short(&raw.quiet, QUIET),
            per_hour: self.count(&raw.per_hour, PER_HOUR),
        })
    }

    fn way(&mut self, span: Range<usize>, raw: &RawNotify) -> Option<Way> {
        let name = &raw.name;
        match raw.kind {
            RawWay::Webhook => {
                let url = self.web_url(span, raw, None);
                let token = self.token(raw);
                Some(Way::Webhook {
                    url: url?,
                    token: token?,
                })
            }
            RawWay::Slack => Some(Way::Slack {
                url: self.web_url(span, raw, None)?,
            }),
            RawWay::Telegram => {
                let url = self.web_url(span, raw, Some(TELEGRAM));
                let token = self.token(raw)?;
                if token.is_none() {
                    self.missing(name, "`token_env` or `token_file`: the bot's token");
                }
                if raw.chat.is_none() {
                    self.missing(name, "`chat`: the number of the chat that the bot is in");
                }
                Some(Way::Telegram {
                    url: url?,
                    token: token?,
                    chat: raw.chat.as_ref()?.get_ref().clone(),
                })
            }
            RawWay::Smtp => self.mail(span, raw).map(Box::new).map(Way::Smtp),
        }
    }

    fn mail(&mut self, span: Range<usize>, raw: &RawNotify) -> Option<Mail> {
        let server = self.notify_url(span, raw, None);
        let from = match &raw.from {
            Some(from) => self.mailbox(from),
            None => {
                self.missing(&raw.name, "`from`: the address that the mail comes from");
                None
            }
        };
        if raw.to.is_empty() {
            self.missing(&raw.name, "`to`: the addresses that the mail goes to");
        }
        let to: Vec<Mailbox> = raw.to.iter().filter_map(|to| self.mailbox(to)).collect();
        let (at, url) = server?;
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            self.no_mail_server(at);
            return None;
        };
        let plain = url.query() == Some("tls=none");
        let security = match (url.scheme(), url.query()) {
            ("smtps", None) => Security::Tls,
            ("smtp", None) => Security::StartTls,
            ("smtp", _) if plain && is_loopback(&url) => Security::Plain,
            ("smtp", _) if plain => {
                let problem = Problem::at(at, "`tls=none` is for a mail server on this machine");
                self.problems.push(problem);
                return None;
            }
            _ => {
                self.no_mail_server(at);
                return None;
            }
        };
        let login = match (url.username(), url.password()) {
            ("", _) => None,
            (user, password) => match (decode(user), decode(password.unwrap_or_default())) {
                (Ok(user), Ok(password)) => Some(Hidden::new((user, password))),
                (Err(error), _) | (_, Err(error)) => {
                    self.problems.push(Problem::at(at, error.to_string()));
                    return None;
                }
            },
        };
        let port = url.port().unwrap_or(match security {
            Security::Tls => 465,
            Security::StartTls => 587,
            Security::Plain => 25,
        });
        Some(Mail {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            security,
            login,
            from: from?,
            to,
        })
    }

    fn no_mail_server(&mut self, at: Range<usize>) {
        let problem = Problem::at(at, "this is no mail server").hint(
            "`smtps://user:password@host` for TLS from the start, `smtp://…` for STARTTLS; `smtp://localhost?tls=none` for one on this machine",
        );
        self.problems.push(problem);
    }

    fn mailbox(&mut self, text: &Spanned<String>) -> Option<Mailbox> {
        let parsed = text.get_ref().parse();
        if parsed.is_err() {
            let problem = Problem::at(text.span(), "this is no mail address");
            let hint = "for example \"dba@example.com\", or \"The DBAs <dba@example.com>\"";
            self.problems.push(problem.hint(hint));
        }
        parsed.ok()
    }

    /// A URL that messages are POSTed to.
    fn web_url(
        &mut self,
        span: Range<usize>,
        raw: &RawNotify,
        default: Option<&str>,
    ) -> Option<Hidden<Url>> {
        let (at, url) = self.notify_url(span, raw, default)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => self.warnings.push(
                Problem::at(
                    at,
                    "messages and the secrets that go with them travel in clear text",
                )
                .hint("use https"),
            ),
            _ => {
                let problem = Problem::at(at, "messages go to https:// or http://");
                self.problems.push(problem);
                return None;
            }
        }
        Some(Hidden::new(url))
    }

    /// What was given as `url`, `url_env` or `url_file`, and where.
    fn notify_url(
        &mut self,
        span: Range<usize>,
        raw: &RawNotify,
        default: Option<&str>,
    ) -> Option<(Range<usize>, Url)> {
        let (at, url) = match (&raw.url, &raw.url_env, &raw.url_file) {
            (Some(url), None, None) => (url.span(), url.get_ref().clone()),
            (None, Some(name), None) => (name.span(), self.variable(name)?),
            (None, None, Some(file)) => (file.span(), self.content(file)?),
            (None, None, None) if default.is_some() => (span, default?.to_owned()),
            _ => {
                self.missing(&raw.name, "exactly one of `url`, `url_env` and `url_file`");
                return None;
            }
        };
        let parsed = Url::parse(url.trim());
        if parsed.is_err() {
            // Not what is wrong with it, which would quote it.
            self.problems
                .push(Problem::at(at.clone(), "this is no URL"));
        }
        let url = parsed.ok()?;
        let secret = raw.kind == RawWay::Slack || url.password().is_some();
        if secret && raw.url.is_some() && !is_loopback(&url) {
            self.problems.push(
                Problem::at(at.clone(), "this URL is a secret, and this file is not")
                    .hint("`url_env` or `url_file` keep it elsewhere"),
            );
        }
        Some((at, url))
    }

    /// The token; None after a problem, Some(None) if there is none.
    fn token(&mut self, raw: &RawNotify) -> Option<Option<Hidden<String>>> {
        let (at, token) = match (&raw.token_env, &raw.token_file) {
            (None, None) => return Some(None),
            (Some(name), None) => (name.span(), self.variable(name)?),
            (None, Some(file)) => (file.span(), self.content(file)?),
            (Some(name), Some(_)) => {
                let problem = Problem::at(name.span(), "the token is given twice");
                self.problems.push(problem);
                return None;
            }
        };
        let token = token.trim();
        // It stands in a header, or in a path.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.problems.push(Problem::at(at, "this holds no token"));
            return None;
        }
        Some(Some(Hidden::new(token.to_owned())))
    }

    fn missing(&mut self, name: &Spanned<String>, what: &str) {
        self.problems.push(Problem::at(
            name.span(),
            format!("notification \"{}\" needs {what}", name.get_ref()),
        ));
    }

    /// What stands here and means nothing for this kind.
    fn settings_of_others(&mut self, raw: &RawNotify) {
        let token = raw.token_env.as_ref().map(Spanned::span);
        let token = token.or(raw.token_file.as_ref().map(Spanned::span));
        let chat = raw.chat.as_ref().map(Spanned::span);
        let mail = raw.from.as_ref().or(raw.to.first()).map(Spanned::span);
        let (kind, others) = match raw.kind {
            RawWay::Webhook => ("webhook", [chat, mail, None]),
            RawWay::Slack => ("slack", [token, chat, mail]),
            RawWay::Telegram => ("telegram", [mail, None, None]),
            RawWay::Smtp => ("smtp", [token, chat, None]),
        };
        for span in others.into_iter().flatten() {
            let what = format!("this means nothing with kind = \"{kind}\"");
            self.problems.push(Problem::at(span, what));
        }
    }

    /// A duration of at most a day.
    fn short(&mut self, raw: &Option<Spanned<Span>>, base: Duration) -> Duration {
        match raw {
            Some(span) if span.get_ref().0 > LONGEST => {
                let what = format!("this is at most {}", Span(LONGEST));
                self.problems.push(Problem::at(span.span(), what));
                base
            }
            _ => self.duration(raw, base),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    // Hosts of schemes that are not the web's are not parsed: any may be an address.
    let address = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>();
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain("localhost")) => true,
        Some(Host::Domain(name)) => address(name).is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests;
