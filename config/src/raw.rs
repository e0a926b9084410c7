//! What the file says: its tables and values with their places, before anything is known of their meaning.

use std::ops::Range;

use toml_edit::{Document, InlineTable, Item, Key, TableLike, Value as Toml};

use crate::problems::Fault;

/// A run of bytes of the file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value of the model and where it came from.
#[derive(Copy, Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) span: Span,
    pub(crate) value: T,
}

/// Two are equal that say the same, wherever they stand.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A value of the file.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) span: Span,
    pub(crate) says: Says,
}

/// What a value says. Inline tables and `[tables]` are one, as are arrays and `[[tables]]`.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    Text(String),
    Whole(i64),
    Truth(bool),
    List(Vec<Value>),
    Table(Vec<Entry>),
    /// A kind of value no setting has.
    Other(&'static str),
}

/// A key of a table and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Value,
}

impl Value {
    /// Reads a file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, (Span, Fault)> {
        let document = Document::parse(text).map_err(|error| {
            let message = error.message().replace('\n', "; ");
            (
                span(error.span()),
                Fault::new(message).hint("the file is not valid TOML (toml.io)"),
            )
        })?;
        Ok(Self {
            span: Span::default(),
            says: table(document.as_table()),
        })
    }

    /// The kind of value, as it reads within a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.says {
            Says::Text(_) => "a string",
            Says::Whole(_) => "a number",
            Says::Truth(_) => "a truth value",
            Says::List(_) => "a list",
            Says::Table(_) => "a table",
            Says::Other(kind) => kind,
        }
    }
}

impl From<Range<usize>> for Span {
    fn from(Range { start, end }: Range<usize>) -> Self {
        Self { start, end }
    }
}

fn span(range: Option<Range<usize>>) -> Span {
    range.map(Span::from).unwrap_or_default()
}

fn table(table: &dyn TableLike) -> Says {
    let entries = table.iter().filter_map(|(name, item)| {
        let key_span = span(
            table
                .get_key_value(name)
                .and_then(|(key, _): (&Key, _)| key.span()),
        );
        let value = self::item(item, key_span)?;
        Some(Entry {
            key: name.to_owned(),
            key_span,
            value,
        })
    });
    Says::Table(entries.collect())
}

/// The value of an item; a table that stands nowhere in particular, as `a` of `a.b = 1`, is where its key is.
fn item(item: &Item, key_span: Span) -> Option<Value> {
    let says = match item {
        Item::None => return None,
        Item::Value(value) => return Some(self::value(value, key_span)),
        Item::Table(table) => self::table(table),
        Item::ArrayOfTables(tables) => Says::List(
            tables
                .iter()
                .map(|table| Value {
                    span: placed(table.span(), key_span),
                    says: self::table(table),
                })
                .collect(),
        ),
    };
    Some(Value {
        span: placed(item.span(), key_span),
        says,
    })
}

fn value(value: &Toml, key_span: Span) -> Value {
    let says = match value {
        Toml::String(text) => Says::Text(text.value().clone()),
        Toml::Integer(whole) => Says::Whole(*whole.value()),
        Toml::Boolean(truth) => Says::Truth(*truth.value()),
        Toml::Float(_) => Says::Other("a number with a fraction"),
        Toml::Datetime(_) => Says::Other("a date"),
        Toml::Array(values) => Says::List(
            values
                .iter()
                .map(|value| self::value(value, key_span))
                .collect(),
        ),
        Toml::InlineTable(inline) => table(inline as &InlineTable),
    };
    Value {
        span: placed(value.span(), key_span),
        says,
    }
}

fn placed(range: Option<Range<usize>>, otherwise: Span) -> Span {
    range.map_or(otherwise, Span::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        match Value::parse(text).unwrap().says {
            Says::Table(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tables_are_tables_however_they_are_written() {
        for text in ["[a]\nb = 1", "a = { b = 1 }", "a.b = 1", "[a.b.c]"] {
            let entries = entries(text);
            assert_eq!(
                (
                    entries.len(),
                    entries[0].key.as_str(),
                    entries[0].value.kind()
                ),
                (1, "a", "a table"),
                "{text}"
            );
        }
        for text in ["[[a]]\nb = 1", "a = [{ b = 1 }]"] {
            let entries = entries(text);
            assert_eq!(entries[0].value.kind(), "a list", "{text}");
        }
    }

    #[test]
    fn every_value_has_a_place() {
        let text = "[a]\nb = \"c\"\n[[d]]\ne = [1, 2]\n";
        let entries = entries(text);
        let Says::Table(a) = &entries[0].value.says else {
            panic!()
        };
        assert_eq!(&text[a[0].value.span.start..a[0].value.span.end], "\"c\"");
        assert_eq!(&text[a[0].key_span.start..a[0].key_span.end], "b");
        assert_eq!(&text[entries[1].value.span.start..][..5], "[[d]]");
    }

    #[test]
    fn what_is_not_toml_is_refused_where_it_stops_to_be() {
        #[track_caller]
        fn check(text: &str, start: usize) {
            let (span, fault) = Value::parse(text).unwrap_err();
            assert_eq!(span.start, start, "{fault}");
        }
        check("a = ", 4);
        check("a = 1\na = 2", 6);
        check("[a]\n[a]", 5);
        check("a = \"x", 6);
    }

    #[test]
    fn nesting_without_end_is_refused() {
        for text in [
            "[".repeat(100_000),
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{a=".repeat(100_000)),
            "a.".repeat(100_000) + "a = 1",
        ] {
            assert!(Value::parse(&text).is_err());
        }
    }
}
