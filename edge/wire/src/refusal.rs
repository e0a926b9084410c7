//! Why a message is refused, and with which status.

use http::StatusCode;

/// What is wrong with a message. The connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    // Lines.
    /// A line feed without a carriage return before it (RFC 9112 §2.2).
    #[error("line feed without carriage return")]
    BareLf,
    /// A carriage return without a line feed after it (RFC 9112 §2.2).
    #[error("carriage return without line feed")]
    BareCr,
    /// A control byte other than a tab (RFC 9110 §5.5).
    #[error("control byte in a line")]
    ControlByte,
    /// More empty lines before the request line than a server needs to forgive (RFC 9112 §2.2).
    #[error("too many empty lines before the request line")]
    EmptyLines,

    // The request line.
    /// Not a method, a target and a version with single spaces between (RFC 9112 §3).
    #[error("malformed request line")]
    RequestLine,
    /// The method is not a token (RFC 9110 §9.1).
    #[error("malformed method")]
    Method,
    /// The method is longer than any that is known (RFC 9112 §3).
    #[error("method too long")]
    MethodTooLong,
    /// A tunnel was asked for; this is no forward proxy (RFC 9110 §9.3.6).
    #[error("CONNECT is not implemented")]
    Connect,
    /// A TRACE request with content (RFC 9110 §9.3.8).
    #[error("TRACE with content")]
    TraceContent,
    /// Not `HTTP/`, a digit, a dot and a digit (RFC 9112 §2.3).
    #[error("malformed protocol version")]
    Version,
    /// A major version other than 1 in an HTTP/1 request line.
    #[error("protocol version not supported")]
    VersionNotSupported,
    /// The request-target has none of the forms its method may use (RFC 9112 §3.2).
    #[error("malformed request target")]
    Target,
    /// The request-target is longer than [`Limits::target_bytes`](crate::Limits).
    #[error("request target too long")]
    TargetTooLong,

    // Fields.
    /// A field line that starts with whitespace (RFC 9112 §5.2).
    #[error("folded field line")]
    ObsFold,
    /// A field line without a colon (RFC 9112 §5).
    #[error("field line without a colon")]
    FieldColon,
    /// Whitespace between a field name and its colon (RFC 9112 §5.1).
    #[error("whitespace before a field's colon")]
    SpaceBeforeColon,
    /// A field name that is not a token (RFC 9110 §5.1).
    #[error("malformed field name")]
    FieldName,
    /// A field value with a byte that none may have, or with whitespace around it in HTTP/2
    /// (RFC 9110 §5.5, RFC 9113 §8.2.1).
    #[error("malformed field value")]
    FieldValue,
    /// A field that speaks of the connection, in HTTP/2 (RFC 9113 §8.2.2).
    #[error("field not allowed in this protocol version")]
    FieldNotAllowed,
    /// `Content_Length` or `Transfer_Encoding`. Recipients that turn `-` into `_` to name a variable
    /// cannot tell it from the field that frames the message.
    #[error("field name that only looks like one that frames the message")]
    FieldLookalike,
    /// More field lines than [`Limits::fields`](crate::Limits).
    #[error("too many fields")]
    TooManyFields,
    /// A head of more bytes than [`Limits::head_bytes`](crate::Limits).
    #[error("head too large")]
    HeadTooLarge,

    // Routing.
    /// An HTTP/1.1 request without `Host` (RFC 9112 §3.2).
    #[error("no Host")]
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    #[error("more than one Host")]
    HostRepeated,
    /// `Host` and the authority of an absolute-form target disagree.
    #[error("Host differs from the target's authority")]
    HostMismatch,
    /// Not a host with an optional port (RFC 9110 §7.2).
    #[error("malformed host or port")]
    Authority,

    // Framing.
    /// A `Content-Length` that is not a decimal number (RFC 9110 §8.6).
    #[error("malformed Content-Length")]
    ContentLength,
    /// More than one `Content-Length`, even of the same value (RFC 9112 §6.3).
    #[error("more than one Content-Length")]
    ContentLengthRepeated,
    /// A `Content-Length` beyond 2⁶³ − 1.
    #[error("Content-Length too large")]
    ContentLengthTooLarge,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    ContentLengthAndTransferEncoding,
    /// A `Transfer-Encoding` that is malformed, or in which `chunked` is not last and once
    /// (RFC 9112 §6.3).
    #[error("malformed Transfer-Encoding")]
    TransferEncoding,
    /// More than one `Transfer-Encoding` line.
    #[error("more than one Transfer-Encoding")]
    TransferEncodingRepeated,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    #[error("transfer coding not implemented")]
    TransferCoding,
    /// `Transfer-Encoding` in HTTP/1.0, which does not have it (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,

    // Other fields the connection lives by.
    /// A `Connection` option that is not a token (RFC 9110 §7.6.1).
    #[error("malformed Connection option")]
    ConnectionOption,
    /// More `Connection` options than a message has use for.
    #[error("too many Connection options")]
    TooManyConnectionOptions,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("expectation not known")]
    Expectation,

    // Chunked content.
    /// A chunk size that is not a hexadecimal number (RFC 9112 §7.1).
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk size beyond 2⁶³ − 1, or of more than 16 digits.
    #[error("chunk size too large")]
    ChunkSizeTooLarge,
    /// A chunk extension that is not a name with an optional value (RFC 9112 §7.1.1).
    #[error("malformed chunk extension")]
    ChunkExtension,
    /// A chunk-size line longer than [`Limits::chunk_line_bytes`](crate::Limits).
    #[error("chunk-size line too long")]
    ChunkLineTooLong,
    /// More bytes of chunk extensions than the content can excuse.
    #[error("too many chunk extensions")]
    ChunkExtensionsTooLarge,
    /// A chunk's data is not followed by a line end (RFC 9112 §7.1).
    #[error("no line end after chunk data")]
    ChunkDataEnd,
    /// A trailer field that frames or routes the message, which is too late to say
    /// (RFC 9110 §6.5.1).
    #[error("field not allowed in trailers")]
    TrailerField,
    /// A trailer section of more bytes than [`Limits::trailer_bytes`](crate::Limits).
    #[error("trailers too large")]
    TrailersTooLarge,
}

impl Refusal {
    /// The status to answer with before the connection is closed.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ContentLengthTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLarge
            | Self::TooManyFields
            | Self::TooManyConnectionOptions
            | Self::TrailersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MethodTooLong | Self::Connect | Self::TransferCoding => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::BareLf
            | Self::BareCr
            | Self::ControlByte
            | Self::EmptyLines
            | Self::RequestLine
            | Self::Method
            | Self::TraceContent
            | Self::Version
            | Self::Target
            | Self::ObsFold
            | Self::FieldColon
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::FieldNotAllowed
            | Self::FieldLookalike
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMismatch
            | Self::Authority
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::ContentLengthAndTransferEncoding
            | Self::TransferEncoding
            | Self::TransferEncodingRepeated
            | Self::TransferEncodingInHttp10
            | Self::ConnectionOption
            | Self::ChunkSize
            | Self::ChunkSizeTooLarge
            | Self::ChunkExtension
            | Self::ChunkLineTooLong
            | Self::ChunkExtensionsTooLarge
            | Self::ChunkDataEnd
            | Self::TrailerField => StatusCode::BAD_REQUEST,
        }
    }

    /// The reason as one word, for logs and the `detail` of `Cache-Status`.
    #[must_use]
    pub fn token(&self) -> &'static str {
        match self {
            Self::BareLf => "bare-lf",
            Self::BareCr => "bare-cr",
            Self::ControlByte => "control-byte",
            Self::EmptyLines => "empty-lines",
            Self::RequestLine => "request-line",
            Self::Method => "method",
            Self::MethodTooLong => "method-too-long",
            Self::Connect => "connect",
            Self::TraceContent => "trace-content",
            Self::Version => "version",
            Self::VersionNotSupported => "version-not-supported",
            Self::Target => "target",
            Self::TargetTooLong => "target-too-long",
            Self::ObsFold => "obs-fold",
            Self::FieldColon => "field-colon",
            Self::SpaceBeforeColon => "space-before-colon",
            Self::FieldName => "field-name",
            Self::FieldValue => "field-value",
            Self::FieldNotAllowed => "field-not-allowed",
            Self::FieldLookalike => "field-lookalike",
            Self::TooManyFields => "too-many-fields",
            Self::HeadTooLarge => "head-too-large",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostMismatch => "host-mismatch",
            Self::Authority => "authority",
            Self::ContentLength => "content-length",
            Self::ContentLengthRepeated => "content-length-repeated",
            Self::ContentLengthTooLarge => "content-length-too-large",
            Self::ContentLengthAndTransferEncoding => "content-length-and-transfer-encoding",
            Self::TransferEncoding => "transfer-encoding",
            Self::TransferEncodingRepeated => "transfer-encoding-repeated",
            Self::TransferCoding => "transfer-coding",
            Self::TransferEncodingInHttp10 => "transfer-encoding-in-http10",
            Self::ConnectionOption => "connection-option",
            Self::TooManyConnectionOptions => "too-many-connection-options",
            Self::Expectation => "expectation",
            Self::ChunkSize => "chunk-size",
            Self::ChunkSizeTooLarge => "chunk-size-too-large",
            Self::ChunkExtension => "chunk-extension",
            Self::ChunkLineTooLong => "chunk-line-too-long",
            Self::ChunkExtensionsTooLarge => "chunk-extensions-too-large",
            Self::ChunkDataEnd => "chunk-data-end",
            Self::TrailerField => "trailer-field",
            Self::TrailersTooLarge => "trailers-too-large",
        }
    }
}
