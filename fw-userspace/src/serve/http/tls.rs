//! TLS 1.2 and 1.3 by rustls: its defaults are what is considered safe, so there is little to choose.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

use crate::error::{Error, Result};

/// Who must show a certificate, and whose signature it must have.
pub(super) enum ClientAuth {
    None,
    IfGiven(PathBuf),
    Required(PathBuf),
}

/// What the file says of TLS.
pub(super) struct Tls {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_auth: ClientAuth,
    pub(super) only_1_3: bool,
}

impl Tls {
    /// The files that are named.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let ca = match &self.client_auth {
            ClientAuth::None => None,
            ClientAuth::IfGiven(ca) | ClientAuth::Required(ca) => Some(ca),
        };
        [&self.cert, &self.key].into_iter().chain(ca)
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] =
            if self.only_1_3 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| Error::system(format!("no TLS: {error}")))?;
        let builder = match &self.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::IfGiven(ca) | ClientAuth::Required(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(|error| wrong(ca, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match &self.client_auth {
                    ClientAuth::IfGiven(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(ca, &error))?)
            }
        };
        let certificates = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            Error::input(format!(
                "the certificate in \"{}\" and the key in \"{}\" do not go together: {error}",
                self.cert.display(),
                self.key.display()
            ))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<std::result::Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| wrong(file, &error))?;
    if certificates.is_empty() {
        return Err(Error::input(format!("\"{}\" holds no certificate in PEM", file.display())));
    }
    Ok(certificates)
}

fn wrong(file: &std::path::Path, error: &dyn std::fmt::Display) -> Error {
    Error::input(format!("cannot read \"{}\": {error}", file.display()))
}
