//! The image written by all contenders in turns, and the rows that come of it.

use super::Tools;
use super::contender::{ALL, Arena, Contender};
use super::cost::Cost;
use super::images::Images;
use crate::report::{Better, Figure, Row, Target};
use crate::section::Bench;

/// The agent may have 64 MB.
const MEMORY: f64 = 64.0;
const MEGABYTE: f64 = 1e6;
const MEBIBYTE: f64 = (1 << 20) as f64;

/// Measures them all.
pub fn measure(bench: &Bench, tools: &Tools) -> anyhow::Result<Vec<Row>> {
    let images = Images::prepare(&bench.settings, tools)?;
    let arena = Arena::prepare(bench, tools, &images)?;
    let mut taken = vec![Vec::new(); ALL.len()];
    for (repeat, index) in bench.turns(ALL.len()) {
        let contender = ALL[index];
        let cost = arena.run(contender)?;
        let Cost {
            seconds, processor, ..
        } = cost;
        eprintln!("{repeat} {contender:?}: {seconds:.2} s, {processor:.2} s of processors");
        taken[index].push(cost);
    }
    let figures = Figures {
        arena: &arena,
        taken,
        mebibytes: images.size as f64 / MEBIBYTE,
    };
    let size = format!("{:.0} MiB", figures.mebibytes);
    let mut rows = speed(&figures, &size);
    rows.push(read_back(&figures, &size));
    rows.extend(costs(&figures, &size));
    Ok(rows)
}

/// What was measured, as figures.
struct Figures<'a> {
    arena: &'a Arena<'a>,
    /// In the order of [`ALL`].
    taken: Vec<Vec<Cost>>,
    /// Of the unpacked image.
    mebibytes: f64,
}

impl Figures<'_> {
    fn of(&self, contender: Contender, what: impl Fn(&Cost) -> f64) -> Figure {
        let (name, version) = self.arena.name(contender);
        let index = ALL.iter().position(|one| *one == contender);
        let taken = index.map_or(&[] as &[Cost], |index| &self.taken[index]);
        Figure::new(name, version, taken.iter().map(what).collect())
    }

    fn speed(&self, contender: Contender) -> Figure {
        self.of(contender, |cost| self.mebibytes / cost.seconds)
    }
}

/// How fast the disk comes to be as the image says.
fn speed(figures: &Figures<'_>, size: &str) -> Vec<Row> {
    use Contender::{
        Checked, CoreosXz, CoreosZstd, Imported, Sparse, StreamedXz, StreamedZstd, Unchecked,
    };
    let (twice, nearly, known) = (Target::AtLeast(2.0), Target::AtLeast(0.9), Target::Known);
    let without_check = "imported, beside the limit without a check";
    let without_zeros = "imported, beside the limit without zeros";
    let rows = [
        ("imported, beside .xz", Imported, CoreosXz, twice),
        (".xz streamed", StreamedXz, CoreosXz, known),
        ("imported, beside .zst", Imported, CoreosZstd, known),
        (".zst streamed", StreamedZstd, CoreosZstd, known),
        ("imported, beside the limit", Imported, Checked, nearly),
        (
            ".zst streamed, beside the limit",
            StreamedZstd,
            Checked,
            nearly,
        ),
        (without_check, Imported, Unchecked, known),
        (without_zeros, Imported, Sparse, known),
    ];
    let row = |(what, ours, peer, target)| {
        Row::new(
            format!("Writing {size}: {what}"),
            "MiB/s",
            Better::Higher,
            figures.speed(ours),
            vec![figures.speed(peer)],
            target,
        )
    };
    rows.map(row).into()
}

/// What it costs to read everything back, beside the same without.
fn read_back(figures: &Figures<'_>, size: &str) -> Row {
    let seconds = |cost: &Cost| cost.seconds;
    let mut without = figures.of(Contender::Imported, seconds);
    without.name.push_str(" (without)");
    Row::new(
        format!("Writing {size}: imported, with read-back"),
        "s",
        Better::Lower,
        figures.of(Contender::ReadBack, seconds),
        vec![without],
        Target::Known,
    )
}

/// Processor, memory and wire.
fn costs(figures: &Figures<'_>, size: &str) -> Vec<Row> {
    use Contender::{Checked, CoreosXz, CoreosZstd, Imported, ReadBack, StreamedXz, StreamedZstd};
    let forms: [(&str, Contender, &[Contender]); 4] = [
        ("imported", Imported, &[CoreosXz, CoreosZstd, Checked]),
        ("imported, with read-back", ReadBack, &[]),
        (".xz streamed", StreamedXz, &[CoreosXz]),
        (".zst streamed", StreamedZstd, &[CoreosZstd, Checked]),
    ];
    type What = fn(&Cost) -> f64;
    let kinds: [(&str, &str, What, Target); 3] = [
        ("processor time", "s", |cost| cost.processor, Target::Known),
        (
            "peak memory",
            "MB",
            |cost| cost.memory as f64 / MEGABYTE,
            Target::Limit(MEMORY),
        ),
        (
            "bytes over the wire",
            "MB",
            |cost| cost.wire as f64 / MEGABYTE,
            Target::Known,
        ),
    ];
    let mut rows = Vec::new();
    for (kind, unit, what, target) in kinds {
        for (form, ours, peers) in forms {
            rows.push(Row::new(
                format!("Writing {size}: {kind}, {form}"),
                unit,
                Better::Lower,
                figures.of(ours, what),
                peers
                    .iter()
                    .map(|peer| packed(figures, *peer, what))
                    .collect(),
                target,
            ));
        }
    }
    rows
}

/// A peer's figure, with the file that it takes where it takes several.
fn packed(figures: &Figures<'_>, peer: Contender, what: fn(&Cost) -> f64) -> Figure {
    let mut figure = figures.of(peer, what);
    match peer {
        Contender::CoreosXz => figure.name.push_str(" (.xz)"),
        Contender::CoreosZstd => figure.name.push_str(" (.zst)"),
        _ => {}
    }
    figure
}
