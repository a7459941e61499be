//! `penstock health`: asks a running worker whether it is alive, for containers without a shell or curl.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cli::HealthArgs;

/// Below the time that ECS and Docker give a health check by default (5 s).
const TIME_OUT: Duration = Duration::from_secs(4);

/// Asks once; anything but HTTP 200 is an error.
pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let (authority, path) = split(&args.url)?;
    let answer = get(authority, path).with_context(|| format!("asking {}", args.url))?;
    let status = answer.lines().next().unwrap_or_default();
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => bail!("{} answered {status:?}: {}", args.url, answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim()),
    }
}

/// Host with port, and path.
fn split(url: &str) -> anyhow::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("--url {url}: it must begin with http://"))?;
    let (authority, path) = rest.find('/').map_or((rest, "/livez"), |slash| rest.split_at(slash));
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok((authority, path)),
        _ => bail!("--url {url}: it needs a host and a port, as in http://127.0.0.1:9464/livez"),
    }
}

fn get(authority: &str, path: &str) -> anyhow::Result<String> {
    let address = authority.to_socket_addrs()?.next().with_context(|| format!("{authority} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIME_OUT)?;
    stream.set_read_timeout(Some(TIME_OUT))?;
    stream.set_write_timeout(Some(TIME_OUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    // An answer of a health check is short; more than this is somebody else's.
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_livez() {
        assert_eq!(split("http://127.0.0.1:9464").unwrap(), ("127.0.0.1:9464", "/livez"));
        assert_eq!(split("http://[::1]:9464/readyz").unwrap(), ("[::1]:9464", "/readyz"));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused_with_what_it_should_be() {
        for url in ["127.0.0.1:9464", "https://127.0.0.1:9464", "http://127.0.0.1", "http://:1/livez"] {
            assert!(split(url).is_err(), "{url}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_url() {
        let args = HealthArgs { url: "http://127.0.0.1:9/livez".into() };
        assert!(format!("{:#}", run(&args).unwrap_err()).contains("http://127.0.0.1:9/livez"));
    }
}
