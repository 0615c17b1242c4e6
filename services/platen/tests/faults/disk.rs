//! Disks that fill up, are slow, or fail, under the data of one process.

use crate::{deployment::Form, eventually::within, fleet::Plan, member::preload, trial::Trial};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PLAN: Plan = Plan {
    devices: 20,
    pace: Duration::from_millis(500),
    operations: Duration::from_secs(1),
};

/// EIO of Linux.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// A file system of so many bytes in memory. Gone when dropped.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None`, and one line that says so, where this process may not mount.
    fn mount(path: &Path, bytes: usize) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(path)
            .output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self { path: path.into() }),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr);
                println!("skipped: no disk can be mounted here: {}", why.trim());
                None
            }
            Err(error) => {
                println!("skipped: no disk can be mounted here: {error}");
                None
            }
        }
    }

    /// Fills what is left, all but so many bytes.
    fn fill(&self, but: u64) -> PathBuf {
        let free = Command::new("df")
            .args(["--block-size=1", "--output=avail"])
            .arg(&self.path)
            .output()
            .unwrap();
        let free = String::from_utf8(free.stdout).unwrap();
        let free: u64 = free.lines().nth(1).unwrap().trim().parse().unwrap();
        let ballast = self.path.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        let block = vec![0; 1 << 16];
        let mut left = free.saturating_sub(but);
        while left > 0 {
            let part = left.min(block.len() as u64);
            match file.write_all(&block[..usize::try_from(part).unwrap()]) {
                Ok(()) => left -= part,
                // Others write, too.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("{}: {error}", ballast.display()),
            }
        }
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server that had its data there has ended, or is about to.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
    }
}

/// The disk fills up, to below the reserve and then to the last byte: devices and callers are told to come again, and once there is room everything
/// goes on.
#[tokio::test(flavor = "multi_thread")]
async fn flt_20_the_disk_is_full() {
    let name = "flt_20";
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&dir.path().join("disk"), 768 << 20) else {
        return;
    };
    let form = Form::Embedded {
        data: Some(disk.path.join("data")),
    };
    let mut trial = Trial::begin(name, form, PLAN, 1).await;
    let before = trial.fleet.rate(Duration::from_secs(4)).await;
    for left in [32 << 20, 0] {
        let ballast = disk.fill(left);
        trial
            .recorder
            .remark(&format!("{} MiB of the disk are left", left >> 20));
        let turned_away = trial.fleet.tally().turned_away();
        // What runs into the last byte in the middle of a write ends, rather than go on with a journal whose state nobody knows.
        let may_end = left == 0;
        within(
            "devices are told to come again",
            Duration::from_secs(20),
            async || {
                let is_told = trial.fleet.tally().turned_away() > turned_away + 20;
                let has_ended = may_end && trial.deployment.members[0].has_ended();
                (is_told || has_ended).then_some(())
            },
        )
        .await;
        if may_end {
            // It ends sooner or later, or here; whoever watches over it starts it again.
            trial.deployment.members[0].kill();
        }
        trial.deployment.all_alive();
        fs::remove_file(ballast).unwrap();
        trial.recorder.remark("there is room again");
        trial.deployment.heal().await;
        let patience = Duration::from_secs(60);
        trial.fleet.reaches(0.9 * before, patience).await;
    }
    trial.verdict().await;
}

/// Every sync takes long, some so long that devices give up: whoever was answered was answered by a disk.
#[tokio::test(flavor = "multi_thread")]
async fn flt_21_the_disk_is_slow() {
    if preload().is_none() {
        println!("skipped: flt_21 needs a C compiler");
        return;
    }
    let trial = Trial::begin("flt_21_slow", Form::Embedded { data: None }, PLAN, 1).await;
    let before = trial.fleet.rate(Duration::from_secs(4)).await;
    let patience = Duration::from_secs(60);
    for longer in [300, 2_000, 8_000].map(Duration::from_millis) {
        trial
            .recorder
            .remark(&format!("every sync takes {longer:?} longer"));
        trial.deployment.members[0].disturb_disk(longer, 0);
        trial.fleet.rate(Duration::from_secs(10)).await;
        trial.deployment.members[0].leave_disk();
        let took = trial.fleet.reaches(0.9 * before, patience).await;
        trial.recorder.remark(&format!(
            "nine tenths of the sessions again after {:.1} s",
            took.as_secs_f64()
        ));
    }
    trial.verdict().await;
}

/// Syncs fail: what is on the disk is not known any more, so nothing is acknowledged until the process has begun anew and read it.
#[tokio::test(flavor = "multi_thread")]
async fn flt_21_the_disk_fails() {
    if preload().is_none() {
        println!("skipped: flt_21 needs a C compiler");
        return;
    }
    let mut trial = Trial::begin("flt_21_fails", Form::Embedded { data: None }, PLAN, 1).await;
    let before = trial.fleet.rate(Duration::from_secs(4)).await;
    for _ in 0..3 {
        trial.recorder.remark("syncs fail");
        trial.deployment.members[0].disturb_disk(Duration::ZERO, INPUT_OUTPUT_ERROR);
        within(
            "the process ends, rather than go on with a journal whose state nobody knows",
            Duration::from_secs(20),
            async || trial.deployment.members[0].has_ended().then_some(()),
        )
        .await;
        trial.deployment.members[0].leave_disk();
        trial.deployment.heal().await;
        let patience = Duration::from_secs(60);
        trial.fleet.reaches(0.9 * before, patience).await;
    }
    trial.verdict().await;
}
