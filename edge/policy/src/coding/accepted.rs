//! What a client says about codings (RFC 9110 §12.5.3).

use http::header::{self, HeaderMap};

use super::Coding;
use crate::fields;
use crate::vary::Weighted;

/// A coding that is not mentioned, and is acceptable nevertheless: less than any that is.
const LEAST_WEIGHT: u16 = 1;
/// Weights are thousandths.
const FULL_WEIGHT: u16 = 1000;

/// The weights of codings in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    identity: u16,
    gzip: u16,
    brotli: u16,
    zstd: u16,
    dcb: u16,
    dcz: u16,
}

impl Accepted {
    /// Reads a request. One without the field is content with anything by the RFC; what it can read is only known of
    /// no coding at all.
    pub fn read(request: &HeaderMap) -> Self {
        let mut wanted = Wanted::default();
        for member in fields::list(request, header::ACCEPT_ENCODING) {
            // What is no coding with a weight says nothing.
            if let Some(Weighted { item, weight }) = Weighted::parse(member) {
                wanted.add(&item, weight);
            }
        }
        let other = wanted.anything.unwrap_or_default();
        Self {
            //= https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
            //# If the representation has no content coding, then it is acceptable by default unless specifically
            //# excluded by the Accept-Encoding header field stating either "identity;q=0" or "*;q=0" without a
            //# more specific entry for "identity".
            identity: wanted.identity.or(wanted.anything).unwrap_or(LEAST_WEIGHT),
            gzip: wanted.gzip.unwrap_or(other),
            brotli: wanted.brotli.unwrap_or(other),
            zstd: wanted.zstd.unwrap_or(other),
            // `*` does not mean that a dictionary is there.
            dcb: wanted.dcb.unwrap_or_default(),
            dcz: wanted.dcz.unwrap_or_default(),
        }
    }

    /// How much a coding is wanted, in thousandths; 0 is not at all.
    pub const fn weight(&self, coding: Coding) -> u16 {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        }
    }

    pub(super) fn dictionary_codings(&self) -> impl Iterator<Item = &'static str> {
        let both = [("dcb", self.dcb), ("dcz", self.dcz)];
        both.into_iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(name, _)| name)
    }
}

#[derive(Default)]
struct Wanted {
    anything: Option<u16>,
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    dcb: Option<u16>,
    dcz: Option<u16>,
}

impl Wanted {
    /// The first mention counts.
    fn add(&mut self, name: &[u8], weight: u16) {
        let slot = match (name, Coding::named(name)) {
            (b"*", _) => &mut self.anything,
            (b"dcb", _) => &mut self.dcb,
            (b"dcz", _) => &mut self.dcz,
            (_, Some(Coding::Identity)) => &mut self.identity,
            (_, Some(Coding::Gzip)) => &mut self.gzip,
            (_, Some(Coding::Brotli)) => &mut self.brotli,
            (_, Some(Coding::Zstd)) => &mut self.zstd,
            (_, None) => return,
        };
        slot.get_or_insert(weight.min(FULL_WEIGHT));
    }
}
