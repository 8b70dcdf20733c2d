//! Debian's cloud kernels, by apt, beside the machine's own apt: sources, lists and cache of their own.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};

use super::Series;
use crate::{setup, sh};

/// Suites that hold the kernels, and whether the security archive has them too.
const SUITES: &[(&str, bool)] = &[
    ("bullseye", true),
    ("bookworm", true),
    ("trixie", true),
    ("trixie-backports", false),
    ("sid", false),
];
/// Lists older than this are fetched again.
const LISTS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Debian's keys, from its own package.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Debian's version of the package, `6.1.176-1`.
    pub(crate) version: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
}

/// A package as the lists describe it.
#[derive(Clone, Debug, Default)]
struct Candidate {
    name: String,
    version: String,
    depends: String,
}

/// Fetches and unpacks the newest kernel of each series.
///
/// `mirror` replaces the machine's own Debian mirror. With `update` the lists are fetched even when they are new.
///
/// # Errors
/// When there is no mirror, or a series is on none of the suites; without network, when nothing is cached.
pub(crate) fn fetch(series: &[Series], mirror: Option<&str>, update: bool) -> Result<Vec<Kernel>> {
    let apt = Apt::open(mirror)?;
    apt.update(update)?;
    let candidates = apt.candidates()?;
    series
        .iter()
        .map(|series| apt.unpack(&newest(*series, &candidates)?))
        .collect()
}

fn newest(series: Series, candidates: &[Candidate]) -> Result<Candidate> {
    candidates
        .iter()
        .filter(|candidate| series.holds(&candidate.version))
        .max_by(|a, b| compare(&a.version, &b.version))
        .cloned()
        .with_context(|| {
            format!(
                "no cloud kernel of {series} on this mirror: name one that keeps old suites with --mirror"
            )
        })
}

/// Debian's order, by dpkg itself: `~` sorts before everything, digits by value.
fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let less = Command::new("dpkg")
        .args(["--compare-versions", a, "lt", b])
        .status();
    if less.is_ok_and(|status| status.success()) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// apt with everything of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn open(mirror: Option<&str>) -> Result<Self> {
        let folder = setup::cache()?.join("vm");
        for part in ["lists/partial", "archives/partial", "debs", "kernels"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("making {}", folder.display()))?;
        }
        let apt = Self { folder };
        let sources = sources(mirror)?;
        if fs::read_to_string(apt.sources()).unwrap_or_default() != sources {
            fs::write(apt.sources(), sources).context("writing the sources list")?;
            // Lists of another mirror say nothing about this one.
            fs::remove_file(apt.stamp()).ok();
        }
        Ok(apt)
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("updated")
    }

    /// Options win over the machine's configuration, which stays in force for the rest (proxies).
    fn command(&self, program: &str) -> Command {
        let mut command = sh::command(program);
        let path = |part: &str| self.folder.join(part).display().to_string();
        for (name, value) in [
            ("Dir::Etc::SourceList", path("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::State::Lists", path("lists")),
            ("Dir::Cache", path("")),
            ("Acquire::Languages", "none".to_owned()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
            // The private folders belong to whoever runs this, not to apt's own user.
            ("APT::Sandbox::User", "root".to_owned()),
            // The suites are wanted as they last were, also those that are no longer signed anew.
            ("Acquire::Check-Valid-Until", "false".to_owned()),
        ] {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        command
    }

    fn update(&self, force: bool) -> Result<()> {
        let age = fs::metadata(self.stamp())
            .and_then(|stamp| stamp.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if !force && age.is_some_and(|age| age < LISTS_AGE) {
            return Ok(());
        }
        // A suite that is gone from the mirror fails on its own; what is missing then is said by its series.
        if let Err(error) = sh::output(self.command("apt-get").args(["-q", "update"])) {
            eprintln!("warning: {error:#}");
            return Ok(());
        }
        fs::write(self.stamp(), "").context("writing the time of the update")
    }

    fn candidates(&self) -> Result<Vec<Candidate>> {
        let names = sh::output(self.command("apt-cache").args(["pkgnames", PREFIX]))?;
        let names: Vec<&str> = names.lines().filter(|name| is_release(name)).collect();
        ensure!(
            !names.is_empty(),
            "apt knows no cloud kernels: is the Debian mirror within reach?"
        );
        let records = sh::output(self.command("apt-cache").arg("show").args(names))?;
        Ok(records.split("\n\n").map(Candidate::read).collect())
    }

    fn unpack(&self, candidate: &Candidate) -> Result<Kernel> {
        let release = candidate.name.trim_start_matches(PREFIX);
        let folder = self
            .folder
            .join("kernels")
            .join(format!("{}_{}", candidate.name, candidate.version));
        if !folder.join("complete").exists() {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
            }
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            let debs = self.folder.join("debs");
            // What an interrupted run left there belongs to another kernel.
            fs::remove_dir_all(&debs).context("emptying the folder of packages")?;
            fs::create_dir(&debs).context("making the folder of packages")?;
            for package in candidate.packages() {
                sh::run(
                    self.command("apt-get")
                        .args(["-q", "download", &package])
                        .current_dir(&debs),
                )?;
            }
            self.unpack_debs(&folder)?;
            fs::write(folder.join("complete"), "").context("marking the kernel as complete")?;
        }
        let modules = ["lib/modules", "usr/lib/modules"].map(|parent| folder.join(parent).join(release));
        let image = ["boot", "usr/boot"].map(|parent| folder.join(parent).join(format!("vmlinuz-{release}")));
        Ok(Kernel {
            version: candidate.version.clone(),
            image: first(image)
                .or_else(|_| first([folder.join(format!("usr/lib/modules/{release}/vmlinuz"))]))?,
            modules: first(modules)?,
        })
    }

    fn unpack_debs(&self, folder: &Path) -> Result<()> {
        for deb in fs::read_dir(self.folder.join("debs")).context("listing the packages")? {
            let deb = deb.context("listing the packages")?.path();
            sh::run(sh::command("dpkg-deb").arg("--extract").arg(&deb).arg(folder))?;
            // The unpacked files are what is kept.
            fs::remove_file(&deb).with_context(|| format!("removing {}", deb.display()))?;
        }
        Ok(())
    }
}

fn first<const N: usize>(paths: [PathBuf; N]) -> Result<PathBuf> {
    let tried = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    paths
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("the package holds none of {tried}"))
}

/// `linux-image-6.1.0-50-cloud-amd64`, but not its unsigned or debug twin, and no package that only names another.
fn is_release(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|version| {
            version.starts_with(|first: char| first.is_ascii_digit()) && version.matches('.').count() >= 2
        })
}

impl Candidate {
    fn read(record: &str) -> Self {
        let field = |name: &str| {
            let value = record
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_default().to_owned()
        };
        Self {
            name: field("Package"),
            version: field("Version"),
            depends: field("Depends"),
        }
    }

    /// The package, and those it was split into: dependencies of exactly its own version.
    fn packages(&self) -> Vec<String> {
        let own = format!("(= {})", self.version);
        let parts = self
            .depends
            .split(',')
            .filter_map(|part| part.trim().strip_suffix(&own));
        std::iter::once(self.name.as_str())
            .chain(parts.map(str::trim))
            .map(|name| format!("{name}={}", self.version))
            .collect()
    }
}

/// Sources of every suite on one mirror.
fn sources(mirror: Option<&str>) -> Result<String> {
    let uri = match mirror {
        Some(uri) => uri.trim_end_matches('/').to_owned(),
        None => configured_mirror()?,
    };
    let Some(parent) = uri.strip_suffix("/debian") else {
        bail!("the mirror {uri} does not end in /debian: name another with --mirror");
    };
    // Where Debian's keys are not apt's own (Ubuntu), they have to be named.
    let options = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    let mut lines = String::new();
    for (suite, security) in SUITES {
        lines.push_str(&format!("deb {options}{uri} {suite} main\n"));
        if *security {
            lines.push_str(&format!(
                "deb {options}{parent}/debian-security {suite}-security main\n"
            ));
        }
    }
    Ok(lines)
}

/// The first Debian mirror of the machine's own apt. It is asked what it would fetch: that needs no lists.
fn configured_mirror() -> Result<String> {
    let uris = sh::output(sh::command("apt-get").args(["update", "--print-uris"]))?;
    mirror_in(&uris)
        .map(str::to_owned)
        .context("this machine's apt has no Debian mirror: name one with --mirror http://HOST/debian")
}

/// `'http://HOST/debian/dists/bookworm/InRelease' ...` names the mirror `http://HOST/debian`.
fn mirror_in(uris: &str) -> Option<&str> {
    uris.lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"))
        .map(|(mirror, _)| mirror)
        .find(|mirror| mirror.ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kernels() {
        assert!(is_release("linux-image-6.1.0-50-cloud-amd64"));
        assert!(is_release("linux-image-6.12.107+deb13-cloud-amd64"));
        for other in [
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-dbg",
        ] {
            assert!(!is_release(other), "{other}");
        }
    }

    #[test]
    fn parts_of_a_split_package_are_fetched_too() {
        let record = "Package: linux-image-9.1.2-cloud-amd64\nVersion: 9.1.2-1\n\
            Depends: kmod, initramfs-tools (>= 0.120), linux-base-9.1.2 (= 9.1.2-1), linux-modules-9.1.2 (= 9.1.2-1)";
        let expected = [
            "linux-image-9.1.2-cloud-amd64=9.1.2-1",
            "linux-base-9.1.2=9.1.2-1",
            "linux-modules-9.1.2=9.1.2-1",
        ];
        assert_eq!(Candidate::read(record).packages(), expected);
    }

    #[test]
    fn the_mirror_is_the_one_of_debian() {
        let uris = "'http://other.test/node_20.x/dists/nodistro/InRelease' a 0 \n\
            'http://some.test/debian-security/dists/x/InRelease' b 0 \n\
            'http://some.test/debian/dists/bookworm/InRelease' c 0 ";
        assert_eq!(mirror_in(uris), Some("http://some.test/debian"));
        assert_eq!(mirror_in(""), None);
    }
}
