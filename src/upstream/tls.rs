//! TLS towards upstreams, with libpq's meaning of `sslmode` and `sslrootcert`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use x509_cert::der::{Decode, Encode};

use super::address::{Address, SslMode, SslRoot};
use crate::wire::tls::ALPN;

/// Why TLS cannot be set up as the address asks.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of `sslrootcert` cannot be read or is no PEM file.
    #[error("cannot read certificates from sslrootcert {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to trust.
    #[error("no trusted certificates were found; name a file with sslrootcert")]
    Empty,
    /// The process is ending.
    #[error("interrupted while reading the trusted certificates")]
    Interrupted,
    /// rustls refuses the settings.
    #[error("TLS cannot be set up")]
    Config(#[from] rustls::Error),
}

/// [`client_config`] off the async threads: it reads files.
pub(super) async fn load(address: &Address) -> Result<Option<ClientConfig>, TrustError> {
    if address.ssl_mode == SslMode::Disable {
        return Ok(None);
    }
    let address = address.clone();
    let task = tokio::task::spawn_blocking(move || client_config(&address));
    task.await.unwrap_or(Err(TrustError::Interrupted))
}

/// The client's settings; None when the address says not to use TLS. Reads files: the trusted certificates
/// are read anew for each connection, so that a rotation needs no restart.
fn client_config(address: &Address) -> Result<Option<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match (address.ssl_mode, &address.ssl_root) {
        (SslMode::Disable, _) => return Ok(None),
        // libpq: without a root certificate `require` accepts any, with one it checks the chain.
        (SslMode::Prefer, _) | (SslMode::Require, SslRoot::Unset) => Arc::new(AnyCertificate {
            provider: provider.clone(),
        }),
        (mode @ (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull), root) => Arc::new(
            TrustedCertificate::load(root, mode == SslMode::VerifyFull, provider.clone())?,
        ),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Some(config))
}

/// `prefer` and `require`: the traffic is encrypted, the server's identity is not checked.
///
/// That the server holds the certificate's key is checked here as well: channel binding relies on it.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

/// `verify-ca` and `verify-full`: a chain to a trusted root, and for the latter the host's name.
#[derive(Debug)]
struct TrustedCertificate {
    roots: RootCertStore,
    /// The trusted certificates themselves: a self-signed one may be the server's own.
    trusted: Vec<CertificateDer<'static>>,
    check_host: bool,
    provider: Arc<CryptoProvider>,
}

impl TrustedCertificate {
    fn load(
        root: &SslRoot,
        check_host: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TrustError> {
        let trusted = match root {
            SslRoot::File(path) => CertificateDer::pem_file_iter(path)
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(|error| TrustError::File {
                    path: path.clone(),
                    source: io::Error::other(error),
                })?,
            SslRoot::Unset | SslRoot::System => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        if roots.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(Self {
            roots,
            trusted,
            check_host,
            provider,
        })
    }
}

/// Whether the certificate is valid at this time by its own dates, which webpki checks only in a chain.
fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    /// By the bare key, so that certificates of version 1 do, too: `openssl x509 -req` makes them when it is
    /// given no extensions, and they are common on database servers. (Over TLS 1.2 rustls refuses them.)
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = x509_cert::Certificate::from_der(certificate)
            .and_then(|parsed| parsed.tbs_certificate.subject_public_key_info.to_der())
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        let key = SubjectPublicKeyInfoDer::from(key);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for TrustedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if self.trusted.contains(end_entity) {
            // webpki takes no authority for a server, but `openssl req -x509` makes one that is both, and
            // libpq takes it.
            check_dates(end_entity, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.check_host {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use tokio_rustls::{TlsAcceptor, TlsConnector};
    use x509_cert::Version;

    use super::*;

    /// Shakes hands under these settings with a server that shows this certificate and signs with this key.
    async fn shake_hands(
        settings: &str,
        certificate: Vec<u8>,
        key: &KeyPair,
    ) -> Result<(), String> {
        let provider = rustls::crypto::ring::default_provider();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = CertifiedKey::new(vec![certificate.into()], key);
        let server = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let address: Address = format!("postgres://anna@localhost/shop?{settings}")
            .parse()
            .unwrap();
        let client = client_config(&address).unwrap().unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let (near, _far) = tokio::join!(
            TlsConnector::from(Arc::new(client)).connect(name, near),
            TlsAcceptor::from(Arc::new(server)).accept(far)
        );
        near.map(|_| ()).map_err(|error| error.to_string())
    }

    const PREFER: &str = "sslmode=prefer";

    fn self_signed() -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["elsewhere".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[tokio::test]
    async fn prefer_takes_any_certificate_but_not_without_its_key() {
        let (certificate, key) = self_signed();
        assert_eq!(shake_hands(PREFER, certificate.clone(), &key).await, Ok(()));
        let (_, other_key) = self_signed();
        let error = shake_hands(PREFER, certificate, &other_key)
            .await
            .unwrap_err();
        assert!(error.contains("BadSignature"), "{error}");
    }

    #[tokio::test]
    async fn prefer_takes_certificates_of_version_1() {
        let (certificate, key) = self_signed();
        let mut certificate = x509_cert::Certificate::from_der(&certificate).unwrap();
        certificate.tbs_certificate.version = Version::V1;
        certificate.tbs_certificate.extensions = None;
        let certificate = certificate.to_der().unwrap();
        assert_eq!(shake_hands(PREFER, certificate.clone(), &key).await, Ok(()));
        let (_, other_key) = self_signed();
        let error = shake_hands(PREFER, certificate, &other_key)
            .await
            .unwrap_err();
        assert!(error.contains("BadSignature"), "{error}");
    }

    #[tokio::test]
    async fn a_trusted_self_signed_certificate_may_be_the_servers_own() {
        for (name, year, mode, expected) in [
            ("localhost", 2100, "verify-full", Ok(())),
            ("elsewhere", 2100, "verify-full", Err("not valid for name")),
            ("elsewhere", 2100, "verify-ca", Ok(())),
            ("localhost", 2001, "verify-ca", Err("Expired")),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(certificate.pem().as_bytes()).unwrap();
            let settings = format!("sslmode={mode}&sslrootcert={}", file.path().display());
            let outcome = shake_hands(&settings, certificate.der().to_vec(), &key).await;
            match (outcome, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (outcome, _) => panic!("{name} {year} {mode}: {outcome:?}"),
            }
        }
    }
}
