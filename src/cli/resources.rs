//! What the operating system grants this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many files and sockets may be open at once.
///
/// # Errors
/// When the operating system does not say.
pub(super) fn open_files_limit() -> nix::Result<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft)
}

/// Raises that limit to the most this user may have: the usual 1,024 is less than the sockets of one busy hour.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn raise_open_files_limit() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }

    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_can_be_raised_again_and_again() {
        let raised = raise_open_files_limit().unwrap();

        assert_eq!(raise_open_files_limit().unwrap(), raised);
        assert_eq!(open_files_limit().unwrap(), raised);
    }
}
