//! What the kernel counts about a loaded program: run time, calls, and calls it skipped.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

/// Numbers of one program, since it was loaded (run time: while statistics were on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nanoseconds spent in the program.
    pub run_time_ns: u64,
    /// Calls.
    pub calls: u64,
    /// Calls skipped because the program was running on that CPU already (Linux 5.12).
    pub recursion_misses: u64,
}

/// `BPF_OBJ_GET_INFO_BY_FD` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// `struct bpf_prog_info` up to `recursion_misses`, in 64-bit words.
const WORDS: usize = 32;
/// Byte offsets in `struct bpf_prog_info`: a stable kernel interface.
const RUN_TIME: usize = 192;
const RUN_COUNT: usize = 200;
const RECURSION: usize = 208;

/// Reads the numbers of a program.
///
/// # Errors
/// When the kernel refuses.
pub fn cost(program: impl AsFd) -> std::io::Result<Cost> {
    fn ask(program: BorrowedFd<'_>) -> std::io::Result<Cost> {
        #[repr(C)]
        struct Attributes {
            fd: u32,
            len: u32,
            info: u64,
            rest: [u64; 14],
        }
        let mut info = [0u64; WORDS];
        let mut attributes = Attributes {
            fd: program.as_raw_fd().unsigned_abs(),
            len: size_of_val(&info) as u32,
            info: info.as_mut_ptr() as u64,
            rest: [0; 14],
        };
        // SAFETY: both buffers outlive the call and their sizes are passed along.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                OBJ_GET_INFO_BY_FD,
                &raw mut attributes,
                size_of::<Attributes>() as libc::c_long,
            )
        };
        if ret != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let word = |offset: usize| info.get(offset / 8).copied().unwrap_or(0);
        Ok(Cost {
            run_time_ns: word(RUN_TIME),
            calls: word(RUN_COUNT),
            recursion_misses: word(RECURSION),
        })
    }
    ask(program.as_fd())
}
