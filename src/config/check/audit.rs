//! `[audit]`: where the log is, and how it is kept.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use toml::Spanned;

use super::Check;
use crate::audit::AuditSettings;
use crate::audit::settings::{SecondPlace, Syslog};
use crate::config::raw::RawAudit;
use crate::report::Problem;
use crate::report::toml_file::beside;
use crate::upstream::address::Address;
use crate::wire::tls::certificates;

/// Below this, a log would be more checkpoints than records.
const SMALLEST_SEGMENT: u64 = 64 << 10;

/// The file of the private key.
pub(in crate::config) fn key_file(path: &Path, raw: &RawAudit) -> PathBuf {
    match &raw.key_file {
        Some(file) => beside(path, file),
        None => AuditSettings::in_folder(&raw.folder(path)).key_file,
    }
}

impl Check<'_> {
    pub(super) fn audit(&mut self, raw: &RawAudit) -> AuditSettings {
        let base = AuditSettings::in_folder(&raw.folder(self.path));
        let segment_size = match &raw.segment_size {
            Some(size) if size.get_ref().0 < SMALLEST_SEGMENT => {
                let what = "a segment is at least 64kB";
                self.problems.push(Problem::at(size.span(), what));
                base.segment_size
            }
            Some(size) => size.get_ref().0,
            None => base.segment_size,
        };
        AuditSettings {
            key_file: key_file(self.path, raw),
            durable: raw.durable.unwrap_or(base.durable),
            segment_size,
            segment_age: self.duration(&raw.segment_age, base.segment_age),
            retention: raw
                .retention
                .as_ref()
                .map(|_| self.duration(&raw.retention, base.segment_age)),
            checkpoint_interval: self.duration(&raw.checkpoint_interval, base.checkpoint_interval),
            checkpoints: match &raw.checkpoints {
                Some(place) => self.second_place(place).unwrap_or(base.checkpoints),
                None => base.checkpoints,
            },
            authorities: match &raw.checkpoints_ca {
                Some(file) => self.second_places_authorities(raw, file),
                None => Vec::new(),
            },
            folder: base.folder,
        }
    }

    fn second_places_authorities(
        &mut self,
        raw: &RawAudit,
        file: &Spanned<PathBuf>,
    ) -> Vec<CertificateDer<'static>> {
        let place = raw.checkpoints.as_ref().map(Spanned::get_ref);
        if !place.is_some_and(|place| place.starts_with("https://")) {
            let what =
                "`checkpoints_ca` says who may vouch for a server, and `checkpoints` is none";
            let problem =
                Problem::at(file.span(), what).hint("`checkpoints = \"https://…\"` is one");
            self.problems.push(problem);
        }
        let text = self.authorities(file).unwrap_or_default();
        certificates(text.as_bytes()).unwrap_or_default()
    }

    /// The database that the log is copied into.
    pub(super) fn audit_sql(&mut self, raw: &RawAudit) -> Option<Address> {
        let RawAudit {
            sql_url: url,
            sql_url_env: variable,
            sql_url_file: file,
            ..
        } = raw;
        let spans = [
            url.as_ref().map(Spanned::span),
            variable.as_ref().map(Spanned::span),
            file.as_ref().map(Spanned::span),
        ];
        let span = spans.into_iter().flatten().next()?;
        let found = self.address_from(url, variable, file);
        let mut address = found.unwrap_or_else(|| {
            let what = "one of `sql_url`, `sql_url_env` and `sql_url_file` is enough";
            self.problems.push(Problem::at(span, what));
            None
        })?;
        address
            .application_name
            .get_or_insert_with(|| "devinprod audit".to_owned());
        Some(address)
    }

    fn second_place(&mut self, place: &Spanned<String>) -> Option<SecondPlace> {
        let text = place.get_ref().as_str();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Some(match text {
                "none" => SecondPlace::Nowhere,
                path => SecondPlace::File(beside(self.path, path.as_ref())),
            });
        };
        let found = match scheme {
            "http" | "https" => url::Url::parse(text).ok().map(SecondPlace::Http),
            "syslog+udp" => rest.parse().ok().map(Syslog::Udp).map(SecondPlace::Syslog),
            "syslog+tcp" => rest.parse().ok().map(Syslog::Tcp).map(SecondPlace::Syslog),
            "syslog+unix" if rest.starts_with('/') => {
                Some(SecondPlace::Syslog(Syslog::Unix(rest.into())))
            }
            _ => None,
        };
        if found.is_none() {
            let problem = Problem::at(place.span(), "this is no place for checkpoints").hint(
                "a file, `none`, `https://…`, `syslog+udp://IP:PORT`, `syslog+tcp://IP:PORT` or `syslog+unix:///dev/log`",
            );
            self.problems.push(problem);
        }
        found
    }

    /// What was called `[events]` before there was an audit.
    pub(super) fn no_events(&mut self, events: Option<&Spanned<toml::Value>>) {
        if let Some(events) = events {
            self.problems.push(
                Problem::at(
                    events.span(),
                    "[events] is gone: what it recorded is part of the audit",
                )
                .hint("remove it, and write `[audit]` with `folder = \"audit\"` in its place"),
            );
        }
    }
}
