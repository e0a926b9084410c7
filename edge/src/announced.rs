//! Connections that begin with a word of the proxy before them: the PROXY protocol, from those who are trusted.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use wire::proxy_protocol::{
    Announced, BEGINNING, NoHeader, V1_MAX, V2_HEAD, Version, read_v1, read_v2, v2_rest, version,
};

/// Why a connection has not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnnounced {
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
    #[error("it ended before its header: {0}")]
    Ended(#[from] io::Error),
}

/// Reads the header that a connection begins with, and not a byte more.
///
/// # Errors
/// [`NotAnnounced`] where there is none.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Announced, NotAnnounced> {
    let mut beginning = [0; BEGINNING];
    stream.read_exact(&mut beginning).await?;
    match version(&beginning)? {
        Version::One => {
            let mut line = beginning.to_vec();
            while !line.ends_with(b"\r\n") {
                if line.len() == V1_MAX {
                    return Err(NoHeader.into());
                }
                line.push(stream.read_u8().await?);
            }
            Ok(read_v1(&line)?)
        }
        Version::Two => {
            let mut head = [0; V2_HEAD];
            let (first, last) = head.split_at_mut(BEGINNING);
            first.copy_from_slice(&beginning);
            stream.read_exact(last).await?;
            let mut rest = vec![0; v2_rest(&head)?];
            stream.read_exact(&mut rest).await?;
            Ok(read_v2(&head, &rest)?)
        }
    }
}
