//! How responses are cached: by a site, and otherwise by its rules.

use std::time::Duration;

use crate::glob::Glob;

/// How responses are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    /// How far a client's directives reach.
    pub client_control: ClientControl,
    /// What happens to a response that sets cookies.
    pub set_cookie: SetCookie,
    /// When a stale response may be sent, where the origin does not say.
    pub stale: Stale,
    /// Freshness of responses that state none (RFC 9111 §4.2.2).
    pub heuristic: Heuristic,
    /// At which request for it a response is written to a disk.
    pub disk: DiskAdmission,
    /// How long it is remembered that a response could not be stored.
    pub uncacheable: Duration,
    /// Targeted fields in the order of preference, lower case (RFC 9213).
    pub targets: Vec<String>,
    /// What the cache key is made of.
    pub key: Key,
    /// How fields named by `Vary` are compared.
    pub vary: Vary,
    /// How long representations are stored.
    pub slices: Slices,
    /// Which content codings are made.
    pub codings: Codings,
    /// Whether content that its path does not promise is stored.
    pub deception_guard: DeceptionGuard,
}

/// Whether content that its path does not promise is stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DeceptionGuard {
    /// It is not.
    On,
    /// It is, if nothing else forbids it.
    Off,
}

/// At which request for it a response is written to a disk.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DiskAdmission {
    /// The first while there is much room, and later as seems best.
    Auto,
    /// The first.
    Always,
    /// The second.
    Second,
    /// The third.
    Third,
    /// None.
    Never,
}

/// How far a client's directives reach (RFC 9111 §5.2.1). `only-if-cached` is always obeyed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ClientControl {
    /// They are ignored.
    Ignore,
    /// They may cause a validation.
    Validate,
    /// All are obeyed.
    Obey,
}

/// What happens to a response with `Set-Cookie`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SetCookie {
    /// It is not stored.
    Refuse,
    /// It is stored without the field, and sent without it.
    Strip,
    /// It is stored with the field.
    Store,
}

/// When a stale response may be sent, where the origin does not say (RFC 5861).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// How stale a response may be while it is validated in the background.
    pub while_revalidate: Duration,
    /// How stale a response may be when the origin fails.
    pub if_error: Duration,
    /// Statuses that count as failures: 5xx, none twice.
    pub statuses: Vec<u16>,
}

/// Freshness of responses that state none.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Heuristic {
    /// None: they are stale at once.
    Off,
    /// A share of the time since they were modified.
    Fraction {
        /// The share, 1 to 100.
        percent: u8,
        /// The longest.
        most: Duration,
    },
}

/// What the cache key is made of, beside site, scheme, host and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Which parameters of the query.
    pub query: Query,
    /// In which order.
    pub query_order: QueryOrder,
    /// Request fields, lower case.
    pub headers: Vec<String>,
    /// Cookies by name.
    pub cookies: Vec<String>,
    /// What becomes of the parameters that do not belong to the key.
    pub unkeyed_query: UnkeyedQuery,
}

/// What becomes of the parameters that do not belong to the key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum UnkeyedQuery {
    /// The origin is not sent them.
    Drop,
    /// The origin is sent them.
    Pass,
}

/// Parameters of the query that belong to the key. A pattern is a name, or the beginning of one and a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// All.
    All,
    /// None.
    Ignore,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

/// The order of the query's parameters in the key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum QueryOrder {
    /// As the client sent them.
    AsSent,
    /// By name, so that `?a=1&b=2` and `?b=2&a=1` are one.
    Sorted,
}

/// How fields named by `Vary` are compared (RFC 9111 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vary {
    /// Fields that are not compared, lower case.
    pub ignore: Vec<String>,
    /// How `Accept-Encoding` is compared.
    pub accept_encoding: AcceptEncoding,
    /// How `Accept-Language` is compared.
    pub accept_language: AcceptLanguage,
    /// The cookies that are compared, and sent to the origin; `None` is all of them.
    pub cookies: Option<Vec<String>>,
    /// How `User-Agent` is compared.
    pub user_agent: UserAgent,
}

/// How `User-Agent` is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAgent {
    /// As sent.
    Exact,
    /// By the first of these classes that it belongs to.
    Classes(Vec<DeviceClass>),
}

/// A class of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// A token.
    pub name: String,
    /// What is in the `User-Agent` of its devices: one of these, in any case.
    pub words: Vec<String>,
}

/// How `Accept-Encoding` is compared.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AcceptEncoding {
    /// By the best coding the node knows.
    Normalise,
    /// As sent.
    Exact,
}

/// How `Accept-Language` is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptLanguage {
    /// By its languages in the order of preference.
    Normalise,
    /// As sent.
    Exact,
    /// As `Normalise`, but a fresh response in the one language that is preferred to all others will do.
    Preferred,
    /// By the most preferred of these language tags, lower case; the first where the client prefers none.
    Among(Vec<String>),
}

/// How long representations are stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Slices {
    /// As a whole, or not at all.
    Off,
    /// In slices that are asked for by `Range`.
    Cut {
        /// The length of a slice in bytes.
        size: u64,
        /// What the origin sends as a whole is sliced if it is longer, in bytes.
        above: u64,
        /// Slices that are fetched ahead of the one that a client is sent.
        ahead: usize,
    },
}

/// Which content codings are made of stored responses, and of which (RFC 9110 §8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codings {
    /// The codings, the preferred first; empty is none at all.
    pub offer: Vec<Coding>,
    /// Media types, lower case; a `*` at one end stands for anything.
    pub types: Vec<String>,
    /// The shortest content, in bytes.
    pub least: u64,
}

/// A content coding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// br
    Brotli,
    /// zstd
    Zstd,
    /// gzip
    Gzip,
}

// === rules ===

/// An exception for some requests or responses of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in metrics and logs; `None` is its number, from 1.
    pub name: Option<String>,
    /// For which: everything that is given has to match.
    pub matches: Match,
    /// What is different for them.
    pub overrides: Overrides,
}

/// Which requests or responses a rule is for. An empty list matches all; not everything is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// One of these matches the path, without its query.
    pub path: Vec<Glob>,
    /// One of these is the method.
    pub methods: Vec<Method>,
    /// The request has this field.
    pub header: Option<HeaderMatch>,
    /// One of these is the response's status. Such a rule has only overrides that can wait for the response.
    pub status: Vec<u16>,
}

/// A method that may be answered from the cache.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
}

/// A request field a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name, lower case.
    pub name: String,
    /// It matches one of the field's lines.
    pub value: Glob,
}

/// What a rule decides: `None` leaves it to later rules and the site. At least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrides {
    /// Whether the cache is used. A rule that says [`UseCache::Never`] says nothing else.
    pub cache: Option<UseCache>,
    /// The freshness lifetime.
    pub ttl: Option<Ttl>,
    /// See [`Caching::client_control`]. Never beside [`Match::status`].
    pub client_control: Option<ClientControl>,
    /// See [`Caching::set_cookie`].
    pub set_cookie: Option<SetCookie>,
    /// See [`Caching::stale`]. What the rule leaves out of it is the site's.
    pub stale: Option<Stale>,
    /// See [`Caching::heuristic`]. What the rule leaves out of it is the site's.
    pub heuristic: Option<Heuristic>,
    /// See [`Caching::disk`].
    pub disk: Option<DiskAdmission>,
    /// See [`Caching::uncacheable`].
    pub uncacheable: Option<Duration>,
    /// See [`Caching::targets`].
    pub targets: Option<Vec<String>>,
    /// See [`Caching::key`]. What the rule leaves out of it is the site's. Never beside [`Match::status`].
    pub key: Option<Key>,
    /// See [`Caching::vary`]. What the rule leaves out of it is the site's. Never beside [`Match::status`].
    pub vary: Option<Vary>,
    /// See [`Caching::slices`]. What the rule leaves out of it is the site's. Never beside [`Match::status`].
    pub slices: Option<Slices>,
    /// See [`Caching::deception_guard`].
    pub deception_guard: Option<DeceptionGuard>,
    /// See [`Caching::codings`]. What the rule leaves out of it is the site's. Never beside [`Match::status`].
    pub codings: Option<Codings>,
    /// See [`Site::egress`](super::Site::egress); none leaves it to the origin. Never beside [`Match::status`].
    pub egress: Vec<String>,
}

/// Whether the cache is used.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum UseCache {
    /// As the response allows.
    Allowed,
    /// Neither looked up nor stored.
    Never,
}

/// The freshness lifetime a rule gives.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// `ttl`: whatever freshness the origin states.
    Override(Duration),
    /// `default_ttl`: where the origin states none.
    Default(Duration),
}
