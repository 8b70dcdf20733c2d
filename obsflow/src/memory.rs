//! `memcpy` and `memmove` for the static binary.
//!
//! musl's x86-64 versions move what is left over byte by byte with string instructions, which cost a few cycles each to
//! begin with: a third of the time of a replay went there, nearly all of it in copies of a few bytes, of which text output
//! is made. These move up to 16 bytes in two overlapping pieces and longer ones in pieces of 16 bytes; the rest of very
//! long ones is left to `rep movsb`, which is at its best there. On other targets the C library's own are good.

use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// From here on the processor's own copying loop is faster.
const LONG: usize = 2048;

/// A value from an address of any alignment.
///
/// # Safety
/// `from` must be valid for reads of a `T`, which must be a plain integer.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8) -> T {
    // SAFETY: the caller's.
    unsafe { from.cast::<T>().read_unaligned() }
}

/// A value to an address of any alignment.
///
/// # Safety
/// `to` must be valid for writes of a `T`.
#[inline(always)]
unsafe fn store<T: Copy>(to: *mut u8, value: T) {
    // SAFETY: the caller's.
    unsafe { to.cast::<T>().write_unaligned(value) }
}

/// # Safety
/// `from` must be valid for reads of 16 bytes.
#[inline(always)]
unsafe fn load16(from: *const u8) -> __m128i {
    // SAFETY: the caller's; SSE2 is part of x86-64.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// # Safety
/// `to` must be valid for writes of 16 bytes.
#[inline(always)]
unsafe fn store16(to: *mut u8, value: __m128i) {
    // SAFETY: the caller's; SSE2 is part of x86-64.
    unsafe { _mm_storeu_si128(to.cast(), value) }
}

/// The number itself. The compiler must not know: it would see what the loops do and call `memcpy` for it.
#[inline(always)]
fn opaque(mut number: usize) -> usize {
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags))
    };
    number
}

/// Copies at most 32 bytes, which may overlap: everything is read before anything is written.
///
/// # Safety
/// Both must be valid for `count` bytes, which must be 32 or fewer.
#[inline(always)]
unsafe fn short(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: every piece begins at 0 or ends at `count`, and is not longer than `count`.
    unsafe {
        if count > 16 {
            let (first, last) = (load16(from), load16(from.add(count - 16)));
            store16(to, first);
            store16(to.add(count - 16), last);
        } else if count >= 8 {
            let (first, last) = (load::<u64>(from), load::<u64>(from.add(count - 8)));
            store(to, first);
            store(to.add(count - 8), last);
        } else if count >= 4 {
            let (first, last) = (load::<u32>(from), load::<u32>(from.add(count - 4)));
            store(to, first);
            store(to.add(count - 4), last);
        } else if count > 0 {
            let (first, middle, last) = (*from, *from.add(count / 2), *from.add(count - 1));
            *to = first;
            *to.add(count / 2) = middle;
            *to.add(count - 1) = last;
        }
    }
}

/// Copies from the first byte to the last: for areas that do not overlap, or `to` before `from`.
///
/// # Safety
/// Both must be valid for `count` bytes; what is written must not be read afterwards in this order.
#[inline(always)]
unsafe fn forward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's; `at` stays at 16 bytes or more before the end.
    unsafe {
        if count <= 32 {
            return short(to, from, count);
        }
        if count >= LONG {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") count => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
            return;
        }
        // Read first: the loop below may write over it when the areas overlap.
        let last = load16(from.add(count - 16));
        let mut at = 0;
        while at < count - 16 {
            store16(to.add(at), load16(from.add(at)));
            at = opaque(at + 16);
        }
        store16(to.add(count - 16), last);
    }
}

/// Copies from the last byte to the first: for areas that overlap with `to` behind `from`.
///
/// # Safety
/// Both must be valid for `count` bytes.
#[inline(always)]
unsafe fn backward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller's; `left` stays at more than 16 bytes inside the loop.
    unsafe {
        if count <= 32 {
            return short(to, from, count);
        }
        let first = load16(from);
        let mut left = count;
        while left > 16 {
            left = opaque(left - 16);
            store16(to.add(left), load16(from.add(left)));
        }
        store16(to, first);
    }
}

/// The C library's `memcpy`.
///
/// # Safety
/// As in C: both valid for `count` bytes and apart from each other.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { forward(to, from, count) };
    to
}

/// The C library's `memmove`.
///
/// # Safety
/// As in C: both valid for `count` bytes.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's; the direction is the one in which nothing is read after it was written.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= count {
            forward(to, from, count);
        } else {
            backward(to, from, count);
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 5000;

    fn pattern() -> Vec<u8> {
        (0..ROOM).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn lengths() -> impl Iterator<Item = usize> {
        (0..300).chain([511, 512, 1000, LONG - 1, LONG, LONG + 1, 4000])
    }

    #[test]
    fn copies_are_exact_and_touch_nothing_else() {
        let from = pattern();
        for count in lengths() {
            for shift in [0, 1, 7, 15] {
                let mut to = vec![0xaa; ROOM];
                // SAFETY: both have room for it.
                unsafe { memcpy(to.as_mut_ptr().add(shift), from.as_ptr().add(3), count) };
                assert_eq!(to[shift..shift + count], from[3..3 + count], "{count} bytes");
                assert!(to[..shift].iter().chain(&to[shift + count..]).all(|b| *b == 0xaa));
            }
        }
    }

    #[test]
    fn overlapping_areas_move_whole() {
        for count in lengths() {
            for distance in [0usize, 1, 3, 8, 15, 16, 17, 31, 33, 100] {
                for (from, to) in [(distance, 0), (0, distance)] {
                    let mut area = pattern();
                    let mut expected = area.clone();
                    expected.copy_within(from..from + count, to);
                    let start = area.as_mut_ptr();
                    // SAFETY: both ends lie inside.
                    unsafe { memmove(start.add(to), start.add(from), count) };
                    assert!(area == expected, "{count} bytes from {from} to {to}");
                }
            }
        }
    }
}
