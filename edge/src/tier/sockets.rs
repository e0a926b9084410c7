//! Connections to a node that carry what passes the cache by. They are Pingora's; a node that gives no sign of life is cut
//! off on them, too.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The connections to one node.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Vec<Weak<Socket>>>);

/// A hold on a connection. It is open until this is dropped, too.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Sockets {
    /// Keeps hold of a connection that was made.
    ///
    /// # Errors
    /// Those of the system: there are too many open files.
    pub(crate) fn hold(&self, connection: &impl AsFd) -> io::Result<Arc<Socket>> {
        let held = connection.as_fd().try_clone_to_owned()?;
        let socket = Arc::new(Socket(held.into()));
        let mut all = self.0.lock();
        all.retain(|socket| socket.strong_count() > 0);
        all.push(Arc::downgrade(&socket));
        Ok(socket)
    }

    /// Ends all connections, with what waits on them.
    pub(super) fn cut(&self) {
        for socket in self.0.lock().drain(..) {
            if let Some(socket) = socket.upgrade() {
                // It fails where the other end has closed it already.
                drop(socket.0.shutdown(Shutdown::Both));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read as _;
    use std::net::TcpListener;

    #[test]
    fn who_is_cut_off_is_cut_off_on_what_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = Sockets::default();
        let mut one = TcpStream::connect(address).unwrap();
        let held = sockets.hold(&one).unwrap();
        let other = TcpStream::connect(address).unwrap();
        drop(sockets.hold(&other).unwrap());
        let third = TcpStream::connect(address).unwrap();
        let _also = sockets.hold(&third).unwrap();
        assert_eq!(sockets.0.lock().len(), 2, "what has ended is not held");
        sockets.cut();
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        drop(held);
        assert_eq!(sockets.0.lock().len(), 0);
    }
}
