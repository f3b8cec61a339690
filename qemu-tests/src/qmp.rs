//! QEMU's machine protocol (QMP): one command at a time over a unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// A session that is ready for commands.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Connects to a VM's QMP socket and leaves negotiation mode.
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        writer
            .set_read_timeout(Some(PATIENCE))
            .context("setting QMP's read timeout")?;
        let reader = BufReader::new(writer.try_clone().context("sharing QMP's socket")?);
        let mut session = Self { reader, writer };
        session.receive().context("reading QMP's greeting")?;
        session.execute("qmp_capabilities", json!({}))?;
        Ok(session)
    }

    /// Runs a command and gives its return value.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let message = json!({"execute": command, "arguments": arguments});
        writeln!(self.writer, "{message}").with_context(|| format!("sending {command} by QMP"))?;
        loop {
            let answer = self
                .receive()
                .with_context(|| format!("awaiting the answer to {command} by QMP"))?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            // Anything else is an event.
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed the connection");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers each line that arrives with the next of `answers`, the greeting first.
    fn check(answers: &'static [&'static str]) -> Result<Value> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("qmp");
        let listener = UnixListener::bind(&socket)?;
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for (index, answer) in answers.iter().enumerate() {
                if index > 0 {
                    lines.next().unwrap().unwrap();
                }
                writeln!(stream, "{answer}").unwrap();
            }
        });
        let result = Qmp::connect(&socket)?.execute("query-status", json!({}));
        server.join().unwrap();
        result
    }

    #[test]
    fn events_are_passed_over() {
        let answer = check(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            "{\"event\": \"RESET\"}\n{\"return\": {\"running\": true}}",
        ]);
        assert_eq!(answer.unwrap(), json!({"running": true}));
    }

    #[test]
    fn a_refusal_names_the_command() {
        let answer = check(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no"}}"#,
        ]);
        assert!(answer.unwrap_err().to_string().contains("query-status"));
    }
}
