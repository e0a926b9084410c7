//! The notation of the field that nodes of a tier tell each other things in: `name=value; name=value`.

use std::fmt::{Display, Write as _};

use crate::landmark::Landmark;

/// Bytes of a field that are read.
pub(crate) const FIELD_MAX: usize = 2_048;
/// The version that is written. What has a higher one may mean something else.
pub(crate) const VERSION: u32 = 1;

/// Why a field is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is another version's.
    #[error("a version that is not known here")]
    Version,
    /// It is malformed, or something is missing.
    #[error("malformed")]
    Malformed,
}

/// Parameters in the making.
#[derive(Debug)]
pub(crate) struct Writer(String);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(format!("v={VERSION}"))
    }

    pub(crate) fn add(&mut self, name: &str, value: impl Display) {
        write!(self.0, "; {name}={value}").expect("writing to a string does not fail");
    }

    pub(crate) fn add_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Parameters that were read. Names that nobody asks for are those of a later version, and have no effect.
#[derive(Debug)]
pub(crate) struct Reader<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Unreadable> {
        if text.len() > FIELD_MAX {
            return Err(Unreadable::Malformed);
        }
        let mut all: Vec<(&str, &str)> = Vec::new();
        for parameter in text.split(';') {
            let (name, value) = parameter
                .trim()
                .split_once('=')
                .ok_or(Unreadable::Malformed)?;
            if value.is_empty() || all.iter().any(|(known, _)| *known == name) {
                return Err(Unreadable::Malformed);
            }
            all.push((name, value));
        }
        let reader = Self(all);
        match reader.number::<u32>("v")? {
            Some(VERSION) => Ok(reader),
            Some(_) => Err(Unreadable::Version),
            None => Err(Unreadable::Malformed),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a str, Unreadable> {
        self.text(name).ok_or(Unreadable::Malformed)
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Unreadable> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        // A sign is none of a number's business.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.ok_or(Unreadable::Malformed).map(Some)
    }

    pub(crate) fn landmark(&self, name: &str) -> Result<Option<Landmark>, Unreadable> {
        self.text(name).map(str::parse).transpose()
    }

    pub(crate) fn required_number<T: std::str::FromStr>(
        &self,
        name: &str,
    ) -> Result<T, Unreadable> {
        self.number(name)?.ok_or(Unreadable::Malformed)
    }
}

/// The value before its signature, and the signature: the last parameter.
#[must_use]
pub fn split_signature(field: &str) -> Option<(&str, &str)> {
    let (signed, signature) = field.rsplit_once("; sig=")?;
    (!signature.contains(';')).then_some((signed, signature))
}

/// Adds a signature.
#[must_use]
pub fn with_signature(value: &str, signature: &str) -> String {
    format!("{value}; sig={signature}")
}
