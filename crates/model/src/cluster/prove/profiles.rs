//! Images, and the profiles that use them.

use super::links;
use crate::cluster::diagnostics::{Problems, suggestion};
use crate::cluster::raw::read::{Field, Located, Named};
use crate::cluster::raw::{RawCluster, RawDisk, RawImage, RawProfile};
use crate::cluster::{Image, ImageSource, Network, Profile};
use crate::desired::DiskSelector;

pub(super) fn images(file: &RawCluster, problems: &mut Problems<'_>) -> Vec<Image> {
    let mut images = Vec::new();
    for (name, raw) in whole(&file.images) {
        let is_named = is_name(name, "image", problems);
        let digest = "DIGEST";
        let sha256 = raw.value.sha256.required("sha256", digest, raw, problems);
        let source = source(raw, problems);
        if is_named
            && let Some(sha256) = sha256
            && let Some(source) = source
        {
            images.push(Image {
                name: name.value.clone(),
                source,
                sha256: sha256.value.0,
                config: raw.value.config.value().copied().unwrap_or_default(),
            });
        }
    }
    images
}

/// The named things that could be read.
fn whole<T>(field: &Field<Named<T>>) -> impl Iterator<Item = (&Located<String>, &Located<T>)> {
    let named = field.value().map_or(&[][..], |named| &named.0);
    named
        .iter()
        .filter_map(|(name, thing)| Some((name, thing.as_ref()?)))
}

/// Names go into URLs and file names.
fn is_name(name: &Located<String>, what: &str, problems: &mut Problems<'_>) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=63).contains(&name.value.len())
        && name.value.chars().all(allowed)
        && name.value.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !good {
        let message = format!("`{}` is not a name for an {what}", name.value);
        let message = match what {
            "image" => message,
            _ => format!("`{}` is not a name for a {what}", name.value),
        };
        let help = "at most 63 letters, digits, `-`, `_` and `.`, the first a letter or digit";
        name.complain(problems, message, help);
    }
    good
}

fn source(raw: &Located<RawImage>, problems: &mut Problems<'_>) -> Option<ImageSource> {
    match (raw.value.file.given(), raw.value.url.given()) {
        (Some(file), None) => file_source(file, problems),
        (None, Some(url)) => url_source(url, problems),
        (Some(_), Some(url)) => {
            let message = "an image has either a `file` or a `url`";
            url.complain(problems, message, "remove one of them");
            None
        }
        (None, None) => {
            // A source of the wrong type is a problem already, and no missing one.
            if raw.value.url.is_absent() {
                raw.value
                    .file
                    .required("file", "NAME.img.zst", raw, problems);
            }
            None
        }
    }
}

fn file_source(file: &Located<String>, problems: &mut Problems<'_>) -> Option<ImageSource> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let name = &file.value;
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        let message = format!("`{name}` is not a file name in the image folder");
        let help = "the name alone, of letters, digits, `-`, `_`, `+` and `.`";
        file.complain(problems, message, help);
        return None;
    }
    Some(ImageSource::File(name.clone()))
}

fn url_source(url: &Located<String>, problems: &mut Problems<'_>) -> Option<ImageSource> {
    let schemes = ["http://", "https://"];
    let host = schemes
        .iter()
        .find_map(|scheme| url.value.strip_prefix(scheme));
    let good = host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !url.value.contains(char::is_whitespace);
    if !good {
        let message = format!("`{}` is no URL of an image", url.value);
        let help = "it has to begin with http://, which the machines fetch by themselves, or with https://, which is \
                    imported beforehand";
        url.complain(problems, message, help);
        return None;
    }
    Some(ImageSource::Url(url.value.clone()))
}

pub(super) fn profiles(
    file: &RawCluster,
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> Vec<Profile> {
    let mut profiles = Vec::new();
    for (name, raw) in whole(&file.profiles) {
        let is_named = is_name(name, "profile", problems);
        let profile = profile(&name.value, raw, file, network, problems);
        profiles.extend(profile.filter(|_| is_named));
    }
    profiles
}

fn profile(
    name: &str,
    raw: &Located<RawProfile>,
    file: &RawCluster,
    network: Option<&Network>,
    problems: &mut Problems<'_>,
) -> Option<Profile> {
    let profile = &raw.value;
    let image = profile.image.required("image", "NAME", raw, problems);
    let image = image.filter(|image| is_known(image, "image", &file.images, problems));
    let disk = profile.disk.value().map(|disk| selector(disk, problems));
    for argument in profile.kernel_arguments.value().into_iter().flatten() {
        check_kernel_argument(argument, problems);
    }
    for part in profile.config.value().into_iter().flatten() {
        check_part(part, problems);
    }
    let links = profile.network.given();
    let links = links.map(|raw| links::links(raw, network, problems));
    Some(Profile {
        network: match links {
            Some(links) => Some(links?),
            None => None,
        },
        name: name.to_owned(),
        image: image?.value.clone(),
        disk: disk.unwrap_or_default(),
        wipe: profile.wipe.value().copied().unwrap_or_default(),
        install: profile.install.value().copied().unwrap_or_default(),
        secure_boot: profile.secure_boot.value().copied().unwrap_or_default(),
        after_install: profile.after_install.value().copied().unwrap_or_default(),
        read_back: profile.read_back.value().copied().unwrap_or(true),
        boot_order: profile.boot_order.value().copied().unwrap_or_default(),
        kernel_arguments: texts(profile.kernel_arguments.value()),
        config: texts(profile.config.value()),
        vars: profile.vars.value().cloned().unwrap_or_default(),
    })
}

fn texts(list: Option<&Vec<Located<String>>>) -> Vec<String> {
    let list = list.map_or(&[][..], Vec::as_slice);
    list.iter().map(|text| text.value.clone()).collect()
}

/// Whether a profile of this name is declared; a problem if not.
pub(super) fn is_profile(
    name: &Located<String>,
    file: &RawCluster,
    problems: &mut Problems<'_>,
) -> bool {
    is_known(name, "profile", &file.profiles, problems)
}

/// Whether something of this name is declared. Where the declarations themselves are wrong, nobody
/// can tell, and that is problem enough.
fn is_known<T>(
    name: &Located<String>,
    what: &str,
    declared: &Field<Named<T>>,
    problems: &mut Problems<'_>,
) -> bool {
    let declared = match declared {
        Field::Given(named) => named.value.0.as_slice(),
        Field::Absent => &[],
        Field::Wrong => return true,
    };
    let known = || declared.iter().map(|(name, _)| name.value.as_str());
    let found = known().any(|other| other == name.value);
    if !found {
        let help = suggestion(&name.value, known());
        name.complain(problems, format!("unknown {what} `{}`", name.value), help);
    }
    found
}

fn selector(raw: &RawDisk, problems: &mut Problems<'_>) -> DiskSelector {
    let selector = DiskSelector {
        path: raw.path.value().cloned(),
        serial: raw.serial.value().cloned(),
        wwn: raw.wwn.value().cloned(),
        model: raw.model.value().cloned(),
        min_size: raw.min_size.value().map(|size| size.0),
        max_size: raw.max_size.value().map(|size| size.0),
        rotational: raw.rotational.value().copied(),
        transport: raw.transport.value().cloned(),
        prefer: raw.prefer.value().copied(),
    };
    if let Some(path) = raw
        .path
        .given()
        .filter(|path| !path.value.starts_with("/dev/"))
    {
        let message = format!("`{}` is not the path of a disk", path.value);
        path.complain(problems, message, "as in /dev/nvme0n1");
    }
    if let Some(most) = raw.max_size.given()
        && selector.min_size.is_some_and(|least| least > most.value.0)
    {
        most.complain(
            problems,
            "`max_size` is less than `min_size`",
            "no disk can fit both",
        );
    }
    selector
}

/// One argument: what the kernel would split at white space has to be several items.
fn check_kernel_argument(argument: &Located<String>, problems: &mut Problems<'_>) {
    let text = &argument.value;
    let mut quoted = false;
    let splits = text.chars().any(|c| {
        quoted ^= c == '"';
        c.is_control() || (c.is_whitespace() && !quoted)
    });
    if text.is_empty() || splits || quoted {
        let message = format!("`{text}` is not one kernel argument");
        let help = "write each as an item of its own, as in [quiet, console=ttyS0]";
        argument.complain(problems, message, help);
    }
}

fn check_part(part: &Located<String>, problems: &mut Problems<'_>) {
    let path = &part.value;
    let stays = !path.starts_with('/')
        && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
        && !path.contains(['\\', '\0']);
    if !stays {
        let message = format!("`{path}` does not stay beside the cluster file");
        let help = "a path relative to this file, without `..`, as in roles/base.bu";
        part.complain(problems, message, help);
        return;
    }
    if ![".bu", ".ign", ".json"]
        .iter()
        .any(|ending| path.ends_with(ending))
    {
        let message = format!("`{path}` is no config part by its ending");
        part.complain(
            problems,
            message,
            "`.bu` for Butane, `.ign` or `.json` for Ignition",
        );
    }
}
