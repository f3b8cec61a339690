//! Cluster files as operators write them: those in `configs/invalid` have to give exactly the text
//! beside them, those in `configs/examples` have to be accepted. `UPDATE_EXPECTED=1` writes the texts
//! anew, for review.
#![cfg(feature = "cluster")]

use std::fs;
use std::path::{Path, PathBuf};

use hardway_model::cluster;

fn configs(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(folder)
}

fn cluster_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(configs(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no cluster file in {folder}");
    paths
}

#[test]
fn invalid_files_are_refused_with_every_problem() {
    let mut wrong = Vec::new();
    for path in cluster_files("invalid") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let found = match cluster::parse(&text, name) {
            Ok(_) => "accepted\n".to_owned(),
            Err(diagnostics) => format!("{diagnostics}\n"),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_are_accepted() {
    let folders = ["examples", "lab", "links", "own-ignition", "storage"];
    for path in folders.map(cluster_files).concat() {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(diagnostics) = cluster::parse(&text, &path.display().to_string()) {
            panic!("{diagnostics}");
        }
    }
}
