//! TLS for `rediss://` URLs, when the `tls` feature is on; a clear refusal when it is off.

use redis::{Client, ConnectionInfo};

use super::failure::Failure;
use super::node::{NodeConfig, not_sent};

#[cfg(feature = "tls")]
pub(crate) fn client(info: ConnectionInfo, config: &NodeConfig) -> Result<Client, Failure> {
    if !config.url.tls {
        return Client::open(info).map_err(|error| not_sent(&error));
    }
    // The client library panics at the first handshake where no provider is installed; a second install is refused
    // and changes nothing, so a provider of the program's own choice stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = redis::TlsCertificates { client_tls: None, root_cert: config.root_certificate.clone() };
    Client::build_with_tls(info, certificates).map_err(|error| not_sent(&error))
}

#[cfg(not(feature = "tls"))]
pub(crate) fn client(info: ConnectionInfo, config: &NodeConfig) -> Result<Client, Failure> {
    if config.url.tls {
        let text = "the URL asks for TLS, but tidelock was built without its feature `tls`".to_owned();
        return Err(Failure::Refused { code: "CLIENT".to_owned(), text });
    }
    Client::open(info).map_err(|error| not_sent(&error))
}
