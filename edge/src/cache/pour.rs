//! A body on its way from the origin into a fill, to its end or to where it breaks off.

use bytes::Bytes;
use policy::partial::Part;
use storage::purge::Life;

use super::Head;
use crate::error::UpstreamError;
use crate::node::Node;
use crate::pingora::fetch::Fetched;

/// What of a response does not come from the origin now.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// What is stored of it already.
    pub before: Option<storage::Body>,
    pub after: Option<storage::Body>,
    /// What comes is this part, and the response's head that of the whole.
    pub part: Option<Part>,
}

/// How far a body was moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Poured {
    ToTheEnd,
    Cut,
}

/// Moves a body to its end, or to where it breaks off.
pub(super) async fn pour(
    node: &Node,
    fetched: &mut Fetched,
    mut fill: storage::Fill<Head>,
    announced: Option<u64>,
    around: Around,
) -> Poured {
    if write_stored(&mut fill, around.before).await == Poured::Cut {
        return Poured::Cut;
    }
    let mut body = Body {
        announced,
        received: 0,
    };
    loop {
        let (data, last) = match body.next(fetched).await {
            Ok(Piece::More(data)) => (data, false),
            Ok(Piece::Last(data)) => (data, true),
            Ok(Piece::End) => break,
            Err(error) => {
                tracing::debug!(%error, "a response was cut while it was received");
                fill.fail(storage::Cut::Origin);
                return Poured::Cut;
            }
        };
        if let Err(error) = fill.write(data).await {
            tracing::debug!(%error, "a fill was given up");
            return Poured::Cut;
        }
        if last {
            break;
        }
    }
    if write_stored(&mut fill, around.after).await == Poured::Cut {
        return Poured::Cut;
    }
    finish_fetched(node, fetched, fill);
    Poured::ToTheEnd
}

/// As [`finish`], for what was fetched.
pub(super) fn finish_fetched(node: &Node, fetched: &Fetched, fill: storage::Fill<Head>) {
    if !fetched.is_behind() {
        node.capacity.missed(&fill, node.clock.now());
    }
    finish(node, fill);
}

/// Ends a body, and stores it unless it was purged meanwhile.
pub(super) fn finish(node: &Node, fill: storage::Fill<Head>) {
    if fill.is_kept() && fill.head().life(&node.purges) != Life::Alive {
        // Stored, it would take the place of what was asked for since.
        node.metrics.purges.fills.inc();
        fill.finish_unstored();
    } else {
        fill.finish();
    }
}

async fn write_stored(fill: &mut storage::Fill<Head>, body: Option<storage::Body>) -> Poured {
    let Some(body) = body else {
        return Poured::ToTheEnd;
    };
    let mut reader = body.reader(0..body.len());
    loop {
        match reader.next().await {
            Ok(Some(data)) => {
                if fill.write(data).await.is_err() {
                    return Poured::Cut;
                }
            }
            Ok(None) => return Poured::ToTheEnd,
            Err(_) => return Poured::Cut,
        }
    }
}

/// A body on its way in.
struct Body {
    announced: Option<u64>,
    received: u64,
}

/// What comes next of it.
enum Piece {
    More(Bytes),
    /// The last, and the origin has said so.
    Last(Bytes),
    End,
}

impl Body {
    /// The piece that completes an announced length is kept back until the end behind it was seen: a client that has
    /// it all may ask again at once, and should find it stored.
    async fn next(&mut self, fetched: &mut Fetched) -> Result<Piece, UpstreamError> {
        let Some(data) = fetched.next().await? else {
            return Ok(Piece::End);
        };
        self.received += data.len() as u64;
        if self.announced != Some(self.received) {
            return Ok(Piece::More(data));
        }
        // HTTP/2 may end a stream with an empty frame.
        while let Some(more) = fetched.next().await? {
            if !more.is_empty() {
                return Err(UpstreamError::Malformed);
            }
        }
        Ok(Piece::Last(data))
    }
}
