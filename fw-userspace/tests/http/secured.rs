//! TLS and users, by a file as the exporters of Prometheus have it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fw_userspace::serve::http::{Limits, WebConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::{Scratch, Served, ask};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// What a client trusts, shows and speaks.
struct Client<'a> {
    trusts: &'a str,
    shows: Option<&'a (String, String)>,
    speaks: &'static SupportedProtocolVersion,
}

impl Client<'_> {
    async fn connect(&self, served: &Served) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trusts.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[self.speaks])
            .unwrap()
            .with_root_certificates(roots);
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, served.connect().await).await
    }

    async fn code(&self, served: &Served, headers: &str) -> u16 {
        ask(self.connect(served).await.unwrap(), "GET /metrics", headers).await.code
    }
}

fn write_pair(scratch: &Scratch, (certificate, key): &(String, String)) {
    scratch.write("cert.pem", certificate);
    scratch.write("key.pem", key);
}

async fn served(config: &Path) -> Served {
    let web = WebConfig::read(config).unwrap();
    Served::on("127.0.0.1:0", Some(web), Limits { request: Duration::from_secs(2), ..Limits::default() })
        .await
}

const ALICE: &str = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
const MALLORY: &str = "Authorization: Basic YWxpY2U6U0VDUkVU\r\n";

#[tokio::test]
async fn tls_and_users_and_a_certificate_that_is_renewed() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    write_pair(&scratch, &authority.issue("localhost"));
    let hash = bcrypt::hash("secret", 5).unwrap();
    let config = scratch.write(
        "web.yml",
        &format!("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  alice: {hash}\n"),
    );
    let served = served(&config).await;
    let ca = authority.pem();
    let mut client = Client { trusts: &ca, shows: None, speaks: &TLS13 };
    assert_eq!(client.code(&served, ALICE).await, 200);
    assert_eq!(client.code(&served, "").await, 401);
    assert_eq!(client.code(&served, MALLORY).await, 401);
    let refused = ask(client.connect(&served).await.unwrap(), "GET /healthz", "").await;
    assert!(refused.code == 401 && refused.head.contains("www-authenticate: basic realm="), "{refused:?}");
    for _ in 0..4 {
        client.code(&served, MALLORY).await;
    }
    let later = ask(client.connect(&served).await.unwrap(), "GET /healthz", MALLORY).await;
    assert!(later.code == 429 && later.head.contains("retry-after: "), "{later:?}");
    client.speaks = &TLS12;
    assert_eq!(client.code(&served, ALICE).await, 200);

    // Without TLS it hears nothing, and says why.
    let mut plain = served.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut bytes).await;
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");

    // Half of it is changed first.
    let other = Authority::new();
    let pair = other.issue("localhost");
    scratch.write("cert.pem", &pair.0);
    assert_eq!(client.code(&served, ALICE).await, 200, "what held before still does");
    scratch.write("key.pem", &pair.1);
    let ca = other.pem();
    let client = Client { trusts: &ca, ..client };
    assert_eq!(client.code(&served, ALICE).await, 200);
    scratch.write("web.yml", "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n");
    assert_eq!(client.code(&served, "").await, 200, "nobody needs a password any more");
    let log = served.end().await;
    assert!(log.iter().any(|line| line.contains("no TLS handshake")), "{log:?}");
    assert!(
        log.iter().any(|line| line.contains("do not go together") && line.contains("is not used")),
        "{log:?}"
    );
}

#[tokio::test]
async fn clients_that_must_show_a_certificate() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    write_pair(&scratch, &authority.issue("localhost"));
    let ca = authority.pem();
    scratch.write("ca.pem", &ca);
    let config = scratch.write(
        "web.yml",
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: ca.pem, min_version: TLS13,\n\
         client_auth_type: RequireAndVerifyClientCert}\n",
    );
    let served = served(&config).await;
    let (ours, theirs) = (authority.issue("prometheus"), Authority::new().issue("prometheus"));
    let client = Client { trusts: &ca, shows: Some(&ours), speaks: &TLS13 };
    assert_eq!(client.code(&served, "").await, 200);
    let is_refused = async |client: Client<'_>| match client.connect(&served).await {
        Err(_) => true,
        // With TLS 1.3 a client knows it only afterwards.
        Ok(mut stream) => {
            let mut bytes = Vec::new();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await;
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.is_err() && bytes.is_empty()
        }
    };
    assert!(is_refused(Client { shows: None, ..client }).await);
    assert!(is_refused(Client { shows: Some(&theirs), ..client }).await);
    assert!(is_refused(Client { speaks: &TLS12, ..client }).await);
    served.end().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_has_its_time() {
    let (scratch, authority) = (Scratch::new(), Authority::new());
    write_pair(&scratch, &authority.issue("localhost"));
    let config = scratch.write("web.yml", "tls_server_config: {cert_file: cert.pem, key_file: key.pem}");
    let served = served(&config).await;
    let silent = served.connect().await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(served.count("fwctl_http_connections_closed_total{reason=\"slow_request\"}"), 1);
    drop(silent);
    served.end().await;
}

#[test]
fn what_cannot_be_read_is_named() {
    let scratch = Scratch::new();
    let said = |path: &Path| WebConfig::read(path).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said(&scratch.0.join("none.yml")).contains("none.yml\": No such file"));
    let config = scratch.write("web.yml", "tls_server_config: {cert_file: a.pem, key_file: b.pem}");
    assert!(said(&config).contains("a.pem\""), "{}", said(&config));
    let (one, other) = (Authority::new().issue("localhost"), Authority::new().issue("localhost"));
    scratch.write("a.pem", &one.0);
    scratch.write("b.pem", "no key");
    assert!(said(&config).contains("b.pem\""), "{}", said(&config));
    scratch.write("b.pem", &other.1);
    assert!(said(&config).contains("do not go together"), "{}", said(&config));
    scratch.write("a.pem", "");
    assert!(said(&config).contains("holds no certificate"), "{}", said(&config));
}
