//! Unix sockets at paths of any length. The kernel allows 107 bytes for an address, and a state directory may be longer
//! than that; so the directory is opened, and the socket is named through the descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The longest path that is an address by itself, in bytes.
const LONGEST: usize = 107;

/// Listens at a path where nothing is yet.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    at(path, |address| UnixListener::bind(address))
}

/// Connects to whoever listens at a path.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    at(path, |address| UnixStream::connect(address))
}

fn at<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return act(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Open until `act` has returned: the address leads through it.
    let directory = File::open(directory)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_long_path_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        for depth in [1, 40] {
            let deep = dir.path().join("deep/".repeat(depth));
            std::fs::create_dir_all(&deep).unwrap();
            let path = deep.join("agent.sock");
            let listener = listen(&path).unwrap();
            let mut client = connect(&path).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"x").unwrap();
            drop(client);
            let mut got = String::new();
            server.read_to_string(&mut got).unwrap();
            assert_eq!(got, "x");
        }
    }
}
