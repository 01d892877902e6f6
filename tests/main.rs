//! The integration tests, in one binary: they share one control plane.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit_log;
mod bad_content;
mod bad_object;
mod bad_source;
mod bad_spec;
mod bulk;
mod chart;
mod chart_links;
mod converge;
mod crash;
mod credentials;
mod damage;
mod definitions;
mod docs;
mod drift;
mod figures;
mod generated;
mod harness;
mod health;
mod helm_three;
mod idle;
mod install;
mod invariants;
mod lifecycle;
mod marker;
mod newcomer;
mod newer;
mod order;
mod outages;
mod pages;
mod process;
mod prometheus;
mod reference;
mod refs;
mod replicas;
mod report_mode;
mod sharing;
mod spec;
mod ssh;
mod status;
mod submodules;
mod transports;
mod verify;
mod webhook;
mod world;

use std::{fs, path::Path};

/// A file that nobody declares is a test that nobody runs.
#[test]
fn every_file_is_declared() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (folder, root) in [("", "main.rs"), ("world", "mod.rs")] {
        let folder = tests.join(folder);
        let declared = fs::read_to_string(folder.join(root)).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_string_lossy();
            let is_module = path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with(root);
            assert!(
                !is_module || declared.contains(&format!("mod {module};")),
                "{} is not declared in {root}",
                path.display()
            );
        }
    }
}
