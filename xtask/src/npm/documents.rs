//! The TypeScript in documents, as files that a compiler reads.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::cargo::root;

/// Documents with TypeScript, and what its files are called.
const DOCUMENTS: [(&str, &str); 2] = [("docs/guide/browser.md", "guide"), ("packages/tidelock/README.md", "readme")];
/// For a block without an import, which goes on from those before it.
const EVERYTHING: &str = "import { createLocalStorageStore, ephemeral, job, mutex, queue, ratelimit, registry, retry, \
                          scheduler, topic } from \"tidelock/browser\";";
/// For any other: it has imported all that it uses.
const NOTHING: &str = "export {};";

/// Writes each block into a file of its own in the folder, at the lines where the document has it.
pub(super) fn write_blocks(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    for (document, name) in DOCUMENTS {
        let blocks = blocks(&fs::read_to_string(root().join(document))?);
        ensure!(!blocks.is_empty(), "{document} has no block of TypeScript");
        for (line, block) in blocks {
            let imported = if block.contains("import") { NOTHING } else { EVERYTHING };
            fs::write(folder.join(format!("{name}.{line}.ts")), format!("{imported}{block}"))?;
        }
    }
    Ok(())
}

/// The blocks of TypeScript, behind as many empty lines as the document has before them; each with the line of its fence.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut is_inside = false;
    for (above, line) in document.lines().enumerate() {
        match (line, blocks.last_mut()) {
            ("```ts", _) => {
                is_inside = true;
                blocks.push((above + 1, "\n".repeat(above + 1)));
            }
            ("```", _) => is_inside = false,
            (line, Some((_, block))) if is_inside => block.extend([line, "\n"]),
            _ => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn a_block_is_at_the_lines_of_its_document() {
        let document = "# A\n```ts\nfirst\n\nlast\n```\ntext\n```console\nno\n```\n```ts\nother\n```\n";
        let expected = [(2, "\n\nfirst\n\nlast\n".to_owned()), (11, format!("{}other\n", "\n".repeat(11)))];
        assert_eq!(blocks(document), expected);
    }
}
