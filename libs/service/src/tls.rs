//! TLS for a server that faces people: certificate and key from PEM files, HTTP/2 and HTTP/1.1 by ALPN.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

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
        let refused = |what, path: &PathBuf, why: &dyn std::fmt::Display| Error::TlsFile {
            what,
            path: path.clone(),
            why: why.to_string(),
        };
        let certificates: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| refused("certificate", &self.certificate, &error))?;
        if certificates.is_empty() {
            return Err(refused("certificate", &self.certificate, &"there is none in the file"));
        }
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| refused("key", &self.key, &error))?;
        // The provider is named, not taken from the process, so that no other crate's choice changes ours.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}
