//! What a node of a tier says of its answer to a node of the tier before.

use crate::landmark::Landmark;
use crate::parameters::{Reader, Unreadable, Writer};

/// How it is said that the node that asks has read what the one that answers has read.
const COMMON: &str = "common";

/// What kind of answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// What the node had stored.
    Hit,
    /// What came from further on.
    Response,
    /// The node's own words: it got no answer.
    NoAnswer,
    /// The node's own words: it does not take the request.
    Refused,
}

impl Says {
    const ALL: [(Self, &str); 4] = [
        (Self::Hit, "hit"),
        (Self::Response, "response"),
        (Self::NoAnswer, "no-answer"),
        (Self::Refused, "refused"),
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Response => "response",
            Self::NoAnswer => "no-answer",
            Self::Refused => "refused",
        }
    }
}

/// Up to where in a log of purges none is known to concern a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Born {
    /// Which log.
    pub log: String,
    /// The place in it.
    pub place: u64,
    /// The last message of it that the node had read when it said so, where it tells.
    pub here: Option<Landmark>,
    /// How far whoever asked had read it, seen from the node that answers.
    pub asker: Reading,
}

/// Whether a node that asks reads what the node that is asked has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The last message that it has read is one that this node has read, too.
    Common,
    /// That is not known here: it may be further along.
    Unknown,
}

/// In which parts a node stores what it is asked for, if it stores it in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As a whole.
    Whole,
    /// In slices of so many bytes.
    Slices(u64),
}

impl Cut {
    const fn of(bytes: u64) -> Self {
        match bytes {
            0 => Self::Whole,
            bytes => Self::Slices(bytes),
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::Whole => 0,
            Self::Slices(bytes) => bytes,
        }
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => f.write_str("no slices"),
            Self::Slices(bytes) => write!(f, "slices of {bytes} bytes"),
        }
    }
}

/// What a node of a tier says of its answer. It is a field of the response, and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voucher {
    /// Who answers.
    pub node: String,
    /// What kind of answer it is.
    pub says: Says,
    /// Why the request is not taken, in one word.
    pub why: Option<String>,
    /// What the response can be held against purges by, where the node follows a shared log.
    pub born: Option<Born>,
    /// Requests that origins got for it before it began, from the node and from those beyond. With the answer to a probe:
    /// for answers to the same node, after those began.
    pub cost: u64,
    /// How the node cuts what it was asked for, where it says so.
    pub cut: Option<Cut>,
}

impl Voucher {
    /// The field's value, without its signature.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut writer = Writer::new();
        writer.add("node", &self.node);
        writer.add("says", self.says.as_str());
        writer.add_some("why", self.why.as_ref());
        if let Some(born) = &self.born {
            writer.add("log", &born.log);
            writer.add("born", born.place);
            writer.add_some("here", born.here);
            if born.asker == Reading::Common {
                writer.add("asker", COMMON);
            }
        }
        if self.cost > 0 {
            writer.add("cost", self.cost);
        }
        writer.add_some("slice", self.cut.map(Cut::bytes));
        writer.finish()
    }

    /// Reads a field's value, without its signature.
    ///
    /// # Errors
    /// [`Unreadable`] where it is none, or another version's.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let reader = Reader::new(text)?;
        let word = reader.required("says")?;
        let says = Says::ALL.iter().find(|(_, known)| *known == word);
        let (says, _) = *says.ok_or(Unreadable::Malformed)?;
        let born = match (reader.text("log"), reader.number("born")?) {
            (Some(log), Some(place)) => Some(Born {
                log: log.to_owned(),
                place,
                here: reader.landmark("here")?,
                asker: match reader.text("asker") {
                    Some(COMMON) => Reading::Common,
                    _ => Reading::Unknown,
                },
            }),
            (None, None) => None,
            _ => return Err(Unreadable::Malformed),
        };
        Ok(Self {
            node: reader.required("node")?.to_owned(),
            says,
            why: reader.text("why").map(str::to_owned),
            born,
            cost: reader.number("cost")?.unwrap_or(0),
            cut: reader.number("slice")?.map(Cut::of),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (says, word) in Says::ALL {
            assert_eq!(says.as_str(), word);
            for born in [None, Some(("01J", 7)), Some(("01J", 8))] {
                let voucher = Voucher {
                    node: "parent-1".to_owned(),
                    says,
                    why: born.map(|_| "tier-clock".to_owned()),
                    born: born.map(|(log, place)| Born {
                        log: log.to_owned(),
                        place,
                        here: (place == 7).then(|| Landmark::unknown(9)),
                        asker: match place {
                            7 => Reading::Unknown,
                            _ => Reading::Common,
                        },
                    }),
                    cost: born.map_or(0, |_| 3),
                    cut: born.map(|(_, place)| Cut::of(place - 7)),
                };
                assert_eq!(Voucher::parse(&voucher.to_text()), Ok(voucher));
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "v=1",
            "v=1; node=a; says=what",
            "v=1; node=a; says=hit; born=1",
            "v=1; node=a; says=hit; log=x",
            "v=1; node=a; says=hit; log=x; born=y",
            "v=1; node=a; says=hit; log=x; born=7; here=y",
            "v=1; node=a; says=hit; cost=-1",
            "v=1; node=a; says=hit; slice=1MiB",
            "v=1; says=hit",
        ] {
            assert_eq!(Voucher::parse(bad), Err(Unreadable::Malformed), "{bad}");
        }
        let later = "v=9; node=a; says=hit";
        assert_eq!(Voucher::parse(later), Err(Unreadable::Version));
    }
}
