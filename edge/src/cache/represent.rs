//! The coding in which a client gets a response (RFC 9110 §12.5.3).

use std::sync::Arc;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use policy::coding::{self, Choice, Coding};
use storage::{Body, Object, Reader, Turn};

use super::Head;
use crate::coding::{Coder, Conversion, Source};
use crate::exchange::Request;

/// What a client gets of a stored response.
pub(super) enum Representation {
    /// It as it is stored.
    AsStored,
    /// It in another coding.
    Ready(Coding, Body),
    /// It in another coding, which is being made.
    Underway(Coding, Reader<Head>),
    /// The head of it in another coding, which nobody has wanted the content of yet.
    HeadOnly(Coding),
}

impl Representation {
    /// The coding that it was converted to.
    pub(super) const fn coding(&self) -> Option<Coding> {
        match self {
            Self::AsStored => None,
            Self::Ready(coding, _) | Self::Underway(coding, _) | Self::HeadOnly(coding) => {
                Some(*coding)
            }
        }
    }
}

/// Chooses of a stored response, and makes its head that of what was chosen.
pub(super) fn of_stored(
    coder: &Coder,
    request: &Request,
    object: &Arc<Object<Head>>,
    (status, headers): (StatusCode, &mut HeaderMap),
) -> Representation {
    let Some(conversion) = choose(request, status, headers) else {
        return Representation::AsStored;
    };
    let to = conversion.to;
    // What is made of a body is kept with it in memory. Of one that stays on a disk it would be made for every hit:
    // that is worth it only for who could not take it otherwise.
    if object.body().is_on_disk() && conversion.from == Coding::Identity {
        return Representation::AsStored;
    }
    let representation = if *request.method() == Method::HEAD {
        match object.derived().ready(conversion.making()) {
            Some(body) => Representation::Ready(to, body),
            None => Representation::HeadOnly(to),
        }
    } else {
        match coder.turn(&Source::Stored(object), conversion) {
            Turn::Ready(body) => Representation::Ready(to, body),
            Turn::Underway(reader) => Representation::Underway(to, reader),
            Turn::Refused => return Representation::AsStored,
        }
    };
    coding::recode(headers, to);
    representation
}

/// As [`of_stored`], of what is there: none where something has to be made first.
pub(super) fn there(
    request: &Request,
    object: &Object<Head>,
    (status, headers): (StatusCode, &mut HeaderMap),
) -> Option<Representation> {
    let Some(conversion) = choose(request, status, headers) else {
        return Some(Representation::AsStored);
    };
    let body = object.derived().ready(conversion.making())?;
    coding::recode(headers, conversion.to);
    Some(Representation::Ready(conversion.to, body))
}

/// The content of a response that is being received, in the coding that the client gets, and which coding it was
/// converted to.
pub(super) fn of_incoming(
    coder: &Coder,
    request: &Request,
    reader: Reader<Head>,
    (status, headers): (StatusCode, &mut HeaderMap),
) -> (Reader<Head>, Option<Coding>) {
    let Some(conversion) = choose(request, status, headers) else {
        return (reader, None);
    };
    // What is for nobody else is not worth coding, and only decoded for who cannot take it.
    let is_shared = reader.head().stored().is_some();
    if !is_shared && conversion.from == Coding::Identity {
        return (reader, None);
    }
    match coder.turn(&Source::Incoming(&reader), conversion) {
        Turn::Underway(coded) => {
            coding::recode(headers, conversion.to);
            (coded, Some(conversion.to))
        }
        Turn::Ready(_) | Turn::Refused => (reader, None),
    }
}

/// Which conversion a client needs. Whoever gets a response that others get in another coding is told so.
fn choose(request: &Request, status: StatusCode, headers: &mut HeaderMap) -> Option<Conversion> {
    let rules = &request.treatment.settings.codings;
    match coding::choose(request.headers(), status, headers, rules) {
        Choice::Alone => {
            coding::vary_on_dictionary(headers);
            None
        }
        Choice::AsStored => {
            coding::vary_on(headers, &[header::ACCEPT_ENCODING]);
            None
        }
        Choice::Convert { from, to } => {
            coding::vary_on(headers, &[header::ACCEPT_ENCODING]);
            Some(Conversion { from, to })
        }
    }
}
