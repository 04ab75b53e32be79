//! Who may ask: requests that name this server by a name that it has, in the type that it reads.
//!
//! A web page can make a browser send requests to a server on loopback, and read the answers once a name of the page's own
//! resolves to 127.0.0.1 (DNS rebinding). Both show in the headers: the browser writes the page's host into `Origin`, and the
//! name that it resolved into `Host`. A form or a script without permission (CORS) cannot send `application/json`.

use std::net::IpAddr;

use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};

use super::BODY_LIMIT;
use super::error::{ApiError, ApiResult};
use crate::{Error, Result};

/// The names that requests may call this server by, beside those of loopback.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    names: Vec<String>,
    /// Any address, for a server that others reach: no page can make a browser write an address where it resolved a name.
    any_address: bool,
}

impl Hosts {
    /// `names` are hosts as in a URL, a port is not looked at; `listens_on` is the address that the server is bound to.
    pub(super) fn new(names: &[String], listens_on: IpAddr) -> Result<Self> {
        let read = |name: &String| {
            host_of(name).ok_or_else(|| {
                let problem = format!("{name:?} is no host name or address");
                Error::invalid("allowed host", problem, "give it as it stands in a URL, as in student.example.org")
            })
        };
        Ok(Self { names: names.iter().map(read).collect::<Result<_>>()?, any_address: !listens_on.is_loopback() })
    }

    /// Refuses a request that calls the server by another name, or that a page of another site made.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> ApiResult<()> {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Err(ApiError::request(StatusCode::BAD_REQUEST, "the request has to have one Host header"));
        };
        let host = String::from_utf8_lossy(host.as_bytes());
        // A request line with a whole URL names the host as well.
        for name in [Some(&*host), uri.authority().map(Authority::as_str)].into_iter().flatten() {
            let known = host_of(name).is_some_and(|name| {
                self.is_named(&name) || address_of(&name).is_some_and(|ip| ip.is_loopback() || self.any_address)
            });
            if !known {
                return Err(Self::refusal("Host", name, "host_not_allowed"));
            }
        }
        for origin in headers.get_all(ORIGIN) {
            let origin = String::from_utf8_lossy(origin.as_bytes());
            let host = origin.split_once("://").and_then(|(_, host)| host_of(host));
            let known =
                host.is_some_and(|name| self.is_named(&name) || address_of(&name).is_some_and(|ip| ip.is_loopback()));
            if !known {
                return Err(Self::refusal("Origin", &origin, "origin_not_allowed"));
            }
        }
        Ok(())
    }

    fn is_named(&self, host: &str) -> bool {
        host == "localhost" || self.names.iter().any(|name| name == host)
    }

    fn refusal(header: &str, value: &str, code: &'static str) -> ApiError {
        let shown: String = value.chars().filter(|c| !c.is_control()).take(100).collect();
        let host = value.split_once("://").map_or(value, |(_, host)| host);
        let option =
            host_of(host).map_or_else(|| "--allow-host NAME".to_owned(), |name| format!("--allow-host {name}"));
        let message = format!(
            "the {header} header says {shown:?}, which is not a name of this server, and web pages of others may not use \
             it; if it is right, start the server with {option}"
        );
        ApiError::forbidden(message, code)
    }
}

/// The host in `host` or `host:port`, in small letters.
fn host_of(text: &str) -> Option<String> {
    let authority: Authority = text.trim().parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    (!host.is_empty()).then(|| host.to_owned())
}

fn address_of(host: &str) -> Option<IpAddr> {
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(address.to_canonical())
}

/// Refuses a body that is not plain JSON, or too long by its own account.
pub(super) fn check_body(headers: &HeaderMap) -> ApiResult<()> {
    let text =
        |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase());
    let kind = text(CONTENT_TYPE).unwrap_or_default();
    if kind.split(';').next().map(str::trim_end) != Some("application/json") {
        let said = if kind.is_empty() { "no Content-Type".into() } else { format!("the Content-Type {kind:.100}") };
        let message = format!("the body has {said}; send JSON with Content-Type: application/json");
        return Err(ApiError::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if let Some(coding) = text(CONTENT_ENCODING).filter(|coding| coding != "identity") {
        let message = format!("the body has the Content-Encoding {coding:.100}; send it as it is");
        return Err(ApiError::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    match text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > BODY_LIMIT as u64 => Err(ApiError::body_too_long(BODY_LIMIT)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append::<axum::http::HeaderName>(name, value);
        }
        hosts.check(&uri.parse().unwrap(), &map).map_or_else(|refused| refused.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_server_on_loopback_goes_by_the_names_of_loopback() {
        let hosts = Hosts::new(&["Student.Example:8000".into()], "127.0.0.1".parse().unwrap()).unwrap();
        for known in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "127.0.0.1:8000",
            "127.9.9.9",
            "[::1]:8000",
            "[::1]",
            "[::ffff:127.0.0.1]:80",
            "student.example",
            "student.example:1",
        ] {
            assert_eq!(status(&hosts, "/", &[("host", known)]), 200, "{known}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "10.0.0.5",
            "0.0.0.0:8000",
            "[2001:db8::1]",
            "2130706433",
            "127.1",
            "",
            ":8000",
            "a b",
        ] {
            assert_eq!(status(&hosts, "/", &[("host", foreign)]), 403, "{foreign}");
        }
        assert_eq!(status(&hosts, "/", &[]), 400, "no host");
        assert_eq!(status(&hosts, "/", &[("host", "localhost"), ("host", "localhost")]), 400, "two hosts");
        assert_eq!(status(&hosts, "http://evil.example/", &[("host", "localhost")]), 403, "a whole URL");
        assert_eq!(status(&hosts, "http://localhost:1/", &[("host", "localhost")]), 200);
        assert!(Hosts::new(&["a b".into()], "127.0.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_server_for_others_goes_by_any_address_and_no_other_name() {
        let hosts = Hosts::new(&[], "0.0.0.0".parse().unwrap()).unwrap();
        for known in ["10.0.0.5:8000", "[2001:db8::1]", "localhost", "127.0.0.1"] {
            assert_eq!(status(&hosts, "/", &[("host", known)]), 200, "{known}");
        }
        assert_eq!(status(&hosts, "/", &[("host", "evil.example")]), 403);
        // A page may be at an address; only a name that was resolved shows what a browser was led to.
        assert_eq!(status(&hosts, "/", &[("host", "10.0.0.5"), ("origin", "http://10.0.0.6")]), 403);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let hosts = Hosts::new(&["chat.example".into()], "127.0.0.1".parse().unwrap()).unwrap();
        for (origin, expected) in [
            ("http://localhost:3000", 200),
            ("https://127.0.0.1", 200),
            ("http://[::1]:1", 200),
            ("https://chat.example", 200),
            ("null", 403),
            ("", 403),
            ("https://evil.example", 403),
            ("https://localhost.evil.example", 403),
            ("https://localhost@evil.example", 403),
            ("file://", 403),
            ("localhost", 403),
        ] {
            assert_eq!(status(&hosts, "/", &[("host", "localhost"), ("origin", origin)]), expected, "{origin}");
        }
    }

    #[test]
    fn bodies_are_plain_json() {
        for (headers, expected) in [
            (vec![("content-type", "application/json")], 200),
            (vec![("content-type", "Application/JSON ; charset=utf-8"), ("content-encoding", "identity")], 200),
            (vec![], 415),
            (vec![("content-type", "text/plain")], 415),
            (vec![("content-type", "application/x-www-form-urlencoded")], 415),
            (vec![("content-type", "multipart/form-data; boundary=x")], 415),
            (vec![("content-type", "application/jsonp")], 415),
            (vec![("content-type", "text/plain; application/json")], 415),
            (vec![("content-type", "application/json"), ("content-encoding", "gzip")], 415),
            (vec![("content-type", "application/json"), ("content-length", "4194305")], 413),
            (vec![("content-type", "application/json"), ("content-length", "4194304")], 200),
        ] {
            let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let status = check_body(&pairs.collect::<HeaderMap>()).map_or_else(|e| e.status.as_u16(), |()| 200);
            assert_eq!(status, expected, "{headers:?}");
        }
    }
}
