//! `platen doctor`: looks for what commonly goes wrong on a machine, and says what to do.

use crate::{
    config::{Config, Source},
    exit::Failure,
};
use clap::Args;
use std::{
    fs, io,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Arguments of `platen doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The data directory that `serve` would use.
    #[arg(
        long,
        env = "PLATEN_DATA_DIR",
        default_value = "./platen-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    source: Source,
}

/// What one look found: nothing wrong, or what to do.
type Finding = Result<String, String>;

/// Looks at everything and fails if anything is wrong.
pub(crate) fn main(args: &DoctorArgs) -> Result<(), Failure> {
    let config = Config::load(&args.source)?;
    let key = config.key_file.clone().unwrap_or_else(|| {
        let mut name = args.data_dir.as_os_str().to_owned();
        name.push(".key");
        name.into()
    });
    let looks = [
        ("configuration", Ok("good".to_owned())),
        ("data directory", data_dir(&args.data_dir)),
        ("key", key_file(&key, &args.data_dir)),
        ("open files", open_files()),
        ("cwmp.listen", free(config.cwmp.listen)),
        ("api.listen", free(config.api.listen)),
        ("ops.listen", free(config.ops)),
    ];
    let mut out = io::stdout().lock();
    for (what, finding) in &looks {
        match finding {
            Ok(good) => writeln!(out, "ok    {what}: {good}")?,
            Err(wrong) => writeln!(out, "WRONG {what}: {wrong}")?,
        }
    }
    match looks.iter().filter(|(_, finding)| finding.is_err()).count() {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} of {} looks found something wrong",
            looks.len()
        ))),
    }
}

fn data_dir(path: &Path) -> Finding {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{} is not a directory", path.display())),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(format!(
            "others can look into {0}: chmod 700 {0}",
            path.display()
        )),
        Ok(_) => Ok(format!("{} exists", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(format!(
            "{} will be made at the first start",
            path.display()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn key_file(file: &Path, data_dir: &Path) -> Finding {
    match fs::metadata(file) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(format!(
            "others can read {0}: chmod 600 {0}",
            file.display()
        )),
        Ok(_) => Ok(format!(
            "{} exists; keep a copy of it apart from the backups",
            file.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !data_dir.exists() => {
            Ok("will be made at the first start".to_owned())
        }
        Err(error) => Err(format!(
            "{}: {error}; without it no device password can be read",
            file.display()
        )),
    }
}

/// Each connection of a device is an open file.
fn open_files() -> Finding {
    const ENOUGH: u64 = 16_384;
    let limits = fs::read_to_string("/proc/self/limits")
        .map_err(|error| format!("cannot read the limits: {error}"))?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("unlimited");
    match soft.parse::<u64>() {
        Ok(limit) if limit < ENOUGH => Err(format!(
            "at most {limit} open files, so fewer connections than that: raise it (ulimit -n 65536, LimitNOFILE=65536)"
        )),
        _ => Ok(format!("at most {soft}")),
    }
}

fn free(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(format!(
            "somebody listens on {address}: a running platen, or set another address"
        )),
        Err(error) => Err(format!("cannot listen on {address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(data_dir(dir.path()).unwrap_err().contains("chmod 700"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(data_dir(dir.path()).is_ok());
        assert!(data_dir(&dir.path().join("absent")).is_ok());
    }

    #[test]
    fn an_address_in_use_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(free(taken.local_addr().unwrap()).is_err());
    }

    #[test]
    fn a_lost_key_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("data.key");
        assert!(key_file(&key, dir.path()).unwrap_err().contains("password"));
        assert!(key_file(&key, &dir.path().join("absent")).is_ok());
    }
}
