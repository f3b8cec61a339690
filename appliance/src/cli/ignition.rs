//! `hardway ignition`: judge, merge and translate Ignition configs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use hardway_ignition::butane::{self, LocalFiles, NoLocalFiles};
use hardway_ignition::{
    Circumstances, Part, PartKind, Problem, Report, compile, merge, operations, parse, validate,
};

use crate::local_folder::LocalFolder;

/// What is done.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Judge configs; exit status 1 when one of them is not valid
    Validate {
        /// Ignition configs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the problems as JSON
        #[arg(long)]
        json: bool,
    },
    /// Merge a child into its parent and print the result
    Merge {
        /// The config that is merged into
        parent: PathBuf,
        /// The config whose values win
        child: PathBuf,
    },
    /// Translate Butane and print the Ignition config
    FromButane {
        /// The Butane text
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where `local:` and `trees:` look
        #[arg(long, value_name = "DIR")]
        files_dir: Option<PathBuf>,
    },
    /// Print what the agent would do for a config, in order
    Operations {
        /// Butane or Ignition, by the file's ending
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Validate { files, json } => judge(files, *json),
        Command::Merge { parent, child } => print_merged(parent, child),
        Command::FromButane { file, files_dir } => translate(file, files_dir.as_deref()),
        Command::Operations { file, json } => print_operations(file, *json),
    }
}

fn judge(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut fatal = false;
    for file in files {
        let report = match parse(&read(file)?) {
            Ok(parsed) => Report::from(parsed.warnings),
            Err(report) => {
                fatal = true;
                report
            }
        };
        problems.extend(report.in_file(&file.display().to_string()).problems);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&problems)?);
    } else {
        tell(&Report { problems });
    }
    Ok(if fatal {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print_merged(parent: &Path, child: &Path) -> anyhow::Result<ExitCode> {
    let config = |file: &Path| -> anyhow::Result<_> {
        let parsed = parse(&read(file)?);
        Ok(parsed.map_err(|report| report.in_file(&file.display().to_string())))
    };
    let (parent, child) = match (config(parent)?, config(child)?) {
        (Ok(parent), Ok(child)) => (parent.config, child.config),
        (parent, child) => {
            for report in [parent.err(), child.err()].into_iter().flatten() {
                tell(&report);
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let merged = merge(&parent, &child);
    let report = Report::from(validate(&merged));
    tell(&report);
    if report.is_fatal() {
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", serde_json::to_string_pretty(&merged)?);
    Ok(ExitCode::SUCCESS)
}

fn translate(file: &Path, files_dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let folder = files_dir.map(|folder| LocalFolder(folder.to_owned()));
    let files: &dyn LocalFiles = match &folder {
        Some(folder) => folder,
        None => &NoLocalFiles,
    };
    let text = text(file)?;
    match butane::translate(&text, files) {
        Ok(translated) => {
            tell(&Report::from(translated.warnings).in_file(&file.display().to_string()));
            println!("{}", serde_json::to_string_pretty(&translated.json)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(report) => {
            tell(&report.in_file(&file.display().to_string()));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print_operations(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let name = file.display().to_string();
    let kind = PartKind::of_file_name(&name);
    let kind =
        kind.with_context(|| format!("{name} is neither Butane (.bu) nor Ignition (.ign)"))?;
    let text = text(file)?;
    let part = Part { name, kind, text };
    let folder = LocalFolder(crate::configuration::folder(file).to_owned());
    let planned = compile(&[part], &folder).and_then(|compiled| {
        tell(&Report::from(compiled.warnings));
        operations(&compiled.config, &Circumstances::default()).map_err(Report::from)
    });
    match planned {
        Ok(planned) if json => println!("{}", serde_json::to_string_pretty(&planned)?),
        Ok(planned) => {
            for (index, operation) in planned.operations.iter().enumerate() {
                let value = serde_json::to_value(operation)?;
                let name = value["operation"].as_str().unwrap_or_default();
                println!("{}. {name} {}", index + 1, operation.subject());
            }
        }
        Err(report) => {
            tell(&report);
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(report: &Report) {
    for problem in &report.problems {
        eprintln!("{problem}");
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

fn text(file: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(file)?).with_context(|| format!("{} is not UTF-8 text", file.display()))
}
