//! What a process has used, as the kernel counts it in /proc, and how many files this one may open.

use anyhow::Context as _;

#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads since it started.
    pub cpu_seconds: f64,
    pub resident_kib: f64,
}

impl Usage {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let ticks = cpu_ticks(&read("stat")?).context("no CPU time in stat")?;
        let resident_kib = resident_kib(&read("status")?).context("no VmRSS in status")?;
        // SAFETY: sysconf takes no pointers.
        let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };

        Ok(Self {
            cpu_seconds: ticks as f64 / ticks_per_second as f64,
            resident_kib: resident_kib as f64,
        })
    }
}

/// utime + stime: fields 14 and 15. The name, in brackets, may itself hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raises the limit of open files as far as it goes, for this process and those it starts; gives the limit.
pub fn raise_open_files() -> anyhow::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to one live, correctly typed value.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    anyhow::ensure!(
        done,
        "cannot raise the limit of open files: {}",
        std::io::Error::last_os_error()
    );
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_brackets_and_spaces() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 110 22 0 0 20 0 3 0 100";

        assert_eq!(cpu_ticks(stat), Some(132));
    }

    #[test]
    fn resident_memory_is_found_among_the_other_lines() {
        assert_eq!(resident_kib("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1234 kB\n"), Some(1234));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(std::process::id()).unwrap().resident_kib > 0.0);
    }
}
