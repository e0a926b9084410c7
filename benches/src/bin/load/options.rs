//! What was asked for.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::server::Kind;

/// The words behind the program's name.
pub(crate) struct Options {
    pub(crate) larders: Vec<Kind>,
    only: Vec<String>,
    against: Option<Vec<String>>,
    pub(crate) turns: usize,
    pub(crate) seconds: u32,
    /// Requests a second for everybody, in place of a share of what each can do.
    pub(crate) rate: Option<f64>,
    pub(crate) replay: Option<Replay>,
    pub(crate) configurations: PathBuf,
    pub(crate) out: Option<PathBuf>,
}

/// A trace, and how it is played.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) trace: PathBuf,
    /// Sizes are divided by it.
    pub(crate) scale: u64,
    /// Bytes in which each server stores.
    pub(crate) memory: u64,
    /// How many of its requests are played.
    pub(crate) requests: usize,
}

impl Options {
    /// # Errors
    /// A word that is not understood, or a file that is not there.
    pub(crate) fn read() -> io::Result<Self> {
        let mut options = Self {
            larders: Vec::new(),
            only: Vec::new(),
            against: None,
            turns: 5,
            seconds: 4,
            rate: None,
            replay: None,
            configurations: "benches/peers".into(),
            out: None,
        };
        let (mut scale, mut memory, mut requests) = (1, 128, usize::MAX);
        let mut trace = None;
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| wrong(&word))?;
            match &*word {
                "--larder" => options.larders.push(larder(&value)?),
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--against" => {
                    options.against = Some(value.split(',').map(str::to_owned).collect())
                }
                "--turns" => options.turns = number(&word, &value)?,
                "--seconds" => options.seconds = number(&word, &value)?,
                "--rate" => options.rate = Some(number(&word, &value)?),
                "--replay" => trace = Some(PathBuf::from(value)),
                "--scale" => scale = number(&word, &value)?,
                "--memory-mib" => memory = number(&word, &value)?,
                "--requests" => requests = number(&word, &value)?,
                "--peers" => options.configurations = value.into(),
                "--out" => options.out = Some(value.into()),
                _ => return Err(wrong(&word)),
            }
        }
        options.replay = trace.map(|trace| Replay {
            trace,
            scale,
            memory: memory << 20,
            requests,
        });
        if options.larders.is_empty() {
            let binary = std::env::current_exe()?.with_file_name("larder");
            let label = "Larder".to_owned();
            options.larders.push(Kind::Larder { label, binary });
        }
        Ok(options)
    }

    /// The builds of Larder, and those of the others that are wanted.
    pub(crate) fn kinds<'a>(&'a self, peers: &'a [Kind]) -> impl Iterator<Item = &'a Kind> {
        let wanted = |kind: &&Kind| match &self.against {
            Some(names) => names.iter().any(|name| kind.label().starts_with(name)),
            None => true,
        };
        self.larders.iter().chain(peers.iter().filter(wanted))
    }

    /// Whether a work is wanted. A trace is played alone, unless works are named.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match self.only.is_empty() {
            true => self.replay.is_none(),
            false => self.only.iter().any(|only| only == name),
        }
    }
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> io::Result<T> {
    value.parse().map_err(|_number| wrong(word))
}

fn larder(value: &str) -> io::Result<Kind> {
    let (label, binary) = value.split_once('=').ok_or_else(|| wrong(value))?;
    let binary = fs::canonicalize(binary)?;
    let label = label.to_owned();
    Ok(Kind::Larder { label, binary })
}

fn wrong(word: &str) -> io::Error {
    io::Error::other(format!("{word}: not understood"))
}
