//! `hardway plan`: what would happen to each disk, before it does.

use std::io::IsTerminal as _;

use hardway_model::preview::{Fate, Preview};
use hardway_model::view::MachineView;
use serde_json::{Value, json};

use super::client::Appliance;
use super::operator::{machine_path, print_json, printable};
use crate::ui::difference::{self, Line};

/// Whose plan is shown.
#[derive(clap::Args)]
pub struct PlanArguments {
    /// The machine's name in cluster.yaml; without it, every declared machine
    pub name: Option<String>,
    #[command(flatten)]
    pub appliance: Appliance,
}

/// `hardway plan [NAME]`
pub fn run(arguments: &PlanArguments) -> anyhow::Result<()> {
    let appliance = &arguments.appliance;
    match &arguments.name {
        Some(name) if appliance.json => print_json(appliance, &machine_path(name, "/plan")),
        Some(name) => {
            let preview: Preview = appliance.get(&machine_path(name, "/plan"))?;
            show(&preview);
            Ok(())
        }
        None => all(appliance),
    }
}

/// Every declared machine; one whose plan cannot be made is told of in its place.
fn all(appliance: &Appliance) -> anyhow::Result<()> {
    let machines: Vec<MachineView> = appliance.get("/api/v1/machines")?;
    let declared = machines.into_iter().filter(|machine| machine.declared);
    let plans = declared.map(|machine| {
        let plan = appliance.get::<Preview>(&machine_path(&machine.name, "/plan"));
        (machine.name, plan)
    });
    if appliance.json {
        let plans: Vec<Value> = plans
            .map(|(machine, plan)| match plan {
                Ok(plan) => json!(plan),
                Err(error) => json!({"machine": machine, "error": format!("{error:#}")}),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&plans)?);
        return Ok(());
    }
    for (index, (machine, plan)) in plans.enumerate() {
        if index > 0 {
            println!();
        }
        match plan {
            Ok(plan) => show(&plan),
            Err(error) => println!("{machine}: {}", printable(&format!("{error:#}"))),
        }
    }
    Ok(())
}

fn show(preview: &Preview) {
    let is_terminal = std::io::stdout().is_terminal();
    for line in difference::lines(preview) {
        println!("{}", painted(&line, is_terminal));
    }
}

/// In the colours of a diff.
fn painted(line: &Line, is_terminal: bool) -> String {
    let text = printable(&line.text);
    let colour = match line.fate {
        Some(Fate::Created) => "32",
        Some(Fate::Destroyed) => "31",
        Some(Fate::Changed | Fate::Undecided) => "33",
        Some(Fate::Kept) | None => return text,
    };
    match is_terminal {
        true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_a_machines_text_brings_none() {
        let line = Line {
            fate: Some(Fate::Destroyed),
            text: "- \u{1b}[32mext4".into(),
        };
        assert_eq!(painted(&line, false), "-  [32mext4");
        assert_eq!(painted(&line, true), "\u{1b}[31m-  [32mext4\u{1b}[0m");
    }
}
