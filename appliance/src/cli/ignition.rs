//! `hardway ignition`: judge, merge and translate Ignition configs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use hardway_ignition::butane::{self, LocalFiles, NoLocalFiles};
use hardway_ignition::{
    Circumstances, Compiled, Operation, Part, PartKind, Problem, Report, judge, merge,
    needs_hardware, operations, parse, validate,
};

use super::disk_image::{self, GivenDisk};
use super::kernel_command_line::Place;
use crate::fetcher::{self, NetworkFetcher};
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
    Operations(OperationsArguments),
}

/// What is planned, and for what machine.
#[derive(clap::Args)]
pub struct OperationsArguments {
    /// Butane or Ignition, by the file's ending; several are parts that are merged in order
    #[arg(required_unless_present = "kernel_command_line", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A disk of the machine, an image or a block device; nothing is written to it. An image stands
    /// for /dev/vda, the next for /dev/vdb and so on, if DEVICE does not say otherwise
    #[arg(long = "disk", value_name = "IMAGE[=DEVICE]")]
    disks: Vec<GivenDisk>,
    /// The machine has a TPM 2.0
    #[arg(long)]
    tpm2: bool,
    /// SSH keys go to authorized_keys itself, not to authorized_keys.d
    #[arg(long)]
    authorized_keys_file: bool,
    /// The last part is the config that a machine's own Ignition would be pointed to by
    /// ignition.config.url, or .device and .path, in this file (as /proc/cmdline)
    #[arg(long, value_name = "FILE")]
    kernel_command_line: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Validate { files, json } => judge_files(files, *json),
        Command::Merge { parent, child } => print_merged(parent, child),
        Command::FromButane { file, files_dir } => translate(file, files_dir.as_deref()),
        Command::Operations(arguments) => print_operations(arguments),
    }
}

fn judge_files(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
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

fn print_operations(arguments: &OperationsArguments) -> anyhow::Result<ExitCode> {
    let hardware = disk_image::hardware(&arguments.disks, arguments.tpm2)?;
    let mut parts: Vec<Part> = arguments
        .files
        .iter()
        .map(|file| part(file))
        .collect::<Result<_, _>>()?;
    if let Some(file) = &arguments.kernel_command_line
        && let Some(place) = Place::of(&text(file)?)?
    {
        parts.push(place.part(&hardware)?);
    }
    let compiled = match compile_parts(&parts, &arguments.files) {
        Ok(compiled) => compiled,
        Err(report) => return Ok(refuse(&report)),
    };
    tell(&Report::from(compiled.warnings));
    if arguments.disks.is_empty() && needs_hardware(&compiled.config) {
        let report = Report::from(judge(&compiled.config));
        if report.is_fatal() {
            return Ok(refuse(&report));
        }
        anyhow::bail!(
            "the config says what becomes of disks: give an image or a block device for each of \
             the machine's, as --disk IMAGE or --disk IMAGE=/dev/NAME"
        );
    }
    let circumstances = Circumstances {
        hardware: Some(&hardware),
        authorities: compiled.authorities.clone(),
        whole_authorized_keys: arguments.authorized_keys_file,
    };
    let planned = match operations(&compiled.config, &circumstances) {
        Ok(planned) => planned,
        Err(problems) => return Ok(refuse(&Report::from(problems))),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&planned)?);
    } else {
        for line in planned.operations.iter().flat_map(Operation::describe) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn part(file: &Path) -> anyhow::Result<Part> {
    let name = file.display().to_string();
    let kind = PartKind::of_file_name(&name);
    let kind =
        kind.with_context(|| format!("{name} is neither Butane (.bu) nor Ignition (.ign)"))?;
    let text = text(file)?;
    Ok(Part { name, kind, text })
}

/// Butane's local files stand beside the first part.
fn compile_parts(parts: &[Part], files: &[PathBuf]) -> Result<Compiled, Report> {
    let beside = files
        .first()
        .map(PathBuf::as_path)
        .unwrap_or(Path::new("."));
    let folder = LocalFolder(crate::configuration::folder(beside).to_owned());
    fetcher::compile(parts, &folder, NetworkFetcher::exact())
}

fn refuse(report: &Report) -> ExitCode {
    tell(report);
    ExitCode::FAILURE
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
