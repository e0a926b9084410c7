//! Benchmarks of what every request pays: policy, memory tier, disk tier and wire, each by itself and without sockets.
//!
//! ```text
//! cargo bench -p larder-benches                # all of them
//! cargo bench -p larder-benches --bench policy # one subject
//! cargo bench -p larder-benches --bench disk --features foyer -- /var/tmp
//! cargo build --release -p larder -p larder-benches && target/release/load   # whole nodes and their peers, under load
//! bash .ci/instructions                        # what a hit costs in instructions
//! ```
//!
//! A figure is good for comparison with another one of the same machine: criterion keeps the last run and tells what
//! changed. What whole nodes and their peers do under load is in `RESULTS.md`. This library holds what the benchmarks share: the
//! request of a browser and the response to it.
//!
//! The disk tier is measured by a program of its own, which needs 2 GiB in the directory that it is told, and with the
//! feature `foyer` measures that engine too, by itself and below the index of the disk tier. Hit ratios over a trace
//! come from `cargo run --release -p larder-storage --example replay`.

#![forbid(unsafe_code)]

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use policy::key::Target;
use policy::store::{Exchange, Kept};
use policy::time::Timestamp;

/// What a browser asks for, as a cache key takes it from [`REQUEST`].
pub const TARGET: Target<'static> = Target {
    site: "main",
    scheme: "https",
    host: "www.example.com",
    port: 443,
    path: "/assets/app.js",
    query: Some("v=3&utm_source=mail"),
};

/// When the exchange took place.
pub const THEN: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

/// A request as browsers send it, 14 fields.
pub const REQUEST: &[u8] = b"GET /assets/app.js?v=3&utm_source=mail HTTP/1.1\r\n\
Host: www.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: */*\r\n\
Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.com/\r\n\
Cookie: theme=dark; currency=eur; consent=1\r\n\
DNT: 1\r\n\
Connection: keep-alive\r\n\
Sec-Fetch-Dest: script\r\n\
Sec-Fetch-Mode: no-cors\r\n\
Sec-Fetch-Site: same-origin\r\n\
Priority: u=2\r\n\
Pragma: x\r\n\
\r\n";

/// The fields of the request.
#[must_use]
pub fn request_headers() -> HeaderMap {
    fields(&[
        (header::HOST, "www.example.com"),
        (header::ACCEPT, "*/*"),
        (header::ACCEPT_LANGUAGE, "en-GB,en;q=0.7,de;q=0.3"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::COOKIE, "theme=dark; currency=eur; consent=1"),
        (header::REFERER, "https://www.example.com/"),
    ])
}

/// The fields of the response.
#[must_use]
pub fn response_headers() -> HeaderMap {
    fields(&[
        (header::DATE, "Tue, 14 Nov 2023 22:13:20 GMT"),
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CONTENT_LENGTH, "10240"),
        (
            header::CACHE_CONTROL,
            "public, max-age=3600, stale-while-revalidate=60",
        ),
        (header::ETAG, "\"33a64df551425fcc55e4d42a148795d9\""),
        (header::LAST_MODIFIED, "Mon, 13 Nov 2023 08:00:00 GMT"),
        (header::VARY, "Accept-Encoding"),
        (header::SERVER, "origin"),
    ])
}

fn fields(all: &[(HeaderName, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(HeaderName, &'static str)| {
        (name.clone(), HeaderValue::from_static(value))
    };
    all.iter().map(field).collect()
}

/// The request and its response, a second apart.
#[must_use]
pub fn exchange<'a>(request: &'a HeaderMap, response: &'a HeaderMap) -> Exchange<'a> {
    Exchange {
        method: &Method::GET,
        request,
        status: StatusCode::OK,
        response,
        request_time: THEN,
        response_time: THEN,
        aging: policy::store::Aging::Conservative,
    }
}

/// The head of the stored response, in the memory tier.
#[derive(Debug)]
pub struct Head(pub Kept);

impl storage::Head for Head {
    fn weight(&self) -> usize {
        self.0.weight()
    }
}
