//! The diary of the fake provider: everything that it was asked to do, in a file, one line each.
//!
//! A line is there before anything is done, and doing all of them again makes the same books: what the diary says is what
//! happened. It outlives the process however that ends, and the machine only if the system had the time to write. Invariant:
//! one process has it open; a line that was not written to its end is no line, and nothing was done for it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::faults::Fault;
use super::wire::Request;
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::DeclineCode;

const FILE_MODE: u32 = 0o600;

/// Why a diary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiaryError {
    /// Whoever has it may give it up.
    #[error("another process has it open")]
    Taken,
    #[error("line {0} cannot be read")]
    Unreadable(u64),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Something that changes the books.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Call {
        request: Request,
        key: String,
        fault: Option<Fault>,
    },
    Paid {
        order: String,
        is_by_deposit: bool,
    },
    Refused {
        order: String,
        code: DeclineCode,
    },
    Deposited {
        order: String,
    },
    Disputed {
        order: String,
        amount: Option<Amount>,
    },
    Decided {
        dispute: String,
        status: DisputeStatus,
    },
    /// So many webhooks arrived, or were given up.
    Told {
        count: usize,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    /// Epoch milliseconds.
    pub(super) at: i64,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

pub(super) struct Diary {
    file: File,
    /// How long it is, whole lines only.
    bytes: u64,
}

impl Diary {
    /// Opens or makes the file, and reads what is there.
    pub(super) fn open(path: &Path, mut each: impl FnMut(Line)) -> Result<Self, DiaryError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DiaryError::Taken,
            TryLockError::Error(error) => error.into(),
        })?;
        let (mut bytes, mut count, mut text) = (0_u64, 0_u64, Vec::new());
        let mut reader = BufReader::new(&file);
        while reader.read_until(b'\n', &mut text)? > 0 && text.ends_with(b"\n") {
            count = count.saturating_add(1);
            let line = serde_json::from_slice(&text).map_err(|_| DiaryError::Unreadable(count))?;
            each(line);
            bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
            text.clear();
        }
        file.set_len(bytes)?;
        Ok(Self { file, bytes })
    }

    /// Adds a line, or nothing.
    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if let Err(error) = self.file.write_all(&text) {
            // The half of it that may be there would spoil the next.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
