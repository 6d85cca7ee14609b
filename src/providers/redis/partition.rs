//! Partitions: into how many parts everything that nodes share is cut, so that several servers can carry it.
//!
//! The name of a partition stands in braces in each of its names, `md:{17}:…`: Redis Cluster keeps names with the same
//! braces on one server. Invariant: which partition something belongs to never changes, in any release.

/// How many there are: as many servers can share the load at most.
pub const PARTITIONS: u8 = 64;

const FNV_START: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// One of [`PARTITIONS`] parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u8);

impl Partition {
    /// The partition of whatever `bytes` name (FNV-1a).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = bytes
            .iter()
            .fold(FNV_START, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME));
        // Upper and lower half together: the lower bits alone are the weakest.
        let folded = (hash >> 16) ^ hash;
        Self(u8::try_from(folded % u32::from(PARTITIONS)).unwrap_or_default())
    }

    /// Every partition.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    /// Its place among all.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The name in Redis of something in this partition.
    #[must_use]
    pub fn key(self, name: &str) -> String {
        format!("md:{{{}}}:{name}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_name_carries_its_partition_in_braces() {
        let partition = Partition::of(b"room");
        let key = partition.key("room:1");
        assert_eq!(key, format!("md:{{{}}}:room:1", partition.index()));
    }

    #[test]
    fn partitions_are_used_evenly() {
        let mut counts = vec![0_u32; usize::from(PARTITIONS)];
        for n in 0..64_000_u128 {
            let id = Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            counts[Partition::of(id.as_bytes()).index()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_partition_is_the_same_in_every_release() {
        assert_eq!(Partition::of(b"").index(), 25);
    }
}
