//! Random tokens, and the one that writes to the API need.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;

use crate::context::Options;

/// 32 hexadecimal digits of the kernel's randomness.
pub fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("asking the kernel for randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The operator's token: from the file that was named, else the one in the state folder, which is
/// made on first use.
pub fn load(options: &Options) -> anyhow::Result<String> {
    if let Some(path) = &options.admin_token {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the admin token from {}", path.display()))?;
        let token = text.trim();
        anyhow::ensure!(!token.is_empty(), "{} is empty", path.display());
        return Ok(token.to_owned());
    }
    let path = options.state.join(FILE);
    let existing = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
    };
    // Empty after a power cut in the middle of its making.
    if !existing.is_empty() {
        return Ok(existing);
    }
    let token = random()?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("making {}", path.display()))?;
    writeln!(file, "{token}")
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(token)
}

/// The token's file in the state folder.
pub const FILE: &str = "admin-token";
