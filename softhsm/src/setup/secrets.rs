//! PINs: from files that nobody else can read, or at random.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file holds that its owner alone can read, without a newline at its end: as the agent takes it.
pub(super) fn secret_in(path: &Path) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        let (path, mode) = (path.display(), meta.mode() & 0o7777);
        return Err(format!("{path} has mode {mode:04o}, so others can read it; chmod 600 {path}"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

pub(super) fn random_pin() -> Result<String, String> {
    let mut bytes = [0; 24];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| format!("/dev/urandom: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pin_that_others_can_read_is_not_used() {
        let path = std::env::temp_dir().join(format!("softhsm-pin-{}", std::process::id()));
        fs::write(&path, "12 34 \n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = secret_in(&path).unwrap_err();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let read = secret_in(&path);
        fs::write(&path, "1234\n# the build machine's\n").unwrap();
        let whole = secret_in(&path);
        fs::remove_file(&path).unwrap();
        assert!(refused.contains("0640") && refused.contains("chmod 600"), "{refused}");
        assert_eq!(read.unwrap(), "12 34 ");
        assert_eq!(whole.unwrap(), "1234\n# the build machine's", "as the agent takes it");
    }
}
