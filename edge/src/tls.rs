//! TLS towards clients: certificates chosen by the name that is asked for.

mod tickets;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use self::tickets::Tickets;
use crate::clock::Clock;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct TlsError {
    path: String,
    reason: String,
}

impl TlsError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

/// Makes one cryptography the process's own, before anything else chooses another. It brings post-quantum key exchange.
pub fn install_provider() {
    // A second call finds the first one's choice.
    drop(aws_lc_rs::default_provider().install_default());
}

/// A certificate chain and its key, in PEM files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    pub cert: &'a Path,
    pub key: &'a Path,
}

/// What TLS listeners shake hands with.
pub(crate) struct Handshakes {
    pub acceptor: TlsAcceptor,
    ticketer: Arc<dyn ProducesTickets>,
    /// What the tickets depend on.
    sealed_by: SealedBy,
}

/// The file of secrets, and whose certificates clients may have shown.
#[derive(Debug, Eq, PartialEq)]
struct SealedBy {
    secrets: Option<PathBuf>,
    trusted: Vec<u8>,
}

/// The settings of TLS listeners: HTTP/2 and HTTP/1.1 by ALPN. Who connects may show a certificate of `authorities`, if
/// there are any, and no other. Sessions are resumed by tickets: of this start alone, or of all nodes that have the
/// secrets in the file `tickets`; and of what there was `before`, where it made them in the same way.
pub(crate) fn handshakes(
    files: &[Files<'_>],
    (authorities, tickets): (Option<&Path>, Option<&Path>),
    before: Option<&Handshakes>,
) -> Result<Handshakes, TlsError> {
    let sealed_by = SealedBy {
        secrets: tickets.map(Path::to_owned),
        trusted: trusted(authorities)?,
    };
    let mut config = server_config(files, authorities)?;
    let same = before.filter(|before| before.sealed_by == sealed_by);
    config.ticketer = match (same, tickets) {
        (Some(same), _) => Arc::clone(&same.ticketer),
        (None, Some(path)) => {
            let clock = Clock::from_environment();
            Arc::new(Tickets::new(path, &sealed_by.trusted, clock)?)
        }
        (None, None) => match aws_lc_rs::Ticketer::new() {
            Ok(ticketer) => ticketer,
            Err(_) => config.ticketer,
        },
    };
    Ok(Handshakes {
        ticketer: Arc::clone(&config.ticketer),
        acceptor: TlsAcceptor::from(Arc::new(config)),
        sealed_by,
    })
}

fn server_config(
    files: &[Files<'_>],
    authorities: Option<&Path>,
) -> Result<rustls::ServerConfig, TlsError> {
    let mut certificates = Certificates::default();
    for files in files {
        certificates.add(*files)?;
    }
    let builder = rustls::ServerConfig::builder();
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            let (_, _unusable) = roots.add_parsable_certificates(read_certificates(path)?);
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::new(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A session is resumed with the certificate that its client has shown, so that what counts as one is part of the keys.
fn trusted(authorities: Option<&Path>) -> Result<Vec<u8>, TlsError> {
    let read = authorities.map(read_certificates).transpose()?;
    let all = read.iter().flatten();
    Ok(all.flat_map(|der| der.to_vec()).collect())
}

/// TLS between nodes of tiers: whom they believe, and what they show. HTTP/2 only.
pub(crate) fn tier_config(
    authorities: &[CertificateDer<'static>],
    shown: Option<Files<'_>>,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let (_, _unusable) = roots.add_parsable_certificates(authorities.iter().cloned());
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = read_certificates(files.cert)?;
            let key = PrivateKeyDer::from_pem_file(files.key)
                .map_err(|error| TlsError::new(files.key, error))?;
            let shown = builder.with_client_auth_cert(chain, key);
            shown.map_err(|error| TlsError::new(files.cert, error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// TLS towards a collector, by the word of these authorities or else of the system's.
pub(crate) fn collector_config(
    authorities: Option<Vec<CertificateDer<'static>>>,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let authorities = authorities.unwrap_or_else(|| rustls_native_certs::load_native_certs().certs);
    let mut roots = rustls::RootCertStore::empty();
    let (usable, _unusable) = roots.add_parsable_certificates(authorities);
    if usable == 0 {
        return Err(TlsError {
            path: "telemetry.ca_file".to_owned(),
            reason: "no authority is known; name a file".to_owned(),
        });
    }
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// The certificates in a PEM file, in DER.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| TlsError::new(path, error))?;
    let certificates: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::new(path, error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(path, "there is no certificate in it"));
    }
    for der in &certificates {
        X509Certificate::from_der(der).map_err(|error| TlsError::new(path, error))?;
    }
    Ok(certificates)
}

/// A certificate chain and its key, in DER, that fit together.
pub(crate) fn read_identity(files: Files<'_>) -> Result<(Vec<Vec<u8>>, Vec<u8>), TlsError> {
    let chain = read_certificates(files.cert)?;
    let key =
        PrivateKeyDer::from_pem_file(files.key).map_err(|error| TlsError::new(files.key, error))?;
    let secret = key.secret_der().to_vec();
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    CertifiedKey::from_der(chain.clone(), key, &provider)
        .map_err(|error| TlsError::new(files.key, error))?;
    Ok((chain.iter().map(|der| der.to_vec()).collect(), secret))
}

/// Certificates by name.
#[derive(Debug, Default)]
struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the domain below which they are good for one label: `example.net` for `*.example.net`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or for one that nobody has.
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    fn add(&mut self, files: Files<'_>) -> Result<(), TlsError> {
        let chain = read_certificates(files.cert)?;
        let key = PrivateKeyDer::from_pem_file(files.key)
            .map_err(|error| TlsError::new(files.key, error))?;
        let names = names(&chain[0]);
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let certified = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| TlsError::new(files.key, error))?;
        let certified = Arc::new(certified);
        for name in names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(domain) => (&mut self.wildcard, domain.to_owned()),
                None => (&mut self.exact, name),
            };
            map.entry(name).or_insert_with(|| Arc::clone(&certified));
        }
        self.first.get_or_insert(certified);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (_, domain) = name.split_once('.')?;
            self.wildcard.get(domain)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        named.or(self.first.as_ref()).cloned()
    }
}

/// The DNS names a certificate is for (RFC 9525 §6.3: its subject alternative names).
fn names(der: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = alternatives.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}
