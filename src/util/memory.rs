//! The memory of the process: how much it takes and may take, and what the allocator keeps of it.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::hint::black_box;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Tells the allocator that `busy` threads need memory of their own, and the rest can share. To be
/// called before there are threads.
///
/// Left alone, glibc makes eight heaps for each core, each with its own waste.
#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    allow(unused_variables, reason = "nothing to tell")
)]
pub fn set_up(busy: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: it takes numbers, and refuses those that it does not like.
    unsafe {
        libc::mallopt(
            libc::M_ARENA_MAX,
            i32::try_from(busy + 1).unwrap_or(i32::MAX),
        );
    }
}

/// Returns a number for the heap from which this thread takes memory. Different heaps have
/// different numbers, and a heap nearly always the same one. `None` without glibc.
pub fn heap() -> Option<usize> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// More than what a thread keeps for itself of what others have freed.
        const BLOCK: usize = 2048;
        /// Heaps beside the main one begin at multiples of their size, 64 MiB.
        const SIZE: u32 = 26;

        let block = black_box(Vec::<u8>::with_capacity(BLOCK));
        let place = block.as_ptr().addr();
        #[allow(unsafe_code, reason = "there is no safe way to ask it")]
        // SAFETY: it changes nothing.
        let end = unsafe { libc::sbrk(0) }.addr();
        // The main heap grows before this end, and all others are behind it.
        Some(if place < end { 0 } else { place >> SIZE })
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// Gives what is free back to the system. Takes some milliseconds. Has an effect with glibc only.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: any argument will do, and it touches nothing but what is free, under the allocator's
    // own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Reads the resident memory of this process, without the pages of files, such as those of the
/// program: the system drops them when it needs their room.
#[derive(Debug)]
pub struct Resident {
    statm: File,
    page: u64,
}

impl Resident {
    /// Opens what the system says about this process; `None` outside Linux.
    pub fn open() -> Option<Self> {
        Some(Self {
            statm: File::open("/proc/self/statm").ok()?,
            page: page_size()?,
        })
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let digits = |word: &[u8]| {
            let digit = |number: u64, byte: &u8| number * 10 + u64::from(byte.wrapping_sub(b'0'));
            word.iter().fold(0, digit)
        };
        let mut words = text[..length].split(|byte| *byte == b' ').skip(1);
        let (resident, of_files) = (digits(words.next()?), digits(words.next()?));
        Some(resident.saturating_sub(of_files) * self.page)
    }
}

/// Reads for how much of the time tasks wait for memory, because the device or the control group
/// is short of it (pressure stall information of Linux).
#[derive(Debug)]
pub struct Stalls(File);

impl Stalls {
    /// Opens what the system says about the device; `None` where the kernel does not measure it.
    pub fn open() -> Option<Self> {
        Self::of(Path::new("/proc/pressure/memory"))
    }

    /// Opens a file of that form.
    pub fn of(path: &Path) -> Option<Self> {
        let stalls = Self(File::open(path).ok()?);
        // A kernel that was started without it has the file, and refuses to read it.
        stalls.percentage().is_some().then_some(stalls)
    }

    /// Returns the percentage of the last ten seconds in which some task waited.
    pub fn percentage(&self) -> Option<u8> {
        let mut text = [0; 256];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let mut words = line.split(' ');
        let average = words.find_map(|word| word.strip_prefix("avg10="))?;
        average.split('.').next()?.parse().ok()
    }
}

fn page_size() -> Option<u64> {
    #[allow(unsafe_code, reason = "there is no safe way to ask it")]
    // SAFETY: it takes and returns numbers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).ok().filter(|size| *size > 0)
}

/// Returns the bytes of memory that the control groups of this process may take; `None` without a
/// limit.
pub fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    // Version 2 has one hierarchy; of version 1, the one with the memory controller counts.
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };

        // A group has the limits of all groups around it. In a container, only its own is visible.
        let around = Path::new(group).ancestors();
        let dirs =
            around.map(|group| Path::new(root).join(group.strip_prefix("/").unwrap_or(group)));
        let read = |dir: PathBuf| fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok();
        dirs.filter_map(read).collect()
    });
    // Version 1 has a number near the greatest for no limit.
    limits.filter(|limit: &u64| *limit < 1 << 60).min()
}

/// Returns the bytes of memory of this device.
pub fn total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_those_of_some_task_in_ten_seconds() {
        let path = std::env::temp_dir().join(format!("stalls-{}", crate::util::stamp::uid()));
        for (text, expected) in [
            (
                "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.50 avg60=0.00 \
                 avg300=0.00 total=0\n",
                Some(12),
            ),
            ("some avg10=100.00 avg60=0.00", Some(100)),
            ("full avg10=1.00", None),
            ("", None),
            ("some avg10=x", None),
        ] {
            fs::write(&path, text).expect("a file");
            let stalls = Stalls::of(&path);
            assert_eq!(stalls.and_then(|stalls| stalls.percentage()), expected);
        }
        fs::remove_file(&path).expect("a file");
    }

    #[test]
    fn the_resident_memory_of_this_process_is_known() {
        let resident = Resident::open().expect("Linux");
        let before = resident.bytes().expect("a number");
        let taken = vec![1_u8; 32 << 20];
        assert!(resident.bytes().expect("a number") >= before + (16 << 20));
        assert!(before < total().expect("a number"));
        drop(taken);
    }
}
