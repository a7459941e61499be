//! `/api/log-level`: what is logged, shown to all, changed only from this machine.
//!
//! A web page that somebody on this machine looks at must not be able to change it either: it cannot choose the name it is reached
//! by (`Host`) nor hide where it came from (`Origin`, `Sec-Fetch-Site`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request, StatusCode};

use super::answers::{Answer, text};
use crate::telemetry::LogControl;

/// Directives are short.
const MOST_BYTES: usize = 4096;
/// How long the body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// Shows or changes it.
pub(super) async fn answer(request: Request<Incoming>, peer: SocketAddr, log: &LogControl) -> Answer {
    if request.method() != Method::POST {
        return text(StatusCode::OK, format!("{}\n", log.asked()));
    }
    if let Err(why) = is_allowed(request.headers(), peer) {
        return text(StatusCode::FORBIDDEN, format!("the log level is changed from this machine alone: {why}\n"));
    }
    let body = tokio::time::timeout(BODY_LIMIT, Limited::new(request.into_body(), MOST_BYTES).collect()).await;
    let asked = match body {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Ok(Err(_)) => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, format!("a log level has at most {MOST_BYTES} bytes\n"));
        }
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the log level did not arrive\n"),
    };
    match log.ask(&asked) {
        Ok(before) => {
            let now = log.asked();
            tracing::info!(from = before, to = now, %peer, "the log level was changed");
            text(StatusCode::OK, format!("{now}\n"))
        }
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

/// Whether somebody on this machine asks, and not a web page in their name. Why not.
fn is_allowed(headers: &HeaderMap, peer: SocketAddr) -> Result<(), String> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err(format!("{} is not a loopback address", peer.ip()));
    }
    let header = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let host = header(HOST.as_str()).unwrap_or_default();
    if !is_loopback_name(&host) || headers.get_all(HOST).iter().count() != 1 {
        return Err(format!("the Host header {host:?} does not name it; ask 127.0.0.1 or localhost"));
    }
    if let Some(origin) = header(ORIGIN.as_str())
        && origin.strip_prefix("http://") != Some(&host)
    {
        return Err(format!("the request comes from a page of {origin:?}"));
    }
    match header("sec-fetch-site").as_deref() {
        None | Some("same-origin" | "none") => Ok(()),
        Some(site) => Err(format!("the request comes from a page elsewhere ({site})")),
    }
}

/// Whether a Host header says, in words or numbers, that it is this machine that is asked.
fn is_loopback_name(host: &str) -> bool {
    let port = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        return port(rest) && address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let (name, rest) = host.find(':').map_or((host, ""), |colon| host.split_at(colon));
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port(rest) && (is_address || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const HERE: &str = "127.0.0.1:40000";

    fn allowed(peer: &str, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        is_allowed(&map, peer.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_this_machine_may_ask() {
        let host = [("host", "localhost:9464")];
        for peer in [HERE, "127.8.8.8:1", "[::1]:40000", "[::ffff:127.0.0.1]:40000"] {
            assert!(allowed(peer, &host), "{peer}");
        }
        for peer in ["10.0.0.7:40000", "[2001:db8::1]:40000", "[::ffff:10.0.0.7]:40000", "0.0.0.0:1"] {
            assert!(!allowed(peer, &host), "{peer}");
        }
    }

    #[test]
    fn a_name_that_may_be_anybodys_is_not_this_machine() {
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.0.0.2", "[::1]:9464", "[::1]"] {
            assert!(allowed(HERE, &[("host", host)]), "{host}");
        }
        for host in
            ["", "example.com:9464", "localhost.example.com", "127.0.0.1.nip.io", "127.0.0.1@example.com", "10.0.0.7"]
        {
            assert!(!allowed(HERE, &[("host", host)]), "{host}");
        }
        for host in ["localhost:x", "localhost:", "[::1", "[::1]x", "[2001:db8::1]:80", "localhost:99999"] {
            assert!(!allowed(HERE, &[("host", host)]), "{host}");
        }
        assert!(!allowed(HERE, &[]), "no name at all");
        assert!(!allowed(HERE, &[("host", "localhost"), ("host", "example.com")]), "two names");
    }

    #[test]
    fn a_page_of_another_origin_may_not_ask_in_somebodys_name() {
        let host = ("host", "localhost:9464");
        assert!(allowed(HERE, &[host, ("origin", "http://localhost:9464"), ("sec-fetch-site", "same-origin")]));
        for origin in
            ["http://example.com", "http://localhost:8000", "https://localhost:9464", "null", "localhost:9464"]
        {
            assert!(!allowed(HERE, &[host, ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "elsewhere"] {
            assert!(!allowed(HERE, &[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
