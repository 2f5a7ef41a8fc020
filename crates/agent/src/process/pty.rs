//! A pseudo-terminal for a process, where a job wants one: programs that show colours or progress only to people do so.
//! What they write is copied into the log's pipe; both streams are one then, as on a terminal.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

/// As the reference's, so that what is made for it looks the same.
const SIZE: Winsize = Winsize { ws_row: 100, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };

/// The copying, until every process that has the terminal has closed it.
#[derive(Debug)]
pub(crate) struct Copy(oneshot::Receiver<()>);

/// Opens a terminal: its end for the process, and the copying of what is written to it.
pub(crate) fn open(log: OwnedFd) -> io::Result<(OwnedFd, Copy)> {
    let pair = openpty(Some(&SIZE), None)?;
    for end in [&pair.master, &pair.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let mut modes = tcgetattr(&pair.slave)?;
    // A line ends as it does in a pipe.
    modes.output_flags.remove(OutputFlags::ONLCR);
    tcsetattr(pair.slave.as_fd(), SetArg::TCSANOW, &modes)?;
    let (mut from, mut to) = (File::from(pair.master), File::from(log));
    let (tell, told) = oneshot::channel();
    // A thread of its own: it ends when the last process of the job that has the terminal does, and may block until then.
    std::thread::Builder::new().name("pty".to_owned()).spawn(move || {
        let mut buffer = [0; 16 * 1024];
        // The kernel says EIO when nobody has the other end any more.
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = tell.send(());
    })?;
    Ok((pair.slave, Copy(told)))
}

impl Copy {
    /// Waits until everything is copied, but not longer than this: something may be left running.
    pub(crate) async fn ends(self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.0).await;
    }
}
