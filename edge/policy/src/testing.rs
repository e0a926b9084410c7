//! What the tests of this crate start from.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::method::Method;

use crate::freshness::Terms;
use crate::settings::{SetCookie, Settings};
use crate::store::{self, Aging, Exchange, Stored};
use crate::time::Timestamp;

/// `secs` seconds after the test began, in 2026.
pub(crate) const fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_secs(1_795_219_200 + secs)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

/// An exchange that took no time and took place at second 0.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    method: Method,
    request: HeaderMap,
    status: StatusCode,
    response: HeaderMap,
    at: Timestamp,
}

impl Given {
    pub(crate) fn response(lines: &[(&str, &str)]) -> Self {
        Self {
            method: Method::GET,
            request: HeaderMap::new(),
            status: StatusCode::OK,
            response: headers(lines),
            at: at(0),
        }
    }

    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        let more = headers(&[(name, value)]);
        for (name, value) in &more {
            self.response.append(name, value.clone());
        }
        self
    }

    pub(crate) fn dated(self) -> Self {
        let date = self.at.http_date();
        self.and("date", &date)
    }

    pub(crate) fn asked(mut self, lines: &[(&str, &str)]) -> Self {
        self.request = headers(lines);
        self
    }

    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap();
        self
    }

    pub(crate) const fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn exchange(&self) -> Exchange<'_> {
        Exchange {
            method: &self.method,
            request: &self.request,
            status: self.status,
            response: &self.response,
            request_time: self.at,
            response_time: self.at,
            aging: Aging::Conservative,
        }
    }

    /// Stored under settings that refuse nothing for its cookies.
    #[track_caller]
    pub(crate) fn stored(&self) -> Stored {
        let settings = Settings {
            set_cookie: SetCookie::Store,
            ..Settings::default()
        };
        self.stored_under(&settings)
    }

    #[track_caller]
    pub(crate) fn stored_under(&self, settings: &Settings) -> Stored {
        store::decide(&self.exchange(), settings).unwrap()
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms_under(&Settings::default())
    }

    pub(crate) fn terms_under(&self, settings: &Settings) -> Terms {
        let exchange = self.exchange();
        let reception = crate::freshness::Reception::read(&exchange);
        let directives = crate::cache_control::Directives::read(&self.response, settings);
        Terms::new(
            &directives,
            &self.response,
            self.status,
            &reception,
            settings,
        )
    }
}
