//! The whole way: from the text of a file, or flags, to the model or the problems.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::*;
use crate::*;

const SITE: &str = "[[site]]\norigins = [\"http://127.0.0.1:3000\"]\n";

/// The problems of a text, without source lines.
fn problems(text: &str) -> Vec<String> {
    let Err(problems) = parse("larder.toml", text) else {
        return Vec::new();
    };
    problems
        .iter()
        .map(|problem| {
            let mut line = format!("{}: {}", problem.place, problem.message);
            if let Some(hint) = &problem.hint {
                write!(line, "; {hint}").unwrap();
            }
            line
        })
        .collect()
}

#[test]
fn a_site_with_an_origin_is_a_configuration() {
    let config = parse("larder.toml", SITE).unwrap();
    assert_eq!(config.node.name, "larder");
    assert_eq!(config.node.threads, None);
    assert_eq!(
        config.node.listen[0].address,
        "127.0.0.1:8080".parse().unwrap()
    );
    assert_eq!(
        config.admin,
        Admin {
            listen: "127.0.0.1:9180".parse().unwrap(),
            token_file: None,
            tokens: Vec::new(),
        }
    );
    assert_eq!(
        config.memory,
        Memory {
            size: 512 << 20,
            object_max: 64 << 20,
            eviction: Eviction::Gdsf
        }
    );
    assert_eq!(
        config.log,
        Log {
            access: AccessLog::Json,
            to: LogTo::Stdout,
            rotate_size: 100 << 20,
            rotate_keep: 7,
            sample_hits: 1,
            redact: Vec::new(),
            request_fields: Vec::new(),
            response_fields: Vec::new(),
            level: Level::Info
        }
    );
    assert_eq!(
        (config.limits.head_bytes, config.limits.target_bytes),
        (65_536, 16_384)
    );
    assert_eq!(config.tls.certificates, []);

    let [site] = &config.sites[..] else {
        panic!("{config:?}")
    };
    assert_eq!(
        (site.name.as_str(), &site.hosts[..]),
        ("default", &[HostPattern::Any][..])
    );
    let origin = &site.origins[0];
    assert_eq!(
        (origin.host.to_string().as_str(), origin.port),
        ("127.0.0.1", 3000)
    );
    assert_eq!(site.upstream.idle_timeout, Duration::from_secs(4));
    assert_eq!(
        site.caching.targets,
        [
            "larder-cache-control",
            "cdn-cache-control",
            "surrogate-control"
        ]
    );
    assert_eq!(site.caching.stale.statuses, [500, 502, 503, 504]);
    assert_eq!(
        site.caching.heuristic,
        Heuristic::Fraction {
            percent: 10,
            most: Duration::from_secs(86_400)
        }
    );
    assert_eq!(
        (site.rules.len(), site.debug, site.forwarded),
        (0, Debug::Off, Forwarded::Set)
    );
}

/// Where a row's setting stands.
#[derive(Copy, Clone, Debug)]
enum In {
    /// In this table.
    Table(&'static str),
    /// In the site.
    Site,
    /// In an entry of the site's origins, beside an `https://` URL.
    Origin,
    /// In an egress pool, beside a name and an address.
    Pool,
    /// In a rule, beside a path.
    Rule,
    /// In a rule's `match`, beside a default lifetime.
    Match,
}

/// A file in which one setting has a value, and the line on which it stands.
fn file(place: In, key: &str, value: &str) -> (String, usize) {
    match place {
        In::Table(table) => (format!("[{table}]\n{key} = {value}\n{SITE}"), 2),
        In::Site if key == "origins" => (format!("[[site]]\n\n{key} = {value}\n"), 3),
        In::Site => (format!("{SITE}{key} = {value}\n"), 3),
        In::Origin if key == "url" => (format!("[[site]]\n[[site.origins]]\n{key} = {value}\n"), 3),
        In::Origin => (
            format!("[[site]]\n[[site.origins]]\n{key} = {value}\nurl = \"https://o.example\"\n"),
            3,
        ),
        In::Pool => {
            let beside = [("name", "\"p\""), ("addresses", "[\"192.0.2.1\"]")];
            let beside = beside.into_iter().filter(|(other, _)| *other != key);
            let beside: String = beside
                .map(|(key, value)| format!("{key} = {value}\n"))
                .collect();
            (format!("[[egress]]\n{key} = {value}\n{beside}{SITE}"), 2)
        }
        In::Rule if key == "match" => (
            format!("{SITE}[[site.rule]]\n{key} = {value}\nttl = \"1h\"\n"),
            4,
        ),
        In::Rule => (
            format!("{SITE}[[site.rule]]\n{key} = {value}\nmatch = {{ path = \"/*\" }}\n"),
            4,
        ),
        In::Match => (
            format!("{SITE}[[site.rule]]\nmatch.{key} = {value}\ndefault_ttl = \"1h\"\n"),
            4,
        ),
    }
}

/// Every key: a value that is accepted, one that is refused, and what is said about it at which column.
#[rustfmt::skip]
const ROWS: &[(In, &str, &str, &str, &str)] = &[
    (In::Table("node"), "name",          r#""fra1""#,             r#""fra 1""#,            "8: `fra 1` is not a token"),
    (In::Table("node"), "listen",        r#"[":80", "127.0.0.1:0"]"#, r#"["127.0.0.1"]"#,  "11: `127.0.0.1` is not an address to listen on; add a port"),
    (In::Table("node"), "listen",        r#"[{ address = ":80" }]"#, r#"[{ tls = false }]"#, "11: `address` is missing; write, for example, address = \":443\""),
    (In::Table("node"), "listen",        r#"[":80"]"#,            r#"[]"#,                 "10: expected a list, each an address"),
    (In::Table("node"), "listen",        r#"[":80", ":81"]"#,     r#"[":80", ":80"]"#,     "18: it is there twice"),
    (In::Table("node"), "listen",        r#"[":0", "[::1]:0"]"#,  r#"[":80", "[::1]:80"]"#, "18: `[::1]:80` overlaps an address before it"),
    (In::Table("node"), "listen",        r#"[":9181"]"#,          r#"["0.0.0.0:9180"]"#,   "11: `0.0.0.0:9180` is the administration's address"),
    (In::Table("node"), "listen",        r#"[":80"]"#,            r#"":80""#,              "10: expected a list, each an address"),
    (In::Table("node"), "listen",        r#"[":80"]"#,            r#"[":70000"]"#,         "11: the port of `:70000` is out of range; ports end at 65535"),
    (In::Table("node"), "listen",        "[{ address = \":80\", proxy_protocol = true }]\ntrusted_proxies = [\"::1\"]", r#"[{ address = ":80", proxy_protocol = true }]"#, "11: `proxy_protocol` has no effect without `trusted_proxies`"),
    (In::Table("node"), "resolvers",     r#"["10.0.0.2:53", "[::1]:53"]"#, r#"["10.0.0.2"]"#, "14: `10.0.0.2` is no address with a port"),
    (In::Pool, "name",                   r#""de-1""#,             r#""de 1""#,             "8: `de 1` is not a token"),
    (In::Pool, "addresses",              r#"["192.0.2.1", "::1"]"#, r#"["0.0.0.0"]"#,      "14: `0.0.0.0` is not an address of a machine"),
    (In::Pool, "ports",                  r#""40960-43007""#,      r#""43007-40960""#,      "9: `43007-40960` is no range of ports"),
    (In::Pool, "ports",                  r#""40960-43007""#,      r#""40960""#,            "9: `40960` is no range of ports"),
    (In::Pool, "country",                r#""de""#,               r#""deu""#,              "11: `deu` is no country"),
    (In::Pool, "purpose",                r#""api""#,              r#""a b""#,              "11: `a b` is not a token"),
    (In::Pool, "exhausted",              r#""fail""#,             r#""retry""#,            "13: expected \"next\" or"),
    (In::Pool, "wait",                   "\"1s\"\nexhausted = \"wait\"", r#""1s""#,       "1: `wait` has no effect without exhausted"),
    (In::Table("node"), "threads",       "4",                     "-1",                    "11: expected a number from 0 to 1024, found `-1`"),
    (In::Table("node"), "grace",         r#""0s""#,               r#""2h""#,               "9: expected a duration from \"0s\" to \"1h\", found `2h`"),
    (In::Table("admin"), "listen",       r#""[::1]:9180""#,       r#""0.0.0.0:9180""#,     "10: `0.0.0.0:9180` can be reached from other machines; add token_file"),
    (In::Table("admin"), "listen",       r#""127.0.0.1:9000""#,   r#""127.0.0.1:8080""#,   ""),
    (In::Table("admin"), "token_file",   r#""Cargo.toml""#,       r#""no/such/file""#,     "14: cannot read `no/such/file`: No such file or directory"),
    (In::Table("admin"), "token_file",   r#""Cargo.toml""#,       r#""src""#,              "14: `src` is not a file"),
    (In::Table("fleet"), "servers",      r#"["nats://n:4222", "tls://me:pw@n"]"#, r#"["http://n:4222"]"#, "12: `http://n:4222` is not the URL of a NATS server"),
    (In::Table("fleet"), "servers",      "[]",                    r#"["nats://me:pw@n:x"]"#, "12: `n:x` is not the URL of a NATS server"),
    (In::Table("fleet"), "stream",       "\"A-b_1\"\nservers = [\"nats://n\"]", "\"a.b\"\nservers = [\"nats://n\"]", "10: `a.b` is not a stream's name"),
    (In::Table("fleet"), "stream",       "\"A\"\nservers = [\"nats://n\"]", "\"A\"", "1: `stream` has no effect without `servers`"),
    (In::Table("fleet"), "credentials_file", "\"Cargo.toml\"\nservers = [\"nats://n\"]", "\"no/such/file\"", "20: cannot read `no/such/file`"),
    (In::Table("fleet"), "ca_file",      "\"Cargo.toml\"\nservers = [\"nats://n\"]", "\"no/such/file\"", "11: cannot read `no/such/file`"),
    (In::Table("fleet"), "cert_file",    "\"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nservers = [\"nats://n\"]", "\"Cargo.toml\"\nservers = [\"nats://n\"]", "1: `cert_file` needs `key_file`"),
    (In::Table("fleet"), "key_file",     "\"Cargo.toml\"\ncert_file = \"Cargo.toml\"\nservers = [\"nats://n\"]", "\"Cargo.toml\"\nservers = [\"nats://n\"]", "1: `key_file` needs `cert_file`"),
    (In::Table("fleet"), "max_lag",      "\"5s\"\nservers = [\"nats://n\"]", "\"2s\"", "11: expected a duration from \"3s\" to \"1d\", found `2s`"),
    (In::Table("fleet"), "on_lag",       "\"pass\"\nservers = [\"nats://n\"]", "\"hope\"", "10: expected \"serve\" or"),
    (In::Table("fleet"), "unreachable",  "\"queue\"\nservers = [\"nats://n\"]", "\"drop\"", "15: expected \"refuse\" or \"queue\", found `drop`"),
    (In::Table("fleet"), "publish_timeout", "\"1s\"\nservers = [\"nats://n\"]", "\"2m\"", "19: expected a duration from"),
    (In::Table("fleet"), "forget_after", "\"1h\"\nservers = [\"nats://n\"]", "\"1s\"", "16: expected a duration from"),
    (In::Table("tier"), "role",          "\"parent\"\nkey_file = \"Cargo.toml\"", "\"origin\"", "8: expected \"edge\" or \"parent\", found `origin`"),
    (In::Table("tier"), "role",          "\"edge\"\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"", "\"edge\"", "1: `role` has no effect without `parents`, or `role = \"parent\"`"),
    (In::Table("tier"), "parents",       "[\"http://10.0.0.7:8080 id=p-1 weight=2\", \"dns+srv://_larder._tcp.e.com\", \"file:p\"]\nkey_file = \"Cargo.toml\"", "[\"10.0.0.7\"]", "12: `10.0.0.7` is not where a parent is"),
    (In::Table("tier"), "parents",       "[]", "[\"https://p\"]\nkey_file = \"Cargo.toml\"", "12: a parent with TLS needs `ca_file`"),
    (In::Table("tier"), "parents",       "[\"http://10.0.0.7:8080 id=a\", \"http://10.0.0.8:8080 id=b\"]\nkey_file = \"Cargo.toml\"", "[\"http://10.0.0.7:8080 id=a\", \"http://10.0.0.8:8080 id=a\"]\nkey_file = \"Cargo.toml\"", "41: another one of this list has the same id"),
    (In::Table("tier"), "siblings",      "[\"http://10.0.0.7:8080 id=a\", \"http://10.0.0.8:8080 id=b\"]\nkey_file = \"Cargo.toml\"", "[\"10.0.0.7\"]", "13: `10.0.0.7` is not where a parent is"),
    (In::Table("tier"), "key_file",      "\"Cargo.toml\"\nrole = \"parent\"", "\"no/such/file\"", "12: cannot read `no/such/file`"),
    (In::Table("tier"), "ca_file",       "\"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nrole = \"parent\"", "\"no/such/file\"", "11: cannot read `no/such/file`"),
    (In::Table("tier"), "cert_file",     "\"Cargo.toml\"\ncert_key_file = \"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nrole = \"parent\"", "\"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nrole = \"parent\"", "1: `cert_file` needs `cert_key_file`"),
    (In::Table("tier"), "cert_key_file", "\"Cargo.toml\"\ncert_file = \"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nrole = \"parent\"", "\"Cargo.toml\"\nkey_file = \"Cargo.toml\"\nrole = \"parent\"", "1: `cert_key_file` needs `cert_file`"),
    (In::Table("tier"), "pass",          "\"parent\"\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"", "\"never\"", "8: expected \"direct\" or \"parent\", found `never`"),
    (In::Table("tier"), "direct_per_second", "0\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"", "-1", "21: expected a number from 0 to 1000000, found `-1`"),
    (In::Table("tier"), "connect_timeout", "\"1s\"\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"", "\"2m\"", "19: expected a duration from"),
    (In::Table("tier"), "egress",        "[\"purpose=tier\"]\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"\n[[egress]]\nname = \"de\"\naddresses = [\"192.0.2.1\"]\npurpose = \"tier\"", "[]", "10: expected a list"),
    (In::Table("tier"), "silence",       "\"1s\"\nparents = [\"http://p\"]\nkey_file = \"Cargo.toml\"", "\"1ms\"", "11: expected a duration from"),
    (In::Table("memory"), "size",        r#""1GiB""#,             "512",                   "8: `512` has no unit; write, for example, \"512MiB\""),
    (In::Table("memory"), "size",        r#""64MiB""#,            r#""512""#,              "8: `512` has no unit; write, for example, \"512MiB\""),
    (In::Table("memory"), "object_max",  r#""256MiB""#,           r#""257MiB""#,           "14: `257MiB` is more than half of `size`; write at most \"256MiB\""),
    (In::Table("memory"), "eviction",    r#""lru""#,              r#""lfu""#,              "12: expected \"gdsf\" or \"lru\", found `lfu`; did you mean \"lru\"?"),
    (In::Table("log"), "access",         r#""combined""#,         "false",                 "10: expected \"json\" or \"combined\" or \"vcombined\" or \"cloudfront\" or \"off\", found a truth value"),
    (In::Table("log"), "to",             r#""udp://127.0.0.1:514""#,  r#""access.log""#,       "6: `access.log` is no place for a log"),
    (In::Table("log"), "rotate_size",    r#""10MiB""#,            r#""1KiB""#,             "15: expected a size"),
    (In::Table("log"), "rotate_keep",    "3",                     "-1",                    "15: expected"),
    (In::Table("log"), "sample_hits",    "10",                    "0",                     "15: expected"),
    (In::Table("log"), "redact",         r#"["client", "query"]"#, r#"["cookie"]"#,        "11: expected"),
    (In::Table("log"), "request_fields", r#"["CF-IPCountry"]"#,   r#"["a b"]"#,            "19: `a b` is not a token"),
    (In::Table("log"), "response_fields", r#"["Surrogate-Key"]"#, r#""ETag""#,             "19: expected a list"),
    (In::Table("log"), "level",          r#""warn""#,             r#""warning""#,          "9: expected \"error\" or"),
    (In::Table("telemetry"), "endpoint", r#""https://otel.example/base""#, r#""otel.example:4318""#, "12: `otel.example:4318` is not the URL of a collector"),
    (In::Table("telemetry"), "headers_file", "\"Cargo.toml\"\nendpoint = \"http://c\"", "\"no/such/file\"", "16: cannot read `no/such/file`"),
    (In::Table("telemetry"), "ca_file",  "\"Cargo.toml\"\nendpoint = \"https://c\"", "\"Cargo.toml\"\nendpoint = \"http://c\"", "1: `ca_file` has no effect beside"),
    (In::Table("telemetry"), "service",  "\"shop\"\nendpoint = \"http://c\"", "\"\"", "11: `` is not a word"),
    (In::Table("telemetry"), "signals",  "[\"metrics\"]\nendpoint = \"http://c\"", "[\"logs\"]", "12: expected \"traces\" or \"metrics\", found `logs`"),
    (In::Table("telemetry"), "sample",   "\"0.01%\"\nendpoint = \"http://c\"", "\"101%\"", "10: `101%` is no share"),
    (In::Table("telemetry"), "continue", "\"trusted\"\nendpoint = \"http://c\"", "\"nobody\"", "1: `continue` has no effect without `endpoint`"),
    (In::Table("telemetry"), "metrics_every", "\"10s\"\nendpoint = \"http://c\"", "\"1ms\"", "17: expected a duration from"),
    (In::Table("limits"), "head_bytes",  r#""32KiB""#,            r#""2MiB""#,             "14: expected a size from \"1KiB\" to \"1MiB\", found `2MiB`"),
    (In::Table("limits"), "target_bytes", r#""8KiB""#,            r#""65KiB""#,            "16: `65KiB` is more than `head_bytes`, `64KiB`"),
    (In::Table("limits"), "fields",      "200",                   "0",                     "10: expected a number from 1 to 10000, found `0`"),
    (In::Table("limits"), "head_timeout", r#""1ms""#,             r#""0s""#,               "16: expected a duration from \"1ms\" to \"1h\", found `0s`"),
    (In::Table("limits"), "idle_timeout", r#""1h""#,              r#""61m""#,              "16: expected a duration"),
    (In::Table("limits"), "body_timeout", r#""5s""#,              "30",                    "16: `30` has no unit; write, for example, \"30s\""),
    (In::Table("limits"), "write_timeout", r#""5s""#,             r#""5 sec""#,            "17: `5 sec` has an unknown unit"),
    (In::Table("limits"), "connections", "1",                     r#""many""#,             "15: expected a number from 1 to 10000000, found a string"),
    (In::Table("limits"), "followers",   "1",                     "1.5",                   "13: expected a number from 1 to 10000000, found a number with a fraction"),
    (In::Table("limits"), "follower_wait", r#""30s""#,            r#""1d""#,               "17: expected a duration"),
    (In::Table("limits"), "query_content", r#""0B""#,             r#""17MiB""#,            "17: expected a size"),
    (In::Table("limits"), "ranges",      "1000",                  "1001",                  "10: expected a number from 1 to 1000, found `1001`"),
    (In::Table("limits"), "variants",    "10000",                 "10001",                 "12: expected a number"),
    (In::Table("limits"), "h2_streams",  "1",                     "99999",                 "14: expected a number"),
    (In::Table("tls"), "certificates",   "[]",                    r#"[{ cert = "x.pem", key = "Cargo.toml" }]"#, "26: cannot read `x.pem`"),
    (In::Table("tls"), "certificates",   "[]",                    r#"[{ cert = "Cargo.toml" }]"#, "17: `key` is missing"),
    (In::Table("tls"), "certificates",   "[]",                    r#"[{ cert = "Cargo.toml", key = "Cargo.toml" }]"#, "17: no listener uses this certificate"),
    (In::Table("tls"), "ticket_key_file", r#""Cargo.toml""#,      r#""ticket.key""#,       "19: cannot read `ticket.key`"),
    (In::Table("admin"), "tokens",       r#"[{ name = "a", file = "Cargo.toml", may = ["read"] }]"#, r#"[{ name = "a", file = "Cargo.toml", may = ["purge"] }]"#, "53: expected \"read\" or"),
    (In::Table("admin"), "tokens",       "[]",                    r#"[{ name = "a", file = "Cargo.toml", may = [] }]"#, "52: expected a list"),
    (In::Table("admin"), "tokens",       "[]",                    r#"[{ name = "admin", file = "Cargo.toml", may = ["read"], rate = 1 }]"#, "11: `admin` is another token's name"),
    (In::Table("admin"), "tokens",       "[]",                    r#"[{ name = "a", file = "Cargo.toml", may = ["read"], sites = ["www"] }]"#, "11: there is no site `www`"),
    (In::Table("dialects"), "purge",     r#"["127.0.0.1"]"#,      r#"["localhost"]"#,      "10: `localhost` is no address and no network"),
    (In::Table("dialects"), "xkey",      r#"["10.0.0.0/8"]"#,     r#"["10.0.0.1/8"]"#,     "9: `10.0.0.1/8` has an address within a network; write \"10.0.0.0/8\""),
    (In::Table("dialects"), "ban",       r#"["::1"]"#,            r#""::1""#,              "7: expected a list"),
    (In::Table("dialects"), "magento",   "[]",                    r#"["10.0.0.0/33"]"#,    "12: `10.0.0.0/33` is no address"),
    (In::Table("dialects"), "fastly",    "[]",                    r#"[1]"#,                "11: expected an address"),
    (In::Table("dialects"), "cloudflare", "[]",                   r#"true"#,               "14: expected a list"),
    (In::Table("dialects"), "souin",     "[]",                    r#"[""]"#,               "10: `` is no address"),
    (In::Site, "name",                   r#""www""#,              "1",                     "8: expected a token of at most 64 characters, found a number"),
    (In::Site, "hosts",                  r#"["a.example", "*.b.example", "*"]"#, r#"["a.example:80"]"#, "10: `a.example:80` is not a host; write \"a.example\""),
    (In::Site, "hosts",                  r#"["a.example"]"#,      r#"["a.example", "A.example"]"#, "23: it is there twice"),
    (In::Site, "origins",                r#"["https://a.example/", "http://[::1]:80"]"#, r#"["ftp://a.example"]"#, "12: the scheme of `ftp://a.example` is not supported"),
    (In::Site, "origins",                r#"["HTTP://a.example"]"#, r#"["a.example:80"]"#, "12: `a.example:80` has no scheme; write \"http://a.example:80\""),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://a.example/path"]"#, "12: `http://a.example/path` has a path"),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://a.example?q"]"#, "12: `http://a.example?q` has a query"),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://a.example#f"]"#, "12: `http://a.example#f` has a fragment"),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://me:pw@a.example"]"#, "12: `http://me:pw@a.example` has a user or password"),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://a.example:0"]"#, "12: `http://a.example:0` has port 0"),
    (In::Site, "origins",                r#"["http://a.example"]"#, r#"["http://"]"#,       "12: `` is not a host"),
    (In::Site, "origins",                r#"["http://a.example"]"#, "[]",                   "11: expected a list, each a URL"),
    (In::Site, "origins",                r#"["http://a.example"]"#, "{}",                   "11: expected a list, each a URL"),
    (In::Site, "connect_timeout",        r#""5s""#,               r#""5""#,                "19: `5` has no unit; write, for example, \"5s\""),
    (In::Site, "first_byte_timeout",     r#""5s""#,               r#""0s""#,               "22: expected a duration"),
    (In::Site, "between_bytes_timeout",  r#""5s""#,               r#""0s""#,               "25: expected a duration"),
    (In::Site, "idle_timeout",           r#""5s""#,               r#""0s""#,               "16: expected a duration"),
    (In::Site, "retries",                "0",                     "11",                    "11: expected a number from 0 to 10, found `11`"),
    (In::Site, "unknown_transfer_coding", r#""until-close""#,     r#""until_close""#,      "27: expected \"refuse\" or \"until-close\", found `until_close`; did you mean \"until-close\"?"),
    (In::Site, "forwarded",              r#""append""#,           r#""add""#,              "13: expected \"set\" or"),
    (In::Site, "forwarded_as",           r#""both""#,             r#""none""#,             "16: expected \"x-forwarded\" or"),
    (In::Site, "early_hints",            r#""http2""#,            r#""yes""#,              "15: expected \"forward\" or"),
    (In::Site, "learn_hints",            "true",                  "1",                     "15: expected"),
    (In::Site, "proxy_status",           r#""full""#,             r#""all""#,              "16: expected \"errors\" or"),
    (In::Table("node"), "trusted_proxies", r#"["10.0.0.0/8", "::1"]"#, r#"["10.0.0.0/33"]"#, "20: `10.0.0.0/33` is not a network"),
    (In::Table("node"), "trusted_field", r#""forwarded""#,        r#""x-real-ip""#,        "17: expected \"x-forwarded-for\" or"),
    (In::Site, "pass_unkeyed",           r#"["X-Forwarded-Host"]"#, r#"["X-Forwarded-Hosts"]"#, "17: `X-Forwarded-Hosts` is passed in any case; did you mean \"x-forwarded-host\"?"),
    (In::Site, "pass_unkeyed",           "[]",                    r#"["Accept"]"#,         "17: `Accept` is passed in any case; remove it"),
    (In::Site, "client_control",         r#""obey""#,             r#""obay""#,             "18: expected \"ignore\" or \"validate\" or \"obey\", found `obay`; did you mean \"obey\"?"),
    (In::Site, "set_cookie",             r#""strip""#,            "true",                  "14: expected \"refuse\" or \"strip\" or \"store\", found a truth value"),
    (In::Site, "stale",                  "{}",                    "\"1d\"",                "9: expected a table of `while_revalidate`, `if_error`, `statuses`, found a string"),
    (In::Site, "stale.while_revalidate", r#""1m""#,               r#""2y""#,               "26: expected a duration from \"0s\" to \"1y\", found `2y`"),
    (In::Site, "stale.if_error",         r#""0s""#,               "0",                     "18: `0` has no unit"),
    (In::Site, "stale.statuses",         "[500, 599]",            "[500, 404]",            "24: expected a number from 500 to 599, found `404`"),
    (In::Site, "heuristic.percent",      "0",                     "101",                   "21: expected a number from 0 to 100, found `101`"),
    (In::Site, "heuristic.most",         r#""7d""#,               r#""0s""#,               "18: expected a duration"),
    (In::Site, "heuristic",              "{ percent = 0 }",       r#"{ percent = 0, most = "1d" }"#, "28: `most` has no effect beside percent = 0"),
    (In::Table("cache"), "disk",         r#"[{ path = "a", size = "1GiB", engine = "log", required = false }]"#, r#"[{ path = "a", size = "1MiB" }]"#, "30: expected"),
    (In::Table("cache"), "disk",         "[]",                    r#"[{ path = 7, size = "1GiB", required = 1 }]"#, "18: expected the path of a file or directory, found a number"),
    (In::Site, "disk",                   r#""always""#,           r#""first""#,            "8: expected \"auto\" or \"always\" or \"second\" or \"third\" or \"never\", found `first`"),
    (In::Site, "uncacheable",            r#""0s""#,               "false",                 "15: expected a duration from \"0s\" to \"1y\", found a truth value"),
    (In::Site, "targets",                "[]",                    r#"["Cache-Control"]"#,  "12: `Cache-Control` is read in any case"),
    (In::Site, "key.query",              r#""ignore""#,           r#""none""#,             "13: expected \"all\" or \"ignore\", found `none`"),
    (In::Site, "key.query",              r#""all""#,              "true",                  "13: expected \"all\" or \"ignore\" or { only = […] } or { except = […] }, found a truth value"),
    (In::Site, "key.query.only",         r#"["page", "q*"]"#,     "[]",                    "18: expected a list, each a parameter's name"),
    (In::Site, "key.query.except",       r#"["utm_*"]"#,          r#"["*"]"#,              "21: `*` names no parameter"),
    (In::Site, "key.query",              r#"{ only = ["a"] }"#,   r#"{ only = ["a"], except = ["b"] }"#, "13: expected one of `only` and `except`"),
    (In::Site, "key.sort",               "true",                  r#""yes""#,              "12: expected true or false, found a string"),
    (In::Site, "key",                    "{ sort = true }",       r#"{ query = "ignore", sort = true }"#, "27: `sort` has no effect beside query = \"ignore\""),
    (In::Site, "key.headers",            r#"["X-Device"]"#,       r#"["Host"]"#,           "16: the host belongs to every key"),
    (In::Site, "key.headers",            "[]",                    r#"["Cookie"]"#,         "16: all cookies together are different for every client"),
    (In::Site, "key.cookies",            r#"["currency"]"#,       r#"["a b"]"#,            "16: `a b` is not a token"),
    (In::Site, "vary.ignore",            r#"["User-Agent"]"#,     r#"["*"]"#,              "16: `*` is not a field's name"),
    (In::Site, "vary.accept_encoding",   r#""exact""#,            r#""normalize""#,        "24: expected \"normalise\" or \"exact\", found `normalize`; did you mean \"normalise\"?"),
    (In::Site, "vary.accept_language",   r#"["en", "pt-BR"]"#,    r#"["en_US"]"#,          "25: `en_US` is not a language tag"),
    (In::Site, "vary.accept_language",   r#""exact""#,            r#""de""#,               "24: expected \"normalise\" or \"exact\" or \"preferred\", found `de`"),
    (In::Site, "vary.cookies",           r#"["currency"]"#,       r#"["a b"]"#,            "17: `a b` is not a token"),
    (In::Site, "vary.user_agent",        r#""device""#,           r#""devices""#,          "19: expected \"exact\" or \"device\", found `devices`; did you mean \"device\"?"),
    (In::Site, "vary.user_agent",        r#"{ phone = ["Mobi"], tv = ["TV", "Smart TV"] }"#, "{}", "19: expected 1 to 16 classes"),
    (In::Site, "vary.user_agent",        r#""exact""#,            r#"{ phone = [" "] }"#,  "30: ` ` is not a word"),
    (In::Site, "vary.user_agent",        r#"{ phone = ["Mobi"] }"#, r#"{ "a b" = ["x"] }"#, "21: `a b` is not a token"),
    (In::Site, "vary.user_agent",        r#"{ phone = ["Mobi"] }"#, "7",                   "19: expected \"exact\" or \"device\", or a table of classes, each a list of words, found a number"),
    (In::Site, "vary",                   r#"{ ignore = ["Cookie"] }"#, r#"{ ignore = ["Cookie"], cookies = ["a"] }"#, "31: `cookies` has no effect on a field that is ignored"),
    (In::Site, "key",                    r#"{ query = "ignore", unkeyed_query = "pass" }"#, r#"{ unkeyed_query = "pass" }"#, "9: `unkeyed_query` has no effect beside query = \"all\""),
    (In::Site, "key.unkeyed_query",      r#""drop""#,             r#""keep""#,             "21: expected \"drop\" or \"pass\", found `keep`"),
    (In::Site, "deception_guard",        "false",                 r#""off""#,              "19: expected true or false, found a string"),
    (In::Site, "vary",                   r#"{ ignore = ["Accept-Encoding"] }"#, r#"{ ignore = ["Accept-Encoding"], accept_encoding = "exact" }"#, "40: `accept_encoding` has no effect on a field that is ignored"),
    (In::Site, "tag_fields",             r#"["X-Tags"]"#,         r#"["a b"]"#,            "15: `a b` is not a token"),
    (In::Site, "retry_budget",           "0",                     "101",                   "16: expected a number from 0 to 100, found `101`"),
    (In::Site, "retry_statuses",         "[503]",                 "[404]",                 "19: expected a number from 500 to 599, found `404`"),
    (In::Site, "balance",                r#""least-connections""#, r#""random""#,          "11: expected \"round-robin\" or"),
    (In::Site, "sticky_cookie",          "\"id\"\nbalance = \"sticky\"", r#""id""#,       "1: `sticky_cookie` has no effect without balance"),
    (In::Site, "slow_start",             r#""30s""#,              "30",                    "14: `30` has no unit"),
    (In::Site, "health.failures",        "5",                     "0",                     "19: expected a number from 1 to"),
    (In::Site, "health.pause",           r#""1s""#,               r#""0s""#,               "16: expected a duration"),
    (In::Site, "health.pause_max",       r#""10s""#,              r#""2h""#,               "20: expected a duration"),
    (In::Site, "health.path",            r#""/healthz""#,         r#""healthz""#,          "15: `healthz` is not a path"),
    (In::Site, "health",                 r#"{ path = "/", host = "a.example" }"#, r#"{ path = "/", host = "http://a" }"#, "31: "),
    (In::Site, "health",                 r#"{ path = "/", interval = "1s" }"#, r#"{ interval = "1s" }"#, "12: `interval` has no effect without `path`"),
    (In::Site, "health",                 r#"{ path = "/", timeout = "1s" }"#, r#"{ path = "/", timeout = 1 }"#, "34: `1` has no unit"),
    (In::Site, "health",                 r#"{ path = "/", statuses = "200-204" }"#, r#"{ path = "/", statuses = "204-200" }"#, "35: `204-200` is no range of statuses"),
    (In::Site, "health",                 r#"{ path = "/", failed = 1 }"#, r#"{ path = "/", failed = 0 }"#, "33: expected a number from 1 to 100"),
    (In::Site, "health",                 r#"{ path = "/", passed = 1 }"#, r#"{ path = "/", passed = 0 }"#, "33: expected a number from 1 to 100"),
    (In::Site, "breaker.percent",        "50",                    "101",                   "19: expected a number from 0 to 100"),
    (In::Site, "breaker",                "{ percent = 50, requests = 5 }", "{ requests = 5 }", "13: `requests` has no effect beside percent = 0"),
    (In::Site, "breaker",                r#"{ percent = 50, window = "1s" }"#, r#"{ percent = 50, window = 1 }"#, "36: `1` has no unit"),
    (In::Site, "breaker",                r#"{ percent = 50, pause = "1s" }"#, r#"{ percent = 50, pause = "0s" }"#, "35: expected a duration"),
    (In::Site, "ejection.percent",       "0",                     "101",                   "20: expected a number from 0 to 100"),
    (In::Site, "ejection.requests",      "5",                     "0",                     "21: expected a number from 1 to"),
    (In::Site, "ejection.window",        r#""1m""#,               "60",                    "19: `60` has no unit"),
    (In::Site, "ejection",               "{ percent = 0 }",       "{ percent = 0, requests = 9 }", "27: `requests` has no effect beside percent = 0"),
    (In::Site, "egress",                 "[\"de\"]\n[[egress]]\nname = \"de\"\naddresses = [\"192.0.2.1\"]", "[\"a b\"]", "11: `a b` is not a token"),
    (In::Site, "request_fields.remove",  r#"["X-Debug"]"#,        r#"["Host"]"#,           "26: `Host` is the node's own; see `host` of an origin"),
    (In::Site, "request_fields.set",     r#"["X-Env: prod"]"#,    r#"["X-Env"]"#,          "23: `X-Env` has no colon"),
    (In::Site, "request_fields.add",     r#"["X-Env: prod"]"#,    r#"["Via: a"]"#,         "23: `Via` is the node's own"),
    (In::Site, "response_fields.remove", r#"["Server"]"#,         r#"["Content-Length"]"#, "27: `Content-Length` is the node's own"),
    (In::Site, "response_fields.set",    r#"["Cache-Control: no-store"]"#, r#"["A: ä"]"#,  "24: `ä` is no field's value"),
    (In::Site, "response_fields.add",    r#"["X-Env: prod"]"#,    r#"["a b: c"]"#,         "24: `a b` is not a token"),
    (In::Site, "debug",                  "true",                  r#""key""#,              "9: expected true or false, found a string"),
    (In::Site, "rule",                   "[]",                    "{}",                    "1: expected tables, found a table"),
    (In::Origin, "url",                  r#""http://a.example""#, "80",                    "7: expected a URL such as"),
    (In::Origin, "ca",                   r#""Cargo.toml""#,       r#""ca.pem""#,           "6: cannot read `ca.pem`"),
    (In::Origin, "verify",               "false",                 r#""no""#,               "10: expected true or false, found a string"),
    (In::Origin, "sni",                  r#""o.example""#,        r#""192.0.2.1""#,        "7: `192.0.2.1` is an address"),
    (In::Origin, "host",                 r#""www.example:80""#,   r#""http://www""#,       "8: "),
    (In::Origin, "http",                 r#""2""#,                "2",                     "8: expected \"auto\" or \"1\" or \"2\", found a number"),
    (In::Origin, "weight",               "5",                     "0",                     "10: expected a number from 1 to"),
    (In::Origin, "backup",               "true",                  r#""yes""#,              "10: expected true or false, found a string"),
    (In::Origin, "max_requests",         "100",                   "0",                     "16: expected a number from 1 to"),
    (In::Site, "origins",                r#"[{ url = "http://a.example", max_requests = 9, queue = 5 }]"#, r#"[{ url = "http://a.example", queue = 5 }]"#, "40: `queue` has no effect without `max_requests`"),
    (In::Site, "origins",                r#"[{ url = "http://a.example", max_requests = 9, queue_timeout = "1s" }]"#, r#"[{ url = "http://a.example", max_requests = 9, queue_timeout = 1 }]"#, "74: `1` has no unit"),
    (In::Origin, "max_connections",      "100",                   "0",                     "19: expected a number from 1 to"),
    (In::Origin, "proxy",                r#""http://10.0.0.3:3128""#, r#""https://10.0.0.3""#, "9: `https://10.0.0.3` is no proxy"),
    (In::Origin, "proxy_credentials",    "\"Cargo.toml\"\nproxy = \"http://10.0.0.3:3128\"", r#""Cargo.toml""#, "1: `proxy_credentials` has no effect without `proxy`"),
    (In::Origin, "proxy_protocol",       r#""v2""#,               r#""v3""#,               "18: expected \"v1\" or \"v2\""),
    (In::Origin, "client_cert",          "\"Cargo.toml\"\nclient_key = \"Cargo.toml\"", r#""Cargo.toml""#, "1: `client_cert` has no effect without `client_key`"),
    (In::Origin, "client_key",           "\"Cargo.toml\"\nclient_cert = \"Cargo.toml\"", r#""no.pem""#, "14: cannot read `no.pem`"),
    (In::Origin, "egress",               "[\"de\"]\nurl = \"http://a.example\"\n[[egress]]\nname = \"de\"\naddresses = [\"192.0.2.1\"]\n[[site]]\nhosts = [\"b.example\"]\n[[site.origins]]", "[\"a=b\"]", "11: there is no label `a`"),
    (In::Rule, "egress",                 "[\"country=DE\"]\nmatch = { path = \"/a\" }\n[[egress]]\nname = \"de\"\naddresses = [\"192.0.2.1\"]\ncountry = \"de\"\n[[site]]\nhosts = [\"b.example\"]\norigins = [\"http://b.example\"]\n[[site.rule]]\ncache = false", "[]", "10: expected a list"),
    (In::Rule, "match",                  r#"{ path = "/a" }"#,    "{}",                    "9: the rule matches everything"),
    (In::Rule, "name",                   r#""assets""#,           "1",                     "8: expected a token of at most 64 characters, found a number"),
    (In::Rule, "cache",                  "false",                 r#""no""#,               "9: expected true or false, found a string"),
    (In::Rule, "ttl",                    r#""1y""#,               r#""11y""#,              "7: expected a duration from \"0s\" to \"10y\", found `11y`"),
    (In::Rule, "default_ttl",            r#""0s""#,               "0",                     "15: `0` has no unit"),
    (In::Rule, "client_control",         r#""ignore""#,           "0",                     "18: expected \"ignore\""),
    (In::Rule, "set_cookie",             r#""store""#,            "0",                     "14: expected \"refuse\""),
    (In::Rule, "stale.if_error",         r#""1h""#,               "0",                     "18: `0` has no unit"),
    (In::Site, "slices.use",             "false",                 r#""no""#,               "14: expected true or false"),
    (In::Site, "slices.size",            r#""64KiB""#,            r#""1B""#,               "15: expected a size"),
    (In::Site, "slices.above",           r#""1GiB""#,             "1000",                  "16: `1000` has no unit"),
    (In::Site, "slices.ahead",           "0",                     "17",                    "16: expected a number from 0 to 16"),
    (In::Site, "slices",                 "{ use = false }",       "{ use = false, ahead = 1 }", "25: `ahead` has no effect beside use = false"),
    (In::Rule, "slices.size",            r#""2MiB""#,             r#""0B""#,               "15: expected a size"),
    (In::Rule, "heuristic.percent",      "0",                     "-1",                    "21: expected a number"),
    (In::Rule, "disk",                   r#""never""#,            r#""no""#,               "8: expected"),
    (In::Rule, "uncacheable",            r#""0s""#,               "0",                     "15: `0` has no unit"),
    (In::Rule, "targets",                "[]",                    "0",                     "11: expected a list"),
    (In::Rule, "key.query",              r#""ignore""#,           "0",                     "13: expected \"all\""),
    (In::Site, "codings.offer",          r#"["zstd", "gzip"]"#,   r#"["deflate"]"#,        "18: expected \"br\" or \"zstd\" or \"gzip\", found `deflate`"),
    (In::Site, "codings.types",          r#"["text/*"]"#,         r#"["html"]"#,           "18: `html` is not a media type"),
    (In::Site, "codings.least",          r#""256B""#,             "256",                   "17: `256` has no unit"),
    (In::Site, "codings",                "{ offer = [] }",        r#"{ offer = [], least = "1KiB" }"#, "25: `least` has no effect beside offer = []"),
    (In::Rule, "codings.least",          r#""256B""#,             "256",                   "17: `256` has no unit"),
    (In::Rule, "vary.ignore",            "[]",                    "0",                     "15: expected a list"),
    (In::Rule, "deception_guard",        "false",                 "0",                     "19: expected true or false, found a number"),
    (In::Match, "path",                  r#""/assets/*""#,        r#""assets/*""#,         "14: `assets/*` matches no path"),
    (In::Match, "path",                  r#"["/a", "*.css"]"#,    "[]",                    "14: expected a list"),
    (In::Match, "methods",               r#"["GET"]"#,            r#"["POST"]"#,           "18: expected \"GET\" or \"HEAD\", found `POST`"),
    (In::Match, "header.name",           r#""Cookie""#,           r#""a b""#,              "21: `a b` is not a token"),
    (In::Match, "header",                r#"{ name = "A", value = "*b*" }"#, r#"{ value = "" }"#, "16: `name` is missing"),
    (In::Match, "header",                r#"{ name = "A" }"#,     r#"{ name = "A", value = "" }"#, "38: the pattern is empty"),
    (In::Match, "status",                "[404, 410]",            "[100]",                 "17: expected a number from 200 to 599, found `100`"),
];

#[test]
fn every_key_says_what_it_accepts() {
    for (place, key, accepted, refused, message) in ROWS {
        let (text, _) = file(*place, key, accepted);
        assert_eq!(problems(&text), [""; 0], "{text}");

        let (text, line) = file(*place, key, refused);
        let found = problems(&text);
        let expected = format!("larder.toml:{line}:{message}");
        let is_said = found.iter().any(|problem| problem.starts_with(&expected));
        assert!(
            is_said || message.is_empty() && !found.is_empty(),
            "{text}\n{expected}\n{found:#?}"
        );
    }
}

/// The headers of a file's last table, and what stands before its keys, for settings of `path`.
fn headers(path: &str) -> (String, String) {
    let whole = |header: String| (header, String::new());
    match path {
        "node.listen" | "tls.certificates" | "cache.disk" | "admin.tokens" | "egress" => {
            whole(format!("[[{path}]]\n"))
        }
        "site" => whole("[[site]]\n".to_owned()),
        "site.origins" | "site.rule" => whole(format!("[[site]]\n[[{path}]]\n")),
        _ => match (path.strip_prefix("site.rule."), path.strip_prefix("site.")) {
            (Some(table), _) => ("[[site]]\n[[site.rule]]\n".to_owned(), format!("{table}.")),
            (None, Some(table)) => ("[[site]]\n".to_owned(), format!("{table}.")),
            (None, None) => whole(format!("[{path}]\n")),
        },
    }
}

/// Of every setting, a value no setting has is refused at its place: so every key is read by someone.
#[test]
fn no_key_is_accepted_and_forgotten() {
    for rows in sections::all() {
        let (headers, before) = headers(rows.path);
        for row in rows.rows {
            let key = format!("{before}{}", row.key());
            let text = format!("{headers}{key} = 1979-05-27\n");
            // `rule` is refused at its key, as a `[[site.rule]]` would be.
            let column = if row.key() == "rule" {
                1
            } else {
                key.chars().count() + 4
            };
            let place = format!("larder.toml:{}:{column}: expected", text.lines().count());
            let found = problems(&text);
            assert!(
                found.iter().any(|problem| problem.starts_with(&place)),
                "{text}{found:#?}"
            );
        }
    }
}

#[test]
fn every_setting_has_a_row() {
    for rows in sections::all() {
        for row in rows.rows {
            let has = ROWS.iter().any(|(place, key, accepted, refused, _)| {
                let table = match place {
                    In::Table(table) => table,
                    In::Site => "site",
                    In::Origin => "site.origins",
                    In::Pool => "egress",
                    In::Rule => "site.rule",
                    In::Match => "site.rule.match",
                };
                let values = format!("{accepted} {refused}");
                let path = format!("{table}.{key}");
                path.starts_with(&format!("{}.{}", rows.path, row.key()))
                    || path == rows.path && values.contains(&format!("{} =", row.key()))
            });
            assert!(has, "no row for `{}` of {}", row.key(), rows.place());
        }
    }
}

/// What `init` shows commented out, uncommented.
fn uncommented(text: &str) -> String {
    let is_example = |line: &str| {
        let disk = [
            "[[cache.disk]]",
            "/var/cache/larder",
            "20GiB",
            "engine",
            "required",
        ];
        [
            "token_file",
            "ticket_key_file",
            "[[site.rule]]",
            "name = \"www\"",
            "sticky_cookie",
            "egress = ",
            "resolvers",
        ]
        .iter()
        .chain(&disk)
        .any(|part| line.contains(part))
    };
    // Without servers, the rest of the fleet would have no effect.
    let fleet = text.find("\n# [fleet]").unwrap();
    let after = fleet + text[fleet..].find("\n# [memory]").unwrap();
    let text = [&text[..fleet], &text[after..]].concat();
    // An example of a pool would be one.
    let pool = text.find("\n# [[egress]]").unwrap();
    let after = pool + text[pool..].find("\n# [log]").unwrap();
    let text = [&text[..pool], &text[after..]].concat();
    // So would an example of a collector.
    let telemetry = text.find("\n# [telemetry]").unwrap();
    let after = telemetry + text[telemetry..].find("\n# [limits]").unwrap();
    let text = [&text[..telemetry], &text[after..]].concat();
    let settings = text.lines().filter(|line| !line.starts_with("##"));
    let lines = settings.map(|line| line.strip_prefix("# ").unwrap_or(line));
    let shown: Vec<_> = lines
        .take_while(|line| *line != "[[site.rule]]")
        .filter(|line| !is_example(line))
        .collect();
    shown.join("\n")
}

#[test]
fn the_defaults_that_are_shown_are_the_defaults() {
    let flags = Flags {
        origins: strings(&["http://127.0.0.1:3000"]),
        ..Flags::default()
    };
    let all = uncommented(&init(&flags).unwrap());
    assert!(all.lines().count() > 60, "{all}");
    assert_eq!(parse("f", &all), parse("f", SITE));
}

#[test]
fn all_problems_are_told_at_once_and_in_order() {
    let text = r#"
[node]
nam = "fra1"
threads = "four"

[memory]
size = "512"
object_max = "1GiB"

[listen]

[[site]]
hosts = ["a.example"]
origin = ["http://127.0.0.1"]

[[site]]
hosts = ["*", "A.example"]
origins = [{ url = "http://127.0.0.1", verify = false, http = "2" }]
timeout = "5s"
head_bytes = "1KiB"

[[site.rule]]
match = { path = "/a", status = [404] }
cache = false
ttl = "1h"
key = { sort = true }
"#;
    assert_eq!(
        problems(text),
        [
            "larder.toml:3:1: unknown key `nam` in [node]; did you mean `name`?",
            "larder.toml:4:11: expected a number from 0 to 1024, found a string",
            "larder.toml:7:8: `512` has no unit; write, for example, \"512MiB\"",
            "larder.toml:10:2: unknown key `listen` in the file; `listen` belongs to [node]",
            "larder.toml:12:1: `origins` is missing; write, for example, origins = [\"http://127.0.0.1:3000\"]",
            "larder.toml:14:1: unknown key `origin` in [[site]]; did you mean `origins`?",
            "larder.toml:17:15: `a.example` is a host of another site already; give it to one site only",
            "larder.toml:18:40: `verify` has no effect on an http:// origin; remove it, or write https://",
            "larder.toml:19:1: unknown key `timeout` in [[site]]; did you mean one of `connect_timeout`, `first_byte_timeout`, `between_bytes_timeout`, `idle_timeout`?",
            "larder.toml:20:1: unknown key `head_bytes` in [[site]]; `head_bytes` belongs to [limits]",
            "larder.toml:25:1: `ttl` has no effect beside cache = false; remove one of the two",
            "larder.toml:26:1: `key` has no effect in a rule for a `status`; it decides before there is a response: match by path, methods or header",
        ]
    );
}

#[test]
fn a_file_must_make_sense_as_a_whole() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{expected}\n{found:#?}"
        );
    }
    check("", "larder.toml:1:1: there is no site; add [[site]]");
    check("site = []", "there is no site");
    check(
        "[site]\norigins = []",
        "larder.toml:1:2: expected tables, found a table; write it in double brackets",
    );
    check(
        &format!("[node]\nlisten = [{{ address = \":443\", tls = true }}]\n{SITE}"),
        "2:11: a TLS listener needs a certificate",
    );
    check(
        &format!("[admin]\nlisten = \"127.0.0.1:8080\"\n{SITE}"),
        "`127.0.0.1:8080` is the administration's address",
    );
    check(
        &format!("{SITE}{SITE}hosts = [\"a.example\"]\nname = \"default\""),
        "6:8: `default` is the name of another site already",
    );
    check(
        &format!("{SITE}[[site.rule]]\nmatch = {{ path = \"/a\" }}"),
        "3:1: the rule changes nothing",
    );
    check(
        &format!("{SITE}[[site.rule]]\nttl = \"1h\""),
        "3:1: `match` is missing",
    );
    check(
        &format!(
            "{SITE}[[site.rule]]\nmatch = {{ path = \"/a\" }}\nttl = \"1h\"\ndefault_ttl = \"1h\""
        ),
        "6:1: `default_ttl` has no effect beside `ttl`",
    );
    check(
        &format!("{SITE}[[site.rule]]\nmatch = {{ path = \"/a\" }}\ncache = \"no\"\nttl = \"1h\""),
        "5:9: expected true or false",
    );
    check(
        "[[site]]\norigins = [{ url = \"https://a.example\", ca = \"Cargo.toml\", verify = false }]",
        "2:41: `ca` has no effect beside verify = false",
    );
}

#[test]
fn the_default_for_objects_follows_a_small_memory() {
    let config = parse("f", &format!("[memory]\nsize = \"100MiB\"\n{SITE}")).unwrap();
    assert_eq!(config.memory.object_max, 50 << 20);
    for (size, object_max) in [("16MiB", 1 << 20), ("512MiB", 8 << 20), ("16GiB", 64 << 20)] {
        let disk = "[[cache.disk]]\npath = \"d\"\nsize = \"64MiB\"";
        let memory = format!("[memory]\nsize = \"{size}\"\n{SITE}{disk}\n");
        let config = parse("f", &memory).unwrap();
        assert_eq!(config.memory.object_max, object_max, "{size}");
    }
    let config = parse("f", &format!("[limits]\nhead_bytes = \"2KiB\"\n{SITE}")).unwrap();
    assert_eq!(config.limits.target_bytes, 2 << 10);
}

#[test]
fn a_rule_inherits_what_it_leaves_out() {
    let text = format!(
        "{SITE}stale = {{ while_revalidate = \"1m\", if_error = \"1h\" }}\nkey = {{ query = \"ignore\", cookies = [\"c\"] }}\n\
         [[site.rule]]\nmatch = {{ path = [\"/a/*\", \"*.css\"], header = {{ name = \"X-A\" }} }}\nttl = \"1y\"\n\
         stale = {{ if_error = \"2h\" }}\nkey = {{ query = {{ except = [\"utm_*\"] }} }}\n"
    );
    let config = parse("f", &text).unwrap();
    let Rule {
        name,
        matches,
        overrides,
    } = &config.sites[0].rules[0];
    assert_eq!(*name, None);

    assert!(matches.path[0].matches("/a/b") && matches.path[1].matches("/b.css"));
    assert_eq!(
        matches.header.as_ref().map(|header| header.name.as_str()),
        Some("x-a")
    );
    assert_eq!(
        overrides.ttl,
        Some(Ttl::Override(Duration::from_secs(31_536_000)))
    );
    assert_eq!(
        overrides.stale,
        Some(Stale {
            while_revalidate: Duration::from_secs(60),
            if_error: Duration::from_secs(7_200),
            statuses: vec![500, 502, 503, 504],
        })
    );
    assert_eq!(
        overrides.key,
        Some(Key {
            unkeyed_query: UnkeyedQuery::Drop,
            query: Query::Except(vec!["utm_*".to_owned()]),
            query_order: QueryOrder::AsSent,
            headers: vec![],
            cookies: vec!["c".to_owned()],
        })
    );
    assert_eq!((overrides.cache, overrides.vary.as_ref()), (None, None));
}

#[test]
fn relative_paths_begin_at_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "secret").unwrap();
    let file = folder.path().join("larder.toml");
    std::fs::write(
        &file,
        format!("[admin]\nlisten = \":9180\"\ntoken_file = \"token\"\n{SITE}"),
    )
    .unwrap();
    assert_eq!(
        load(&file).unwrap().admin.token_file,
        Some(folder.path().join("token"))
    );
}

#[test]
fn tls_listeners_have_certificates() {
    let text = format!(
        "[node]\nlisten = [\":80\", {{ address = \":443\", tls = true }}]\n\
         [[tls.certificates]]\ncert = \"Cargo.toml\"\nkey = \"Cargo.toml\"\n{SITE}"
    );
    let config = parse("f", &text).unwrap();
    let transports: Vec<_> = config
        .node
        .listen
        .iter()
        .map(|listener| listener.transport)
        .collect();
    assert_eq!(
        transports,
        [ListenerTransport::Plain, ListenerTransport::Tls]
    );
    assert_eq!(config.tls.certificates[0].cert, PathBuf::from("Cargo.toml"));
}

// === files ===

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    #[track_caller]
    fn check(file: &Path, expected: &str) {
        let problems = load(file).unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
    check(
        &folder.path().join("none.toml"),
        "none.toml: cannot read it: No such file",
    );
    check(folder.path(), "cannot read it: ");
    let file = folder.path().join("latin1.toml");
    std::fs::write(&file, b"# caf\xe9\n").unwrap();
    check(
        &file,
        "latin1.toml: it is not UTF-8: byte 5 begins no character",
    );
}

#[test]
fn a_file_ends_at_the_limit() {
    let largest = format!("{SITE}#{}", "x".repeat(FILE_BYTES_MAX - SITE.len() - 1));
    assert!(parse("f", &largest).is_ok());
    let too_large = format!("{largest}x");
    assert_eq!(
        parse("f", &too_large).unwrap_err().to_string(),
        "f: it is larger than 1048576 bytes"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.toml");
    std::fs::write(&file, "x".repeat(10_000_000)).unwrap();
    assert!(
        load(&file)
            .unwrap_err()
            .to_string()
            .ends_with("it is larger than 1048576 bytes")
    );
}

#[test]
fn a_list_ends_at_the_limit() {
    let hosts = |count| {
        let hosts: Vec<_> = (0..count)
            .map(|host| format!("\"h{host}.example\""))
            .collect();
        problems(&format!("{SITE}hosts = [{}]", hosts.join(",")))
    };
    assert_eq!(hosts(kinds::LIST_MAX), [""; 0]);
    assert_eq!(
        hosts(kinds::LIST_MAX + 1),
        ["larder.toml:3:9: a list has at most 4096 values, found 4097"]
    );
}

#[test]
fn a_file_full_of_problems_is_told_in_part() {
    let text: String = (0..20_000)
        .map(|key| format!("unknown_key_{key} = 1\n"))
        .collect();
    let told = parse("f", &text).unwrap_err();
    assert_eq!(told.iter().count(), PROBLEMS_MAX);
    // The missing site is one more.
    assert!(told.to_string().ends_with("\n\nand 19901 more"));
}

// === flags ===

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn init_says_what_the_flags_say() {
    let flags = Flags {
        origins: strings(&["https://a.example", "http://127.0.0.1:3000"]),
        listen: strings(&[":8080", "127.0.0.1:0"]),
        admin: Some("127.0.0.1:9999".to_owned()),
        memory: Some("64MiB".to_owned()),
        node: Some("fra\"1".replace('"', "")),
        log: Some("off".to_owned()),
        admin_token_file: Some(PathBuf::from("Cargo.toml")),
        disks: strings(&["/var/cache/a:b:20GiB", "relative:16MiB"]),
        default_disk: Some("/elsewhere:1GiB".to_owned()),
    };
    let config = parse("larder.toml", &init(&flags).unwrap()).unwrap();
    assert_eq!(from_flags(&flags), Ok(config.clone()));

    let mut expected = parse("larder.toml", SITE).unwrap();
    expected.sites[0].origins = config.sites[0].origins.clone();
    expected.node.name = "fra1".to_owned();
    expected.node.listen = [("[::]:8080"), ("127.0.0.1:0")]
        .map(|address| Listener {
            address: address.parse().unwrap(),
            transport: ListenerTransport::Plain,
            announcing: Announcing::No,
        })
        .to_vec();
    expected.admin = Admin {
        listen: "127.0.0.1:9999".parse().unwrap(),
        token_file: Some(PathBuf::from("Cargo.toml")),
        tokens: Vec::new(),
    };
    expected.memory = Memory {
        size: 64 << 20,
        object_max: 1 << 20,
        eviction: Eviction::Gdsf,
    };
    let disk = |path: &str, size| Disk {
        path: PathBuf::from(path),
        size,
        engine: Engine::Log,
        on_failure: OnFailure::Stop,
    };
    expected.disks = vec![disk("/var/cache/a:b", 20 << 30), disk("relative", 16 << 20)];
    expected.log.access = AccessLog::Off;
    assert_eq!(config, expected);

    let origins: Vec<_> = config.sites[0]
        .origins
        .iter()
        .map(|origin| (origin.host.to_string(), origin.port))
        .collect();
    assert_eq!(
        origins,
        [
            ("a.example".to_owned(), 443),
            ("127.0.0.1".to_owned(), 3000)
        ]
    );
}

#[test]
fn the_default_disk_is_there_if_no_other_is_and_may_fail() {
    let flags = Flags {
        origins: strings(&["http://127.0.0.1:3000"]),
        default_disk: Some("/home/u/.cache/larder:1GiB".to_owned()),
        ..Flags::default()
    };
    let expected = Disk {
        path: PathBuf::from("/home/u/.cache/larder"),
        size: 1 << 30,
        engine: Engine::Log,
        on_failure: OnFailure::GoOn,
    };
    assert_eq!(from_flags(&flags).unwrap().disks, [expected]);
    assert!(init(&flags).unwrap().contains("\n[[cache.disk]]\n"));
}

#[test]
#[rustfmt::skip]
fn disks_that_make_no_sense_are_refused() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let text = format!("{SITE}\n{text}");
        let told = parse("f", &text).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
    let disk = "[[cache.disk]]\npath = \"/a\"\nsize = \"1GiB\"\n";
    check(&disk.repeat(2), "`/a` is another volume's");
    check("[[cache.disk]]\nsize = \"1GiB\"", "`path` is missing");
    check("[[cache.disk]]\npath = \"/a\"", "`size` is missing");
    check("[[cache.disk]]\npath = \"\"\nsize = \"1GiB\"", "expected a path");
    check("[[cache.disk]]\npath = \"/a\"\nsize = \"1MiB\"", "expected a size");
    check("[cache.disk]\npath = \"/a\"", "double brackets");
    check(&format!("{disk}[memory]\nsize = \"15MiB\""), "too small for so many disks");
}

#[test]
fn init_can_be_appended_to() {
    let flags = Flags {
        origins: strings(&["http://127.0.0.1:3000"]),
        ..Flags::default()
    };
    let text = init(&flags).unwrap();
    assert_eq!(parse("f", &text), parse("f", SITE));

    let appended = text
        + "retries = 0\n[[site.rule]]\nmatch = { path = \"/a\" }\ncache = false\n[limits]\nfields = 7\n";
    let config = parse("f", &appended).unwrap();
    assert_eq!(
        (
            config.sites[0].upstream.retries,
            config.sites[0].rules.len(),
            config.limits.fields
        ),
        (0, 1, 7)
    );
}

#[test]
fn a_wrong_flag_is_named() {
    #[track_caller]
    fn check(flags: Flags, expected: &str) {
        let problems = init(&flags).unwrap_err().to_string();
        assert!(problems.starts_with(expected), "{problems}");
    }
    let flags = Flags {
        origins: strings(&["http://127.0.0.1:3000"]),
        ..Flags::default()
    };
    check(
        Flags::default(),
        "--origin: no origin is given\nhint: add, for example, --origin http",
    );
    check(
        Flags {
            origins: strings(&["localhost"]),
            ..flags.clone()
        },
        "--origin: `localhost` has no scheme\nhint: write \"http://localhost\"",
    );
    check(
        Flags {
            memory: Some("512".to_owned()),
            ..flags.clone()
        },
        "--memory: `512` has no unit\nhint: write, for example, \"512MiB\"",
    );
    check(
        Flags {
            listen: strings(&["localhost:80"]),
            ..flags.clone()
        },
        "--listen: `localhost:80` is not an address",
    );
    check(
        Flags {
            listen: strings(&[":9180"]),
            ..flags.clone()
        },
        "--listen: `[::]:9180` is the administration's address",
    );
    check(
        Flags {
            admin: Some(":9180".to_owned()),
            ..flags.clone()
        },
        "--admin: `[::]:9180` can be reached from other machines",
    );
    check(
        Flags {
            admin: Some("127.0.0.1:8080".to_owned()),
            ..flags.clone()
        },
        "--admin: `127.0.0.1:8080` is the administration's address",
    );
    check(
        Flags {
            node: Some("a\nb".to_owned()),
            ..flags.clone()
        },
        "--node: `a\u{fffd}b` is not a token",
    );
    check(
        Flags {
            log: Some("jsn".to_owned()),
            ..flags.clone()
        },
        "--log: expected \"json\" or \"combined\" or \"vcombined\" or \"cloudfront\" or \"off\", found `jsn`\nhint: did you mean \"json\"?",
    );
    check(
        Flags {
            admin_token_file: Some(PathBuf::from("none")),
            ..flags
        },
        "--admin-token-file: cannot read `none`: No such file",
    );
}

// === any input ===

/// Texts that are nearly configurations: pieces of one, in any order.
fn nearly() -> impl Strategy<Value = String> {
    let keys = sections::all()
        .iter()
        .flat_map(|rows| rows.rows)
        .map(|row| row.key())
        .collect::<Vec<_>>();
    let headers = sections::all()
        .iter()
        .map(|rows| rows.path)
        .collect::<Vec<_>>();
    let piece = prop_oneof![
        prop::sample::select(keys).prop_map(|key| format!("\n{key} = ")),
        prop::sample::select(headers.clone()).prop_map(|path| format!("\n[{path}]\n")),
        prop::sample::select(headers).prop_map(|path| format!("\n[[{path}]]\n")),
        prop::sample::select(vec![
            "\"", "[", "]", "{", "}", ",", "=", ".", "true", "7", "\"1d\"", "\"1MiB\"", "\"*\"",
            "[]", "{}"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_the_text_there_is_an_answer(text in prop_oneof![any::<String>(), nearly()]) {
        if let Err(problems) = parse("f", &text) {
            prop_assert!(problems.iter().count() > 0 && !problems.to_string().contains("it is incomplete"));
        }
    }

    #[test]
    fn whatever_the_value_there_is_an_answer(row in prop::sample::select(ROWS), value in "\\PC{0,12}") {
        let (place, key, ..) = row;
        let (text, _) = file(place, key, &format!("\"{value}\""));
        if let Err(problems) = parse("f", &text) {
            prop_assert!(!problems.to_string().contains("it is incomplete"));
        }
    }

    #[test]
    fn whatever_the_flags_there_is_an_answer(origin in any::<String>(), node in any::<String>(), listen in any::<String>()) {
        let flags = Flags { origins: vec![origin], node: Some(node), listen: vec![listen], ..Flags::default() };
        if let Err(problems) = init(&flags) {
            let are_flags = problems.iter().all(|problem| matches!(problem.place, Place::Flag { .. }));
            prop_assert!(are_flags, "{}", problems);
        }
    }

    #[test]
    fn a_node_of_any_name_is_named_so(node in "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,64}") {
        let flags = Flags { origins: strings(&["http://a.example"]), node: Some(node.clone()), ..Flags::default() };
        let config = parse("f", &init(&flags).unwrap()).unwrap();
        prop_assert_eq!(config.node.name, node);
    }
}
