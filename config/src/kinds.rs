//! The kinds of values settings have.

use std::fmt::Debug;
use std::fs::{self, File};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::problems::{Fault, quote};
use crate::raw::{At, Says, Value};
use crate::setting::{Read, Reading, most_similar};
use crate::units;

/// Values in one list, and tables of one name.
pub(crate) const LIST_MAX: usize = 4_096;

/// One of a few words.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

/// `true` or `false`.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Truth;

/// A number of bytes with its unit.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bytes<T> {
    least: u64,
    most: u64,
    to: PhantomData<fn() -> T>,
}

/// A duration with its unit.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Lasting {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

/// A whole number.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Whole<T> {
    least: i64,
    most: i64,
    to: PhantomData<fn() -> T>,
}

/// A string with a meaning.
#[derive(Debug)]
pub(crate) struct Text<T> {
    /// What it is, as it reads after "expected".
    pub(crate) accepts: &'static str,
    pub(crate) parse: fn(&str) -> Result<T, Fault>,
}

/// The path of a file that can be read; a relative one begins at the configuration's folder.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ReadableFile;

/// Values of one kind, none of them twice.
#[derive(Copy, Clone, Debug)]
pub(crate) struct List<R> {
    pub(crate) of: R,
    /// Fewest.
    pub(crate) least: usize,
}

/// One value, or a list of them that is not empty.
#[derive(Copy, Clone, Debug)]
pub(crate) struct OneOrMore<R>(pub(crate) R);

impl<T> Bytes<T> {
    pub(crate) const fn new(least: u64, most: u64) -> Self {
        Self {
            least,
            most,
            to: PhantomData,
        }
    }
}

impl<T> Whole<T> {
    pub(crate) const fn new(least: i64, most: i64) -> Self {
        Self {
            least,
            most,
            to: PhantomData,
        }
    }
}

/// The text of a string, or `None` and a problem.
pub(crate) fn text<'t>(value: &'t Value, accepts: &str, reading: &mut Reading) -> Option<&'t str> {
    if let Says::Text(text) = &value.says {
        return Some(text);
    }
    reading.refuse_kind(value, accepts);
    None
}

impl<T: Copy + Sync> Read for Choice<T> {
    type Output = T;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<T> {
        let text = text(value, &self.accepts(), reading)?;
        let found = self.0.iter().find(|(word, _)| *word == text);
        let chosen = found.map(|(_, chosen)| *chosen).ok_or_else(|| {
            let fault = Fault::new(format!(
                "expected {}, found {}",
                self.accepts(),
                quote(text)
            ));
            match most_similar(text, self.0.iter().map(|(word, _)| *word)) {
                Some(word) => fault.hint(format!("did you mean \"{word}\"?")),
                None => fault,
            }
        });
        reading.keep(value.span, chosen)
    }

    fn accepts(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        words.join(" or ")
    }
}

impl Read for Truth {
    type Output = bool;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<bool> {
        if let Says::Truth(truth) = value.says {
            return Some(truth);
        }
        reading.refuse_kind(value, &self.accepts());
        None
    }

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }
}

impl<T: TryFrom<u64>> Read for Bytes<T> {
    type Output = T;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<T> {
        if let Says::Whole(whole) = value.says {
            reading.refuse(value.span, without_unit(whole, &format!("{whole}MiB")));
            return None;
        }
        let text = text(value, &self.accepts(), reading)?;
        let bytes = units::size(text).and_then(|bytes| {
            let within = (self.least..=self.most)
                .contains(&bytes)
                .then(|| T::try_from(bytes).ok());
            within
                .flatten()
                .ok_or_else(|| outside(text, &self.accepts()))
        });
        reading.keep(value.span, bytes)
    }

    fn accepts(&self) -> String {
        format!(
            "a size from \"{}\" to \"{}\"",
            units::print_size(self.least),
            units::print_size(self.most)
        )
    }
}

impl Read for Lasting {
    type Output = Duration;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Duration> {
        if let Says::Whole(whole) = value.says {
            reading.refuse(value.span, without_unit(whole, &format!("{whole}s")));
            return None;
        }
        let text = text(value, &self.accepts(), reading)?;
        let duration = units::span(text).and_then(|duration| {
            let within = (self.least..=self.most)
                .contains(&duration)
                .then_some(duration);
            within.ok_or_else(|| outside(text, &self.accepts()))
        });
        reading.keep(value.span, duration)
    }

    fn accepts(&self) -> String {
        format!(
            "a duration from \"{}\" to \"{}\"",
            units::print_span(self.least),
            units::print_span(self.most)
        )
    }
}

fn without_unit(whole: i64, example: &str) -> Fault {
    Fault::new(format!("{} has no unit", quote(&whole.to_string())))
        .hint(format!("write, for example, \"{example}\""))
}

fn outside(text: &str, accepts: &str) -> Fault {
    Fault::new(format!("expected {accepts}, found {}", quote(text)))
}

impl<T: TryFrom<i64>> Read for Whole<T> {
    type Output = T;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<T> {
        let Says::Whole(whole) = value.says else {
            reading.refuse_kind(value, &self.accepts());
            return None;
        };
        let within = (self.least..=self.most)
            .contains(&whole)
            .then(|| T::try_from(whole).ok());
        let read = within
            .flatten()
            .ok_or_else(|| outside(&whole.to_string(), &self.accepts()));
        reading.keep(value.span, read)
    }

    fn accepts(&self) -> String {
        format!("a number from {} to {}", self.least, self.most)
    }
}

impl<T> Read for Text<T> {
    type Output = T;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<T> {
        let text = text(value, self.accepts, reading)?;
        reading.keep(value.span, (self.parse)(text))
    }

    fn accepts(&self) -> String {
        self.accepts.to_owned()
    }
}

impl Read for ReadableFile {
    type Output = PathBuf;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<PathBuf> {
        let text = text(value, &self.accepts(), reading)?;
        let path = reading.base.join(text);
        let readable = readable(text, &path).map(|()| path);
        reading.keep(value.span, readable)
    }

    fn accepts(&self) -> String {
        "the path of a readable file".to_owned()
    }
}

/// Finds out now what would fail later. The kind is looked at first, because opening a pipe waits for its writer.
fn readable(text: &str, path: &Path) -> Result<(), Fault> {
    let cannot = |error: std::io::Error| {
        Fault::new(format!(
            "cannot read {}: {error}",
            quote(&path.to_string_lossy())
        ))
    };
    if text.is_empty() {
        return Err(Fault::new("expected the path of a file, found ``"));
    }
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(Fault::new(format!(
            "{} is not a file",
            quote(&path.to_string_lossy())
        )));
    }
    File::open(path).map(drop).map_err(cannot)
}

impl<R: Read<Output: PartialEq>> Read for List<R> {
    type Output = Vec<At<R::Output>>;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Self::Output> {
        let Says::List(values) = &value.says else {
            reading.refuse_kind(value, &self.accepts());
            return None;
        };
        if values.len() < self.least {
            reading.refuse(
                value.span,
                Fault::new(format!("expected {}, found none", self.accepts())),
            );
            return None;
        }
        if values.len() > LIST_MAX {
            reading.refuse(value.span, too_many(values.len()));
            return None;
        }
        distinct(values, &self.of, reading)
    }

    fn accepts(&self) -> String {
        format!("a list, each {}", self.of.accepts())
    }
}

pub(crate) fn too_many(count: usize) -> Fault {
    Fault::new(format!(
        "a list has at most {LIST_MAX} values, found {count}"
    ))
}

/// All the values, or `None` if one is wrong or there twice.
fn distinct<R: Read<Output: PartialEq>>(
    values: &[Value],
    of: &R,
    reading: &mut Reading,
) -> Option<Vec<At<R::Output>>> {
    let mut list: Vec<At<R::Output>> = Vec::with_capacity(values.len());
    let before = reading.found.len();
    for value in values {
        let Some(read) = of.read(value, reading) else {
            continue;
        };
        let read = At {
            span: value.span,
            value: read,
        };
        if list.contains(&read) {
            reading.refuse(
                value.span,
                Fault::new("it is there twice").hint("remove one of the two"),
            );
        }
        list.push(read);
    }
    (reading.found.len() == before).then_some(list)
}

impl<R: Read<Output: PartialEq> + Copy> Read for OneOrMore<R> {
    type Output = Vec<At<R::Output>>;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Self::Output> {
        match &value.says {
            Says::List(_) => List {
                of: self.0,
                least: 1,
            }
            .read(value, reading),
            _ => Some(vec![At {
                span: value.span,
                value: self.0.read(value, reading)?,
            }]),
        }
    }

    fn accepts(&self) -> String {
        format!("{}, or a list of them", self.0.accepts())
    }
}

impl<T> Copy for Text<T> {}

impl<T> Clone for Text<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// The values of a list without their places.
pub(crate) fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}
