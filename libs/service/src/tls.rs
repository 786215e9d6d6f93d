//! TLS where the mesh faces people: a server's certificate and key from PEM files, HTTP/2 and HTTP/1.1 by ALPN; and the
//! client's side of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Error;

/// The files of a server's identity, both PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and its chain, leaf first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let certificates = certificates("certificate", &self.certificate)?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| refused("key", &self.key, &error))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}

/// Connects to servers whose certificates lead to those in the PEM file `roots`, or else to those that this machine
/// trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` say so too).
pub(crate) fn connector(roots: Option<&Path>) -> Result<TlsConnector, Error> {
    let trusted = match roots {
        Some(file) => certificates("trusted certificates", file)?,
        // Some that cannot be read do not make the others worthless.
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(trusted);
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

/// Named, not taken from the process, so that no other crate's choice changes ours.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refused(what, path, &error))?;
    match certificates.is_empty() {
        true => Err(refused(what, path, &"there is none in the file")),
        false => Ok(certificates),
    }
}

fn refused(what: &'static str, path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::TlsFile { what, path: path.to_owned(), why: why.to_string() }
}
