//! An image file's content, however it is packed.

use std::io::{self, Read};

use hardway_model::desired::Compression;

/// Unpacks while it is read.
///
/// # Errors
/// The decoder cannot be made.
pub fn unpacked<'a>(
    packed: impl Read + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Zstd => Box::new(zstd::Decoder::new(packed)?),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        Compression::None => Box::new(packed),
    })
}
