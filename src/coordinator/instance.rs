//! The default id of this instance and the default name of its fleet. The id is the name of the host, and the name of
//! the fleet is the name of the program. Both survive restarts, so that a new process finds the state of its
//! predecessor in the store.

use std::env::consts::EXE_SUFFIX;
use std::path::Path;

use crate::keep::{LONGEST_FLEET, is_fleet, is_instance};
use crate::shown::is_printable;

/// Returns the name of the host, or `localhost` if the name of the host is not a valid id.
pub(crate) fn host_name() -> String {
    let name = system_name();
    if is_instance(&name) { name } else { "localhost".to_owned() }
}

/// Returns the file name of the executable, with `-` for the characters that the name of a fleet cannot have. Returns
/// `service` if the file name is not known.
pub(crate) fn program_name() -> String {
    std::env::current_exe().ok().and_then(|path| fleet_of_program(&path)).unwrap_or_else(|| "service".to_owned())
}

fn fleet_of_program(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    // Linux appends this suffix if the file was replaced while the program runs, for example by a new release.
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    let name = name.strip_suffix(EXE_SUFFIX).unwrap_or(name);
    let mut fleet = String::new();
    for c in name.chars().map(|c| if is_printable(c) { c } else { '-' }) {
        if fleet.len() + c.len_utf8() > LONGEST_FLEET {
            break;
        }
        fleet.push(c);
    }
    is_fleet(&fleet).then_some(fleet)
}

#[cfg(target_os = "linux")]
fn system_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn system_name() -> String {
    // The standard library cannot query the host name. Many shells export `HOSTNAME`, and Windows sets `COMPUTERNAME`.
    let variables = ["HOSTNAME", "COMPUTERNAME"];
    variables.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

#[cfg(all(test, not(breaker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_default_fleet_is_the_file_name_of_the_executable() {
        let long = format!("/opt/{}", "ä".repeat(60));
        for (path, fleet) in [
            ("/opt/orders/orders-api", "orders-api"),
            ("/opt/orders-api (deleted)", "orders-api"),
            ("/opt/My App\u{202e}", "My-App-"),
            (&long, &"ä".repeat(50)),
        ] {
            assert_eq!(fleet_of_program(Path::new(path)).as_deref(), Some(fleet), "{path}");
        }
        assert_eq!(fleet_of_program(Path::new("/")), None);
        assert!(is_fleet(&program_name()), "the program of this test");
    }
}
