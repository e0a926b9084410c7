//! `vary`: how fields named by `Vary` are compared.

use super::Tables;
use super::caching::unplaced;
use crate::kinds::{Choice, List, Text, values};
use crate::model::{AcceptEncoding, AcceptLanguage, Vary};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{Says, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

const FIELD: Text<String> = Text {
    accepts: "a field's name",
    parse: names::field,
};

pub(crate) const VARY_KEY: Setting<Tables> = Setting {
    key: "vary",
    unset: Unset::Is(
        "{ ignore = [], accept_encoding = \"normalise\", accept_language = \"normalise\" }",
    ),
    about: "How fields named by `Vary` are compared.",
    read: Tables {
        accepts: "a table of `ignore`, `accept_encoding`, `accept_language`",
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
    about: "`Accept-Language` is compared in the order of preference, as sent, or by the best of these languages.",
    read: LanguageKind,
};

pub(crate) const VARY: Rows = Rows {
    path: "site.vary",
    about: VARY_KEY.about,
    rows: &[&IGNORE as &dyn Row, &ACCEPT_ENCODING, &ACCEPT_LANGUAGE],
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

    for key in section.keys() {
        let name = key.value.replace('_', "-");
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
    })
}

/// A word, or a list of languages.
#[derive(Copy, Clone, Debug)]
pub(crate) struct LanguageKind;

const LANGUAGE_WORDS: Choice<Comparison> = Choice(&[
    ("normalise", Comparison::Normalise),
    ("exact", Comparison::Exact),
]);

#[derive(Copy, Clone, Debug)]
enum Comparison {
    Normalise,
    Exact,
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
