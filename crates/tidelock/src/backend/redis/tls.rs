//! TLS for `rediss://` URLs if the `tls` feature is on; a clear refusal if it is off.

use redis::{Client, ConnectionInfo};

use super::dial::{NodeConfig, not_sent};
use super::failure::Failure;
use crate::error::{Error, Result};

/// Certificates, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// The roots to trust instead of the built-in ones.
    #[cfg(feature = "tls")]
    pub(crate) roots: Option<Vec<u8>>,
    /// The certificate that this process presents to servers that ask for one.
    #[cfg(feature = "tls")]
    pub(crate) client: Option<Identity>,
}

/// A certificate with its chain, and its private key.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

#[cfg(feature = "tls")]
pub(crate) fn client(info: ConnectionInfo, config: &NodeConfig) -> std::result::Result<Client, Failure> {
    if !config.url.tls {
        return Client::open(info).map_err(|error| not_sent(&error));
    }
    with_tls::provide();
    let Certificates { roots, client } = config.access.certificates.clone();
    let client_tls = client.map(|own| redis::ClientTlsConfig { client_cert: own.certificate, client_key: own.key });
    let certificates = redis::TlsCertificates { client_tls, root_cert: roots };
    Client::build_with_tls(info, certificates).map_err(|error| not_sent(&error))
}

#[cfg(not(feature = "tls"))]
pub(crate) fn client(info: ConnectionInfo, _: &NodeConfig) -> std::result::Result<Client, Failure> {
    Client::open(info).map_err(|error| not_sent(&error))
}

/// Whether a handshake failed, or the other side ended the connection with a TLS alert.
#[cfg(feature = "tls")]
pub(crate) fn is_told_by_tls(error: &redis::RedisError) -> bool {
    let told = super::dial::io_error(error).and_then(std::io::Error::get_ref);
    told.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

#[cfg(not(feature = "tls"))]
pub(crate) fn is_told_by_tls(_: &redis::RedisError) -> bool {
    false
}

#[cfg(not(feature = "tls"))]
impl Certificates {
    /// Refuses a URL that asks for TLS.
    #[expect(clippy::unused_self, reason = "with TLS there are certificates to check")]
    pub(crate) fn check(&self, tls: bool) -> Result<()> {
        if tls {
            return Err(Error::configuration("the URL asks for TLS, but tidelock was built without its feature `tls`"));
        }
        Ok(())
    }
}

/// Checks of certificates that need a build with TLS.
#[cfg(feature = "tls")]
mod with_tls {
    use rustls::RootCertStore;
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::sign::CertifiedKey;

    use super::{Certificates, Error, Identity, Result};

    const ROOTS: &str = "root_certificate";
    const CLIENT: &str = "client_certificate";

    /// The client library panics at the first handshake if no provider is installed. A second install is refused and
    /// changes nothing, so a provider that the program has chosen is kept.
    pub(super) fn provide() {
        let _ = ring::default_provider().install_default();
    }

    impl Certificates {
        /// Refuses certificates that have no effect because the URL does not use TLS, and invalid ones.
        pub(crate) fn check(&self, tls: bool) -> Result<()> {
            let options = [(ROOTS, self.roots.is_some()), (CLIENT, self.client.is_some())];
            if let Some((option, _)) = options.into_iter().find(|(_, is_given)| *is_given && !tls) {
                return Err(refused(option, "has no effect: the URL does not ask for TLS, as rediss:// does"));
            }
            self.roots.as_deref().map_or(Ok(()), check_roots)?;
            self.client.as_ref().map_or(Ok(()), check_client)
        }
    }

    fn check_roots(pem: &[u8]) -> Result<()> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(ROOTS, pem)? {
            let added = store.add(certificate);
            added.map_err(|error| refused(ROOTS, &format!("holds a certificate that cannot be trusted: {error}")))?;
        }
        Ok(())
    }

    /// No part of the key may appear in an error, so the error does not quote it.
    fn check_client(own: &Identity) -> Result<()> {
        let chain = certificates(CLIENT, &own.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&own.key)
            .map_err(|_| refused(CLIENT, "comes with a key that holds no private key in PEM, or an encrypted one"))?;
        provide();
        let provider = CryptoProvider::get_default().expect("one was installed just now");
        CertifiedKey::from_der(chain, key, provider)
            .map(|_| ())
            .map_err(|error| refused(CLIENT, &format!("and its key cannot be used: {error}")))
    }

    fn certificates(option: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
        let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(found) if found.is_empty() => Err(refused(option, "holds no certificate in PEM")),
            Ok(found) => Ok(found),
            // The text is not quoted, because somebody may have given a key by mistake.
            Err(_) => Err(refused(option, "is no PEM that can be read")),
        }
    }

    fn refused(option: &str, why: &str) -> Error {
        Error::configuration(format!("{option} {why}"))
    }
}
