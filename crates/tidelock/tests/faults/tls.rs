//! TLS: certificates of servers and clients, and ports that speak TLS although the URL does not say so.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tidelock::{Connect, ErrorKind, Queue, Tidelock};
use tidelock_testkit::{Binary, Cluster, Flavour, Sentinel, Server, Tls};

use crate::stage::{server, within};

const MS: Duration = Duration::from_millis(1);

/// Certificates of a server and of a client, signed by an authority of the test; removed when dropped.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// `None` without openssl, which CI does not accept.
    fn make() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(!tidelock_testkit::is_ci(), "openssl must be there in CI");
            eprintln!("skipped: there is no openssl to make certificates with");
            return None;
        }
        let name = format!("tidelock-tls-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let made = Self { folder: std::env::temp_dir().join(name) };
        fs::create_dir(&made.folder).unwrap();
        made.authority("authority");
        made.signed("server", "authority", "subjectAltName=DNS:localhost,IP:127.0.0.1");
        made.signed("client", "authority", "extendedKeyUsage=clientAuth");
        Some(made)
    }

    /// Creates a key and a certificate that signs others.
    fn authority(&self, name: &str) {
        self.openssl(&format!("req -x509 -days 2 {} -out {}", self.key(name), self.file(name, "pem")));
    }

    /// Creates a key and a certificate signed by `authority`.
    fn signed(&self, name: &str, authority: &str, extension: &str) {
        let (request, extensions) = (self.file(name, "csr"), self.file(name, "ext"));
        fs::write(&extensions, format!("basicConstraints=critical,CA:FALSE\n{extension}\n")).unwrap();
        self.openssl(&format!("req -new {} -out {request}", self.key(name)));
        self.openssl(&format!(
            "x509 -req -days 2 -in {request} -CA {} -CAkey {} -CAcreateserial -extfile {extensions} -out {}",
            self.file(authority, "pem"),
            self.file(authority, "key"),
            self.file(name, "pem"),
        ));
    }

    /// The arguments that create a key.
    fn key(&self, name: &str) -> String {
        format!(
            "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {}",
            self.file(name, "key")
        )
    }

    fn openssl(&self, arguments: &str) {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.folder).output().unwrap();
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn file(&self, name: &str, extension: &str) -> String {
        self.folder.join(name).with_extension(extension).display().to_string()
    }

    fn read(&self, name: &str, extension: &str) -> Vec<u8> {
        fs::read(self.file(name, extension)).unwrap()
    }

    /// The certificate of a server, and the authority that it trusts.
    fn of_server(&self) -> Tls {
        Tls {
            certificate: self.file("server", "pem"),
            key: self.file("server", "key"),
            authority: self.file("authority", "pem"),
            asks_clients: false,
        }
    }

    /// A server that speaks TLS, and its port.
    fn server(&self, binary: &Binary, asks_clients: bool) -> (Server, u16) {
        let server = Server::builder(binary).tls(&Tls { asks_clients, ..self.of_server() }).start().unwrap();
        let port = server.client_port();
        (server, port)
    }

    /// A connection to a server, trusting the authority.
    fn connect(&self, port: u16) -> Connect {
        self.connect_to(&format!("rediss://localhost:{port}")).request_timeout(500 * MS)
    }

    fn connect_to(&self, url: &str) -> Connect {
        Tidelock::connect(url).root_certificate(self.read("authority", "pem"))
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn serves(connect: Connect) {
    let tide = within(connect.request_timeout(Duration::from_secs(5))).await.unwrap();
    passes_on(&tide, "q").await;
}

/// Sends and receives a message.
async fn passes_on(tide: &Tidelock, id: &str) {
    let queue: Queue<u64> = tide.queue(id).build().unwrap();
    within(queue.send(&1)).await.unwrap();
    assert!(within(queue.recv()).await.unwrap().unwrap().ack().await.unwrap());
}

/// The error of a refused connection, after checking that it is transient and shows no secret.
async fn refusal(connect: Connect) -> String {
    let error = within(connect).await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hunter2") && !text.contains("PRIVATE"), "{text}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_by_tls() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let Some(certificates) = Certificates::make() else { return };
    let (_server, port) = certificates.server(&binary, false);
    serves(certificates.connect(port)).await;
    let text = refusal(Tidelock::connect(&format!("rediss://localhost:{port}")).request_timeout(500 * MS)).await;
    assert!(text.contains("TLS: invalid peer certificate: UnknownIssuer"), "nobody vouches for it: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    for flavour in [Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let Some(certificates) = Certificates::make() else { return };
        certificates.authority("other");
        certificates.signed("stranger", "other", "extendedKeyUsage=clientAuth");
        let (_server, port) = certificates.server(&binary, true);
        let shows = |name: &str| {
            let pair = (certificates.read(name, "pem"), certificates.read(name, "key"));
            certificates.connect(port).client_certificate(pair.0, pair.1)
        };
        serves(shows("client")).await;
        let text = refusal(certificates.connect(port)).await;
        assert!(text.contains("TLS: received fatal alert: CertificateRequired"), "none is shown: {text}");
        let text = refusal(shows("stranger")).await;
        assert!(text.contains("UnknownCA"), "nobody vouches for it: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_a_cluster_are_reached_by_tls() {
    for flavour in [Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let Some(certificates) = Certificates::make() else { return };
        let tls = certificates.of_server();
        let cluster = Cluster::start_with(&binary, 3, |node| node.tls(&tls).config("tls-cluster yes")).unwrap();
        // The first node reports the others with their TLS ports.
        let seed = format!("rediss-cluster://localhost:{}", cluster.node(0).client_port());
        for url in [seed, cluster.url()] {
            let tide = within(certificates.connect_to(&url)).await.unwrap();
            for number in 0..20 {
                passes_on(&tide, &format!("q{number}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_the_primary_that_they_name_are_reached_by_tls() {
    for flavour in [Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let Some(certificates) = Certificates::make() else { return };
        let set = Sentinel::start_with_tls(&binary, &certificates.of_server()).unwrap();
        let tide = within(certificates.connect_to(&set.url()).request_timeout(Duration::from_secs(5))).await.unwrap();
        passes_on(&tide, "before").await;
        set.fail_over().unwrap();
        passes_on(&tide, "after").await;
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_before_anything_is_connected() {
    let Some(certificates) = Certificates::make() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |scheme: &str| Tidelock::connect(&format!("{scheme}://:hunter2@{address}"));
    let (root, own) = (certificates.read("authority", "pem"), certificates.read("client", "pem"));
    let key = certificates.read("client", "key");
    let cut = |pem: &[u8]| pem[..pem.len() / 2].to_vec();
    for (wrong, why) in [
        (connect("redis").root_certificate(root.clone()), "root_certificate has no effect"),
        (connect("redis").client_certificate(own.clone(), key.clone()), "client_certificate has no effect"),
        (connect("valkey-cluster").root_certificate(root.clone()), "root_certificate has no effect"),
        (connect("rediss").root_certificate("none"), "root_certificate holds no certificate"),
        (connect("rediss").root_certificate(key.clone()), "root_certificate holds no certificate"),
        (connect("rediss").root_certificate(cut(&root)), "root_certificate is no PEM"),
        (connect("rediss").client_certificate("none", key.clone()), "client_certificate holds no certificate"),
        (connect("rediss").client_certificate(own.clone(), own.clone()), "holds no private key"),
        (connect("rediss").client_certificate(own.clone(), cut(&key)), "holds no private key"),
        (connect("rediss").client_certificate(root, key), "its key cannot be used"),
    ] {
        assert!(!format!("{wrong:?}").contains("PRIVATE"));
        let error = within(wrong).await.expect_err("it cannot be used");
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(why) && !text.contains("hunter2") && !text.contains("PRIVATE"), "{why}: {text}");
    }
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_speaks_tls_where_the_url_does_not_is_told() {
    for flavour in [Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let Some(certificates) = Certificates::make() else { return };
        let (_server, port) = certificates.server(&binary, false);
        let text = refusal(at("redis", port, 500 * MS)).await;
        assert!(text.contains(&format!("localhost:{port}: ")) && text.contains("does the port ask for TLS"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_tls_where_the_url_asks_for_it_is_told() {
    let Some(server) = server() else { return };
    // A server waits for the rest of what it takes for a request: longer than the first caller, and than an attempt.
    for (timeout, by_when) in [(100 * MS, "yet"), (3_000 * MS, "within 2s")] {
        let text = refusal(at("rediss", server.port(), timeout)).await;
        let told = format!("localhost:{}: no TLS connection {by_when}: does the port speak TLS?", server.port());
        assert!(text.contains(&told), "{text}");
    }
    // A server that answers, but not in TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"-ERR Protocol error\r\n");
        }
    });
    let text = refusal(at("rediss", port, 500 * MS)).await;
    assert!(text.contains(&format!("localhost:{port}: TLS: received corrupt message")), "{text}");
}

fn at(scheme: &str, port: u16, timeout: Duration) -> Connect {
    Tidelock::connect(&format!("{scheme}://:hunter2@localhost:{port}")).request_timeout(timeout)
}
