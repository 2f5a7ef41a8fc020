//! How a command is given to the shell (`spec/pipeline.md` 1.4).

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// A longer script goes into a file: the kernel limits one argument to 128 KiB.
pub(crate) const LONGEST_ARGUMENT: usize = 100 * 1024;

/// `bash` where there is one: pipelines are written for it.
pub(crate) fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// The shell's arguments. One line that names a file of the directory runs that file, as the reference does:
/// `scripts/test` needs neither `./` nor the executable bit. `scratch` is a file for a script that is too long.
pub(crate) fn arguments(command: &str, directory: &Path, scratch: &Path) -> std::io::Result<Vec<OsString>> {
    if command.len() > LONGEST_ARGUMENT {
        std::fs::write(scratch, command)?;
        return Ok(vec!["-e".into(), scratch.into()]);
    }
    let text = match named_file(directory, command) {
        Some(file) => {
            make_executable(&file);
            format!("./{}", quote(command.trim_start_matches("./")))
        }
        None => command.to_owned(),
    };
    Ok(vec!["-e".into(), "-c".into(), text.into()])
}

/// The file that a command of one word names, if it does.
pub(crate) fn named_file(directory: &Path, command: &str) -> Option<PathBuf> {
    let relative = Path::new(command);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let file = directory.join(relative);
    (inside && !command.contains('\n') && file.is_file()).then_some(file)
}

/// Lets the owner run a file that nobody may run. If that fails the shell says so, which is what the user should read.
pub(crate) fn make_executable(file: &Path) {
    if let Ok(metadata) = file.metadata() {
        let mode = metadata.permissions().mode();
        if mode & 0o111 == 0 {
            let _ = std::fs::set_permissions(file, Permissions::from_mode(mode | 0o755));
        }
    }
}

/// Quotes a word for the shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_stay_one_word() {
        assert_eq!(quote("a/b.sh"), "a/b.sh");
        assert_eq!(quote("it's; rm"), r"'it'\''s; rm'");
    }
}
