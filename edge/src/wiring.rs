//! From the configuration to a node: the only place that knows both.
//!
//! Every section is taken apart completely, so that a setting nobody uses does not compile.

mod disks;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::model;
use http::header::FORWARDED;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use policy::coding::{Coding, CodingRules};
use policy::hints::Audience;
use policy::vary::{AcceptEncoding, AcceptLanguage, Cookies, DeviceClass, UserAgent, VaryRules};
use purge_api::{Access, Api, Dialect, Dialects, Grant, Permission, Token};
use storage::{Admission, FlightSettings, Flights, Memory, Tiers, Uncacheable, VaryMemory};
use tiered::forwarded::{self, Trust};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::access_log::{AccessLog, Format};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::coding::Coder;
use crate::downstream::Limits;
use crate::fleet::{self, CursorFile, FleetLog, FleetMetrics, Outbox, Place};
use crate::hints::{Hints, Learning};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::origins::names::Names;
use crate::origins::{self, Origin, Origins};
use crate::pingora::Authorities;
use crate::pingora::fetch::Fetcher;
use crate::proxy_status::Telling;
use crate::purges::{LocalLog, Purges, TagField};
use crate::queries::Epochs;
use crate::run::StartError;
use crate::searches::Searches;
use crate::sites::{self, Matcher, Overrides, Rule, Site, SiteParts, Sites, Treatment};
use crate::tls::{self, Files, TlsError};

/// Fills under way at once; requests beyond it go to the origin by themselves.
const FLIGHTS_MAX: usize = 16 * 1024;
/// Answers that are remembered to be uncacheable.
const UNCACHEABLE_MAX: usize = 64 * 1024;
/// Keys that are remembered not to be asked for in parts.
const RANGELESS_MAX: usize = 64 * 1024;
/// Keys whose selecting fields are remembered.
const VARY_MAX: usize = 64 * 1024;
/// Invalidations in a millisecond that one process may count (see `queries::Epochs`), as a power of two.
const EPOCH_BITS: u32 = 20;
/// Idle connections to origins that are kept, for each thread.
const POOL_PER_THREAD: usize = 128;

/// A node before its listeners are open.
pub(crate) struct Plan {
    pub node: Node,
    pub listeners: Vec<Planned>,
    pub admin: SocketAddr,
    pub connections: u32,
    pub grace: Duration,
}

/// A listener before it is open.
pub(crate) struct Planned {
    pub address: SocketAddr,
    pub tls: Option<TlsAcceptor>,
}

/// Builds a node from its configuration.
pub(crate) fn plan(
    config: model::Config,
    token: Token,
    stopping: watch::Receiver<bool>,
) -> Result<Plan, StartError> {
    let model::Config {
        node,
        admin,
        fleet,
        dialects,
        memory,
        disks,
        log,
        limits,
        tls,
        sites,
    } = config;
    let model::Node {
        name,
        listen,
        threads,
        grace,
        trusted_proxies,
        trusted_field,
    } = node;
    let model::Log { access, level: _ } = log; // the level is the process's: see `main`
    let model::Admin {
        listen: admin,
        token_file: _, // read before: see `token`
        tokens,
    } = admin;
    let threads = threads.map_or_else(default_threads, usize::from);
    let connections = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let system = |error: &dyn std::fmt::Display| StartError::System(error.to_string());
    let metrics = Metrics::new().map_err(|error| system(&error))?;
    let metrics = Arc::new(metrics);
    let clock = Arc::new(Clock::from_environment());
    let names = Names::from_system();
    let authorities = Arc::new(Authorities::default());
    let pool = POOL_PER_THREAD * threads;
    let instance = crate::token::instance().map_err(|error| system(&error))?;
    let fetcher = Fetcher::new(
        Arc::clone(&names),
        Arc::clone(&authorities),
        Arc::clone(&clock),
        Arc::clone(&metrics),
        pool,
    );
    let log = AccessLog::new(
        format(access),
        std::io::stdout(),
        metrics.log_dropped.clone(),
    );
    let sites = sites_by_host(sites)?;
    let moment = storage::Moment(clock.now().unix_millis());
    let state = crate::token::state_directory().map(|state| state.join(&name));
    let state = state.ok();
    let fleet = fleet.map(|fleet| self::fleet(fleet, &name, state.as_deref()));
    let fleet = fleet.transpose()?;
    let below = disks::open(disks, &memory, &limits)?;
    let witness = below.as_ref().map(|below| below.witness.as_path());
    let purges = Purges::open(state.as_deref(), witness, &sites, moment, |file, tail| {
        let cursor = CursorFile::new(state.as_deref());
        let Some((settings, outbox, counters)) = fleet else {
            cursor.remove();
            return Box::new(LocalLog::new(file));
        };
        metrics.add(counters.collectors());
        let place = Place { file, tail, cursor };
        Box::new(FleetLog::new(
            settings,
            place,
            outbox,
            Arc::clone(&clock),
            counters,
        ))
    });
    let memory = Memory::new(memory_settings(memory, &limits));
    let coder = Coder::new(Arc::clone(&memory), Arc::clone(&metrics), threads);
    let tiers = match below {
        Some(below) => Tiers::above(memory, below.disk, purges.log_id().0),
        None => Tiers::memory_only(memory),
    };
    let node = Node {
        name,
        purges,
        api: Api::new(self::access(token, tokens)?, self::dialects(dialects)),
        audit: Audit::open(state.as_deref()),
        guard: tiered::LoopGuard::new(&instance),
        started: clock.instant(),
        clock,
        sites,
        limits: Arc::new(downstream_limits(&limits)),
        follower_wait: limits.follower_wait,
        ranges_max: limits.ranges,
        tiers,
        coder,
        flights: Flights::new(FlightSettings {
            followers_max: limits.followers,
            flights_max: FLIGHTS_MAX,
        }),
        uncacheable: Uncacheable::new(UNCACHEABLE_MAX),
        rangeless: Uncacheable::new(RANGELESS_MAX),
        vary: VaryMemory::new(VARY_MAX),
        trust: Trust::new(trusted_proxies, trusted(trusted_field)),
        hints: Hints::new(),
        searches: Searches::new(),
        // Another process has other epochs: this one counts on from its start.
        epochs: Epochs::new(moment.0 << EPOCH_BITS),
        query_content: limits.query_content,
        fetcher,
        names,
        authorities,
        metrics,
        log,
        threads,
        pool,
        stopping,
    };
    Ok(Plan {
        node,
        listeners: listeners(&listen, &tls)?,
        admin,
        connections,
        grace,
    })
}

/// What a node needs to follow the log of its fleet.
fn fleet(
    fleet: model::Fleet,
    node: &str,
    state: Option<&Path>,
) -> Result<(fleet::Settings, Option<Outbox>, FleetMetrics), StartError> {
    let system = |error: &dyn std::fmt::Display| StartError::System(error.to_string());
    let unreachable = fleet.unreachable;
    let outbox = match (unreachable, state) {
        (model::Unreachable::Refuse, _) => None,
        (model::Unreachable::Queue, Some(state)) => {
            let opened = Outbox::open(state);
            let opened =
                opened.map_err(|error| system(&format_args!("the outbox of purges: {error}")))?;
            Some(opened)
        }
        (model::Unreachable::Queue, None) => {
            return Err(system(
                &"there is no folder to keep purges in: set HOME or XDG_STATE_HOME",
            ));
        }
    };
    let counters = FleetMetrics::new().map_err(|error| system(&error))?;
    Ok((fleet_settings(fleet, node), outbox, counters))
}

/// What `larder fleet init` does for a fleet.
#[must_use]
pub fn plan_fleet(fleet: model::Fleet, replicas: usize) -> fleet::setup::Plan {
    let fleet::Settings {
        servers,
        access,
        stream,
        ..
    } = fleet_settings(fleet, "");
    fleet::setup::Plan {
        servers,
        access,
        stream,
        replicas,
    }
}

/// The settings of a fleet, for the node of that name.
fn fleet_settings(fleet: model::Fleet, node: &str) -> fleet::Settings {
    let model::Fleet {
        servers,
        credentials,
        ca,
        certificate,
        stream,
        max_lag,
        on_lag,
        unreachable: _, // whether there is an outbox
        publish_timeout,
        forget_after,
    } = fleet;
    fleet::Settings {
        servers,
        access: fleet::Access {
            credentials,
            ca,
            certificate: certificate.map(|model::Certificate { cert, key }| (cert, key)),
        },
        stream,
        node: node.to_owned(),
        max_lag,
        on_lag: match on_lag {
            model::OnLag::Serve => fleet::OnLag::Serve,
            model::OnLag::Revalidate => fleet::OnLag::Revalidate,
            model::OnLag::Pass => fleet::OnLag::Pass,
            model::OnLag::Unready => fleet::OnLag::Unready,
        },
        publish_timeout,
        forget_after,
    }
}

/// Who may use the admin API: the one token for everything, and those for parts of it.
fn access(admin: Token, tokens: Vec<model::AdminToken>) -> Result<Access, StartError> {
    let mut grants = vec![Grant::admin(admin)];
    for token in tokens {
        let model::AdminToken {
            name,
            file,
            may,
            sites,
            rate,
        } = token;
        let found = crate::token::read(&file).map_err(StartError::System)?;
        let may = may.into_iter().map(permission);
        grants.push(Grant::new(name, found.token, may, sites, rate));
    }
    Ok(Access::new(grants))
}

const fn permission(permission: model::Permission) -> Permission {
    match permission {
        model::Permission::Read => Permission::Read,
        model::Permission::Url => Permission::Url,
        model::Permission::Tag => Permission::Tag,
        model::Permission::Prefix => Permission::Prefix,
        model::Permission::Host => Permission::Host,
        model::Permission::Key => Permission::Key,
        model::Permission::All => Permission::All,
    }
}

fn dialects(dialects: model::Dialects) -> Dialects {
    let model::Dialects {
        purge,
        xkey,
        ban,
        magento,
        fastly,
        cloudflare,
        souin,
    } = dialects;
    Dialects::default()
        .open(Dialect::Purge, purge)
        .open(Dialect::Xkey, xkey)
        .open(Dialect::Ban, ban)
        .open(Dialect::Magento, magento)
        .open(Dialect::Fastly, fastly)
        .open(Dialect::Cloudflare, cloudflare)
        .open(Dialect::Souin, souin)
}

/// One thread for each core.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

const fn format(access: model::AccessLog) -> Format {
    match access {
        model::AccessLog::Json => Format::Json,
        model::AccessLog::Combined => Format::Combined,
        model::AccessLog::Off => Format::Off,
    }
}

fn downstream_limits(limits: &model::Limits) -> Limits {
    let model::Limits {
        head_bytes,
        target_bytes,
        fields,
        head_timeout,
        idle_timeout,
        body_timeout,
        write_timeout,
        connections: _,   // the server's
        followers: _,     // the flights'
        follower_wait: _, // the node's
        ranges: _,        // the node's
        variants: _,      // the tiers'
        query_content: _, // the node's
        h2_streams,
    } = *limits;
    Limits {
        wire: wire::Limits {
            head_bytes,
            target_bytes,
            fields,
            ..wire::Limits::default()
        },
        head: head_timeout,
        idle: idle_timeout,
        body: body_timeout,
        write: write_timeout,
        h2_streams,
    }
}

fn memory_settings(memory: model::Memory, limits: &model::Limits) -> storage::Settings {
    let model::Memory {
        size,
        object_max,
        eviction,
    } = memory;
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    storage::Settings {
        object_max,
        eviction: match eviction {
            model::Eviction::Gdsf => storage::Eviction::SampledGdsf,
            model::Eviction::Lru => storage::Eviction::Lru,
        },
        variants_max: limits.variants,
        ..storage::Settings::new(capacity)
    }
}

fn listeners(listen: &[model::Listener], tls: &model::Tls) -> Result<Vec<Planned>, TlsError> {
    let model::Tls { certificates } = tls;
    let files: Vec<_> = certificates
        .iter()
        .map(|model::Certificate { cert, key }| Files { cert, key })
        .collect();
    let mut planned = Vec::new();
    for model::Listener { address, transport } in listen {
        let tls = match transport {
            model::ListenerTransport::Plain => None,
            model::ListenerTransport::Tls => Some(TlsAcceptor::from(tls::server_config(&files)?)),
        };
        planned.push(Planned {
            address: *address,
            tls,
        });
    }
    Ok(planned)
}

fn sites_by_host(all: Vec<model::Site>) -> Result<Sites, TlsError> {
    let mut sites = Sites {
        exact: HashMap::new(),
        below: Vec::new(),
        any: None,
    };
    for mut site in all {
        let hosts = std::mem::take(&mut site.hosts);
        let site = Arc::new(self::site(site)?);
        for host in hosts {
            let site = Arc::clone(&site);
            match host {
                model::HostPattern::Exact(host) => {
                    sites.exact.insert(host, site);
                }
                model::HostPattern::Below(domain) => sites.below.push((domain, site)),
                model::HostPattern::Any => sites.any = Some(site),
            }
        }
    }
    let longest_first = |(domain, _): &(String, _)| std::cmp::Reverse(domain.len());
    sites.below.sort_by_key(longest_first);
    Ok(sites)
}

fn site(site: model::Site) -> Result<Site, TlsError> {
    let model::Site {
        name,
        hosts: _, // taken before
        origins,
        upstream,
        caching,
        rules,
        forwarded,
        forwarded_as,
        early_hints,
        learn_hints,
        proxy_status,
        pass_unkeyed,
        tag_fields,
        debug,
    } = site;
    let unkeyed = unkeyed(&pass_unkeyed);
    let unseen = Unseen::new(&unkeyed, forwarded, forwarded_as);
    Ok(Site::new(SiteParts {
        name,
        origins: site_origins(origins, upstream)?,
        forwarded: match forwarded {
            model::Forwarded::Set => sites::ForwardedFor::Set,
            model::Forwarded::Append => sites::ForwardedFor::Append,
            model::Forwarded::Off => sites::ForwardedFor::Off,
        },
        forwarded_as: match forwarded_as {
            model::ForwardedAs::XForwarded => sites::ForwardedAs::XForwarded,
            model::ForwardedAs::Forwarded => sites::ForwardedAs::Forwarded,
            model::ForwardedAs::Both => sites::ForwardedAs::Both,
        },
        early_hints: match early_hints {
            model::EarlyHints::Forward => Audience::Everybody,
            model::EarlyHints::Http2 => Audience::Http2,
            model::EarlyHints::Off => Audience::Nobody,
        },
        hints: match learn_hints {
            model::LearnHints::Off => Learning::Off,
            model::LearnHints::On => Learning::On,
        },
        telling: match proxy_status {
            model::ProxyStatus::Off => Telling::Off,
            model::ProxyStatus::Errors => Telling::Errors,
            model::ProxyStatus::Full => Telling::Everything,
        },
        unkeyed,
        tag_fields: field_names(tag_fields)
            .into_iter()
            .map(TagField::new)
            .collect(),
        show_key: match debug {
            model::Debug::Off => sites::ShowKey::No,
            model::Debug::CacheKey => sites::ShowKey::Yes,
        },
        base: treatment(caching, &unseen),
        rules: rules.into_iter().map(|it| rule(it, &unseen)).collect(),
    }))
}

const fn trusted(field: model::TrustedField) -> forwarded::Field {
    match field {
        model::TrustedField::XForwardedFor => forwarded::Field::XForwarded,
        model::TrustedField::Forwarded => forwarded::Field::Forwarded,
    }
}

fn unkeyed(passed: &[String]) -> Vec<HeaderName> {
    let names = config::UNKEYED.iter().map(|name| (*name).to_owned());
    field_names(names.filter(|name| !passed.contains(name)).collect())
}

/// Fields that the origin does not see as clients send them.
struct Unseen {
    /// They are removed, or written from what the key has.
    alike: Vec<HeaderName>,
    /// They tell the client.
    own: Vec<HeaderName>,
}

impl Unseen {
    fn new(
        unkeyed: &[HeaderName],
        forwarded: model::Forwarded,
        forwarded_as: model::ForwardedAs,
    ) -> Self {
        let x_forwarded_for = HeaderName::from_static("x-forwarded-for");
        let own = match (forwarded, forwarded_as) {
            (model::Forwarded::Off, _) => Vec::new(),
            (_, model::ForwardedAs::XForwarded) => vec![x_forwarded_for.clone()],
            (_, model::ForwardedAs::Forwarded) => vec![FORWARDED],
            (_, model::ForwardedAs::Both) => vec![x_forwarded_for.clone(), FORWARDED],
        };
        let mut alike = unkeyed.to_vec();
        alike.push(x_forwarded_for);
        alike.retain(|name| !own.contains(name));
        Self { alike, own }
    }
}

fn site_origins(all: Vec<model::Origin>, upstream: model::Upstream) -> Result<Origins, TlsError> {
    let model::Upstream {
        connect_timeout,
        first_byte_timeout,
        between_bytes_timeout,
        idle_timeout,
        retries,
        unknown_transfer_coding,
    } = upstream;
    let all = all
        .into_iter()
        .map(|each| origin(each).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Ok(Origins {
        all,
        timeouts: origins::Timeouts {
            connect: connect_timeout,
            first_byte: first_byte_timeout,
            between_bytes: between_bytes_timeout,
            idle: idle_timeout,
        },
        retries,
        unknown_coding: match unknown_transfer_coding {
            model::UnknownTransferCoding::Refuse => wire::UnknownCoding::Refuse,
            model::UnknownTransferCoding::UntilClose => wire::UnknownCoding::UntilClose,
        },
        rotation: tiered::Rotation::default(),
    })
}

fn origin(origin: model::Origin) -> Result<Origin, TlsError> {
    let model::Origin {
        host,
        port,
        transport,
        http,
        host_override,
    } = origin;
    let mut identity = DefaultHasher::new();
    format!("{host:?} {port} {transport:?} {http:?}").hash(&mut identity);
    let transport = match transport {
        model::OriginTransport::Plain => origins::Transport::Plain,
        model::OriginTransport::Tls { verify, sni } => origins::Transport::Tls {
            trust: trust(verify)?,
            sni,
        },
    };
    Ok(Origin {
        host: match host {
            model::OriginHost::Name(name) => origins::Host::Name(name),
            model::OriginHost::Address(address) => origins::Host::Address(address),
        },
        port,
        transport,
        http: match http {
            model::OriginHttp::Auto => origins::HttpVersion::Negotiated,
            model::OriginHttp::One => origins::HttpVersion::One,
            model::OriginHttp::Two => origins::HttpVersion::Two,
        },
        host_override: host_override.and_then(|host| HeaderValue::try_from(host).ok()),
        identity: identity.finish(),
    })
}

fn trust(verify: model::Verify) -> Result<origins::Trust, TlsError> {
    Ok(match verify {
        model::Verify::System => origins::Trust::System,
        model::Verify::Never => origins::Trust::Anyone,
        model::Verify::Ca(path) => origins::Trust::Authorities(authorities(&path)?),
    })
}

fn authorities(path: &Path) -> Result<Arc<[Vec<u8>]>, TlsError> {
    let certificates = tls::read_certificates(path)?;
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}

fn treatment(caching: model::Caching, unseen: &Unseen) -> Treatment {
    let model::Caching {
        client_control,
        set_cookie,
        stale,
        heuristic,
        disk,
        uncacheable,
        targets,
        key,
        vary,
        slices,
        deception_guard,
        codings,
    } = caching;
    let mut treatment = Treatment {
        cache: sites::UseCache::Allowed,
        settings: policy::settings::Settings {
            client_control: self::client_control(client_control),
            set_cookie: self::set_cookie(set_cookie),
            targets: field_names(targets),
            heuristic: self::heuristic(heuristic),
            stale: stale_defaults(&stale),
            stale_statuses: statuses(&stale.statuses),
            vary: vary_rules(vary, unseen),
            slicing: slicing(slices),
            deception_guard: self::deception_guard(deception_guard),
            codings: coding_rules(codings),
            ..policy::settings::Settings::default()
        },
        key: key_rules(key),
        admission: admission(disk),
        uncacheable,
    };
    treatment.settings.keep_codings_apart();
    treatment
}

const fn admission(disk: model::DiskAdmission) -> Admission {
    match disk {
        model::DiskAdmission::Always => Admission::Always,
        model::DiskAdmission::Second => Admission::Second,
        model::DiskAdmission::Third => Admission::Third,
        model::DiskAdmission::Never => Admission::Never,
    }
}

const fn deception_guard(guard: model::DeceptionGuard) -> policy::settings::DeceptionGuard {
    match guard {
        model::DeceptionGuard::On => policy::settings::DeceptionGuard::On,
        model::DeceptionGuard::Off => policy::settings::DeceptionGuard::Off,
    }
}

const fn client_control(control: model::ClientControl) -> policy::settings::ClientControl {
    match control {
        model::ClientControl::Ignore => policy::settings::ClientControl::Ignore,
        model::ClientControl::Validate => policy::settings::ClientControl::Validate,
        model::ClientControl::Obey => policy::settings::ClientControl::Obey,
    }
}

const fn set_cookie(set_cookie: model::SetCookie) -> policy::settings::SetCookie {
    match set_cookie {
        model::SetCookie::Refuse => policy::settings::SetCookie::Refuse,
        model::SetCookie::Strip => policy::settings::SetCookie::Strip,
        model::SetCookie::Store => policy::settings::SetCookie::Store,
    }
}

const fn heuristic(heuristic: model::Heuristic) -> policy::settings::Heuristic {
    match heuristic {
        model::Heuristic::Off => policy::settings::Heuristic::Off,
        model::Heuristic::Fraction { percent, most } => {
            policy::settings::Heuristic::Fraction { percent, most }
        }
    }
}

const fn slicing(slices: model::Slices) -> Option<policy::slices::Slicing> {
    match slices {
        model::Slices::Off => None,
        model::Slices::Cut { size, above, ahead } => {
            Some(policy::slices::Slicing { size, above, ahead })
        }
    }
}

const fn stale_defaults(stale: &model::Stale) -> policy::settings::StaleDefaults {
    policy::settings::StaleDefaults {
        while_revalidate: stale.while_revalidate,
        if_error: stale.if_error,
    }
}

/// The configuration has checked these.
fn statuses(statuses: &[u16]) -> Vec<StatusCode> {
    let codes = statuses.iter();
    codes
        .filter_map(|status| StatusCode::from_u16(*status).ok())
        .collect()
}

fn field_names(names: Vec<String>) -> Vec<HeaderName> {
    let names = names.into_iter();
    names
        .filter_map(|name| HeaderName::try_from(name).ok())
        .collect()
}

fn key_rules(key: model::Key) -> policy::key::KeyRules {
    let model::Key {
        query,
        query_order,
        headers,
        cookies,
        unkeyed_query,
    } = key;
    let patterns = |patterns: Vec<String>| {
        let patterns = patterns.iter();
        patterns.map(|it| policy::key::Pattern::new(it)).collect()
    };
    policy::key::KeyRules {
        query: policy::key::QueryRules {
            keep: match query {
                model::Query::All => policy::key::Keep::All,
                model::Query::Ignore => policy::key::Keep::Nothing,
                model::Query::Only(only) => policy::key::Keep::Only(patterns(only)),
                model::Query::Except(except) => policy::key::Keep::Except(patterns(except)),
            },
            order: match query_order {
                model::QueryOrder::AsSent => policy::key::Order::AsSent,
                model::QueryOrder::Sorted => policy::key::Order::ByName,
            },
        },
        headers: field_names(headers),
        cookies,
        unkeyed_query: match unkeyed_query {
            model::UnkeyedQuery::Drop => policy::key::UnkeyedQuery::Drop,
            model::UnkeyedQuery::Pass => policy::key::UnkeyedQuery::Pass,
        },
    }
}

fn vary_rules(vary: model::Vary, unseen: &Unseen) -> VaryRules {
    let model::Vary {
        ignore,
        accept_encoding,
        accept_language,
        cookies,
        user_agent,
    } = vary;
    VaryRules {
        ignore: field_names(ignore),
        accept_encoding: match accept_encoding {
            model::AcceptEncoding::Normalise => AcceptEncoding::Normalise,
            model::AcceptEncoding::Exact => AcceptEncoding::Exact,
        },
        accept_language: match accept_language {
            model::AcceptLanguage::Normalise => AcceptLanguage::Normalise,
            model::AcceptLanguage::Exact => AcceptLanguage::Exact,
            model::AcceptLanguage::Preferred => AcceptLanguage::Preferred,
            model::AcceptLanguage::Among(tags) => AcceptLanguage::Among(tags),
        },
        cookies: cookies.map_or(Cookies::All, Cookies::Only),
        user_agent: match user_agent {
            model::UserAgent::Exact => UserAgent::Exact,
            model::UserAgent::Classes(classes) => {
                UserAgent::Classes(classes.into_iter().map(device_class).collect())
            }
        },
        unseen: unseen.alike.clone(),
        own: unseen.own.clone(),
    }
}

fn device_class(class: model::DeviceClass) -> DeviceClass {
    let model::DeviceClass { name, words } = class;
    DeviceClass { name, words }
}

fn coding_rules(codings: model::Codings) -> CodingRules {
    let model::Codings {
        offer,
        types,
        least,
    } = codings;
    let coding = |coding| match coding {
        model::Coding::Brotli => Coding::Brotli,
        model::Coding::Zstd => Coding::Zstd,
        model::Coding::Gzip => Coding::Gzip,
    };
    CodingRules {
        offered: offer.into_iter().map(coding).collect(),
        types,
        least,
    }
}

fn rule(rule: model::Rule, unseen: &Unseen) -> Rule {
    let model::Rule { matches, overrides } = rule;
    let model::Match {
        path,
        methods,
        header,
        status,
    } = matches;
    let method = |method| match method {
        model::Method::Get => Method::GET,
        model::Method::Head => Method::HEAD,
    };
    let statuses = statuses(&status);
    Rule {
        overrides: rule_overrides(overrides, &statuses, unseen),
        matches: Matcher {
            paths: path,
            methods: methods.into_iter().map(method).collect(),
            header: header.and_then(|model::HeaderMatch { name, value }| {
                Some((HeaderName::try_from(name).ok()?, value))
            }),
            statuses,
        },
    }
}

fn rule_overrides(
    overrides: model::Overrides,
    statuses: &[StatusCode],
    unseen: &Unseen,
) -> Overrides {
    let model::Overrides {
        cache,
        ttl,
        client_control,
        set_cookie,
        stale,
        heuristic,
        disk,
        uncacheable,
        targets,
        key,
        vary,
        slices,
        deception_guard,
        codings,
    } = overrides;
    let ttl = ttl.map(|ttl| match ttl {
        model::Ttl::Override(lifetime) => policy::settings::TtlOverride::Lifetime(lifetime),
        model::Ttl::Default(lifetime) => policy::settings::TtlOverride::Default(lifetime),
    });
    Overrides {
        cache: cache.map(|cache| match cache {
            model::UseCache::Allowed => sites::UseCache::Allowed,
            model::UseCache::Never => sites::UseCache::Never,
        }),
        // A lifetime for all is not meant for errors; one for named statuses is meant for just those.
        ttl: ttl.filter(|_| statuses.is_empty()),
        status_ttl: ttl.map_or_else(Vec::new, |ttl| {
            statuses.iter().map(|status| (*status, ttl)).collect()
        }),
        client_control: client_control.map(self::client_control),
        set_cookie: set_cookie.map(self::set_cookie),
        stale_statuses: stale.as_ref().map(|stale| self::statuses(&stale.statuses)),
        stale: stale.as_ref().map(stale_defaults),
        heuristic: heuristic.map(self::heuristic),
        targets: targets.map(field_names),
        vary: vary.map(|vary| vary_rules(vary, unseen)),
        slicing: slices.map(slicing),
        deception_guard: deception_guard.map(self::deception_guard),
        codings: codings.map(coding_rules),
        key: key.map(key_rules),
        admission: disk.map(admission),
        uncacheable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_the_policy_has_by_default() {
        let text = "[[site]]\norigins = [\"http://127.0.0.1:1\"]\n";
        let mut config = config::parse("larder.toml", text).unwrap();
        let codings = config.sites.remove(0).caching.codings;
        assert_eq!(coding_rules(codings), CodingRules::default());
    }
}
