//! A Postgres of our own with a dump in it, sealed with a policy, gone when it is dropped.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use rand::distr::{Alphanumeric, SampleString};

use super::super::connect;
use super::given;
use crate::cli::{Failure, client_program};
use crate::cluster::{self, Cluster, Options};
use crate::policy::Policy;
use crate::seal::{self, Names, SealOptions};

const DATABASE: &str = "policy_test";

/// See the [module](self).
pub(super) struct Place {
    cluster: Cluster,
}

impl Place {
    pub(super) async fn make(dump: &Path, policy: &Policy, names: &Names) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(dump)
            .with_context(|| format!("{} cannot be read", dump.display()))?;
        let binaries = cluster::binaries::find()
            .map_err(|error| Failure::new(error.to_string(), error.hint()))?;
        let name = Alphanumeric.sample_string(&mut rand::rng(), 12);
        let folder = std::env::temp_dir().join(format!("devinprod-policy-test-{name}"));
        let options = Options {
            fsync: false,
            ephemeral: true,
            ..Options::new(folder)
        };
        let cluster = Cluster::start(&binaries, options)
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let place = Self { cluster };
        place.load(dump, &text).await?;
        place.seal(policy, names).await?;
        Ok(place)
    }

    /// A superuser's URL.
    pub(super) fn url(&self) -> String {
        format!("{}?sslmode=disable", self.cluster.url(DATABASE))
    }

    /// By psql, which understands all that pg_dump writes.
    async fn load(&self, dump: &Path, text: &str) -> anyhow::Result<()> {
        let psql = client_program(self.cluster.binaries(), "psql")?;
        let admin = connect(&self.cluster.url("postgres")).await?;
        for role in roles(text) {
            let create = format!("CREATE ROLE {role} NOLOGIN");
            // There already, or no name of a role after all: the dump will tell.
            let _ = admin.batch_execute(&create).await;
        }
        admin
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
            .await?;
        let output = tokio::process::Command::new(psql)
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=sqlstate",
            ])
            .args(["-d", &self.cluster.url(DATABASE), "-f"])
            .arg(dump)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .await
            .context("psql cannot be run")?;
        if output.status.success() {
            return Ok(());
        }
        // With the SQLSTATE alone: a message may quote data of the dump.
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said
            .lines()
            .find(|line| line.contains("ERROR"))
            .unwrap_or("");
        let place = line.strip_prefix("psql:").unwrap_or(line);
        Err(Failure::new(
            format!("the dump cannot be loaded: {place}"),
            "psql -f says more; extensions must be installed where this runs",
        )
        .into())
    }

    async fn seal(&self, policy: &Policy, names: &Names) -> anyhow::Result<()> {
        let admin = connect(&self.url()).await?;
        given(&admin, policy).await?;
        let options = SealOptions {
            policy: Some(policy.clone()),
            names: names.clone(),
            ..SealOptions::default()
        };
        let survey = seal::survey(&admin, &options.names).await?;
        let plan = seal::plan(&survey, &options)?;
        Ok(seal::apply(&admin, &plan).await?)
    }
}

/// The roles that a dump speaks of, as it writes them.
fn roles(dump: &str) -> Vec<&str> {
    let mut roles: Vec<&str> = Vec::new();
    for line in dump.lines() {
        let named = if let Some((_, role)) = line.split_once(" OWNER TO ") {
            Some(role)
        } else if line.starts_with("GRANT ") {
            line.rsplit_once(" TO ").map(|(_, role)| role)
        } else if line.starts_with("REVOKE ") {
            line.rsplit_once(" FROM ").map(|(_, role)| role)
        } else if let Some(rest) = line.strip_prefix("ALTER DEFAULT PRIVILEGES FOR ROLE ") {
            roles.extend(rest.split(' ').next());
            rest.rsplit_once(" TO ").map(|(_, role)| role)
        } else {
            None
        };
        let named = named.map(|role| {
            role.trim_end_matches(';')
                .trim_end_matches(" WITH GRANT OPTION")
        });
        roles.extend(named.filter(|role| *role != "PUBLIC"));
    }
    roles.sort_unstable();
    roles.dedup();
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_a_dump() {
        let dump = "ALTER TABLE public.users OWNER TO app;\n\
            ALTER FUNCTION public.f() OWNER TO \"The App\";\n\
            GRANT SELECT ON TABLE public.users TO reporting;\n\
            GRANT SELECT ON TABLE public.users TO lead WITH GRANT OPTION;\n\
            REVOKE ALL ON SCHEMA public FROM PUBLIC;\n\
            ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA public GRANT SELECT ON TABLES TO reporting;\n\
            COPY public.users (id, text) FROM stdin;\n";
        assert_eq!(
            roles(dump),
            ["\"The App\"", "app", "lead", "maker", "reporting"]
        );
    }
}
