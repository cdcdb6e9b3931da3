//! A text that somebody else owns.

use std::{slice, str};

/// Borrowed UTF-8: where it begins, and how many bytes it has. One without bytes may begin anywhere, null included.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    data: *const u8,
    len: usize,
}

impl Text {
    /// Of a text that outlives it: it has no lifetime that the compiler could check.
    pub fn of(text: &str) -> Self {
        Self { data: text.as_ptr(), len: text.len() }
    }

    /// Of bytes that may be no text, for tests of what is made of them.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// Of nothing at all.
    pub fn none() -> Self {
        Self { data: std::ptr::null(), len: 0 }
    }

    /// `None`: it is no UTF-8, or it cannot be in memory.
    ///
    /// # Safety
    /// It points to so many bytes, and nobody changes them for as long as `'a`.
    pub unsafe fn read<'a>(self) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.data.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: it is not null, not longer than any value, and the caller promises the rest.
        let bytes = unsafe { slice::from_raw_parts(self.data, self.len) };
        str::from_utf8(bytes).ok()
    }
}
