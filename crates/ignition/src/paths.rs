//! Paths as text.

/// The shortest path that means the same: no `.`, no doubled or trailing slashes, `..` taken with what
/// it leaves. As Go's `path.Clean`; an absolute path stays within the root.
pub(crate) fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if is_absolute => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// How many components lie between the root and a clean absolute path.
pub(crate) fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cleans_as_go_does() {
        for (path, expected) in [
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/", "/"),
            ("/..", "/"),
            ("", "."),
            ("a/..", "."),
            ("../a/../b", "../b"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
        assert_eq!((depth("/"), depth("/a/b")), (0, 2));
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(path in "[/.a]{0,20}") {
            let once = clean(&path);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
