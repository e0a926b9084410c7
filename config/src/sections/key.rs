//! `key`: what the cache key is made of.

use super::Tables;
use super::caching::unplaced;
use crate::kinds::{Choice, List, Text, Truth, values};
use crate::model::{Key, Query, QueryOrder, UnkeyedQuery};
use crate::names;
use crate::problems::Fault;
use crate::raw::{Says, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

pub(crate) const KEY_KEY: Setting<Tables> = Setting {
    key: "key",
    unset: Unset::Is(
        "{ query = \"all\", sort = false, headers = [], cookies = [], unkeyed_query = \"drop\" }",
    ),
    about: "What the cache key is made of, beside site, scheme, host and path.",
    read: Tables {
        accepts: "a table of `query`, `sort`, `headers`, `cookies`, `unkeyed_query`",
    },
};

const QUERY_KEY: Setting<QueryKind> = Setting {
    key: "query",
    unset: Unset::Is("\"all\""),
    about: "Which parameters of the query belong to the key.",
    read: QueryKind,
};

const SORT: Setting<Truth> = Setting {
    key: "sort",
    unset: Unset::Is("false"),
    about: "Whether the order of the parameters does not matter.",
    read: Truth,
};

const HEADERS: Setting<List<Text<String>>> = Setting {
    key: "headers",
    unset: Unset::Is("[]"),
    about: "Request fields that belong to the key.",
    read: List {
        of: Text {
            accepts: "a field's name",
            parse: key_field,
        },
        least: 0,
    },
};

const COOKIES: Setting<List<Text<String>>> = Setting {
    key: "cookies",
    unset: Unset::Is("[]"),
    about: "Cookies that belong to the key.",
    read: List {
        of: Text {
            accepts: "a cookie's name",
            parse: names::cookie,
        },
        least: 0,
    },
};

const UNKEYED_QUERY: Setting<Choice<UnkeyedQuery>> = Setting {
    key: "unkeyed_query",
    unset: Unset::Is("\"drop\""),
    about: "Parameters that do not belong to the key: are not sent to the origin, which could build from them what others \
            are answered, or are.",
    read: Choice(&[("drop", UnkeyedQuery::Drop), ("pass", UnkeyedQuery::Pass)]),
};

pub(crate) const KEY: Rows = Rows {
    path: "site.key",
    about: KEY_KEY.about,
    rows: &[
        &QUERY_KEY as &dyn Row,
        &SORT,
        &HEADERS,
        &COOKIES,
        &UNKEYED_QUERY,
    ],
};

fn key_field(text: &str) -> Result<String, Fault> {
    match names::field(text)?.as_str() {
        "host" => Err(Fault::new("the host belongs to every key")),
        "cookie" => Err(
            Fault::new("all cookies together are different for every client")
                .hint("name those that matter: cookies = [\"currency\"]"),
        ),
        name => Ok(name.to_owned()),
    }
}

/// Reads `key`; what it leaves out is as in `base`.
pub(crate) fn key(section: &Section<'_>, base: Option<&Key>, reading: &mut Reading) -> Option<Key> {
    let query = section.value_or(&QUERY_KEY, base.map(|base| base.query.clone()), reading);
    let sort = section.value_or(
        &SORT,
        base.map(|base| base.query_order == QueryOrder::Sorted),
        reading,
    );
    let headers = section.value_or(&HEADERS, base.map(|base| unplaced(&base.headers)), reading);
    let cookies = section.value_or(&COOKIES, base.map(|base| unplaced(&base.cookies)), reading);

    let unkeyed_query =
        section.value_or(&UNKEYED_QUERY, base.map(|base| base.unkeyed_query), reading);

    if query == Some(Query::All)
        && unkeyed_query == Some(UnkeyedQuery::Pass)
        && section.has(&UNKEYED_QUERY)
    {
        let fault = Fault::new("`unkeyed_query` has no effect beside query = \"all\"");
        reading.refuse(
            section.key_span_of(&UNKEYED_QUERY),
            fault.hint("remove it: every parameter is part of the key"),
        );
    }
    if query == Some(Query::Ignore) && sort == Some(true) && section.has(&SORT) {
        let fault = Fault::new("`sort` has no effect beside query = \"ignore\"");
        reading.refuse(
            section.key_span_of(&SORT),
            fault.hint("remove one of the two"),
        );
    }
    let query_order = if sort? {
        QueryOrder::Sorted
    } else {
        QueryOrder::AsSent
    };
    Some(Key {
        query: query?,
        query_order,
        headers: values(headers?),
        cookies: values(cookies?),
        unkeyed_query: unkeyed_query?,
    })
}

/// A word, or a table of the parameters that count or do not.
#[derive(Copy, Clone, Debug)]
pub(crate) struct QueryKind;

const QUERY_WORDS: Choice<Word> = Choice(&[("all", Word::All), ("ignore", Word::Ignore)]);

#[derive(Copy, Clone, Debug)]
enum Word {
    All,
    Ignore,
}

const PARAMETERS: List<Text<String>> = List {
    of: Text {
        accepts: "a parameter's name, or its beginning and `*`",
        parse: names::parameter,
    },
    least: 1,
};

const ONLY: Setting<List<Text<String>>> = Setting {
    key: "only",
    unset: Unset::Means {
        example: "[\"page\", \"q\"]",
        means: "see `except`",
    },
    about: "The parameters that count.",
    read: PARAMETERS,
};

const EXCEPT: Setting<List<Text<String>>> = Setting {
    key: "except",
    unset: Unset::Means {
        example: "[\"utm_*\", \"gclid\"]",
        means: "see `only`",
    },
    about: "The parameters that do not count.",
    read: PARAMETERS,
};

pub(crate) const QUERY: Rows = Rows {
    path: "site.key.query",
    about: "`query` where it is neither \"all\" nor \"ignore\": one of the two.",
    rows: &[&ONLY as &dyn Row, &EXCEPT],
};

impl Read for QueryKind {
    type Output = Query;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Query> {
        match &value.says {
            Says::Table(_) => query(&Section::open(value, &QUERY, reading)?, reading),
            Says::Text(_) => QUERY_WORDS.read(value, reading).map(|word| match word {
                Word::All => Query::All,
                Word::Ignore => Query::Ignore,
            }),
            _ => {
                reading.refuse_kind(value, &self.accepts());
                None
            }
        }
    }

    fn accepts(&self) -> String {
        "\"all\" or \"ignore\" or { only = […] } or { except = […] }".to_owned()
    }
}

fn query(section: &Section<'_>, reading: &mut Reading) -> Option<Query> {
    let (only, except) = (
        section.given(&ONLY, reading),
        section.given(&EXCEPT, reading),
    );
    if section.has(&ONLY) == section.has(&EXCEPT) {
        reading.refuse(
            section.span,
            Fault::new("expected one of `only` and `except`"),
        );
    }
    match (only, except) {
        (Some(only), _) => Some(Query::Only(values(only))),
        (None, Some(except)) => Some(Query::Except(values(except))),
        (None, None) => None,
    }
}
