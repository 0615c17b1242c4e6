//! Files that only their owner may read.

use std::{fs, io, io::Write, path::Path};
use tempfile::NamedTempFile;

/// Writes a file with a secret in one line (mode 0600), completely or not at all. The draft is a file of its own, whatever stood in the folder.
pub(crate) fn write(file: &Path, secret: &str) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let mut draft = NamedTempFile::new_in(folder)?;
    writeln!(draft, "{secret}")?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.token");

        write(&file, "pt_x").unwrap();

        assert_eq!(fs::read_to_string(&file).unwrap(), "pt_x\n");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
