//! `hardway image import`: brings an OS image into the form that it is installed from.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use hardway_model::identity::Sha256;
use hardway_model::quantity::ByteSize;

use crate::download;
use crate::imported::{self, Imported};
use crate::signature::{self, Key};

/// What is imported.
#[derive(clap::Args)]
pub struct Import {
    /// A whole disk: raw, or packed as its name's ending says (.zst, .gz, .xz, .bz2); a file, or a URL
    /// (http, https)
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// The image store; without it, the folder of the file, or this one for a URL
    #[arg(long, value_name = "DIR")]
    images_dir: Option<PathBuf>,
    /// What the file has to be: as `sha256:` in cluster.yaml says, and `sha256sum` prints
    #[arg(long, value_name = "HEX")]
    sha256: Option<Sha256>,
    /// Its detached signature, by minisign or OpenPGP: a file, or a URL
    #[arg(long, value_name = "FILE|URL", requires = "key")]
    signature: Option<String>,
    /// Whose signature is believed: a minisign public key, or OpenPGP certificates
    #[arg(long, value_name = "FILE", requires = "signature")]
    key: Option<PathBuf>,
}

/// Imports, and says what came of it.
pub fn import(arguments: &Import) -> anyhow::Result<()> {
    let source = &arguments.source;
    let imported = match download::is_url(source) {
        true => {
            ensure!(
                arguments.sha256.is_some() || arguments.signature.is_some(),
                "nothing vouches for what {source} gives: name its --sha256, or its --signature and --key"
            );
            let folder = arguments.images_dir.as_deref();
            let folder = folder.unwrap_or(Path::new("."));
            let fetched = download::image(source, folder)?;
            checked(arguments, &fetched.path, folder)?
        }
        false => {
            let file = Path::new(source);
            let beside = file.parent().filter(|folder| *folder != Path::new(""));
            let folder = arguments.images_dir.as_deref().or(beside);
            checked(arguments, file, folder.unwrap_or(Path::new(".")))?
        }
    };
    let index = imported.index();
    let holes = index.chunks().iter().filter(|chunk| chunk.is_hole());
    println!(
        "{source}: a disk of {} in {} chunks, of which {} are empty, packed into {}; sha256: {}",
        ByteSize(index.size()),
        index.chunks().len(),
        holes.count(),
        ByteSize(index.stored_size()),
        index.image()
    );
    Ok(())
}

/// The signature first: what it does not vouch for is not unpacked.
fn checked(arguments: &Import, file: &Path, folder: &Path) -> anyhow::Result<Imported> {
    let mut expected = arguments.sha256;
    if let (Some(signature), Some(key)) = (&arguments.signature, &arguments.key) {
        let key = Key::read(key)?;
        let signature = match download::is_url(signature) {
            true => download::signature(signature)?,
            false => signature::small(Path::new(signature))?,
        };
        let verified = key.verify(file, &signature)?;
        println!("{}: signed by {}", arguments.source, verified.by);
        if let Some(expected) = expected {
            ensure!(
                verified.sha256 == expected,
                "{} has SHA-256 {}, and {expected} was expected; nothing was imported",
                arguments.source,
                verified.sha256
            );
        }
        // Of the bytes that the signature was checked on, should the file change meanwhile.
        expected = Some(verified.sha256);
    }
    imported::import(file, folder, expected)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CONTENT: &[u8] = b"an image of an operating system\n";

    fn arguments(folder: &Path, content: &[u8], signature: &[u8]) -> Import {
        let at = |name: &str| folder.join(name);
        fs::write(at("node.img"), content).unwrap();
        fs::write(at("node.img.minisig"), signature).unwrap();
        let key = include_bytes!("../../tests/signatures/minisign.pub");
        fs::write(at("minisign.pub"), key).unwrap();
        Import {
            source: at("node.img").to_string_lossy().into_owned(),
            images_dir: Some(at("store")),
            sha256: None,
            signature: Some(at("node.img.minisig").to_string_lossy().into_owned()),
            key: Some(at("minisign.pub")),
        }
    }

    fn stored(folder: &Path) -> usize {
        fs::read_dir(folder.join("store")).unwrap().count()
    }

    #[test]
    fn only_what_its_signature_vouches_for_is_imported() {
        const SIGNATURE: &[u8] = include_bytes!("../../tests/signatures/image.minisig");
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let error = import(&arguments(folder.path(), b"another", SIGNATURE)).unwrap_err();
        assert!(
            format!("{error:#}").ends_with("it is not of this file"),
            "{error:#}"
        );
        let mut unexpected = arguments(folder.path(), CONTENT, SIGNATURE);
        unexpected.sha256 = Some(Sha256([0; 32]));
        assert!(import(&unexpected).is_err());
        assert_eq!(stored(folder.path()), 0);
        import(&arguments(folder.path(), CONTENT, SIGNATURE)).unwrap();
        assert_eq!(stored(folder.path()), 2);
    }

    #[test]
    fn nothing_is_fetched_that_nothing_vouches_for() {
        let arguments = Import {
            source: "https://files.example/node.img".into(),
            images_dir: None,
            sha256: None,
            signature: None,
            key: None,
        };
        let error = import(&arguments).unwrap_err().to_string();
        assert!(error.starts_with("nothing vouches for"), "{error}");
    }
}
