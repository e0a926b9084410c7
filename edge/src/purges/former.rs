//! What other configurations have called things: no order of purges, reloads and starts brings back what was purged.
//!
//! A response is purged by labels that it was given when it was stored, under the sites of then. A purge comes under other
//! sites perhaps, and what is stored may be asked for under others again. Of the labels, those of hosts, prefixes, sites,
//! tags of a site and keys do not depend on the configuration. Two do:
//!
//! - a URL's, which is called by the site that answers for its host, and by what that makes of its query ([`Naming`]);
//! - a tag's of all sites, which is one of each site that there is.
//!
//! **Claim.** A purge of a URL or tag has the labels of all responses that carried that name under any configuration that
//! was in force until then, and is held against them.
//!
//! 1. *All names are known.* Before a configuration comes into force, at a start or a reload, its names are in [`Names`],
//!    and where there are disks, on the disk ([`Purges::know`]). So whatever was stored, by this process or one before, was
//!    called by one of them. `kill -9` between the two leaves a name too many, which harms nobody.
//! 2. *Purges use them all.* Every purge is applied with all of them: one that comes, and one that a start reads of its log,
//!    be that the node's own or the fleet's. So the labels of 1 are among them, whatever was in force when it came.
//! 3. *Nothing slips in between.* A purge reads the names and is applied under one lock ([`Former::names`]), and a
//!    configuration's names are added under it. Where a purge was applied without them, no request can have been sent under
//!    that configuration yet: what the origin answers to one is born at the purge, or later.
//! 4. *What is older than its request* comes from another node, which may not have heard of a purge that was applied here.
//!    So whoever adds names applies the last purges again, by the new ones too. Those that the journal has not any more, and
//!    the sweeper has not outlived, are a doubt. What the sweeper has outlived is gone where nobody held it against it.
//! 5. *Where names may be missing*, because the file is of an older version, damaged or of another log, everything older is
//!    in doubt: a record in the log says so before a name is written. With another log the disks begin empty.
//!
//! A URL that another configuration makes one with others, which it was not before, is purged by the next purge of them: an
//! earlier one has not named what they were.

use std::cell::OnceCell;
use std::io;
use std::path::Path;

use parking_lot::RwLock;
use purge_api::{Order, Scope};
use storage::Moment;
use storage::purge::{Label, LogError, Sequence};

use super::journal::KEPT_MAX;
use super::names::parse_url;
use super::names_file::NamesFile;
use super::naming::{Added, Known, Names, Naming, Namings};
use super::open::Opened;
use super::record::{Doubt, Reason};
use super::{Kind, Purges, accepted, mode};
use crate::exchange::split_target;
use crate::sites::Sites;

/// What configurations have called things, this one and those before.
#[derive(Debug, Default)]
pub(super) struct Former {
    pub names: RwLock<Names>,
    /// None where what is stored does not outlive the process.
    file: Option<NamesFile>,
}

/// Whether what is on the disks was stored under the log that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stored {
    /// It was.
    Under,
    /// The log is another one, under which nothing is found.
    Nothing,
}

impl Former {
    /// What is called by names in a folder. Where these may not be all, the log says that everything is in doubt.
    pub(super) fn open(
        folder: &Path,
        opened: &mut Opened,
        stored: Stored,
    ) -> Result<Self, LogError> {
        let file = NamesFile::new(folder, opened.file.id());
        let names = match (stored, file.read()) {
            (Stored::Under, Some(names)) => names,
            (Stored::Under, None) => {
                tracing::warn!(
                    "it is not known what was stored under which names: everything stored is validated before it is used"
                );
                opened.doubt(Reason::Names)?;
                Names::default()
            }
            (Stored::Nothing, _) => Names::default(),
        };
        Ok(Self {
            names: RwLock::new(names),
            file: Some(file),
        })
    }
}

impl Purges {
    /// Sites are to come into force: purges are by their names, too, when this returns. It blocks until the disk has them.
    ///
    /// # Errors
    /// As the system has them: then these sites must not come into force.
    pub(crate) fn know(&self, sites: &Sites) -> io::Result<()> {
        // Who takes a configuration does so alone.
        let mut names = self.former.names.read().clone();
        let added = names.add(&Namings::of(sites));
        if added == Added::Nothing {
            return Ok(());
        }
        if let Some(file) = &self.former.file {
            file.write(&names)?;
        }
        let mut known = self.former.names.write();
        *known = names;
        self.name_again(&known, sites);
        Ok(())
    }

    /// Applies the last purges by names that were not known when they came.
    fn name_again(&self, names: &Names, sites: &Sites) {
        let outlived = self.index.forgotten();
        let journal = self.journal.lock();
        let last: Vec<_> = journal.newest_first().collect();
        if let Some(oldest) = last.get(KEPT_MAX - 1)
            && oldest.own > outlived.next()
        {
            self.index.doubt(Sequence(oldest.own.0 - 1));
        }
        for logged in last.into_iter().rev().filter(|it| it.own > outlived) {
            let order = &logged.order;
            if !order.scopes.iter().any(depends_on_sites) {
                continue;
            }
            let labels = self.all_labels(order, sites, names);
            let applied = logged.applied.map(|it| Moment(it.at.unix_millis()));
            let since = applied.or_else(|| accepted(order)).unwrap_or_default();
            self.index
                .apply(logged.own, &labels, mode(order.mode), since);
        }
    }

    /// Everything that an order may name of what is stored.
    pub(super) fn all_labels(&self, order: &Order, sites: &Sites, names: &Names) -> Vec<Label> {
        let mut labels = Vec::new();
        for scope in &order.scopes {
            if self.add_labels(scope, sites, &mut labels).is_err() {
                labels.push(self.label_unserved(scope));
            }
            self.add_former_labels(scope, (sites, names), &mut labels);
        }
        labels
    }

    /// What an order names by former sites.
    fn add_former_labels(
        &self,
        scope: &Scope,
        (sites, names): (&Sites, &Names),
        labels: &mut Vec<Label>,
    ) {
        let mut add = |label| {
            if !labels.contains(&label) {
                labels.push(label);
            }
        };
        match (scope, names.known()) {
            (Scope::Tag { site: None, .. }, Known::NotAll) => add(self.label(Kind::All, &[])),
            (Scope::Tag { site: None, tag }, Known::All) => {
                let sites = names.sites().into_iter();
                sites.for_each(|site| {
                    add(self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()]));
                });
            }
            (Scope::Url(url), known) => {
                let Ok((host, target)) = parse_url(url) else {
                    return;
                };
                let (path, _) = split_target(&target);
                if known == Known::NotAll {
                    add(self.path_label(&host, path));
                }
                let now = OnceCell::new();
                let now = || now.get_or_init(|| sites.find(&host).map(|it| Naming::of(it)));
                for naming in names.of(&host) {
                    // By the rules in force it is named already, and by those of its path only.
                    if naming.queries.len() > 1 && now().as_ref() == Some(naming) {
                        continue;
                    }
                    for queries in &naming.queries {
                        add(self.url_label(&naming.site, &queries.rules(), &host, &target));
                    }
                    add(self.search_label(&naming.site, &host, path));
                }
            }
            _ => {}
        }
    }
}

/// Whether what it names is called otherwise by other sites.
const fn depends_on_sites(scope: &Scope) -> bool {
    matches!(scope, Scope::Url(_) | Scope::Tag { site: None, .. })
}

impl Opened {
    /// Purges of what was stored before may be missing, or do not name it.
    pub(super) fn doubt(&mut self, doubt: Reason) -> Result<(), LogError> {
        let payload = Doubt { doubt, offset: 0 }.payload();
        self.file.append(std::slice::from_ref(&payload))?;
        self.records.push((self.file.last(), payload));
        self.resets += 1;
        Ok(())
    }
}
