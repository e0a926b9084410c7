//! The command line.

use std::path::{Path, PathBuf};

use larder_tests::free_port;

use crate::score::Kind;
use crate::subject::{Profile, Tiers};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) profile: Option<Profile>,
    pub(crate) accept: bool,
    pub(crate) suite: Option<PathBuf>,
    pub(crate) tiers: Tiers,
    definitions: Option<PathBuf>,
    pub(crate) proxy: Option<String>,
    origin_port: Option<u16>,
    pub(crate) trace: Option<String>,
}

/// Where the pinned suite and what is expected of it lie.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = args.next() {
            if flag == "--accept" {
                options.accept = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            options.set(&flag, value)?;
        }
        options.check()
    }

    fn set(&mut self, flag: &str, value: String) -> Result<(), String> {
        match flag {
            "--profile" => self.profile = Some(Profile::parse(&value)?),
            "--suite" => self.suite = Some(value.into()),
            "--tiers" => self.tiers = Tiers::parse(&value)?,
            "--definitions" => self.definitions = Some(value.into()),
            "--proxy" => self.proxy = Some(value.trim_end_matches('/').to_owned()),
            "--origin-port" => {
                let port = value
                    .parse()
                    .map_err(|error| format!("{flag} {value}: {error}"))?;
                self.origin_port = Some(port);
            }
            "--trace" => self.trace = Some(value),
            _ => return Err(format!("{flag} is not an option")),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, String> {
        if self.accept && !self.is_pinned() {
            return Err("--accept is for one Larder and the pinned suite only".to_owned());
        }
        if self.tiers != Tiers::One && self.proxy.is_some() {
            return Err("--tiers is for Larder only".to_owned());
        }
        if self.definitions.is_some() && self.suite.is_none() {
            return Err("--definitions is for another --suite".to_owned());
        }
        Ok(self)
    }

    /// Whether verdicts are comparable with the expected ones.
    pub(crate) fn is_pinned(&self) -> bool {
        self.suite.is_none() && self.proxy.is_none() && self.tiers == Tiers::One
    }

    pub(crate) fn definitions(&self) -> PathBuf {
        let checked_in = match self.suite {
            None => "definitions.tsv",
            Some(_) => "current/definitions.tsv",
        };
        self.definitions
            .clone()
            .unwrap_or_else(|| folder().join(checked_in))
    }

    /// The table of tests that need not be passed, where one is checked in: a test of the same name may want the
    /// opposite in another suite.
    pub(crate) fn exceptions(&self) -> Option<PathBuf> {
        let checked_in = match (&self.suite, &self.definitions) {
            (None, _) => "exceptions.tsv",
            (Some(_), None) => "current/exceptions.tsv",
            (Some(_), Some(_)) => return None,
        };
        Some(folder().join(checked_in))
    }

    /// The kinds of tests of which none may do anything but pass, unless it is an exception.
    pub(crate) fn gated(&self) -> &'static [Kind] {
        match (&self.suite, self.tiers) {
            (Some(_), Tiers::One) => &[Kind::Required, Kind::Optimal],
            _ => &[Kind::Required],
        }
    }

    /// A proxy that runs already has one set of settings, whatever they are called.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        match (self.profile, &self.proxy) {
            (Some(profile), _) => vec![profile],
            (None, Some(_)) => vec![Profile::Literal],
            (None, None) => vec![Profile::Shipped, Profile::Literal],
        }
    }

    /// What a run is called in the report.
    pub(crate) fn title(&self, profile: Profile) -> String {
        let shipped_or_literal = || match self.tiers {
            Tiers::One => format!("{} settings", profile.name()),
            Tiers::Two => format!("{} settings, two tiers", profile.name()),
        };
        self.proxy.clone().unwrap_or_else(shipped_or_literal)
    }

    pub(crate) fn origin_port(&self) -> u16 {
        match (self.origin_port, &self.proxy) {
            (Some(port), _) => port,
            (None, Some(_)) => 8000,
            (None, None) => free_port(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Options, String> {
        Options::parse(args.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_that_do_not_fit_together_are_refused() {
        assert!(parse("").is_ok());
        assert!(parse("--profile shipped --accept").is_ok());
        assert!(parse("--suite /x --definitions /y").is_ok());
        assert!(parse("--suite /x").is_ok());
        assert!(parse("--tiers 2 --suite /x").is_ok());
        assert!(parse("--tiers 3").unwrap_err().contains("`1` or `2`"));
        assert!(parse("--tiers 2 --accept").is_err());
        assert!(parse("--tiers 2 --proxy http://x").is_err());
        assert!(parse("--definitions /y").unwrap_err().contains("--suite"));
        assert!(
            parse("--accept --proxy http://x")
                .unwrap_err()
                .contains("--accept")
        );
        assert_eq!(
            parse("--origin-port").unwrap_err(),
            "--origin-port needs a value"
        );
        assert!(parse("--origin-port 70000").unwrap_err().contains("70000"));
        assert_eq!(parse("--fast 1").unwrap_err(), "--fast is not an option");
    }
}
