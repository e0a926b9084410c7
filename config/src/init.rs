//! The configuration that equals the command line, as a file to go on from.

use std::path::PathBuf;

use crate::model::Config;
use crate::problems::{Fault, Place, Problems, quote};
use crate::setting::{Row, Rows, Unset};

/// The name of the file in what is wrong with [`init`]'s own text.
const FILE: &str = "larder.toml";

/// Columns of a comment.
const WIDTH: usize = 100;

/// The flags of `larder run` and `larder init` that stand for settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--origin URL`, at least once.
    pub origins: Vec<String>,
    /// `--listen ADDRESS`, as often as wanted.
    pub listen: Vec<String>,
    /// `--admin ADDRESS`.
    pub admin: Option<String>,
    /// `--memory SIZE`.
    pub memory: Option<String>,
    /// `--node NAME`.
    pub node: Option<String>,
    /// `--log json|combined|off`.
    pub log: Option<String>,
    /// `--admin-token-file FILE`.
    pub admin_token_file: Option<PathBuf>,
    /// `--disk PATH:SIZE`, as often as wanted.
    pub disks: Vec<String>,
    /// What stands for `--disk` where that is not given. A node that cannot use it goes on without.
    pub default_disk: Option<String>,
}

/// A setting that a flag gives.
struct Given {
    flag: &'static str,
    path: &'static str,
    key: &'static str,
    /// In TOML.
    value: String,
}

/// What a flag gives of one volume.
type Volume = Vec<Given>;

/// The table of a volume.
const DISK: &str = "cache.disk";

/// The text under construction.
#[derive(Default)]
struct Text {
    text: String,
    /// The lines that flags gave, from 1.
    lines: Vec<(usize, &'static str)>,
}

/// The complete configuration that equals `flags`, in TOML: what a flag gives is set, all else is a comment that shows
/// its default. Tables that no flag touches can be appended; `[[site.rule]]` too.
///
/// # Errors
///
/// What is wrong with the flags: [`parse`](crate::parse) never refuses the text that is returned.
pub fn init(flags: &Flags) -> Result<String, Problems> {
    read(flags).map(|read| read.text)
}

/// The configuration that equals `flags`: what [`parse`](crate::parse) makes of the text of [`init`], relative paths
/// from the working directory.
///
/// # Errors
///
/// What is wrong with the flags.
pub fn from_flags(flags: &Flags) -> Result<Config, Problems> {
    read(flags).map(|read| read.config)
}

/// Flags, written and read.
struct Read {
    text: String,
    config: Config,
}

fn read(flags: &Flags) -> Result<Read, Problems> {
    if flags.origins.is_empty() {
        let fault = Fault::new("no origin is given")
            .hint("add, for example, --origin http://127.0.0.1:3000");
        return Err(Problems::one(Place::Flag { flag: "--origin" }, fault));
    }

    let text = text(&given(flags), &volumes(flags)?);
    match crate::parse(FILE, &text.text) {
        Ok(config) => Ok(Read {
            text: text.text,
            config,
        }),
        Err(problems) => Err(problems.placed(|place| text.flag_at(place))),
    }
}

fn given(flags: &Flags) -> Vec<Given> {
    let Flags {
        origins,
        listen,
        admin,
        memory,
        node,
        log,
        admin_token_file,
        disks: _, // see `volumes`
        default_disk: _,
    } = flags;
    let one = |flag, path, key, value: &Option<String>| {
        value.as_ref().map(|value| Given {
            flag,
            path,
            key,
            value: string(value),
        })
    };
    let several = |flag, path, key, values: &[String]| {
        let list = || {
            values
                .iter()
                .map(|value| string(value))
                .collect::<Vec<_>>()
                .join(", ")
        };
        (!values.is_empty()).then(|| Given {
            flag,
            path,
            key,
            value: format!("[{}]", list()),
        })
    };
    let token_file = admin_token_file
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    [
        one("--node", "node", "name", node),
        several("--listen", "node", "listen", listen),
        one("--admin", "admin", "listen", admin),
        one("--admin-token-file", "admin", "token_file", &token_file),
        one("--memory", "memory", "size", memory),
        one("--log", "log", "access", log),
        several("--origin", "site", "origins", origins),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The volumes that flags give, each a table.
fn volumes(flags: &Flags) -> Result<Vec<Volume>, Problems> {
    let place = || Place::Flag { flag: "--disk" };
    let given = flags.disks.iter().map(|text| {
        let volume = volume(text, "true");
        volume.ok_or_else(|| {
            let fault = Fault::new(format!("expected PATH:SIZE, found {}", quote(text)));
            Problems::one(place(), fault.hint("for example /var/cache/larder:20GiB"))
        })
    });
    let given: Vec<Volume> = given.collect::<Result<_, _>>()?;
    let default = flags.default_disk.as_deref();
    let default = default.filter(|_| given.is_empty());
    let default = default.and_then(|text| volume(text, "false"));
    Ok(given.into_iter().chain(default).collect())
}

fn volume(text: &str, required: &'static str) -> Option<Volume> {
    // A path may have colons, a size has none.
    let (path, size) = text.rsplit_once(':')?;
    let given = |key, value| Given {
        flag: "--disk",
        path: DISK,
        key,
        value,
    };
    Some(vec![
        given("path", string(path)),
        given("size", string(size)),
        given("required", required.to_owned()),
    ])
}

/// A string of TOML.
pub(crate) fn string(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn text(given: &[Given], volumes: &[Volume]) -> Text {
    let mut text = Text::default();
    text.comment(
        "",
        "Larder's configuration. What is commented out shows the default, or an example.",
    );
    text.comment("", "Check it with: larder check larder.toml");
    for rows in crate::sections::all()
        .iter()
        .filter(|rows| is_header(rows.path))
    {
        match rows.path {
            DISK if !volumes.is_empty() => {
                volumes.iter().for_each(|given| text.section(rows, given));
            }
            _ => text.section(rows, given),
        }
    }
    text
}

/// Tables that have a header of their own; the others are values of these.
pub(crate) fn is_header(path: &str) -> bool {
    !path.contains('.') || path == "site.rule" || path == DISK
}

impl Text {
    fn section(&mut self, rows: &Rows, given: &[Given]) {
        let is_set = given.iter().any(|given| given.path == rows.path);
        self.line("");
        self.comment("", rows.about);
        self.line(&format!(
            "{}{}",
            if is_set { "" } else { "# " },
            rows.place()
        ));
        for row in rows.rows.iter().filter(|row| row.key() != "rule") {
            self.setting(
                *row,
                given
                    .iter()
                    .find(|given| given.path == rows.path && given.key == row.key()),
            );
        }
    }

    fn setting(&mut self, row: &dyn Row, given: Option<&Given>) {
        self.line("");
        self.comment("", row.about());
        let shown = match row.unset() {
            Unset::Required { example } | Unset::Is(example) => example,
            Unset::Means { example, means } => {
                self.comment("Unless given: ", &format!("{means}."));
                example
            }
        };
        match given {
            Some(given) => {
                self.line(&format!("{} = {}", row.key(), given.value));
                self.lines.push((self.text.lines().count(), given.flag));
            }
            None => self.line(&format!("# {} = {shown}", row.key())),
        }
    }

    /// Prose, in lines of at most [`WIDTH`] columns. Two signs tell it from settings that are commented out.
    fn comment(&mut self, label: &str, prose: &str) {
        let mut line = String::from("##");
        for word in label.split_whitespace().chain(prose.split_whitespace()) {
            if line.chars().count() + word.chars().count() >= WIDTH {
                self.line(&line);
                line = String::from("##");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The flag that gave what is wrong; where none did, the defaults do not go with what the flags say, and the
    /// place in the text shows which.
    fn flag_at(&self, place: Place) -> Place {
        match place {
            Place::Line { line, .. } => match self.lines.iter().find(|(given, _)| *given == line) {
                Some((_, flag)) => Place::Flag { flag },
                None => place,
            },
            Place::File { .. } | Place::Flag { .. } => place,
        }
    }
}
