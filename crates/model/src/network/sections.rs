//! Texts of `[Section]` and `key=value` lines, as networkd and NetworkManager read them.

/// Lines of a section.
pub(super) type Lines = Vec<(&'static str, String)>;

/// The sections that have lines, with an empty line between two. Values hold no line breaks: all of
/// them are numbers, addresses and names that were proven.
pub(super) fn text(sections: &[(&str, Lines)]) -> String {
    let written = sections.iter().filter(|(_, lines)| !lines.is_empty());
    let written: Vec<String> = written
        .map(|(name, lines)| {
            let lines = lines.iter().map(|(key, value)| format!("{key}={value}\n"));
            format!("[{name}]\n{}", lines.collect::<String>())
        })
        .collect();
    format!("# Made by Hardway of cluster.yaml.\n{}", written.join("\n"))
}

/// One line.
pub(super) fn line(key: &'static str, value: impl ToString) -> (&'static str, String) {
    (key, value.to_string())
}
