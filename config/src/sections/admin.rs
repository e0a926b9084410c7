//! `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::node::ADDRESS_KIND;
use super::purging::TokenKind;
use crate::kinds::{List, ReadableFile, Text, values};
use crate::model::{Admin, AdminToken};
use crate::problems::{Fault, quote};
use crate::raw::{At, Span};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const ADMIN_LISTEN: Setting<Text<SocketAddr>> = Setting {
    key: "listen",
    unset: Unset::Is("\"127.0.0.1:9180\""),
    about: "Where metrics, readiness and purging are served; not for clients.",
    read: ADDRESS_KIND,
};

const TOKEN_FILE: Setting<ReadableFile> = Setting {
    key: "token_file",
    unset: Unset::Means {
        example: "\"token\"",
        means: "`LARDER_ADMIN_TOKEN`, or a token that is made at the first start and kept",
    },
    about: "A file that holds the bearer token of the admin API; required unless `listen` is a loopback address.",
    read: ReadableFile,
};

const TOKENS: Setting<List<TokenKind>> = Setting {
    key: "tokens",
    unset: Unset::Is("[]"),
    about: "Further tokens, each for a part of the API: see `admin.tokens`.",
    read: List {
        of: TokenKind,
        least: 0,
    },
};

pub(crate) const ADMIN: Rows = Rows {
    path: "admin",
    about: "The administration listener.",
    rows: &[&ADMIN_LISTEN as &dyn Row, &TOKEN_FILE, &TOKENS],
};

/// What `[admin]` says.
#[derive(Debug)]
pub(crate) struct AdminRead {
    pub(crate) listen: Option<At<SocketAddr>>,
    token_file: Option<PathBuf>,
    pub(crate) tokens: Option<Vec<At<AdminToken>>>,
}

/// Reads `[admin]`.
pub(crate) fn admin(section: &Section<'_>, reading: &mut Reading) -> AdminRead {
    let span = match section.has(&ADMIN_LISTEN) {
        true => section.span_of(&ADMIN_LISTEN),
        false => Span::default(),
    };
    let listen = section
        .value(&ADMIN_LISTEN, reading)
        .map(|value| At { span, value });
    let token_file = section.value(&TOKEN_FILE, reading);
    if let Some(listen) = &listen
        && !listen.value.ip().to_canonical().is_loopback()
        && !section.has(&TOKEN_FILE)
    {
        let message = format!(
            "{} can be reached from other machines",
            quote(&listen.value.to_string())
        );
        let hint = "add token_file = \"FILE\" to [admin] (--admin-token-file FILE), or listen on 127.0.0.1";
        reading.refuse(span, Fault::new(message).hint(hint));
    }
    AdminRead {
        listen,
        token_file,
        tokens: section.value(&TOKENS, reading),
    }
}

impl AdminRead {
    pub(crate) fn finish(self) -> Option<Admin> {
        Some(Admin {
            listen: self.listen?.value,
            token_file: self.token_file,
            tokens: values(self.tokens?),
        })
    }
}
