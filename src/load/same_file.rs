//! Whether two paths name one file, which need not exist yet.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether what is written to `a` and to `b` ends up in one file. Devices are not files: each takes
/// any number of outputs.
pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        (Err(_), Err(_)) => match (place(a), place(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
        _ => false,
    }
}

/// The folder of a file that does not exist, without links, and its name.
fn place(path: &Path) -> Option<std::path::PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
    Some(folder.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_file_are_told_from_two() {
        let folder = std::env::temp_dir().join(format!("mynah-same-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("old"), "").unwrap();
        std::os::unix::fs::symlink("old", folder.join("link")).unwrap();
        let is_same = |a: &str, b: &str| is_same_file(&folder.join(a), &folder.join(b));
        assert!(is_same("new", "./new") && is_same("new", "sub/../new"), "neither exists");
        assert!(is_same("old", "link") && is_same("sub/../old", "old"));
        assert!(!is_same("new", "old") && !is_same("new", "other") && !is_same("old", "sub/old"));
        assert!(is_same_file(Path::new("no-such.json"), Path::new("./no-such.json")));
        assert!(!is_same_file(Path::new("/dev/null"), Path::new("/dev/null")), "a device");
        fs::remove_dir_all(&folder).unwrap();
    }
}
