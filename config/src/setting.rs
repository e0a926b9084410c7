//! A setting: its key, what it accepts, its default and a sentence. Reading, the reference and `init` all use it.

use std::path::PathBuf;

use crate::kinds::{LIST_MAX, too_many};
use crate::problems::{Fault, quote};
use crate::raw::{At, Entry, Says, Span, Value};

/// A key longer than this is not compared with those that exist.
const COMPARED_BYTES_MAX: usize = 64;

/// A key of the configuration.
#[derive(Debug)]
pub(crate) struct Setting<R> {
    pub(crate) key: &'static str,
    pub(crate) unset: Unset,
    pub(crate) about: &'static str,
    pub(crate) read: R,
}

/// What holds where a setting is not given.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Unset {
    /// It has to be given.
    Required { example: &'static str },
    /// This value, in TOML.
    Is(&'static str),
    /// Something that is no value of this setting.
    Means {
        example: &'static str,
        means: &'static str,
    },
}

/// How a value is read.
pub(crate) trait Read: Sync {
    type Output;

    /// The value that is meant. `None` where there is none, and then the reading knows what is wrong.
    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Self::Output>;

    /// What is accepted, as it reads after "expected".
    fn accepts(&self) -> String;
}

/// What can be said of any setting.
pub(crate) trait Row: Sync {
    fn key(&self) -> &'static str;
    fn unset(&self) -> Unset;
    fn about(&self) -> &'static str;
    fn accepts(&self) -> String;
}

/// Settings that stand side by side in the file.
#[derive(Copy, Clone)]
pub(crate) struct Rows {
    /// Where: `node`, `site.stale`.
    pub(crate) path: &'static str,
    pub(crate) about: &'static str,
    pub(crate) rows: &'static [&'static dyn Row],
}

/// What is wrong so far.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Relative paths begin here: the folder of the file.
    pub(crate) base: PathBuf,
    pub(crate) found: Vec<(Span, Fault)>,
}

/// A table of the file whose keys are known.
#[derive(Debug)]
pub(crate) struct Section<'t> {
    pub(crate) span: Span,
    entries: &'t [Entry],
}

impl<R: Read> Row for Setting<R> {
    fn key(&self) -> &'static str {
        self.key
    }

    fn unset(&self) -> Unset {
        self.unset
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn accepts(&self) -> String {
        self.read.accepts()
    }
}

impl Reading {
    pub(crate) fn refuse(&mut self, span: Span, fault: Fault) {
        self.found.push((span, fault));
    }

    /// Keeps what was read from the value at `span`, or why it was not.
    pub(crate) fn keep<T>(&mut self, span: Span, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|fault| self.refuse(span, fault)).ok()
    }

    /// Refuses a value for being of another kind than `accepted`.
    pub(crate) fn refuse_kind(&mut self, value: &Value, accepted: &str) {
        self.refuse(
            value.span,
            Fault::new(format!("expected {accepted}, found {}", value.kind())),
        );
    }
}

impl<'t> Section<'t> {
    /// A table that has no keys but those of `rows`; others are refused.
    pub(crate) fn open(value: &'t Value, rows: &Rows, reading: &mut Reading) -> Option<Self> {
        let Says::Table(entries) = &value.says else {
            reading.refuse_kind(value, &format!("a table of {}", rows.keys()));
            return None;
        };
        for entry in entries.iter().filter(|entry| !rows.has(&entry.key)) {
            reading.refuse(entry.key_span, rows.unknown(&entry.key));
        }
        Some(Self {
            span: value.span,
            entries,
        })
    }

    /// A table without keys, in the place of something else.
    pub(crate) const fn empty(span: Span) -> Self {
        Self { span, entries: &[] }
    }

    /// The table of a key, or an empty one where the key is not given.
    pub(crate) fn section<R>(
        &self,
        setting: &Setting<R>,
        rows: &Rows,
        reading: &mut Reading,
    ) -> Option<Self> {
        match self.entry(setting) {
            Some(entry) => Self::open(&entry.value, rows, reading),
            None => Some(Self {
                span: self.span,
                entries: &[],
            }),
        }
    }

    /// The tables of a key; none where it is not given.
    pub(crate) fn list<R: Read>(
        &self,
        setting: &Setting<R>,
        reading: &mut Reading,
    ) -> Option<&'t [Value]> {
        let Some(entry) = self.entry(setting) else {
            return Some(&[]);
        };
        match &entry.value.says {
            Says::List(values) if values.len() > LIST_MAX => {
                reading.refuse(entry.key_span, too_many(values.len()));
                None
            }
            Says::List(values) => Some(values),
            _ => {
                let fault = Fault::new(format!(
                    "expected {}, found {}",
                    setting.read.accepts(),
                    entry.value.kind()
                ));
                reading.refuse(
                    entry.key_span,
                    fault.hint("write it in double brackets: [[…]]"),
                );
                None
            }
        }
    }

    /// The value of a setting, or its default. `None` where it is wrong, or required and missing.
    pub(crate) fn value<R: Read>(
        &self,
        setting: &Setting<R>,
        reading: &mut Reading,
    ) -> Option<R::Output> {
        if let Some(entry) = self.entry(setting) {
            return setting.read.read(&entry.value, reading);
        }
        match setting.unset {
            Unset::Is(toml) => setting.read.read(&default_value(toml), reading),
            Unset::Required { example } => {
                reading.refuse(self.span, missing(setting.key, example));
                None
            }
            Unset::Means { .. } => None,
        }
    }

    /// The value of a setting where it is given, without regard to its default.
    pub(crate) fn given<R: Read>(
        &self,
        setting: &Setting<R>,
        reading: &mut Reading,
    ) -> Option<R::Output> {
        self.entry(setting)
            .and_then(|entry| setting.read.read(&entry.value, reading))
    }

    /// The value of a setting where it is given, else `base`; where there is no base, the default.
    pub(crate) fn value_or<R: Read>(
        &self,
        setting: &Setting<R>,
        base: Option<R::Output>,
        reading: &mut Reading,
    ) -> Option<R::Output> {
        match base {
            Some(base) if !self.has(setting) => Some(base),
            _ => self.value(setting, reading),
        }
    }

    /// The table of a key where it is given.
    pub(crate) fn given_section<R>(
        &self,
        setting: &Setting<R>,
        rows: &Rows,
        reading: &mut Reading,
    ) -> Option<Self> {
        self.entry(setting)
            .and_then(|entry| Self::open(&entry.value, rows, reading))
    }

    /// Whether a setting is given, rightly or wrongly.
    pub(crate) fn has<R>(&self, setting: &Setting<R>) -> bool {
        self.entry(setting).is_some()
    }

    /// Where a setting's value stands; the section where it is not given.
    pub(crate) fn span_of<R>(&self, setting: &Setting<R>) -> Span {
        self.entry(setting)
            .map_or(self.span, |entry| entry.value.span)
    }

    /// Where a setting's key stands; the section where it is not given.
    pub(crate) fn key_span_of<R>(&self, setting: &Setting<R>) -> Span {
        self.entry(setting)
            .map_or(self.span, |entry| entry.key_span)
    }

    /// Whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys that are given.
    pub(crate) fn keys(&self) -> impl Iterator<Item = At<&'t str>> {
        self.entries.iter().map(|entry| At {
            span: entry.key_span,
            value: entry.key.as_str(),
        })
    }

    fn entry<R>(&self, setting: &Setting<R>) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == setting.key)
    }
}

impl Rows {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.rows.iter().any(|row| row.key() == key)
    }

    fn keys(&self) -> String {
        let keys: Vec<_> = self
            .rows
            .iter()
            .map(|row| format!("`{}`", row.key()))
            .collect();
        keys.join(", ")
    }

    fn unknown(&self, key: &str) -> Fault {
        let fault = Fault::new(format!("unknown key {} in {}", quote(key), self.place()));
        if let Some(similar) = most_similar(key, self.rows.iter().map(|row| row.key())) {
            return fault.hint(format!("did you mean `{similar}`?"));
        }
        let related: Vec<_> = self
            .rows
            .iter()
            .map(|row| row.key())
            .filter(|name| name.split('_').any(|word| word == key))
            .collect();
        if !related.is_empty() {
            return fault.hint(format!("did you mean one of `{}`?", related.join("`, `")));
        }
        match crate::sections::all().iter().find(|rows| rows.has(key)) {
            Some(rows) => fault.hint(format!("`{key}` belongs to {}", rows.place())),
            None => fault.hint(format!("the keys are {}", self.keys())),
        }
    }

    /// The table as it reads within a sentence.
    pub(crate) fn place(&self) -> String {
        match self.path {
            "" => "the file".to_owned(),
            "site" | "site.rule" | "cache.disk" | "egress" => format!("[[{}]]", self.path),
            path if path.contains('.') => format!("`{path}`"),
            path => format!("[{path}]"),
        }
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn missing(key: &str, example: &str) -> Fault {
    Fault::new(format!("`{key}` is missing")).hint(format!("write, for example, {key} = {example}"))
}

/// The name that was probably meant by `written`.
pub(crate) fn most_similar<'a>(
    written: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    /// Two thirds of the letters in common are one wrong letter in three, or two letters exchanged in six.
    const SIMILARITY_MIN: f64 = 0.66;

    if written.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    names
        .map(|name| {
            (
                strsim::normalized_damerau_levenshtein(&written, &name.replace('-', "_")),
                name,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// A default as the file would have said it. It has no place: what it contradicts has one.
fn default_value(toml: &str) -> Value {
    let parsed = Value::parse(&format!("default = {toml}")).map(|value| value.says);
    match parsed {
        Ok(Says::Table(mut entries)) if entries.len() == 1 => nowhere(entries.remove(0).value),
        _ => Value {
            span: Span::default(),
            says: Says::Other("no value"),
        },
    }
}

fn nowhere(value: Value) -> Value {
    let says = match value.says {
        Says::List(values) => Says::List(values.into_iter().map(nowhere).collect()),
        says => says,
    };
    Value {
        span: Span::default(),
        says,
    }
}
