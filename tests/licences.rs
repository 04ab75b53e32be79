//! Nothing is linked whose licence would bind who uses the program.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode, exception_id, license_id};

/// Licences that ask for no more than a notice; MPL-2.0 binds changes of its own files only.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages whose manifests name no licence, and what their licence files are.
const READ: [(&str, &str); 1] = [("cfg_block", "Apache-2.0")];

fn is_allowed(requirement: &LicenseReq) -> bool {
    let exceptions = [None, exception_id("LLVM-exception")];
    let known = exceptions.iter().any(|exception| match (&requirement.addition, exception) {
        (None, None) => true,
        (Some(addition), Some(exception)) => addition.id() == Some(*exception),
        _ => false,
    });
    known && ALLOWED.iter().any(|name| license_id(name) == requirement.license.id())
}

fn may_be_linked(licence: &str) -> bool {
    // Older packages write a slash for "or".
    Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| expression.evaluate(is_allowed))
}

#[test]
fn every_dependency_may_be_linked() {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(crate::support::root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 300, "{} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| {
            let read = READ.iter().find(|(name, _)| package["name"] == *name).map(|(_, licence)| *licence);
            !package["license"].as_str().or(read).is_some_and(may_be_linked)
        })
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "look at their licences: {}", refused.join(", "));
}

#[test]
fn what_may_not_be_linked_is_found() {
    for licence in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "Apache-2.0 WITH LLVM-exception", "(MIT OR GPL-2.0) AND ISC"]
    {
        assert!(may_be_linked(licence), "{licence}");
    }
    for licence in ["GPL-3.0", "AGPL-3.0-only", "MIT AND GPL-3.0-or-later", "LGPL-2.1", "made up", "", "SSPL-1.0"] {
        assert!(!may_be_linked(licence), "{licence}");
    }
}
