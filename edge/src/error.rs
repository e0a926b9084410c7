//! What went wrong with a forwarded request, sorted by whom to blame, and how it is answered.

use http::StatusCode;
use policy::stale::Failure;
use tiered::retry::Failed;

/// Why no response came from upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UpstreamError {
    /// Its name does not resolve, and never did.
    #[error("the origin's name does not resolve")]
    Unresolved,
    /// Every origin has failed too often, and is left alone for now.
    #[error("the origin failed too often, and is left alone for now")]
    Barred,
    /// It has as many requests as it may have, and no place became free in time.
    #[error("the origin has as many requests as it may have")]
    Full,
    /// No port is left in the egress pools that may be used.
    #[error("no port is left from which the origin could be reached")]
    NoPort,
    /// Nobody listens, or the network refuses.
    #[error("the origin refuses connections")]
    Refused,
    /// No way leads there.
    #[error("no route to the origin")]
    Unroutable,
    /// There is no connection, for another reason.
    #[error("the origin cannot be reached")]
    Unavailable,
    /// No connection in time.
    #[error("no connection to the origin in time")]
    ConnectTimeout,
    /// The origin's certificate is not trusted.
    #[error("the origin's certificate is not trusted")]
    Tls,
    /// TLS failed otherwise.
    #[error("no TLS session with the origin")]
    TlsHandshake,
    /// Connected, and no response in time.
    #[error("no response from the origin in time")]
    ResponseTimeout,
    /// Connected, and it does not take the request in time.
    #[error("the origin did not take the request in time")]
    WriteTimeout,
    /// The connection ended before there was a response.
    #[error("the origin closed the connection before its response")]
    Terminated,
    /// The connection ended before the response did.
    #[error("the origin closed the connection before its response was complete")]
    Cut,
    /// What came is no response that may be passed on.
    #[error("the origin's response is malformed")]
    Malformed,
    /// A response in a transfer coding that is not known.
    #[error("the origin's response has an unknown transfer coding")]
    TransferCoding,
    /// A validation was answered with something that does not belong to it.
    #[error("the origin answered what it was not asked")]
    Unasked,
    /// No parent answers, and the origin must not be asked by more requests than it is by now.
    #[error("no parent of the tier can be asked, and the budget for the origin is spent")]
    NoParent,
    /// It answered a request for a part with an error of its own.
    #[error("the origin does not send the rest of the response")]
    Refusing,
}

impl UpstreamError {
    /// How an attempt failed, for the question whether there is another; none where there was none.
    #[must_use]
    pub(crate) const fn attempt(self) -> Option<Failed> {
        match self {
            Self::Barred | Self::Full | Self::NoPort | Self::NoParent => None,
            Self::Unresolved
            | Self::Refused
            | Self::Unroutable
            | Self::Unavailable
            | Self::ConnectTimeout
            | Self::Tls
            | Self::TlsHandshake => Some(Failed::Unsent),
            Self::Terminated | Self::Cut => Some(Failed::Unanswered),
            Self::ResponseTimeout | Self::WriteTimeout => Some(Failed::Late),
            Self::Malformed | Self::TransferCoding | Self::Unasked | Self::Refusing => {
                Some(Failed::Garbled)
            }
        }
    }

    /// The same, where nothing of a response was there yet.
    #[must_use]
    pub(crate) const fn before_the_response(self) -> Self {
        match self {
            Self::Cut => Self::Terminated,
            other => other,
        }
    }

    /// The status of the answer to the client (RFC 9110 §15.6.3, §15.6.5).
    #[must_use]
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Unresolved
            | Self::Refused
            | Self::Unroutable
            | Self::Unavailable
            | Self::Tls
            | Self::TlsHandshake
            | Self::Terminated
            | Self::Cut
            | Self::Malformed
            | Self::TransferCoding
            | Self::Unasked
            | Self::Refusing => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::WriteTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            // RFC 9209 §2.3.4, §2.3.12
            Self::Barred | Self::Full | Self::NoPort | Self::NoParent => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The error's name in `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub(crate) const fn proxy_status(self) -> &'static str {
        match self {
            Self::Unresolved => "dns_error",
            Self::Refused => "connection_refused",
            Self::Unroutable => "destination_ip_unroutable",
            Self::Unavailable | Self::Barred | Self::NoParent => "destination_unavailable",
            Self::Full | Self::NoPort => "connection_limit_reached",
            Self::ConnectTimeout => "connection_timeout",
            Self::WriteTimeout => "connection_write_timeout",
            Self::Tls => "tls_certificate_error",
            Self::TlsHandshake => "tls_protocol_error",
            Self::Terminated => "connection_terminated",
            Self::TransferCoding => "http_response_transfer_coding",
            Self::ResponseTimeout => "http_response_timeout",
            Self::Cut => "http_response_incomplete",
            Self::Malformed | Self::Unasked => "http_protocol_error",
            Self::Refusing => "http_request_error",
        }
    }

    /// The failure as `stale-if-error` sees it.
    #[must_use]
    pub(crate) const fn failure(self) -> Failure {
        match self {
            Self::Unresolved
            | Self::Barred
            | Self::Full
            | Self::NoPort
            | Self::Refused
            | Self::Unroutable
            | Self::Unavailable
            | Self::Tls
            | Self::TlsHandshake
            | Self::NoParent => Failure::Unreachable,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::WriteTimeout => Failure::Timeout,
            Self::Terminated
            | Self::Cut
            | Self::Malformed
            | Self::TransferCoding
            | Self::Unasked
            | Self::Refusing => Failure::Cut,
        }
    }
}
