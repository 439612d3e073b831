//! How many event loops suit this process: its cores, within its cgroup's CPU quota.

use std::fs::read_to_string;

/// `ceil(min(cores, quota))`, at least 1.
pub(crate) fn available() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    quota().map_or(cores, |quota| cores.min(quota.ceil() as usize)).max(1)
}

/// CPUs per second of the cgroup, version 2 or 1.
fn quota() -> Option<f64> {
    if let Ok(text) = read_to_string("/sys/fs/cgroup/cpu.max") {
        return of_v2(&text);
    }
    let read = |name: &str| read_to_string(format!("/sys/fs/cgroup/cpu/{name}")).ok()?.trim().parse::<f64>().ok();
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn of_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        assert_eq!(of_v2("50000 100000\n"), Some(0.5));
        assert_eq!(of_v2("max 100000\n"), None);
        assert!(available() >= 1);
    }
}
