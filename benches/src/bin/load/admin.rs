//! Larder's admin API, as far as a measurement needs it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::TOKEN;
use crate::server::Server;

/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Keys in one purge: the most that the API takes.
const KEYS: u64 = 500;

/// Purges so many tags that nothing carries.
///
/// # Errors
/// Where the node refuses.
pub(crate) fn purge_tags(server: &Server, count: u64) -> io::Result<()> {
    for first in (0..count).step_by(500) {
        let last = count.min(first + KEYS);
        let tags = (first..last).map(|number| format!("\"nobody-{number}\""));
        let tags = tags.collect::<Vec<_>>().join(",");
        purge(server, &format!("{{\"tags\":[{tags}]}}"))?;
    }
    Ok(())
}

/// Sends an order.
///
/// # Errors
/// Where the node refuses.
pub(crate) fn purge(server: &Server, order: &str) -> io::Result<()> {
    let head = format!(
        "POST /v1/purges HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n",
        order.len()
    );
    said(server, &head, order).map(drop)
}

/// Waits until a metric without labels is at least so much.
///
/// # Errors
/// Where it does not get there.
pub(crate) fn wait_for(server: &Server, metric: &str, least: f64) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        let now = self::metric(server, metric)?;
        if now >= least {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            let told = format!("{metric} is {now}, not {least}");
            return Err(io::Error::other(told));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The value of a metric without labels.
///
/// # Errors
/// Where there is none of the name.
pub(crate) fn metric(server: &Server, name: &str) -> io::Result<f64> {
    let told = said(server, "GET /metrics HTTP/1.1\r\n", "")?;
    let value = told.lines().find_map(|line| {
        let (own, value) = line.split_once(' ')?;
        (own == name).then(|| value.trim().parse().ok())?
    });
    value.ok_or_else(|| io::Error::other(format!("no metric {name}")))
}

fn said(server: &Server, head: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.admin))?;
    let request = format!("{head}Host: 127.0.0.1\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    match told.starts_with("HTTP/1.1 200") {
        true => Ok(told),
        false => Err(io::Error::other(told)),
    }
}
