//! An answer as it comes in: where it ends, and whether it was a success.

use std::io;

/// The longest head.
const HEAD_MAX: usize = 16 << 10;

/// One answer of HTTP/1.1, with a length that its head says.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    /// Bytes of the body that are to come, once the head was there.
    left: Option<u64>,
    /// Bytes of the whole body.
    pub(crate) length: u64,
}

impl Answer {
    /// Takes what was read. True at the end of the answer.
    ///
    /// # Errors
    /// Where it is no success, says no length, or is followed by what nobody asked for.
    pub(crate) fn take(&mut self, data: &[u8]) -> io::Result<bool> {
        let body = match self.left {
            Some(_) => data.len(),
            None => {
                let begin = self.head.len().saturating_sub(3);
                self.head.extend_from_slice(data);
                let end = self.head[begin..].windows(4);
                let Some(end) = end.clone().position(|bytes| bytes == b"\r\n\r\n") else {
                    return match self.head.len() > HEAD_MAX {
                        true => Err(wrong(&self.head)),
                        false => Ok(false),
                    };
                };
                let end = begin + end + 4;
                self.length = length(&self.head[..end]).ok_or_else(|| wrong(&self.head))?;
                self.left = Some(self.length);
                let body = self.head.len() - end;
                self.head.clear();
                body
            }
        };
        let left = self.left.unwrap_or_default();
        let left = left.checked_sub(body as u64);
        let left = left.ok_or_else(|| io::Error::other("more than the answer"))?;
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

/// `Content-Length` of a 200.
fn length(head: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    if lines.next()?.split(' ').nth(1)? != "200" {
        return None;
    }
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value?.trim().parse().ok()
}

fn wrong(head: &[u8]) -> io::Error {
    let line = head.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    io::Error::other(format!("not an answer with a length: {line}"))
}
