//! A DNS server that knows the parents of the lab: SRV records that change, and the addresses of their targets.

use std::sync::Arc;
use std::sync::Mutex;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::lab::{HERE, parent_address};

const A: u16 = 1;
const SRV: u16 = 33;

/// Which parents the SRV records name, with their weights, and where the moving name is.
type Known = Arc<Mutex<(Vec<(usize, u16)>, usize)>>;

pub(crate) struct Dns {
    known: Known,
    running: JoinHandle<()>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind((HERE, 53)).await.expect("an address");
        let known = Known::default();
        let shared = Arc::clone(&known);
        let running = tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let known = shared.lock().expect("nobody panics").clone();
                if let Some(answer) = answer(&buffer[..length], &known) {
                    drop(socket.send_to(&answer, from).await);
                }
            }
        });
        Self { known, running }
    }

    /// Tells of these parents from now on.
    pub(crate) fn tell(&self, parents: &[(usize, u16)]) {
        self.known.lock().expect("nobody panics").0 = parents.to_vec();
    }

    /// Has `moving.parents.lab` at the address of this parent from now on.
    pub(crate) fn move_to(&self, parent: usize) {
        self.known.lock().expect("nobody panics").1 = parent;
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The answer to a question (RFC 1035 §4): its records live for a second.
fn answer(query: &[u8], (known, moving): &(Vec<(usize, u16)>, usize)) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let mut labels = Vec::new();
    let mut at = 0;
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            break;
        }
        let label = question.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let question = question.get(..at + 5)?;
    let name = labels.join(".");
    let records: Vec<Vec<u8>> = match kind {
        SRV if name == "_larder._tcp.parents.lab" => {
            known.iter().map(|known| srv(*known)).collect()
        }
        A if name == "moving.parents.lab" => vec![parent_address(*moving).octets().to_vec()],
        A => {
            let number = name
                .strip_suffix(".parents.lab")?
                .strip_prefix("parent")?
                .parse()
                .ok()?;
            vec![parent_address(number).octets().to_vec()]
        }
        _ => Vec::new(),
    };
    let mut message = query.get(..2)?.to_vec();
    message.extend([
        0x84,
        0x00,
        0,
        1,
        0,
        u8::try_from(records.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    message.extend(question);
    for record in records {
        message.extend([0xc0, 12]); // the name of the question
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 1]);
        message.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        message.extend(record);
    }
    Some(message)
}

fn srv((parent, weight): (usize, u16)) -> Vec<u8> {
    let mut record = vec![0, 1];
    record.extend(weight.to_be_bytes());
    record.extend(8080_u16.to_be_bytes());
    for label in [&format!("parent{parent}"), "parents", "lab"] {
        record.push(u8::try_from(label.len()).expect("a short label"));
        record.extend(label.bytes());
    }
    record.push(0);
    record
}
