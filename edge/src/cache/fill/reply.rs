//! Who waits for a fill, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use policy::partial::Part;
use policy::time::Timestamp;
use storage::{Landing, Lead, Object, Reader};
use tokio::sync::{mpsc, oneshot};

use super::freshen::Renewal;
use crate::cache::Head;
use crate::cache::pour::{Around, Poured, pour};
use crate::cache::slices::Begun;
use crate::downstream::content_length;
use crate::error::UpstreamError;
use crate::node::Node;
use crate::outcome::Answer;
use crate::pingora::fetch::Fetched;

/// Interim responses that wait for a slow client; further ones are dropped (RFC 9110 §15.2 lets them be).
const INTERIM_MAX: usize = 8;

/// An interim response on its way to the client that led the fill.
#[derive(Debug)]
pub(crate) struct Interim {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// What the client that started a fill hears from it.
#[derive(Debug)]
pub(crate) struct Replies {
    pub reply: oneshot::Receiver<Reply>,
    pub interim: mpsc::Receiver<Interim>,
}

/// What a fill brought.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A response, to be read while it comes in.
    Streaming(Streaming),
    /// A response that is stored in slices, of which one may be coming in.
    Sliced {
        object: Arc<Object<Head>>,
        begun: Option<Begun>,
        answer: Answer,
        /// What the origin said.
        status: StatusCode,
    },
    /// The stored response was validated.
    Freshened {
        object: Arc<Object<Head>>,
        answer: Answer,
    },
    /// The origin answered with a failure, and the stored response may be sent instead.
    StaleInstead {
        object: Arc<Object<Head>>,
        staleness: Duration,
        status: StatusCode,
    },
    /// There is no response.
    Failed(UpstreamError),
}

/// A response that is being received.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub status: StatusCode,
    /// What the origin said.
    pub said: StatusCode,
    /// As the origin sent them, without what belongs to its connection.
    pub headers: HeaderMap,
    pub received: Timestamp,
    pub reader: Reader<Head>,
    /// Which bytes are read, where it is not all of them.
    pub part: Option<Part>,
    pub answer: Answer,
}

/// Who waits for a fill.
pub(in crate::cache) struct Audience {
    /// Others, where it leads a flight.
    pub(super) lead: Option<Lead<Head>>,
    /// The client that it answers.
    reply: oneshot::Sender<Reply>,
}

/// The two ends of what is told: a fill's, with the sender of interim responses, and that of the client it answers.
pub(super) fn channels(lead: Option<Lead<Head>>) -> (Audience, mpsc::Sender<Interim>, Replies) {
    let (reply, replies) = oneshot::channel();
    let (interim, interims) = mpsc::channel(INTERIM_MAX);
    let replies = Replies {
        reply: replies,
        interim: interims,
    };
    (Audience { lead, reply }, interim, replies)
}

impl Audience {
    /// Says what there is to say, to everybody.
    pub(in crate::cache) fn tell(self, landing: Landing<Head>, reply: Reply) {
        if let Some(lead) = self.lead {
            drop(lead.land(landing));
        }
        hand_over(self.reply, reply);
    }

    pub(super) fn freshened(self, renewal: Renewal) {
        let Renewal {
            object,
            answer,
            landing,
        } = renewal;
        self.tell(landing, Reply::Freshened { object, answer });
    }

    /// Moves the body from the origin into the fill, which its readers follow.
    pub(in crate::cache) async fn stream(
        self,
        node: &Node,
        mut fetched: Fetched,
        fill: storage::Fill<Head>,
        landing: Landing<Head>,
        answer: Answer,
        around: Around,
    ) {
        let announced = match &around {
            Around {
                before: None,
                after: None,
                part: None,
            } => content_length(&fetched.headers),
            Around { part, .. } => part.map(|part| part.range.len()),
        };
        let streaming = Streaming {
            status: fetched.status,
            said: fetched.said,
            headers: std::mem::take(&mut fetched.headers),
            received: fetched.response_time,
            reader: fill.reader(),
            part: around.part,
            answer,
        };
        // Followers find the flight until the response is in the index: nobody falls between the two. Nor longer, or
        // those who find it stale would follow it in vain.
        let airborne = self.lead.map(|lead| lead.land(landing));
        hand_over(self.reply, Reply::Streaming(streaming));
        let poured = pour(node, &mut fetched, fill, announced, around).await;
        drop(airborne);
        if poured == Poured::ToTheEnd {
            fetched.release().await;
        }
    }
}

fn hand_over(reply: oneshot::Sender<Reply>, what: Reply) {
    if reply.send(what).is_err() {
        tracing::trace!("the client of a fill is gone");
    }
}
