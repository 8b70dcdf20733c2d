//! Error numbers by name, as `errno(3)` lists them for Linux.

/// The largest errno the kernel returns (`MAX_ERRNO` of `include/linux/err.h`).
pub const MAX: u32 = 4095;

/// Those that connections and look-ups end with.
pub const COMMON: [&str; 10] = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ECONNABORTED",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EADDRNOTAVAIL",
    "EACCES",
    "EPERM",
    "EPIPE",
];

macro_rules! table {
    ($($name:ident)*) => {
        /// Number and name. The numbers are the target's.
        const TABLE: &[(i32, &str)] = &[$((libc::$name, stringify!($name)),)*];
    };
}

table! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
    EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT
    EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA
    ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW
    ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS
    ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED
    ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
    EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE
    ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL
}

/// Second names of the same numbers.
const ALIASES: [(&str, i32); 3] = [
    ("EWOULDBLOCK", libc::EWOULDBLOCK),
    ("EDEADLOCK", libc::EDEADLOCK),
    ("ENOTSUP", libc::ENOTSUP),
];

/// The name of a number.
#[must_use]
pub fn name(errno: u32) -> Option<&'static str> {
    // Most flows have none: the table is not searched for that.
    let errno = i32::try_from(errno).ok().filter(|errno| *errno != 0)?;
    TABLE
        .iter()
        .find(|(number, _)| *number == errno)
        .map(|(_, name)| *name)
}

/// The number of a name, whatever its case.
#[must_use]
pub fn by_name(name: &str) -> Option<u32> {
    let aliases = ALIASES.iter().map(|(name, number)| (*number, *name));
    let mut all = TABLE.iter().copied().chain(aliases);
    let (number, _) = all.find(|(_, known)| known.eq_ignore_ascii_case(name))?;
    u32::try_from(number).ok()
}
