//! A file by URL, for whoever prepares images: never while a machine is installed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use hardway_fetch::Fetcher;
use hardway_ignition::operation::Fetching;
use hardway_model::quantity::ByteSize;

/// The largest signature.
const SMALL: u64 = 1 << 20;

/// A file that was fetched. It goes when this ends.
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
}

impl Drop for Downloaded {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("removing {}: {error}", self.path.display());
        }
    }
}

/// Whether something is meant to be fetched.
pub fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The file name that a URL's path ends with, by whose ending it is unpacked.
///
/// # Errors
///
/// The path ends with none.
pub fn file_name(url: &str) -> anyhow::Result<String> {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let path = url[..end].split_once("://").map_or("", |(_, rest)| rest);
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '%'));
    ensure!(
        !name.is_empty() && !name.starts_with('.') && is_plain,
        "{url} does not end with a file name"
    );
    Ok(name.to_owned())
}

/// Fetches an image into a folder.
///
/// # Errors
///
/// The server refuses it, the connection breaks, or there is no room. Nothing is left behind.
pub fn image(url: &str, folder: &Path) -> anyhow::Result<Downloaded> {
    let name = file_name(url)?;
    let downloaded = Downloaded {
        path: folder.join(format!(".fetching.{name}")),
    };
    let fetching = || format!("fetching {url} into {}", folder.display());
    let mut file = File::create(&downloaded.path).with_context(fetching)?;
    let mut body = fetcher()?.open(url, &[]).with_context(fetching)?;
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    let mut told = 0;
    loop {
        let count = body
            .read(&mut buffer)
            .with_context(|| format!("fetching {url}: it broke off after {}", ByteSize(done)))?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).with_context(fetching)?;
        done += count as u64;
        if done - told >= 256 << 20 {
            told = done;
            eprintln!("{} of {url}", ByteSize(done));
        }
    }
    Ok(downloaded)
}

/// Fetches a signature.
///
/// # Errors
///
/// As above, or it is larger than 1 MiB.
pub fn signature(url: &str) -> anyhow::Result<Vec<u8>> {
    let fetched = fetcher()?.fetch(url, &[], SMALL);
    fetched.with_context(|| format!("fetching {url}"))
}

fn fetcher() -> anyhow::Result<Fetcher> {
    let fetcher = Fetcher::new(&Fetching::default()).map_err(|error| anyhow!("{error}"))?;
    // For the answer to begin; the body takes as long as it takes.
    Ok(fetcher.telling(|failure, pause| eprintln!("{failure}; trying again in {pause:?}")))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_name_is_the_paths_last_part() {
        for (url, name) in [
            ("https://example.org/a/node.raw.xz", Some("node.raw.xz")),
            ("http://example.org/node.img?mirror=/b", Some("node.img")),
            ("https://example.org/a/", None),
            ("https://example.org", None),
            ("https://example.org/..", None),
            ("https://example.org/a/b c", None),
        ] {
            assert_eq!(file_name(url).ok().as_deref(), name, "{url}");
        }
    }

    /// Answers one request with a body, of which it tells another length.
    fn served(body: &'static [u8], length: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            )
            .unwrap();
            stream.write_all(body).unwrap();
        });
        format!("http://{address}/node.img")
    }

    #[test]
    fn what_was_fetched_is_whole_and_goes_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let fetched = image(&served(b"a disk", 6), folder.path()).unwrap();
        assert_eq!(std::fs::read(&fetched.path).unwrap(), b"a disk");
        drop(fetched);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = image(&served(b"a di", 6), folder.path()).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("it broke off after 4 B"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
