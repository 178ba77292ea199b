//! A pseudo-terminal of our own with a stable link to it, and who has it open.
//!
//! We keep a slave descriptor open. It gives three things: the master never reads end-of-file, the bytes that a
//! reader has not taken can be counted (`FIONREAD`), and what a dead reader left behind can be thrown away as a
//! real UART would. Since it also keeps the kernel from telling us that the last reader closed, readers are seen
//! by watching the node's opens and closes (inotify), which lie in order and cannot be missed by looking too late.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Somebody else opened or closed the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderEvent {
    /// One more descriptor.
    Came,
    /// One less. A process that dies closes its descriptors too.
    Left,
}

/// The pseudo-terminal failed us.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No pseudo-terminal to be had, or no `/dev/pts`.
    #[error("cannot open a pseudo-terminal")]
    Open(#[source] io::Error),
    /// Opens and closes of it cannot be watched (inotify limits).
    #[error("cannot watch who opens {node:?}")]
    Watch {
        /// The node under `/dev/pts`.
        node: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that is no link stands at the path, or its folder cannot be written.
    #[error("cannot put a link at {link:?}")]
    Link {
        /// Where the user wants the port.
        link: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading, writing or asking the kernel failed in mid-run.
    #[error("cannot use the pseudo-terminal")]
    Use(#[source] io::Error),
}

/// A serial port as a device sees it: the far end of somebody's cable. Dropping it pulls the plug.
#[derive(Debug)]
pub struct Port {
    master: AsyncFd<OwnedFd>,
    slave: OwnedFd,
    opens: AsyncFd<OwnedFd>,
    node: PathBuf,
    link: PathBuf,
}

impl Port {
    /// Opens a pseudo-terminal in raw mode and puts a link to it at `link`, replacing a link that stands there.
    pub fn open(link: &Path) -> Result<Port, PortError> {
        let (master, slave, node) = open_pair().map_err(|errno| PortError::Open(errno.into()))?;
        let watch = |source: io::Error| PortError::Watch { node: node.clone(), source };
        let opens = watch_opens(&node).map_err(|errno| watch(errno.into()))?;
        let opens = watched(opens, Interest::READABLE).map_err(watch)?;
        let master = watched(master, Interest::READABLE | Interest::WRITABLE).map_err(PortError::Open)?;
        put_link(&node, link).map_err(|source| PortError::Link { link: link.to_owned(), source })?;
        Ok(Port { master, slave, opens, node, link: link.to_owned() })
    }

    /// Waits until somebody opens or closes the port. Cancel-safe: an event is taken only when it is returned.
    pub async fn reader_events(&self) -> Result<Vec<ReaderEvent>, PortError> {
        loop {
            let mut guard = self.opens.readable().await.map_err(PortError::Use)?;
            match guard.try_io(|opens| read_events(opens.get_ref())) {
                Ok(events) => return events.map_err(PortError::Use),
                Err(_would_block) => {}
            }
        }
    }

    /// The opens and closes that nobody has asked for yet.
    pub fn reader_events_so_far(&self) -> Result<Vec<ReaderEvent>, PortError> {
        match read_events(self.opens.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            events => events.map_err(PortError::Use),
        }
    }

    /// How many bytes lie before the reader. Bytes on their way through the kernel are not counted yet.
    pub fn unread(&self) -> Result<u64, PortError> {
        rustix::io::ioctl_fionread(&self.slave).map_err(|errno| PortError::Use(errno.into()))
    }

    /// Throws away what lies unread, as a UART does when nobody has it open, and lifts the exclusive claim that a
    /// dead reader may have left on the node.
    pub fn discard(&self) -> Result<(), PortError> {
        let discard = || {
            termios::tcflush(self.master.get_ref(), termios::QueueSelector::OFlush)?;
            termios::tcflush(&self.slave, termios::QueueSelector::IFlush)?;
            termios::ioctl_tiocnxcl(&self.slave)
        };
        discard().map_err(|errno| PortError::Use(errno.into()))
    }

    /// Writes all of `bytes` towards the reader. Not cancel-safe: what was written before stays written.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<(), PortError> {
        while !bytes.is_empty() {
            let mut guard = self.master.writable().await.map_err(PortError::Use)?;
            match guard.try_io(|master| Ok(rustix::io::write(master.get_ref(), bytes)?)) {
                Ok(written) => bytes = &bytes[written.map_err(PortError::Use)?..],
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// Takes what the other side sent and gives its length. Cancel-safe.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, PortError> {
        loop {
            let mut guard = self.master.readable().await.map_err(PortError::Use)?;
            match guard.try_io(|master| Ok(rustix::io::read(master.get_ref(), &mut *buffer)?)) {
                Ok(read) => return read.map_err(PortError::Use),
                Err(_would_block) => {}
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Only our own link goes: another run may have put its own there meanwhile.
        if std::fs::read_link(&self.link).is_ok_and(|target| target == self.node)
            && let Err(error) = std::fs::remove_file(&self.link)
        {
            tracing::warn!(link = %self.link.display(), %error, "Cannot remove the link.");
        }
    }
}

fn open_pair() -> Result<(OwnedFd, OwnedFd, PathBuf), Errno> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
    let name = ptsname(&master, Vec::new())?;
    let node = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
    let slave = rustix::fs::open(&node, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut mode = termios::tcgetattr(&slave)?;
    mode.make_raw();
    termios::tcsetattr(&slave, termios::OptionalActions::Now, &mode)?;
    Ok((master, slave, node))
}

#[allow(deprecated, reason = "its successor is unsafe for types that lie about their descriptor; an OwnedFd cannot")]
fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}

fn watch_opens(node: &Path) -> Result<OwnedFd, Errno> {
    let opens = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let flags = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE;
    inotify::add_watch(&opens, node, flags)?;
    Ok(opens)
}

/// Reads what is there; `WouldBlock` when that is nothing.
fn read_events(opens: &OwnedFd) -> io::Result<Vec<ReaderEvent>> {
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(opens, &mut buffer);
    let mut events = Vec::new();
    loop {
        let flags = reader.next()?.events();
        if flags.contains(inotify::ReadFlags::OPEN) {
            events.push(ReaderEvent::Came);
        } else if flags.intersects(inotify::ReadFlags::CLOSE_WRITE | inotify::ReadFlags::CLOSE_NOWRITE) {
            events.push(ReaderEvent::Left);
        }
        if reader.is_buffer_empty() {
            return Ok(events);
        }
    }
}

/// Puts the link in one step, so that nobody ever finds half of it.
fn put_link(node: &Path, link: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(link).is_ok_and(|found| !found.file_type().is_symlink()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no link stands there"));
    }
    let mut fresh = link.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    std::os::unix::fs::symlink(node, &fresh)?;
    std::fs::rename(&fresh, link)
}
