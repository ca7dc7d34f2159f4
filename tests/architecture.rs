//! The house stands as `lib.rs` draws it: imports go up its list, never down, so no circle can be.

use std::fs;
use std::path::{Path, PathBuf};

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The modules of `lib.rs`, bottom-up.
fn modules() -> Vec<String> {
    let lib = fs::read_to_string(source("src/lib.rs")).expect("lib.rs");
    let declared = lib.lines().filter_map(|line| line.trim().trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A module's sources: its one file, or those of its folder.
fn files_of(module: &str) -> Vec<PathBuf> {
    let (mut files, file) = (Vec::new(), source(&format!("src/{module}.rs")));
    if file.exists() {
        files.push(file);
    } else {
        rust_files(&source(&format!("src/{module}")), &mut files);
    }
    files
}

/// The top modules that a source names by `crate::`.
fn imports(text: &str) -> Vec<String> {
    let named = |rest: &str| rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| if rest.starts_with('{') { group(rest).into_iter().map(named).collect() } else { vec![named(rest)] })
        .collect()
}

/// The members of a `{…}`, groups inside it left whole.
fn group(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 1, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            members.push(&text[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

/// What runs against the house, in words.
fn violations(modules: &[String], module: &str, text: &str) -> Vec<String> {
    let place = |name: &str| modules.iter().position(|known| known == name);
    let own = place(module).expect("a module of lib.rs");
    let wrong = |import: &String| place(import).is_none_or(|place| place > own);
    imports(text).into_iter().filter(wrong).map(|import| format!("{module} imports {import}")).collect()
}

#[test]
fn imports_go_up_the_list_of_lib_rs() {
    let modules = modules();
    assert_eq!(
        modules,
        ["domain", "projections", "storage", "sqlite", "postgres", "metrics", "event_log", "read_store", "app", "audit", "graphql", "http", "load", "cli"]
    );
    let mut found = Vec::new();
    for module in &modules {
        for file in files_of(module) {
            found.extend(violations(&modules, module, &fs::read_to_string(&file).expect("a source")));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn each_module_imports_only_what_the_house_allows_it() {
    let allowed = [
        ("domain", vec![]),
        ("projections", vec!["domain"]),
        ("storage", vec![]),
        ("sqlite", vec!["storage"]),
        ("postgres", vec!["storage"]),
        ("metrics", vec![]),
        ("event_log", vec!["domain", "metrics", "postgres", "sqlite", "storage"]),
        ("read_store", vec!["domain", "postgres", "projections", "sqlite", "storage"]),
        ("app", vec!["domain", "metrics", "projections", "event_log", "read_store", "storage"]),
        ("audit", vec!["app", "domain", "event_log", "projections", "read_store", "storage"]),
        ("graphql", vec!["app", "domain", "metrics", "projections", "read_store"]),
        ("http", vec!["app", "domain", "graphql", "metrics"]),
        ("load", vec!["domain", "event_log"]),
    ];
    let named: Vec<&str> = allowed.iter().map(|(module, _)| *module).collect();
    assert_eq!(named, modules().iter().filter(|module| *module != "cli").collect::<Vec<_>>(), "the edge may import all, the others are named");
    for (module, allowed) in allowed {
        for file in files_of(module) {
            for import in imports(&fs::read_to_string(&file).expect("a source")) {
                assert!(import == module || allowed.contains(&import.as_str()), "{} imports {import}", file.display());
            }
        }
    }
}

/// There `super` is the crate's root, behind which any module could be.
#[test]
fn no_top_module_imports_by_super() {
    for module in modules() {
        let folder = source(&format!("src/{module}/mod.rs"));
        let file = if folder.exists() { folder } else { source(&format!("src/{module}.rs")) };
        let text = fs::read_to_string(&file).expect("a source");
        let code = text.split("mod tests {").next().unwrap_or_default();
        assert!(!code.lines().any(|line| line.contains("super::") && !line.contains("pub(super)")), "{}", file.display());
    }
}

#[test]
fn an_arrow_the_wrong_way_is_found() {
    let modules = ["low".to_owned(), "high".to_owned()];
    assert_eq!(violations(&modules, "low", "use crate::high::Thing;"), ["low imports high"]);
    assert_eq!(violations(&modules, "low", "use crate::{low::a, high::b};"), ["low imports high"]);
    assert_eq!(violations(&modules, "low", "use crate::{low::{a, b}, high::c,};"), ["low imports high"]);
    assert_eq!(violations(&modules, "low", "fn f() { crate::high::g() }"), ["low imports high"]);
    assert_eq!(violations(&modules, "low", "use crate::unheard;"), ["low imports unheard"]);
    assert_eq!(violations(&modules, "high", "// crate::other\nuse crate::low::Thing;"), Vec::<String>::new());
}

#[test]
fn the_schema_file_is_the_schema() {
    let stored = fs::read_to_string(source("schema.graphql")).expect("schema.graphql");
    assert!(stored == entrenous::graphql::sdl(), "schema.graphql is not what the code says: write it anew with `cargo run -- schema > schema.graphql`");
}
