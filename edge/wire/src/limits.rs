//! How much of a message is read before it is refused.

/// The limits of one message. Each has a status of its own when it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, from its first byte to its empty line (431).
    pub head_bytes: usize,
    /// Bytes of a request-target (414).
    pub target_bytes: usize,
    /// Field lines of a head, and again of a trailer section (431).
    pub fields: usize,
    /// Bytes of one chunk-size line, with its extensions and its line end (400).
    pub chunk_line_bytes: usize,
    /// Bytes of a trailer section, with its empty line (431).
    pub trailer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            target_bytes: 16 * 1024,
            fields: 100,
            chunk_line_bytes: 4 * 1024,
            trailer_bytes: 16 * 1024,
        }
    }
}

/// Bytes of a method; the longest registered one, `UPDATEREDIRECTREF`, has 17.
pub(crate) const METHOD_BYTES_MAX: usize = 32;

/// Empty lines before a request line. Old clients send one after a body (RFC 9112 §2.2).
pub(crate) const EMPTY_LINES_MAX: usize = 2;

/// Bytes of a host name, the limit of the DNS (RFC 1035 §2.3.4) without the root's dot.
pub(crate) const HOST_BYTES_MAX: usize = 253;

/// Options in the `Connection` fields of one message.
pub(crate) const CONNECTION_OPTIONS_MAX: usize = 32;

/// Hexadecimal digits of a chunk size, leading zeros included.
pub(crate) const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Bytes of chunk extensions that one body may have beyond the bytes of its content.
pub(crate) const EXTENSION_BYTES_MAX: u64 = 16 * 1024;

/// The largest length of a body or chunk: what a signed 64-bit integer holds, because a
/// recipient further on may use one.
pub(crate) const LENGTH_MAX: u64 = i64::MAX.unsigned_abs();
