//! Cache directives (RFC 9111 §5.2), also when they are targeted at caches like this one (RFC 9213).

mod dictionary;

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use crate::fields;
use crate::packed::Fields;
use crate::settings::{Settings, TargetFields};

/// The targeted field of this cache and its kind alone.
pub const OWN_TARGET: &str = "larder-cache-control";

/// The field of the Edge Architecture note, older than RFC 9213 and no Structured Field.
pub const SURROGATE_CONTROL: &str = "surrogate-control";

/// One directive as written: a token and, maybe, an argument.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Directive<'a> {
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) argument: Option<Cow<'a, [u8]>>,
}

impl<'a> Directive<'a> {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2
    //# Cache directives are identified by a token, to be compared case-insensitively, and have an
    //# optional argument that can use both token and quoted-string syntax.
    fn parse(member: &'a [u8]) -> Self {
        let equals = member.iter().position(|&byte| byte == b'=');
        let (name, argument) = match equals {
            Some(at) => (&member[..at], Some(fields::unquote(&member[at + 1..]))),
            None => (member, None),
        };
        Self {
            name: match name.iter().any(u8::is_ascii_uppercase) {
                true => Cow::Owned(name.to_ascii_lowercase()),
                false => Cow::Borrowed(name),
            },
            argument,
        }
    }

    /// The argument as delta-seconds; what is missing or garbage counts as `garbage`.
    pub(crate) fn seconds_or(&self, garbage: Duration) -> Duration {
        self.argument
            .as_deref()
            .and_then(fields::delta_seconds)
            .unwrap_or(garbage)
    }
}

/// The directives of every `Cache-Control` line of a request or a response.
pub(crate) fn directives(headers: &impl Fields) -> impl Iterator<Item = Directive<'_>> {
    fields::list(headers, header::CACHE_CONTROL).map(Directive::parse)
}

/// Response directives (RFC 9111 §5.2.2), of all fields that govern this cache.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.1
//# If directives conflict (e.g., both max-age and no-cache are present), the most restrictive
//# directive should be honored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) governed_by: Governing,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    flags: u8,
}

/// Which field the directives come from.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Governing {
    #[default]
    CacheControl,
    /// A targeted field; `Cache-Control` and `Expires` do not count.
    Targeted,
}

/// What `no-cache` or `private` applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    Nothing,
    /// The qualified form: only these fields.
    Fields(Vec<HeaderName>),
    /// The unqualified form: the whole response.
    Everything,
}

/// Directives that are present or not.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    NoStore = 1,
    MustRevalidate = 1 << 1,
    ProxyRevalidate = 1 << 2,
    MustUnderstand = 1 << 3,
    Public = 1 << 4,
    Immutable = 1 << 5,
}

impl Directives {
    /// Reads the directives that govern this cache.
    ///
    //= https://www.rfc-editor.org/rfc/rfc9213#section-2.2
    //# the cache MUST select the first (in target list order) field with a valid, non-empty value and
    //# use its value to determine the caching policy for the response, and it MUST ignore the
    //# Cache-Control and Expires header fields in that response
    pub(crate) fn read(response: &HeaderMap, settings: &Settings) -> Self {
        settings
            .targets
            .iter()
            .find_map(|name| Self::targeted(response, name))
            .unwrap_or_else(|| directives(response).collect())
    }

    fn targeted(response: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let found = if name.as_str() == SURROGATE_CONTROL {
            Self::surrogate_control(response)
        } else {
            dictionary::directives(response, name)
        }?;
        Some(Self {
            governed_by: Governing::Targeted,
            ..found
        })
    }

    /// `Surrogate-Control`: as `Cache-Control`, but a directive may name a target after `;`, and
    /// `max-age=3600+600` adds an extension to the lifetime.
    ///
    /// Neither counts: nobody tells this node which target it is, and what the extension allows is
    /// less than freshness.
    fn surrogate_control(response: &HeaderMap) -> Option<Self> {
        let name = HeaderName::from_static(SURROGATE_CONTROL);
        let mut members = fields::list(response, name).peekable();
        members.peek()?;
        let directives = members.map(|member| {
            let directive = fields::split(member, b';').next().unwrap_or(member);
            let plain = match directive.iter().position(|&byte| byte == b'+') {
                Some(at) if directive.to_ascii_lowercase().starts_with(b"max-age=") => {
                    &directive[..at]
                }
                _ => directive,
            };
            Directive::parse(fields::trim(plain))
        });
        Some(directives.collect())
    }

    pub(crate) const fn has(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    /// The fields that must not be stored: those listed in `private` and `no-cache`.
    pub(crate) fn withheld_fields(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.private, &self.no_cache]
            .into_iter()
            .filter_map(|scope| match scope {
                Scope::Fields(names) => Some(names),
                Scope::Nothing | Scope::Everything => None,
            })
            .flatten()
    }

    fn add(&mut self, directive: &Directive<'_>) {
        match &*directive.name {
            b"max-age" => restrict(&mut self.max_age, directive),
            b"s-maxage" => restrict(&mut self.s_maxage, directive),
            b"stale-while-revalidate" => restrict(&mut self.stale_while_revalidate, directive),
            b"stale-if-error" => restrict(&mut self.stale_if_error, directive),
            b"no-cache" => self.no_cache.add(directive.argument.as_deref()),
            b"private" => self.private.add(directive.argument.as_deref()),
            b"no-store" => self.set(Flag::NoStore),
            b"must-revalidate" => self.set(Flag::MustRevalidate),
            b"proxy-revalidate" => self.set(Flag::ProxyRevalidate),
            b"must-understand" => self.set(Flag::MustUnderstand),
            b"public" => self.set(Flag::Public),
            b"immutable" => self.set(Flag::Immutable),
            //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.3
            //# A cache MUST ignore unrecognized cache directives.
            _ => {}
        }
    }

    const fn set(&mut self, flag: Flag) {
        self.flags |= flag as u8;
    }
}

impl<'a> FromIterator<Directive<'a>> for Directives {
    fn from_iter<I: IntoIterator<Item = Directive<'a>>>(directives: I) -> Self {
        let mut all = Self::default();
        for directive in directives {
            all.add(&directive);
        }
        all
    }
}

/// Takes the shortest of several values: never longer than the first, so never longer than the RFC
/// allows. Garbage is no time at all.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.1
//# Caches are encouraged to consider responses that have invalid freshness information (e.g., a
//# max-age directive with non-integer content) to be stale.
fn restrict(slot: &mut Option<Duration>, directive: &Directive<'_>) {
    let value = directive.seconds_or(Duration::ZERO);
    *slot = Some(slot.map_or(value, |earlier| earlier.min(value)));
}

impl Scope {
    /// Adds an occurrence of the directive; a list that is empty or garbage counts as none at all,
    /// which is the stricter form.
    fn add(&mut self, argument: Option<&[u8]>) {
        let listed = argument.and_then(fields::field_names);
        match (&mut *self, listed) {
            (Self::Fields(names), Some(more)) => names.extend(more),
            (Self::Nothing, Some(names)) => *self = Self::Fields(names),
            (Self::Everything, _) | (_, None) => *self = Self::Everything,
        }
    }
}

/// Removes the targeted fields from a response on its way to the client, if the settings say so.
///
/// They stay in what is stored: the terms of a freshened response are read from them.
pub fn remove_targets(response: &mut HeaderMap, settings: &Settings) {
    match settings.target_fields {
        TargetFields::Forward => {}
        TargetFields::Remove => {
            for name in &settings.targets {
                response.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn response(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|&(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    fn read(lines: &[(&'static str, &str)]) -> Directives {
        Directives::read(&response(lines), &Settings::default())
    }

    #[test]
    fn max_age_in_every_spelling() {
        #[track_caller]
        fn check(value: &str, secs: Option<u64>) {
            let found = read(&[("cache-control", value)]);
            assert_eq!(found.max_age, secs.map(Duration::from_secs), "{value}");
        }
        check("max-age=3600", Some(3600));
        check("MaX-aGe=3600", Some(3600));
        check("foobar, max-age=3600", Some(3600));
        check(r#"max-age="3600""#, Some(3600));
        check("max-age=003600", Some(3600));
        check("max-age=99999999999", Some(2_147_483_648));
        check("max-age=1800, max-age=1", Some(1));
        check("max-age=1, max-age=1800", Some(1));
        check(r#"extension="max-age=3600", max-age=1"#, Some(1));
        check(r#"max-age=1, extension="max-age=3600""#, Some(1));
        check(r#"extension="max-age=3600", max-age="1""#, Some(1));
        check(r#"extension="max-age=3600""#, None);
        check("max-age", Some(0));
        check("max-age=", Some(0));
        check("max-age=-3600", Some(0));
        check("max-age='3600'", Some(0));
        check("max-age= 3600", Some(0));
        check("max-age=3600.0", Some(0));
        check("max-age=a3600", Some(0));
        check("max-age=3600a", Some(0));
        check("max-age=1800, max-age=x", Some(0));
        check("max-age =3600", None);
        check("nothing-to-see-here", None);
    }

    #[test]
    fn several_lines_are_one_list() {
        let found = read(&[
            ("cache-control", "max-age=3600"),
            ("cache-control", "s-maxage=1, no-store"),
        ]);
        assert_eq!(found.max_age, Some(Duration::from_secs(3600)));
        assert_eq!(found.s_maxage, Some(Duration::from_secs(1)));
        assert!(found.has(Flag::NoStore));
    }

    #[test]
    fn flags_are_case_insensitive_and_keep_apart() {
        let found = read(&[("cache-control", "No-StOrE, must-REVALIDATE, immutable=1")]);
        let flags = [
            (Flag::NoStore, true),
            (Flag::MustRevalidate, true),
            (Flag::Immutable, true),
            (Flag::ProxyRevalidate, false),
            (Flag::MustUnderstand, false),
            (Flag::Public, false),
        ];
        for (flag, expected) in flags {
            assert_eq!(found.has(flag), expected, "{flag:?}");
        }
    }

    #[test]
    fn the_qualified_forms_name_fields() {
        #[track_caller]
        fn check(value: &str, expected: Option<&[&'static str]>) {
            let expected = expected.map_or(Scope::Everything, |names| {
                Scope::Fields(names.iter().copied().map(HeaderName::from_static).collect())
            });
            assert_eq!(
                read(&[("cache-control", value)]).no_cache,
                expected,
                "{value}"
            );
        }
        check("no-cache", None);
        check(r#"no-cache="a""#, Some(&["a"]));
        check(r#"no-cache="A, b""#, Some(&["a", "b"]));
        check(r#"no-cache="a", no-cache="b""#, Some(&["a", "b"]));
        check("no-cache=a", Some(&["a"]));
        check(r#"no-cache="a", no-cache"#, None);
        check(r#"no-cache, no-cache="a""#, None);
        check(r#"no-cache="""#, None);
        check("no-cache=", None);
        check(r#"no-cache="a b""#, None);
        check(r#"no-cache="a"#, None);
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_cache_control() {
        #[track_caller]
        fn check(targeted: &str, max_age: Option<u64>, governed_by: Governing) {
            let found = read(&[
                ("cache-control", "max-age=1"),
                ("cdn-cache-control", targeted),
            ]);
            assert_eq!(
                found.max_age,
                max_age.map(Duration::from_secs),
                "{targeted}"
            );
            assert_eq!(found.governed_by, governed_by, "{targeted}");
        }
        check("max-age=3600", Some(3600), Governing::Targeted);
        check("foobar, max-age=3600", Some(3600), Governing::Targeted);
        check("max-age=3600;foo=bar", Some(3600), Governing::Targeted);
        check(
            "max-age=99999999999",
            Some(2_147_483_648),
            Governing::Targeted,
        );
        check("max-age=-1", Some(0), Governing::Targeted);
        check("private", None, Governing::Targeted);
        check("foo", None, Governing::Targeted);
        check("", Some(1), Governing::CacheControl);
        check("max-age =100", Some(1), Governing::CacheControl);
        check("max-age= 100", Some(1), Governing::CacheControl);
        check("MaX-aGe=100", Some(1), Governing::CacheControl);
        check(r#"max-age="100""#, Some(1), Governing::CacheControl);
        check("max-age=100.0", Some(1), Governing::CacheControl);
        check("max-age", Some(1), Governing::CacheControl);
        check("max-age=100, &&&&&", Some(1), Governing::CacheControl);
        check("max-age=100,", Some(1), Governing::CacheControl);
        check("no-store=1", Some(1), Governing::CacheControl);
    }

    #[test]
    fn the_first_valid_target_wins() {
        let own_first = read(&[
            ("cdn-cache-control", "max-age=60"),
            ("larder-cache-control", "max-age=7"),
        ]);
        assert_eq!(own_first.max_age, Some(Duration::from_secs(7)));

        let own_invalid = read(&[
            ("cdn-cache-control", "max-age=60"),
            ("larder-cache-control", "max-age=7."),
        ]);
        assert_eq!(own_invalid.max_age, Some(Duration::from_secs(60)));
    }

    #[test]
    fn targeted_no_cache_takes_a_string() {
        let whole = read(&[("cdn-cache-control", "no-cache")]);
        assert_eq!(whole.no_cache, Scope::Everything);

        let fields = read(&[("cdn-cache-control", r#"no-cache="a, b""#)]);
        assert_eq!(fields.withheld_fields().count(), 2);

        let off = read(&[("cdn-cache-control", "no-cache=?0, max-age=1")]);
        assert_eq!(off.no_cache, Scope::Nothing);
    }

    #[test]
    fn surrogate_control_is_read_as_its_note_says() {
        #[track_caller]
        fn check(value: &str, max_age: Option<u64>) {
            let found = read(&[("cache-control", "no-store"), ("surrogate-control", value)]);
            assert_eq!(found.max_age, max_age.map(Duration::from_secs), "{value}");
            assert_eq!(found.has(Flag::NoStore), max_age.is_none(), "{value}");
        }
        check("max-age=3600", Some(3600));
        check("MaX-aGe=3600", Some(3600));
        check("max-age=3600;any-target", Some(3600));
        check("max-age=3600+600", Some(3600));
        check(r#"content="ESI/1.0;x", max-age=60"#, Some(60));
        check("no-store", None);
        check("", None);
    }

    #[test]
    fn targets_are_removed_only_when_asked() {
        let mut headers = response(&[
            ("cdn-cache-control", "max-age=1"),
            ("cache-control", "max-age=2"),
        ]);
        let mut settings = Settings::default();
        remove_targets(&mut headers, &settings);
        assert_eq!(headers.len(), 2);

        settings.target_fields = TargetFields::Remove;
        remove_targets(&mut headers, &settings);
        assert_eq!(headers.len(), 1);
    }

    proptest! {
        #[test]
        fn more_directives_never_allow_more(
            directives in proptest::collection::vec("max-age=[0-9]{1,4}|max-age=x|no-cache|no-cache=a", 1..6)
        ) {
            let (last, fewer) = directives.split_last().unwrap();
            let fewer = read(&[("cache-control", &fewer.join(", "))]);
            let all = read(&[("cache-control", &directives.join(", "))]);

            if let Some(earlier) = fewer.max_age {
                prop_assert!(all.max_age.unwrap() <= earlier, "{last}");
            }
            prop_assert!(fewer.no_cache != Scope::Everything || all.no_cache == Scope::Everything);
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(0x20..=0xff_u8, 0..80)) {
            for name in ["cache-control", "cdn-cache-control", "surrogate-control"] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    let mut headers = HeaderMap::new();
                    headers.append(name, value);
                    Directives::read(&headers, &Settings::default());
                }
            }
        }
    }
}
