//! Looking at a volume without touching it, also while a node runs on it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::InspectError;
use super::format::{
    self, Geometry, HEADER, Header, Kind, MARK, Mark, Name, REMOVAL, Removal, SEAL, SUPERBLOCKS,
    Seal, Slot, Superblock, checksum, length,
};
use super::medium::{Medium, VolumeFile};
use super::recovery::headers_in;
use super::removals::Known;
use super::settings::{Engine, VolumeSettings, bodies_dir};

/// What is on the disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Each volume.
    pub volumes: Vec<VolumeReport>,
}

/// What is on a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeReport {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes, with what keeps the bodies.
    pub size: u64,
    /// What keeps the bodies. Those that are not in the log are checked by no inspection, but whenever they are read.
    pub engine: Engine,
    /// All segments.
    pub segments: u64,
    /// Segments with nothing in them.
    pub segments_free: u64,
    /// Segments that were being filled when they were last written.
    pub segments_open: u64,
    /// Objects that a start would find.
    pub objects: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// When the oldest of them was stored, in seconds since 1970.
    pub oldest: Option<u64>,
    /// When the newest of them was stored.
    pub newest: Option<u64>,
    /// Removals that are remembered.
    pub removals: u64,
    /// Records whose header, head or body is not what was stored. A plain inspection reads no
    /// heads and no bodies.
    pub damaged: u64,
    /// Records read and checked.
    pub verified: u64,
    /// The volume failed in an earlier run, and would be formatted.
    pub failed: bool,
}

/// Tells what is on a volume, from the headers of its records.
///
/// # Errors
///
/// If the file cannot be read, or is not a volume.
pub fn inspect(dir_or_volume: &Path) -> Result<Report, InspectError> {
    look(dir_or_volume, Depth::Headers)
}

/// Reads everything, and checks it.
///
/// # Errors
///
/// If the file cannot be read, or is not a volume. Damage within it is in the report.
pub fn verify(dir_or_volume: &Path) -> Result<Report, InspectError> {
    look(dir_or_volume, Depth::Everything)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Headers,
    Everything,
}

fn look(dir_or_volume: &Path, depth: Depth) -> Result<Report, InspectError> {
    let settings = VolumeSettings::new(dir_or_volume.to_path_buf(), 0);
    let path = settings.file();
    let unreadable = |source| InspectError::Unreadable {
        path: path.clone(),
        source,
    };
    let file = VolumeFile::open_to_read(&path).map_err(unreadable)?;
    let Some(superblock) = superblock_of(&file) else {
        return Err(InspectError::NotAVolume { path });
    };
    let mut inspector = Inspector {
        file: &file,
        superblock,
        depth,
        newest: HashMap::new(),
        report: VolumeReport {
            path: path.clone(),
            size: superblock.geometry.size + bytes_of_bodies(&path),
            engine: superblock.engine,
            segments: u64::from(superblock.geometry.count),
            failed: superblock.failed,
            ..VolumeReport::default()
        },
    };
    (0..superblock.geometry.count).for_each(|segment| inspector.segment(segment));
    inspector.removals().map_err(unreadable)?;
    Ok(Report {
        volumes: vec![inspector.sum_up()],
    })
}

/// What an engine other than the log takes from the file system beside it.
fn bytes_of_bodies(path: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(bodies_dir(path)) else {
        return 0;
    };
    let lengths = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
    lengths.sum()
}

fn superblock_of(file: &VolumeFile) -> Option<Superblock> {
    SUPERBLOCKS.iter().find_map(|at| {
        let mut block = [0; 64];
        file.read(&mut block, *at).ok()?;
        match Superblock::parse(&block) {
            format::Reading::Valid(superblock) => Some(superblock),
            format::Reading::Other | format::Reading::Foreign => None,
        }
    })
}

struct Inspector<'a> {
    file: &'a VolumeFile,
    superblock: Superblock,
    depth: Depth,
    newest: HashMap<Name, Header>,
    report: VolumeReport,
}

impl Inspector<'_> {
    fn geometry(&self) -> &Geometry {
        &self.superblock.geometry
    }

    fn read(&self, segment: u32, at: u64, len: usize) -> Option<Bytes> {
        let mut bytes = vec![0; len];
        let offset = self.geometry().offset(segment, at);
        self.file.read(&mut bytes, offset).ok()?;
        Some(bytes.into())
    }

    fn segment(&mut self, segment: u32) {
        let mark = self.read(segment, 0, MARK);
        let Some(mark) = mark.and_then(|mark| Mark::parse(self.superblock.nonce, &mark)) else {
            self.report.segments_free += 1;
            return;
        };
        let headers = self.footer(segment, &mark).unwrap_or_else(|| {
            self.report.segments_open += 1;
            self.scan(segment, &mark)
        });
        for header in headers {
            if self.depth == Depth::Everything {
                self.check(segment, &header);
            }
            if header.kind != Kind::Chunk {
                self.remember(header);
            }
        }
    }

    fn footer(&mut self, segment: u32, mark: &Mark) -> Option<Vec<Header>> {
        let nonce = self.superblock.nonce;
        let end = self.geometry().segment - SEAL as u64;
        let seal = Seal::parse(nonce, &self.read(segment, end, SEAL)?)?;
        if seal.life != mark.life {
            return None;
        }
        let len = seal.records as usize * HEADER;
        let bytes = self.read(segment, end.checked_sub(len as u64)?, len)?;
        let headers: Vec<Header> = bytes
            .chunks_exact(HEADER)
            .filter_map(|bytes| Header::parse(nonce, self.geometry(), bytes))
            .filter(|header| header.life == mark.life)
            .collect();
        self.report.damaged += u64::from(seal.records) - headers.len() as u64;
        Some(headers)
    }

    fn scan(&self, segment: u32, mark: &Mark) -> Vec<Header> {
        let len = length(self.geometry().segment);
        let bytes = self.read(segment, 0, len).unwrap_or_default();
        headers_in(self.superblock.nonce, self.geometry(), mark.life, &bytes)
    }

    fn remember(&mut self, header: Header) {
        let known = self.newest.get(&header.name);
        if known.is_none_or(|known| known.number < header.number) {
            self.newest.insert(header.name, header);
        }
    }

    fn check(&mut self, segment: u32, header: &Header) {
        self.report.verified += 1;
        if self.is_intact(segment, header) != Some(true) {
            self.report.damaged += 1;
        }
    }

    fn is_intact(&self, segment: u32, header: &Header) -> Option<bool> {
        let nonce = self.superblock.nonce;
        let len = usize::try_from(header.len()).ok()?;
        let record = self.read(segment, u64::from(header.at), len)?;
        if Header::parse(nonce, self.geometry(), &record) != Some(*header) {
            return Some(false);
        }
        let front_end = HEADER + header.front_len();
        let (head, table) = record[HEADER..front_end].split_at(header.head_len as usize);
        let body_len = usize::try_from(header.body_here()).ok()?;
        let body = record.get(front_end..front_end + body_len)?;
        let blocks = body.chunks(self.geometry().block() as usize);
        let head_intact = header.kind == Kind::Chunk || checksum(nonce, head) == header.head_sum;
        let table_intact = table.is_empty() || checksum(nonce, table) == header.table_sum;
        let mut sums = blocks.zip(&header.sums);
        let body_intact = sums.all(|(block, sum)| checksum(nonce, block) == *sum);
        Some(head_intact && table_intact && body_intact)
    }

    fn removals(&mut self) -> std::io::Result<()> {
        let mut log = vec![0; length(self.geometry().removals)];
        self.file.read(&mut log, Geometry::removals_at())?;
        let mut known = Known::default();
        for line in log.as_chunks::<REMOVAL>().0 {
            match Removal::parse(self.superblock.nonce, line) {
                Slot::Removal(removal) => known.add(removal),
                Slot::Damaged => self.report.damaged += 1,
                Slot::Empty => {}
            }
        }
        self.report.removals = known.len() as u64;
        self.newest
            .retain(|name, header| !known.covers(*name, header.number));
        Ok(())
    }

    fn sum_up(mut self) -> VolumeReport {
        let times = || {
            self.newest
                .values()
                .map(|header| u64::from(header.stored_at))
        };
        self.report.oldest = times().min();
        self.report.newest = times().max();
        self.report.objects = self.newest.len() as u64;
        self.report.bytes = self.newest.values().map(|header| header.body_len).sum();
        self.report
    }
}
