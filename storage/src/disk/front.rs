//! What stands before a body: the record of an object, read and checked.

use bytes::Bytes;

use super::error::{DiskError, Refused};
use super::format;
use super::format::{Extent, HEADER, Header, Kind, Stream, Sums, checksum, length};
use super::index::tag_of;
use super::life::Life;
use super::log::Record;
use super::table::Entry;
use super::volume::Volume;

/// A body up to this long is read along with its head: one read answers the request, and damage is
/// found while it can still be a miss.
const ALONG_MAX: u64 = 64 * 1024;

/// A record of which everything but the body has been checked; the body as well if it is here.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) header: Header,
    pub(crate) head: Bytes,
    pub(crate) body: BodyPlace,
}

/// Where a body lies.
#[derive(Debug)]
pub(crate) enum BodyPlace {
    /// Behind the head; read already, if it is short.
    Here {
        read: Option<Bytes>,
    },
    Spread(Vec<Extent>),
}

/// How many bytes to read for the front of an object.
pub(crate) fn span(volume: &Volume, entry: &Entry) -> usize {
    let sizes = entry.sizes();
    let behind = if sizes.spread {
        format::extents(sizes.body, &volume.geometry) * size_of::<Extent>() as u64
    } else if sizes.body <= ALONG_MAX {
        sizes.body
    } else {
        0
    };
    usize::try_from(HEADER as u64 + sizes.head + behind).unwrap_or(usize::MAX)
}

/// Takes apart what was read for `entry`.
pub(crate) fn parse(
    volume: &Volume,
    life: &Life,
    entry: &Entry,
    bytes: &Bytes,
) -> Result<Front, DiskError> {
    let header = Header::parse(volume.nonce, &volume.geometry, bytes).ok_or(DiskError::Damaged)?;
    if !is_of(&header, life, entry) {
        return Err(DiskError::Gone);
    }
    let front_end = HEADER + header.front_len();
    let head_end = HEADER + header.head_len as usize;
    if bytes.len() < front_end {
        return Err(DiskError::Gone);
    }
    let head = bytes.slice(HEADER..head_end);
    let table = bytes.slice(head_end..front_end);
    let intact = checksum(volume.nonce, &head) == header.head_sum
        && (table.is_empty() || checksum(volume.nonce, &table) == header.table_sum);
    if !intact {
        return Err(DiskError::Damaged);
    }
    let body = match header.kind {
        Kind::Spread => BodyPlace::Spread(Extent::parse_all(&table).collect()),
        Kind::Inline | Kind::Chunk => BodyPlace::Here {
            read: body_along(volume, &header, &bytes.slice(front_end..))?,
        },
    };
    Ok(Front { header, head, body })
}

/// The head alone, of what was read for `entry`.
pub(crate) fn parse_head(
    volume: &Volume,
    life: &Life,
    entry: &Entry,
    bytes: &Bytes,
) -> Result<(Header, Bytes), DiskError> {
    let header = Header::parse(volume.nonce, &volume.geometry, bytes).ok_or(DiskError::Damaged)?;
    let end = HEADER + header.head_len as usize;
    if !is_of(&header, life, entry) || bytes.len() < end {
        return Err(DiskError::Gone);
    }
    let head = bytes.slice(HEADER..end);
    if checksum(volume.nonce, &head) != header.head_sum {
        return Err(DiskError::Damaged);
    }
    Ok((header, head))
}

fn body_along(
    volume: &Volume,
    header: &Header,
    behind: &Bytes,
) -> Result<Option<Bytes>, DiskError> {
    if behind.len() as u64 != header.body_len {
        return Ok(None);
    }
    check_blocks(volume, behind, 0, &header.sums)?;
    Ok(Some(behind.clone()))
}

fn is_of(header: &Header, life: &Life, entry: &Entry) -> bool {
    header.kind != Kind::Chunk
        && header.life == life.number
        && u64::from(header.at) == entry.place().at()
        && tag_of(header.name.key) == entry.tag
        && header.body_len == entry.sizes().body
}

/// Reads the front of an object on a thread that may wait.
pub(crate) fn load_waiting(
    volume: &Volume,
    life: &Life,
    entry: &Entry,
) -> Result<Front, DiskError> {
    let bytes = volume.read_waiting(life, entry.place().at(), span(volume, entry))?;
    parse(volume, life, entry, &bytes)
}

/// How long this chunk of a body is.
pub(crate) fn chunk_len(volume: &Volume, body_len: u64, number: u64) -> usize {
    let chunk = u64::from(volume.geometry.chunk);
    let rest = body_len.saturating_sub(number.saturating_mul(chunk));
    length(rest.min(chunk))
}

/// The checksums of a chunk.
pub(crate) fn sums_of(volume: &Volume, chunk: &[u8]) -> Sums {
    let mut sums = Sums::default();
    let blocks = chunk.chunks(volume.geometry.block() as usize);
    for (sum, block) in sums.iter_mut().zip(blocks) {
        *sum = checksum(volume.nonce, block);
    }
    sums
}

/// Whether `bytes`, which begin with this block of a chunk, are what was stored.
pub(crate) fn check_blocks(
    volume: &Volume,
    bytes: &[u8],
    first: usize,
    sums: &Sums,
) -> Result<(), DiskError> {
    let blocks = bytes.chunks(volume.geometry.block() as usize);
    let sums = sums.iter().skip(first);
    let intact = blocks
        .zip(sums)
        .all(|(block, sum)| checksum(volume.nonce, block) == *sum);
    if intact {
        Ok(())
    } else {
        Err(DiskError::Damaged)
    }
}

/// Writes a chunk of the object that `like` belongs to.
pub(crate) fn append_chunk(
    volume: &Volume,
    stream: Stream,
    like: &Header,
    bytes: &[u8],
    sums: Sums,
) -> Result<Extent, Refused> {
    let header = Header {
        kind: Kind::Chunk,
        body_len: bytes.len() as u64,
        head_len: 0,
        extents: 0,
        head_sum: 0,
        table_sum: 0,
        sums,
        ..*like
    };
    let appended = volume.append(
        stream,
        Record {
            header,
            parts: [bytes, &[], &[]],
        },
    )?;
    Ok(Extent {
        life: appended.life.number,
        segment: appended.life.segment,
        at: u32::try_from(appended.header.body_at()).unwrap_or(u32::MAX),
        sums,
    })
}
