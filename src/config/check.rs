//! From the raw configuration to the checked one.

pub(super) mod audit;
pub(super) mod budgets;
mod gate;
mod notify;
mod policy;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::developers::{DevelopersFile, check_name};
use super::raw::{RawConfig, RawDeveloper, RawLimits, RawListen, RawPage, RawTls};
use super::{Config, Developer, Limits, Listen, Loaded};
use crate::evidence::gate::GateSettings;
use crate::notify::NotifySettings;
use crate::page::PageSettings;
use crate::report::toml_file::beside;
use crate::report::units::{Size, Span};
use crate::report::{Problem, Report};
use crate::sandbox::settings::SandboxSettings;
use crate::wire::tls::{ServerTls, TlsError, certificates};

/// Where clients connect unless it is said otherwise.
const PORT: u16 = 6432;
/// The same for browsers.
const PAGE_PORT: u16 = 6480;

/// Postgres' own limit on a message (`PQ_LARGE_MESSAGE_LIMIT`), and the least that is of any use.
const MESSAGE_SIZES: std::ops::RangeInclusive<u64> = (64 << 10)..=((1 << 30) - 1);

/// Checks `raw`, in which `problems` were already found.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn config(
    path: &Path,
    text: &str,
    raw: Option<RawConfig>,
    problems: Vec<Problem>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Report> {
    let mut check = Check::new(path, environment, problems);
    let config = raw.and_then(|raw| check.config(raw));
    match config {
        Some(config) if check.problems.is_empty() => Ok(Loaded {
            config,
            warnings: Report::new(path, text, &check.warnings).and(check.policy_warnings),
        }),
        _ => Err(Report::new(path, text, &check.problems).and(check.policies)),
    }
}

/// What the file says of one part; nothing else in it need be right.
///
/// # Errors
/// What is wrong with that part.
fn part<T>(
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    look: impl FnOnce(&mut Check<'_>) -> T,
) -> Result<T, Report> {
    let mut check = Check::new(path, environment, Vec::new());
    let found = look(&mut check);
    match check.problems.is_empty() {
        true => Ok(found),
        false => Err(Report::new(path, text, &check.problems)),
    }
}

/// Its `[gate]` alone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn gate(path: &Path, text: &str, raw: &RawConfig) -> Result<GateSettings, Report> {
    part(path, text, &|_| None, |check| check.gate(raw))
}

/// Its `[[notify]]` alone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn notify(
    path: &Path,
    text: &str,
    raw: &RawConfig,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<NotifySettings>, Report> {
    part(path, text, environment, |check| check.notify(&raw.notify))
}

/// The problems found so far, and what checking needs from outside. A method that finds a problem notes it
/// and returns None or goes on with a default: nothing is used in the end if there was a problem.
struct Check<'a> {
    path: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// What is wrong with policy files, and what their owners should know.
    policies: Vec<Report>,
    policy_warnings: Vec<Report>,
}

impl<'a> Check<'a> {
    fn new(
        path: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
        problems: Vec<Problem>,
    ) -> Self {
        Self {
            path,
            environment,
            problems,
            warnings: Vec::new(),
            policies: Vec::new(),
            policy_warnings: Vec::new(),
        }
    }
}

impl Check<'_> {
    fn config(&mut self, raw: RawConfig) -> Option<Config> {
        let gate = self.gate(&raw);
        let listen = self.listen(raw.listen, PORT);
        let page = raw.page.map(|page| self.page(page));
        let defaults = self.sandbox(&raw.sandbox, SandboxSettings::default());
        let developers_file = raw.developers_file.map(|file| beside(self.path, &file));
        let developers = self.developers(raw.developer, developers_file.as_deref());
        let upstreams =
            self.upstreams(raw.upstream, &defaults, &developers, raw.contact.as_deref());
        let audit = self.audit(&raw.audit);
        let audit_sql = self.audit_sql(&raw.audit);
        let notify = self.notify(&raw.notify);
        self.no_events(raw.events.as_ref());
        let limits = self.limits(&raw.limits);
        let budgets_folder = budgets::folder(self.path, &raw.budgets);
        let shared_ledger = self.shared_ledger(&raw.budgets);
        Some(Config {
            listen: listen?,
            page: page.flatten(),
            upstreams,
            developers,
            audit,
            audit_sql,
            notify,
            gate,
            limits,
            budgets_folder,
            shared_ledger,
            developers_file,
            contact: raw.contact,
        })
    }

    fn listen(&mut self, raw: RawListen, port: u16) -> Option<Listen> {
        let address = match &raw.address {
            None => SocketAddr::from(([127, 0, 0, 1], port)),
            Some(text) => {
                match text.get_ref().parse() {
                    Ok(address) => address,
                    Err(_) => {
                        self.problems.push(
                        Problem::at(
                            text.span(),
                            format!("`{}` is not an IP address and a port", text.get_ref()),
                        )
                        .hint("for example \"127.0.0.1:6432\", or \"[::]:6432\" for every interface"),
                    );
                        return None;
                    }
                }
            }
        };
        let tls = raw.tls.as_ref().map(|tls| self.tls(tls));
        let plaintext_beyond_loopback = raw.allow_plaintext_beyond_loopback.unwrap_or(false);
        if !address.ip().is_loopback() && raw.tls.is_none() && !plaintext_beyond_loopback {
            let message =
                format!("`{address}` can be reached from other machines, and there is no TLS");
            let problem = match &raw.address {
                Some(text) => Problem::at(text.span(), message),
                None => Problem::whole(message),
            };
            self.problems.push(problem.hint(
                "set `tls = { cert = \"…\", key = \"…\" }`, or, if the network itself is safe, `allow_plaintext_beyond_loopback = true`",
            ));
        }
        Some(Listen {
            address,
            tls: tls.flatten(),
            plaintext_beyond_loopback,
        })
    }

    fn page(&mut self, raw: RawPage) -> Option<PageSettings> {
        let listen = RawListen {
            address: raw.address,
            tls: raw.tls,
            allow_plaintext_beyond_loopback: raw.allow_plaintext_beyond_loopback,
        };
        for name in &raw.names {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if name.get_ref().is_empty() || !name.get_ref().chars().all(is_name) {
                let message = format!("`{}` is not the name of a host", name.get_ref());
                self.problems.push(
                    Problem::at(name.span(), message)
                        .hint("without https:// and without a port: \"devinprod.example.com\""),
                );
            }
        }
        Some(PageSettings {
            listen: self.listen(listen, PAGE_PORT)?,
            names: raw.names.into_iter().map(Spanned::into_inner).collect(),
            comparisons: raw.comparisons.map(|folder| beside(self.path, &folder)),
        })
    }

    fn tls(&mut self, raw: &RawTls) -> Option<ServerTls> {
        let cert = beside(self.path, raw.cert.get_ref());
        let key = beside(self.path, raw.key.get_ref());
        match ServerTls::load(&cert, &key) {
            Ok(tls) => Some(tls),
            Err(error) => {
                let at = match &error {
                    TlsError::File { path, .. } if *path == key => raw.key.span(),
                    TlsError::Key => raw.key.span(),
                    _ => raw.cert.span(),
                };
                let reason = std::error::Error::source(&error);
                let reason = reason.map_or(String::new(), |source| format!(": {source}"));
                self.problems
                    .push(Problem::at(at, format!("{error}{reason}")));
                None
            }
        }
    }

    fn developers(
        &mut self,
        raw: Vec<Spanned<RawDeveloper>>,
        file: Option<&Path>,
    ) -> BTreeMap<String, Developer> {
        let from_file = file
            .map(|file| self.developers_file(file))
            .unwrap_or_default();
        let mut developers: BTreeMap<String, Developer> = BTreeMap::new();
        for developer in raw {
            let RawDeveloper {
                name,
                password,
                groups,
            } = developer.into_inner();
            if let Err(reason) = check_name(name.get_ref()) {
                self.problems.push(Problem::at(name.span(), reason));
                continue;
            }
            let verifier = match (&password, from_file.get(name.get_ref())) {
                (Some(password), None) => match password.get_ref().parse() {
                    Ok(verifier) => verifier,
                    Err(_) => {
                        self.problems.push(
                            Problem::at(password.span(), "not a SCRAM-SHA-256 verifier")
                                .hint("a clear-text password does not belong into a file: `devinprod developer add NAME` makes the verifier"),
                        );
                        continue;
                    }
                },
                (None, Some(verifier)) => verifier.clone(),
                (Some(password), Some(_)) => {
                    self.problems.push(
                        Problem::at(
                            password.span(),
                            format!(
                                "developer \"{}\" has a password here and another in the developers' file",
                                name.get_ref()
                            ),
                        )
                        .hint("keep one of the two"),
                    );
                    continue;
                }
                (None, None) => {
                    self.problems.push(
                        Problem::at(
                            name.span(),
                            format!("developer \"{}\" has no password", name.get_ref()),
                        )
                        .hint(format!(
                            "`devinprod developer add {}` puts one into the developers' file",
                            name.get_ref()
                        )),
                    );
                    continue;
                }
            };
            let groups = groups
                .iter()
                .filter_map(|group| self.group(group))
                .collect();
            let checked = Developer {
                name: name.get_ref().clone(),
                verifier,
                groups,
            };
            if developers.insert(checked.name.clone(), checked).is_some() {
                self.problems.push(Problem::at(
                    name.span(),
                    format!("developer \"{}\" stands here twice", name.get_ref()),
                ));
            }
        }
        for (name, verifier) in from_file.iter() {
            developers
                .entry(name.to_owned())
                .or_insert_with(|| Developer {
                    name: name.to_owned(),
                    verifier: verifier.clone(),
                    groups: BTreeSet::new(),
                });
        }
        developers
    }

    fn developers_file(&mut self, file: &Path) -> DevelopersFile {
        DevelopersFile::read_or_empty(file).unwrap_or_else(|error| {
            self.problems.push(Problem::whole(error.to_string()));
            DevelopersFile::default()
        })
    }

    /// A group's name where it is given to a developer: written with or without its `@`.
    fn group(&mut self, group: &Spanned<String>) -> Option<String> {
        let name = group.get_ref().strip_prefix('@').unwrap_or(group.get_ref());
        match check_name(name) {
            Ok(()) => Some(name.to_owned()),
            Err(reason) => {
                let reason = reason.replace("developer's name", "group's name");
                self.problems.push(Problem::at(group.span(), reason));
                None
            }
        }
    }

    fn limits(&mut self, raw: &RawLimits) -> Limits {
        let base = Limits::default();
        Limits {
            max_message_size: self
                .message_size(raw.max_message_size.as_ref(), base.max_message_size),
            max_clients: self.count(&raw.max_clients, base.max_clients),
            startup_timeout: self.duration(&raw.startup_timeout, base.startup_timeout),
            shutdown_grace: raw
                .shutdown_grace
                .as_ref()
                .map_or(base.shutdown_grace, |grace| grace.get_ref().0),
            seal_check: self.duration(&raw.seal_check, base.seal_check),
        }
    }

    fn message_size(&mut self, raw: Option<&Spanned<Size>>, base: usize) -> usize {
        let Some(size) = raw else { return base };
        match usize::try_from(size.get_ref().0) {
            Ok(bytes) if MESSAGE_SIZES.contains(&size.get_ref().0) => bytes,
            _ => {
                self.problems.push(Problem::at(
                    size.span(),
                    "a message's largest size is between 64kB and just under 1GB",
                ));
                base
            }
        }
    }

    /// A text that may hold a password: written here, or kept in the environment or in a file. None if it is not given exactly once;
    /// an error has been noted.
    fn kept_elsewhere(
        &mut self,
        here: &Option<Spanned<String>>,
        variable: &Option<Spanned<String>>,
        file: &Option<Spanned<PathBuf>>,
    ) -> Result<Option<(Range<usize>, String)>, ()> {
        let (span, found) = match (here, variable, file) {
            (Some(text), None, None) => (text.span(), Ok(text.get_ref().clone())),
            (None, Some(name), None) => {
                let found = (self.environment)(name.get_ref());
                let missing = || format!("the environment has no variable {}", name.get_ref());
                (name.span(), found.ok_or_else(missing))
            }
            (None, None, Some(file)) => {
                let resolved = beside(self.path, file.get_ref());
                let read = std::fs::read_to_string(&resolved);
                let wrong = |error| format!("{}: {error}", resolved.display());
                (file.span(), read.map_err(wrong))
            }
            _ => return Ok(None),
        };
        match found {
            Ok(text) => Ok(Some((span, text))),
            Err(wrong) => {
                self.problems.push(Problem::at(span, wrong));
                Err(())
            }
        }
    }

    /// A duration that must not be zero.
    fn duration(&mut self, raw: &Option<Spanned<Span>>, base: Duration) -> Duration {
        match raw {
            Some(span) if span.get_ref().0.is_zero() => {
                self.problems
                    .push(Problem::at(span.span(), "this may not be zero"));
                base
            }
            Some(span) => span.get_ref().0,
            None => base,
        }
    }

    /// What a variable of the environment holds.
    fn variable(&mut self, name: &Spanned<String>) -> Option<String> {
        let value = (self.environment)(name.get_ref());
        if value.is_none() {
            self.problems.push(Problem::at(
                name.span(),
                format!("the environment has no variable {}", name.get_ref()),
            ));
        }
        value
    }

    /// What a file holds.
    fn content(&mut self, file: &Spanned<PathBuf>) -> Option<String> {
        let resolved = beside(self.path, file.get_ref());
        match std::fs::read_to_string(&resolved) {
            Ok(content) => Some(content),
            Err(error) => {
                self.problems.push(Problem::at(
                    file.span(),
                    format!("{}: {error}", resolved.display()),
                ));
                None
            }
        }
    }

    /// A file of authorities, in PEM, that are trusted in the place of the system's.
    fn authorities(&mut self, file: &Spanned<PathBuf>) -> Option<String> {
        let text = self.content(file)?;
        match certificates(text.as_bytes()) {
            Ok(_) => Some(text),
            Err(error) => {
                self.problems
                    .push(Problem::at(file.span(), error.to_string()));
                None
            }
        }
    }

    fn count(&mut self, raw: &Option<Spanned<u32>>, base: u32) -> u32 {
        match raw {
            Some(count) => NonZeroU32::new(*count.get_ref()).map_or_else(
                || {
                    self.problems
                        .push(Problem::at(count.span(), "this must be at least 1"));
                    base
                },
                NonZeroU32::get,
            ),
            None => base,
        }
    }
}
