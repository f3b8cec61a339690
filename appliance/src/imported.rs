//! Images in the store in the form that they are installed from: chunks and their index, see
//! [`hardway_image`].
//!
//! Two files are named after the SHA-256 of what was imported: `HEX.data` and, when that is durable,
//! `HEX.index`. Without an index there is no imported image. The original is not needed any more.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use hardway_image::{CHUNK, Chunk, Index};
use hardway_model::desired::{Compression, ImportedImage};
use hardway_model::identity::Sha256;
use sha2::Digest as _;

use crate::unpack::unpacked;

/// How hard chunks are packed: docs/decisions/0011 has what that takes and makes.
const LEVEL: i32 = 12;
/// Chunks that each thread packs between two writes.
const EACH: usize = 8;

/// Files that do not have their names yet.
const UNFINISHED_DATA: &str = ".importing.data";
const UNFINISHED_INDEX: &str = ".importing.index";

/// An imported image.
pub struct Imported {
    index: Index,
    /// Of the index.
    sha256: Sha256,
    data: PathBuf,
}

/// The files of an imported image.
pub fn files(image: Sha256) -> [String; 2] {
    [format!("{image}.data"), format!("{image}.index")]
}

impl Imported {
    /// Looks for one in the store, by the SHA-256 of what was imported.
    ///
    /// # Errors
    /// It is there, and damaged.
    pub fn find(folder: &Path, image: Sha256) -> anyhow::Result<Option<Self>> {
        let [data, index] = files(image).map(|name| folder.join(name));
        let bytes = match fs::read(&index) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("reading {}", index.display())),
        };
        let again = || format!("{}; import the image again", index.display());
        let read = Index::decode(&bytes).with_context(again)?;
        ensure!(
            read.image() == image,
            "{} is of another image; import the image again",
            index.display()
        );
        let length = fs::metadata(&data)
            .with_context(|| format!("reading {}; import the image again", data.display()))?
            .len();
        ensure!(
            length == read.stored_size(),
            "{} has {length} bytes and should have {}; import the image again",
            data.display(),
            read.stored_size()
        );
        Ok(Some(Self {
            index: read,
            sha256: hardway_image::hash(&bytes),
            data,
        }))
    }

    /// What the planner knows of it.
    pub fn desired(&self) -> ImportedImage {
        let [data, index] = files(self.index.image()).map(|name| format!("/images/{name}"));
        ImportedImage {
            index,
            sha256: self.sha256,
            data,
            size: self.index.size(),
        }
    }

    /// Which chunks it has.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Compares every chunk with its hash.
    ///
    /// # Errors
    /// One is damaged.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut content = self.content()?;
        let read = io::copy(&mut content, &mut io::sink());
        read.with_context(|| format!("{}; import the image again", self.data.display()))?;
        Ok(())
    }

    /// Its content from the beginning.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn content(&self) -> io::Result<impl Read + '_> {
        Ok(Content {
            index: &self.index,
            data: File::open(&self.data)?,
            next: 0,
            chunk: io::Cursor::new(Vec::new()),
        })
    }
}

/// A disk's content, chunk by chunk.
struct Content<'a> {
    index: &'a Index,
    data: File,
    next: usize,
    chunk: io::Cursor<Vec<u8>>,
}

impl Read for Content<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.chunk.read(bytes)?;
        let Some(chunk) = self.index.chunks().get(self.next) else {
            return Ok(read);
        };
        if read > 0 || bytes.is_empty() {
            return Ok(read);
        }
        let (stored, content) = (self.index.stored(self.next), self.index.content(self.next));
        let mut packed = vec![0; (stored.end - stored.start) as usize];
        self.data.read_exact_at(&mut packed, stored.start)?;
        let plain = chunk.unpack(&packed, (content.end - content.start) as usize);
        self.chunk = io::Cursor::new(plain.map_err(io::Error::other)?);
        self.next += 1;
        self.chunk.read(bytes)
    }
}

/// Imports an image file into a folder, replacing an earlier import of the same file. `expected` is its
/// SHA-256, where one is known.
///
/// # Errors
/// The file is not the expected one, or damaged, or there is no room. Nothing is left behind.
pub fn import(file: &Path, folder: &Path, expected: Option<Sha256>) -> anyhow::Result<Imported> {
    // What an import left that was killed. Two imports into one store at once are nobody's habit.
    for name in [UNFINISHED_DATA, UNFINISHED_INDEX] {
        drop(Fresh(folder.join(name)));
    }
    let fresh = Fresh(folder.join(UNFINISHED_DATA));
    let (image, size, chunks) =
        pack(file, &fresh.0).with_context(|| format!("importing {}", file.display()))?;
    if let Some(expected) = expected {
        ensure!(
            image == expected,
            "{} has SHA-256 {image}, and {expected} was expected; nothing was imported",
            file.display()
        );
    }
    let bytes = Index::new(image, size, chunks)?.encode()?;
    let [data, index] = files(image).map(|name| folder.join(name));
    let install = || -> io::Result<()> {
        // The index of an earlier import is of other data from here on.
        match fs::remove_file(&index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&fresh.0, &data)?;
        let written = Fresh(folder.join(UNFINISHED_INDEX));
        let mut file = File::create(&written.0)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&written.0, &index)?;
        File::open(folder)?.sync_all()
    };
    install().with_context(|| format!("putting the image into {}", folder.display()))?;
    let imported = Imported::find(folder, image)?;
    imported.with_context(|| format!("{} went away", index.display()))
}

/// A file that goes when this ends, unless it was renamed.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        // It may have its place by now.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the chunks, and gives the file's SHA-256, the content's size and what the index says of each.
fn pack(file: &Path, data: &Path) -> anyhow::Result<(Sha256, u64, Vec<Chunk>)> {
    let compression = Compression::of_file_name(&file.to_string_lossy());
    let mut source = Hashing::new(File::open(file)?);
    let output = File::create(data).with_context(|| format!("making {}", data.display()))?;
    let mut output = BufWriter::with_capacity(1 << 20, output);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let batch = CHUNK * (threads * EACH) as u64;
    let (mut size, mut chunks) = (0, Vec::new());
    let mut content = unpacked(&mut source, compression)?;
    loop {
        let mut plain = Vec::with_capacity(batch as usize);
        let read = content.by_ref().take(batch).read_to_end(&mut plain);
        size += read.context("unpacking it")? as u64;
        if plain.is_empty() {
            break;
        }
        for packed in pack_all(&plain) {
            let (chunk, stored) = packed.context("packing a chunk")?;
            output.write_all(&stored).context("writing chunks")?;
            chunks.push(chunk);
        }
    }
    drop(content);
    ensure!(size > 0, "it is empty");
    // What stands behind the packed stream belongs to the hash all the same.
    io::copy(&mut source, &mut io::sink()).context("reading to its end")?;
    let output = output.into_inner().map_err(io::IntoInnerError::into_error);
    output.context("writing chunks")?.sync_all()?;
    Ok((source.sha256(), size, chunks))
}

type Packed = io::Result<(Chunk, Vec<u8>)>;

/// In order, [`EACH`] on a thread.
fn pack_all(plain: &[u8]) -> Vec<Packed> {
    let share = CHUNK as usize * EACH;
    std::thread::scope(|scope| {
        let work = |share: &[u8]| -> Vec<Packed> {
            let chunks = share.chunks(CHUNK as usize);
            chunks.map(|content| Chunk::pack(content, LEVEL)).collect()
        };
        let started: Vec<_> = plain
            .chunks(share)
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let broken = || vec![Err(io::Error::other("a thread that packs broke"))];
        let ended = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .flat_map(|packed| packed.unwrap_or_else(|_| broken()))
            .collect()
    })
}

/// Hashes what passes.
pub struct Hashing<R> {
    inner: R,
    hash: sha2::Sha256,
}

impl<R> Hashing<R> {
    /// Around a reader that was not read from yet.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: sha2::Sha256::new(),
        }
    }

    /// Of what has passed.
    pub fn sha256(self) -> Sha256 {
        Sha256(self.hash.finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content with holes, more than one batch on any computer with fewer than 64 processors.
    fn content() -> Vec<u8> {
        let chunk = CHUNK as usize;
        let mut content = vec![0; 40 * chunk + 1000];
        for number in [0, 3, 4, 17, 40] {
            let place = &mut content[number * chunk..][..900];
            for (at, byte) in place.iter_mut().enumerate() {
                *byte = (at * 7 + number) as u8;
            }
        }
        content
    }

    fn written(folder: &Path, name: &str, bytes: &[u8]) -> (PathBuf, Sha256) {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        (path, hardway_image::hash(bytes))
    }

    #[test]
    fn an_image_is_found_by_its_hash_and_has_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        let packed = zstd::encode_all(&content()[..], 1).unwrap();
        let (file, sha256) = written(store, "node.img.zst", &packed);
        assert!(Imported::find(store, sha256).unwrap().is_none());
        for _ in 0..2 {
            import(&file, store, Some(sha256)).unwrap();
        }
        let found = Imported::find(store, sha256).unwrap().unwrap();
        let mut plain = Vec::new();
        found.content().unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain == content());
        let holes = found.index.chunks().iter().filter(|chunk| chunk.is_hole());
        assert_eq!(holes.count(), 41 - 5);
        let desired = found.desired();
        assert_eq!(desired.size, content().len() as u64);
        assert_eq!(desired.index, format!("/images/{sha256}.index"));
        assert_eq!(fs::read_dir(store).unwrap().count(), 3, "nothing is left");
    }

    #[test]
    fn another_file_and_a_damaged_one_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        let packed = zstd::encode_all(&content()[..], 1).unwrap();
        let (file, _) = written(folder.path(), "node.img.zst", &packed);
        let error = import(&file, &store, Some(Sha256([7; 32]))).err().unwrap();
        assert!(
            error.to_string().contains("nothing was imported"),
            "{error}"
        );
        let (cut, _) = written(folder.path(), "cut.img.zst", &packed[..packed.len() / 2]);
        assert!(import(&cut, &store, None).is_err());
        let (empty, _) = written(folder.path(), "empty.img", b"");
        assert!(import(&empty, &store, None).is_err());
        assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_chunk_is_found_and_what_a_killed_import_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, sha256) = written(folder.path(), "node.img", &content());
        for name in [UNFINISHED_DATA, UNFINISHED_INDEX] {
            written(folder.path(), name, b"half");
        }
        let imported = import(&file, folder.path(), None).unwrap();
        imported.check().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let [data, _] = files(sha256);
        let data = folder.path().join(data);
        let mut bytes = fs::read(&data).unwrap();
        bytes[40] ^= 1;
        fs::write(&data, bytes).unwrap();
        let error = imported.check().unwrap_err();
        assert!(
            error.to_string().contains("import the image again"),
            "{error}"
        );
    }

    #[test]
    fn data_that_are_cut_off_are_an_error_and_no_absence() {
        let folder = tempfile::tempdir().unwrap();
        let (file, sha256) = written(folder.path(), "node.img", &content());
        import(&file, folder.path(), None).unwrap();
        let [data, _] = files(sha256);
        let data = File::options().write(true).open(folder.path().join(data));
        data.unwrap().set_len(10).unwrap();
        let error = Imported::find(folder.path(), sha256).err().unwrap();
        assert!(
            error.to_string().contains("import the image again"),
            "{error}"
        );
    }
}
