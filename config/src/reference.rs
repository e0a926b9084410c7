//! The reference of all settings, written from the settings themselves.

use crate::changes::{Takes, takes};
use crate::kinds::LIST_MAX;
use crate::setting::{Row, Rows, Unset};
use crate::{FILE_BYTES_MAX, problems::PROBLEMS_MAX};

/// The reference of the configuration file, in Markdown.
pub fn reference() -> String {
    let mut text = preface();
    for rows in crate::sections::all() {
        text.push_str(&table(rows));
    }
    text
}

fn preface() -> String {
    let kib = FILE_BYTES_MAX >> 10;
    format!(
        "# Settings\n\
         \n\
         The configuration is one TOML file. `larder init` prints a complete one with comments, `larder check FILE` \
         tells everything that is wrong with one.\n\
         \n\
         * Sizes are whole numbers with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB`, or `kB`, `MB`, `GB`, `TB`.\n\
         * Durations are whole numbers with a unit: `ms`, `s`, `m`, `h`, `d`, `w`, `y` (365 days).\n\
         * Relative paths begin at the folder of the file.\n\
         * Unknown keys, and keys that would have no effect, are errors.\n\
         * A running node takes changes of all settings (`larder reload`) but those that say: *At a start.*\n\
         * A file has at most {kib} KiB, a list at most {LIST_MAX} values; the first {PROBLEMS_MAX} problems are shown.\n"
    )
}

fn table(rows: &Rows) -> String {
    let place = rows.place();
    let title = if place.starts_with('`') {
        place
    } else {
        format!("`{place}`")
    };
    let lines = rows.rows.iter().map(|row| line(rows.path, *row));
    let lines: String = lines.collect();
    format!(
        "\n## {title}\n\n{}\n\n| key | value | unless given | meaning |\n| --- | --- | --- | --- |\n{lines}",
        coded(rows.about)
    )
}

fn line(table: &str, row: &dyn Row) -> String {
    let (accepts, about) = (coded(&row.accepts()), coded(row.about()));
    let taken = match takes(table, row.key()) {
        Takes::Starting => " *At a start.*",
        Takes::Running => "",
    };
    format!(
        "| `{}` | {accepts} | {} | {about}{taken} |\n",
        row.key(),
        unset(row)
    )
}

fn unset(row: &dyn Row) -> String {
    match row.unset() {
        Unset::Required { .. } => "required".to_owned(),
        Unset::Is(value) => format!("`{value}`"),
        Unset::Means { means, .. } => coded(means),
    }
}

/// Words in double quotes as code.
fn coded(prose: &str) -> String {
    let mut parts = prose.split('"');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push_str(if index % 2 == 0 { "`\"" } else { "\"`" });
        text.push_str(part);
    }
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_that_of_the_settings() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "run the test with UPDATE_REFERENCE=1 to write config/reference.md anew"
        );
    }
}
