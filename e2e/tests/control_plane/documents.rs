//! All YAML in the documents, as it stands: the real server accepts each object.

use std::fs;
use std::path::{Path, PathBuf};

use dotmesh_e2e::chart;

use super::{assert_accepted, refusal};

/// Folders whose Markdown people read.
const FOLDERS: [&str; 3] = [".", "docs", "charts/dotmesh"];

fn documents() -> Vec<PathBuf> {
    let folders = FOLDERS.iter().map(|folder| chart::checkout().join(folder));
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut all: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .collect();
    all.sort();
    all
}

/// Fenced blocks of YAML, in order.
fn blocks(text: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None::<String>);
    for line in text.lines() {
        match &mut open {
            Some(block) if line.trim_end() == "```" => {
                blocks.push(std::mem::take(block));
                open = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim_end() == "```yaml" => open = Some(String::new()),
            None => {}
        }
    }
    assert_eq!(open, None, "a block does not end");
    blocks
}

fn examples(file: &Path) -> Vec<String> {
    blocks(&fs::read_to_string(file).unwrap())
}

#[tokio::test]
async fn the_server_accepts_each_example() {
    let mut with_examples = Vec::new();
    for file in documents() {
        for block in examples(&file) {
            let objects = chart::objects(&block).unwrap();
            assert!(!objects.is_empty(), "{}: an empty example", file.display());
            for object in objects {
                println!("{}: {} {}", file.display(), object["kind"], object["metadata"]["name"]);
                assert_accepted(&object).await;
            }
            with_examples.push(file.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    // Each kind's page has one, and the search is not of the wrong place.
    for page in [
        "branch.md",
        "claims.md",
        "commit.md",
        "dot.md",
        "inline.md",
        "pool.md",
        "volumes.md",
    ] {
        assert!(with_examples.iter().any(|name| name == page), "{page} has no example");
    }
}

#[tokio::test]
async fn an_example_with_a_misspelt_field_is_refused() {
    let page = chart::checkout().join("docs/dot.md");
    let text = examples(&page).remove(0).replace("volumes:", "volume:");
    let object = chart::objects(&text).unwrap().remove(0);
    let words = refusal(&object).await.unwrap_or_else(|| panic!("accepted: {object}"));
    assert!(words.contains("volume"), "{words}");
}
