//! The TypeScript in documents, written to files for the compiler.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::cargo::root;

/// Documents with TypeScript, and the names of the resulting files.
const DOCUMENTS: [(&str, &str); 2] = [("docs/guide/browser.md", "guide"), ("packages/tidelock/README.md", "readme")];
/// Prepended to a block without an import, which continues those before it.
const EVERYTHING: &str = "import { createLocalStorageStore, ephemeral, job, mutex, queue, ratelimit, registry, retry, \
                          scheduler, topic } from \"tidelock/browser\";";
/// Prepended to any other block, which imports everything that it uses.
const NOTHING: &str = "export {};";

/// Writes each block into a separate file in the folder, at the same line numbers as in the document.
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

/// The TypeScript blocks, each with the line of its fence, preceded by as many empty lines as the document has before
/// it.
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
