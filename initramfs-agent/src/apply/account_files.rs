//! passwd, group, shadow and gshadow: loaded, changed in memory, written back with the mode and
//! owner that they had. Lines that no change concerns stay as they are, byte for byte.

use anyhow::{Context, Result};

use super::root::{Attributes, TargetRoot};

/// One of the four files: lines of fields between colons, the first of them a name.
pub struct Table {
    path: &'static str,
    /// Mode of a file that is made anew.
    mode: u32,
    width: usize,
    lines: Vec<String>,
}

impl Table {
    /// Name, password, uid, gid, comment, home, shell.
    pub fn passwd(root: &TargetRoot) -> Result<Self> {
        Self::load(root, "/etc/passwd", 0o644, 7)
    }

    /// Name, password, gid, members.
    pub fn group(root: &TargetRoot) -> Result<Self> {
        Self::load(root, "/etc/group", 0o644, 4)
    }

    /// Name, hash, seven fields of ageing.
    pub fn shadow(root: &TargetRoot) -> Result<Self> {
        Self::load(root, "/etc/shadow", 0o640, 9)
    }

    /// Name, hash, administrators, members.
    pub fn gshadow(root: &TargetRoot) -> Result<Self> {
        Self::load(root, "/etc/gshadow", 0o640, 4)
    }

    fn load(root: &TargetRoot, path: &'static str, mode: u32, width: usize) -> Result<Self> {
        let bytes = root.read(path)?.unwrap_or_default();
        let text = String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))?;
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self {
            path,
            mode,
            width,
            lines,
        })
    }

    /// Writes the file back.
    pub fn store(&self, root: &TargetRoot) -> Result<()> {
        let attributes = root.stat(self.path)?.map(|stat| Attributes::of(&stat));
        let text: String = self.lines.iter().flat_map(|line| [line, "\n"]).collect();
        root.replace(
            self.path,
            text.as_bytes(),
            &attributes.unwrap_or(Attributes::root(self.mode)),
        )
    }

    /// The fields of a name, filled up to the file's width.
    pub fn get(&self, name: &str) -> Option<Vec<String>> {
        self.rows().find(|row| row[0] == name)
    }

    /// Every entry.
    pub fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.lines
            .iter()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
                fields.resize(fields.len().max(self.width), String::new());
                fields
            })
    }

    /// Puts an entry in the place of the one with that name, or at the end.
    pub fn set(&mut self, fields: &[String]) {
        let line = fields.join(":");
        let name = format!("{}:", fields[0]);
        match self.lines.iter_mut().find(|line| line.starts_with(&name)) {
            Some(standing) => *standing = line,
            None => self.lines.push(line),
        }
    }

    /// Removes an entry. Says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let prefix = format!("{name}:");
        let before = self.lines.len();
        self.lines.retain(|line| !line.starts_with(&prefix));
        self.lines.len() != before
    }

    /// Changes the list of members in the last field of every entry; `change` gets the entry's name
    /// and its members.
    pub fn edit_members(&mut self, mut change: impl FnMut(&str, &mut Vec<String>)) {
        let last = self.width - 1;
        for mut row in self.rows().collect::<Vec<_>>() {
            let before: Vec<String> = row[last]
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let mut members = before.clone();
            change(&row[0], &mut members);
            if members != before {
                row[last] = members.join(",");
                self.set(&row);
            }
        }
    }
}
