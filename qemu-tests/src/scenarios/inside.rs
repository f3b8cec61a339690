//! A look into an installed system: commands by ssh, with a key made for the scenario.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt;

/// How long a system that has confirmed its start may take to let somebody in: under emulation it
/// makes its host key first.
const TO_LOGIN: Duration = Duration::from_secs(180);
/// Between the outputs of two commands.
const MARK: &str = "--- next ---";
/// `ssh` itself failed, rather than the command (ssh(1)).
const SSH_FAILED: i32 = 255;

/// A key pair.
pub struct Key {
    file: PathBuf,
    /// The public half, as it stands in `authorized_keys`.
    pub public: String,
}

impl Key {
    /// Makes one in a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        let file = folder.join("key");
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
            .arg(&file);
        let output = command.output().context("starting ssh-keygen")?;
        ensure!(output.status.success(), "ssh-keygen: {}", said(&output));
        let public = file.with_extension("pub");
        let public = fs::read_to_string(&public)
            .with_context(|| format!("reading {}", public.display()))?
            .trim()
            .to_owned();
        Ok(Self { file, public })
    }

    /// Runs a shell script as `user` on the system whose ssh is at `port` of 127.0.0.1, and gives
    /// what it prints. It ends at the first command that fails.
    pub fn run(&self, user: &str, port: u16, script: &str) -> Result<String> {
        let deadline = Instant::now() + TO_LOGIN;
        loop {
            interrupt::check()?;
            let output = self.attempt(user, port, script).context("starting ssh")?;
            match output.status.code() {
                Some(0) => return Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                Some(SSH_FAILED) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_secs(2));
                }
                _ => bail!(
                    "as {user}, `{script}` ended with {}:\n{}",
                    output.status,
                    said(&output)
                ),
            }
        }
    }

    /// Runs commands as root once everything that is to start has started, and looks for words in what
    /// each of them prints.
    pub fn expect_inside(&self, port: u16, expected: &[(&str, &[&str])]) -> Result<()> {
        self.run("root", port, "systemctl is-system-running --wait || true")?;
        let marked = expected
            .iter()
            .map(|(command, _)| format!("{command}\necho '{MARK}'\n"));
        let output = self.run("root", port, &marked.collect::<String>())?;
        let mut outputs = output.split(MARK);
        for (command, words) in expected {
            let output = outputs.next().unwrap_or_default();
            for word in *words {
                ensure!(
                    output.contains(word),
                    "`{command}` does not say {word:?}: {output}"
                );
            }
        }
        Ok(())
    }

    fn attempt(&self, user: &str, port: u16, script: &str) -> io::Result<Output> {
        let mut command = Command::new("ssh");
        // Neither the host's configuration nor its list of known hosts has a say.
        command.args(["-F", "none", "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20"]);
        command.arg("-i").arg(&self.file);
        command.args(["-p", &port.to_string(), &format!("{user}@127.0.0.1")]);
        command.arg(format!("set -e\n{script}")).output()
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim_end().to_owned()
}
