//! What this process may use: cores, memory and open files, by its cgroup (version 1 or 2) and its limits.
//!
//! ```text
//!   /proc/self/cgroup ─► the group's folder and all folders above it ─► the smallest quota and limit among them
//! ```
//! Does not: watch; a limit that changes holds from the next start on.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use weir_proxy::Ceilings;

/// A limit of memory this large is none (version 1 writes "none" as a number near 2^63).
const NONE: u64 = 1 << 60;

/// How many event loops suit this process: `ceil(min(cores, CPU quota))`, at least 1.
pub(crate) fn cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    quota(Path::new("/")).map_or(cores, |quota| cores.min(quota.ceil() as usize)).max(1)
}

/// Raises the limit of open files as far as we may, and says what there is to use; of memory, `wanted` at most.
pub(crate) fn ceilings(wanted: Option<u64>) -> Ceilings {
    let files = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, and the ceiling says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let group = memory(Path::new("/"));
    let descriptors = getrlimit(Resource::Nofile).current;
    match wanted {
        // A limit of our own is one on what we use ourselves.
        Some(bytes) if group.memory.is_none_or(|limit| bytes < limit) => {
            Ceilings { memory: Some(bytes), descriptors, ..Ceilings::default() }
        }
        _ => Ceilings { descriptors, ..group },
    }
}

/// The folders of this process's group for a controller of version 1, or `None` for version 2; innermost first.
fn folders(root: &Path, controller: Option<&str>) -> Vec<PathBuf> {
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let line = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let ours = match controller {
            Some(controller) => controllers.split(',').any(|known| known == controller),
            None => controllers.is_empty(),
        };
        ours.then(|| path.trim_start_matches('/').to_owned())
    });
    let mount = root.join("sys/fs/cgroup").join(controller.unwrap_or_default());
    let inside = mount.join(line.unwrap_or_default());
    // Inside a container the path may be the host's: what does not exist here reads as nothing.
    inside.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_owned).collect()
}

/// CPUs per second.
fn quota(root: &Path) -> Option<f64> {
    let new = folders(root, None).into_iter().filter_map(|folder| {
        let text = read_to_string(folder.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    });
    let old = folders(root, Some("cpu")).into_iter().filter_map(|folder| {
        let read = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<f64>().ok();
        let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    });
    new.chain(old).reduce(f64::min)
}

fn memory(root: &Path) -> Ceilings {
    let new = folders(root, None).into_iter().map(|folder| (folder, "memory.max", "memory.current"));
    let old = folders(root, Some("memory"))
        .into_iter()
        .map(|folder| (folder, "memory.limit_in_bytes", "memory.usage_in_bytes"));
    let smallest = new
        .chain(old)
        .filter_map(|(folder, limit, usage)| {
            let limit = read_to_string(folder.join(limit)).ok()?.trim().parse::<u64>().ok()?;
            (limit < NONE).then_some((limit, folder, usage))
        })
        .min_by_key(|(limit, ..)| *limit);
    match smallest {
        Some((limit, folder, usage)) => Ceilings {
            memory: Some(limit),
            usage: Some(folder.join(usage)),
            stat: Some(folder.join("memory.stat")),
            descriptors: None,
        },
        None => Ceilings::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-machine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn version_2_takes_the_smallest_on_the_way_up() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/system.slice/weir.service\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/weir.service/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/system.slice/weir.service/memory.max", "134217728\n"),
        ]);
        assert_eq!(quota(&root), Some(0.5));
        let found = memory(&root);
        assert_eq!(found.memory, Some(128 << 20));
        assert!(found.usage.expect("a file").ends_with("weir.service/memory.current"));
    }

    #[test]
    fn version_1_in_a_container_that_sees_the_hosts_path() {
        let root = tree(&[
            ("proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
        ]);
        assert_eq!(quota(&root), Some(1.5));
        assert_eq!(memory(&root).memory, Some(64 << 20));
    }

    #[test]
    fn no_limit_is_none() {
        let root = tree(&[
            ("proc/self/cgroup", "5:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!((quota(&root), memory(&root).memory), (None, None));
        assert!(cores() >= 1);
    }
}
