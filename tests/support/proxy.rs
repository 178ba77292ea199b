//! A TCP proxy that cuts connections, for networks that fail.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// Passes bytes both ways until it is told to cut.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: Mutex<SocketAddr>,
    /// Shared because the accepting thread adds and the test's thread cuts.
    open: Mutex<Vec<TcpStream>>,
    refusing: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicUsize,
}

impl Proxy {
    /// Listens on a free port of the loopback address and forwards to `target`.
    pub fn start(target: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target: Mutex::new(target),
            open: Mutex::default(),
            refusing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
        });
        let shared = state.clone();
        std::thread::spawn(move || accept(&listener, &shared));
        Ok(Proxy { address, state })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Ends every open connection at once.
    pub fn cut(&self) {
        let mut open = self.state.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            // The peer may have been faster.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// New connections lead there; open ones stay.
    pub fn aim(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// While refusing, new connections are closed at once and open ones are cut.
    pub fn refuse(&self, refusing: bool) {
        self.state.refusing.store(refusing, Ordering::SeqCst);
        if refusing {
            self.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread, which then sees that it has ended.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for near in listener.incoming().map_while(std::io::Result::ok) {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        if state.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let target = *state.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(far) = TcpStream::connect(target) else { continue };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let mut open = state.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to) in [(&near, &far), (&far, &near)] {
            if let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) {
                open.push(kept);
                std::thread::spawn(move || copy(from, to));
            }
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    // Either side may be gone already.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
