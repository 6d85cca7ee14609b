//! Telephone numbers: how somebody proves that one is theirs, with a code that is sent there.
//!
//! Six digits are few, so tries are: five for a code, with a wait from the third on, and a bounded number of codes a day.
//! Invariant: whether a number belongs to somebody else is told by no answer before the proof.

use std::time::Duration;

use super::backoff::{Failures, retry_after};
use super::time::Timestamp;

/// The kind of letter that carries a code.
pub const VERIFY_PHONE: &str = "verify_phone";
/// How long a code is good for.
pub const CODE_TTL: Duration = Duration::from_mins(10);
/// Wrong tries after which a code is worth nothing.
pub const TRIES_MAX: u32 = 5;
/// Wrong tries before which nobody waits.
const FREE_TRIES: u32 = 3;
/// Over how long codes are counted.
pub const COUNTED_FOR: Duration = Duration::from_hours(24);
pub const CODE_CHARS: usize = 6;

/// Everything that proving a number can be refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    #[error("A telephone number is international: `+`, then 8 to 15 digits.")]
    NumberInvalid,
    /// The same for a wrong one, one that is too old or was tried too often, and where none was asked for.
    #[error("The code is wrong, used or expired.")]
    CodeInvalid,
    #[error("Too many wrong codes.")]
    CodeBackOff { retry_after: Duration },
    #[error("Too many codes were sent today.")]
    TooManyCodes { retry_after: Duration },
}

/// A code that is on its way, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub code_hash: Vec<u8>,
    /// How often something wrong was tried, and when last.
    pub failures: Failures,
    pub expires_at: Timestamp,
}

/// Whether a code proves the number: `tried` is the hash of what somebody typed at `now`.
///
/// # Errors
/// [`PhoneError::CodeBackOff`], where nothing was looked at; [`PhoneError::CodeInvalid`], to be counted as a wrong try.
pub fn judge(challenge: &Challenge, tried: &[u8], now: Timestamp) -> Result<(), PhoneError> {
    if now >= challenge.expires_at || challenge.failures.count >= TRIES_MAX {
        return Err(PhoneError::CodeInvalid);
    }
    if let Some(retry_after) = retry_after(challenge.failures, FREE_TRIES, now) {
        return Err(PhoneError::CodeBackOff { retry_after });
    }
    if challenge.code_hash != tried {
        return Err(PhoneError::CodeInvalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn challenge(tries: u32) -> Challenge {
        let failures = Failures { count: tries, last_at: START };
        Challenge { code_hash: vec![7], failures, expires_at: START.plus(CODE_TTL) }
    }

    #[test]
    fn the_right_code_proves_a_number_until_it_expires() {
        let last = START.plus(CODE_TTL).minus(Duration::from_millis(1));

        assert_eq!(judge(&challenge(0), &[7], last), Ok(()));
        assert_eq!(judge(&challenge(0), &[8], last), Err(PhoneError::CodeInvalid));
        let late = judge(&challenge(0), &[7], START.plus(CODE_TTL));
        assert_eq!(late, Err(PhoneError::CodeInvalid));
    }

    #[test]
    fn from_the_third_wrong_try_on_the_next_one_waits() {
        let wait = |seconds| PhoneError::CodeBackOff { retry_after: Duration::from_secs(seconds) };

        assert_eq!(judge(&challenge(2), &[7], START), Ok(()));
        assert_eq!(judge(&challenge(3), &[7], START), Err(wait(1)));
        assert_eq!(judge(&challenge(4), &[7], START), Err(wait(2)));
        assert_eq!(judge(&challenge(4), &[7], START.plus(Duration::from_secs(2))), Ok(()));
    }

    #[test]
    fn after_the_fifth_wrong_try_no_code_is_right() {
        let later = START.plus(Duration::from_mins(9));

        assert_eq!(judge(&challenge(TRIES_MAX), &[7], later), Err(PhoneError::CodeInvalid));
    }
}
