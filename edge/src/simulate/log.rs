//! The requests of a log, as a site treats them.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use policy::key::{CacheKey, Target};
use policy::time::Timestamp;

use super::lines::{Entry, Freshness, Line, read};
use super::replay::tells_size;
use crate::exchange::split_target;
use crate::sites::{self, Sites, Treatment};

/// Bytes of a line; a longer one is skipped and counted.
const LINE_MAX: u64 = 64 * 1024;

/// A request of a log.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub at: Timestamp,
    pub key: storage::Key,
    pub status: StatusCode,
    /// Content bytes sent.
    pub bytes: u64,
    /// Bytes of the whole content, as far as is known.
    pub size: u64,
    pub lifetime: Lifetime,
    pub treatment: Arc<Treatment>,
}

/// How long a response is fresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lifetime {
    /// In seconds.
    Known(u64),
    Unknown,
    NotStorable,
    /// The request is not for the cache.
    Passed,
}

/// A log, read.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub requests: Vec<Asked>,
    /// Lines that could not be read, or are for no site.
    pub skipped: u64,
    pub longest: u64,
}

/// How a log is read.
pub(super) struct Reading<'a> {
    pub sites: &'a Sites,
    /// Whose requests those are that do not tell.
    pub host: &'a str,
}

impl Reading<'_> {
    /// Reads a log. `progress` is told how many bytes were read.
    ///
    /// # Errors
    /// A sentence about the file.
    pub(super) fn read(
        &self,
        mut from: impl BufRead,
        mut progress: impl FnMut(u64),
    ) -> Result<Log, String> {
        let mut log = Log::default();
        let mut sizes: HashMap<storage::Key, u64> = HashMap::new();
        let mut line = Vec::new();
        let mut done = 0;
        loop {
            line.clear();
            let length = next_line(&mut from, &mut line).map_err(|error| error.to_string())?;
            if length == 0 {
                return Ok(log);
            }
            done += length;
            progress(done);
            let text = std::str::from_utf8(&line).unwrap_or_default().trim_end();
            match read(text).filter(|_| length <= LINE_MAX) {
                Some(Line::Other) => {}
                Some(Line::Request(entry)) => match self.asked(&entry, &mut sizes) {
                    Some(asked) => {
                        log.longest = log.longest.max(asked.size);
                        log.requests.push(asked);
                    }
                    None => log.skipped += 1,
                },
                None if text.is_empty() => {}
                None => log.skipped += 1,
            }
        }
    }

    fn asked(&self, entry: &Entry, sizes: &mut HashMap<storage::Key, u64>) -> Option<Asked> {
        let host = entry.host.as_deref().unwrap_or(self.host);
        let authority = wire::check_authority(host).ok()?;
        let site = self.sites.find(&authority.host)?;
        let headers = HeaderMap::new();
        let (path, query) = split_target(&entry.target);
        let asked = sites::Asked {
            method: &entry.method,
            path,
            headers: &headers,
        };
        let treatment = site.treatment(&asked, Some(entry.status));
        let target = Target {
            site: &site.name,
            scheme: &entry.scheme,
            host: &authority.host,
            port: authority.port.unwrap_or(80),
            path,
            query,
        };
        let key = storage::Key(CacheKey::new(&target, &treatment.key, &headers).hash());
        if tells_size(entry.status, &entry.method) {
            sizes.insert(key, entry.bytes);
        }
        Some(Asked {
            at: entry.at,
            key,
            // What answers a condition or a range was stored as a whole.
            status: match tells_size(entry.status, &entry.method) {
                true => entry.status,
                false => StatusCode::OK,
            },
            bytes: entry.bytes,
            size: sizes.get(&key).copied().unwrap_or(entry.bytes),
            lifetime: lifetime(entry),
            treatment,
        })
    }
}

fn lifetime(entry: &Entry) -> Lifetime {
    if !matches!(entry.method, Method::GET | Method::HEAD) {
        return Lifetime::Passed;
    }
    match entry.freshness {
        Freshness::Unknown => Lifetime::Unknown,
        Freshness::Lifetime(seconds) => Lifetime::Known(seconds),
        Freshness::NotStorable => Lifetime::NotStorable,
    }
}

/// Reads a line, of which no more is kept than makes it too long; how long it is.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut length = 0;
    loop {
        let some = from.fill_buf()?;
        if some.is_empty() {
            return Ok(length);
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(some.len(), |end| end + 1);
        if line.len() as u64 <= LINE_MAX {
            line.extend_from_slice(&some[..taken]);
        }
        from.consume(taken);
        length += taken as u64;
        if end.is_some() {
            return Ok(length);
        }
    }
}
