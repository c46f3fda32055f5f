//! Listening Unix sockets: the socket file from bind to removal, and who is at the other end of a
//! connection.
//!
//! A socket file outlives its socket (unix(7)), so a file that is there may be one that nobody
//! listens on. Such a file is replaced, and nothing else ever is. What tells the two apart is a
//! connect of another socket type: Linux refuses it with EPROTOTYPE where a socket is bound to the
//! file, whether or not it listens, and with ECONNREFUSED where none is (`unix_find_bsd`). It makes
//! no connection, so nobody is disturbed.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UnixListener;
use mio::{Interest, Registry, Token};
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use nix::sys::socket::{getsockopt, sockopt};
use rustix::fs::{Access, FlockOperation, flock};
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::accept_error::classify;
use crate::address::Peer;
use crate::limits::UNIX_PATH_LEN_MAX;
use crate::server::AcceptError;

/// Longest wait for another process that opens or removes a socket in the same folder.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Time between two tries to lock a folder.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// A listening Unix stream socket. Dropping it removes its file, unless that has been replaced.
#[derive(Debug)]
pub struct UnixAcceptor {
    /// Dropped before the listener: a file without a socket may be replaced by another process, whose
    /// file it then is.
    /// `None` where the socket was passed to this process: its file is somebody else's.
    #[cfg_attr(not(feature = "systemd"), expect(dead_code, reason = "its drop removes the file"))]
    file: Option<SocketFile>,
    listener: UnixListener,
    /// Connection errors since the last accepted connection.
    retries: u32,
}

/// The file of a bound socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl UnixAcceptor {
    /// Binds and listens on `path`, with the longest backlog the system allows.
    ///
    /// To connect, a process needs the right to write to the file, which has the permissions `mode`
    /// (chmod(2)); without one, the process's umask decides, as for every file: 0755 under the usual
    /// 022, so the server's own user alone may connect. At no moment has it more permissions than
    /// that.
    ///
    /// A socket file that nobody listens on is replaced. Two processes that replace one do it in
    /// turns, so the second finds the first.
    ///
    /// ```
    /// use mynah::{EventLoop, Limits, ListenerConfig, RawProtocol, UnixAcceptor};
    ///
    /// # let folder = std::env::temp_dir();
    /// # let path = folder.join(format!("mynah-doc-{}.sock", std::process::id()));
    /// let mut event_loop = EventLoop::new(Limits::default())?;
    /// let acceptor = UnixAcceptor::bind(&path, Some(0o660))?;
    /// let name = format!("raw+unix://{}", path.display());
    /// let protocol = RawProtocol { prefix: Vec::new() }.into();
    /// event_loop.add_listener(acceptor, ListenerConfig { name, protocol, idle_ms: 0 })?;
    /// drop(event_loop);
    /// assert!(!path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another process has a socket there, [`ErrorKind::AlreadyExists`]
    /// if what is there is not a socket, [`ErrorKind::InvalidInput`] for a path that is too long,
    /// and those of the file system.
    pub fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let address = address(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(mode) = mode {
            limit_mode(&socket, mode)?;
        }
        // Held until it is bound: a rival sees either the stale file or a socket in use.
        let lock = lock_folder(path);
        if find(path)? == Found::Stale {
            // Without the lock, it could be a rival's by now.
            lock.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
            fs::remove_file(path)?;
        }
        socket.bind(&address)?;
        let file = SocketFile::new(path, mode)?;
        // The kernel lowers it to net.core.somaxconn (listen(2)).
        socket.listen(i32::MAX)?;
        Ok(UnixAcceptor::new(Some(file), socket))
    }

    fn new(file: Option<SocketFile>, socket: Socket) -> Self {
        UnixAcceptor { file, listener: UnixListener::from_std(socket.into()), retries: 0 }
    }

    /// A socket that listens already and does not block. Its file is not removed.
    #[cfg(feature = "systemd")]
    pub(super) fn adopt(socket: Socket) -> Self {
        UnixAcceptor::new(None, socket)
    }

    /// Whether the socket was passed to this process, see [`SocketAcceptor::adopt`](super::SocketAcceptor::adopt).
    #[must_use]
    #[cfg(feature = "systemd")]
    pub fn is_passed(&self) -> bool {
        self.file.is_none()
    }

    /// The path it is bound to; `None` for an abstract name.
    #[must_use]
    #[cfg(feature = "systemd")]
    pub fn path(&self) -> Option<PathBuf> {
        SockRef::from(&self.listener).local_addr().ok()?.as_pathname().map(Path::to_owned)
    }

    /// Whether `path` can be bound now. Nothing is changed, and nobody is connected to.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind), as far as it can be told.
    pub fn check(path: &Path) -> io::Result<()> {
        address(path)?;
        rustix::fs::access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK)?;
        find(path).map(drop)
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }

    #[cfg(feature = "systemd")]
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.listener)
    }

    pub(super) fn accept(&mut self) -> Result<(OwnedFd, Peer), AcceptError> {
        let accepted = self.listener.accept().and_then(|(stream, _)| {
            let peer = peer(&stream)?;
            Ok((stream.into(), peer))
        });
        match accepted {
            Ok(accepted) => {
                self.retries = 0;
                Ok(accepted)
            }
            Err(error) => Err(classify(error, &mut self.retries)),
        }
    }
}

impl SocketFile {
    /// The file that bind(2) has just made at `path`, with the permissions `mode`. A file that has
    /// taken its place in between, or a link, is not touched.
    #[cfg(target_os = "linux")]
    fn new(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let found = opened.metadata()?;
        if !found.file_type().is_socket() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let file = SocketFile { path: path.to_owned(), id: id(&found) };
        // The umask took some of them away.
        if let Some(mode) = mode.filter(|mode| found.mode() & 0o777 != *mode) {
            // Such a descriptor takes no fchmod(2) itself (open(2): `O_PATH`).
            let opened = format!("/proc/self/fd/{}", opened.as_raw_fd());
            fs::set_permissions(opened, fs::Permissions::from_mode(mode))?;
        }
        Ok(file)
    }

    /// The file that bind(2) has just made at `path`, with the permissions `mode`.
    #[cfg(not(target_os = "linux"))]
    fn new(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let file = SocketFile { path: path.to_owned(), id: id(&fs::symlink_metadata(path)?) };
        if let Some(mode) = mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| id(&found) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The file at a path where a socket is to be bound.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A socket file without a socket.
    Stale,
}

/// Looks at `path`, and follows no symbolic link there.
fn find(path: &Path) -> io::Result<Found> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let message = format!("{} is in the way, and is not removed", kind(&found));
        return Err(io::Error::new(ErrorKind::AlreadyExists, message));
    }
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    match probe.connect(&address(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Found::Stale),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        // EPROTOTYPE, or a datagram socket that is connected to.
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}

fn kind(found: &Metadata) -> &'static str {
    let file_type = found.file_type();
    match () {
        () if file_type.is_file() => "a regular file",
        () if file_type.is_dir() => "a folder",
        () if file_type.is_symlink() => "a symbolic link",
        () if file_type.is_fifo() => "a FIFO",
        () => "a device",
    }
}

fn address(path: &Path) -> io::Result<SockAddr> {
    if path.as_os_str().len() > UNIX_PATH_LEN_MAX {
        let message = format!("the path is longer than {UNIX_PATH_LEN_MAX} bytes");
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    // An empty path would be a name that the kernel picks, and a NUL begins an abstract one.
    if path.as_os_str().is_empty() || path.as_os_str().as_bytes().contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path is not the path of a file"));
    }
    SockAddr::unix(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Locks the folder of `path` against other processes that open sockets in it this way.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(folder_of(path))?;
    let give_up_at = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= give_up_at {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                "another process has its folder locked",
            ));
        }
        thread::sleep(LOCK_INTERVAL);
    }
}

/// Has bind(2) make a file with no more permissions than `mode`: Linux takes the socket's own, less
/// the umask (`unix_bind_bsd`).
#[cfg(target_os = "linux")]
fn limit_mode(socket: &Socket, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(socket, Mode::from_raw_mode(mode))?)
}

/// Other systems have no such way. Nobody can connect before listen(2), by which time the file has
/// its mode.
#[cfg(not(target_os = "linux"))]
fn limit_mode(_: &Socket, _: u32) -> io::Result<()> {
    Ok(())
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether `socket` is a Unix socket.
pub(super) fn is_unix(socket: &OwnedFd) -> bool {
    SockRef::from(socket).local_addr().is_ok_and(|local| local.is_unix())
}

/// The process at the other end of a connection when it connected. Of a process in another pid
/// namespace, the kernel says 0.
#[cfg(target_os = "linux")]
pub(super) fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
    Ok(Peer::Unix { uid: credentials.uid(), pid: credentials.pid() })
}

/// The process at the other end of a connection when it connected.
#[cfg(target_vendor = "apple")]
pub(super) fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let uid = getsockopt(socket, sockopt::LocalPeerCred)?.uid();
    Ok(Peer::Unix { uid, pid: getsockopt(socket, sockopt::LocalPeerPid)? })
}

/// The process at the other end of a connection, which this system does not tell.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn peer(_: &impl AsFd) -> io::Result<Peer> {
    Ok(Peer::Unix { uid: u32::MAX, pid: 0 })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net as std_unix;
    use std::sync::Barrier;

    use super::*;

    /// A folder of a test's own, removed with all in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder =
                std::env::temp_dir().join(format!("mynah-u-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// A socket file that nobody listens on.
        fn stale(&self, name: &str) -> PathBuf {
            let path = self.path(name);
            let mode = rustix::fs::Mode::from_raw_mode(0o700);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Socket, mode, 0)
                .unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn error_kind(path: &Path) -> ErrorKind {
        let checked = UnixAcceptor::check(path).unwrap_err().kind();
        let bound = UnixAcceptor::bind(path, None).unwrap_err().kind();
        assert_eq!(checked, bound, "{}", path.display());
        bound
    }

    #[test]
    fn stale_socket_is_replaced_by_one_of_many() {
        let folder = Folder::new("race");
        for round in 0..20 {
            let path = folder.stale(&format!("{round}.sock"));
            let barrier = Barrier::new(4);
            let bind = || {
                barrier.wait();
                UnixAcceptor::bind(&path, None)
            };
            let bound: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
            for error in bound.iter().filter_map(|bound| bound.as_ref().err()) {
                assert_eq!(error.kind(), ErrorKind::AddrInUse);
            }
            std_unix::UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn socket_that_is_bound_and_does_not_listen_is_live() {
        let folder = Folder::new("bound");
        let path = folder.path("s");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(error_kind(&path), ErrorKind::AddrInUse);
        drop(socket);
        UnixAcceptor::check(&path).unwrap();
    }

    #[test]
    fn datagram_socket_is_live() {
        let folder = Folder::new("dgram");
        let path = folder.path("s");
        let _socket = std_unix::UnixDatagram::bind(&path).unwrap();
        assert_eq!(error_kind(&path), ErrorKind::AddrInUse);
    }

    #[test]
    fn file_that_has_been_replaced_is_not_removed() {
        let folder = Folder::new("other");
        let path = folder.path("s");
        let acceptor = UnixAcceptor::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = std_unix::UnixListener::bind(&path).unwrap();
        drop(acceptor);
        std_unix::UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn mode_does_not_depend_on_the_umask() {
        let folder = Folder::new("mode");
        for mode in [0o777, 0o666, 0o660, 0o600, 0o000] {
            let path = folder.path(&format!("{mode:o}"));
            let _acceptor = UnixAcceptor::bind(&path, Some(mode)).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_is_never_wider_than_its_mode() {
        let folder = Folder::new("narrow");
        let path = folder.path("s");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        limit_mode(&socket, 0o600).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o177, 0);
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let folder = Folder::new("files");
        let (file, link) = (folder.path("file"), folder.path("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let stale_link = folder.path("stale-link");
        std::os::unix::fs::symlink(folder.stale("stale"), &stale_link).unwrap();
        let dangling = folder.path("dangling");
        std::os::unix::fs::symlink("no-such", &dangling).unwrap();
        for path in [&file, &link, &stale_link, &dangling, &folder.0] {
            assert_eq!(error_kind(path), ErrorKind::AlreadyExists);
            assert!(fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(fs::read(&file).unwrap(), b"text");
        assert!(fs::symlink_metadata(folder.path("stale")).is_ok());
    }

    #[test]
    fn path_has_at_most_107_bytes() {
        let folder = Folder::new("long");
        let left = UNIX_PATH_LEN_MAX - folder.0.as_os_str().len() - 1;
        let longest = folder.path(&"x".repeat(left));
        UnixAcceptor::check(&longest).unwrap();
        UnixAcceptor::bind(&longest, None).unwrap();
        assert_eq!(error_kind(&folder.path(&"x".repeat(left + 1))), ErrorKind::InvalidInput);
        #[cfg(target_os = "linux")]
        assert_eq!(UNIX_PATH_LEN_MAX, 107);
    }

    #[test]
    fn missing_folder_is_an_error() {
        let folder = Folder::new("none");
        assert_eq!(error_kind(&folder.path("no/such/s")), ErrorKind::NotFound);
    }

    #[test]
    fn stale_socket_in_a_locked_folder_is_left_alone() {
        let folder = Folder::new("locked");
        let path = folder.path("s");
        let held = File::open(&folder.0).unwrap();
        folder.stale("s");
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = UnixAcceptor::bind(&path, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(fs::symlink_metadata(&path).is_ok());
        UnixAcceptor::bind(&folder.path("new"), None).unwrap();
    }
}
