//! HTTP to CAs: one stack, bounded in time and bytes, https only, no redirects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config::Proxy;
use crate::domain::name::host_of;
use crate::domain::problem::{Class, Failure};
use crate::domain::text::escape;

use super::disk;

/// A client for one CA.
pub struct Http {
    agent: ureq::Agent,
    hosts: Vec<String>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most a mebibyte.
    pub body: Vec<u8>,
}

impl Http {
    /// A client that talks to these hosts and trusts these roots, else the platform's.
    ///
    /// `patience`: the longest that one request may take, where that is less than half a minute.
    ///
    /// # Errors
    ///
    /// Where the roots cannot be read or the proxy is none.
    pub fn new(hosts: Vec<String>, roots: Option<&Path>, proxy: &Proxy, patience: Duration) -> Result<Self, Failure> {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(self::roots(roots)?)))
            .build();
        let proxy = match proxy {
            Proxy::Env => ureq::Proxy::try_from_env(),
            Proxy::None => None,
            Proxy::Url(url) => Some(ureq::Proxy::new(url).map_err(|e| Failure::local("proxy", format!("the proxy {url}: {e}")))?),
        };
        let config = ureq::Agent::config_builder()
            .user_agent(USER_AGENT)
            .http_status_as_error(false)
            .https_only(true)
            // A redirected POST would send a signed request where it was not signed for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT.min(patience)))
            .timeout_global(Some(TOTAL.min(patience)))
            .proxy(proxy)
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.new_agent(), hosts })
    }

    /// Sends one request.
    ///
    /// # Errors
    ///
    /// Where the URL is not one that this CA may name, or nothing that is HTTP came back.
    pub fn send(&self, method: &Method, uri: &Uri, content_type: Option<&str>, body: &[u8]) -> Result<Reply, Failure> {
        self.check(uri)?;
        let mut request = Request::builder().method(method).uri(uri).header("accept-language", "en");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let sent = match *method {
            Method::GET | Method::HEAD => request.body(()).map_err(ureq::Error::from).and_then(|r| self.agent.run(r)),
            _ => request.body(body.to_vec()).map_err(ureq::Error::from).and_then(|r| self.agent.run(r)),
        };
        let mut response = sent.map_err(|error| broken(uri, &error))?;
        let headers = response.headers().clone();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(BODY).read_to_vec().map_err(|error| broken(uri, &error))?;
        Ok(Reply { status, headers, body })
    }

    /// A CA that names another host could make us sign for, or connect to, anything.
    fn check(&self, uri: &Uri) -> Result<(), Failure> {
        let host = uri.authority().map(|a| host_of(a.as_str()).to_ascii_lowercase());
        let allowed = host.as_ref().is_some_and(|host| self.hosts.contains(host));
        if uri.scheme_str() == Some("https") && allowed {
            return Ok(());
        }
        let message = format!("the CA names {}, which is not an https URL on its own host", escape(&uri.to_string()));
        let foreign = host.filter(|host| !allowed && uri.scheme_str() == Some("https") && !host.contains('@'));
        let hint = foreign.map_or_else(
            || "report this to the CA".to_owned(),
            |host| format!("if that is right, add hosts = [\"{}\"] to its [ca.…] table", escape(&host)),
        );
        Err(Failure::new(Class::Ca, "foreign-url", message).with_hint(hint))
    }
}

/// A header as text.
#[must_use]
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

/// Whether a file holds roots that a CA could be trusted by.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_roots(path: &Path) -> Result<(), Failure> {
    roots(Some(path)).map(drop)
}

fn roots(path: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    let Some(path) = path else {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            return Err(Failure::local("no-roots", format!("this host trusts no certificate authority {why}"))
                .with_hint("install the package ca-certificates"));
        }
        return Ok(found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect());
    };
    let bad = |why: &str| {
        Failure::local("roots", format!("the roots of the CA: {}: {why}", path.display()))
            .with_hint("`roots` names a file of PEM certificates")
    };
    let pem = disk::read(path, 4 << 20).map_err(|e| Failure::local("roots", format!("the roots of the CA: {e}")))?;
    let pem = pem.ok_or_else(|| bad("no such file"))?;
    let mut certificates = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(&pem) {
        let block = block.map_err(|_| bad("it is not PEM"))?;
        if block.label == "CERTIFICATE" {
            certificates.push(Certificate::from_der(&block.contents).to_owned());
        }
    }
    if certificates.is_empty() { Err(bad("it holds no certificate")) } else { Ok(certificates) }
}

/// A broken wire as a failure: always the CA's or the way to it, never the host's that is to be validated.
fn broken(uri: &Uri, error: &ureq::Error) -> Failure {
    let text = escape(&error.to_string());
    let (code, what, hint) = match error {
        ureq::Error::Timeout(_) => {
            ("timeout", format!("no answer in time ({text})"), Some("the CA or the way to it is slow or down; the next run tries again"))
        }
        ureq::Error::HostNotFound => {
            ("ca-dns", "its host name does not resolve".to_owned(), Some("check this host's resolver, and the directory's URL"))
        }
        ureq::Error::BodyExceedsLimit(_) => ("too-large", format!("the answer is larger than {BODY} bytes"), None),
        _ if is_distrust(&text) => (
            "untrusted",
            format!("its certificate is not trusted ({text})"),
            Some("for a private CA set `roots` in its [ca.…] table; else check this host's clock and ca-certificates"),
        ),
        ureq::Error::ConnectionFailed => ("connection", "the connection failed".to_owned(), Some(WAY)),
        ureq::Error::Io(error) if !is_distrust(&text) => {
            ("connection", escape(error.to_string().split(" (os error").next().unwrap_or_default()).to_lowercase(), Some(WAY))
        }
        _ => ("connection", text, None),
    };
    let failure = Failure::new(Class::Ca, code, format!("talking to {}: {what}", escape(&uri.to_string())));
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

fn is_distrust(text: &str) -> bool {
    ["certificate", "UnknownIssuer", "NotValidForName"].iter().any(|word| text.contains(word))
}

/// RFC 8555 §6.1: names the client and the HTTP library.
const USER_AGENT: &str = concat!("certctl/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ") ureq");

const CONNECT: Duration = Duration::from_secs(10);
const WAY: &str = "the CA or the way to it is down; the next run tries again";
/// For one request with everything in it; a run has many.
const TOTAL: Duration = Duration::from_secs(30);
/// The largest answer: a chain with room to spare.
const BODY: u64 = 1 << 20;
