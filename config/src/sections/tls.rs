//! `[tls]`.

use std::path::PathBuf;

use crate::kinds::{List, ReadableFile, values};
use crate::model::{Certificate, Tls};
use crate::raw::{At, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

const CERTIFICATES: Setting<List<CertificateKind>> = Setting {
    key: "certificates",
    unset: Unset::Is("[]"),
    about: "Certificates by the name the client asks for (SNI); the first serves clients that name none.",
    read: List {
        of: CertificateKind,
        least: 0,
    },
};

const TICKET_KEY_FILE: Setting<ReadableFile> = Setting {
    key: "ticket_key_file",
    unset: Unset::Means {
        means: "tickets are good for this node until it stops",
        example: "\"/etc/larder/ticket.key\"",
    },
    about: "Secrets of at least 32 characters, one in a line, by which nodes resume each other's TLS sessions: the first \
            seals tickets, all of them open them. The file is read again while the node runs. Whoever has it can \
            decrypt recorded sessions of TLS 1.2 that were resumed.",
    read: ReadableFile,
};

pub(crate) const TLS: Rows = Rows {
    path: "tls",
    about: "TLS between clients and the node.",
    rows: &[&CERTIFICATES as &dyn Row, &TICKET_KEY_FILE],
};

const CERT: Setting<ReadableFile> = Setting {
    key: "cert",
    unset: Unset::Required {
        example: "\"fullchain.pem\"",
    },
    about: "The chain in PEM, leaf first.",
    read: ReadableFile,
};

const KEY: Setting<ReadableFile> = Setting {
    key: "key",
    unset: Unset::Required {
        example: "\"key.pem\"",
    },
    about: "The private key in PEM.",
    read: ReadableFile,
};

pub(crate) const CERTIFICATE: Rows = Rows {
    path: "tls.certificates",
    about: "A certificate and its key.",
    rows: &[&CERT as &dyn Row, &KEY],
};

/// What `[tls]` says.
#[derive(Debug)]
pub(crate) struct TlsRead {
    pub(crate) certificates: Option<Vec<At<Certificate>>>,
    ticket_key_file: Option<PathBuf>,
}

/// Reads `[tls]`.
pub(crate) fn tls(section: &Section<'_>, reading: &mut Reading) -> TlsRead {
    TlsRead {
        certificates: section.value(&CERTIFICATES, reading),
        ticket_key_file: section.value(&TICKET_KEY_FILE, reading),
    }
}

impl TlsRead {
    pub(crate) fn finish(self) -> Option<Tls> {
        Some(Tls {
            certificates: values(self.certificates?),
            ticket_key_file: self.ticket_key_file,
        })
    }
}

/// A table of a certificate and its key.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CertificateKind;

impl Read for CertificateKind {
    type Output = Certificate;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Certificate> {
        let section = Section::open(value, &CERTIFICATE, reading)?;
        let (cert, key) = (section.value(&CERT, reading), section.value(&KEY, reading));
        Some(Certificate {
            cert: cert?,
            key: key?,
        })
    }

    fn accepts(&self) -> String {
        "a table such as { cert = \"fullchain.pem\", key = \"key.pem\" }".to_owned()
    }
}
