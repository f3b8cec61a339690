//! Which file a request means, and what kind of file it is.

/// The file below the server's root that a request's target names: `boot/vmlinuz` for
/// `/boot/vmlinuz?x`. `None` where the target is no path in origin form (RFC 9112 section 3.2.1),
/// names a folder, or has a segment that could lead out of its folder: `.`, `..`, an encoded slash or
/// NUL.
pub fn file_path(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let segments: Option<Vec<String>> = path.split('/').map(segment).collect();
    Some(segments?.join("/"))
}

fn segment(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                bytes.push(hexadecimal(*high)? << 4 | hexadecimal(*low)?);
                tail
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    let name = String::from_utf8(bytes).ok()?;
    let leads_away = matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']);
    (!leads_away).then_some(name)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// A file's Content-Type, by the ending of its name.
pub fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        // UEFI 2.10 section 24.7.2 tells boot images apart by these.
        "efi" => "application/efi",
        "iso" => "application/vnd.efi-iso",
        "img" => "application/vnd.efi-img",
        "ipxe" | "txt" | "cfg" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "zst" => "application/zstd",
        "gz" => "application/gzip",
        "xz" => "application/x-xz",
        _ => "application/octet-stream",
    }
}
