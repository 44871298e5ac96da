//! TLS towards clients: certificate and key from PEM, and the certificate's channel-binding hash.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912;

use super::socket::Socket;

/// The name of the protocol in TLS' ALPN extension, as Postgres 17 and its clients use it.
pub const ALPN: &[u8] = b"postgresql";

/// `ecdsa-with-SHA1`, which the crate's table leaves out.
const ECDSA_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");

/// A certificate and its key, ready to accept clients: TLS 1.2 and 1.3, ALPN `postgresql`.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    end_point: Option<Arc<[u8]>>,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate, or one that is not PEM.
    #[error("no usable certificate in the PEM text")]
    Certificate,
    /// No private key, or one that is not PEM (an encrypted key is not supported).
    #[error("no usable private key in the PEM text (an encrypted key must be decrypted first)")]
    Key,
    /// The key is of an unknown kind, or belongs to another certificate.
    #[error("the certificate and the private key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// The certificates of a PEM text, such as those of authorities that are to be trusted.
///
/// # Errors
/// It has none, or one that cannot be read.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or(TlsError::Certificate)
}

impl ServerTls {
    /// Reads a certificate chain (leaf first) and its private key from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::File {
                path: path.to_owned(),
                source,
            })
        };
        Self::from_pem(&read(certificate)?, &read(key)?)
    }

    /// The same from PEM text in memory.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TlsError::Certificate)?;
        let leaf = chain.first().ok_or(TlsError::Certificate)?;
        let end_point = end_point_hash(leaf).map(Arc::from);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        // The provider is named here, so that nothing depends on a process-wide default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            end_point,
        })
    }

    /// The same certificate for another protocol than Postgres'.
    pub fn with_alpn(&self, protocol: &[u8]) -> Self {
        let mut config = ServerConfig::clone(self.acceptor.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            end_point: self.end_point.clone(),
        }
    }

    /// Runs the server's side of the handshake. Bounded in time by the caller.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Socket> {
        let stream = self.acceptor.accept(tcp).await?;
        Ok(Socket::Tls {
            stream: Box::new(stream.into()),
            end_point: self.end_point.clone(),
        })
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// The `tls-server-end-point` channel binding of a DER certificate: its hash by the hash of its signature
/// algorithm, with SHA-256 in the place of MD5 and SHA-1 (RFC 5929, section 4.1).
///
/// None for an algorithm that names no hash (Ed25519) or is not known here (RSA-PSS), and for what is no
/// certificate; channel binding is not offered then.
pub fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let hash = match parsed.signature_algorithm.oid {
        rfc5912::MD_5_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_1_WITH_RSA_ENCRYPTION
        | rfc5912::DSA_WITH_SHA_1
        | ECDSA_WITH_SHA_1
        | rfc5912::SHA_256_WITH_RSA_ENCRYPTION
        | rfc5912::DSA_WITH_SHA_256
        | rfc5912::ECDSA_WITH_SHA_256 => Sha256::digest(certificate).to_vec(),
        rfc5912::SHA_224_WITH_RSA_ENCRYPTION
        | rfc5912::DSA_WITH_SHA_224
        | rfc5912::ECDSA_WITH_SHA_224 => Sha224::digest(certificate).to_vec(),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => {
            Sha384::digest(certificate).to_vec()
        }
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => {
            Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    };
    Some(hash)
}

/// Certificates made for one test.
#[cfg(test)]
pub(crate) mod testing {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::{ClientConfig, RootCertStore};

    use super::*;

    /// An authority, and a server with a certificate from it.
    pub(crate) struct Certificates {
        pub(crate) authority_pem: String,
        pub(crate) server: ServerTls,
    }

    /// A new authority and a server of this name.
    pub(crate) fn certificates(name: &str) -> Certificates {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()])
            .unwrap()
            .signed_by(&leaf_key, &issuer)
            .unwrap();
        let (certificate, key) = (leaf.pem(), leaf_key.serialize_pem());
        Certificates {
            authority_pem: authority.pem(),
            server: ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap(),
        }
    }

    impl Certificates {
        /// A client that trusts the authority and offers these protocols.
        pub(crate) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(self.authority_pem.as_bytes());
            roots.add(authority.unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn self_signed(algorithm: &'static SignatureAlgorithm) -> (Vec<u8>, String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (
            certificate.der().to_vec(),
            certificate.pem(),
            key.serialize_pem(),
        )
    }

    #[test]
    fn the_end_point_is_hashed_by_the_hash_of_its_signature() {
        let (der, ..) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point_hash(&der), Some(Sha256::digest(&der).to_vec()));
        let (der, ..) = self_signed(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point_hash(&der), Some(Sha384::digest(&der).to_vec()));
        let (der, ..) = self_signed(&rcgen::PKCS_ED25519);
        assert_eq!(end_point_hash(&der), None);
        assert_eq!(end_point_hash(b""), None);
        assert_eq!(end_point_hash(&der[..der.len() - 1]), None);
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let (_, certificate, key) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (_, _, other_key) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        let load = |certificate: &str, key: &str| {
            ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).map(|_| ())
        };
        assert!(load(&certificate, &key).is_ok());
        assert!(matches!(load("", &key), Err(TlsError::Certificate)));
        assert!(matches!(load(&certificate, ""), Err(TlsError::Key)));
        assert!(matches!(
            load(&certificate, &other_key),
            Err(TlsError::Pair(_))
        ));
        let missing = Path::new("no-such-file.pem");
        let error = ServerTls::load(missing, missing).unwrap_err();
        assert_eq!(error.to_string(), "cannot read no-such-file.pem");
    }
}
