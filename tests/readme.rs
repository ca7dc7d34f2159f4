//! The README's story, pasted into a shell as a newcomer would.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Server;

/// The fenced blocks of a language, in order.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn the_readme_s_story_prints_what_it_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let shell = blocks(&readme, "sh");
    assert_eq!((shell[0].trim(), shell[2].trim()), ("cargo run --release -- serve", "dev/test"));
    let server = Server::start();
    let script = shell[1].replace("http://127.0.0.1:8080", &server.url);
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), blocks(&readme, "json")[0]);
}

#[test]
fn every_link_of_the_docs_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.starts_with("http")) {
            let target = page.parent().expect("a folder").join(link.split('#').next().unwrap_or_default());
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
}
