//! A connect that never enters `connect(2)`.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::net::addr::SocketAddrArg;

use crate::connect::{Ended, open};

pub(crate) fn connect(remote: SocketAddr, deadline: Option<Duration>) -> Result<Ended> {
    let socket = open(remote, SocketFlags::empty())?;
    let mut ring = IoUring::new(2).context("this kernel has no io_uring")?;
    let mut timespec = types::Timespec::new();
    if let Some(deadline) = deadline {
        timespec = timespec.sec(deadline.as_secs()).nsec(deadline.subsec_nanos());
    }
    let result = remote.as_any();
    // SAFETY: the address outlives the operation, whose completion is waited for below.
    let entry = unsafe {
        result.with_sockaddr(|pointer, length| {
            opcode::Connect::new(types::Fd(socket.as_raw_fd()), pointer.cast(), length)
                .build()
                .user_data(1)
        })
    };
    let entry = if deadline.is_some() {
        entry.flags(io_uring::squeue::Flags::IO_LINK)
    } else {
        entry
    };
    // SAFETY: socket, address and time-out live until the completions are in.
    unsafe { ring.submission().push(&entry) }.context("the ring is full")?;
    let mut expected = 1;
    if deadline.is_some() {
        let timeout = opcode::LinkTimeout::new(&raw const timespec).build().user_data(2);
        // SAFETY: as above.
        unsafe { ring.submission().push(&timeout) }.context("the ring is full")?;
        expected = 2;
    }
    ring.submit_and_wait(expected)?;
    let completion = ring
        .completion()
        .find(|entry| entry.user_data() == 1)
        .context("no completion of the connect")?;
    Ok(match -completion.result() {
        0 => Ended::Established(socket),
        libc::ECANCELED | libc::EINTR => Ended::Deadline,
        errno => Ended::Failed(Errno::from_raw_os_error(errno)),
    })
}
