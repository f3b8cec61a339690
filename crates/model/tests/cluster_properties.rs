//! A cluster file in the middle of being edited: whatever it holds, it is read or refused with
//! places that exist.
#![cfg(feature = "cluster")]

use hardway_model::cluster;
use proptest::prelude::*;

const FULL: &str = include_str!("../../../configs/examples/full.yaml");

/// What an editor leaves behind.
#[derive(Debug, Clone)]
enum Edit {
    /// A line is gone.
    DropLine(usize),
    /// The text ends here.
    CutAt(usize),
    /// A few characters are something else.
    Replace { at: usize, text: String },
    /// A line stands twice.
    RepeatLine(usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let scrap = prop_oneof![
        "[a-z0-9:{}\\[\\]\"'&*#,|> .-]{0,6}",
        Just("\n".to_owned()),
        Just("\t".to_owned()),
        Just("ü→".to_owned()),
    ];
    prop_oneof![
        (0_usize..100).prop_map(Edit::DropLine),
        (0_usize..5000).prop_map(Edit::CutAt),
        (0_usize..5000, scrap).prop_map(|(at, text)| Edit::Replace { at, text }),
        (0_usize..100).prop_map(Edit::RepeatLine),
    ]
}

fn edit(text: &str, edit: &Edit) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let characters: Vec<char> = text.chars().collect();
    match edit {
        Edit::DropLine(index) => {
            let kept = lines.iter().enumerate().filter(|(line, _)| line != index);
            kept.map(|(_, line)| format!("{line}\n")).collect()
        }
        Edit::CutAt(at) => characters.into_iter().take(*at).collect(),
        Edit::Replace { at, text } => {
            let at = (*at).min(characters.len());
            let after = (at + 2).min(characters.len());
            let before: String = characters[..at].iter().collect();
            let rest: String = characters[after..].iter().collect();
            format!("{before}{text}{rest}")
        }
        Edit::RepeatLine(index) => {
            let times = |line: usize| if line == *index { 2 } else { 1 };
            let repeated = lines.iter().enumerate();
            repeated
                .map(|(line, text)| format!("{text}\n").repeat(times(line)))
                .collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edited_file_is_read_or_refused_in_its_places(
        edits in prop::collection::vec(any_edit(), 1..4)
    ) {
        let text = edits.iter().fold(FULL.to_owned(), |text, one| edit(&text, one));
        let Err(diagnostics) = cluster::parse(&text, "cluster.yaml") else {
            return Ok(());
        };
        prop_assert!(!diagnostics.problems.is_empty());
        let lines: Vec<&str> = text.lines().collect();
        for problem in &diagnostics.problems {
            let line = lines.get(problem.line - 1).copied().unwrap_or_default();
            prop_assert_eq!(&problem.source_line, line);
            let end = problem.column - 1 + problem.length;
            prop_assert!(end <= line.chars().count() + 1, "{:?}", problem);
            prop_assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{:?}", problem);
        }
    }
}
