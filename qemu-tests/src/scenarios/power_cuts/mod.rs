//! The power is cut all over an installation, on the machine's side and on the appliance's: whenever it
//! is, the machine ends installed exactly once, and no disk boots that is not complete.
//!
//! Each point has a machine of its own in the lab. A few points are played with the other scenarios; all of
//! them by `cargo xtask test power-cuts`.

mod points;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hardway_model::lifecycle::Phase;
use hardway_model::view::MachineDetail;

use super::alone::{self, Start};
use super::{
    TO_AGENT, TO_INSTALLED, TO_RUNNING, TestOptions, leave_out_etcd, play_in, side_by_side,
    usual_lab,
};
use crate::api::Api;
use crate::drive::{Access, Fault, OnFault};
use crate::lab::{Lab, LabMachine, LabOptions};
use crate::vm::Vm;
use crate::{disk, interrupt};
use points::Point;

/// Those that are played with the other scenarios, counted from 1: the claim, the middle of the image, the
/// table's header, the boot sector and the copy of the table on the machine; the middle of the image and the
/// commit on the appliance.
const FEW_ON_MACHINE: &[usize] = &[6, 17, 33, 34, 35];
const FEW_ON_APPLIANCE: &[usize] = &[9, 17];
/// Machines at work at a time.
const AT_A_TIME: usize = 3;
/// A size that is no multiple of a page: the system then writes single sectors.
const DISK_SIZE: u64 = (4 << 30) + 512;
/// How long the appliance is without power.
const OFF: Duration = Duration::from_secs(3);
/// Firmware that found neither network nor disk, and waits for somebody to press the reset button.
const GAVE_UP: &str = "No bootable device";

/// Whose power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// The machine's that is installed.
    Machine,
    /// The appliance's.
    Appliance,
}

impl Side {
    fn points(self) -> Vec<Point> {
        match self {
            Self::Machine => points::on_machine(),
            Self::Appliance => points::on_appliance(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Appliance => "appliance",
        }
    }
}

/// Plays all points of one side, or those from one number to another, in a lab of their own.
pub fn run(options: &TestOptions, side: Side, first: usize, last: Option<usize>) -> Result<()> {
    let count = side.points().len();
    let last = last.unwrap_or(count);
    ensure!(
        1 <= first && first <= last && last <= count,
        "the points on the {} are 1 to {count}",
        side.name()
    );
    let numbers: Vec<usize> = (first..=last).collect();
    let mut lab = usual_lab(options)?;
    lab.folder
        .push(format!("power-cuts-{}-{first}-{last}", side.name()));
    lab.nodes = Some(numbers.len());
    interrupt::catch()?;
    let start = Instant::now();
    play_in(lab, |lab| match side {
        Side::Machine => play_points(lab, &numbers, &[]),
        Side::Appliance => play_points(lab, &[], &numbers),
    })?;
    println!(
        "ok      power cuts on the {} at points {first} to {last}, {:.1} s",
        side.name(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

pub(super) fn arrange(options: &mut LabOptions) -> Result<()> {
    options.nodes = Some(FEW_ON_MACHINE.len() + FEW_ON_APPLIANCE.len());
    Ok(())
}

pub(super) fn play(lab: &mut Lab) -> Result<()> {
    play_points(lab, FEW_ON_MACHINE, FEW_ON_APPLIANCE)
}

/// Plays points by their numbers, each on a machine of the lab of its own, and prints what came of each.
fn play_points(lab: &mut Lab, machine: &[usize], appliance: &[usize]) -> Result<()> {
    leave_out_etcd(lab)?;
    for machine in &mut lab.machines {
        disk::create_blank(machine.disk(), DISK_SIZE)?;
    }
    lab.start_appliance()?;
    cut_machines(lab, machine)?;
    let all = points::on_appliance();
    for (index, number) in (machine.len()..).zip(appliance) {
        let point = *all.get(number - 1).context("there is no such point")?;
        let outcome = cut_appliance(lab, index, point);
        let name = &lab.machines[index].declared.name;
        let outcome = outcome.with_context(|| told(Side::Appliance, *number, name, point))?;
        println!(
            "        {}: {outcome}",
            told(Side::Appliance, *number, name, point)
        );
    }
    Ok(())
}

fn told(side: Side, number: usize, name: &str, point: Point) -> String {
    format!("{} {number} ({name}), {point:?}", side.name())
}

/// The lab's first machines, some at a time.
fn cut_machines(lab: &mut Lab, numbers: &[usize]) -> Result<()> {
    let all = points::on_machine();
    let api = &lab.api;
    let items = lab.machines.iter_mut().zip(numbers);
    let outcomes = side_by_side::each(items, AT_A_TIME, |(machine, number)| -> Result<()> {
        let point = *all.get(number - 1).context("there is no such point")?;
        let words = told(Side::Machine, *number, &machine.declared.name, point);
        let outcome = cut_machine(api, machine, point).with_context(|| words.clone())?;
        println!("        {words}: {outcome}");
        Ok(())
    });
    outcomes.into_iter().collect()
}

fn cut_machine(api: &Api, machine: &mut LabMachine, point: Point) -> Result<String> {
    let name = machine.declared.name.clone();
    arm(&mut machine.vm, point);
    machine.power_on()?;
    wait_for(api, machine, point)?;
    machine.vm.power_cut()?;
    disarm(&mut machine.vm);
    let written = disk::allocated(machine.disk())?;

    let has_boot_sector = disk::has_boot_sector(machine.disk())?;
    let expected = match has_boot_sector {
        true => Start::System,
        false => Start::Nothing,
    };
    let alone = alone::start(machine)?;
    ensure!(
        alone == expected,
        "started alone, it came to {alone:?}, and {expected:?} was expected"
    );
    if let Point::Sector(..) = point {
        ensure!(!has_boot_sector, "the disk boots before it is complete");
    }

    // By now, whatever was on its way has arrived.
    let cut_off = api.machine(&name)?;
    let start = Instant::now();
    machine.power_on()?;
    let seconds = wait_running_anew(api, &cut_off, || Ok(())).map(|_| start.elapsed().as_secs())?;
    let end = api.machine(&name)?;
    let more = u32::from(alone == Start::Nothing);
    expect_installed_once(machine, &end, cut_off.machine.installs_begun + more)?;
    machine.vm.power_cut()?;
    Ok(format!(
        "{} MiB on the disk; alone: {alone:?}; {} begun in all; running {seconds} s later",
        written >> 20,
        end.machine.installs_begun
    ))
}

fn cut_appliance(lab: &mut Lab, index: usize, point: Point) -> Result<String> {
    let machine = &mut lab.machines[index];
    let name = machine.declared.name.clone();
    arm(&mut machine.vm, point);
    machine.power_on()?;
    wait_for(&lab.api, machine, point)?;
    let before = lab.api.machine(&name)?;
    lab.appliance.power_cut()?;
    if let Point::Sector(..) = point {
        machine.vm.resume()?;
    }
    thread::sleep(OFF);
    let start = Instant::now();
    lab.start_appliance()?;
    let machine = &mut lab.machines[index];
    let mut resets = 0;
    let api = &lab.api;
    wait_running_anew(api, &before, || {
        if machine.vm.serial().text().contains(GAVE_UP) {
            resets += 1;
            machine.vm.power_cut()?;
            machine.power_on()?;
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs();
    let end = lab.api.machine(&name)?;
    expect_installed_once(machine, &end, 1)?;
    machine.vm.power_cut()?;
    disarm(&mut machine.vm);
    Ok(format!(
        "running {seconds} s after the appliance's start, {resets} resets"
    ))
}

/// Lets the machine stand still where the point is a sector.
fn arm(vm: &mut Vm, point: Point) {
    let (sector, accesses): (u64, &[Access]) = match point {
        Point::Sector(sector, accesses) => (sector, accesses),
        Point::FromEnd(count, accesses) => (DISK_SIZE / 512 - count, accesses),
        Point::Word(..) | Point::Running => return,
    };
    let disk = &mut vm.spec.disks[0];
    disk.on_fault = OnFault::Stop;
    let fault = |access: &Access| Fault {
        access: *access,
        sector,
    };
    disk.faults = accesses.iter().map(fault).collect();
}

fn disarm(vm: &mut Vm) {
    let disk = &mut vm.spec.disks[0];
    disk.on_fault = OnFault::Report;
    disk.faults.clear();
}

fn wait_for(api: &Api, machine: &LabMachine, point: Point) -> Result<()> {
    match point {
        Point::Word(word, later) => {
            machine.vm.serial().expect(word, TO_INSTALLED)?;
            thread::sleep(Duration::from_millis(later));
            Ok(())
        }
        Point::Sector(..) | Point::FromEnd(..) => machine.vm.wait_stopped(TO_INSTALLED),
        Point::Running => {
            let name = &machine.declared.name;
            let runs = |detail: &MachineDetail| detail.machine.phase == Phase::Running;
            api.wait_for(name, "running", TO_RUNNING, runs).map(|_| ())
        }
    }
}

/// Waits until the machine confirms that it runs, later than it did before the cut. Now and then `look` is
/// called.
fn wait_running_anew(
    api: &Api,
    before: &MachineDetail,
    mut look: impl FnMut() -> Result<()>,
) -> Result<()> {
    let name = &before.machine.name;
    let confirmed = before.machine.figures.running;
    let deadline = Instant::now() + TO_RUNNING;
    loop {
        look()?;
        let now = api.wait_for(name, "heard of", TO_AGENT, |_| true)?;
        let confirmed_now = now.machine.figures.running;
        if now.machine.phase == Phase::Running && confirmed_now > confirmed {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "{name} does not run in the end: it is {:?}",
                now.machine.phase
            );
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The receipt is of generation 1, and not more than one installation was ended, by the machine's own words
/// since it was first switched on.
fn expect_installed_once(machine: &LabMachine, end: &MachineDetail, begun: u32) -> Result<()> {
    let receipt = end.installed.as_ref().context("there is no receipt")?;
    ensure!(
        receipt.generation == 1,
        "the receipt is of generation {}",
        receipt.generation
    );
    super::expect_installs_begun(end, begun)?;
    let log = machine.vm.serial().path();
    let log = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let log = String::from_utf8_lossy(&log);
    let ended = log.matches("commit-disk: the disk boots").count();
    ensure!(ended <= 1, "{ended} installations were ended");
    Ok(())
}
