//! `vary`: how fields named by `Vary` are compared.

use super::Tables;
use super::caching::unplaced;
use crate::kinds::{Choice, List, Text, values};
use crate::model::{AcceptEncoding, AcceptLanguage, DeviceClass, UserAgent, Vary};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{Entry, Says, Span, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

const FIELD: Text<String> = Text {
    accepts: "a field's name",
    parse: names::field,
};

pub(crate) const VARY_KEY: Setting<Tables> = Setting {
    key: "vary",
    unset: Unset::Is(
        "{ ignore = [], accept_encoding = \"normalise\", accept_language = \"normalise\", user_agent = \"exact\" }",
    ),
    about: "How fields named by `Vary` are compared.",
    read: Tables {
        accepts: "a table of `ignore`, `accept_encoding`, `accept_language`, `cookies`, `user_agent`",
    },
};

const IGNORE: Setting<List<Text<String>>> = Setting {
    key: "ignore",
    unset: Unset::Is("[]"),
    about: "Fields that are not compared.",
    read: List {
        of: FIELD,
        least: 0,
    },
};

const ACCEPT_ENCODING: Setting<Choice<AcceptEncoding>> = Setting {
    key: "accept_encoding",
    unset: Unset::Is("\"normalise\""),
    about: "`Accept-Encoding` is compared by the set of acceptable codings, or as sent.",
    read: Choice(&[
        ("normalise", AcceptEncoding::Normalise),
        ("exact", AcceptEncoding::Exact),
    ]),
};

const ACCEPT_LANGUAGE: Setting<LanguageKind> = Setting {
    key: "accept_language",
    unset: Unset::Is("\"normalise\""),
    about: "`Accept-Language` is compared in the order of preference; as sent; in the order of preference, but what is \
            fresh in the language wanted most will do (`Content-Language`); or by the best of these languages.",
    read: LanguageKind,
};

const COOKIES: Setting<List<Text<String>>> = Setting {
    key: "cookies",
    unset: Unset::Means {
        example: "[\"currency\"]",
        means: "all of them",
    },
    about: "The cookies that are compared. The origin is sent these and those of the key alone, unless the request passes \
            the cache by.",
    read: List {
        of: Text {
            accepts: "a cookie's name",
            parse: names::cookie,
        },
        least: 0,
    },
};

const USER_AGENT: Setting<UserAgentKind> = Setting {
    key: "user_agent",
    unset: Unset::Is("\"exact\""),
    about: "`User-Agent` is compared as sent, or by the class of the device, which the origin is told in \
            `X-Device-Class`: tablet, phone or other, or the first of these whose words it has.",
    read: UserAgentKind,
};

pub(crate) const VARY: Rows = Rows {
    path: "site.vary",
    about: VARY_KEY.about,
    rows: &[
        &IGNORE as &dyn Row,
        &ACCEPT_ENCODING,
        &ACCEPT_LANGUAGE,
        &COOKIES,
        &USER_AGENT,
    ],
};

/// Reads `vary`; what it leaves out is as in `base`.
pub(crate) fn vary(
    section: &Section<'_>,
    base: Option<&Vary>,
    reading: &mut Reading,
) -> Option<Vary> {
    let ignore = section.value_or(&IGNORE, base.map(|base| unplaced(&base.ignore)), reading);
    let accept_encoding = section.value_or(
        &ACCEPT_ENCODING,
        base.map(|base| base.accept_encoding),
        reading,
    );
    let accept_language = section.value_or(
        &ACCEPT_LANGUAGE,
        base.map(|base| base.accept_language.clone()),
        reading,
    );

    let cookies = section
        .given(&COOKIES, reading)
        .map(values)
        .or_else(|| base.and_then(|base| base.cookies.clone()));
    let user_agent = section.value_or(
        &USER_AGENT,
        base.map(|base| base.user_agent.clone()),
        reading,
    );

    for key in section.keys() {
        let name = match key.value {
            "cookies" => "cookie".to_owned(),
            key => key.replace('_', "-"),
        };
        if ignore.iter().flatten().any(|field| field.value == name) {
            let fault = Fault::new(format!(
                "`{}` has no effect on a field that is ignored",
                key.value
            ));
            reading.refuse(
                key.span,
                fault.hint(format!("remove it, or {} from `ignore`", quote(&name))),
            );
        }
    }
    let (accept_encoding, accept_language) = (accept_encoding?, accept_language?);
    Some(Vary {
        ignore: values(ignore?),
        accept_encoding,
        accept_language,
        cookies,
        user_agent: user_agent?,
    })
}

/// Classes of devices in one list.
const DEVICE_CLASSES_MAX: usize = 16;

/// What the word `device` stands for. Tablets first: some of them say that they are mobile.
const DEVICES: [(&str, &[&str]); 3] = [
    ("tablet", &["iPad", "Tablet", "PlayBook", "Kindle", "Silk/"]),
    (
        "phone",
        &["Mobi", "iPhone", "iPod", "BlackBerry", "Opera Mini"],
    ),
    ("tablet", &["Android"]),
];

/// A word, or a table of classes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct UserAgentKind;

const USER_AGENT_WORDS: Choice<Devices> =
    Choice(&[("exact", Devices::Exact), ("device", Devices::Usual)]);

#[derive(Copy, Clone, Debug)]
enum Devices {
    Exact,
    Usual,
}

const WORDS: List<Text<String>> = List {
    of: Text {
        accepts: "a word",
        parse: names::word,
    },
    least: 1,
};

impl Read for UserAgentKind {
    type Output = UserAgent;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<UserAgent> {
        match &value.says {
            Says::Table(entries) => classes(entries, value.span, reading).map(UserAgent::Classes),
            Says::Text(_) => USER_AGENT_WORDS
                .read(value, reading)
                .map(|word| match word {
                    Devices::Exact => UserAgent::Exact,
                    Devices::Usual => UserAgent::Classes(DEVICES.map(usual).to_vec()),
                }),
            _ => {
                reading.refuse_kind(value, &self.accepts());
                None
            }
        }
    }

    fn accepts(&self) -> String {
        format!(
            "{}, or a table of classes, each a list of words",
            USER_AGENT_WORDS.accepts()
        )
    }
}

fn usual((name, words): (&str, &[&str])) -> DeviceClass {
    DeviceClass {
        name: name.to_owned(),
        words: words.iter().copied().map(str::to_owned).collect(),
    }
}

fn classes(entries: &[Entry], span: Span, reading: &mut Reading) -> Option<Vec<DeviceClass>> {
    if entries.is_empty() || entries.len() > DEVICE_CLASSES_MAX {
        let message = format!("expected 1 to {DEVICE_CLASSES_MAX} classes");
        reading.refuse(
            span,
            Fault::new(message).hint("write, for example, { phone = [\"Mobi\"] }"),
        );
        return None;
    }
    let classes = entries.iter().map(|entry| {
        let name = reading.keep(entry.key_span, names::name(&entry.key));
        let words = WORDS.read(&entry.value, reading);
        Some(DeviceClass {
            name: name?,
            words: values(words?),
        })
    });
    let classes: Vec<_> = classes.collect();
    classes.into_iter().collect()
}

/// A word, or a list of languages.
#[derive(Copy, Clone, Debug)]
pub(crate) struct LanguageKind;

const LANGUAGE_WORDS: Choice<Comparison> = Choice(&[
    ("normalise", Comparison::Normalise),
    ("exact", Comparison::Exact),
    ("preferred", Comparison::Preferred),
]);

#[derive(Copy, Clone, Debug)]
enum Comparison {
    Normalise,
    Exact,
    Preferred,
}

const LANGUAGES: List<Text<String>> = List {
    of: Text {
        accepts: "a language tag such as \"en\"",
        parse: names::language,
    },
    least: 1,
};

impl Read for LanguageKind {
    type Output = AcceptLanguage;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<AcceptLanguage> {
        match &value.says {
            Says::List(_) => LANGUAGES
                .read(value, reading)
                .map(|list| AcceptLanguage::Among(values(list))),
            Says::Text(_) => LANGUAGE_WORDS.read(value, reading).map(|word| match word {
                Comparison::Normalise => AcceptLanguage::Normalise,
                Comparison::Exact => AcceptLanguage::Exact,
                Comparison::Preferred => AcceptLanguage::Preferred,
            }),
            _ => {
                reading.refuse_kind(value, &self.accepts());
                None
            }
        }
    }

    fn accepts(&self) -> String {
        format!("{}, or {}", LANGUAGE_WORDS.accepts(), LANGUAGES.accepts())
    }
}
