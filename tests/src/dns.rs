//! A name server whose answers a test changes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is known of names.
type Zone = Arc<Mutex<HashMap<String, Entry>>>;

/// What is known of one, and for how many seconds it is good.
#[derive(Clone, Debug, Default)]
struct Entry {
    addresses: Vec<IpAddr>,
    servers: Vec<Vec<u8>>,
    ttl: u32,
}

/// A running name server. It ends when it is dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Zone,
    running: JoinHandle<()>,
}

impl Dns {
    /// Starts a server that knows no name.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let zone = Zone::default();
        let running = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            running,
        }
    }

    /// The value for `resolvers` in a configuration.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on, `name` has these addresses.
    pub fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
        self.insert(
            name,
            Entry {
                addresses: addresses.collect(),
                servers: Vec::new(),
                ttl,
            },
        );
    }

    /// From now on, `name` has these SRV records (RFC 2782): priority, weight, port, target.
    pub fn set_servers(&self, name: &str, servers: &[(u16, u16, u16, &str)], ttl: u32) {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let mut record: Vec<u8> = [priority, weight, port]
                .into_iter()
                .flat_map(|number| number.to_be_bytes())
                .collect();
            for label in target.split('.') {
                record.push(u8::try_from(label.len()).expect("a short label"));
                record.extend(label.bytes());
            }
            record.push(0);
            record
        };
        self.insert(
            name,
            Entry {
                addresses: Vec::new(),
                servers: servers.iter().map(record).collect(),
                ttl,
            },
        );
    }

    fn insert(&self, name: &str, entry: Entry) {
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.insert(name.to_owned(), entry);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Zone) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..length], &zone) {
            drop(socket.send_to(&answer, from).await);
        }
    }
}

/// The answer to a question for one name (RFC 1035 §4.1).
fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (name, end) = name(question, 12)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let known = zone.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get(&name).cloned();
    let status = if known.is_some() { 0 } else { 3 };
    let Entry {
        addresses,
        servers,
        ttl,
    } = known.unwrap_or_default();
    let addresses = addresses
        .into_iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        });
    let servers = servers.into_iter().filter(|_| kind == 33);
    let wanted: Vec<Vec<u8>> = addresses.chain(servers).collect();
    let count = u16::try_from(wanted.len()).ok()?;
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x84, status, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question.get(12..end + 4)?);
    for data in wanted {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}
